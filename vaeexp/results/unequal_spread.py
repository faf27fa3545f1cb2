"""Whether seeds vary more under one value of a choice than under another."""

import math
from dataclasses import dataclass
from itertools import chain

import numpy as np

from sweeps.results import pooled_deviation
from vaeexp.results.broken_seeds import repeated_settings
from vaeexp.results.study_view import StudyView
from vaeexp.results.tested_settings import ERROR_RATE
from vaeexp.words import format_value, is_missing

LEAST_SETTINGS = 2
"""Settings of a value with two seeds or more, below which its spread is not tested."""


@dataclass(frozen=True, kw_only=True)
class SpreadOfValue:
    """How the runs with fresh seeds of one value of a choice vary; all in nats per image."""

    value: str
    spread: float
    """Standard deviation over seeds, pooled over its settings."""
    freedom: int
    """Its degrees of freedom."""
    mean: float
    """Of all its runs."""
    best: float
    """Of the lowest of them."""


@dataclass(frozen=True, kw_only=True)
class UnequalSpread:
    """A choice under whose values seeds vary differently."""

    parameter: str
    values: tuple[SpreadOfValue, ...]
    """Those that were tested, the one of least spread first."""
    p: float
    """Of equal spread, after Bonferroni's correction for the tested parameters."""


def unequal_spread(view: StudyView) -> UnequalSpread | None:
    """Return the choice by which the spread over seeds differs most surely; None where the test
    tells no two values apart at 5 %.

    The logarithms of the deviations within settings are compared by an analysis of variance
    (Bartlett and Kendall 1946). A setting counts once, so that one broken seed decides nothing, and
    with as many seeds as each other one, because deviations of fewer spread wider.
    """
    settings = [own for own in repeated_settings(view).values() if len(own) > 1]
    tested = []
    for name, parameter in view.plan.parameters.items():
        groups: dict[str, list[np.ndarray]] = {}
        for own in settings if parameter.is_choice else ():
            if not is_missing(value := parameter.of(own).iloc[0]):
                groups.setdefault(format_value(value), []).append(own["objective"].to_numpy(float))
        groups = {value: own for value, own in groups.items() if len(own) >= LEAST_SETTINGS}
        if len(groups) > 1 and math.isfinite(p := p_of_equal_spread([*groups.values()])):
            tested.append((p, name, groups))
    p, name, groups = min(tested, key=lambda one: one[0], default=(math.nan, "", {}))
    p *= len(tested)
    if not p <= ERROR_RATE:
        return None
    values = [
        SpreadOfValue(
            value=value,
            spread=pooled_deviation(own)[0],
            freedom=pooled_deviation(own)[1],
            mean=float(np.mean([*chain.from_iterable(own)])),
            best=float(np.min([*chain.from_iterable(own)])),
        )
        for value, own in groups.items()
    ]
    ordered = tuple(sorted(values, key=lambda one: one.spread))
    return UnequalSpread(parameter=name, values=ordered, p=p)


def p_of_equal_spread(groups: list[list[np.ndarray]]) -> float:
    """Return the p of the test that runs vary alike within the settings of each group."""
    from scipy.stats import f_oneway

    seeds = min(map(len, chain.from_iterable(groups)))
    logs = [[math.log(max(own[:seeds].std(ddof=1), 1e-12)) for own in group] for group in groups]
    return float(f_oneway(*logs).pvalue)
