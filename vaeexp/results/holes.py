"""What was tried only with bad values of other parameters: such trials would be bad anyway and say
nothing of the value that they have.

A value of a choice is such a hole if none of its trials lies where other values do well, whatever
the reason: means, importances and plots leave it out. The far end of each number that a sampler
narrowed would be left out by that rule, so the ends of a number are a hole only if a test finds
what made all trials beyond them bad: importances and plots would credit β with what the others
cost.

A value is bad where none of the best quarter of the trials has it, and those that have it stand
behind the rest where the number itself is good: within what the best quarter spans (Mann and
Whitney, one-sided, 5 % after Bonferroni for the values that are tested). Where it was tried nowhere
else, all trials are compared: then nothing tells which of both is bad. So in at most 5 % of
searches in which nothing matters is any value bad for a number, and a hole is rarer still.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from vaeexp.results.parameters import Parameters, SearchedParameter
from vaeexp.results.statements import Figure, Statement, Statements, say
from vaeexp.words import parameter_label

LEAST_GOOD = 5
"""Trials that are called good, at least; the best quarter where that is more."""
LEAST_BEYOND = 3
"""Trials that make a hole, at least: one or two that are bad for another reason are what any search
has.
"""
LEAST_REACH = 0.1
"""Share of its axis that an end of a hole covers, at least: a little less is as good as tried."""
_LEVEL = 0.05
_BEYOND = 0.25
"""Share of its axis by which a number lies beyond the best quarter where it may be bad: a sampler
that returns to one region leaves a narrow quarter.
"""


@dataclass(frozen=True, kw_only=True)
class BadValue:
    """A value of a choice, or the values below or above a number, that the good trials do not
    have.
    """

    parameter: str
    value: str | None = None
    """Of a choice, as text."""
    below: float | None = None
    above: float | None = None
    trials: int = 0
    """Trials of the hole that have it."""


@dataclass(frozen=True, kw_only=True)
class NumberHole:
    """The values of a number below `low` or above `high`, which were tried only with bad values of
    other parameters.
    """

    parameter: str
    low: float | None
    """The least value that was tried with good values of the others; None where nothing was tried
    below it.
    """
    high: float | None
    """The largest."""
    trials: int
    """Trials below and above, each of which has a bad value."""
    shared: tuple[BadValue, ...]
    """The fewest bad values of which each of these trials has one, those of most trials first."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Bad:
    """A bad value, and which trials have it."""

    value: BadValue
    having: np.ndarray
    active: np.ndarray
    """Which trials have the parameter at all."""


@dataclass(frozen=True, kw_only=True)
class Holes:
    """What a test finds to be tried only with bad values of other parameters."""

    numbers: Mapping[str, NumberHole]
    """Searched number → its hole; those without one are left out."""
    trials: Mapping[str, pd.Series]
    """Searched parameter → numbers of the trials in its hole: with such a number, or with a value
    of a choice each trial of which has a bad value of another parameter.
    """


@dataclass(frozen=True, kw_only=True)
class ChoiceHole:
    """A value of a choice that was never tried where other values do well."""

    parameter: str
    text: str
    trials: int
    """Trials of the search with this value: complete, pruned, failed or still going."""
    complete: int


# ---- values of choices, by where they lie ----


def choice_holes(
    parameters: Parameters, search: pd.DataFrame, found: pd.DataFrame
) -> dict[str, list[ChoiceHole]]:
    """Return the values of each searched choice that were never tried where other values do well,
    in the order of the study file.

    Args:
        search: trials of the search, without duplicates.
        found: the complete ones, the best first, and under promotion the paused ones after them:
            they show what is good.
    """
    judged = {name: each.places(found).to_numpy(float) for name, each in parameters.items()}
    holes: dict[str, list[ChoiceHole]] = {}
    for name, parameter in parameters.items():
        searched = parameter.places(search)
        for place, text in enumerate(parameter.texts):
            if _is_covered(parameter, place, parameters, judged):
                continue
            states = search["state"][searched == place]
            complete = int((states == "complete").sum())
            hole = ChoiceHole(parameter=name, text=text, trials=len(states), complete=complete)
            holes.setdefault(name, []).append(hole)
    return holes


