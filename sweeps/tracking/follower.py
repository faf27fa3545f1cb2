"""The process that follows a study's storage and brings MLflow up to it; `sweeps.tracking.mirror` starts it."""

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from sweeps.errors import UserError, masked
from sweeps.tracking.mlflow_store import place

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from sweeps.storage.study_record import StoredStudy, StudyRecord
    from sweeps.storage.trial_record import TrialRecord
    from sweeps.tracking.mlflow_runs import StudyRuns

NICE = 10  # training on the CPU comes first
INTERVAL = 5.0  # seconds between two passes, at the least
SHARE = 0.05  # of a core, at the most, while a study runs
LONGEST = 60.0  # seconds between two passes, at the most
DELAYS = (0.5, 30.0)  # seconds before the first and, doubling, the last kind of another try
TELLING = 0.5  # seconds between two signs of life
TRIES = 3  # failures in a row after which the last pass gives up
FINISH = b"finish\n"
"""The order to make the last pass."""


@dataclass(frozen=True, kw_only=True)
class State:
    """How far MLflow is behind the storage."""

    runs: int | None = None
    """Of the study, its parent included; None until the storage has been read."""
    behind: int = 0
    """Runs that MLflow lacks or has in an older state."""
    brought: int = 0
    """Runs that were created or changed."""
    answers: int = 0
    """Answers of MLflow to the process; anew with each process."""
    seconds: float = 0.0
    """Processor time of the process."""
    refused: int = 0
    """Runs of which MLflow will never take all."""
    problem: str | None = None
    """Why the newest pass failed, or why MLflow refused a run."""
    notice: str | None = None
    """What happened to the store."""
    done: bool = False
    """Whether the process has made its last pass."""


def main() -> None:
    """Follow a study as the first line of standard input says, until the second one or the end of input comes."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    orders: SimpleQueue[bytes] = SimpleQueue()
    finishing = threading.Event()
    threading.Thread(target=_listen, args=(orders, finishing), daemon=True).start()
    given = json.loads(orders.get())
    if given["once"]:
        finishing.set()
    elif hasattr(os, "nice"):
        os.nice(NICE)
    _Follower(given, finishing, lambda state: print(json.dumps(asdict(state)), file=answers, flush=True)).run()
    os._exit(0)  # Python would search all objects of MLflow for cycles first


def _listen(orders: "SimpleQueue[bytes]", finishing: threading.Event) -> None:
    rest = b""
    while data := os.read(0, 1 << 16):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line + b"\n" == FINISH:
                finishing.set()
            else:
                orders.put(line)
    os._exit(1)  # the driver is gone, and the next one's mirror may be at work already


class _Follower:
    """The process's own end: reads the storage, brings MLflow up to it, rests."""

    def __init__(self, given: dict[str, Any], finishing: threading.Event, tell: Callable[[State], None]) -> None:
        self._study, self._runs, self._tracking = given["study"], Path(given["runs"]), given["tracking"]
        self._once, self._finishing, self._tell = given["once"], finishing, tell
        self._source = _Source(self._study, self._runs, given["storage"])
        mark = hashlib.sha256(place(self._tracking, self._runs).encode()).hexdigest()[:8]
        self._lock = FileLock(self._runs / "journal" / f"{self._study}.mirror-{mark}.lock")
        self._mlflow: StudyRuns | None = None
        self._state = State(notice=given["notice"], brought=given["brought"])
        self._names: set[str] = set()
        self._earlier: int = given["brought"]
        self._told = 0.0

    def run(self) -> None:
        """Make passes until the driver has finished and the last pass is made."""
        failures = 0
        while True:
            last, begun = self._finishing.is_set(), time.process_time()
            behind, opened = self._state.behind, self._mlflow
            try:
                self._pass(last)
                failures = 0
            except Timeout:
                failures += 1
                self._note(problem="another process is bringing the study to it")
            except Exception as error:  # whatever it is, the storage keeps all, and the driver shows the reason
                failures = 1 if self._state.behind < behind else failures + 1
                if self._once and isinstance(error, UserError):
                    failures = TRIES
                self._note(problem=_reason(error))
            if last and (not failures or failures >= TRIES):
                break
            self._tell(self._state)
            spent = 0.0 if self._mlflow is not opened else time.process_time() - begun  # MLflow is imported once
            rest = min(max(INTERVAL, spent / SHARE), LONGEST)
            if failures:
                rest = DELAYS[0] if last else min(DELAYS[0] * 2**failures, DELAYS[1])
            time.sleep(rest) if last else self._finishing.wait(rest)
        if self._mlflow is not None:
            self._mlflow.store.close()
        self._note(done=True, seconds=time.process_time())
        self._tell(self._state)

    def _pass(self, last: bool) -> None:
        fresh = self._source.read(must_exist=self._once)
        stored = self._source.stored
        if stored is None or not (fresh or last or self._state.problem):
            return
        study = _as_it_stands(stored, alive=not last if not self._once else self._source.is_driven())
        records = [record for record in (*stored.trials, *stored.repeats) if _is_run(record)]
        if not (records or last):
            return
        self._note(runs=len(records) + 1, behind=self._count(study, records))
        self._tell(self._state)
        if self._mlflow is None:
            if not last and not any(record.epochs or record.outcome for record in records):
                return  # importing MLflow takes seconds of a core that the first epoch could have
            from sweeps.tracking.mlflow_runs import StudyRuns

            self._lock.acquire(timeout=0)
            if self._tracking is None:
                os.chdir(self._runs)  # as the address of its store wants it
            self._mlflow = StudyRuns(self._tracking, self._runs, study)
            self._mlflow.store.told = self._answered
            if self._mlflow.store.notices:
                self._note(notice=" ".join(self._mlflow.store.notices))
        self._bring(self._mlflow, study, records)

    def _bring(self, mlflow: "StudyRuns", study: "StudyRecord", records: "list[TrialRecord]") -> None:
        from sweeps.tracking.mlflow_store import StoreReplacedError

        def arrived(name: str) -> None:
            self._names.add(name)
            self._note(brought=self._earlier + len(self._names), behind=max(0, self._state.behind - 1))
            self._tell(self._state)

        try:
            mlflow.bring(study, records, arrived)
        except StoreReplacedError as error:
            self._note(notice=str(error))
            self._tell(self._state)
            os._exit(1)  # the next process opens the store anew; this one's connections lead to the old one
        reason = next(reversed(mlflow.refused.values()), None)
        self._note(problem=reason, refused=len(mlflow.refused), behind=self._count(study, records))

    def _count(self, study: "StudyRecord", records: "list[TrialRecord]") -> int:
        return len(self._mlflow.pending(study, records)) if self._mlflow else len(records) + 1

    def _answered(self) -> None:
        answers = self._mlflow.store.answers if self._mlflow else 0
        if time.monotonic() >= self._told + TELLING:
            self._note(answers=answers)
            self._tell(self._state)
            self._told = time.monotonic()

    def _note(self, **changes: Any) -> None:
        self._state = replace(self._state, **changes)


