"""MLflow in a process of its own: a thread of the driver's would hold the interpreter's lock while the accelerator waits.

`Delivery` is the driver's end, `main` the other one. They speak JSON over standard input and output, a line for where MLflow is,
then one for each batch of events and one for each answer. So the process needs no guard in a user's script, shows no
password among its arguments, and ends when its input does.
"""

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from sweeps.tracking.outbox import Refused

_END_SECONDS = 5.0  # to close the store
_NICE = 10  # training on the CPU comes first: records can wait, and go out at the latest when it is done


class Undelivered(Exception):
    """The events may be delivered later; the message says in a few words why not now."""


class Delivery:
    """Applies batches of events to MLflow, in order. Its process starts with the first batch, and anew where it died."""

    def __init__(self, uri: str, runs: Path, study: str, identity: str, *, own_store: bool) -> None:
        self._given = [uri, str(runs), study, identity, own_store]
        self._process: subprocess.Popen[bytes] | None = None
        self.notice: str | None = None
        """One line when the runs folder was found moved."""

    def __call__(self, events: list[dict[str, Any]]) -> None:
        """Returns when MLflow has them. Raises Refused where it will never take one, Undelivered where it may later."""
        process = self._process or self._start()
        self._send(events)
        if not (line := process.stdout.readline()):
            self.end()
            self._process = None
            raise Undelivered(f"the process that writes to it ended with status {process.returncode}")
        answer = json.loads(line)
        self.notice = answer["notice"] or self.notice
        if answer["status"] != "done":
            raise (Refused if answer["status"] == "refused" else Undelivered)(answer["reason"])

    def end(self) -> None:
        """End the process, also in the midst of a batch, which then counts as undelivered."""
        if (process := self._process) is None:
            return
        with suppress(OSError):  # what it did not read
            process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {__name__} import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            process_group=0 if os.name == "posix" else None,  # away from Ctrl-C, which is the driver's
        )
        self._send(self._given)
        return self._process

    def _send(self, content: Any) -> None:
        with suppress(OSError, ValueError):  # of a process that is gone, which has no answer
            self._process.stdin.write(json.dumps(content).encode() + b"\n")
            self._process.stdin.flush()


def main() -> None:
    """Answer the batches of standard input until it ends."""
    import sweeps.fast_exit  # noqa: F401

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not come between the answers
    if hasattr(os, "nice"):
        os.nice(_NICE)
    batches: SimpleQueue[list[dict[str, Any]] | None] = SimpleQueue()
    idle = threading.Event()
    uri, runs, study, identity, own_store = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_read, args=(batches, idle), daemon=True).start()
    recorder = None
    idle.set()
    while True:
        if (events := batches.get()) is None:
            if recorder is not None:
                recorder.close()
            return
        idle.clear()
        answer = {"status": "done", "reason": None, "notice": None}
        try:
            if recorder is None:
                from sweeps.tracking.recorder import Recorder

                recorder = Recorder(uri, Path(runs), study, identity, own_store=own_store)
                answer["notice"] = recorder.notice
            recorder.record(events)
        except Refused as error:
            answer |= {"status": "refused", "reason": str(error)}
        except Exception as error:  # whatever it is, the driver keeps the events and shows the reason
            answer |= {"status": "failed", "reason": _reason(error)}
        idle.set()  # before the answer: the driver may end as soon as it has it
        print(json.dumps(answer), file=answers, flush=True)


def _read(batches: "SimpleQueue[list[dict[str, Any]] | None]", idle: threading.Event) -> None:
    for line in sys.stdin.buffer:
        batches.put(json.loads(line))
    if not idle.is_set() or not batches.empty():
        os._exit(1)  # the driver is gone, and the next one's process may be at this batch already
    batches.put(None)


def _reason(error: Exception) -> str:
    """The first line of an error, short, and free of the wrappings of an HTTP library."""
    text = str(error)
    if "Max retries exceeded" in text or "Connection" in text:
        return "no answer"
    line = text.strip().splitlines()[0] if text.strip() else ""
    return f"{type(error).__name__}: {line}"[:160]
