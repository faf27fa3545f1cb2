"""What became of the runs with fresh seeds that a study asks for: of each configuration how many
were planned, are complete, and failed when.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from vaeexp.results.statements import Statements, say

PURPOSES = ("confirm", "compare", "baseline")


@dataclass(frozen=True, kw_only=True)
class Failures:
    """The runs of a configuration that failed of one kind."""

    kind: str
    """diverged, out_of_memory, crashed, timed_out or error."""
    epochs: tuple[int, ...]
    """The epoch in which each failed, in ascending order."""


@dataclass(frozen=True, kw_only=True)
class NewSeeds:
    """A confirmed configuration or a baseline, and the runs with fresh seeds that the study asks
    for.
    """

    purpose: Literal["confirm", "baseline"]
    source_trial: int | None
    """The trial of the search whose configuration it has or changes; None for the fixed
    settings.
    """
    baseline: str | None
    """Name of the baseline."""
    planned: int
    """Seeds that the study asks for."""
    complete: int
    failures: tuple[Failures, ...]
    """Of each kind that occurred, the most frequent first."""

    @property
    def failed(self) -> int:
        return sum(len(failures.epochs) for failures in self.failures)

    @property
    def title(self) -> str:
        """Return `trial 7`, or `baseline usual of trial 7`."""
        trial = "" if self.source_trial is None else f"trial {self.source_trial}"
        if self.baseline is None:
            return trial
        return f"baseline {self.baseline}" + (f" of {trial}" if trial else "")


def failed_seeds(failures: Sequence[Failures], planned: int) -> Statements:
    """Return how many new seeds failed of each kind and when; empty where none did."""
    found = []
    for each in failures:
        first = each.epochs[0]
        last = each.epochs[-1]
        epochs = {"epoch": first} if first == last else {"first": first, "last": last}
        failed = len(each.epochs)
        found.append(say("seeds.failed", failed=failed, planned=planned, kind=each.kind, **epochs))
    return tuple(found)


def failures_of(runs: pd.DataFrame) -> tuple[Failures, ...]:
    """Return the failures among these runs by kind, the most frequent first."""
    failed = runs[runs["state"] == "failed"]
    # The epoch in which a run fails is not among those that it reported.
    kinds = [
        Failures(kind=str(kind), epochs=tuple(sorted(int(n) + 1 for n in own["epochs"])))
        for kind, own in failed.groupby("failure", dropna=False)
    ]
    return tuple(sorted(kinds, key=lambda each: -len(each.epochs)))


def new_seeds(
    runs: pd.DataFrame, planned: int, source: int | None, baseline: str | None = None
) -> NewSeeds:
    """Return what became of these runs of one configuration, of which the study asks for so
    many.
    """
    complete = int(((runs["state"] == "complete") & runs["objective"].notna()).sum())
    failures = failures_of(runs)
    known = complete + sum(len(each.epochs) for each in failures)
    return NewSeeds(
        purpose="confirm" if baseline is None else "baseline",
        source_trial=source,
        baseline=baseline,
        planned=max(planned, known),
        complete=complete,
        failures=failures,
    )


def seeds_of(seeds: Sequence[NewSeeds], source: int | None, baseline: str | None) -> dict[str, Any]:
    """Return `planned` and `failures` of a confirmed configuration, or of a baseline; empty where
    they are not known.
    """
    own = [each for each in seeds if (each.source_trial, each.baseline) == (source, baseline)]
    return {"planned": own[0].planned, "failures": own[0].failures} if own else {}
