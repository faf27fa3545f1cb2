"""Which trials of a search failed, and whether a parameter separates them from the others.

**Error rate.** For each parameter, each way to cut its values in two is tried: above or below a
number, or one value of a choice against the rest. p is that of Fisher's exact test, one-sided,
times the cuts of all parameters (Bonferroni). The parameter of the cut with the lowest p is named
at p ≤ 5 %, where at most one failure in ten lies on the other side and at least a third of the
trials on this side failed. So where failures have nothing to do with the parameters, one is named
in at most 5 % of studies, if trials that failed do not change where the search goes on; for a
search that learns from them the rate is measured
(`tests/vaeexp/results/test_default_comparisons.py`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any, Literal

import numpy as np
import pandas as pd

from vaeexp.results.parameters import Parameters, SearchedParameter
from vaeexp.words import format_value, is_missing

Side = Literal["above", "below", "at"]

LEVEL = 0.05
TOLERATED = 0.1
"""Share of the failures that may lie on the other side."""
LEAST = 1 / 3
"""Share of the trials on the failing side that failed, at least."""


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The trials of a search that failed of one kind."""

    kind: str
    """diverged, out_of_memory, crashed, timed_out or error."""
    failed: int
    trials: int
    """Trials that have ended or were paused."""
    epochs: tuple[int, ...]
    """The epoch in which each failed, in ascending order."""
    parameter: str | None = None
    """The parameter that separates them from the others; None where none does."""
    side: Side | None = None
    """Failures lie above or below `threshold`, or `at` this value of a choice."""
    threshold: Any = None
    """Of a number, also of a list of numbers: the failing value next to the others. Of a choice:
    the value.
    """
    beyond: int = 0
    """Trials on the failing side."""
    exceptions: int = 0
    """Trials on the failing side that did not fail, and failures on the other."""
    winner: Any = None
    """The winner's value of the parameter."""
    p: float = math.nan

    @property
    def caught(self) -> int:
        """Failures on the failing side."""
        return (self.failed + self.beyond - self.exceptions) // 2


def divergences(
    search: pd.DataFrame, parameters: Parameters, winner: pd.Series | None
) -> list[Divergence]:
    """Return the failures of a search by kind, the most frequent first.

    Args:
        search: its trials, without those that repeat an earlier one.
        parameters: those that were searched.
        winner: the trial that has the best configuration.
    """
    ended = search[search["state"].isin(["complete", "pruned", "paused", "failed"])]
    failed = ended[ended["state"] == "failed"]
    kinds = failed["failure"].astype(str).value_counts(sort=True).index
    return [_of_kind(kind, ended, parameters, winner) for kind in kinds]


def _of_kind(
    kind: str, ended: pd.DataFrame, parameters: Parameters, winner: pd.Series | None
) -> Divergence:
    failing = ((ended["state"] == "failed") & (ended["failure"].astype(str) == kind)).to_numpy(bool)
    # Trials that failed otherwise say nothing of this kind.
    kept = failing | (ended["state"] != "failed").to_numpy(bool)
    trials = ended[kept]
    failing = failing[kept]
    epochs = tuple(sorted(int(count) + 1 for count in trials.loc[failing, "epochs"]))
    plain = Divergence(kind=kind, failed=int(failing.sum()), trials=len(trials), epochs=epochs)
    cuts: list[Divergence] = []
    for parameter in parameters.values():
        cuts += _cuts(plain, parameter, trials, failing)
    if not cuts or failing.all():
        return plain
    from scipy.stats import hypergeom

    # The chance that so many of the failures, or more, lie on this side.
    least = [cut.caught - 1 for cut in cuts]
    ps = hypergeom.sf(least, len(trials), plain.failed, [cut.beyond for cut in cuts]).tolist()
    cut, p = min(zip(cuts, ps, strict=True), key=lambda pair: (pair[1], pair[0].exceptions))
    p = min(1.0, p * len(cuts))
    if (
        p > LEVEL
        or cut.failed - cut.caught > TOLERATED * cut.failed
        or cut.caught < LEAST * cut.beyond
    ):
        return plain
    value = None if winner is None else winner.get(f"params.{cut.parameter}")
    return replace(
        cut, winner=None if is_missing(value) else getattr(value, "item", lambda: value)(), p=p
    )


def _cuts(
    plain: Divergence, parameter: SearchedParameter, trials: pd.DataFrame, failing: np.ndarray
) -> Iterator[Divergence]:
    """Yield the ways to cut the trials in two by a parameter; trials without a value are on the
    side that does not fail.
    """
    column = parameter.of(trials)
    given = ~column.map(is_missing).to_numpy(bool)
    if not given.any():
        return
    cut = partial(_cut, replace(plain, parameter=parameter.name), failing)
    if parameter.is_choice and not all(
        isinstance(value, Real) and not isinstance(value, bool) for value in column[given]
    ):
        texts = column.map(format_value).to_numpy()
        for value in dict.fromkeys(column[given].map(format_value)):
            yield cut(given & (texts == value), "at", value)
        return
    values = column.astype(float).to_numpy()
    # Above the lowest, and below the highest, are all trials that have the parameter: that says
    # something where it is conditional.
    for value in np.unique(values[given]).tolist():
        yield cut(given & (values >= value), "above", value)
        yield cut(given & (values <= value), "below", value)


def _cut(
    plain: Divergence, failing: np.ndarray, inside: np.ndarray, side: Side, threshold: Any
) -> Divergence:
    exceptions = int((inside != failing).sum())
    beyond = int(inside.sum())
    return replace(plain, side=side, threshold=threshold, exceptions=exceptions, beyond=beyond)
