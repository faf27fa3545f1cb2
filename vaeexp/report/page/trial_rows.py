"""The trials of a study as rows of the page's table: the columns, what each row has in them, and
learning curves.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from sweeps import masked
from vaeexp.evaluation.metrics import METRICS, Metric, measured_at, with_own
from vaeexp.report.page.picture_data import picture_data
from vaeexp.report.page.room import MOST_BYTES, OF_WORDS, size_of, that_fit
from vaeexp.results.parameters import SearchedParameter
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import own_metrics, row_names, with_best_epoch
from vaeexp.words import format_value, is_missing, parameter_label

CURVE_POINTS = 60
"""Epochs of a learning curve in the page; of a longer one so many that stand evenly, with the
last.
"""
RUN_COLUMNS = {
    "state": ("state", "text"),
    "epochs": ("epochs", "number"),
    "run": ("run", "text"),
    "source_trial": ("of trial", "number"),
}
LATER_COLUMNS = {
    "duplicate_of": ("same as trial", "number"),
    "failure": ("failure", "text"),
    "message": ("message", "text"),
    "result.parameters": ("parameters", "number"),
}
"""Columns of `trials.csv` before and after settings and figures: what the table calls each, and its
type.
"""


def ordered_trials(view: StudyView) -> pd.DataFrame:
    """Return all trials and repeats with the metrics of their best epoch, as `trials.csv`, in the
    order of the page.

    Trials of the search stand first: the best configuration or the front, then others in the order
    of the report, then those without a value. `row` names a trial as the plots do, and `run` says
    why it was trained.
    """
    trials = with_best_epoch(view.epochs, view.results.trials, "val")
    found = view.found
    if view.front is not None:
        keys = ["repeat", "number"]
        last = {name: name.replace("val/", "last/val/") for name in view.front.metrics}
        trials = trials.merge(
            view.last_epochs[[*keys, *last]].rename(columns=last), on=keys, how="left"
        )
        found = view.front.members
    first = [] if view.best_number is None else [view.best_number]
    numbers = dict.fromkeys([*first, *found["number"]])
    places = {int(number): place for place, number in enumerate(numbers)}
    trials["row"] = row_names(trials)
    trials["run"] = ["+".join(purposes) or "search" for purposes in trials["purposes"]]
    trials["message"] = trials["message"].map(masked, na_action="ignore")
    trials["place"] = (
        trials["number"].map(places).fillna(len(places)).where(~trials["repeat"], math.inf)
    )
    return trials.sort_values(["place", "objective", "number"], ignore_index=True).drop(
        columns="place"
    )


def trial_columns(view: StudyView, trials: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the columns that at least one row fills: name, label, group, type, and what a number's
    words or an axis need.

    Columns of searched parameters have `axis`: the range or the choices of the study file. The
    objective is marked, too.
    """
    columns = _objectives(view)
    columns += [_column(name, label, "run", kind) for name, (label, kind) in RUN_COLUMNS.items()]
    searched = [f"params.{name}" for name in view.plan.parameters]
    others = [
        name for name in trials.columns if name.startswith("params.") and name not in searched
    ]
    for name in (*searched, *others):
        columns.append(
            _setting(view.plan.parameters.get(name.removeprefix("params.")), name, trials)
        )
    for name in ("best_epoch", *(f"val/{name}" for name in measured_at("val", "figure"))):
        columns.append(_figure(name, METRICS[name.removeprefix("val/")], "validation"))
    own = own_metrics(view.study.spec)
    table = with_own(own)
    for name in measured_at("test", "figure", own=own):
        columns.append(_figure(f"result.test/{name}", table[name], "test"))
    columns.append(_column("seconds", "seconds", "more", "number", digits=1))
    columns += [_column(name, label, "more", kind) for name, (label, kind) in LATER_COLUMNS.items()]
    filled = {str(name) for name in trials.columns if not trials[name].map(is_missing).all()}
    return [column for column in columns if column["name"] in filled]


def _column(name: str, label: str, group: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "label": label, "group": group, "type": kind, **more}


def _objectives(view: StudyView) -> list[dict[str, Any]]:
    """Return the column of the objective, or those of both at the last epoch, by which the front is
    chosen.
    """
    if view.front is None:
        metric = "distortion" if view.plan.fixed("posterior") == "deterministic" else "neg_elbo"
        return [_figure("objective", METRICS[metric], "objective") | {"unit": "nats", "axis": {}}]
    return [
        _figure(f"last/{name}", METRICS[name.removeprefix("val/")], "objective") | {"axis": {}}
        for name in view.front.metrics
    ]


