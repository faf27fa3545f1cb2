"""What stands before all else in the answer of a search: that it has learned nothing, why, and what to do; or that an unfinished trial came further.

Made of records, without pandas, because `status` says it, too.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeexp.words import format_number, join_and, plural

if TYPE_CHECKING:
    import pandas as pd

    from sweeps.storage.study_record import StoredStudy, StudyRecord

COLLAPSED = 0.1
"""Rate, in nats per image, below which the posterior of a trial has collapsed: its latent variables say nothing about the image."""
REMEDIES = {
    "diverged": "Search a lower `learning_rate`, or limit the gradient with `clip_norm`; with bf16, try `--precision float32`.",
    "out_of_memory": "Search smaller networks or a smaller `batch_size`, or give fewer `--lanes`.",
    "crashed": "The study's log has what the workers said last; fewer `--workers` take less memory.",
    "timed_out": "Give a longer `--trial-timeout`, or search smaller networks.",
    "error": "Mend what the message names, then search on under another name.",
}
"""Kind of a failure → what to do where all trials failed and most failed of it."""
UNFINISHED = ("pruned", "paused")


@dataclass(frozen=True, kw_only=True)
class SearchedTrial:
    """What the verdict needs to know of a trial of the search that is no duplicate."""

    number: int
    state: str
    epochs: int
    objective: float
    """NaN without one."""
    rate: float
    """At its best epoch, nats per image; NaN where it is not known."""
    failure: str | None
    message: str | None


def of_records(stored: "StoredStudy") -> list[SearchedTrial]:
    """Return the trials of a stored study."""
    return [
        SearchedTrial(
            number=trial.number,
            state=trial.state,
            epochs=len(trial.epochs),
            objective=math.nan if trial.objective is None else trial.objective,
            rate=trial.best.metrics.get("val/rate", math.nan) if trial.best else math.nan,
            failure=trial.outcome.failure.kind if trial.outcome and trial.outcome.failure else None,
            message=trial.outcome.failure.message if trial.outcome and trial.outcome.failure else None,
        )
        for trial in stored.newest
        if trial.duplicate_of is None
    ]


def of_rows(search: "pd.DataFrame", rates: Mapping[int, float]) -> list[SearchedTrial]:
    """Return the trials of a table. `rates`: number of a trial → its rate at its best epoch."""
    columns = ["number", "state", "epochs", "objective", "failure", "message"]
    rows = search[columns].astype(object).itertuples(index=False)
    named = [dict(zip(columns, row, strict=True)) for row in rows]
    return [SearchedTrial(**row, rate=rates.get(row["number"], math.nan)) for row in named]


def all_failed(trials: Sequence[SearchedTrial]) -> bool:
    """Whether a search has trials, and each of them failed."""
    return bool(trials) and all(trial.state == "failed" for trial in trials)


def nothing_learned(study: "StudyRecord", trials: Sequence[SearchedTrial]) -> str:
    """Say that the trials of a search have taught nothing, and what to do; empty where they have, or may while it goes on."""
    ended = [trial for trial in trials if trial.state not in ("running", "waiting")]
    complete = [trial for trial in ended if trial.state == "complete"]
    if all_failed(ended):
        return _failed(ended)
    if not complete and len(ended) == len(trials) and ended:
        return _unfinished(study, ended)
    if complete and not _without_rate(study) and all(trial.rate < COLLAPSED for trial in complete):
        return _collapsed(study, complete)
    return ""


def verdict_of(stored: "StoredStudy") -> dict[str, str | None]:
    """Return the lines of `nothing_learned` and `came_further` by these names; None where there is none."""
    trials = of_records(stored)
    lines = {"nothing_learned": nothing_learned, "came_further": came_further}
    return {name: line(stored.study, trials) or None for name, line in lines.items()}


def _failed(ended: Sequence[SearchedTrial]) -> str:
    kinds = Counter(str(trial.failure) for trial in ended)
    most = kinds.most_common(1)[0][0]
    message = next((trial.message for trial in ended if str(trial.failure) == most and trial.message), None)
    first = f" The first {most.replace('_', ' ')}: {' '.join(message.split()).rstrip('.')}." if message else ""
    counts = join_and([f"{count:,} {kind.replace('_', ' ')}" for kind, count in kinds.most_common()])
    return (
        f"Nothing was learned: {_all(ended, 'trial')} failed ({counts}).{first} {REMEDIES.get(most, REMEDIES['error'])}"
    )


def _unfinished(study: "StudyRecord", ended: Sequence[SearchedTrial]) -> str:
    counts = Counter(trial.state for trial in ended)
    states = join_and([f"{counts[state]:,} {state}" for state in (*UNFINISHED, "failed") if counts[state]])
    remedy = "Give a larger budget, such as more `--trials`, or `--set pruner.name=none --extend`."
    if study.spec.get("longest_warmup"):
        remedy += " A trial that ends within its warm-up has no value: keep `warmup_epochs` below `epochs`."
    return f"No trial was trained to its end ({states}). {remedy}"


def _collapsed(study: "StudyRecord", complete: Sequence[SearchedTrial]) -> str:
    highest = max(trial.rate for trial in complete)
    return (
        f"Nothing was learned: the posterior collapsed in {_all(complete, 'complete trial')}. The rate is {format_number(highest)} nats per image "
        f"at most, below {COLLAPSED:g}, so the latent variables say nothing about the image, and no setting of them matters. "
        "Search a smaller `beta`, raise it slowly (`warmup_epochs`), or leave some rate free (`free_nats`)."
    )


def _all(trials: Sequence[SearchedTrial], noun: str) -> str:
    return f"the one {noun}" if len(trials) == 1 else f"all {plural(len(trials), noun)}"


def _without_rate(study: "StudyRecord") -> bool:
    """Whether the study's models have no rate by definition."""
    return bool((study.spec.get("model") or {}).get("posterior") == "deterministic")


def further_trial(study: "StudyRecord", trials: Sequence[SearchedTrial]) -> tuple[SearchedTrial, float] | None:
    """Return the unfinished trial that had reached the lowest value, and that of the best complete trial; None where it is not below that."""
    best = min((trial.objective for trial in trials if trial.state == "complete"), default=math.nan)
    lower = [trial for trial in trials if trial.state in UNFINISHED and trial.objective < best]
    if study.objectives or not lower:
        return None
    return min(lower, key=lambda trial: (trial.objective, trial.number)), best


def came_further(study: "StudyRecord", trials: Sequence[SearchedTrial]) -> str:
    """Say which unfinished trial had reached less than the best complete one; empty where none had."""
    found = further_trial(study, trials)
    if found is None:
        return ""
    trial, best = found
    return (
        f"Trial {trial.number}, {trial.state} after {plural(trial.epochs, 'epoch')}, had reached a validation −ELBO of "
        f"{format_number(trial.objective)} nats per image, lower than the {format_number(best)} of the best complete trial."
    )
