"""What the storage says of a study as a whole: what it asks, how it runs, how far it is, and what
its mirror in MLflow needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sweeps.state.stages import Stage
from sweeps.study.ranges import Growth
from sweeps.study.space import Space

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
    """Module whose `_load_pyfunc(folder)` returns an object with `predict`. Where it has
    `make_program(folder)`, that returns the same as a PyTorch module that can be exported, and the
    packages that its program needs. For tables, `write_program(folder, target)` writes the program
    into the folder `target` and returns a file of Python whose `_load_pyfunc(target)` loads it, and
    the packages that both need."""
    inputs: Mapping[str, Any]
    """Example of inputs: dtype, values (nested lists) and, of a table, the names of its columns."""
    outputs: Mapping[str, Any]
    """Outputs for the example, as `inputs`."""
    pip_requirements: tuple[str, ...]
    """Packages that its loader needs."""
    description: str = ""
    """What MLflow's page of the model says, unless somebody wrote another text there."""


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
    """A workload's description of a study, made before it trains and recorded with the study. Every
    field is JSON-able.
    """

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
    """Figures of epochs and results that say how a run was made, as a number of images does:
    parameters of it in MLflow, no metrics.
    """
    dataset: Mapping[str, Any] | None = None
    """name, fingerprint (hex), source, profile."""


@dataclass(frozen=True, kw_only=True)
class StudyRecord(Description):
    """All that the storage says of a study. Times are unix seconds; folders are relative to the
    runs folder where they can be.
    """

    name: str
    identity: str = ""
    """Random, given when the study is created; tells it apart from another study of the same
    name.
    """
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
    """Facts that values of another study must share to be compared with those of this one, as the
    workload gave them.
    """
    start: tuple[Mapping[str, Any], ...] = ()
    """What the first trials take, where `start:` of the study file names another study; else the
    file says it.
    """
    learned: tuple[LearnedTrial, ...] = ()
    """Trials of the study `learn_from` that teach the sampler, in order."""
    stages: tuple[Stage, ...] = ()
    """In order, where there is more than one. `spec` and `text` are those of the newest."""
    finished: bool = False
    """Whether search, repeats and report are done under the present spec and budget."""
    reassigned: Mapping[str, Any] = field(default_factory=dict)
    """Number of a repeat (as text) → its source trial, purposes, pairs and baseline in the newest
    plan.
    """
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
    """Sentences that readers of the finished study have to know."""
    answer: tuple[str, ...] = ()
    """What the finished study found, in lines, as its workload gave them."""
    workers: tuple[Mapping[str, Any], ...] = ()
    """`WorkerState` of each worker some seconds ago, field by field, while the study runs; `trials`
    are names of runs.
    """
    late_from: int | None = None
    """Lanes from which on decisions are pipelined; None before it begins."""
    worker_kind: Mapping[str, Any] = field(default_factory=dict)
    """`Lanes.kind` of the workers of the study, which every worker must have."""

    @property
    def grown(self) -> tuple[Growth, ...]:
        """Steps beyond the ranges of the study file that the search took, in order."""
        return self.stages[-1].grown if self.stages else ()

    @property
    def space(self) -> Space:
        """The search space, with the ranges that the search has widened."""
        return Space.from_dict(self.spec.get("search") or {}).grown(self.grown)

    @property
    def begun(self) -> Stage:
        """The newest stage that the search did not begin by itself."""
        own = [stage for stage in self.stages if not stage.by_search]
        return own[-1] if own else Stage(spec=self.spec, text=self.text)

    @property
    def objectives(self) -> Mapping[str, str]:
        """The two objectives, name → metric of an epoch; empty where one objective is searched
        for.
        """
        return self.spec.get("objectives") or {}
