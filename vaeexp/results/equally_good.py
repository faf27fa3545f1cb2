"""The settings of a search that are as good as the best one: those whose values differ by no more
than two seeds of one setting do.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vaeexp.results.slow_learners import seed_margin
from vaeexp.results.study_view import StudyView
from vaeexp.words import format_value


@dataclass(frozen=True, kw_only=True)
class EquallyGood:
    """Complete trials of the search, the best of them first."""

    trials: tuple[int, ...]
    within: float
    """Nats per image between the lowest and the highest of their values."""
    limit: float
    """Nats per image by which two runs of one setting differ in at most 5 % of cases."""
    ranges: Mapping[str, tuple[Any, ...]]
    """Searched parameter → least and largest of its numbers in them, or its values; one entry where
    they share it. Without parameters that none of them uses.
    """


def equally_good(view: StudyView) -> EquallyGood | None:
    """Return the complete trials that are as good as the lowest; None where the spread over seeds
    is not known, or no other trial is as good.

    Each trial is one run, so two differ by chance as two runs of one setting do (`seed_margin`).
    """
    limit = seed_margin(view)
    if math.isnan(limit) or len(view.ranked) < 2:
        return None
    values = view.ranked["objective"].to_numpy(float)
    near = view.ranked[values <= values[0] + limit]
    if len(near) < 2:
        return None
    return EquallyGood(
        trials=tuple(int(number) for number in near["number"]),
        within=float(np.ptp(near["objective"])),
        limit=limit,
        ranges={
            name: found for name in view.plan.parameters if (found := _values(view, name, near))
        },
    )


def _values(view: StudyView, name: str, near: Any) -> tuple[Any, ...]:
    parameter = view.plan.parameters[name]
    values = parameter.of(near).dropna()
    if parameter.is_choice:
        return tuple(dict.fromkeys(map(format_value, values)))
    numbers = values.astype(float)
    return tuple(dict.fromkeys((numbers.min(), numbers.max()))) if len(numbers) else ()
