"""The commands studies and show: study files as they resolve, and everything recorded about one run."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaeexp.cache import shipped_studies
from vaeexp.commands.options import complete_study, runs_option, storage_option
from vaeexp.console import minus_elbo, open_console, print_table, write_line
from vaeexp.runs.names import RunName, best_of, parse_run
from vaeexp.words import format_duration, format_params, format_short

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from sweeps.study.space import Parameter
    from sweeps.study.study_file import Study

EPOCH_COLUMNS = (
    "train/loss",
    "val/neg_elbo",
    "val/distortion",
    "val/rate",
    "val/active_units",
    "train/learning_rate",
    "train/beta",
    "seconds",
)


def show_study(study: str, overrides: Sequence[str], *, console: "Console") -> None:
    """A study as it resolves: its file, settings, search space, sampler, pruner, budget. Raises UserError."""
    from vaeexp.study import open_study_file

    loaded = open_study_file(study, overrides=overrides)
    write_line(console, loaded.name, style="bold")
    write_line(console, loaded.question)
    write_line(console, f"from {loaded.path}")
    _heading(console, "Search space")
    print_table(
        console, ("setting", "values", "when"), [_space_row(parameter) for parameter in loaded.space.parameters]
    )
    _heading(console, "Settings")
    print_table(console, ("section", "setting", "value", "from"), _settings_rows(loaded))
    _heading(console, "Course")
    print_table(console, ("", ""), _course_rows(loaded), header=False)


def show_run(name: RunName, runs: Path, storage: str | None, *, console: "Console") -> None:
    """Everything recorded about one run. Raises UserError when there is no such study or run."""
    from sweeps.storage.study_record import no_such_trial
    from vaeexp.results.open_study import recorded_results

    if name.number is None:
        name = best_of(name.study, runs, storage)
    number, repeat = name.number, name.repeat
    results = recorded_results(name.study, runs, storage)
    of_kind = results.trials[results.trials["repeat"] == repeat]
    found = of_kind[of_kind["number"] == number]
    if found.empty:
        raise no_such_trial("RUN", results.name, number, len(of_kind), repeat=repeat)
    row = found.iloc[0]
    write_line(console, str(name), style="bold")
    print_table(console, ("", ""), _trial_rows(results.name, row, console), header=False)
    _heading(console, "Settings of its own" if row.get("baseline") else "Searched settings")
    print_table(console, ("setting", "value"), _with_prefix(row, "params."))
    outcome = _with_prefix(row, "result.")
    if outcome:
        _heading(console, "Results")
        print_table(console, ("figure", "value"), outcome)
    epochs = results.epochs[(results.epochs["repeat"] == repeat) & (results.epochs["number"] == number)]
    if len(epochs):
        _heading(console, "Epochs")
        columns = [column for column in EPOCH_COLUMNS if column in epochs and epochs[column].notna().any()]
        rows = [
            (str(line["epoch"]), *(format_short(line[column]) for column in ("objective", *columns)))
            for _, line in epochs.iterrows()
        ]
        print_table(console, ("epoch", minus_elbo(console), *columns), rows, numeric=True)


def _heading(console: "Console", title: str) -> None:
    write_line(console, "")
    write_line(console, title, style="bold")


def _space_row(parameter: "Parameter") -> tuple[str, str, str]:
    if parameter.kind == "choice":
        values = ", ".join(str(value) for value in parameter.values)
    else:
        scale = f", step {format_short(parameter.step)}" if parameter.step else ", log scale" if parameter.log else ""
        values = f"{format_short(parameter.low)} to {format_short(parameter.high)}{scale}"
    when = [f"{name} is {' or '.join(str(value) for value in allowed)}" for name, allowed in parameter.when.items()]
    return parameter.name, values, " and ".join(when)


def _settings_rows(study: "Study") -> list[tuple[str, str, str, str]]:
    searched = {parameter.name for parameter in study.space.parameters}
    rows = []
    for section, settings in study.fixed.items():
        for name, value in settings.model_dump().items():
            source = "study file" if name in settings.model_fields_set else "default"
            rows.append(
                (section, name, *(("", "searched") if name in searched else (format_short(value) or "none", source)))
            )
    return rows


def _course_rows(study: "Study") -> list[tuple[str, str]]:
    spec: dict[str, Any] = study.spec()
    budget = {name: getattr(study.budget, name) for name in ("trials", "seconds", "epochs", "stale_trials")}
    rows = [("seed", str(study.seed)), ("sampler", _options(spec["sampler"])), ("pruner", _options(spec["pruner"]))]
    rows.append(("budget", format_params({name: value for name, value in budget.items() if value is not None})))
    rows += [("start", format_params(point)) for point in study.start]
    rows += [(part, _options(spec[part])) for part in ("confirm", "compare") if spec.get(part)]
    for row in study.baselines:
        base = "the best setting" if row.at == "best" else "as fixed"
        rows.append(("baseline", f"{row.title}: {', '.join(filter(None, [base, format_params(row.settings)]))}"))
    return rows


def _options(options: dict[str, Any]) -> str:
    """`tpe startup_trials=10`: the name first, then what is set."""
    rest = {name: value for name, value in options.items() if name != "name" and value is not None}
    return " ".join(part for part in (str(options.get("name", "")), format_params(rest)) if part)


def _trial_rows(study: str, row: "pd.Series", console: "Console") -> list[tuple[str, str]]:
    rows = [("state", row["state"]), (f"best {minus_elbo(console)}", format_short(float(row["objective"])))]
    rows += [
        ("best epoch", _count(row["best_epoch"])),
        ("epochs", _count(row["epochs"])),
        ("seed", _count(row["seed"])),
    ]
    rows += [
        ("started", _moment(row["started"])),
        ("ended", _moment(row["ended"])),
        ("training", format_duration(float(row["seconds"] or 0))),
    ]
    if row["failure"]:
        rows.append(("failure", f"{row['failure']}: {row['message']}"))
    if _count(row["duplicate_of"]):
        rows.append(("same as", f"trial-{int(row['duplicate_of']):04d}, whose result it took"))
    if row["repeat"]:
        rows += [
            ("repeat of", f"trial-{int(row['source_trial']):04d}" if _count(row["source_trial"]) else ""),
            ("made for", ", ".join(row["purposes"])),
            ("baseline", str(row.get("baseline") or "")),
            ("pair_id", str(row["pair_id"] or "")),
        ]
    rows += [("MLflow run", f"{row['name']} in experiment {study}"), ("folder", str(row["folder"] or ""))]
    return [(name, value) for name, value in rows if value]


def _with_prefix(row: "pd.Series", prefix: str) -> list[tuple[str, str]]:
    pairs = (
        (str(name).removeprefix(prefix), format_short(value))
        for name, value in row.dropna().items()
        if str(name).startswith(prefix)
    )
    return [(name, value) for name, value in pairs if value]


def _count(value: Any) -> str:
    import pandas as pd

    return "" if pd.isna(value) else str(int(value))


def _moment(seconds: Any) -> str:
    import pandas as pd

    return (
        ""
        if pd.isna(seconds)
        else datetime.fromtimestamp(float(seconds)).astimezone().isoformat(sep=" ", timespec="seconds")
    )


@click.command()
def studies() -> None:
    """List the studies at hand.

    Each with the question it answers: first those in ./studies, then those that come with vaeexp. A broken file is listed with what is wrong with it.
    """
    from sweeps.study.study_file import list_studies

    rows = [(study.name, study.question) for study in list_studies(shipped=shipped_studies())]
    print_table(open_console(), ("study", "question"), rows)


@click.command()
@click.argument("name", metavar="STUDY|RUN", shell_complete=complete_study)
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change one setting of the study, as in `vaeexp sweep`. Repeatable.",
)
@runs_option
@storage_option
def show(*, name: str, overrides: tuple[str, ...], runs: Path, storage: str | None) -> None:
    """Show what a study is made of, or all about a run.

    Of a STUDY: every setting that its file resolves to, its search space, sampler, pruner, budget, and the file it comes from. Of a RUN, which is STUDY/7 for a trial, STUDY/r3 for a repeat, STUDY/best for the best run: everything recorded about it.
    """
    run = parse_run(name)
    if run is None:
        show_study(name, overrides, console=open_console())
    elif overrides:
        raise click.UsageError(f"--set changes a study; '{name}' is a run.")
    else:
        show_run(run, runs, storage, console=open_console())
