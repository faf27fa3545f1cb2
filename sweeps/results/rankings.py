"""A study read back from its storage, as two tables, and the selections from them that every report needs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sweeps.results.tables import epochs_table, trials_table
from sweeps.storage.database import open_storage
from sweeps.storage.study_record import StoredStudy, StudyRecord, read_study

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


@dataclass(frozen=True)
class Results:
    """Everything known about a study.

    `trials` has one row per trial, those of the search first, each by number: repeat, number, name, state (complete,
    pruned, failed, running or waiting), objective (the best reported), epochs (reported), best_epoch, seed, started and
    ended (unix seconds), seconds (of training), duplicate_of, failure (its kind), message, folder, and for repeats
    source_trial, purposes, seed_index, pair_id, baseline; then `params.<name>` in the order of the search space and `result.<metric>`.
    `epochs` has one row per reported epoch: repeat, number, epoch (from 1), objective, and the metrics.

    All columns above are there, in this order, even when there is no trial; metrics follow in alphabetical order. Types: whole numbers that may be missing are Int64 (missing: <NA>);
    objective, times, metrics and results float64 (missing: NaN); texts object (missing: None); purposes a tuple, empty for the
    search. Parameters searched over a float range are float64, over whole numbers Int64, choices object with the value
    itself (missing: None).
    """

    name: str
    study: StudyRecord
    trials: pd.DataFrame
    epochs: pd.DataFrame


def read_results(storage: "BaseStorage | str | Path", name: str, *, runs: str | Path | None = None) -> Results:
    """Read a study and its repeats as tables.

    Args:
        storage: an open storage, or the runs folder with the study's journal.
        runs: the runs folder, below which the folders of trials lie; by default `storage`, where that is a folder.

    Raises:
        UserError: the storage has no such study.
    """
    if isinstance(storage, str | Path):
        runs = storage if runs is None else runs
        storage = open_storage(None, Path(storage), name, must_exist=True)
    return tables_of(read_study(storage, name), runs=None if runs is None else Path(runs))


def tables_of(
    stored: StoredStudy,
    *,
    runs: Path | None = None,
    epoch_metrics: Sequence[str] = (),
    result_metrics: Sequence[str] = (),
) -> Results:
    """The tables of a study that was read. The columns of these metrics are there even when no trial recorded them."""
    records = (*stored.trials, *stored.repeats)
    return Results(
        stored.study.name,
        stored.study,
        trials_table(records, stored.study.space, runs, result_metrics),
        epochs_table(records, epoch_metrics),
    )


def ranked(results: Results) -> pd.DataFrame:
    """The complete trials of the search, the best first, equals by number; duplicates left out."""
    trials = results.trials
    chosen = trials[~trials["repeat"] & (trials["state"] == "complete") & trials["duplicate_of"].isna()]
    return chosen.dropna(subset=["objective"]).sort_values(["objective", "number"], ignore_index=True)


def best_run(results: Results) -> dict[str, Any] | None:
    """The run to keep: of the confirmed setting with the lowest mean validation value its best run, else the best trial.

    Chosen on validation alone, so that its test figures stay an honest estimate.
    """
    runs = _with_role_confirm(results)
    runs = runs[(runs["state"] == "complete") & runs["objective"].notna()]
    if len(runs):
        means = runs.groupby("source_trial")["objective"].mean()
        best = runs[runs["source_trial"] == means.idxmin()]
        return _as_row(best.sort_values(["objective", "number"]))
    found = ranked(results)
    return _as_row(found) if len(found) else None


def _as_row(trials: pd.DataFrame) -> dict[str, Any]:
    """The first of these trials."""
    return {str(column): value for column, value in trials.iloc[0].items()}


def best_so_far(results: Results) -> pd.DataFrame:
    """number, ended, objective and best (the smallest up to that number) of the trials in `ranked`, by number."""
    history = ranked(results).sort_values("number", ignore_index=True)[["number", "ended", "objective"]]
    return history.assign(best=history["objective"].cummin())


def pruned_epochs_saved(results: Results, max_epochs: int) -> int:
    """Epochs that pruned trials of the search did not train, of `max_epochs` each; duplicates save nothing by it."""
    trials = results.trials
    pruned = trials[~trials["repeat"] & (trials["state"] == "pruned") & trials["duplicate_of"].isna()]
    return int((max_epochs - pruned["epochs"]).clip(lower=0).sum())


def levels(results: Results, parameter: str) -> list[Any]:
    """Values of a parameter among the runs of the comparison, in the order of the search space, then of appearance."""
    column = f"params.{parameter}"
    if column not in results.trials:
        return []
    values = _compared(results)[column]
    there = [value.item() if isinstance(value, np.generic) else value for value in values.dropna()]
    search = (results.study.spec.get("search") or {}).get(parameter) or {}
    ordered = [value for value in search.get("values", []) if value in there]
    for value in there:
        if value not in ordered:
            ordered.append(value)
    return ordered


def pairs(results: Results, parameter: str, two: Sequence[Any] | None = None) -> pd.DataFrame:
    """Matched runs, which differ in `parameter` alone: pair_id, source_trial, seed_index, `objective.<level>` of each, difference.

    `two` names the levels to set against each other; by default the first two of `levels`. The difference is the second
    value minus the first: above 0 where the first level is better. NaN for a run that did not complete.
    """
    two = list(two) if two is not None else levels(results, parameter)[:2]
    names = [f"objective.{level}" for level in two]
    column = f"params.{parameter}"
    compared = _compared(results)
    runs: dict[tuple, dict[str, Any]] = {}
    for row in compared.dropna(subset=[column] if column in compared else []).to_dict("records"):
        run = runs.setdefault(
            (row["source_trial"], row["seed_index"]),
            {name: row[name] for name in ("pair_id", "source_trial", "seed_index")},
        )
        if row.get(column) in two:
            run[f"objective.{row[column]}"] = row["objective"] if row["state"] == "complete" else math.nan
    table = pd.DataFrame([runs[key] for key in sorted(runs)], columns=["pair_id", "source_trial", "seed_index", *names])
    table = table.astype(
        {"pair_id": "object", "source_trial": "int64", "seed_index": "int64"} | dict.fromkeys(names, "float64")
    )
    table["difference"] = table[names[1]] - table[names[0]] if len(names) == 2 else math.nan
    return table


def _compared(results: Results) -> pd.DataFrame:
    trials = results.trials
    return trials[trials["repeat"] & trials["pair_id"].notna()]


def _with_role_confirm(results: Results) -> pd.DataFrame:
    trials = results.trials
    return trials[trials["repeat"] & trials["purposes"].map(lambda purposes: "confirm" in purposes).astype(bool)]
