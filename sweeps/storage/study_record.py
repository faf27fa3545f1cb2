"""A study as its storage holds it: what it asks, how it runs, how far it is, and what its mirror in
MLflow needs.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, fields
from itertools import chain
from typing import TYPE_CHECKING, Any

from sweeps.errors import UserError, did_you_mean
from sweeps.schema import MARKS, check_schema
from sweeps.state.record import LearnedTrial, RegisteredModel, StudyRecord
from sweeps.state.state import State
from sweeps.state.trial import Trial
from sweeps.storage.optuna_internals import study_ids
from sweeps.storage.trial_record import decoder, read_trial, revives
from sweeps.study.ranges import Growth

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

REPEATS = ".repeats"
"""Suffix of the name of the Optuna study that keeps the repeats."""


def attributes_of(record: StudyRecord) -> dict[str, Any]:
    """Return what the storage keeps with the study of the search (`reassigned` with its repeats):
    JSON-able, by field.
    """
    content = json_able(asdict(record))
    del content["name"]
    return {**MARKS, **content}


def record_of(name: str, attributes: Mapping[str, Any]) -> StudyRecord:
    """Read a record from what `attributes_of` returned; fields that are missing or None have their
    defaults.
    """
    names = {field.name for field in fields(StudyRecord)}
    values = {key: value for key, value in attributes.items() if key in names and value is not None}
    if "model" in values:
        model = values["model"]
        values["model"] = RegisteredModel(
            **model | {"pip_requirements": tuple(model["pip_requirements"])}
        )
    values |= {
        key: tuple(values[key])
        for key in ("no_metrics", "warnings", "answer", "workers", "start")
        if key in values
    }
    values["grown"] = tuple(Growth(**growth) for growth in values.get("grown", ()))
    values["learned"] = tuple(LearnedTrial(**trial) for trial in values.get("learned", ()))
    return StudyRecord(name=name, **values)


def read_state(storage: "BaseStorage", name: str, *, earlier: State | None = None) -> State:
    """Read a study and its repeats, each trial once; writes nothing.

    Args:
        earlier: the result of an earlier call; records of trials that had ended by then are taken
            from it.

    Raises:
        UserError: the storage has no such study, or another version has stored it.
    """
    identities = study_ids(storage)
    if name not in identities:
        names = [other for other in identities if not other.endswith(REPEATS)]
        raise UserError(
            f"study '{name}'", f"not found in this storage. {did_you_mean(name, names)}"
        )
    of_repeats = identities.get(name + REPEATS)
    study = _read_record(storage, name, identities[name], of_repeats)
    known = State(study=study, trials=(), repeats=())
    if earlier is not None and earlier.study.spec == study.spec:
        known = earlier
    search = _read_trials(storage, identities[name], study, known.trials, repeat=False)
    went_on = {trial.before.number for trial in search if trial.before}
    repeats: tuple[Trial, ...] = ()
    if of_repeats is not None:
        same = known.repeats if known.study.reassigned == study.reassigned else ()
        repeats = _read_trials(storage, of_repeats, study, same, repeat=True)
    return State(
        study=study,
        trials=tuple(trial for trial in search if trial.number not in went_on),
        repeats=repeats,
    )


def _read_record(
    storage: "BaseStorage", name: str, identity: int, of_repeats: int | None
) -> StudyRecord:
    """Return the record of a study, with what its repeats add. Raises UserError where another
    version has stored it.
    """
    attributes = storage.get_study_user_attrs(identity)
    if attributes:  # a study that was only just created has none
        check_schema(f"study '{name}'", attributes)
    if of_repeats is not None:
        theirs = storage.get_study_user_attrs(of_repeats)
        workers = [*attributes.get("workers", ()), *theirs.get("workers", ())]
        attributes = {**attributes, "reassigned": theirs.get("reassigned"), "workers": workers}
    return record_of(name, attributes)


def _read_trials(
    storage: "BaseStorage",
    identity: int,
    study: StudyRecord,
    earlier: tuple[Trial, ...],
    *,
    repeat: bool,
) -> tuple[Trial, ...]:
    """Return all trials of an Optuna study, by number, each with the one that it goes on from."""
    every = chain.from_iterable(trial.chain for trial in earlier)
    known = {stood.number: stood for stood in every if stood.finished}
    decode = decoder(study.space)
    trials = list[Trial]()
    for stored in storage.get_all_trials(identity, deepcopy=False):
        if stored.number in known:
            trials.append(known[stored.number])
            continue
        reassigned = study.reassigned.get(str(stored.number)) if repeat else None
        revived = revives(stored)
        before = None if revived is None else trials[revived]
        trials.append(
            read_trial(stored, decode, repeat=repeat, reassigned=reassigned, before=before)
        )
    return tuple(trials)


def record_in(storage: "BaseStorage", name: str) -> StudyRecord:
    """Return the record of a study without what its repeats add; an empty one where the storage has
    no such study.

    Raises:
        UserError: another version has stored it.
    """
    identity = study_ids(storage).get(name)
    attributes = {} if identity is None else storage.get_study_user_attrs(identity)
    if attributes:
        check_schema(f"study '{name}'", attributes)
    return record_of(name, attributes)


def study_record(study: "optuna.Study") -> StudyRecord:
    """Return the record of an open study, without what its repeats add."""
    return record_of(study.study_name, study.user_attrs)


def write_study(study: "optuna.Study", **changes: Any) -> None:
    """Write fields of the record of an open study; fields that are not named keep their values."""
    content = attributes_of(StudyRecord(name=study.study_name, **changes))
    for name in changes:
        study.set_user_attr(name, content[name])


def write_identity(study: "optuna.Study", identity: str | None = None) -> None:
    """Write the first attributes of a study that was just created: schema number, version, and an
    identity, by default a new one.
    """
    for name, value in {**MARKS, "identity": identity or uuid.uuid4().hex}.items():
        study.set_user_attr(name, value)


def json_able(value: Any) -> Any:
    """Return the value as it comes back from JSON: tuples as lists, keys as text."""
    return json.loads(json.dumps(value))
