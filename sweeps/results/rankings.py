"""A study read back from its storage: which of its runs is best, and all runs as two tables.

Ranking records takes no pandas, whose import takes half a second; tables do.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps.results.front import pareto_front
from sweeps.results.racing import Race, run_race
from sweeps.state.record import StudyRecord
from sweeps.state.state import State
from sweeps.state.trial import Epoch, Trial
from sweeps.storage import open_storage
from sweeps.storage.study_record import read_state
from sweeps.study.space import dependents

if TYPE_CHECKING:
    import pandas as pd
    from optuna.storages import BaseStorage


@dataclass(frozen=True)
class Results:
    """Everything known about a study.

    `trials` has one row per trial, those of the search first, each by number. Of a trial that was
    revived there is the newest alone, which has all its epochs; the numbers of the others are
    missing. Columns: repeat, number, name, state (complete, pruned, failed, running, paused or
    waiting), objective (the best reported), epochs (reported), best_epoch, seed, started and ended
    (unix seconds), seconds (of training), ended_round, duplicate_of, failure (its kind), message,
    folder, and for repeats source_trial, purposes, seed_index, pair_ids, baseline; stage (from 1)
    and counts (`Trial.counts`); then
    `params.<name>` in the order of the search space and `result.<metric>`. `epochs` has one row per
    reported epoch: repeat, number, epoch (from 1), round (of the driver, from 0), objective, and
    the metrics.

    All columns above are there, in this order, even when there is no trial; metrics follow in
    alphabetical order. Types: whole numbers that may be missing are Int64 (missing: <NA>);
    objective, times, metrics and results float64 (missing: NaN); texts object (missing: None);
    purposes and pair_ids tuples, empty for the search. Parameters searched over a float range are
    float64, over whole numbers Int64, choices object with the value itself (missing: None).
    """

    name: str
    study: StudyRecord
    trials: "pd.DataFrame"
    epochs: "pd.DataFrame"


def read_results(
    storage: "BaseStorage | str | Path", name: str, *, runs: str | Path | None = None
) -> Results:
    """Read a study and its repeats as tables.

    Args:
        storage: an open storage, or the runs folder with the study's journal.
        runs: the runs folder, below which the folders of trials lie; by default `storage`, where
            that is a folder.

    Raises:
        UserError: the storage has no such study.
    """
    if isinstance(storage, str | Path):
        runs = storage if runs is None else runs
        storage = open_storage(None, Path(storage), name, must_exist=True)
    return tables_of(read_state(storage, name), runs=None if runs is None else Path(runs))


def tables_of(
    stored: State,
    *,
    runs: Path | None = None,
    epoch_metrics: Sequence[str] = (),
    result_metrics: Sequence[str] = (),
) -> Results:
    """Build the tables of a study that was read. The columns of these metrics are there even when
    no trial recorded them.
    """
    records = stored.runs
    study = stored.study
    trials = _trials_table(study, records, runs, result_metrics)
    return Results(study.name, study, trials, _epochs_table(records, epoch_metrics))


# ---- rankings, of records and of rows of the table ----


def ranked_trials(stored: State) -> list[Trial]:
    """Return the complete trials of the search, the best first, equals by number; duplicates left
    out; none with two objectives.
    """
    return _ranked(stored.trials, stored.study)


def ranked(results: Results) -> "pd.DataFrame":
    """Return the rows of the trials that `ranked_trials` gives, in the same order."""
    rows = _ranked(_rows(results), results.study)
    return results.trials.iloc[[row.Index for row in rows]].reset_index(drop=True)


def front_trials(stored: State) -> list[Trial]:
    """Return the complete trials that no other equals or beats in both objectives at their last
    epochs, in order of the first one.

    Duplicates are left out. Empty for a study with one objective.
    """
    objectives = stored.study.objectives
    complete = [trial for trial in _complete(stored.trials) if trial.duplicate_of is None]
    pairs = [last_values(trial, objectives.values()) for trial in complete]
    found = [
        (trial, pair)
        for trial, pair in zip(complete, pairs, strict=True)
        if pair and np.isfinite(pair).all()
    ]
    return [
        found[index][0]
        for index in pareto_front(np.array([pair for _, pair in found]).reshape(-1, 2))
    ]


def last_values(trial: Trial, metrics: Iterable[str]) -> tuple[float, ...]:
    """Return these metrics of the last epoch of a trial, NaN where one is missing; empty without an
    epoch.
    """
    return (
        tuple(_number(trial.epochs[-1].metrics.get(metric)) for metric in metrics)
        if trial.epochs
        else ()
    )


def best_record(stored: State) -> Trial | None:
    """Return the run to keep: of the best confirmed configuration its best run, else the best
    trial.

    The best has the lowest mean objective over its seeds; of a race it is the one in the lead.
    Chosen on validation alone, so that its test figures stay an honest estimate. With two
    objectives none is the best.
    """
    return _best(stored.runs, stored.study)


def best_run(results: Results) -> dict[str, Any] | None:
    """Return the row of the run that `best_record` gives."""
    best = _best(list(_rows(results)), results.study)
    return (
        None
        if best is None
        else {str(name): value for name, value in results.trials.iloc[best.Index].items()}
    )


def race_of(results: Results) -> Race | None:
    """Return the race of the confirmed configurations as far as its runs have ended; None where the
    study asks for none.
    """
    return _race(_rows(results), results.study)


_RANKING = [
    "repeat",
    "number",
    "state",
    "objective",
    "duplicate_of",
    "source_trial",
    "purposes",
    "seed_index",
    "counts",
]


def _rows(results: Results) -> Iterable[Any]:
    """Return the runs of the table with what ranks them, under the names of `Trial`; `Index` is the
    place of the row.
    """
    columns = results.trials[_RANKING].reset_index(drop=True).astype(object)
    return columns.where(columns.notna(), None).itertuples()


def _ranked(runs: Iterable[Any], study: StudyRecord) -> list[Any]:
    if study.objectives:
        return []
    return sorted(
        (run for run in _complete(runs) if not run.repeat and run.duplicate_of is None),
        key=_by_objective,
    )


def _best(runs: Sequence[Any], study: StudyRecord) -> Any:
    confirmed: dict[int, list[Any]] = defaultdict(list)
    for run in _complete(runs):
        if run.repeat and "confirm" in run.purposes:
            confirmed[run.source_trial].append(run)
    if not confirmed:
        return next(iter(_ranked(runs, study)), None)
    winner = confirmed_winner(
        {source: [run.objective for run in its] for source, its in confirmed.items()},
        _race(runs, study),
    )
    return None if winner is None else min(confirmed[winner], key=_by_objective)


def confirmed_winner(
    objectives: Mapping[int, Sequence[float]], race: Race | None = None
) -> int | None:
    """Return the trial whose configuration a confirmation found to be the best; None where no run
    is complete.

    Args:
        objectives: trial → objective of each complete run of its configuration.
        race: the race that these runs are of; its order decides, because some configurations have
            fewer seeds.
    """
    means = {trial: math.fsum(own) / len(own) for trial, own in sorted(objectives.items()) if own}
    order = race.order if race else sorted(means, key=means.__getitem__)
    return next((trial for trial in order if trial in means), None)


def _race(runs: Iterable[Any], study: StudyRecord) -> Race | None:
    plan = study.spec.get("confirm") or {}
    if not plan.get("race"):
        return None
    values: dict[int, list[float | None]] = {}
    for run in runs:
        if run.repeat and "confirm" in run.purposes and run.seed_index < plan["seeds"]:
            own = values.setdefault(run.source_trial, [None] * plan["seeds"])
            if run.state not in ("running", "waiting"):
                own[run.seed_index] = (
                    run.objective
                    if run.state == "complete" and run.objective is not None
                    else math.nan
                )
    return run_race(values, plan["seeds"])


def _complete(runs: Iterable[Any]) -> list[Any]:
    """Return the complete runs that count."""
    complete = (run for run in runs if run.state == "complete" and run.objective is not None)
    return [run for run in complete if run.counts]


def _by_objective(run: Any) -> tuple[float, int]:
    return run.objective, run.number


# ---- selections from the tables ----


def best_so_far(results: Results) -> "pd.DataFrame":
    """Return number, ended, objective and best (the smallest up to that number) of the trials in
    `ranked`, by number.
    """
    history = ranked(results).sort_values("number", ignore_index=True)[
        ["number", "ended", "objective"]
    ]
    return history.assign(best=history["objective"].cummin())


def compared_levels(results: Results, parameter: str) -> list[Any]:
    """Return the values of a parameter in the runs of its comparison, in the order of the search
    space.
    """
    column = f"params.{parameter}"
    if column not in results.trials:
        return []
    numbers = {row["number"] for row, _, _ in _compared(results, parameter)}
    compared = results.trials[results.trials["repeat"] & results.trials["number"].isin(numbers)]
    there = compared[column].dropna().tolist()
    search = (results.study.spec.get("search") or {}).get(parameter) or {}
    ordered = [value for value in search.get("values", []) if value in there]
    for value in there:
        if value not in ordered:
            ordered.append(value)
    return ordered


def matched_pairs(
    results: Results, parameter: str, two: Sequence[Any] | None = None, measure: str = "objective"
) -> "pd.DataFrame":
    """Match runs that differ in `parameter` alone: pair_id, source_trial, seed_index,
    `<measure>.<level>` of each, difference.

    `two` names the levels to set against each other; by default the first two of `compared_levels`.
    The difference is the second value minus the first: above 0 where the first level is better. NaN
    for a run that did not complete. Configurations that are equal but for the parameter, and for
    parameters that depend on it, count once: under the first trial that has one. `measure`: the
    column that is compared; NaN throughout where there is none.
    """
    two = list(two) if two is not None else compared_levels(results, parameter)[:2]
    keys = {"pair_id": "object", "source_trial": "int64", "seed_index": "int64"}
    names = [f"{measure}.{level}" for level in two]
    search = results.study.spec.get("search") or {}
    column = f"params.{parameter}"
    apart = (parameter, *dependents(parameter, search))
    alike = [f"params.{name}" for name in search if name not in apart]
    first: dict[str, int] = {}
    runs: dict[tuple[int, int], dict[str, Any]] = {}
    for row, pair_id, source in sorted(
        _compared(results, parameter, measure), key=lambda run: (run[2], run[0]["number"])
    ):
        rest = repr([(name, value) for name in alike if not _missing(value := row.get(name))])
        identity = first.setdefault(rest, source)
        new = {"pair_id": pair_id, "source_trial": identity, "seed_index": row["seed_index"]}
        run = runs.setdefault((identity, row["seed_index"]), new)
        if row[column] in two:
            value = row.get(measure, math.nan) if row["state"] == "complete" else math.nan
            run.setdefault(f"{measure}.{row[column]}", value)
    dtypes = keys | dict.fromkeys(names, "float64")
    table = _frame(
        {
            name: ([runs[key].get(name) for key in sorted(runs)], dtype)
            for name, dtype in dtypes.items()
        }
    )
    table["difference"] = table[names[1]] - table[names[0]] if len(names) == 2 else math.nan
    return table


def _compared(
    results: Results, parameter: str, measure: str = "objective"
) -> list[tuple[dict[str, Any], str, int]]:
    """Return the runs that have a value of a parameter and are paired for it, each with its pair
    and the trial that the pair is named after.
    """
    if f"params.{parameter}" not in results.trials:
        return []
    needed = ["number", "state", "source_trial", "seed_index", "pair_ids"]
    needed += [measure] if measure in results.trials else []
    needed += [str(name) for name in results.trials if str(name).startswith("params.")]
    repeats = results.trials.loc[results.trials["repeat"], [*dict.fromkeys(needed)]].dropna(
        subset=[f"params.{parameter}"]
    )
    prefix = f"{parameter}:"
    members = list[tuple[dict[str, Any], str, int]]()
    for row in repeats[repeats["pair_ids"].map(len) > 0].to_dict("records"):
        named = {str(name): value for name, value in row.items()}
        for pair_id in row["pair_ids"]:
            if pair_id.startswith(prefix):
                trial = pair_id.removeprefix(prefix).partition("/")[0]
                members.append((named, pair_id, int(trial)))
    return members


def _missing(value: Any) -> bool:
    import pandas as pd

    return not isinstance(value, list | tuple) and bool(pd.isna(value))


# ---- the tables, column by column ----

_DTYPES = {
    "repeat": "bool",
    "number": "int64",
    "name": "object",
    "state": "object",
    "objective": "float64",
    "epochs": "int64",
    "best_epoch": "Int64",
    "seed": "Int64",
    "started": "float64",
    "ended": "float64",
    "seconds": "float64",
    "ended_round": "Int64",
    "duplicate_of": "Int64",
    "failure": "object",
    "message": "object",
    "folder": "object",
    "source_trial": "Int64",
    "purposes": "object",
    "seed_index": "Int64",
    "pair_ids": "object",
    "baseline": "object",
    "stage": "int64",
    "counts": "bool",
}
"""Column of a run → its type."""


def _trials_table(
    study: StudyRecord, records: Sequence[Trial], runs: Path | None, result_metrics: Sequence[str]
) -> "pd.DataFrame":
    rows = [_row(study.name, record, runs) for record in records]
    columns = {name: ([row[name] for row in rows], dtype) for name, dtype in _DTYPES.items()}
    params = [record.params for record in records]
    kinds: dict[str, str] = {parameter.name: parameter.kind for parameter in study.space.parameters}
    for name in dict.fromkeys(chain(kinds, *params)):
        dtype = {"float": "float64", "int": "Int64"}.get(kinds.get(name, ""), "object")
        columns[f"params.{name}"] = (
            [values_of_trial.get(name) for values_of_trial in params],
            dtype,
        )
    results = _metric_columns([record.results for record in records], result_metrics)
    return _frame(columns, {f"result.{metric}": values for metric, values in results.items()})


def _row(study: str, record: Trial, runs: Path | None) -> dict[str, Any]:
    """Return the run by column of `_DTYPES`; its folder is below `runs` where that is given."""
    best = record.best
    failure = record.failure
    seconds = (_number(epoch.metrics.get("seconds")) for epoch in record.epochs)
    computed = {
        "name": record.name_in(study),
        "epochs": len(record.epochs),
        "best_epoch": best.epoch if best else None,
        "seconds": math.fsum(second for second in seconds if math.isfinite(second)),
        "failure": failure.kind if failure else None,
        "message": failure.message if failure else None,
        "folder": record.folder
        if record.folder is None or runs is None
        else str(runs / record.folder),
    }
    return {name: computed[name] if name in computed else getattr(record, name) for name in _DTYPES}


def _epochs_table(records: Sequence[Trial], epoch_metrics: Sequence[str]) -> "pd.DataFrame":
    rows = list[tuple[Trial, Epoch]]()
    for record in records:
        rows += [(record, epoch) for epoch in record.epochs]
    columns: dict[str, tuple[list[Any], str]] = {
        "repeat": ([record.repeat for record, _ in rows], "bool"),
        "number": ([record.number for record, _ in rows], "int64"),
        "epoch": ([epoch.epoch for _, epoch in rows], "int64"),
        "round": ([record.round_of(epoch.epoch) for record, epoch in rows], "int64"),
        "objective": ([epoch.objective for _, epoch in rows], "float64"),
    }
    return _frame(columns, _metric_columns([epoch.metrics for _, epoch in rows], epoch_metrics))


def _frame(
    columns: Mapping[str, tuple[list[Any], str]], metrics: Mapping[str, np.ndarray] | None = None
) -> "pd.DataFrame":
    """Return a table of columns (values and type), then of metrics; what is no number is missing
    among numbers.
    """
    import pandas as pd

    typed = {
        name: pd.Series(_numbers(values) if dtype == "float64" else values, dtype=dtype)
        for name, (values, dtype) in columns.items()
    }
    return pd.DataFrame({**typed, **(metrics or {})})


def _metric_columns(
    records: Sequence[Mapping[str, Any]], always: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return a column per metric, NaN where a record lacks it. Records of the same metrics, as most
    are, become one matrix.
    """
    alike: dict[tuple[str, ...], list[int]] = {}
    for index, record in enumerate(records):
        alike.setdefault(tuple(record), []).append(index)
    others = sorted(set(chain.from_iterable(alike)).difference(always))
    columns = {name: np.full(len(records), math.nan) for name in (*always, *others)}
    for names, indices in alike.items():
        values = _numbers([tuple(records[index].values()) for index in indices])
        for column, name in enumerate(names):
            columns[name][indices] = values[:, column]
    return columns


def _numbers(values: Sequence[Any]) -> np.ndarray:
    """Return numbers, or tuples of as many numbers each, as float64; NaN for what is none."""
    try:
        return np.array(values, dtype=float)
    except (TypeError, ValueError):
        cleaned = [
            tuple(map(_number, value)) if isinstance(value, tuple) else _number(value)
            for value in values
        ]
        return np.array(cleaned, dtype=float)


def _number(value: Any) -> float:
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError):
        return math.nan
