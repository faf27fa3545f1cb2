"""The process that follows a study's storage and brings MLflow up to it; `sweeps.tracking` starts
it.
"""

import hashlib
import json
import os
import sys
import textwrap
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from filelock import AcquireReturnProxy, Timeout
from optuna.storages import BaseStorage

from sweeps.errors import UserError, masked
from sweeps.locks import lock_file, lock_place
from sweeps.memory import go_first
from sweeps.state.record import StudyRecord
from sweeps.state.state import State
from sweeps.state.trial import Trial
from sweeps.storage import open_storage
from sweeps.storage.journals import journals_at
from sweeps.storage.study_record import read_state
from sweeps.tracking.mlflow_runs import StudyRuns
from sweeps.tracking.mlflow_store import (
    REMEDY,
    StoreReplacedError,
    is_server,
    store_name,
    tracking_uri,
)

NICE = 10  # training on the CPU comes first
# Seconds between two passes, at the least; MLflow's server closes connections that rest for 5 s.
INTERVAL = 4.0
SHARE = 0.05  # of a core, at the most, while a study runs
# Of the time, at the most, in which a server is asked while a study runs; others ask it, too.
SHARE_OF_SERVER = 0.25
LONGEST = 60.0  # seconds between two passes, at the most
# Seconds before the next try: after the first failure and, doubling, at the most.
DELAYS = (0.5, 30.0)
TRIES = 3  # failures in a row after which the last pass gives up
FINISH = b"finish\n"
"""The order to make the last pass."""


@dataclass(frozen=True, kw_only=True)
class MirrorState:
    """The distance of MLflow behind the storage."""

    runs: int | None = None
    """Runs of the study with the parent run; None until the storage has been read."""
    behind: int = 0
    """Runs that MLflow lacks or has in an older state."""
    brought: int = 0
    """Runs that were created or changed."""
    seconds: float = 0.0
    """Processor time of the process."""
    deleted: int = 0
    """Runs that somebody deleted in MLflow, where they stay deleted."""
    refused: int = 0
    """Runs with records that MLflow will never take."""
    problem: str | None = None
    """Why the newest pass failed, or why MLflow refused a run."""
    notice: str | None = None
    """A change to the store that a user wants to know."""
    done: bool = False
    """Whether the process has made its last pass."""


def main() -> None:
    """Follow the study that the first line of standard input names, until the order to finish or
    the end of input comes.
    """
    go_first()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # lines that a library prints must not come between the answers
    order = json.loads(sys.stdin.buffer.readline())
    finishing = threading.Event()
    threading.Thread(target=_listen, args=(finishing,), daemon=True).start()
    if order["once"]:
        finishing.set()
    else:
        os.nice(NICE)
    _Follower(order, finishing, answers).run()
    os._exit(0)  # an ordinary exit would search all objects of MLflow for cycles first


def _listen(finishing: threading.Event) -> None:
    for _ in sys.stdin.buffer:  # the order to finish
        finishing.set()
    os._exit(1)  # the driver is gone, and the mirror of the next driver may be at work already