def _figure(name: str, metric: Metric, group: str) -> dict[str, Any]:
    counted = metric.unit in ("latent dimensions", "counted from 1")
    return _column(name, metric.label, group, "number", digits=0 if counted else metric.digits)


def _setting(
    parameter: SearchedParameter | None, name: str, trials: pd.DataFrame
) -> dict[str, Any]:
    """Return the column of a setting; of a searched one with its axis."""
    values = [value for value in trials[name] if not is_missing(value)]
    numbers = all(
        isinstance(value, int | float | np.number) and not isinstance(value, bool)
        for value in values
    )
    column = _column(
        name,
        parameter_label(name.removeprefix("params.")),
        "settings",
        "number" if numbers else "text",
    )
    if parameter is None:
        return column
    if parameter.is_choice:
        return column | {"axis": {"choices": list(parameter.texts)}}
    axis = {
        "low": parameter.first,
        "high": parameter.last,
        "log": parameter.log,
        "whole": parameter.kind == "int",
    }
    return column | {"axis": axis}


def trial_rows(trials: pd.DataFrame, columns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what each row has: its name, and its values by column, without those that are
    missing.
    """
    rows: list[dict[str, Any]] = [{"row": row} for row in trials["row"]]
    for column in columns:
        for row, value in zip(rows, trials[column["name"]], strict=True):
            cell = _cell(value, column["type"])
            if cell is not None:
                row[column["name"]] = cell
    return rows


def _cell(value: Any, kind: str) -> Any:
    """Return a value as JSON has it: a number, a text, or None; an infinite number is the text `∞`
    or `−∞`.
    """
    if is_missing(value):
        return None
    if kind == "text":
        return format_value(value)
    number = value.item() if isinstance(value, np.generic) else value
    if isinstance(number, float) and not math.isfinite(number):
        return "∞" if number > 0 else "−∞"
    return int(number) if float(number).is_integer() else number


def trial_curves(view: StudyView, trials: pd.DataFrame) -> dict[str, list[float | None]]:
    """Return the objective after each epoch by row, as epoch, value, epoch, value …; None for a
    value that is not finite.
    """
    epochs = view.epochs.sort_values(["repeat", "number", "epoch"])
    curves = {}
    for row, own in epochs.groupby(row_names(epochs), sort=False):
        drawn = np.linspace(0, len(own) - 1, min(len(own), CURVE_POINTS)).round()
        shown = own.iloc[np.unique(drawn.astype(int))]
        pairs = zip(
            shown["epoch"].tolist(), map(_rounded, shown["objective"].tolist()), strict=True
        )
        curves[row] = [*chain.from_iterable(pairs)]
    return {row: curves[row] for row in trials["row"] if row in curves}


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def study_data(
    view: StudyView, room: int = MOST_BYTES, *, run_pages: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Return the data of the page's tables, plots and pictures, as JSON has them, in `room` bytes
    at most.

    study: its name.
    rows: trials of the search, the best first, then repeats; each has `row`, its name (`45`, `r3`),
        and the values of `columns` that it has, under the names of `trials.csv`.
    curves: row → epoch, value, epoch, value …
    best: the rows that the study found best.
    pictures: of `picture_data`.
    mlflow: row → the address of its run on a tracking server, of `run_pages`, by name of the run.
    left_out: sentences on the rows and curves for which there was no room.

    Rows come before curves, and curves before pictures.
    """
    trials = ordered_trials(view)
    columns = trial_columns(view, trials)
    front = [] if view.front is None else view.front.members["number"].tolist()
    best = front if view.best_number is None else [view.best_number]
    data: dict[str, Any] = {
        "study": view.results.name,
        "columns": columns,
        "best": [str(number) for number in best],
        "mlflow": {name.rpartition("/")[2]: address for name, address in run_pages.items()},
    }
    rows = {row["row"]: row for row in trial_rows(trials, columns)}
    curves = trial_curves(view, trials)
    room -= size_of(data) + OF_WORDS
    shown = that_fit(rows, room)
    room -= size_of(shown)
    drawn = that_fit(curves, room)
    room -= size_of(drawn)
    data |= {
        "rows": list(shown.values()),
        "curves": drawn,
        "pictures": picture_data(view, trials, room),
    }
    kept = {"rows of trials": (len(shown), len(rows)), "learning curves": (len(drawn), len(curves))}
    left_out = [
        f"There was room for {some:,} of {every:,} {what}, the best first; trials.csv and "
        "curves.csv have all."
        for what, (some, every) in kept.items()
        if some < every
    ]
    return data | {"left_out": left_out}
