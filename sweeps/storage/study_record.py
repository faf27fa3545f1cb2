"""A study as its storage holds it: what it asks, how it runs, how far it is, and what its mirror in MLflow needs."""

import copy
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from sweeps.errors import UserError, did_you_mean
from sweeps.lanes import run_name
from sweeps.schema import MARKS, check_schema
from sweeps.storage.optuna_internals import study_ids
from sweeps.storage.trial_record import TrialRecord
from sweeps.study.ranges import Growth
from sweeps.study.space import Space

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

REPEATS = ".repeats"
"""Suffix of the name of the Optuna study that keeps the repeats."""

Session = Literal["running", "finished", "interrupted", "failed"]


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """The model of the study's best run, as MLflow's registry is to hold it."""

    name: str
    alias: str
    run: str
    """Name of the trial or repeat that it belongs to."""
    folder: str
    """Folder of its files, relative to the runs folder where it lies below."""
    loader_module: str
    """Module whose `_load_pyfunc(folder)` returns an object with `predict`. Where it has `make_program(folder)`, that returns the same as a
    PyTorch module that can be exported, and the packages that its program needs."""
    inputs: Mapping[str, Any]
    """Example of inputs: dtype and values (nested lists)."""
    outputs: Mapping[str, Any]
    """Outputs for the example, as `inputs`."""
    pip_requirements: tuple[str, ...]
    """Packages that its loader needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnedTrial:
    """A finished trial of another study, as the sampler sees it."""

    params: Mapping[str, Any]
    """Values of all parameters that are active in the space of this study."""
    objective: float
    """The best of a complete trial, the last of a pruned one."""
    pruned_after: int | None = None
    """Epochs of a pruned trial; None of a complete one."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """A workload's description of a study, made before it trains and recorded with the study. Every field is JSON-able."""

    execution: Mapping[str, Any] = field(default_factory=dict)
    """Device, precision, lanes …: what the results depend on to the last bit."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Code, versions, machine, data."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Settings that all trials share; each trial's own parameters come on top."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags of every run in MLflow."""
    baseline_tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Name of a baseline → tags that differ for its runs."""
    no_metrics: tuple[str, ...] = ()
    """Figures of epochs and results that say how a run was made, as a number of images does: parameters of it in MLflow, no metrics."""
    dataset: Mapping[str, Any] | None = None
    """name, fingerprint (hex), source, profile."""


@dataclass(frozen=True, kw_only=True)
class StudyRecord(Description):
    """All that the storage says of a study. Times are unix seconds; folders are relative to the runs folder where they can be."""

    name: str
    identity: str = ""
    """Random, given when the study is created; tells it apart from another study of the same name."""
    question: str = ""
    text: str = ""
    """The study file as it stands, before overrides; empty for a study that no file describes."""
    seed: int | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    """`Study.spec()`: all that defines the study."""
    budget: Mapping[str, Any] = field(default_factory=dict)
    keep: Mapping[str, Any] = field(default_factory=dict)
    """The section `keep` of the newest sweep, with overrides."""
    elapsed: float | None = None
    """Seconds of wall time spent on the search, over all processes."""
    stopped: str | None = None
    """Why the search ended, in a sentence; None while it goes on."""
    protocol: Mapping[str, Any] = field(default_factory=dict)
    """Facts that values of another study must share to be compared with those of this one, as the workload gave them."""
    start: tuple[Mapping[str, Any], ...] = ()
    """What the first trials take, where `start:` of the study file names another study; else the file says it."""
    learned: tuple[LearnedTrial, ...] = ()
    """Trials of the study `learn_from` that teach the sampler, in order."""
    grown: tuple[Growth, ...] = ()
    """Steps beyond the ranges of the study file that the search took, in order."""
    revives_from: int = 0
    """Number of the first trial under the present fixed settings and seed; those before it would go on as other trials."""
    finished: bool = False
    """Whether search, repeats and report are done under the present spec and budget."""
    reassigned: Mapping[str, Any] = field(default_factory=dict)
    """Number of a repeat (as text) → its source trial, purposes, pairs and baseline in the newest plan."""
    session: Session | None = None
    """State or end of the newest process that drove the study; None where none has recorded it."""
    session_at: float | None = None
    model: RegisteredModel | None = None
    report: str | None = None
    """Folder of the newest report."""
    report_at: float | None = None
    freed: Mapping[str, Any] = field(default_factory=dict)
    """Name of a run's folder → names of its files that were deleted on purpose."""
    warnings: tuple[str, ...] = ()
    """Sentences that whoever reads the results of the finished study has to know."""
    answer: tuple[str, ...] = ()
    """What the finished study found, in lines, as its workload gave them."""
    stalls: tuple[str, ...] = ()
    """Sentences on workers that do not move, while the study runs."""
    workers: tuple[Mapping[str, Any], ...] = ()
    """`WorkerState` of each worker some seconds ago, field by field, while the study runs; `trials` are names of runs."""
    late_from: int | None = None
    """Lanes from which on its rounds are decided late; None before it begins."""
    worker_kind: Mapping[str, Any] = field(default_factory=dict)
    """`Lanes.kind` of the workers of the study, which every worker must have."""

    @property
    def space(self) -> Space:
        """The search space, with the ranges that the search has widened."""
        return Space.from_dict(self.spec.get("search") or {}).grown(self.grown)

    @property
    def objectives(self) -> Mapping[str, str]:
        """The two objectives, name → metric of an epoch; empty where one objective is searched for."""
        return self.spec.get("objectives") or {}

    def to_attributes(self) -> dict[str, Any]:
        """Return what the storage keeps with the study of the search (`reassigned` with its repeats): JSON-able, by field."""
        content = json_able(asdict(self))
        del content["name"]
        return {**MARKS, **content}

    @classmethod
    def from_attributes(cls, name: str, attributes: Mapping[str, Any]) -> "StudyRecord":
        """Read a record from what `to_attributes` returned; fields that are missing or None have their defaults."""
        names = {field.name for field in fields(cls)}
        values = {key: value for key, value in attributes.items() if key in names and value is not None}
        if "model" in values:
            model = values["model"]
            values["model"] = RegisteredModel(**model | {"pip_requirements": tuple(model["pip_requirements"])})
        values |= {
            key: tuple(values[key])
            for key in ("no_metrics", "warnings", "answer", "stalls", "workers", "start")
            if key in values
        }
        values["grown"] = tuple(Growth(**growth) for growth in values.get("grown", ()))
        values["learned"] = tuple(LearnedTrial(**trial) for trial in values.get("learned", ()))
        return cls(name=name, **values)


