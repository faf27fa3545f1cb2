"""The settings of a search that are as good as the winner: those that its fresh seeds do not set
apart.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from vaeexp.results.broken_seeds import repeated_settings
from vaeexp.results.slow_learners import seed_margin, spread_over_seeds
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import text_of, values_of
from vaeexp.results.tested_settings import winner_margins
from vaeexp.results.unequal_spread import unequal_spread

MOST = 5
"""Settings that are named."""
NEAR = 0.1
"""Share of its axis by which a number must differ from that of the winner to be named."""
LEAST_FREEDOM = 3
"""Degrees of freedom of the spread over seeds, below which its margin is so wide that it tells
nothing apart.
"""
LUCK = 0.25
"""Share of the seed margin within which a trial of the search is as good.

The best of a search are the luckiest of their kind. Of planted studies a trial within the whole
margin is truly far behind in a fifth, and within this share in less than one in twenty.
"""


@dataclass(frozen=True, kw_only=True)
class GoodSetting:
    """A trial of the search whose configuration is as good as the winner's."""

    trial: int
    differs: Mapping[str, Any]
    """What its configuration has otherwise: choices, and numbers that are not near."""
    confirmed: bool
    """Whether its value is a mean over fresh seeds; else it is that of its one run."""


@dataclass(frozen=True, kw_only=True)
class EquallyGood:
    """What is as good as the winner."""

    trials: tuple[int, ...]
    """All of them, those that are least behind first."""
    settings: tuple[GoodSetting, ...]
    """At most `MOST` of them: those with fresh seeds, then those that differ most from the winner
    and from each other; of single runs that are near it one at most.
    """
    within: float
    """Nats per image by which the last of `trials` is behind the winner's mean over seeds."""
    limit: float
    """Nats per image by which two runs of one setting differ in at most 5 % of cases."""


@lru_cache(maxsize=1)
def equally_good(view: StudyView) -> EquallyGood | None:
    """Return what is as good as the winner; None where the winner was not confirmed, too few seeds
    tell the spread over seeds, or nothing is as good.

    A setting with fresh seeds is as good where its mean is within what the means of so many seeds
    differ by, and neither validation nor test speaks against it. Another trial of the search is one
    run: it is as good within a part of that (`LUCK`). Where seeds vary more under one value of a
    choice, only settings of the value under which they vary least can be called as good.
    """
    unequal = unequal_spread(view)
    calm = unequal.values[0] if unequal else None
    spread, freedom = (calm.spread, calm.freedom) if calm else spread_over_seeds(view)
    if freedom < LEAST_FREEDOM or not view.confirmed or view.best_number is None:
        return None
    limit = seed_margin(spread, freedom)
    winner, ranked = view.confirmed[0], view.ranked.set_index("number")
    values: dict[Any, list[float]] = {
        number: [value] for number, value in ranked["objective"].to_dict().items()
    }
    for (text, *baselines), runs in repeated_settings(view).items():
        source = runs["source_trial"].iloc[0]
        if not baselines and source in values and text_of(values_of(ranked.loc[source])) == text:
            values[int(source)] = [*runs["objective"]]
    values |= {int(one.source_trial or 0): [*one.runs["objective"]] for one in view.confirmed}
    apart = _set_apart(view)
    if unequal and calm:
        steady = view.plan.parameters[unequal.parameter].has(view.search, [calm.value])
        apart |= {*view.search.loc[~steady, "number"]}
        if view.best_number in apart:
            return None
    apart.add(view.best_number)
    behind = {}
    for number, own in values.items():
        gap = float(np.mean(own)) - winner.value
        share = math.sqrt((1 / len(winner.runs) + 1 / len(own)) / 2)
        if number not in apart and gap <= limit * share * (LUCK if len(own) == 1 else 1.0):
            behind[number] = gap
    if not behind:
        return None
    order = sorted(behind, key=lambda number: (behind[number], number))
    fresh = [number for number in order if len(values[number]) > 1]
    settings = [
        GoodSetting(trial=trial, differs=_differs(view, trial), confirmed=trial in fresh)
        for trial in _spread_out(view, order, fresh)
    ]
    # What differs in nothing from the winner is the same setting to a person.
    settings = [one for one in settings if one.differs or one.confirmed] or settings[:1]
    within = max(0.0, *behind.values())
    return EquallyGood(trials=tuple(order), settings=tuple(settings), within=within, limit=limit)


def _set_apart(view: StudyView) -> set[int]:
    """Return the confirmed settings against which the interval on validation or test speaks."""
    on_validation = winner_margins(view.confirmed, view.retrained.race, metric="objective")
    return {
        margin.source_trial
        for margin in (*on_validation, *view.retrained.margins)
        if margin.interval.low > 0
    }


def _places(view: StudyView, numbers: list[int]) -> np.ndarray:
    """Return where trials have each parameter [trials, parameters], in units of its axis; −1 where
    it is not active.
    """
    rows = view.search.set_index("number").loc[numbers]
    own = [parameter.places(rows).fillna(-1.0) for parameter in view.plan.parameters.values()]
    return np.column_stack(own)


def _spread_out(view: StudyView, order: list[int], first: list[int]) -> list[int]:
    """Return at most `MOST` of these trials: the `first`, then each the furthest from the winner
    and those before it.
    """
    assert view.best_number is not None
    places = _places(view, [view.best_number, *order])
    gaps = abs(places[:, None] - places).sum(-1)
    chosen = [0, *(1 + order.index(number) for number in first[:MOST])]
    while len(chosen) <= min(MOST, len(order)):
        nearest = gaps[chosen].min(0)
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
    return [order[place - 1] for place in chosen[1:]]


def _differs(view: StudyView, number: int) -> dict[str, Any]:
    assert view.best_number is not None
    own, winner = _places(view, [number, view.best_number])
    params = view.plan.params(view.search[view.search["number"] == number].iloc[0])
    far = dict(zip(view.plan.parameters, abs(own - winner) > NEAR, strict=True))
    return {name: value for name, value in params.items() if far[name]}
