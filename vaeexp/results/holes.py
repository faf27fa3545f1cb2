"""What was tried only together with bad values of other parameters, which cost what the number or
choice itself seems to cost.

It asks what made trials bad, and a test must find it. `coverage` asks where the trials of a choice
lie, without such a test, because means and plots leave out a value that nothing shows at good
settings; why neither answers for the other stands there.

A trial with a bad value of another parameter says nothing of its own β: it would be bad anyway.
Where all trials beyond some β are of that kind, the search has not tried this β, and importances
and plots would credit β with what the others cost.

A value is bad where none of the best quarter of the trials has it, and those that have it stand
behind the rest where the number itself is good: within what the best quarter spans (Mann and
Whitney, one-sided, 5 % after Bonferroni for the values that are tested). Where it was tried nowhere
else, all trials are compared: then nothing tells which of both is bad. So in at most 5 % of
searches in which nothing matters is any value bad for a number, and a hole is rarer still.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from vaeexp.results.coverage import LEAST_GOOD
from vaeexp.results.parameters import Parameters, SearchedParameter
from vaeexp.results.statements import Figure, Statement, say
from vaeexp.words import parameter_label

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

    def has(self, numbers: np.ndarray) -> np.ndarray:
        """Tell which of these numbers lie in the hole; NaN does not."""
        low = -np.inf if self.low is None else self.low
        high = np.inf if self.high is None else self.high
        return (numbers < low) | (numbers > high)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Bad:
    """A bad value, and which trials have it."""

    value: BadValue
    having: np.ndarray
    active: np.ndarray
    """Which trials have the parameter at all."""


@dataclass(frozen=True, kw_only=True)
class Holes:
    """What a search tried only with bad values of other parameters."""

    numbers: Mapping[str, NumberHole]
    """Searched number → its hole; those without one are left out."""
    choices: Mapping[str, tuple[str, ...]]
    """Searched choice → its values, as text, each trial of which has a bad value of another
    parameter; choices without such a value are left out.
    """

    def has(self, parameter: SearchedParameter, trials: pd.DataFrame) -> np.ndarray:
        """Tell which of these trials have a value of this parameter that was tried only with bad
        values of others.
        """
        if parameter.is_choice:
            return parameter.has(trials, self.choices.get(parameter.name, ()))
        hole = self.numbers.get(parameter.name)
        return (
            np.zeros(len(trials), dtype=bool)
            if hole is None
            else hole.has(_numbers(parameter, trials))
        )


def find_holes(parameters: Parameters, learned: pd.DataFrame) -> Holes:
    """Return the holes of each searched parameter, in the order of the study file.

    Args:
        learned: as `Influence.learned`, the best first.
    """
    numbers: dict[str, NumberHole] = {}
    choices: dict[str, tuple[str, ...]] = {}
    if len(learned) < 2 * LEAST_GOOD:
        return Holes(numbers=numbers, choices=choices)
    good = max(LEAST_GOOD, -(-len(learned) // 4))
    suspects = list[_Bad]()
    for parameter in parameters.values():
        suspects += _not_among_good(parameter, learned, good)
    for name, parameter in parameters.items():
        bad = _bad_values(
            parameter, [each for each in suspects if each.value.parameter != name], learned, good
        )
        if not bad:
            continue
        if parameter.is_choice:
            if texts := _spoilt_values(parameter, learned, bad):
                choices[name] = texts
        elif hole := _hole(parameter, learned, bad):
            numbers[name] = hole
    return Holes(numbers=numbers, choices=choices)


def _numbers(parameter: SearchedParameter, trials: pd.DataFrame) -> np.ndarray:
    return parameter.of(trials).astype("Float64").astype(float).to_numpy(float)


def _spoilt_values(
    parameter: SearchedParameter, learned: pd.DataFrame, bad: list[_Bad]
) -> tuple[str, ...]:
    """Return the values of a choice each trial of which has a bad value of another parameter."""
    places = parameter.places(learned).to_numpy(float)
    spoilt = np.any([each.having for each in bad], axis=0)
    with_it = [(text, places == place) for place, text in enumerate(parameter.texts)]
    return tuple(text for text, having in with_it if having.any() and spoilt[having].all())


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
        if behind_p(each.having[compared]) <= _LEVEL / len(suspects):
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


def behind_p(having: np.ndarray) -> float:
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


def _hole(
    parameter: SearchedParameter, learned: pd.DataFrame, bad: list[_Bad]
) -> NumberHole | None:
    """Return the hole of a number; None where the ends of what was tried have good values of the
    others.
    """
    numbers = _numbers(parameter, learned)
    spoilt = np.any([each.having for each in bad], axis=0)
    fair = numbers[~spoilt & ~np.isnan(numbers)]
    if not len(fair):
        return None
    low = float(fair.min())
    high = float(fair.max())
    tried = parameter.places_of(
        pd.Series([np.nanmin(numbers), low, high, np.nanmax(numbers)])
    ).to_numpy()
    below = (numbers < low) & (tried[1] - tried[0] >= LEAST_REACH)
    above = (numbers > high) & (tried[3] - tried[2] >= LEAST_REACH)
    beyond = below | above
    if beyond.sum() < LEAST_BEYOND:
        return None
    return NumberHole(
        parameter=parameter.name,
        low=low if below.any() else None,
        high=high if above.any() else None,
        trials=int(beyond.sum()),
        shared=_fewest(bad, beyond),
    )


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
