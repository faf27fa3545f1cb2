"""Whether a compared parameter acts otherwise under one value of another parameter than under the
next: from the matched pairs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from vaeexp.results.parameters import Parameters, SearchedParameter
from vaeexp.results.tested_settings import PairComparison
from vaeexp.words import format_value

TUNED = "learning_rate"
"""The parameter whose best value most depends on others; it is looked at in any case."""
OTHERS = 2
"""Parameters that are looked at as well, the most important ones."""
LEVEL = 0.05
"""Of the studies in which nothing interacts, the share in which any interaction is named, at
most.
"""


Split = tuple[Any, tuple[str, ...]]
"""`threshold` and `rest` of an `Interaction`."""


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """The dependence of a matched pair's difference on another parameter of the configuration.

    A difference is that of one configuration and one seed: second value − first, nats per image of
    validation −ELBO, so above 0 where the first value is better. A threshold splits the
    configurations in two. The interaction is consistent where every difference on one side is above
    0 and every one on the other side below 0, in every seed, and where the comparison may name one:
    those with the smallest `false_alarm` may, as long as these add up to at most 5 %. So at most 5
    % of the studies in which nothing interacts name an interaction, whatever they compare, because
    the chance that any of several comparisons does is at most the sum of their chances. Then the
    difference depends on the configuration. That the parameter is the cause is another claim: where
    each configuration has a difference of its own, seeds of one share their sign, and the chance is
    that of as many differences as there are configurations (`cause_false_alarm`). Nothing says
    which of the parameters that split the configurations alike is the cause: `alike` names the
    others.
    """

    parameter: str
    """The compared one."""
    first: Any
    second: Any
    other: str
    threshold: Any = None
    """A number, of which `above` counts those above it; or a value of a choice, of which `above`
    counts those that have it. None where all configurations have one value."""
    rest: tuple[str, ...] = ()
    """The values of a choice that the configurations below have; empty where the threshold is a
    number.
    """
    below: float = math.nan
    above: float = math.nan
    """Mean difference on each side, nats per image; NaN without a side."""
    configurations: int
    n: int
    """Differences: configurations times seeds."""
    false_alarm: float
    """The chance that this comparison shows any consistent split where nothing interacts
    (`chance_of_split`); NaN without a split.
    """
    cause_false_alarm: float
    """The chance that any comparison shows one where the configurations differ for other reasons,
    at most.
    """
    consistent: bool = False
    alike: tuple[str, ...] = ()
    """Other parameters, looked at, that split the configurations in the same way."""
    tuned_for: Any | None = None
    """The compared value that all compared configurations had in the search, where the learning
    rate was searched: it then was tuned for this value alone. None where both had their share."""
    nameable: bool = False
    """Whether this comparison may name an interaction."""
    study_false_alarm: float = 0.0
    """The sum of `false_alarm` over the comparisons of the study that may name one; 0 where none
    may.
    """

    @property
    def is_cause(self) -> bool:
        """Whether chance would make it consistent in at most 5 % of studies whose configurations
        differ for other reasons.
        """
        return self.consistent and self.cause_false_alarm <= LEVEL and not self.alike


def find_interactions(
    pairs: Sequence[PairComparison],
    parameters: Parameters,
    search: pd.DataFrame,
    importances: Sequence[str],
) -> list[Interaction]:
    """Return, for each comparison, how it depends on the learning rate and on the two most
    important other parameters.

    Args:
        pairs: as `StudyView.pairs`.
        search: trials of the search, which have the configurations of the pairs.
        importances: names of parameters, the most important first.
    """
    compared = [one for one in pairs if not one.pairs.empty]
    every = [
        _of_comparison(one, parameters, search, importances, len(compared)) for one in compared
    ]
    alarms = [splits[0].false_alarm if splits else math.nan for splits in every]
    order = [
        index
        for index in np.argsort(alarms, kind="stable").tolist()
        if math.isfinite(alarms[index])
    ]
    sums = [
        total for total in np.cumsum([alarms[index] for index in order]).tolist() if total <= LEVEL
    ]
    nameable = set(order[: len(sums)])
    return [
        replace(
            one,
            consistent=one.consistent and index in nameable,
            nameable=index in nameable,
            study_false_alarm=sums[-1] if sums else 0.0,
        )
        for index, splits in enumerate(every)
        for one in splits
    ]


def _of_comparison(
    comparison: PairComparison,
    parameters: Parameters,
    search: pd.DataFrame,
    importances: Sequence[str],
    comparisons: int,
) -> list[Interaction]:
    others = [name for name in importances if name not in (comparison.parameter, TUNED)][:OTHERS]
    others = [name for name in (TUNED, *others) if name in parameters]
    differences = comparison.pairs["difference"].to_numpy(float)
    trials, places = np.unique(comparison.pairs["source_trial"].to_numpy(int), return_inverse=True)
    configurations = search.set_axis(search["number"]).reindex(trials)
    splits = {name: _splits(parameters[name], configurations) for name in others}
    distinct = {min(mask, _mirrored(mask)) for masks in splits.values() for mask in masks}
    counts = np.bincount(places)
    alarm, cause_alarm = (
        chance_of_split(
            tuple(sorted(int(own[list(mask)].sum()) for mask in distinct)), int(own.sum())
        )
        for own in (counts, np.ones(len(counts), dtype=int))
    )
    tuned = _tuned_for(comparison, parameters, configurations)
    return [
        Interaction(
            parameter=comparison.parameter,
            first=comparison.first,
            second=comparison.second,
            other=name,
            configurations=len(trials),
            n=len(differences),
            false_alarm=alarm,
            cause_false_alarm=min(1.0, comparisons * cause_alarm),
            tuned_for=tuned if name == TUNED else None,
            **_best_split(name, splits, differences, places),
        )
        for name in others
    ]


@cache
def chance_of_split(sides: tuple[int, ...], n: int) -> float:
    """Return the greatest chance that n independent differences of one distribution are above 0 on
    exactly one side of any split.

    Args:
        sides: of each different split, the differences on one of its sides.
        n: all differences.

    Where a difference is above 0 with the chance p, a split with a and b differences on its sides
    is consistent with the chance pᵃ(1−p)ᵇ + (1−p)ᵃpᵇ, and no two different splits are at once. The
    compared values may differ by some amount everywhere, which is no interaction, so p is not
    known: the greatest sum over p counts. NaN without a split.
    """
    if not sides:
        return math.nan
    p, a = np.linspace(0, 1, 401)[:, None], np.array(sides)[None]
    chances = p**a * (1 - p) ** (n - a) + (1 - p) ** a * p ** (n - a)
    return float(min(1.0, chances.sum(axis=1).max()))


def _splits(
    parameter: SearchedParameter, configurations: pd.DataFrame
) -> dict[tuple[bool, ...], Split]:
    """Return which configurations lie above each threshold → the threshold, and the values of a
    choice below it.

    A number's threshold lies halfway between two neighbours.
    """
    places = parameter.places(configurations).to_numpy(float)
    values = np.unique(places[~np.isnan(places)])
    if len(values) < 2 or np.isnan(places).any():
        return {}
    if parameter.is_choice:
        # Of two values either split says the same.
        tested = values if len(values) > 2 else values[1:]
        texts = [parameter.texts[int(value)] for value in values]
        return {
            tuple(places == value): (
                own := parameter.texts[int(value)],
                tuple(text for text in texts if text != own),
            )
            for value in tested
        }
    halves = [(low + high) / 2 for low, high in pairwise(values)]
    return {
        tuple(places > half): (float(parameter.numbers(np.array([half]))[0]), ()) for half in halves
    }


def _best_split(
    name: str,
    splits: Mapping[str, Mapping[tuple[bool, ...], Split]],
    differences: np.ndarray,
    places: np.ndarray,
) -> dict[str, Any]:
    """Return what an `Interaction` says of the split of one parameter whose sides differ most, a
    consistent one first; empty without a split.

    `places`: configuration of each difference [n].
    """
    found = []
    for mask, (threshold, rest) in splits[name].items():
        high = np.array(mask)[places]
        below, above = differences[~high], differences[high]
        opposed = bool(below.max() < 0 < above.min() or above.max() < 0 < below.min())
        means = {"below": float(below.mean()), "above": float(above.mean())}
        key = opposed, abs(means["above"] - means["below"])
        found.append(
            (key, mask, {"threshold": threshold, "rest": rest, "consistent": opposed, **means})
        )
    if not found:
        return {}
    _, mask, best = max(found, key=lambda each: each[0])
    own = {mask, _mirrored(mask)}
    alike = tuple(
        other for other, masks in splits.items() if other != name and not own.isdisjoint(masks)
    )
    return {**best, "alike": alike}


def _mirrored(mask: tuple[bool, ...]) -> tuple[bool, ...]:
    return tuple(not side for side in mask)


def _tuned_for(
    comparison: PairComparison, parameters: Parameters, configurations: pd.DataFrame
) -> Any | None:
    """Return the one value of the compared parameter with which the search found every
    configuration of the pairs.
    """
    if TUNED not in parameters or comparison.parameter not in parameters:
        return None
    texts = {format_value(value) for value in parameters[comparison.parameter].of(configurations)}
    two = (comparison.first, comparison.second)
    return next((value for value in two if texts == {format_value(value)}), None)
