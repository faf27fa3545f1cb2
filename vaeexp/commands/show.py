"""The commands studies and show: study files as they resolve, and everything recorded about a study
or a run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from sweeps import Parameter, Space, UserError, list_studies
from vaeexp.commands.options import Places, places_options, study_argument
from vaeexp.commands.status import json_option, print_heading, show_run, status_rows, status_titles
from vaeexp.console import open_console, print_json, print_table, write_line
from vaeexp.launch.options import OPTIONS
from vaeexp.machine import shipped_studies
from vaeexp.results import parse_run, stored_study
from vaeexp.settings import SECTIONS
from vaeexp.study import open_study_file
from vaeexp.words import format_params, format_short


def study_of(study: str, overrides: Sequence[str], places: Places) -> tuple[dict[str, Any], str]:
    """Return the definition of a study (`Study.spec` and budget), and its source: the storage, else
    the file.

    A recorded study was checked when it began, and has its changes for a small part of the data
    where it trains on one. A file is checked now, which takes PyTorch, and names these changes.
    """
    if not overrides and not study.endswith((".yaml", ".yml")):
        try:
            record = stored_study(study, places.runs, places.storage).study
        except UserError:
            if places.storage is not None:
                raise
        else:
            store = places.runs if places.storage is None else "the database"
            return {**record.spec, "budget": dict(record.budget)}, f"recorded in {store}"
    study_file = open_study_file(study, overrides=overrides)
    return {
        **study_file.spec(),
        "budget": study_file.budget.model_dump(mode="json"),
        **({"subset": list(study_file.subset)} if study_file.subset else {}),
    }, f"from {study_file.path}"


def print_study(spec: Mapping[str, Any], source: str) -> None:
    """Print settings, search space, sampler, pruner and budget of a study."""
    console = open_console()
    space = Space.from_dict(spec.get("search") or {})
    write_line(console, spec["name"], style="bold")
    write_line(console, spec["question"])
    write_line(console, source)
    print_heading(console, "Search space")
    print_table(
        console,
        ("parameter", "values", "when"),
        map(_space_row, space.parameters),
    )
    print_heading(console, "Settings")
    print_table(
        console, ("section", "setting", "value", "default"), _settings_rows(spec, set(space.names))
    )
    print_heading(console, "Course")
    print_table(console, ("", ""), _course_rows(spec))


def _space_row(parameter: Parameter) -> tuple[str, str, str]:
    if parameter.kind == "choice":
        values = ", ".join(map(str, parameter.values))
    else:
        values = f"{format_short(parameter.low)} to {format_short(parameter.high)}"
        values += f", step {format_short(parameter.step)}" if parameter.step else ""
        values += ", log scale" if parameter.log else ""
        values += ", grows" if parameter.grow else ""
    when = [
        f"{name} is {' or '.join(map(str, allowed))}" for name, allowed in parameter.when.items()
    ]
    return parameter.name, values, " and ".join(when)


def _settings_rows(spec: Mapping[str, Any], searched: set[str]) -> list[tuple[str, str, str, str]]:
    """Return every setting with its value, and its default where the study changes it; only the
    network knows that of its own.
    """
    rows = []
    for section, model in SECTIONS.items():
        defaults = model().model_dump(mode="json")
        for name, value in (defaults | (spec.get(section) or {})).items():
            default = defaults.get(name, value)
            shown = format_short(value) or "none"
            before = "" if value == default else format_short(default) or "none"
            rows.append(
                (section, name, *(("searched", "") if name in searched else (shown, before)))
            )
    return rows


def _course_rows(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the study says beside its settings and its search space."""
    rows = [("objectives", ", ".join(spec["objectives"]))] if "objectives" in spec else []
    rows += [("seed", str(spec["seed"]))]
    rows += [(part, _options(spec[part])) for part in ("sampler", "pruner", "budget")]
    rows += [("start", format_params(point)) for point in spec.get("start") or ()]
    rows += [("learn_from", spec["learn_from"])] if "learn_from" in spec else []
    rows += [(part, _options(spec[part])) for part in ("confirm", "compare") if spec.get(part)]
    rows += [("subset", "; ".join(spec["subset"]))] if "subset" in spec else []
    for row in (spec.get("baselines") or {}).values():
        words = [f"{row['title']}:", f"at={row['at']}", format_params(row["settings"])]
        rows.append(("baseline", " ".join(words).strip()))
    return rows


def _options(options: Mapping[str, Any]) -> str:
    """Format `tpe startup_trials=10`: the name, then every option that is set."""
    rest = {name: value for name, value in options.items() if name != "name" and value is not None}
    return f"{options.get('name', '')} {format_params(rest)}".strip()


@click.command()
@places_options
def studies(*, places: Places) -> None:
    """List the studies at hand, and what has run.

    Study files with the question that each answers: first those in ./studies, then those that come
    with vaeexp. A broken file is listed with what is wrong with it. Then the studies that have run:
    trials, best, time of the search, when each ran last, and its state.
    """
    console = open_console()
    print_table(console, ("study", "question"), list_studies(shipped=shipped_studies()).items())
    rows, _ = status_rows(places)
    if rows:
        print_heading(console, f"Run so far, in {places.store}")
        print_table(console, status_titles(console), rows)


@click.command()
@study_argument("Study to show.", names="STUDY|RUN")
@OPTIONS["overrides"].click_option(
    help="Change one setting of the study's file, as in `vaeexp sweep`. Repeatable."
)
@json_option
@places_options
def show(*, study: str, overrides: tuple[str, ...], as_json: bool, places: Places) -> None:
    """Show what a study is made of, or all about a run.

    Of a STUDY: its settings, search space, sampler, pruner and budget, as recorded where it has
    run, else as its file resolves. With --set, or given the path of a file, it is the file. Of a
    RUN, which is STUDY/7 for a trial, STUDY/r3 for a repeat, STUDY/best for the best run:
    everything recorded about it.
    """
    run = parse_run(study)
    if run is None and "/" in study and not study.endswith((".yaml", ".yml")):
        name = study.partition("/")[0].strip(".") or "STUDY"
        problem = (
            f"is neither a study nor a run; runs are {name}/7, {name}/r3 (a repeat) and "
            f"{name}/best."
        )
        raise UserError(study, problem)
    if run is not None:
        if overrides:
            raise click.UsageError(f"--set changes a study; '{study}' is a run.")
        stored = stored_study(run.study, places.runs, places.storage)
        show_run(stored.study, run.record(stored), places.runs, as_json=as_json, epochs=True)
        return
    spec, source = study_of(study, overrides, places)
    if as_json:
        print_json(spec)
    else:
        print_study(spec, source)