def _is_covered(
    parameter: SearchedParameter,
    place: int,
    parameters: Parameters,
    judged: Mapping[str, np.ndarray],
) -> bool:
    """Tell whether a trial with the value at a place lies where other values do well, or is among
    the best quarter of all: tried where it is good itself.

    Other values do well in the box which the best quarter of the trials with another value span in
    the other searched parameters: from the least to the largest of a number, the same values of a
    choice. A parameter that is not active in a trial, or in none of those that span the box, is
    ignored. Fewer than `LEAST_GOOD` of them span none: nothing shows that the value was tried
    elsewhere.
    """
    values = judged[parameter.name]
    having = np.flatnonzero(values == place)
    if not len(having) or having[0] < _quarter(len(values)):
        return bool(len(having))
    others = np.flatnonzero((values != place) & ~np.isnan(values))
    good = others[: _count_good(len(others))]
    inside = np.ones(len(having), dtype=bool)
    for other in parameters.values() if len(good) >= LEAST_GOOD else ():
        own = judged[other.name][having]
        region = judged[other.name][good]
        region = region[~np.isnan(region)]
        if other is not parameter and len(region):
            inside &= other.among(own, region) | np.isnan(own)
    return bool(inside.any())


def _quarter(count: int) -> int:
    return -(-count // 4)


def _count_good(count: int) -> int:
    """Return how many of so many trials are called good."""
    return max(LEAST_GOOD, _quarter(count))


def left_out(missing: Mapping[str, Sequence[str]], names: Iterable[str]) -> Statements:
    """Return for each of these parameters that has them the values that are not covered. `missing`:
    as `Influence.left_out`.
    """
    return tuple(
        say("value.among", parameter=parameter_label(name), values=tuple(missing[name]))
        for name in names
        if name in missing
    )


# ---- what a test finds ----


def find_holes(parameters: Parameters, learned: pd.DataFrame) -> Holes:
    """Return the holes of each searched parameter, in the order of the study file.

    Args:
        learned: as `Influence.learned`, the best first.
    """
    numbers: dict[str, NumberHole] = {}
    trials: dict[str, pd.Series] = {}
    good = _count_good(len(learned))
    suspects = list[_Bad]()
    for parameter in parameters.values() if len(learned) >= 2 * LEAST_GOOD else ():
        suspects += _not_among_good(parameter, learned, good)
    for name, parameter in parameters.items():
        others = [each for each in suspects if each.value.parameter != name]
        bad = _bad_values(parameter, others, learned, good)
        spoilt = np.any([each.having for each in bad], axis=0)
        if not bad:
            continue
        if parameter.is_choice:
            places = parameter.places(learned).to_numpy(float)
            inside = ~np.isnan(places) & ~np.isin(places, places[~spoilt])
        else:
            low, high, inside = _beyond(parameter, learned, spoilt)
            if not inside.any():
                continue
            numbers[name] = NumberHole(
                parameter=name,
                low=low,
                high=high,
                trials=int(inside.sum()),
                shared=_fewest(bad, inside),
            )
        trials[name] = learned["number"][inside]
    return Holes(numbers=numbers, trials=trials)


def _bad_values(
    parameter: SearchedParameter, suspects: list[_Bad], learned: pd.DataFrame, good: int
) -> list[_Bad]:
    """Return those suspects that are bad where this parameter is good, or that were tried nowhere
    else and stand behind.
    """
    places, best = _places(parameter, learned, good)
    if not len(best):
        return []
    near = parameter.among(places, best)
    bad = []
    for each in suspects:
        compared = each.active & near if (each.having & near).any() else each.active
        if _behind_p(each.having[compared]) <= _LEVEL / len(suspects):
            bad.append(each)
    return bad


def _places(
    parameter: SearchedParameter, learned: pd.DataFrame, good: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of all trials, and those of the best that have the parameter."""
    places = parameter.places(learned).to_numpy(float)
    return places, places[:good][~np.isnan(places[:good])]


def _not_among_good(parameter: SearchedParameter, learned: pd.DataFrame, good: int) -> list[_Bad]:
    """Return the values of a parameter that trials have, but none of the best."""
    places, best = _places(parameter, learned, good)
    if not len(best):
        return []
    bad = partial(BadValue, parameter=parameter.name)
    if parameter.is_choice:
        texts = enumerate(parameter.texts)
        found = [(bad(value=text), places == place) for place, text in texts if place not in best]
    else:
        low = best.min() - _BEYOND
        high = best.max() + _BEYOND
        below, above = parameter.numbers(np.array([low, high])).tolist()
        found = [(bad(below=below), places < low), (bad(above=above), places > high)]
    active = ~np.isnan(places)
    return [
        _Bad(value=value, having=having, active=active) for value, having in found if having.any()
    ]


def _behind_p(having: np.ndarray) -> float:
    """Return the p of Mann and Whitney's test, one-sided, that the trials that have something stand
    behind the rest.

    `having` is in the order of the trials, the best first. Exact of up to 100 trials of which up to
    20 have it, else from the normal approximation.
    """
    if having.all() or not having.any():
        return 1.0
    from scipy.stats import mannwhitneyu

    places = np.arange(len(having))
    count = having.sum()
    method = "exact" if count <= 20 and len(having) <= 100 else "asymptotic"
    return float(
        mannwhitneyu(places[having], places[~having], alternative="greater", method=method).pvalue
    )


def _beyond(
    parameter: SearchedParameter, learned: pd.DataFrame, spoilt: np.ndarray
) -> tuple[float | None, float | None, np.ndarray]:
    """Return the ends of the numbers that were tried with good values of the others, and which
    trials lie beyond them: none where these are few, or hardly beyond.
    """
    numbers = parameter.of(learned).astype("Float64").astype(float).to_numpy(float)
    fair = numbers[~spoilt & ~np.isnan(numbers)]
    if not len(fair):
        return None, None, np.zeros(len(numbers), dtype=bool)
    low = float(fair.min())
    high = float(fair.max())
    tried = parameter.places_of(
        pd.Series([np.nanmin(numbers), low, high, np.nanmax(numbers)])
    ).to_numpy()
    below = (numbers < low) & (tried[1] - tried[0] >= LEAST_REACH)
    above = (numbers > high) & (tried[3] - tried[2] >= LEAST_REACH)
    beyond = below | above
    if beyond.sum() < LEAST_BEYOND:
        beyond[:] = False
    return low if below.any() else None, high if above.any() else None, beyond


def _fewest(bad: list[_Bad], beyond: np.ndarray) -> tuple[BadValue, ...]:
    """Return bad values of which each of these trials has one: ever the one that most of those left
    have.
    """
    left = beyond.copy()
    chosen = []
    while left.any():
        most = max(bad, key=lambda each: int((each.having & left).sum()))
        chosen.append(most)
        left &= ~most.having
    found = [replace(each.value, trials=int((each.having & beyond).sum())) for each in chosen]
    return tuple(sorted(found, key=lambda each: -each.trials))


def hole_statement(hole: NumberHole) -> Statement:
    """Say that all trials with β below or above some value have other bad values, so that they say
    nothing of β.
    """
    ends = {"below": hole.low, "above": hole.high}
    return say(
        "hole",
        parameter=parameter_label(hole.parameter),
        beyond=tuple(
            _side(hole.parameter, name, end) for name, end in ends.items() if end is not None
        ),
        shared=tuple(map(_bad_statement, hole.shared)),
        trials=hole.trials,
    )


def _bad_statement(bad: BadValue) -> Statement:
    if bad.value is not None:
        return say("value.among", parameter=parameter_label(bad.parameter), values=(bad.value,))
    name, end = ("below", bad.below) if bad.below is not None else ("above", bad.above)
    assert end is not None
    return _side(bad.parameter, name, end)


def _side(parameter: str, name: str, end: float) -> Statement:
    """Say that a number lies `below` or `above` an end."""
    ends = {name: Figure(end, digits=None)}
    return say(f"value.{name}", parameter=parameter_label(parameter), **ends)
