"""What stands before all else in the answer of a search: that it has learned nothing, why, and what
to do; or that an unfinished trial came further.

Made of records, without pandas, because `status` says it, too.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from vaeexp.results.statements import NATS, Figure, Statement, Statements, say

if TYPE_CHECKING:
    import pandas as pd

    from sweeps import State, StudyRecord

COLLAPSED = 0.1
"""Rate, in nats per image, below which the posterior of a trial has collapsed: its latent variables
say nothing about the image.
"""
REMEDIES = ("diverged", "out_of_memory", "crashed", "timed_out")
"""Kinds of failure that have a remedy of their own."""
UNFINISHED = ("pruned", "paused")


@dataclass(frozen=True)
class SearchedTrial:
    """What the verdict needs to know of a trial of the search that is no duplicate."""

    number: int
    state: str
    epochs: int
    objective: float
    """NaN without one."""
    failure: str | None
    message: str | None
    rate: float
    """At its best epoch, nats per image; NaN where it is not known."""


def of_rows(search: "pd.DataFrame") -> list[SearchedTrial]:
    """Return the trials of a table that has the rates of their best epochs."""
    columns = ["number", "state", "epochs", "objective", "failure", "message", "val/rate"]
    rows = search[columns].astype(object).itertuples(index=False, name=None)
    return [SearchedTrial(*row) for row in rows]


@dataclass(frozen=True)
class Verdict:
    """What the trials of a search say of the search itself."""

    study: "StudyRecord"
    trials: Sequence[SearchedTrial]

    @property
    def all_failed(self) -> bool:
        """Whether the search has trials, and each of them failed."""
        return bool(self.trials) and all(trial.state == "failed" for trial in self.trials)

    @cached_property
    def nothing_learned(self) -> Statements:
        """That the trials have taught nothing, and what to do; empty where they have, or may while
        the search goes on.
        """
        ended = [trial for trial in self.trials if trial.state not in ("running", "waiting")]
        complete = [trial for trial in ended if trial.state == "complete"]
        if ended and all(trial.state == "failed" for trial in ended):
            return _failed(ended)
        if not complete and len(ended) == len(self.trials) and ended:
            return _unfinished(self.study, ended)
        # Which has no rate.
        deterministic = (self.study.spec.get("model") or {}).get("posterior") == "deterministic"
        if complete and not deterministic and all(trial.rate < COLLAPSED for trial in complete):
            found = say(
                "nothing.collapsed",
                complete=len(complete),
                rate=Figure(max(trial.rate for trial in complete), unit=NATS),
                limit=Figure(COLLAPSED, unit=NATS, digits=1),
            )
            return found, Statement("remedy.collapsed")
        return ()

    @cached_property
    def came_further(self) -> Statements:
        """Which unfinished trial had reached less than the best complete one; empty where none
        had.
        """
        complete = [trial.objective for trial in self.trials if trial.state == "complete"]
        best = min(complete, default=math.nan)
        lower = [
            trial for trial in self.trials if trial.state in UNFINISHED and trial.objective < best
        ]
        if self.study.objectives or not lower:
            return ()
        trial = min(lower, key=lambda trial: (trial.objective, trial.number))
        found = say(
            "get.further",
            [trial.number],
            trial=trial.number,
            state=trial.state,
            epochs=trial.epochs,
            value=Figure(trial.objective, unit=NATS, n=1),
            best=Figure(float(best), unit=NATS, n=1),
        )
        return (found,)


def verdict_of(stored: "State") -> Verdict:
    """Return the verdict on a stored study."""
    made = []
    for trial in stored.trials:
        if trial.duplicate_of is None:
            failure = trial.failure
            found = SearchedTrial(
                number=trial.number,
                state=trial.state,
                epochs=len(trial.epochs),
                objective=math.nan if trial.objective is None else trial.objective,
                rate=trial.best.metrics.get("val/rate", math.nan) if trial.best else math.nan,
                failure=failure.kind if failure else None,
                message=failure.message if failure else None,
            )
            made.append(found)
    return Verdict(stored.study, made)


def remedy(kind: str) -> Statement:
    """Return what to do where most runs failed of this kind."""
    return Statement(f"remedy.{kind if kind in REMEDIES else 'error'}")


def _failed(ended: Sequence[SearchedTrial]) -> Statements:
    kinds = Counter(str(trial.failure) for trial in ended)
    most = kinds.most_common(1)[0][0]
    message = next(
        (trial.message for trial in ended if str(trial.failure) == most and trial.message), None
    )
    first = " ".join(message.split()).rstrip(".") if message else None
    found = say(
        "nothing.failed",
        failed=len(ended),
        kinds=_counted(dict(kinds.most_common())),
        most=most.replace("_", " "),
        message=first,
    )
    return found, remedy(most)


def _unfinished(study: "StudyRecord", ended: Sequence[SearchedTrial]) -> Statements:
    counts = Counter(trial.state for trial in ended)
    states = {state: counts[state] for state in (*UNFINISHED, "failed") if counts[state]}
    warmup = study.spec.get("longest_warmup") or None
    found = say("nothing.complete", states=_counted(states))
    return found, say("remedy.unfinished", warmup=warmup)


def _counted(counts: Mapping[str, int]) -> dict[str, int]:
    return {name.replace("_", " "): count for name, count in counts.items()}
