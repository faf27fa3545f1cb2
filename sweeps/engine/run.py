"""A whole sweep of any workload: the lock and the storage of a study around its search and its repeats.

`run_study` does all of it. `open_sweep` is for a workload that decides how it runs by what an earlier process recorded,
or that has something to do once the last trial has ended: a report, a model to register.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage

from sweeps.engine.events import Observer
from sweeps.engine.repeats import plan_repeats, run_repeats
from sweeps.engine.search import search
from sweeps.storage.database import open_storage, open_study, repeat_study, storage_errors_as_user_errors
from sweeps.storage.lock import study_lock
from sweeps.storage.optuna_internals import batched_writes
from sweeps.storage.study_record import (
    RegisteredModel,
    Session,
    StoredStudy,
    StudyRecord,
    read_study,
    stored_path,
    study_record,
    write_study,
)
from sweeps.workload.protocol import Lanes

if TYPE_CHECKING:
    from sweeps.study.study_file import Study


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a workload says of a study before it trains; recorded with the study. Every field is JSON-able."""

    execution: Mapping[str, Any] = field(default_factory=dict)
    """Device, precision, lanes …: what the results depend on to the last bit."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Code, versions, machine, data."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Settings that all trials share; each trial's own parameters come on top."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What every run carries in MLflow."""
    baseline_tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Name of a baseline → tags that differ for its runs."""
    dataset: Mapping[str, Any] | None = None
    """name, fingerprint (hex), source, profile."""


class Sweep:
    """A study that this process alone drives, from `open_sweep`. The order of calls: `begin`, `train`, `conclude`."""

    def __init__(self, study: "Study", storage: BaseStorage, runs: Path, *, extend: bool) -> None:
        self.study, self.storage, self.runs = study, storage, runs
        self._optuna_study = open_study(storage, study, extend=extend)
        self.before: StudyRecord = study_record(self._optuna_study)
        """The record as an earlier process left it."""
        self._begun = False

    @property
    def finished(self) -> bool:
        """Whether an earlier process has done all that the study asks for, under the same budget."""
        return self.before.finished and self.before.budget == self.study.budget.model_dump()

    def begin(self, description: Description) -> None:
        """Record what the workload says of the study, and that a process runs it."""
        content = {field.name: getattr(description, field.name) for field in fields(description)}
        budget = self.study.budget.model_dump()
        with batched_writes(self.storage):
            write_study(self._optuna_study, finished=False, budget=budget, **content)
            self._write_session("running")
        self._begun = True

    def train(self, make_lanes: Callable[[], Lanes], observers: Sequence[Observer]) -> StoredStudy:
        """Search, then train the repeats; returns all trials."""
        name = self.study.name
        with closing(make_lanes()) as lanes:
            search(self._optuna_study, self.study, lanes, observers, runs=self.runs)
            plan = plan_repeats(read_study(self.storage, name), self.study)
            run_repeats(repeat_study(self.storage, name), plan, lanes, observers, runs=self.runs)
        return self.read()

    def conclude(self, *, model: RegisteredModel | None = None, report: Path | None = None) -> None:
        """Record that the study is finished, with the model to register and the folder of the report, if there are any."""
        made: dict[str, Any] = {"finished": True}
        if model is not None:
            made["model"] = model
        if report is not None:
            made |= {"report": stored_path(report, self.runs), "report_at": time.time()}
        with batched_writes(self.storage):
            write_study(self._optuna_study, **made)
            self._write_session("finished")
        self._begun = False

    def read(self) -> StoredStudy:
        """The study and all its trials, as the storage holds them now."""
        return read_study(self.storage, self.study.name)

    def stop(self, session: Session) -> None:
        """Record that the process ends before the study does."""
        # Where the storage cannot be written, that is why the process ends, and its error says so.
        if self._begun:
            with suppress(OSError, optuna.exceptions.StorageInternalError):
                self._write_session(session)

    def _write_session(self, session: Session) -> None:
        write_study(self._optuna_study, session=session, session_at=time.time())


@contextmanager
def open_sweep(
    study: "Study", *, runs: str | Path = "mlruns", storage: str | None = None, extend: bool = False
) -> Iterator[Sweep]:
    """Hold a study as its only driver, in its storage; records how the `with` block ends.

    Args:
        runs: folder of the runs; the study's journal lies below it, unless `storage` is given.
        storage: URL of a database that keeps the study in place of a journal.
        extend: accept a study file that differs from the stored one, where the trials still fit.

    Raises:
        UserError: another process drives the study, the storage cannot be used, or it holds another definition.
    """
    runs = Path(runs)
    # An unreachable database is an error before anything is written.
    database = open_storage(storage, runs, study.name) if storage else None
    with study_lock(runs, study.name), storage_errors_as_user_errors(storage, runs):
        sweep = Sweep(study, database or open_storage(None, runs, study.name), runs, extend=extend)
        try:
            yield sweep
        except KeyboardInterrupt:
            sweep.stop("interrupted")
            raise
        except BaseException:
            sweep.stop("failed")
            raise


def run_study(
    study: "Study",
    make_lanes: Callable[[], Lanes],
    *,
    runs: str | Path = "mlruns",
    storage: str | None = None,
    observers: Sequence[Observer] = (),
    description: Description | None = None,
    extend: bool = False,
) -> StoredStudy:
    """Run a study to its end, from wherever an earlier process left it; returns all its trials.

    A process that was killed at any moment continues with the same call and ends in the same table.

    Args:
        make_lanes: makes the lanes that train the trials; called once, if there is anything to train.
        runs: folder of the runs; the study's journal lies below it, unless `storage` is given.
        storage: URL of a database that keeps the study in place of a journal.
        observers: are told of every trial, epoch and round.
        description: what is recorded with the study.
        extend: accept a study file that differs from the stored one, where the trials still fit.

    Raises:
        UserError: as `open_sweep`; or too many trials failed one after the other with an error.
        KeyboardInterrupt: the study was stopped; what is finished is kept.
    """
    with open_sweep(study, runs=runs, storage=storage, extend=extend) as sweep:
        if not sweep.finished:
            sweep.begin(description or Description())
            sweep.train(make_lanes, observers)
            sweep.conclude()
        return sweep.read()
