"""Where the values of a choice were tried: only a value that was tried where the others are good can be compared with them.

It asks where trials lie, and needs no proof that they are bad there: a value outside stands in no mean, importance or plot of values beside
the others, whatever the reason. `holes` asks what made trials bad, and names it where a test finds it. Neither answers for the other: by
this rule the far end of each number that a sampler narrowed would be outside, and by that one a value whose trials merely lie elsewhere
would be set beside the others.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vaeexp.results.parameters import SearchedParameter
from vaeexp.results.statements import Statement
from vaeexp.words import format_value, parameter_label

LEAST_GOOD = 5
"""Trials that span the region where the others are good, at least; the best quarter where that is more."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The trials of one value of a searched choice where the other values are good.

    Complete trials show where values are good, and under the pruner `promotion`, which compares all trials at its rungs, paused trials, too. That region is the box which the best quarter (and at least `LEAST_GOOD`) of these trials with another value span
    in the other searched parameters: from the least to the largest of a number, the same values of a choice. A parameter
    that is not active in a trial, or in none of those that span the box, is ignored. Fewer than `LEAST_GOOD` such trials
    with another value span no region, and then every trial counts as inside: nothing shows that the value was tried elsewhere.
    """

    parameter: str
    value: object
    """As the study file has it; as text where only an earlier trial had it."""
    text: str
    trials: int
    """Trials of the search with this value: complete, pruned, failed or still going."""
    complete: int
    pruned: int
    inside: int
    """Complete trials in the region, under promotion also paused ones."""
    is_good: bool
    """Whether a trial with this value is among the best quarter of all of them: it was tried where it is good itself."""

    @property
    def covered(self) -> bool:
        """Whether one of them lies where the others are good, or is as good as they are elsewhere."""
        return self.inside > 0 or self.is_good


def measure_coverage(
    parameters: Mapping[str, SearchedParameter], search: pd.DataFrame, found: pd.DataFrame
) -> dict[str, list[Coverage]]:
    """Return the coverage of each value of each searched choice, in the order of the study file.

    Args:
        search: trials of the search, without duplicates.
        found: the complete ones, the best first, and under promotion the paused ones after them.
    """
    judged = {name: parameter.places(found).to_numpy(float) for name, parameter in parameters.items()}
    return {
        name: [_coverage(parameter, place, parameters, search, judged) for place in range(len(parameter.texts))]
        for name, parameter in parameters.items()
        if parameter.is_choice
    }


def _coverage(
    parameter: SearchedParameter,
    place: int,
    parameters: Mapping[str, SearchedParameter],
    search: pd.DataFrame,
    judged: Mapping[str, np.ndarray],
) -> Coverage:
    """Return the coverage of the value at a place; `judged` are the places of the trials that show what is good, the best first."""
    values, text = judged[parameter.name], parameter.texts[place]
    having, others = np.flatnonzero(values == place), np.flatnonzero((values != place) & ~np.isnan(values))
    good = others[: max(LEAST_GOOD, _quarter(len(others)))]
    names = [name for name in parameters if name != parameter.name] if len(good) >= LEAST_GOOD else []
    box = {name: judged[name][good] for name in names}
    states = search["state"][parameter.places(search) == place]
    return Coverage(
        parameter=parameter.name,
        value=next((value for value in parameter.values if format_value(value) == text), text),
        text=text,
        trials=len(states),
        complete=int((states == "complete").sum()),
        pruned=int((states == "pruned").sum()),
        inside=_count_inside(judged, having, box, parameters),
        is_good=bool(len(having)) and having[0] < _quarter(len(values)),
    )


def _quarter(count: int) -> int:
    return -(-count // 4)


def _count_inside(
    places: Mapping[str, np.ndarray],
    trials: np.ndarray,
    box: Mapping[str, np.ndarray],
    parameters: Mapping[str, SearchedParameter],
) -> int:
    """Return how many of these trials lie in the box that the places of good trials span; all do where nothing spans one."""
    inside = np.ones(len(trials), dtype=bool)
    for name, good in box.items():
        own, region = places[name][trials], good[~np.isnan(good)]
        if not len(region):
            continue
        if parameters[name].is_choice:
            within = np.isin(own, region)
        else:
            # Places are computed from numbers; the slack is that of rounding.
            within = (own >= region.min() - 1e-9) & (own <= region.max() + 1e-9)
        inside &= within | np.isnan(own)
    return int(inside.sum())


def left_out(coverage: Mapping[str, list[Coverage]], names: Iterable[str]) -> tuple[Statement, ...]:
    """Return for each of these parameters that has them the values that are not covered."""
    missing = {name: tuple(own.text for own in coverage.get(name, []) if not own.covered) for name in names}
    return tuple(
        Statement(id="value.among", values={"parameter": parameter_label(name), "values": texts})
        for name, texts in missing.items()
        if texts
    )


def covered_trials(
    trials: pd.DataFrame, parameter: SearchedParameter, coverage: Mapping[str, list[Coverage]]
) -> pd.DataFrame:
    """Return the trials whose value of this choice is covered; all trials for a range of numbers."""
    left_out = [value.text for value in coverage.get(parameter.name, []) if not value.covered]
    if not left_out:
        return trials
    return trials[~np.isin(parameter.places(trials), [parameter.texts.index(text) for text in left_out])]
