"""A study as its storage holds it: what it asks, how it runs, how far it is, and what its mirror in MLflow needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

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
    """Module whose `_load_pyfunc(folder)` returns an object with `predict`."""
    inputs: Mapping[str, Any]
    """Example of inputs: dtype and values (nested lists)."""
    outputs: Mapping[str, Any]
    """Outputs for the example, as `inputs`."""
    pip_requirements: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """All that the storage says of a study. Times are unix seconds; folders are relative to the runs folder where they can be."""

    name: str
    identity: str = ""
    """Random, given when the study is created; tells it apart from another study of the same name."""
    question: str = ""
    seed: int | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    """`Study.spec()`: all that defines the study."""
    budget: Mapping[str, Any] = field(default_factory=dict)
    execution: Mapping[str, Any] = field(default_factory=dict)
    """Device, precision, lanes … that the results depend on to the last bit."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Code, versions, machine, data and protocol, as the workload describes them."""
    elapsed: float | None = None
    """Seconds of wall time spent on the search, over all processes."""
    repeats_elapsed: float | None = None
    """Seconds of wall time spent on repeats; None before the first."""
    stopped: str | None = None
    """Why the search ended, in a sentence; None while it goes on."""
    finished: bool = False
    """Whether search, repeats and report are done under the present spec and budget."""
    reassigned: Mapping[str, Any] = field(default_factory=dict)
    """Number of a repeat (as text) → its purposes, pair and baseline in the newest plan, where they changed."""
    session: Session | None = None
    """How the newest process that drove the study stands or ended; None where none has said so."""
    session_at: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    """What every run of the study carries in MLflow."""
    baseline_tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Name of a baseline → tags that differ for its runs."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Resolved settings of a trial but for its own parameters, which come on top."""
    dataset: Mapping[str, Any] | None = None
    """name, fingerprint (hex), source, profile."""
    model: RegisteredModel | None = None
    report: str | None = None
    """Folder of the newest report."""
    report_at: float | None = None
