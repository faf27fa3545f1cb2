"""A whole sweep of any workload: the lock and the storage of a study around its search and its
repeats.

`run_study` does all of it. `open_sweep` is for a workload that decides how it runs by what an
earlier process recorded, or that has something to do once the last trial has ended: a report, a
model to register.

A trial's parameters depend on the study's seed, its number and the trials before it, so that a
study with the same lanes repeats exactly. With many lanes, the sampler works while a round trains
and learns from the trials that had ended before that round. An accelerator would otherwise wait
10 ms for each trial of TPE, and a second for each of a Gaussian process.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.storages import BaseStorage

from sweeps.engine.events import Observer
from sweeps.engine.extending import extension
from sweeps.engine.races import plan_of
from sweeps.engine.repeats import run_repeats
from sweeps.engine.trial_loop import MAX_FAILURES, STOP_SECONDS, Rounds, is_pipelined
from sweeps.engine.warm_start import Protocol, Read, study_reader, warm_start
from sweeps.lanes import Lanes
from sweeps.search.searched_trials import KNOWN_IN_A_ROW, SearchedTrials, trial_seed
from sweeps.state.record import Description, RegisteredModel, Session, StudyRecord
from sweeps.state.state import State
from sweeps.state.trial import stored_path
from sweeps.storage import (
    hold_study,
    keep_figures,
    open_study,
    recorded_study,
    repeat_study,
    storage_errors_as_user_errors,
)
from sweeps.storage.journals import PATIENCE, StorageLost
from sweeps.storage.store import Store
from sweeps.storage.study_record import json_able, read_state, record_in
from sweeps.study.start import BestOf

if TYPE_CHECKING:
    from sweeps.study.study import Study

_log = logging.getLogger(__name__)


class Sweep:
    """A study that this process alone drives, from `open_sweep`. The order of calls: `begin`,
    `train`, `conclude`.
    """

    def __init__(
        self,
        study: "Study",
        storage: BaseStorage,
        runs: Path,
        read: Read,
        *,
        extend: bool,
        protocol: Protocol,
        check: Callable[[StudyRecord], None],
    ) -> None:
        self.storage = storage
        self.runs = runs
        self.protocol = protocol
        self.before: StudyRecord = record_in(storage, study.name)
        """The record as an earlier process left it."""
        check(self.before)
        self.study, kept = keep_figures(self.before, study, extend=extend)
        """The study, with the settings of figures of its record."""
        changed = extension(self.before, self.study, self.read, extend=extend)
        self._start = changed.start
        self._extend, (self._fields, lines) = extend, warm_start(study, self.before, protocol, read)
        for line in (*changed.lines, *kept, *lines):
            _log.warning("%s", line)
        self._begun = False

    @property
    def finished(self) -> bool:
        """Whether an earlier process has done all that the study asks for, under the same
        definition and budget.
        """
        same = self.before.spec == json_able(self.study.spec())
        return (
            self.before.finished and same and self.before.budget == self.study.budget.model_dump()
        )

    def begin(self, description: Description) -> None:
        """Record the study, what the workload says of it, and that a process runs it. Nothing is
        written before.
        """
        opened = open_study(
            self.storage,
            self.study,
            extend=self._extend,
            fields=self._fields,
            start=self._start,
        )
        self._store = Store(opened, self.study.space, self.runs)
        self._identity = self._store.record.identity
        asked: dict[str, Any] = {
            "budget": self.study.budget.model_dump(),
            "keep": self.study.keep.model_dump(),
        }
        if self.protocol:
            asked["protocol"] = dict(self.protocol)
        with self._store.batched():
            self._store.write(finished=False, **asked, **vars(description))
            self._write_session("running")
        self._begun = True

    def train(
        self,
        lanes: Lanes,
        observers: Sequence[Observer],
        *,
        max_failures: int = MAX_FAILURES,
        stop_seconds: float = STOP_SECONDS,
        retry_failed: bool = False,
        learned: Callable[[State], bool] = lambda stored: True,
    ) -> State:
        """Search, then train the repeats; returns all trials.

        Args:
            lanes: train the trials; the caller closes them.
            observers, max_failures, stop_seconds: those of `run_study`.
            retry_failed: train the trials and repeats that have failed once more, each in the place
                of the failed one.
            learned: tells from the trials of the search whether anything was learned. Where nothing
                was, nothing is confirmed or compared; baselines are still trained.
        """
        common: dict[str, Any] = {"max_failures": max_failures, "stop_seconds": stop_seconds}
        if lanes.kind != self.before.worker_kind:
            self._store.write(worker_kind=lanes.kind)
        if retry_failed and self._store.retry(time.time()):
            self._store.write(stopped=None)
        search(self._store, self.study, lanes, observers, **common)
        stored = self.read()
        asked = self.study if learned(stored) else replace(self.study, confirm=None, compare=None)
        opened = repeat_study(self.storage, self.study.name)
        repeats = Store(opened, self.study.space, self.runs)
        run_repeats(
            repeats,
            plan_of(stored, asked),
            lanes,
            observers,
            warmup=self.study.warmup_of,
            retry_failed=retry_failed,
            **common,
        )
        return self.read()

    def conclude(
        self,
        *,
        model: RegisteredModel | None = None,
        report: Path | None = None,
        warnings: Sequence[str] = (),
        answer: Sequence[str] = (),
    ) -> None:
        """Record that the study is finished, with the model to register, the folder of the report,
        and what the report warns of and answers.
        """
        made: dict[str, Any] = {
            "finished": True,
            "warnings": list(warnings),
            "answer": list(answer),
        }
        if model is not None:
            made["model"] = model
        if report is not None:
            made |= {"report": stored_path(report, self.runs), "report_at": time.time()}
        with self._store.batched():
            self._store.write(**made)
            self._write_session("finished")
        self._begun = False

    def read(self) -> State:
        """Return the study and all its trials, as the storage holds them now."""
        return read_state(self.storage, self.study.name)

    def stop(self, session: Session) -> None:
        """Record that the process ends before the study does."""
        if self._begun:
            # A storage that cannot be written is why the process ends, and its error says so.
            with suppress(OSError, StorageLost):
                self._write_session(session)

    def _write_session(self, session: Session) -> None:
        # The identity is written each time, because a study whose first records are damaged is
        # known by a later one.
        self._store.write(session=session, session_at=time.time(), identity=self._identity)


@contextmanager
def open_sweep(
    study: "Study",
    *,
    runs: str | Path = "mlruns",
    storage: str | None = None,
    extend: bool = False,
    take_over: bool = False,
    patience: float = PATIENCE,
    protocol: Protocol | None = None,
    check: Callable[[StudyRecord], None] = lambda before: None,
) -> Iterator[Sweep]:
    """Hold a study as its only driver, in its storage; records how the `with` block ends.

    Args:
        runs: folder of the runs; the study's journal lies below it, unless `storage` is given.
        storage: address of a PostgreSQL database that keeps the study's journal.
        extend: accept a study file that differs from the stored one. It begins a stage where it
            changes what a trial may be (`sweeps.state.stages`).
        take_over, patience: as for `hold_study`.
        protocol: facts that values of another study must share to teach this one (`learn_from`), by
            name, JSON-able; `objective` also where that study's best configurations come first
            (`start`).
        check: refuses a record that the workload cannot go on from; called first.

    Raises:
        UserError: another process drives the study, the storage cannot be used, or it holds another
            definition; or the study names another one that is not there, or does not fit.
    """
    runs = Path(runs)
    protocol = protocol or {}
    read = study_reader(storage, runs, study)
    if study.learn_from or any(isinstance(entry, BestOf) for entry in study.start):
        # A study that is refused must leave no empty journal behind.
        before = recorded_study(storage, runs, study.name) or StudyRecord(name=study.name)
        warm_start(study, before, protocol, read)
    with (
        storage_errors_as_user_errors(storage, runs),
        hold_study(storage, runs, study.name, take_over=take_over, patience=patience) as opened,
    ):
        sweep = Sweep(study, opened, runs, read, extend=extend, protocol=protocol, check=check)
        try:
            yield sweep
        except BaseException as error:
            sweep.stop("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
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
    take_over: bool = False,
    patience: float = PATIENCE,
    max_failures: int = MAX_FAILURES,
    stop_seconds: float = STOP_SECONDS,
    protocol: Protocol | None = None,
) -> State:
    """Run a study to its end, from wherever an earlier process left it; returns all its trials.

    A process that was killed at any moment continues with the same call and ends in the same table.

    Args:
        make_lanes: makes the lanes that train the trials; called once, if there is anything to
            train.
        runs, storage, extend, take_over, patience, protocol: as for `open_sweep`.
        observers: are told of every trial, epoch and round.
        description: what is recorded with the study.
        max_failures: so many trials in a row, by number, that fail of the same cause end the study.
            Diverged trials never count.
        stop_seconds: after an interrupt, workers have so long to end the epoch at hand and to leave
            checkpoints.

    Raises:
        UserError: as `open_sweep`; or `max_failures` trials in a row failed of the same cause.
        KeyboardInterrupt: the study was stopped; what is finished is kept, and running trials have
            left checkpoints.
    """
    with open_sweep(
        study,
        runs=runs,
        storage=storage,
        extend=extend,
        take_over=take_over,
        patience=patience,
        protocol=protocol,
    ) as sweep:
        if not sweep.finished:
            # Lanes that refuse the study do so before anything is written.
            with closing(make_lanes()) as lanes:
                sweep.begin(description or Description())
                sweep.train(lanes, observers, max_failures=max_failures, stop_seconds=stop_seconds)
            sweep.conclude()
        return sweep.read()


# ---- the search ----


def search(
    store: Store, study: "Study", lanes: Lanes, observers: Sequence[Observer], **options: Any
) -> str:
    """Search until the study's budget is used up, from wherever the storage stands; returns why it
    ended.

    An interrupt (KeyboardInterrupt, or an exception of the lanes) leaves its trials RUNNING for the
    next call. After a KeyboardInterrupt the lanes have `stop_seconds` to leave checkpoints.

    Args:
        options: further fields of `Rounds`.

    Raises:
        UserError: `max_failures` trials in a row failed of the same cause.
    """
    source = SearchedTrials(store, study, pipelined=is_pipelined(store, lanes))
    reason = Rounds(store, lanes, observers, source, **options).run()
    store.write(stopped=reason)
    return reason


__all__ = ["KNOWN_IN_A_ROW", "Sweep", "open_sweep", "run_study", "search", "trial_seed"]
