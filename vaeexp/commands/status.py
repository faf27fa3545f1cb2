"""The commands status and best: how far studies are, and their best runs; read from records."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweeps import (
    State,
    StudyRecord,
    Trial,
    UserError,
    driver_in_words,
    fixed_differences,
    study_holder,
    study_names,
)
from sweeps.results import best_record, front_trials, last_values, ranked_trials
from vaeexp.commands.options import Places, places_options, study_argument
from vaeexp.console import minus_elbo, open_console, print_json, print_table, write_line
from vaeexp.own_code import code_version
from vaeexp.report.sentences import sentence
from vaeexp.results import best_of, stored_study, wider_ranges
from vaeexp.results.verdict import verdict_of
from vaeexp.words import format_duration, format_params, format_short, moment, one_line, plural

if TYPE_CHECKING:
    from rich.console import Console


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def training_seconds(run: Trial) -> float:
    """Sum the seconds of training over all epochs."""
    seconds = (float(epoch.metrics.get("seconds") or 0.0) for epoch in run.epochs)
    return math.fsum(second for second in seconds if math.isfinite(second))


def print_runs(runs: Sequence[Trial], study: StudyRecord, *, console: "Console") -> None:
    """Print the table of runs; which code of the user's own networks each is of, where that has
    changed.
    """
    titles = ["run", "state", "epochs", minus_elbo(console), "time", "configuration"]
    rows = [*map(run_row, runs)]
    if changes := study.provenance.get("code_changes"):
        titles.append("code")
        codes = [str(code_version(changes, run.number, repeat=run.repeat)) for run in runs]
        rows = [(*row, code) for row, code in zip(rows, codes, strict=True)]
    if study.stages:
        titles.insert(1, "stage")
        marked = zip(runs, rows, strict=True)
        rows = [
            (name if run.counts else f"– {name}", str(run.stage), *rest)
            for run, (name, *rest) in marked
        ]
    print_table(console, titles, rows)


def run_row(run: Trial) -> tuple[str, ...]:
    """Return a run's cells: name in its study, state, epochs, objective, time, configuration."""
    failure = run.failure
    baseline = f"[{run.baseline}]" if run.baseline else ""
    return (
        f"r{run.number}" if run.repeat else str(run.number),
        f"failed: {failure.kind}" if failure else run.state,
        str(len(run.epochs)),
        "" if run.objective is None else f"{run.objective:.2f}",
        format_duration(training_seconds(run)),
        f"{baseline} {format_params(run.params)}".strip(),
    )


def run_object(study: StudyRecord, run: Trial, runs: Path) -> dict[str, Any]:
    """Return everything recorded about a run but its epochs, JSON-able. Times are ISO 8601."""
    stages = {"stage": run.stage, "counts": run.counts} if study.stages else {}
    failure = run.failure
    best = run.best
    return {
        "run": run.name_in(study.name),
        **stages,
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
        "revives": run.before and run.before.number,
        "source_trial": run.source_trial,
        "purposes": [*run.purposes],
        "pair_ids": [*run.pair_ids],
        "baseline": run.baseline,
        "folder": str(runs / run.folder) if run.folder else None,
        "params": run.params,
        "results": run.results,
    }


WATCH_SECONDS = 2.0
BEST_SHOWN = 10
WORKER_COLUMNS = ("worker", "node", "device", "lanes", "trials", "epochs/s", "since")
STATES: tuple[Any, ...] = ("complete", "pruned", "failed", "running", "paused", "waiting")


def show_status(study: str | None, places: Places, *, watch: bool) -> None:
    """Print one study in full, or all studies of the runs folder on one line each; with `watch`
    until all have ended.

    In a terminal `watch` clears the screen and draws anew; elsewhere it prints again whenever
    something has changed.

    Raises:
        UserError: there is no such study.
    """
    console = open_console()
    shown: str | None = None
    while True:
        with console.capture() as captured:
            running = _print_one(study, places, console) if study else _print_all(places, console)
        now = captured.get().rstrip("\n")
        if now != shown:
            if shown is not None and console.is_terminal:
                console.clear()
            console.out(now, highlight=False)
            shown = now
        if not (watch and running):
            return
        time.sleep(WATCH_SECONDS)