class _Source:
    """The storage, read anew only where something was written to it."""

    def __init__(self, study: str, runs: Path, url: str | None) -> None:
        self._study, self._runs, self._url = study, runs, url
        self._opened: BaseStorage | None = None
        self._seen: tuple[int, int] | None = None
        self.stored: StoredStudy | None = None

    def read(self, *, must_exist: bool) -> bool:
        """Read what is new; whether there was something. UserError where the study must exist and does not."""
        from sweeps.storage.database import open_storage
        from sweeps.storage.journal import journal_path
        from sweeps.storage.study_record import read_study

        seen = None
        if self._url is None and (journal := journal_path(self._runs, self._study)).exists():
            found = journal.stat()
            seen = found.st_ino, found.st_size
            if seen == self._seen:
                return False
            if self._seen and seen[0] != self._seen[0]:
                self._opened = self.stored = None
        try:
            if self._opened is None:
                self._opened = open_storage(self._url, self._runs, self._study, must_exist=True)
            stored = read_study(self._opened, self._study, known=self.stored)
        except UserError:
            if must_exist:
                raise
            return False  # the driver has not created the study yet
        self._seen, self.stored = seen, stored
        return True

    def is_driven(self) -> bool:
        """Whether a process drives the study; of one in a database, as the record says."""
        from sweeps.storage.lock import lock_holder

        return self._url is not None or lock_holder(self._runs, self._study) is not None


def _is_run(record: "TrialRecord") -> bool:
    """Whether a trial gets a run: not one that waits for its turn, not one that another program has put into the storage."""
    return record.seed is not None and record.state != "waiting"


def _as_it_stands(stored: "StoredStudy", *, alive: bool) -> "StudyRecord":
    """Return the study's record; a session that nobody ended counts as interrupted once its driver is gone."""
    study = stored.study
    if study.session not in (None, "running"):
        return study
    if alive:
        return replace(study, session="running")
    times = [epoch.at for record in (*stored.trials, *stored.repeats) for epoch in record.epochs[-1:]]
    newest = max((at for at in (*times, study.session_at) if at is not None), default=None)
    return replace(study, session="interrupted", session_at=newest)


def _reason(error: Exception) -> str:
    """Return the first line of an error, short, without passwords, and free of the wrappings of an HTTP library."""
    text = str(error)
    if "Max retries exceeded" in text or "Connection" in text:
        return "no answer"
    if isinstance(error, UserError):
        return masked(text)
    line = text.strip().splitlines()[0] if text.strip() else ""
    return masked(f"{type(error).__name__}: {line}")[:160]
