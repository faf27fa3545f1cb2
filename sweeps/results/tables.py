"""The tables of `sweeps.results.rankings`, built column by column from the trials of a storage.

Attributes that an interrupted run left out, and values of another type than they should have, become missing values.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sweeps.study.space import Space
from sweeps.workload.protocol import run_name

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_MEASURES = ("loss", "neg_elbo", "distortion", "rate", "active_units")
EPOCH_METRICS = (
    *(f"train/{measure}" for measure in _MEASURES),
    *(f"val/{measure}" for measure in _MEASURES),
    *("train/learning_rate", "train/beta", "seconds", "images_per_second", "memory_mb"),
)
"""Metric columns that `Results.epochs` always has; others follow where a trial recorded them."""

RESULT_METRICS = (
    *("parameters", "best_epoch"),
    *("test/neg_elbo", "test/neg_elbo_se", "test/iw_nll", "test/iw_nll_se", "test/distortion", "test/rate"),
    *("test/active_units", "test/images", "test/importance_samples"),
)
"""Metrics that `Results.trials` always has as `result.<metric>`; others follow where a trial recorded them."""

_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}
_DTYPES = {
    "repeat": "bool",
    "number": "int64",
    "name": "object",
    "state": "object",
    "value": "float64",
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
    found: Sequence[tuple[bool, "FrozenTrial"]], space: Space, reassigned: Mapping[str, Any]
) -> pd.DataFrame:
    """`Results.trials` from (is a repeat, trial) of every trial; the columns of `space` are there in any case.

    `reassigned`: number of a repeat → its `purposes` and `pair` in the newest plan, where they have changed.
    """
    rows = [
        _row(repeat, trial) | (_roles(reassigned.get(str(trial.number))) if repeat else {}) for repeat, trial in found
    ]
    columns = {name: _series([row[name] for row in rows], dtype) for name, dtype in _DTYPES.items()}
    params = [trial.user_attrs.get("params") or _decoded(trial.params, space) for _, trial in found]
    kinds = {parameter.name: parameter.kind for parameter in space.parameters}
    for name in dict.fromkeys([*kinds, *(name for given in params for name in given)]):
        dtype = {"float": "float64", "int": "Int64"}.get(kinds.get(name), "object")
        columns[f"params.{name}"] = _series([given.get(name) for given in params], dtype)
    results = [trial.user_attrs.get("result") or {} for _, trial in found]
    columns |= {f"result.{metric}": values for metric, values in _metric_columns(results, RESULT_METRICS).items()}
    return pd.DataFrame(columns)


def _decoded(stored: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """What a trial was given; values that the space does not know (it was changed since) stay as they are stored."""
    known = {
        parameter.name: parameter.decode(stored[parameter.name])
        for parameter in space.parameters
        if parameter.name in stored
        and (parameter.kind != "choice" or stored[parameter.name] in map(parameter.encode, parameter.values))
    }
    return {**stored, **known}


def _row(repeat: bool, trial: "FrozenTrial") -> dict[str, Any]:
    attributes = trial.user_attrs
    ending = attributes.get("ending") or {}
    failure = ending.get("failure") or {}
    reported = trial.intermediate_values
    best_epoch, value = _best(trial, ending)
    seconds = ((attributes.get(f"metrics/{epoch}") or {}).get("seconds") for epoch in reported)
    return {
        "repeat": repeat,
        "number": trial.number,
        "name": run_name(trial.number, repeat=repeat),
        "state": _STATES[trial.state.name],
        "value": value,
        "epochs": len(reported),
        "best_epoch": best_epoch,
        "seed": attributes.get("seed"),
        "started": attributes.get("started", _unix(trial.datetime_start)),
        "ended": attributes.get("ended", _unix(trial.datetime_complete)),
        "seconds": math.fsum(number for each in seconds if math.isfinite(number := _number(each))),
        "duplicate_of": attributes.get("duplicate_of"),
        "failure": failure.get("kind"),
        "message": failure.get("message"),
        "folder": attributes.get("folder"),
        "source_trial": attributes.get("source_trial"),
        "purposes": tuple(attributes.get("purposes") or ()),
        "seed_index": attributes.get("seed_index"),
        "pair_id": attributes.get("pair_id"),
        "baseline": attributes.get("baseline"),
    }


def _roles(assigned: Mapping[str, Any] | None) -> dict[str, Any]:
    if assigned is None:
        return {}
    baseline = {"baseline": assigned["baseline"]} if "baseline" in assigned else {}
    return {"purposes": tuple(assigned["purposes"]), "pair_id": assigned["pair_id"], **baseline}


def _best(trial: "FrozenTrial", ending: Mapping[str, Any]) -> tuple[int | None, float]:
    """Epoch and value of the best report; a trial that reported nothing (a duplicate) has what it was told with."""
    finite = {epoch: value for epoch, value in trial.intermediate_values.items() if math.isfinite(value)}
    if finite:
        epoch = min(finite, key=lambda epoch: (finite[epoch], epoch))
        return epoch, finite[epoch]
    told = trial.values[0] if trial.values else ending.get("value")
    return None, _number(told)


def epochs_table(found: Sequence[tuple[bool, "FrozenTrial"]]) -> pd.DataFrame:
    """`Results.epochs`, with one row per reported epoch."""
    keys: list[tuple[bool, int, int, float]] = []
    metrics: list[Mapping[str, Any]] = []
    for repeat, trial in found:
        for epoch in sorted(trial.intermediate_values):
            keys.append((repeat, trial.number, epoch, trial.intermediate_values[epoch]))
            metrics.append(trial.user_attrs.get(f"metrics/{epoch}") or {})
    dtypes = {"repeat": "bool", "number": "int64", "epoch": "int64", "value": "float64"}
    columns = zip(*keys, strict=True) if keys else [()] * len(dtypes)
    table = {name: _series(list(values), dtypes[name]) for name, values in zip(dtypes, columns, strict=True)}
    return pd.DataFrame(table | _metric_columns(metrics, EPOCH_METRICS))


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


def _unix(moment: Any) -> float:
    return math.nan if moment is None else moment.timestamp()
