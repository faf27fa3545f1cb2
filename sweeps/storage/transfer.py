"""The records of a study as JSON, to carry the study from one storage into another: from a journal,
say, into a database.

Records that arrive may come from anybody, so each path in them is confined to the study's own
folder.
"""

import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from sweeps.errors import UserError
from sweeps.state.state import State
from sweeps.storage import create_or_load
from sweeps.storage.optuna_internals import batched_writes, study_id, study_ids, write_trial
from sweeps.storage.study_record import REPEATS, parts_of, read_state, record_in

_KIND = re.compile("search|repeats|stage[1-9][0-9]*")
"""Kind of a study's record: `search`, or the suffix of the name of the Optuna study."""


@dataclass(frozen=True, kw_only=True)
class ImportRules:
    """The place of a study that arrives, and what is believed of its records."""

    old: str
    """Name of the study where it comes from."""
    name: str
    report: str | None
    """Folder of its report as records hold it; None where no report arrives."""
    loaders: Mapping[str, Collection[str]]
    """Module that may load the registered model → packages that it may require. A model with
    another loader is left out.
    """


def study_records(storage: BaseStorage, name: str) -> Iterator[dict[str, Any]]:
    """Yield all that a storage holds of a study: a record of the search, one of each trial, and the
    same of its further stages and of the repeats.
    """
    identities = study_ids(storage)
    suffixes = [suffix for suffix, _ in parts_of(record_in(storage, name).stages)]
    for suffix in (*suffixes, REPEATS):
        kind = suffix.removeprefix(".") or "search"
        if (identity := identities.get(name + suffix)) is None:
            continue
        user = storage.get_study_user_attrs(identity)
        system = storage.get_study_system_attrs(identity)
        yield {"kind": kind, "user": user, "system": system}
        yield from map(_record_of, storage.get_all_trials(identity, deepcopy=False))


def _record_of(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "state": trial.state.name,
        "values": trial.values,
        "params": {
            name: trial.distributions[name].to_internal_repr(value)
            for name, value in trial.params.items()
        },
        "distributions": {
            name: distribution_to_json(space) for name, space in trial.distributions.items()
        },
        "epochs": trial.intermediate_values,
        "user": trial.user_attrs,
        "system": trial.system_attrs,
        "started": _universal(trial.datetime_start),
        "ended": _universal(trial.datetime_complete),
    }


def write_records(
    storage: BaseStorage, records: Iterable[Mapping[str, Any]], rules: ImportRules
) -> State:
    """Write the records of `study_records` as a new study, and read it back.

    Raises:
        UserError: another version has made the records.
    """
    own: dict[str, list[Mapping[str, Any]]] = {}
    kind = ""
    for record in records:
        kind = record.get("kind", kind)
        own.setdefault(kind, []).append(record)
    for kind, its in own.items():
        if not _KIND.fullmatch(kind):
            raise UserError(f"study '{rules.name}'", f"holds records of a kind '{kind}'.")
        suffix = "" if kind == "search" else f".{kind}"
        _write_study(storage, rules.name + suffix, its, rules)
    return read_state(storage, rules.name)


def _write_study(
    storage: BaseStorage, name: str, records: list[Mapping[str, Any]], rules: ImportRules
) -> None:
    head, *trials = records
    # The command has a line of its own for a new study.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = create_or_load(storage, name)
    with batched_writes(study):
        for key, value in _arrived_study(head["user"], rules).items():
            study.set_user_attr(key, value)
        for key, value in head["system"].items():
            storage.set_study_system_attr(study_id(study), key, value)
        for record in trials:
            write_trial(study, _trial_of(record, rules))


def _trial_of(record: Mapping[str, Any], rules: ImportRules) -> FrozenTrial:
    distributions = {
        name: json_to_distribution(space) for name, space in record["distributions"].items()
    }
    values = record["values"]
    return FrozenTrial(
        number=0,  # the storage counts
        trial_id=-1,
        state=TrialState[record["state"]],
        value=None,
        values=None if values is None else [float(value) for value in values],
        datetime_start=_local(record["started"]),
        datetime_complete=_local(record["ended"]),
        params={
            name: distributions[name].to_external_repr(float(value))
            for name, value in record["params"].items()
        },
        distributions=distributions,
        user_attrs=_arrived_trial(record["user"], rules),
        system_attrs=dict(record["system"]),
        intermediate_values={int(epoch): float(value) for epoch, value in record["epochs"].items()},
    )


def _universal(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat(timespec="microseconds")


def _local(text: str | None) -> datetime | None:
    """Return a time as Optuna has it: of this machine's zone, without saying so."""
    return None if text is None else datetime.fromisoformat(text).astimezone().replace(tzinfo=None)


# ---- what arrives is confined ----


def _arrived_study(user: Mapping[str, Any], rules: ImportRules) -> dict[str, Any]:
    attributes = dict(user)
    for defined in (attributes, *attributes.get("stages", ())):
        if spec := defined.get("spec"):
            defined["spec"] = {**spec, "name": rules.name}
    if rules.name != rules.old and "identity" in attributes:
        attributes["identity"] = uuid.uuid4().hex  # another study than the one whose name it had
    if attributes.get("session") == "running":
        attributes["session"] = "interrupted"  # its process did not come along
    if "report" in attributes:
        attributes["report"] = rules.report
    if attributes.get("model"):
        attributes["model"] = _arrived_model(attributes["model"], rules)
    return attributes


def _arrived_model(model: Mapping[str, Any], rules: ImportRules) -> dict[str, Any] | None:
    """Return the registered model, None unless a known module loads it, with known packages, from a
    folder of the study.
    """
    packages = rules.loaders.get(model["loader_module"], ())
    known = re.compile(rf"(?:{'|'.join(map(re.escape, packages))})(?:==[0-9][0-9A-Za-z.+]*)?")
    run = re.fullmatch(rf"{re.escape(rules.old)}/(r?[0-9]+)", model["run"])
    folder = _confined(model["folder"], rules)
    if (
        not packages
        or not all(map(known.fullmatch, model["pip_requirements"]))
        or run is None
        or folder is None
    ):
        return None
    return {**model, "name": rules.name, "run": f"{rules.name}/{run[1]}", "folder": folder}


def _arrived_trial(user: Mapping[str, Any], rules: ImportRules) -> dict[str, Any]:
    attributes = dict(user)
    if attributes.get("folder") is not None:
        attributes["folder"] = _confined(attributes["folder"], rules)
    if (left := attributes.get("paused_with")) and left["folder"] is not None:
        attributes["paused_with"] = {**left, "folder": _confined(left["folder"], rules)}
    for key in [key for key in attributes if key.startswith("pictures/")]:
        paths = {name: _confined(path, rules) for name, path in attributes[key].items()}
        attributes[key] = {name: path for name, path in paths.items() if path is not None}
    return attributes


def _confined(path: str, rules: ImportRules) -> str | None:
    """Return a path of the study's old folder as one of its new folder; None for any other path."""
    parts = PurePosixPath(path).parts
    if parts[:2] != ("trials", rules.old) or len(parts) < 3 or ".." in parts or "\0" in path:
        return None
    return "/".join(("trials", rules.name, *parts[2:]))
