"""The command status: how far studies are, read from their storage while they run or afterwards, from any terminal."""

import math
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweeps.errors import UserError, masked
from sweeps.results.best import best_record, ranked_trials
from sweeps.storage.database import study_names
from sweeps.storage.lock import lock_holder
from sweeps.storage.study_record import StoredStudy, StudyRecord
from vaeexp.commands.options import runs_option, storage_option, study_argument
from vaeexp.commands.rows import json_option, print_json, run_row, run_titles
from vaeexp.console import minus_elbo, open_console, print_table, write_line
from vaeexp.results.open_study import stored_study
from vaeexp.runs.names import RunName
from vaeexp.words import format_duration

if TYPE_CHECKING:
    from rich.console import Console

WATCH_SECONDS = 2.0
BEST_SHOWN = 10


def show_status(study: str | None, runs: Path, storage: str | None, *, watch: bool, console: "Console") -> None:
    """One study in full, or all studies of the runs folder on one line each; with `watch` until all have ended.

    In a terminal `watch` clears the screen and draws anew; elsewhere it prints again whenever something has changed.
    Raises UserError when there is no such study.
    """
    shown: Any = None
    while True:
        now, running = _one_study(study, runs, storage, console) if study else _all_studies(runs, storage, console)
        if now != shown:
            if shown is not None and console.is_terminal:
                console.clear()
            console.out(now, highlight=False)
            shown = now
        if not (watch and running):
            return
        time.sleep(WATCH_SECONDS)


def state_of(study: StudyRecord, runs: Path) -> str:
    """`running`, `finished`, or what to do to go on; in words."""
    holder = lock_holder(runs, study.name)
    if holder is not None:
        return "running" if holder["pid"] is None else f"running (process {holder['pid']})"
    return "finished" if study.finished else "stopped before its end; the same sweep command goes on"


def study_object(stored: StoredStudy, runs: Path) -> dict[str, Any]:
    """How far a study is, JSON-able."""
    study, best = stored.study, best_record(stored)
    return {
        "study": study.name,
        "question": study.question,
        "state": state_of(study, runs),
        "trials": len(stored.trials),
        "planned": study.budget.get("trials"),
        "states": dict(Counter(trial.state for trial in stored.trials)),
        "repeats": len(stored.repeats),
        "best": best and str(RunName(study.name, number=best.number, repeat=best.repeat)),
        "best_objective": best and best.objective,
        "seconds": study.elapsed or 0.0,
        "stopped": study.stopped,
    }


def _all_studies(runs: Path, storage: str | None, console: "Console") -> tuple[str, bool]:
    """The table of all studies, and whether any is running."""
    rows = []
    for name in study_names(runs, storage):
        try:
            stored = stored_study(name, runs, storage)
        except UserError as error:
            rows.append((name, "", "", "", error.problem))
        else:
            elapsed = format_duration(stored.study.elapsed or 0.0)
            rows.append((name, _counts(stored), _best(stored), elapsed, state_of(stored.study, runs)))
    titles = ("study", "trials", f"best {minus_elbo(console)}", "time", "state")
    with console.capture() as captured:
        if rows:
            print_table(console, titles, rows)
        else:
            write_line(console, f"No study has run in {runs if storage is None else masked(storage)}.")
    return captured.get().rstrip("\n"), any(row[-1].startswith("running") for row in rows)


def _one_study(study: str, runs: Path, storage: str | None, console: "Console") -> tuple[str, bool]:
    """The tables of one study, and whether it is running."""
    stored = stored_study(study, runs, storage)
    state = state_of(stored.study, runs)
    with console.capture() as captured:
        _show_one(stored, state, console)
    return captured.get().rstrip("\n"), state.startswith("running")


def _show_one(stored: StoredStudy, state: str, console: "Console") -> None:
    study = stored.study
    write_line(console, f"{study.name}: {state}", style="bold")
    write_line(console, study.question)
    best = f"best {minus_elbo(console)} {_best(stored)}" if _best(stored) else "none complete"
    write_line(console, f"{_counts(stored)}; {best}; searched for {format_duration(study.elapsed or 0.0)}")
    if study.stopped:
        write_line(console, f"search ended: {study.stopped}")
    ended = [trial for trial in stored.trials if trial.state != "running"]
    ended.sort(key=lambda trial: math.inf if trial.objective is None else trial.objective)
    tables = {
        "Running": [run for run in (*stored.trials, *stored.repeats) if run.state == "running"],
        "Best of the search": ended[:BEST_SHOWN],
        "Confirm, compare and baselines": [run for run in stored.repeats if run.state != "running"],
    }
    for title, runs in tables.items():
        if runs:
            write_line(console, "")
            write_line(console, title, style="bold")
            print_table(console, run_titles(minus_elbo(console)), [run_row(run) for run in runs])


def _counts(stored: StoredStudy) -> str:
    """`12 of 40 trials: 8 complete, 3 pruned, 1 running`."""
    states = Counter(trial.state for trial in stored.trials)
    order: tuple[Any, ...] = ("complete", "pruned", "failed", "running", "waiting")
    parts = [f"{states[state]} {state}" for state in order if states[state]]
    planned, done = stored.study.budget.get("trials"), len(stored.trials)
    count = f"{done} of {planned} trials" if planned else f"{done} trials"
    return f"{count}: {', '.join(parts)}" if parts else count


def _best(stored: StoredStudy) -> str:
    """The best trial of the search."""
    ranked = ranked_trials(stored)
    return f"{ranked[0].objective:.2f} ({RunName(stored.study.name, number=ranked[0].number)})" if ranked else ""


@click.command()
@study_argument("Study to show; without it, one line for each study of the runs folder.", required=False)
@runs_option
@storage_option
@click.option(
    "--watch", is_flag=True, help="Look again every two seconds until the study is finished or Ctrl-C is pressed."
)
@json_option
def status(*, study: str | None, runs: Path, storage: str | None, watch: bool, as_json: bool) -> None:
    """Show how far a study is.

    While it runs or afterwards, from any terminal; it only reads.
    """
    if as_json and watch:
        raise click.UsageError("Give --json or --watch, not both.")
    if as_json and study:
        print_json(study_object(stored_study(study, runs, storage), runs))
    elif as_json:
        names = study_names(runs, storage)
        print_json([study_object(stored_study(name, runs, storage), runs) for name in names])
    else:
        show_status(study, runs, storage, watch=watch, console=open_console())
