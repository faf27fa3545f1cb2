"""The tables of `sweeps.results.rankings`, built column by column from the records of a study.

What an interrupted process left out, and metrics that are no numbers, become missing values.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sweeps.storage.trial_record import TrialRecord
from sweeps.study.space import Space

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
    "duplicate_of": "Int64",
    "failure": "object",
    "message": "object",
    "folder": "object",
    "source_trial": "Int64",
    "purposes": "object",
    "seed_index": "Int64",
    "pair_id": "object",
    "baseline": "object",
}


def trials_table(
    records: Sequence[TrialRecord], space: Space, runs: Path | None, result_metrics: Sequence[str]
) -> pd.DataFrame:
    """`Results.trials`; the columns of `space` are there in any case, and folders are below `runs` where it is given."""
    rows = [_row(record, runs) for record in records]
    columns = {name: _series([row[name] for row in rows], dtype) for name, dtype in _DTYPES.items()}
    params = [record.params for record in records]
    kinds: dict[str, str] = {parameter.name: parameter.kind for parameter in space.parameters}
    for name in dict.fromkeys([*kinds, *(name for own in params for name in own)]):
        dtype = {"float": "float64", "int": "Int64"}.get(kinds.get(name, ""), "object")
        columns[f"params.{name}"] = _series([own.get(name) for own in params], dtype)
    results = _metric_columns([record.results for record in records], result_metrics)
    return pd.DataFrame(columns | {f"result.{metric}": pd.Series(values) for metric, values in results.items()})


def _row(record: TrialRecord, runs: Path | None) -> dict[str, Any]:
    best, outcome = record.best, record.outcome
    failure = outcome.failure if outcome else None
    seconds = (_number(epoch.metrics.get("seconds")) for epoch in record.epochs)
    folder = record.folder if record.folder is None or runs is None else str(runs / record.folder)
    return {
        "repeat": record.repeat,
        "number": record.number,
        "name": record.name,
        "state": record.state,
        "objective": record.objective,
        "epochs": len(record.epochs),
        "best_epoch": best.epoch if best else None,
        "seed": record.seed,
        "started": record.started,
        "ended": record.ended,
        "seconds": math.fsum(second for second in seconds if math.isfinite(second)),
        "duplicate_of": record.duplicate_of,
        "failure": failure.kind if failure else None,
        "message": failure.message if failure else None,
        "folder": folder,
        "source_trial": record.source_trial,
        "purposes": record.purposes,
        "seed_index": record.seed_index,
        "pair_id": record.pair_id,
        "baseline": record.baseline,
    }


def epochs_table(records: Sequence[TrialRecord], epoch_metrics: Sequence[str]) -> pd.DataFrame:
    """`Results.epochs`, with one row per reported epoch."""
    rows = [(record.repeat, record.number, epoch) for record in records for epoch in record.epochs]
    keys = {
        "repeat": _series([repeat for repeat, _, _ in rows], "bool"),
        "number": _series([number for _, number, _ in rows], "int64"),
        "epoch": _series([epoch.epoch for _, _, epoch in rows], "int64"),
        "objective": _series([epoch.objective for _, _, epoch in rows], "float64"),
    }
    metrics = _metric_columns([epoch.metrics for _, _, epoch in rows], epoch_metrics)
    return pd.DataFrame({**keys, **metrics})


def _metric_columns(records: Sequence[Mapping[str, Any]], always: Sequence[str]) -> dict[str, np.ndarray]:
    """A column per metric, NaN where a record lacks it. Records of the same metrics, as most are, become one matrix."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for place, record in enumerate(records):
        alike.setdefault(tuple(record), []).append(place)
    others = sorted({name for names in alike for name in names}.difference(always))
    columns = {name: np.full(len(records), math.nan) for name in (*always, *others)}
    for names, places in alike.items():
        values = _numbers([tuple(records[place].values()) for place in places])
        for column, name in enumerate(names):
            columns[name][places] = values[:, column]
    return columns


def _series(values: list[Any], dtype: str) -> pd.Series:
    if dtype == "float64":
        return pd.Series(_numbers(values))
    return pd.Series(values, dtype=dtype)


def _numbers(values: Sequence[Any]) -> np.ndarray:
    """Numbers, or tuples of as many numbers each, as float64; NaN for what is none."""
    try:
        return np.array(values, dtype=float)
    except (TypeError, ValueError):
        cleaned = [tuple(map(_number, each)) if isinstance(each, tuple) else _number(each) for each in values]
        return np.array(cleaned, dtype=float)


def _number(value: Any) -> float:
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError):
        return math.nan
