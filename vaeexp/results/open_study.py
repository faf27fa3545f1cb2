"""What studies, show and trial print: study files as they resolve, and everything recorded about one trial."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeexp.cache import shipped_studies
from vaeexp.console import duration, figure, minus_elbo, params_text, write_line

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from sweeps.results.rankings import Results
    from sweeps.study.space import Parameter
    from sweeps.study.study_file import Study

EPOCH_COLUMNS = (
    "train/loss",
    "val/neg_elbo",
    "val/distortion",
    "val/rate",
    "val/active_units",
    "learning_rate",
    "beta_now",
    "seconds",
)


def recorded_results(study: str, runs: Path, storage: str | None) -> "Results":
    """What a study has recorded; `study` is its name, or the path of its file. Raises UserError where there is nothing."""
    from sweeps.results.rankings import read_results
    from sweeps.storage.database import open_storage

    name = Path(study).stem if study.endswith((".yaml", ".yml")) else study
    return read_results(open_storage(storage, runs, name, must_exist=True), name)


def list_known(*, console: "Console") -> None:
    """Every study at hand with its question; a broken file has what is wrong with it instead."""
    from sweeps.study.study_file import list_studies

    print_table(
        console,
        ("study", "question"),
        [(study.name, study.question) for study in list_studies(shipped=shipped_studies())],
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


def show_trial(study: str, number: int, runs: Path, storage: str | None, *, repeat: bool, console: "Console") -> None:
    """Everything recorded about one trial. Raises UserError when there is no such study or trial."""
    from sweeps.storage.trial_record import no_such_trial

    results = recorded_results(study, runs, storage)
    of_kind = results.trials[results.trials["repeat"] == repeat]
    found = of_kind[of_kind["number"] == number]
    if found.empty:
        raise no_such_trial("N", results.name, number, len(of_kind), repeat=repeat)
    row = found.iloc[0]
    write_line(console, f"{row['name']} of {results.name}", style="bold")
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
            (str(line["epoch"]), *(figure(line[column]) for column in ("value", *columns)))
            for _, line in epochs.iterrows()
        ]
        print_table(console, ("epoch", minus_elbo(console), *columns), rows, numeric=True)


def print_table(
    console: "Console",
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    header: bool = True,
    numeric: bool = False,
) -> None:
    """A table without lines. A terminal wraps long cells; in a pipe each row is one line."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    rows = [tuple(row) for row in rows]
    if not console.is_terminal:
        rows = [tuple(titles), *rows] if header else rows
        widths = [max(cell_len(cell) for cell in column) for column in zip(*rows, strict=True)]
        for row in rows:
            padding = [" " * (width - cell_len(cell)) for width, cell in zip(widths, row, strict=True)]
            cells = [pad + cell if numeric else cell + pad for pad, cell in zip(padding, row, strict=True)]
            write_line(console, "  ".join(cells).rstrip())
        return
    table = Table(box=None, pad_edge=False, show_header=header, header_style="dim")
    for title in titles:
        table.add_column(title, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _heading(console: "Console", title: str) -> None:
    write_line(console, "")
    write_line(console, title, style="bold")


def _space_row(parameter: "Parameter") -> tuple[str, str, str]:
    if parameter.kind == "choice":
        values = ", ".join(str(value) for value in parameter.values)
    else:
        scale = f", step {figure(parameter.step)}" if parameter.step else ", log scale" if parameter.log else ""
        values = f"{figure(parameter.low)} to {figure(parameter.high)}{scale}"
    when = [f"{name} is {' or '.join(str(value) for value in allowed)}" for name, allowed in parameter.when.items()]
    return parameter.name, values, " and ".join(when)


def _settings_rows(study: "Study") -> list[tuple[str, str, str, str]]:
    searched = {parameter.name for parameter in study.space.parameters}
    rows = []
    for section, settings in study.fixed.items():
        for name, value in settings.model_dump().items():
            source = "study file" if name in settings.model_fields_set else "default"
            rows.append((section, name, *(("", "searched") if name in searched else (figure(value) or "none", source))))
    return rows


def _course_rows(study: "Study") -> list[tuple[str, str]]:
    spec: dict[str, Any] = study.spec()
    budget = {name: getattr(study.budget, name) for name in ("trials", "seconds", "epochs", "stale_trials")}
    rows = [("seed", str(study.seed)), ("sampler", _options(spec["sampler"])), ("pruner", _options(spec["pruner"]))]
    rows.append(("budget", params_text({name: value for name, value in budget.items() if value is not None})))
    rows += [("start", params_text(point)) for point in study.start]
    rows += [(part, _options(spec[part])) for part in ("confirm", "compare") if spec.get(part)]
    for row in study.baselines:
        base = "the best setting" if row.at == "best" else "as fixed"
        rows.append(("baseline", f"{row.title}: {', '.join(filter(None, [base, params_text(row.settings)]))}"))
    return rows


def _options(options: dict[str, Any]) -> str:
    """`tpe startup_trials=10`: the name first, then what is set."""
    rest = {name: value for name, value in options.items() if name != "name" and value is not None}
    return " ".join(part for part in (str(options.get("name", "")), params_text(rest)) if part)


def _trial_rows(study: str, row: "pd.Series", console: "Console") -> list[tuple[str, str]]:
    rows = [("state", row["state"]), (f"best {minus_elbo(console)}", figure(float(row["value"])))]
    rows += [
        ("best epoch", _count(row["best_epoch"])),
        ("epochs", _count(row["epochs"])),
        ("seed", _count(row["seed"])),
    ]
    rows += [
        ("started", _moment(row["started"])),
        ("ended", _moment(row["ended"])),
        ("training", duration(float(row["seconds"] or 0))),
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
        (str(name).removeprefix(prefix), figure(value))
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