@dataclass(frozen=True, kw_only=True)
class StoredStudy:
    """A study and all its trials, as its storage holds them at one moment."""

    study: StudyRecord
    trials: tuple[TrialRecord, ...]
    """Of the search, by number."""
    repeats: tuple[TrialRecord, ...]
    """By number."""

    @property
    def newest(self) -> tuple[TrialRecord, ...]:
        """The trials of the search, by number, without those that another one revives and whose epochs that one has."""
        revived = {trial.revives for trial in self.trials}
        return tuple(trial for trial in self.trials if trial.number not in revived)

    def run(self, number: int, *, repeat: bool) -> TrialRecord:
        """Return a trial of the search, or a repeat. Raises UserError where there is none of this number."""
        runs = self.repeats if repeat else self.trials
        if not 0 <= number < len(runs):
            name, first, last = (run_name(self.study.name, n, repeat=repeat) for n in (number, 0, len(runs) - 1))
            numbers = f"It has {first} to {last}." if runs else f"It has no {'repeat' if repeat else 'trial'} yet."
            raise UserError("RUN", f"study '{self.study.name}' has no {name}. {numbers}")
        return runs[number]


def read_study(storage: "BaseStorage", name: str, *, earlier: StoredStudy | None = None) -> StoredStudy:
    """Read a study and its repeats, each trial once; writes nothing.

    Args:
        earlier: the result of an earlier call; records of trials that had ended by then are taken from it.

    Raises:
        UserError: the storage has no such study, or another version has stored it.
    """
    identities = study_ids(storage)
    if name not in identities:
        names = [other for other in identities if not other.endswith(REPEATS)]
        raise UserError(f"study '{name}'", f"not found in this storage. {did_you_mean(name, names)}")
    repeats = identities.get(name + REPEATS)
    attributes = storage.get_study_user_attrs(identities[name])
    if attributes:  # a study that was only just created has none
        check_schema(f"study '{name}'", attributes)
    if repeats is not None:
        theirs = storage.get_study_user_attrs(repeats)
        both = {name: [*attributes.get(name, ()), *theirs.get(name, ())] for name in ("stalls", "workers")}
        attributes = {**attributes, "reassigned": theirs.get("reassigned"), **both}
    study = StudyRecord.from_attributes(name, attributes)
    same = earlier is not None and earlier.study.spec == study.spec
    trials = earlier.trials if earlier and same else ()
    earlier_repeats = earlier.repeats if earlier and same and earlier.study.reassigned == study.reassigned else ()
    return StoredStudy(
        study=study,
        trials=_read_trials(storage, identities[name], study, trials, repeat=False),
        repeats=() if repeats is None else _read_trials(storage, repeats, study, earlier_repeats, repeat=True),
    )


def _read_trials(
    storage: "BaseStorage", identity: int, study: StudyRecord, earlier: tuple[TrialRecord, ...], *, repeat: bool
) -> tuple[TrialRecord, ...]:
    space, records = study.space, []
    for stored in storage.get_all_trials(identity, deepcopy=False):
        if stored.number < len(earlier) and earlier[stored.number].outcome is not None:
            records.append(earlier[stored.number])
            continue
        reassigned = study.reassigned.get(str(stored.number)) if repeat else None
        unpacked = copy.copy(stored)  # the storage keeps the packed trial, which takes a tenth of the memory
        records.append(TrialRecord.from_attributes(unpacked, space, repeat=repeat, reassigned=reassigned))
    return tuple(records)


def record_in(storage: "BaseStorage", name: str) -> StudyRecord:
    """Return the record of a study without what its repeats add; an empty one where the storage has no such study.

    Raises:
        UserError: another version has stored it.
    """
    identity = study_ids(storage).get(name)
    attributes = {} if identity is None else storage.get_study_user_attrs(identity)
    if attributes:
        check_schema(f"study '{name}'", attributes)
    return StudyRecord.from_attributes(name, attributes)


def study_record(study: "optuna.Study") -> StudyRecord:
    """Return the record of an open study, without what its repeats add."""
    return StudyRecord.from_attributes(study.study_name, study.user_attrs)


def write_study(study: "optuna.Study", **changes: Any) -> None:
    """Write fields of the record of an open study; fields that are not named keep their values."""
    content = StudyRecord(name=study.study_name, **changes).to_attributes()
    for name in changes:
        study.set_user_attr(name, content[name])


def write_identity(study: "optuna.Study", identity: str | None = None) -> None:
    """Write the first attributes of a study that was just created: schema number, version, and an identity, by default a new one."""
    for name, value in {**MARKS, "identity": identity or uuid.uuid4().hex}.items():
        study.set_user_attr(name, value)


def json_able(value: Any) -> Any:
    """Return the value as it comes back from JSON: tuples as lists, keys as text."""
    return json.loads(json.dumps(value))