def state_of(study: StudyRecord, places: Places) -> tuple[str, bool]:
    """Say `running`, `finished`, or how to go on; and whether it is running."""
    if (holder := study_holder(places.storage, places.runs, study.name)) is not None:
        return f"running, {driver_in_words(holder)}", True
    return (
        "finished" if study.finished else "stopped before its end; the same sweep command goes on",
        False,
    )


def study_object(stored: State, places: Places) -> dict[str, Any]:
    """Return how far a study is, JSON-able."""
    study = stored.study
    best = best_record(stored)
    search_best = next(iter(ranked_trials(stored)), None)
    state, running = state_of(study, places)
    return {
        "study": study.name,
        "question": study.question,
        "state": state,
        "trials": len(stored.trials),
        "planned": study.budget.get("trials"),
        "states": Counter(trial.state for trial in stored.trials),
        "repeats": len(stored.repeats),
        "best": best and best.name_in(study.name),
        "best_objective": best and best.objective,
        "best_of_search": search_best and search_best.name_in(study.name),
        "best_of_search_objective": search_best and search_best.objective,
        "front": [trial.name_in(study.name) for trial in front_trials(stored)]
        if study.objectives
        else None,
        **_find_verdict(stored),
        "answer": study.answer if study.finished else (),
        "seconds": study.elapsed or 0.0,
        "stopped": study.stopped,
        "workers": [
            {**worker, "since": moment(worker["since"])} for worker in study.workers if running
        ],
        "warnings": _find_warnings(stored),
    }


def _find_warnings(stored: State) -> list[str]:
    """Return the warnings of a study: of a finished study all checks that failed, before that those
    that can be made.
    """
    study = stored.study
    if study.finished:
        return list(study.warnings)
    found = map(sentence, wider_ranges(stored))
    return [
        *study.provenance.get("warnings", ()),
        *(f"{text[0].upper()}{text[1:]}" for text in found),
    ]


def _find_verdict(stored: State) -> dict[str, str | None]:
    """Return whether a search has learned nothing, and whether an unfinished trial came further;
    None where it is not so.
    """
    verdict = verdict_of(stored)
    said = {
        "nothing_learned": verdict.nothing_learned,
        "hardly_trained": verdict.hardly_trained,
        "came_further": verdict.came_further,
    }
    return {name: " ".join(map(sentence, statements)) or None for name, statements in said.items()}


def status_rows(places: Places) -> tuple[list[tuple[str, ...]], bool]:
    """Return a row for each study that has run, the newest first, and whether any is running."""
    rows: list[tuple[float, tuple[str, ...]]] = []
    any_running = False
    for name in study_names(places.runs, places.storage):
        try:
            stored = stored_study(name, places.runs, places.storage)
        except UserError as error:
            rows.append((0.0, (name, "", "", "", "", error.problem)))
            continue
        (state, running), at = state_of(stored.study, places), stored.study.session_at or 0.0
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) if at else ""
        elapsed = format_duration(stored.study.elapsed or 0.0)
        rows.append(
            (at, (name, _count_states(stored), _describe_best(stored), elapsed, when, state))
        )
        any_running |= running
    rows.sort(key=lambda row: -row[0])
    return [row for _, row in rows], any_running


def status_titles(console: "Console") -> tuple[str, ...]:
    """Return the titles of `status_rows`."""
    return ("study", "trials", f"best {minus_elbo(console)}", "time", "last", "state")


def _print_all(places: Places, console: "Console") -> bool:
    """Print the table of all studies, and return whether any is running."""
    rows, running = status_rows(places)
    if rows:
        print_table(console, status_titles(console), rows)
    else:
        write_line(console, f"No study has run in {places.store}.")
    return running


