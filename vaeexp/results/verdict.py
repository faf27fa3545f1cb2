"""What stands before all else in the answer of a search: that it has learned nothing, why, and what
to do; or that an unfinished trial came further.

Made of records, without pandas, because `status` says it, too.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vaeexp.results.statements import NATS, Figure, Statement, Statements, say

if TYPE_CHECKING:
    import pandas as pd

    from sweeps import State, StudyRecord

COLLAPSED = 0.1
"""Rate, in nats per image, below which the posterior of a trial has collapsed: its latent variables
say nothing about the image.
"""
LAST = 0.1
"""Share of a run's epochs, its last ones, that should gain little."""
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
    curve: Sequence[float]
    """The objective of each epoch."""

    @property
    def still_falls(self) -> bool:
        """Whether the last tenth of its epochs made more than a tenth of the fall of its
        objective.
        """
        last = max(1, round(LAST * len(self.curve)))
        before = min(self.curve[:-last], default=math.inf)
        best = min(self.curve)
        return before - best > LAST * (self.curve[0] - best)


def of_rows(search: "pd.DataFrame", epochs: "pd.DataFrame") -> list[SearchedTrial]:
    """Return the trials of a table that has the rates of their best epochs, with their `epochs`."""
    curves = epochs.sort_values("epoch").groupby("number")["objective"].agg(list)
    columns = ["number", "state", "epochs", "objective", "failure", "message", "val/rate"]
    rows = search[columns].assign(curve=search["number"].map(curves)).astype(object)
    return [SearchedTrial(*row) for row in rows.itertuples(index=False, name=None)]


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
        if ended and all(trial.state == "failed" for trial in ended):
            return _failed(ended)
        if not self._complete and len(ended) == len(self.trials) and ended:
            return _unfinished(self.study, ended)
        if self._collapsed and not self.hardly_trained:
            limit = Figure(COLLAPSED, unit=NATS, digits=1)
            found = say("nothing.collapsed", limit=limit, **self._collapsed)
            return found, Statement("remedy.collapsed")
        return ()

    @cached_property
    def hardly_trained(self) -> Statements:
        """That the complete trials say nothing of the image yet, because their training was too
        short, how many others failed, and what to do, in this order; empty where they do.
        """
        if not self._collapsed or not all(trial.still_falls for trial in self._complete):
            return ()
        failed = [str(trial.failure) for trial in self.trials if trial.state == "failed"]
        kinds = dict(Counter(failed).most_common())
        found = say("nothing.hardly_trained", failed=_counted(kinds) or None, **self._collapsed)
        return found, Statement("remedy.hardly_trained"), *map(remedy, [*kinds][:1])

    @property
    def _complete(self) -> list[SearchedTrial]:
        return [trial for trial in self.trials if trial.state == "complete"]

    @property
    def _collapsed(self) -> dict[str, Any]:
        """How many trials are complete, and the highest of their rates, where all of these are
        below `COLLAPSED`; else empty.
        """
        rates = [trial.rate for trial in self._complete]
        # Which has no rate.
        deterministic = (self.study.spec.get("model") or {}).get("posterior") == "deterministic"
        if rates and not deterministic and all(rate < COLLAPSED for rate in rates):
            return {"complete": len(rates), "rate": Figure(max(rates), unit=NATS)}
        return {}

    @cached_property
    def came_further(self) -> Statements:
        """Which unfinished trial had reached less than the best complete one; empty where none
        had.
        """
        best = min((trial.objective for trial in self._complete), default=math.nan)
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
        if trial.duplicate_of is None and trial.counts:
            failure = trial.failure
            found = SearchedTrial(
                number=trial.number,
                state=trial.state,
                epochs=len(trial.epochs),
                objective=math.nan if trial.objective is None else trial.objective,
                rate=trial.best.metrics.get("val/rate", math.nan) if trial.best else math.nan,
                failure=failure.kind if failure else None,
                message=failure.message if failure else None,
                curve=[*trial.objectives.values()],
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
