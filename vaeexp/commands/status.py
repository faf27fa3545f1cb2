"""How far studies are, read from their storage while they run or afterwards, from any terminal."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweeps.errors import UserError
from vaeexp.commands.options import runs_option, storage_option, study_argument
from vaeexp.console import minus_elbo, open_console, print_table, write_line
from vaeexp.results.open_study import recorded_results
from vaeexp.words import format_duration, format_params

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from sweeps.results.rankings import Results

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


def state_of(results: "Results", runs: Path) -> str:
    """`running`, `finished`, or what to do to go on; in words."""
    from sweeps.storage.lock import lock_holder

    holder = lock_holder(runs, results.name)
    if holder is not None:
        return "running" if holder["pid"] is None else f"running (process {holder['pid']})"
    if results.study.finished:
        return "finished"
    return "stopped before its end; the same sweep command goes on"


def _all_studies(runs: Path, storage: str | None, console: "Console") -> tuple[str, bool]:
    """The table of all studies in a runs folder, and whether any is running."""
    from sweeps.storage.database import study_names

    if storage is not None:
        raise UserError("--storage", "a database may hold many studies; say which one to look at with --study.")
    rows = []
    for name in study_names(runs):
        try:
            results = recorded_results(name, runs, None)
        except UserError as error:
            rows.append((name, "", "", "", error.problem))
        else:
            rows.append((name, _counts(results), _best(results), _elapsed(results), state_of(results, runs)))
    titles = ("study", "trials", f"best {minus_elbo(console)}", "time", "state")
    with console.capture() as captured:
        if rows:
            print_table(console, titles, rows)
        else:
            write_line(console, f"No study has run in {runs}.")
    return captured.get().rstrip("\n"), any(row[-1].startswith("running") for row in rows)


def _one_study(study: str, runs: Path, storage: str | None, console: "Console") -> tuple[str, bool]:
    """The tables of one study, and whether it is running."""
    results = recorded_results(study, runs, storage)
    state = state_of(results, runs)
    with console.capture() as captured:
        _show_one(results, state, console)
    return captured.get().rstrip("\n"), state.startswith("running")


def _show_one(results: "Results", state: str, console: "Console") -> None:
    write_line(console, f"{results.name}: {state}", style="bold")
    write_line(console, str(results.study.question))
    best = f"best {minus_elbo(console)} {_best(results)}" if _best(results) else "none complete"
    write_line(console, f"{_counts(results)}; {best}; searched for {_elapsed(results)}")
    if results.study.stopped:
        write_line(console, f"search ended: {results.study.stopped}")
    trials = results.trials.sort_values(["repeat", "number"])
    running, repeat = trials["state"] == "running", trials["repeat"]
    best = trials[~running & ~repeat].sort_values("objective", kind="stable")[:BEST_SHOWN]
    tables = {
        "Running": trials[running],
        "Best of the search": best,
        "Confirm, compare and baselines": trials[~running & repeat],
    }
    for title, chosen in tables.items():
        if len(chosen):
            write_line(console, "")
            write_line(console, title, style="bold")
            rows = [_row(row) for _, row in chosen.iterrows()]
            print_table(console, ("trial", "state", "epochs", minus_elbo(console), "time", "settings"), rows)


def _row(row: "pd.Series") -> tuple[str, ...]:
    import pandas as pd

    state = f"failed: {row['failure']}" if row["state"] == "failed" else str(row["state"])
    value = "" if pd.isna(row["objective"]) else f"{row['objective']:.2f}"
    params = {str(key): item for key, item in row.dropna().items() if str(key).startswith("params.")}
    shown = format_params({key.removeprefix("params."): item for key, item in params.items()})
    shown = f"[{row['baseline']}] {shown}".rstrip() if row.get("baseline") else shown
    return str(row["name"]), state, str(int(row["epochs"])), value, format_duration(float(row["seconds"])), shown


def _counts(results: "Results") -> str:
    """`12 of 40 trials: 8 complete, 3 pruned, 1 running`."""
    search = results.trials[~results.trials["repeat"]]
    by_state = search["state"].value_counts()
    parts = [
        f"{by_state[state]} {state}"
        for state in ("complete", "pruned", "failed", "running", "waiting")
        if by_state.get(state)
    ]
    planned = results.study.budget.get("trials")
    count = f"{len(search)} of {planned} trials" if planned else f"{len(search)} trials"
    return f"{count}: {', '.join(parts)}" if parts else count


def _best(results: "Results") -> str:
    from sweeps.results.rankings import ranked

    trials = ranked(results)
    return f"{trials['objective'][0]:.2f} ({trials['name'][0]})" if len(trials) else ""


def _elapsed(results: "Results") -> str:
    return format_duration(results.study.elapsed or 0.0)


@click.command()
@study_argument("Study to show; without it, one line for each study of the runs folder.", required=False)
@runs_option
@storage_option
@click.option(
    "--watch", is_flag=True, help="Look again every two seconds until the study is finished or Ctrl-C is pressed."
)
def status(*, study: str | None, runs: Path, storage: str | None, watch: bool) -> None:
    """Show how far a study is.

    While it runs or afterwards, from any terminal; it only reads.
    """
    show_status(study, runs, storage, watch=watch, console=open_console())
