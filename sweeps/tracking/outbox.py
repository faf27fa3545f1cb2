"""Events that are on disk before they are delivered, so that neither a dead process nor a dead server loses one.

One thread appends (`Outbox.append`), another delivers what was appended (`Writer`). An event counts as delivered when
its offset is acknowledged; one that was delivered but not yet acknowledged is delivered again after a kill, so the
receiver must be idempotent.
"""

import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sweeps.errors import UserError

Event = dict[str, Any]

BATCH = 200  # events per delivery
GATHER = 0.3  # seconds for the events of one round to come together
PATIENCE = 10.0  # seconds that a first delivery waits at the most, where it may
DELAYS = (0.5, 30.0)  # seconds before the first and, doubling, the last kind of retry
TRIES = 3  # failures in a row after which `drain` gives up


class Refused(Exception):
    """The receiver is there and will never take this event."""


class Outbox:
    """A file of JSON lines, and how far it has been delivered. Only one process at a time may hold it.

    Files in `folder`: `<name>.jsonl` (events), `<name>.done` (offset and identity), `<name>.lock`, and
    `<name>.refused.jsonl` when the receiver refused an event.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.jsonl"
        self.refused_path = folder / f"{name}.refused.jsonl"
        self._done = folder / f"{name}.done"
        self._lock = FileLock(folder / f"{name}.lock")
        self._mutex = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                str(self.path), "another process is recording this study; wait for it, or stop it."
            ) from None
        except OSError as error:
            raise UserError(str(folder), f"cannot be written ({error.strerror}).") from error
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise

    def _open(self) -> None:
        state = json.loads(self._done.read_text()) if self._done.exists() else {}
        self.identity: str = state.get("identity") or uuid.uuid4().hex
        """Tells this study apart from another one of the same name; kept as long as the folder is."""
        self.offset: int = state.get("offset", 0)
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise UserError(str(self.path), f"cannot be written ({error.strerror}).") from error
        size = os.fstat(self._file).st_size
        if self.offset >= size:  # all delivered: start an empty file
            self.offset = size = 0
            os.ftruncate(self._file, 0)
        tail = os.pread(self._file, size - self.offset, self.offset)
        whole = tail.rfind(b"\n") + 1
        self._size = self.offset + whole
        os.ftruncate(self._file, self._size)  # cuts a line that a killed process left unfinished
        self.pending = tail.count(b"\n")
        """Events not yet delivered."""
        self._save_state()

    def append(self, event: Event, *, durable: bool) -> None:
        """Add an event; with `durable`, it survives a power cut once this returns. UserError when the disk is full."""
        data = memoryview(json.dumps(event, separators=(",", ":")).encode() + b"\n")
        try:
            while data:
                data = data[os.write(self._file, data) :]
            if durable:
                os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, self._size)
            problem = f"cannot be written ({error.strerror}). Make room, then run the same command again: it goes on from here."
            raise UserError(str(self.path), problem) from error
        with self._mutex:
            self._size = os.fstat(self._file).st_size
            self.pending += 1

    def read(self, limit: int) -> list[tuple[Event, int]]:
        """The oldest events not yet delivered, at most `limit`, each with the offset that acknowledges it."""
        with self._mutex:
            end = self._size
        events, offset = [], self.offset
        with self.path.open("rb") as file:
            file.seek(offset)
            while offset < end and len(events) < limit:
                line = file.readline()
                offset += len(line)
                events.append((json.loads(line), offset))
        return events

    def acknowledge(self, offset: int, count: int) -> None:
        """Everything before `offset`, `count` more events than before, is delivered."""
        self.offset = offset
        self._save_state()
        with self._mutex:
            self.pending -= count

    def set_aside(self, event: Event, reason: str) -> None:
        """Keep an event that the receiver refused, with the reason, where a person can find it."""
        with self.refused_path.open("a") as file:
            file.write(json.dumps({"reason": reason, "event": event}) + "\n")

    def _save_state(self) -> None:
        temporary = self._done.with_suffix(".tmp")
        with temporary.open("w") as file:
            json.dump({"offset": self.offset, "identity": self.identity}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._done)

    def close(self) -> None:
        """Give up the file; another process may take it."""
        os.close(self._file)
        self._lock.release()


class Writer:
    """The thread that delivers. `deliver` gets a list of events; it raises Refused, or anything else to be tried again."""

    def __init__(self, outbox: Outbox, deliver: Callable[[list[Event]], None]) -> None:
        self._outbox, self._deliver = outbox, deliver
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._begun = self._urgent = self._stopping = False
        self._failures = 0
        self.problem: Exception | None = None
        """Why the newest attempt failed; None after one that did not."""
        self.refused: list[str] = []
        """Reasons of the events set aside."""

    def wake(self, *, patient: bool = False) -> None:
        """Something was appended. `patient`: the first delivery may wait until something else is, for `PATIENCE` seconds."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
            self._thread.start()
        with self._condition:
            self._begun |= not patient
            self._condition.notify_all()

    def drain(self, timeout: float | None) -> bool:
        """Wait until all is delivered; False after `timeout` seconds or three failures in a row."""
        end = None if timeout is None else time.monotonic() + timeout
        with self._condition:
            self._urgent, self._failures = True, 0
        self.wake()
        with self._condition:
            while self._outbox.pending and self._failures < TRIES:
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._condition.wait(left)
            self._urgent = False
        return not self._outbox.pending

    def stop(self, timeout: float = 1.0) -> bool:
        """End the thread; False when it is still stuck in a delivery."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def _run(self) -> None:
        delay = DELAYS[0]
        with self._condition:
            self._condition.wait_for(lambda: self._begun or self._stopping, timeout=PATIENCE)
        while not self._stopping:
            batch = self._outbox.read(BATCH)
            if not batch:
                self._rest(None)
                if not (self._urgent or self._stopping):
                    self._rest(GATHER)
                continue
            try:
                self._hand_over(batch)
            except Exception as error:  # whatever it is, the events stay, and `problem` is shown
                with self._condition:
                    self.problem, self._failures = error, self._failures + 1
                    self._condition.notify_all()
                self._rest(DELAYS[0] if self._urgent else delay)
                delay = min(2 * delay, DELAYS[1])
            else:
                delay = DELAYS[0]
                with self._condition:
                    self.problem, self._failures = None, 0
                    self._condition.notify_all()

    def _rest(self, seconds: float | None) -> None:
        """Sleep: without `seconds` until something is pending, else that long or until `drain` or `stop` is called."""
        with self._condition:
            if seconds is None:
                self._condition.wait_for(lambda: self._outbox.pending or self._stopping)
            else:
                urgent = self._urgent
                self._condition.wait_for(lambda: self._stopping or self._urgent != urgent, timeout=seconds)

    def _hand_over(self, batch: list[tuple[Event, int]]) -> None:
        try:
            self._deliver([event for event, _ in batch])
        except Refused:
            for event, offset in batch:
                try:
                    self._deliver([event])
                except Refused as error:
                    self._outbox.set_aside(event, str(error))
                    self.refused.append(str(error))
                self._outbox.acknowledge(offset, 1)
        else:
            self._outbox.acknowledge(batch[-1][1], len(batch))