def _print_one(name: str, places: Places, console: "Console") -> bool:
    """Print the tables of one study, and return whether it is running."""
    stored = stored_study(name, places.runs, places.storage)
    study = stored.study
    best = _describe_best(stored) or "none complete"
    state, running = state_of(study, places)
    write_line(console, f"{study.name}: {state}", style="bold")
    write_line(console, one_line(study.question))
    _print_answer(stored, console)
    elapsed = format_duration(study.elapsed or 0.0)
    write_line(
        console, f"{_count_states(stored)}; best in the search {best}; searched for {elapsed}"
    )
    if study.stopped:
        write_line(console, f"search ended: {study.stopped}")
    if running and study.workers:
        print_heading(console, "Workers")
        print_table(console, WORKER_COLUMNS, map(_worker_row, study.workers))
    _print_tables(stored, console)
    for warning in _find_warnings(stored):
        write_line(console, f"\n{warning}")
    return running


def _print_tables(stored: State, console: "Console") -> None:
    """Print the runs of a study: running, best in the search or its front, repeats."""
    study = stored.study
    ended = [trial for trial in stored.trials if trial.state != "running"]
    ended.sort(key=lambda trial: math.inf if trial.objective is None else trial.objective)
    tables = {
        "Running": [run for run in stored.runs if run.state == "running"],
        "Best in the search": [] if study.objectives else ended[:BEST_SHOWN],
        "Confirm, compare and baselines": [run for run in stored.repeats if run.state != "running"],
    }
    for title, records in tables.items():
        if records:
            print_heading(console, title)
            print_runs(records, study, console=console)
    if study.objectives and (front := front_trials(stored)):
        print_heading(console, f"Front of {' and '.join(study.objectives)}, at the last epoch")
        print_table(
            console,
            ("run", *study.objectives, "configuration"),
            [_front_row(study, run) for run in front],
        )


def _print_answer(stored: State, console: "Console") -> None:
    """Print what a finished study found; of one that goes on whether it has learned nothing so far,
    or an unfinished trial came further.
    """
    if stored.study.finished and stored.study.answer:
        for line in stored.study.answer:
            write_line(console, line)
        return
    for line in filter(None, _find_verdict(stored).values()):
        write_line(console, line, style="yellow")


def _front_row(study: StudyRecord, run: Trial) -> tuple[str, ...]:
    values = (f"{value:.2f}" for value in last_values(run, study.objectives.values()))
    return (str(run.number), *values, format_params(run.params))


def _worker_row(worker: Mapping[str, Any]) -> tuple[str, ...]:
    speed = worker["epochs_per_second"]
    trials = [name.rpartition("/")[2] for name in worker["trials"]]
    return (
        worker["name"],
        worker["node"],
        worker["device"],
        str(len(trials)),
        ", ".join(trials),
        "" if speed is None else f"{speed:.3g}",
        moment(worker["since"]) or "",
    )


def _count_states(stored: State) -> str:
    """Say `12 of 40 trials: 8 complete, 3 pruned, 1 running`. A budget that is smaller than the
    number of trials is left out.
    """
    states = Counter(trial.state for trial in stored.trials)
    planned = stored.study.budget.get("trials")
    parts = [f"{states[state]} {state}" for state in STATES if states[state]]
    total = states.total()
    count = f"{total} of {planned} trials" if planned and planned >= total else f"{total} trials"
    return f"{count}: {', '.join(parts)}" if parts else count


def _describe_best(stored: State) -> str:
    """Say `98.31 (beta_mnist/7)` of the best trial of the search, `front of 5 trials` with two
    objectives; nothing where no trial is complete.
    """
    if stored.study.objectives:
        return f"front of {plural(len(front_trials(stored)), 'trial')}"
    best = next(iter(ranked_trials(stored)), None)
    return f"{best.objective:.2f} ({best.name_in(stored.study.name)})" if best else ""


