"""Made-up studies in the storage that a sweep would have left, and such studies under another name,
protocol or level.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from synthetic_study import make_results

from sweeps.results import Results
from sweeps.storage import hold_study
from sweeps.storage.study_record import attributes_of

STATES = {
    "complete": "COMPLETE",
    "pruned": "PRUNED",
    "failed": "FAIL",
    "running": "RUNNING",
    "waiting": "WAITING",
}
VALUES = ("objective", "result.test/neg_elbo", "result.test/iw_nll", "result.test/distortion")


def renamed(
    name: str,
    *,
    shift: float = 0.0,
    protocol: dict[str, str] | None = None,
    trials: int = 25,
    **study,
) -> Results:
    """The made-up study as another one: `shift` nats higher, with these parts of its protocol
    changed.
    """
    results = make_results(trials)
    record = results.study.provenance
    changed = {"provenance": record | {"protocol": record["protocol"] | (protocol or {})}, **study}
    frame = results.trials.assign(**{column: results.trials[column] + shift for column in VALUES})
    epochs = results.epochs.assign(objective=results.epochs["objective"] + shift)
    return replace(
        results,
        name=name,
        study=replace(results.study, name=name, **changed),
        trials=frame,
        epochs=epochs,
    )


def store(results: Results, runs: Path, url: str | None = None) -> None:
    """Write a study into the journal below `runs`, or the database at `url`, so that its trials are
    read back as they were.
    """
    with hold_study(url, runs, results.name) as storage:
        _write(results, storage)


def _write(results: Results, storage: BaseStorage) -> None:
    for repeat, name in ((False, results.name), (True, f"{results.name}.repeats")):
        study = optuna.create_study(study_name=name, storage=storage)
        for key, value in ({} if repeat else attributes_of(results.study)).items():
            study.set_user_attr(key, value)
        chosen = results.trials[results.trials["repeat"] == repeat]
        study.add_trials(
            [_trial(results, row) for _, row in chosen.sort_values("number").iterrows()]
        )


def _trial(results: Results, row: pd.Series) -> FrozenTrial:
    keys = (
        "seed",
        "started",
        "ended",
        "ended_round",
        "duplicate_of",
        "source_trial",
        "purposes",
        "seed_index",
        "pair_ids",
        "baseline",
        "folder",
    )
    known = {key: _plain(row[key]) for key in keys if _there(row[key])}
    known["params"] = _with_prefix(row, "params.")
    known["results"] = _with_prefix(row, "result.")
    if _there(row["failure"]):
        failure = {"kind": row["failure"], "message": row["message"]}
        known["outcome"] = {
            "state": "failed",
            "epoch": row["epochs"],
            "objective": None,
            "failure": failure,
        }
    own = results.epochs[
        (results.epochs["repeat"] == row["repeat"]) & (results.epochs["number"] == row["number"])
    ]
    for _, line in own.iterrows():
        names = [
            name for name in own.columns if name not in ("repeat", "number", "epoch", "objective")
        ]
        metrics = {name: line[name] for name in names if _there(line[name])}
        known[f"epoch/{line['epoch']}"] = {"at": None, "metrics": metrics}
    return create_trial(
        state=TrialState[STATES[row["state"]]],
        value=row["objective"] if row["state"] == "complete" else None,
        user_attrs=known,
        intermediate_values=dict(zip(own["epoch"], own["objective"], strict=True)),
    )


def _with_prefix(row: pd.Series, prefix: str) -> dict[str, Any]:
    found = {
        str(name): value
        for name, value in row.items()
        if str(name).startswith(prefix) and _there(value)
    }
    return {name.removeprefix(prefix): _plain(value) for name, value in found.items()}


def _there(value: Any) -> bool:
    return isinstance(value, list | tuple) or not pd.isna(value)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
