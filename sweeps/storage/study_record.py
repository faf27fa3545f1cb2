"""A study as its storage holds it: what it asks, how it runs, how far it is, and what its mirror in
MLflow needs.
"""

import json
import uuid
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import chain
from typing import TYPE_CHECKING, Any

from sweeps.errors import UserError, did_you_mean
from sweeps.schema import MARKS, STAGED, STUDIES, check_schema
from sweeps.state.record import LearnedTrial, RegisteredModel, StudyRecord
from sweeps.state.stages import Stage, placed
from sweeps.state.state import State
from sweeps.state.trial import Trial
from sweeps.storage.optuna_internals import study_ids
from sweeps.storage.trial_record import decoder, numbered, read_trial, revives
from sweeps.study.ranges import Growth

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

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
    values["learned"] = tuple(LearnedTrial(**trial) for trial in values.get("learned", ()))
    stages = tuple(map(_stage_of, attributes.get("stages") or ())) or _earlier_stages(attributes)
    values["stages"] = stages
    if stages:
        values |= {"spec": stages[-1].spec, "text": stages[-1].text}
    return StudyRecord(name=name, **values)


def _stage_of(stored: Mapping[str, Any]) -> Stage:
    changes = {
        "start": tuple(stored["start"]),
        "grown": tuple(Growth(**step) for step in stored["grown"]),
    }
    return Stage(**{**stored, **changes})


def _earlier_stages(attributes: Mapping[str, Any]) -> tuple[Stage, ...]:
    """Return the stages of a study of an older version, which recorded the steps of ranges, and the
    first trial under its present settings.
    """
    grown = tuple(Growth(**step) for step in attributes.get("grown") or ())
    present = attributes.get("revives_from") or 0
    starts = sorted({0, present, *(step.trial for step in grown)})
    about = {name: attributes[name] for name in ("spec", "text") if attributes.get(name)}
    stages = tuple(
        Stage(
            trial=start,
            fixed=None if start < present else {},
            grown=tuple(step for step in grown if step.trial <= start),
            **about,
        )
        for start in starts
    )
    return stages if len(stages) > 1 else ()


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
        names = [other for other in identities if "." not in other]  # no suffix of ours
        raise UserError(
            f"study '{name}'", f"not found in this storage. {did_you_mean(name, names)}"
        )
    of_repeats = identities.get(name + REPEATS)
    study = _read_record(storage, name, identities[name], of_repeats)
    known = State(study=study, trials=(), repeats=())
    if earlier is not None and (earlier.study.spec, earlier.study.stages) == (
        study.spec,
        study.stages,
    ):
        known = earlier
    search = _read_trials(storage, study, known.trials)
    went_on = {trial.before.number for trial in search if trial.before}
    repeats: tuple[Trial, ...] = ()
    trials = tuple(trial for trial in search if trial.number not in went_on)
    if of_repeats is not None:
        same = known.repeats if known.study.reassigned == study.reassigned else ()
        counting = {trial.number for trial in search if trial.counts}
        repeats = _read_trials(storage, study, same, counting)
    return State(study=study, trials=trials, repeats=repeats)


def _read_record(
    storage: "BaseStorage", name: str, identity: int, of_repeats: int | None
) -> StudyRecord:
    """Return the record of a study, with what its repeats add. Raises UserError where another
    version has stored it.
    """
    attributes = storage.get_study_user_attrs(identity)
    if attributes:  # a study that was only just created has none
        check_schema(f"study '{name}'", attributes, STUDIES)
    if of_repeats is not None:
        theirs = storage.get_study_user_attrs(of_repeats)
        workers = [*attributes.get("workers", ()), *theirs.get("workers", ())]
        attributes = {**attributes, "reassigned": theirs.get("reassigned"), "workers": workers}
    return record_of(name, attributes)


def _read_trials(
    storage: "BaseStorage",
    study: StudyRecord,
    earlier: tuple[Trial, ...],
    counting: Container[int] | None = None,
) -> tuple[Trial, ...]:
    """Return all trials of the search, by number, each with the one that it goes on from.

    Args:
        counting: numbers of the trials that count; then the repeats are read.
    """
    repeat = counting is not None
    every = chain.from_iterable(trial.chain for trial in earlier)
    known = {stood.number: stood for stood in every if stood.finished}
    decode = decoder(study.space, *(stage.space for stage in study.stages))
    trials = list[Trial]()
    suffixes = [(REPEATS, 0)] if repeat else parts_of(study.stages)
    for number, stored in enumerate(stored_trials(storage, study.name, suffixes)):
        if number in known:
            trials.append(known[number])
            continue
        reassigned = study.reassigned.get(str(number)) if repeat else None
        revived = revives(stored)
        before = None if revived is None else trials[revived]
        trial = read_trial(
            numbered(stored, number), decode, repeat=repeat, reassigned=reassigned, before=before
        )
        trials.append(placed(trial, study.stages, counting))
    return tuple(trials)


# ---- the Optuna studies of a study ----


def parts_of(stages: Sequence[Stage]) -> list[tuple[str, int]]:
    """Return the suffix of each Optuna study that holds trials of a search, and the number of its
    first trial.

    Optuna refuses trials of other choices, kinds and scales in one study, so a stage that changes
    these has a further one. Numbers go on from one to the next.
    """
    parts = [("", 0)]
    for stage in stages:
        if stage.suffix != parts[-1][0]:
            parts.append((stage.suffix, stage.trial))
    return parts


def stored_trials(
    storage: "BaseStorage", name: str, parts: Sequence[tuple[str, int]]
) -> list["FrozenTrial"]:
    """Return what the storage holds of the trials of a study, in the order of their numbers in the
    study.
    """
    identities = study_ids(storage)
    ends = [first for _, first in parts[1:]] + [None]
    trials = []
    for (suffix, first), end in zip(parts, ends, strict=True):
        own = storage.get_all_trials(identities[name + suffix], deepcopy=False)
        # Another program may have put trials into a study that has ended.
        trials += own if end is None else own[: end - first]
    return trials


def record_in(storage: "BaseStorage", name: str) -> StudyRecord:
    """Return the record of a study without what its repeats add; an empty one where the storage has
    no such study.

    Raises:
        UserError: another version has stored it.
    """
    identity = study_ids(storage).get(name)
    attributes = {} if identity is None else storage.get_study_user_attrs(identity)
    if attributes:
        check_schema(f"study '{name}'", attributes, STUDIES)
    return record_of(name, attributes)


def study_record(study: "optuna.Study") -> StudyRecord:
    """Return the record of an open study, without what its repeats add."""
    return record_of(study.study_name, study.user_attrs)


def write_stages(study: "optuna.Study", stages: Sequence[Stage]) -> None:
    """Write the stages of an open study, the definition of the newest with them, in one record."""
    if len(stages) > 1:
        study.set_user_attr("schema", STAGED)
    write_study(study, stages=tuple(stages))


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