@click.command()
@study_argument(
    "Study to show; without it, one line for each study of the runs folder.", required=False
)
@places_options
@click.option(
    "--watch",
    is_flag=True,
    help="Look again every two seconds until the study is finished or Ctrl-C is pressed.",
)
@json_option
def status(*, study: str | None, places: Places, watch: bool, as_json: bool) -> None:
    """Show how far a study is.

    While it runs or afterwards, from any terminal; it only reads.
    """
    if as_json and watch:
        raise click.UsageError("Give --json or --watch, not both.")
    if not as_json:
        show_status(study, places, watch=watch)
        return
    names = [study] if study else study_names(places.runs, places.storage)
    stored = [stored_study(name, places.runs, places.storage) for name in names]
    stored.sort(key=lambda each: -(each.study.session_at or 0.0))
    objects = [study_object(each, places) for each in stored]
    print_json(objects[0] if study else objects)


EPOCH_COLUMNS = (
    "train/neg_elbo",
    "val/neg_elbo",
    "val/distortion",
    "val/rate",
    "val/active_units",
    "train/learning_rate",
    "train/beta",
    "seconds",
)


def print_heading(console: "Console", title: str) -> None:
    write_line(console, "")
    write_line(console, title, style="bold")


def show_run(study: StudyRecord, run: Trial, runs: Path, *, as_json: bool, epochs: bool) -> None:
    """Print everything recorded about a run; with `epochs` its learning curve."""
    record = run_object(study, run, runs)
    if as_json:
        curve = [
            {"epoch": epoch.epoch, "objective": epoch.objective, **epoch.metrics}
            for epoch in run.epochs
        ]
        print_json(record | ({"curve": curve} if epochs else {}))
        return
    console = open_console()
    params = record.pop("params")
    results = record.pop("results")
    write_line(console, record.pop("run"), style="bold")
    rows = [
        (name.replace("_", " "), format_short(value))
        for name, value in record.items()
        if not (value is None or value is False or value == [])
    ]
    print_table(console, ("", ""), rows)
    own = _own_settings(study, run)
    for title, values in (("Parameters", params), ("Own settings", own), ("Results", results)):
        if values:
            print_heading(console, title)
            rows = [(name, format_short(value)) for name, value in values.items()]
            print_table(console, ("", ""), rows)
    if epochs and run.epochs:
        print_heading(console, "Epochs")
        _print_epochs(run, console)


def _own_settings(study: StudyRecord, run: Trial) -> dict[str, str]:
    """Return the fixed settings of a run that the present stage has otherwise."""
    if not study.stages:
        return {}
    changed = fixed_differences(study.stages[run.stage - 1], study.stages[-1])
    return {
        name: f"{format_short(own)} (now {'searched' if now is None else format_short(now)})"
        for name, (own, now) in changed.items()
    }


def _print_epochs(run: Trial, console: "Console") -> None:
    columns = [name for name in EPOCH_COLUMNS if any(name in each.metrics for each in run.epochs)]
    rows = []
    for each in run.epochs:
        numbers = (each.objective, *map(each.metrics.get, columns))
        rows.append((str(each.epoch), *map(format_short, numbers)))
    print_table(console, ("epoch", minus_elbo(console), *columns), rows, numeric=True)


@click.command()
@study_argument("Study whose best run is shown.")
@json_option
@places_options
def best(*, study: str, as_json: bool, places: Places) -> None:
    """Show the best run of a study.

    It is chosen on validation: the best repeat of the confirmed configuration with the lowest mean,
    else the best trial. Commands that use a run know it as STUDY/best. The answer of a finished
    study stands before it, with --json on standard error.
    """
    stored = stored_study(study, places.runs, places.storage)
    # JSON on standard output stays JSON.
    _print_answer(stored, open_console(stderr=as_json))
    show_run(stored.study, best_of(stored), places.runs, as_json=as_json, epochs=False)