class _Follower:
    """Reads the storage, brings MLflow up to it, and rests, until its driver has finished."""

    def __init__(self, order: dict[str, Any], finishing: threading.Event, answers: TextIO) -> None:
        self._study = order["study"]
        self._runs = Path(order["runs"])
        self._tracking = order["tracking"]
        self._once = order["once"]
        self._finishing = finishing
        self._output = answers
        self._source = _Source(self._study, self._runs, order["storage"])
        mark = hashlib.sha256(store_name(self._tracking, self._runs).encode()).hexdigest()[:8]
        folder = self._runs / "journal"
        name = f"{self._study}.mirror-{mark}.lock"
        # Runs of another user, or on a read-only mount, can be copied into another store, too.
        self._lock_path = folder / name if self._tracking is None else lock_place(folder, name)
        self._lock: AcquireReturnProxy[Any] | None = None
        self._is_server = is_server(tracking_uri(self._tracking))
        self._mlflow: StudyRuns | None = None
        self._state = MirrorState(notice=order["notice"], brought=order["brought"])
        self._brought: set[str] = set()
        self._brought_before: int = order["brought"]

    def run(self) -> None:
        """Make passes until the driver has finished and the last pass is made."""
        failures = 0
        while True:
            last = self._finishing.is_set()
            begun = time.process_time()
            begun_at = time.monotonic()
            behind = self._state.behind
            opened = self._mlflow
            try:
                self._pass(last)
                failures = 0
            except Exception as error:  # the storage keeps all, and the driver shows the reason
                failures = 1 if self._state.behind < behind else failures + 1
                if self._once and isinstance(error, UserError):
                    failures = TRIES
                self._send(problem=_reason(error))
            if last and (not failures or failures >= TRIES):
                break
            if last:
                time.sleep(DELAYS[0])
            elif failures:
                self._finishing.wait(min(DELAYS[0] * 2**failures, DELAYS[1]))
            elif self._mlflow is not opened:  # MLflow is imported once
                self._finishing.wait(INTERVAL)
            else:
                asked = time.monotonic() - begun_at if self._is_server else 0.0
                used = time.process_time() - begun
                rest = max(INTERVAL, used / SHARE, asked / SHARE_OF_SERVER)
                self._finishing.wait(min(rest, LONGEST))
        if self._mlflow is not None:
            self._mlflow.store.close()
        self._send(done=True, seconds=time.process_time())

    def _pass(self, last: bool) -> None:
        fresh = self._source.read(must_exist=self._once)
        stored = self._source.stored
        if stored is None or not (fresh or last or self._state.problem):
            return
        study = _as_it_stands(
            stored, alive=not last if not self._once else self._source.is_driven()
        )
        # A trial that waits, or that another program has put into the storage, gets no run.
        records = [
            record
            for record in stored.records
            if record.seed is not None and record.state != "waiting"
        ]
        if not (records or last):
            return
        self._send(runs=len(records) + 1, behind=self._count_behind(study, records))
        if self._mlflow is None:
            if not last and not any(record.epochs or record.outcome for record in records):
                return  # importing MLflow takes seconds of a core, which the first epoch needs
            self._mlflow = self._open_mlflow(study)
        try:
            self._mlflow.bring(study, records, self._note_arrival)
        except StoreReplacedError as error:
            # The connections of this process lead to a lost store; the next process opens the
            # store anew.
            self._send(notice=str(error))
            os._exit(1)
        if notices := [*self._mlflow.store.notices, *self._mlflow.notices]:
            self._send(notice=" ".join(notices))
        refused = self._mlflow.refused
        behind = self._count_behind(study, records)
        problem = next(reversed(refused.values()), None)
        self._send(
            problem=problem, refused=len(refused), behind=behind, deleted=self._mlflow.deleted
        )

    def _open_mlflow(self, study: StudyRecord) -> StudyRuns:
        if self._lock is None:
            self._lock = lock_file(self._lock_path, REMEDY)
        if self._tracking is None:
            os.chdir(self._runs)  # the address of its store is relative
        return StudyRuns(self._tracking, self._runs, study)

    def _count_behind(self, study: StudyRecord, records: Sequence[Trial]) -> int:
        return len(self._mlflow.pending(study, records)) if self._mlflow else len(records) + 1

    def _note_arrival(self, name: str) -> None:
        self._brought.add(name)
        self._send(
            brought=self._brought_before + len(self._brought),
            behind=max(0, self._state.behind - 1),
        )

    def _send(self, **changes: Any) -> None:
        """Change the state and send it to the driver."""
        self._state = replace(self._state, **changes)
        print(json.dumps(asdict(self._state)), file=self._output, flush=True)


class _Source:
    """The storage of a study, which is read only after something was written to it."""

    def __init__(self, study: str, runs: Path, url: str | None) -> None:
        self._study = study
        self._runs = runs
        self._url = url
        self._journals = journals_at(url, runs)
        self._opened: BaseStorage | None = None
        self._seen: tuple[int, int] | None = None
        """The version of the records when they were last read."""
        self.stored: State | None = None

    def read(self, *, must_exist: bool) -> bool:
        """Read new records and return whether there were any. Raises UserError where the study must
        exist and does not.
        """
        seen = self._journals.version(self._study)
        if seen is not None and self._seen is not None:
            if seen == self._seen:
                return False
            if seen[0] != self._seen[0]:
                self._opened = self.stored = None
        try:
            if self._opened is None:
                self._opened = open_storage(self._url, self._runs, self._study, must_exist=True)
            stored = read_state(self._opened, self._study, earlier=self.stored)
        except UserError:
            if must_exist:
                raise
            return False  # the driver has not created the study yet
        self._seen = seen
        self.stored = stored
        return True

    def is_driven(self) -> bool:
        """Tell whether a process drives the study."""
        return self._journals.holder(self._study) is not None


def _as_it_stands(stored: State, *, alive: bool) -> StudyRecord:
    """Return the study's record. A session that nobody ended counts as interrupted once its driver
    is gone.
    """
    study = stored.study
    if study.session not in (None, "running"):
        return study
    if alive:
        return replace(study, session="running")
    return replace(study, session="interrupted", session_at=stored.newest_at)


def _reason(error: Exception) -> str:
    """Return the first line of an error, short, without passwords, and free of the wrappings of an
    HTTP library.
    """
    text = str(error).strip()
    if isinstance(error, Timeout):
        return "another process brings the study to it"
    if "Max retries exceeded" in text or "Connection" in text:
        return "no answer"
    if isinstance(error, UserError):
        return masked(text)
    if getattr(error, "error_code", None) == "UNAUTHENTICATED":
        return (
            "401, no user or a wrong password; set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD"
        )
    return textwrap.shorten(
        masked(f"{type(error).__name__}: {text.partition(chr(10))[0]}"), 160, placeholder=" …"
    )
