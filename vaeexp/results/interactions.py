"""Whether a compared parameter acts otherwise under one value of another parameter than under the
next: from the matched pairs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pandas as pd

from vaeexp.results.parameters import Parameters, SearchedParameter
from vaeexp.results.tested_settings import PairComparison
from vaeexp.words import format_value

TUNED = "learning_rate"
"""The parameter whose best value most depends on others."""
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
    difference depends on the configuration. Nothing says that the parameter is the cause.
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
    consistent: bool = False
    tuned_for: Any | None
    """The compared value that all compared configurations had in the search, where the learning
    rate was searched: it then was tuned for this value alone. None where both had their share."""
    nameable: bool = False
    """Whether this comparison may name an interaction."""
    study_false_alarm: float = 0.0
    """The sum of `false_alarm` over the comparisons of the study that may name one; 0 where none
    may.
    """


def find_interactions(
    pairs: Sequence[PairComparison],
    parameters: Parameters,
    search: pd.DataFrame,
) -> list[Interaction]:
    """Return, for each comparison, how it depends on each other parameter. Several may part its
    settings alike; then nothing says on which of them it depends.

    Args:
        pairs: as `StudyView.pairs`.
        search: trials of the search, which have the configurations of the pairs.
    """
    compared = [one for one in pairs if not one.pairs.empty]
    every = [_of_comparison(one, parameters, search) for one in compared]
    alarms = pd.Series([splits[0].false_alarm if splits else math.nan for splits in every])
    sums = alarms.dropna().sort_values(kind="stable").cumsum()
    nameable = sums[sums <= LEVEL]
    study_false_alarm = max(nameable.tolist(), default=0.0)
    found = list[Interaction]()
    for index, splits in enumerate(every):
        able = index in nameable
        found += [
            replace(
                one,
                consistent=one.consistent and able,
                nameable=able,
                study_false_alarm=study_false_alarm,
            )
            for one in splits
        ]
    return found


def _of_comparison(
    comparison: PairComparison, parameters: Parameters, search: pd.DataFrame
) -> list[Interaction]:
    others = [name for name in parameters if name != comparison.parameter]
    differences = comparison.pairs["difference"].to_numpy(float)
    trials, places = np.unique(comparison.pairs["source_trial"].to_numpy(int), return_inverse=True)
    configurations = search.set_axis(search["number"]).reindex(trials)
    splits = {name: _splits(parameters[name], configurations) for name in others}
    masks = list(chain.from_iterable(splits.values()))
    distinct = {min(mask, tuple(not side for side in mask)) for mask in masks}
    counts = np.bincount(places)
    sides = sorted(int(counts[list(mask)].sum()) for mask in distinct)
    alarm = chance_of_split(tuple(sides), len(differences))
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
            tuned_for=tuned if name == TUNED else None,
            **_best_split(splits[name], differences, places),
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
    p = np.linspace(0, 1, 401)[:, None]
    a = np.array(sides)[None]
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
    splits: Mapping[tuple[bool, ...], Split], differences: np.ndarray, places: np.ndarray
) -> dict[str, Any]:
    """Return what an `Interaction` says of the split of one parameter whose sides differ most, a
    consistent one first; empty without a split.

    `places`: configuration of each difference [n].
    """
    found: list[dict[str, Any]] = []
    for mask, (threshold, rest) in splits.items():
        high = np.array(mask)[places]
        below = differences[~high]
        above = differences[high]
        opposed = bool(below.max() < 0 < above.min() or above.max() < 0 < below.min())
        found.append(
            {
                "threshold": threshold,
                "rest": rest,
                "consistent": opposed,
                "below": float(below.mean()),
                "above": float(above.mean()),
            }
        )
    return max(
        found, key=lambda each: (each["consistent"], abs(each["above"] - each["below"])), default={}
    )


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
