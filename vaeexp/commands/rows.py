"""Runs as rows of a table on the terminal, and as objects of JSON; read from records, without pandas."""

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from sweeps.storage.trial_record import TrialRecord
from vaeexp.runs.names import RunName
from vaeexp.words import format_duration, format_params

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def short_name(number: int, *, repeat: bool) -> str:
    """Return a run's name within its study: `7` for a trial, `r3` for a repeat."""
    return f"r{number}" if repeat else str(number)


def training_seconds(run: TrialRecord) -> float:
    """Sum the seconds of training over all epochs."""
    seconds = (float(epoch.metrics.get("seconds") or 0.0) for epoch in run.epochs)
    return math.fsum(second for second in seconds if math.isfinite(second))


def state_words(run: TrialRecord) -> str:
    """Return a run's state and, where it failed, the kind of failure: `complete`, `failed: diverged`."""
    failure = run.outcome.failure if run.outcome else None
    return f"failed: {failure.kind}" if failure else run.state


def run_row(run: TrialRecord) -> tuple[str, ...]:
    """Return a run's cells, in the order of `run_titles`."""
    objective = "" if run.objective is None else f"{run.objective:.2f}"
    configuration = format_params(run.params)
    if run.baseline:
        configuration = f"[{run.baseline}] {configuration}".rstrip()
    return (
        short_name(run.number, repeat=run.repeat),
        state_words(run),
        str(len(run.epochs)),
        objective,
        format_duration(training_seconds(run)),
        configuration,
    )


def run_titles(objective: str) -> tuple[str, ...]:
    return ("run", "state", "epochs", objective, "time", "configuration")


def run_object(study: str, run: TrialRecord, runs: Path) -> dict[str, Any]:
    """Everything recorded about a run but its epochs, JSON-able. Times are ISO 8601."""
    failure, best = run.outcome.failure if run.outcome else None, run.best
    return {
        "run": str(RunName(study, number=run.number, repeat=run.repeat)),
        "number": run.number,
        "repeat": run.repeat,
        "state": run.state,
        "objective": run.objective,
        "best_epoch": best.epoch if best else None,
        "epochs": len(run.epochs),
        "seconds": round(training_seconds(run), 3),
        "started": moment(run.started),
        "ended": moment(run.ended),
        "seed": run.seed,
        "failure": failure.kind if failure else None,
        "message": failure.message if failure else None,
        "duplicate_of": run.duplicate_of,
        "source_trial": run.source_trial,
        "purposes": list(run.purposes),
        "pair_id": run.pair_id,
        "baseline": run.baseline,
        "folder": str(runs / run.folder) if run.folder else None,
        "params": dict(run.params),
        "results": dict(run.results),
    }


def moment(seconds: float | None) -> str | None:
    """A time as the clock of this machine shows it."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds")


def print_json(content: Any) -> None:
    """Print JSON; a number that is not finite becomes null, because JSON has no word for it."""
    click.echo(json.dumps(_finite(content), indent=1, ensure_ascii=False, default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
