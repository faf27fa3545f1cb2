"""Which trials of a search failed, and whether a parameter separates them from the others.

**Error rate.** For each parameter, each way to cut its values in two is tried: above or below a number, or one value of a choice against the
rest. p is that of Fisher's exact test, one-sided, times the cuts of all parameters (Bonferroni). The parameter of the cut with the lowest p
is named at p ≤ 5 %, where at most one failure in ten lies on the other side and at least half of the trials on this side failed. So where failures have nothing to do with the parameters, one is named in at most 5 % of studies,
if trials that failed do not change where the search goes on; for a search that learns from them the rate is measured
(`tests/vaeexp/results/test_default_comparisons.py`).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np
import pandas as pd

from vaeexp.results.parameters import SearchedParameter
from vaeexp.words import format_value, is_missing

LEVEL = 0.05
TOLERATED = 0.1
"""Share of the failures that may lie on the other side."""
MOST = 0.5
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
    side: Literal["above", "below", "at"] | None = None
    """Failures lie above or below `threshold`, or `at` this value of a choice."""
    threshold: Any = None
    """Of a number, also of a list of numbers: the failing value next to the others. Of a choice: the value."""
    safe: float | None = None
    """Of a number: the value next to it at which trials did not fail; None where all on that side failed."""
    beyond: int = 0
    """Trials on the failing side."""
    exceptions: int = 0
    """Trials on the failing side that did not fail, and failures on the other."""
    winner: Any = None
    """The winner's value of the parameter."""
    p: float = math.nan


@dataclass(frozen=True)
class _Cut:
    exceptions: int
    parameter: str
    side: Literal["above", "below", "at"]
    threshold: Any
    safe: float | None
    inside: int
    """Trials on the failing side."""
    caught: int
    """Failures among them."""


def divergences(
    search: pd.DataFrame, parameters: Mapping[str, SearchedParameter], winner: pd.Series | None
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
    kind: str, ended: pd.DataFrame, parameters: Mapping[str, SearchedParameter], winner: pd.Series | None
) -> Divergence:
    failing = ((ended["state"] == "failed") & (ended["failure"].astype(str) == kind)).to_numpy(bool)
    # Trials that failed otherwise say nothing of this kind.
    kept = failing | (ended["state"] != "failed").to_numpy(bool)
    trials, failing = ended[kept], failing[kept]
    epochs = tuple(sorted(int(count) + 1 for count in trials.loc[failing, "epochs"]))
    plain = Divergence(kind=kind, failed=int(failing.sum()), trials=len(trials), epochs=epochs)
    cuts = [cut for parameter in parameters.values() for cut in _cuts(parameter, trials, failing)]
    if not cuts or failing.all():
        return plain
    from scipy.stats import hypergeom

    # The chance that so many of the failures, or more, lie on this side.
    least = [cut.caught - 1 for cut in cuts]
    ps = hypergeom.sf(least, len(trials), plain.failed, [cut.inside for cut in cuts]).tolist()
    best = min(range(len(cuts)), key=lambda place: (ps[place], cuts[place].exceptions))
    cut, p = cuts[best], min(1.0, ps[best] * len(cuts))
    outside = plain.failed - cut.caught
    if p > LEVEL or outside > TOLERATED * plain.failed or cut.caught < MOST * cut.inside:
        return plain
    value = None if winner is None else winner.get(f"params.{cut.parameter}")
    return Divergence(
        kind=kind,
        failed=plain.failed,
        trials=plain.trials,
        epochs=epochs,
        parameter=cut.parameter,
        side=cut.side,
        threshold=cut.threshold,
        safe=cut.safe,
        beyond=cut.inside,
        exceptions=cut.exceptions,
        winner=None if value is None or is_missing(value) else getattr(value, "item", lambda: value)(),
        p=p,
    )


def _cuts(parameter: SearchedParameter, trials: pd.DataFrame, failing: np.ndarray) -> Iterator[_Cut]:
    """Yield the ways to cut the trials in two by a parameter; trials without a value are on the side that does not fail."""
    column = trials[f"params.{parameter.name}"] if f"params.{parameter.name}" in trials else pd.Series(dtype=object)
    given = np.array([not is_missing(value) for value in column], dtype=bool)
    if not given.any():
        return
    if parameter.is_choice and not all(
        isinstance(value, Real) and not isinstance(value, bool) for value in column[given]
    ):
        texts = np.array([format_value(value) if known else "" for value, known in zip(column, given, strict=True)])
        for value in dict.fromkeys(column[given].map(format_value)):
            yield _cut(parameter.name, "at", value, None, given & (texts == value), failing)
        return
    values = column.astype(float).to_numpy()
    ordered = np.unique(values[given])
    for place, value in enumerate(ordered.tolist()):
        # Above the lowest, and below the highest, are all trials that have the parameter: that says something where it is conditional.
        below, above = ordered[place - 1] if place else None, ordered[place + 1] if place + 1 < len(ordered) else None
        yield _cut(parameter.name, "above", value, below, given & (values >= value), failing)
        yield _cut(parameter.name, "below", value, above, given & (values <= value), failing)


def _cut(
    name: str, side: Literal["above", "below", "at"], threshold: Any, safe: Any, inside: np.ndarray, failing: np.ndarray
) -> _Cut:
    return _Cut(
        exceptions=int((inside != failing).sum()),
        parameter=name,
        side=side,
        threshold=threshold,
        safe=None if safe is None else float(safe),
        inside=int(inside.sum()),
        caught=int((inside & failing).sum()),
    )
