"""Rules for interactions: how a compared parameter acts on both sides of a threshold, and how often chance shows one."""

import math
import re

import numpy as np
from recompute_answer import assert_that
from recompute_figures import Study
from recompute_files import number_of, value_text
from recompute_rules import NUM, SHARE, Expected, State, says
from recompute_statistics import Pairs, listed, number, share


@says(
    r"\*\*(.+?)\*\* depends on the (.+?): with (.+?) (\S+) is better by (\S+) nats, with (.+?) (\S+) is better by (\S+) nats, the same in "
    rf"each of ({NUM}) pairs? over ({NUM}) configurations?"
)
def interaction(state: State, label: str, on: str, below: str, low: str, _: str, above: str, high: str, *__: str):
    study, other = state.study, re.sub(r" (?:below|=) .+$", "", below)
    assert_that(on in (other, "configuration"))
    own = next(own for own in study.parameters.values() if own.label == other)
    for each in study.pairs:
        if study.parameters[each.parameter].label != label or {low, high} - {each.first, each.second}:
            continue
        values = own.values(study.search.set_index("number")).reindex(each.table["source"])
        at = above.removeprefix(f"{other} above ") if " above " in above else above.removeprefix(f"{other} = ")
        mask = (values == at if own.texts else values > number_of(at)).to_numpy()
        sides = [each.table["difference"][~mask], each.table["difference"][mask]]
        assert_that(
            all(len(set(np.sign(side))) == 1 for side in sides) and set(np.sign(sides[0])) != set(np.sign(sides[1]))
        )
        cells = [(each.first if side.mean() > 0 else each.second, number(abs(side.mean()))) for side in sides]
        if own.texts:
            assert_that(
                below.removeprefix(f"{other} = ").split(" or ") == sorted(set(values[~mask]), key=own.texts.index)
            )
        else:
            middle = halfway(own, values[~mask].max(), values[mask].min())
            assert_that(value_text(middle) == at and below == f"{other} below {at}")
        counts = f"{len(each.table):,}", f"{each.table['source'].nunique():,}"
        return [None, None, None, *cells[0], None, *cells[1], *counts]
    raise ValueError("no such comparison")


def halfway(own, low: float, high: float) -> float:
    return math.sqrt(low * high) if own.log else (low + high) / 2


@says(
    rf"Interactions with (.+?) were looked for in ({NUM}) comparisons?(?: of ({NUM}))?; chance names one in at most ({SHARE}) of studies without any"
)
def chance_of_any(state: State, *_: str) -> list[Expected]:
    study = state.study
    compared = [each for each in study.pairs if len(each.table)]
    rates = sorted(rate for each in compared if not math.isnan(rate := chance(study, each)))
    sums = [total for total in np.cumsum(rates) if total <= 0.05]
    names = list(dict.fromkeys(study.parameters[name].label for each in compared for name in others(study, each)))
    return [listed(names), f"{len(sums):,}", f"{len(compared):,}" if len(sums) < len(compared) else "", share(sums[-1])]


def others(study: Study, pairs: Pairs) -> list[str]:
    """Return the parameters that are looked at: the learning rate and the two most important others."""
    order = sorted(study.importances, key=study.importances.__getitem__, reverse=True)
    most = [name for name in order if name not in (pairs.parameter, "learning_rate")][:2]
    return [name for name in ("learning_rate", *most) if name in study.parameters]


def chance(study: Study, pairs: Pairs) -> float:
    """Return the greatest chance, over that of a difference above 0, that one of the splits of the configurations parts all signs."""
    sources = pairs.table["source"]
    sides = set()
    for name in others(study, pairs):
        own = study.parameters[name]
        values = own.values(study.search.set_index("number")).reindex(sources.unique())
        if values.isna().any() or values.nunique() < 2:
            continue
        ordered = sorted(values.unique())
        masks = [values == each for each in ordered] if own.texts else [values > each for each in ordered[:-1]]
        for mask in masks:
            inside = frozenset(values.index[mask])
            sides.add(frozenset((inside, frozenset(values.index) - inside)))
    if not sides:
        return math.nan
    counts = [int(sources.isin(next(iter(pair))).sum()) for pair in sides]
    p, n = np.linspace(0, 1, 401), len(sources)
    return float(sum(p**a * (1 - p) ** (n - a) + (1 - p) ** a * p ** (n - a) for a in counts).max())
