"""MLflow as a mirror of a study's storage: a process of low priority follows the storage and brings
MLflow up to it.

The driver starts the process (`mirroring`) and never waits for it while it trains; `sync` runs the
same process once. The process reads the storage itself. If it is killed, the next process finds in
MLflow how far it came. It gets its orders as lines on standard input, because everybody can list
its arguments and an order may hold a password. It ends with its input, because its driver is gone
then. It answers with lines of JSON, one `MirrorState` each.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.errors import UserError
from sweeps.names import check_name
from sweeps.source import python_environment
from sweeps.tracking import follower
from sweeps.tracking.follower import DELAYS, FINISH, TRIES, MirrorState
from sweeps.tracking.mlflow_store import store_name, tracking_uri

if TYPE_CHECKING:
    from sweeps.study.study import Study

PATIENCE = 60.0  # seconds that the end of a study waits for the next run to arrive
HASTE = 5.0  # seconds that an interrupted study waits for the mirror


class Mirror:
    """Starts the process that follows a study, starts it again when it dies, and ends it.

    Raises:
        UserError: MLflow cannot write to the tracking address, or the study's name is none.
    """

    def __init__(
        self,
        study: str,
        runs: Path,
        storage: str | None,
        tracking: str | None,
        *,
        once: bool,
        log: Path | None = None,
    ) -> None:
        check_name(study, "study")
        tracking_uri(tracking)
        self._runs = Path(runs).resolve()
        self.store = store_name(tracking, self._runs)
        self._log_path = log
        self._order = {
            "study": study,
            "once": once,
            "runs": str(self._runs),
            "storage": storage or None,
            "tracking": tracking,
        }
        self.state = MirrorState()
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._finishing = once
        self._ended = False
        self._thread = threading.Thread(target=self._watch, name="mirror", daemon=True)
        self._thread.start()

    @property
    def warning(self) -> str | None:
        """One line if MLflow falls behind or refuses runs, or if its store was changed; else
        None.
        """
        state = self.state
        if state.refused:
            return f"MLflow at {self.store} refused {state.refused} runs ({state.problem})."
        if state.problem:
            return (
                f"MLflow at {self.store} is behind ({state.problem}); training goes on, and the "
                "storage keeps all."
            )
        return state.notice

    def finish(self, timeout: float | None, *, patient: bool = False) -> MirrorState:
        """Wait `timeout` seconds for the last pass, with `patient` as long as runs arrive, and
        end the process.
        """
        with self._changed:
            self._finishing = True
            self._send(FINISH)
            try:
                while True:
                    before = self.state
                    self._changed.wait_for(lambda: self._ended, timeout)
                    if self._ended or not patient or self.state.brought == before.brought:
                        break
            finally:
                self._ended = True
                self._changed.notify_all()
                if self._process is not None:
                    self._process.kill()
        self._thread.join(HASTE)
        return self.state

    def missing(self) -> str | None:
        """Say in a sentence which runs have not reached MLflow; None where all have."""
        state = self.state
        if state.done and not state.problem:
            return None
        count = (
            "runs"
            if state.runs is None
            else f"{state.behind or state.refused} of {state.runs} runs"
        )
        reason = state.problem or ("no answer" if state.runs is None else "it is slow")
        return f"MLflow at {self.store} lacks {count} ({reason})."

    def _watch(self) -> None:
        """Keep a process running until it has made its last pass."""
        delay = DELAYS[0]
        deaths = 0
        while True:
            with self._changed:
                if self._ended:
                    return
                try:
                    process = self._start()
                except OSError as error:  # no further process is allowed, for one
                    problem = f"its process cannot be started: {error.strerror}"
                    self.state = replace(self.state, problem=problem)
                    self._ended = True
                    self._changed.notify_all()
                    return
            brought = self.state.brought
            with process:
                assert process.stdout is not None
                for line in process.stdout:
                    with self._changed:
                        self.state = MirrorState(**json.loads(line))
                        self._ended |= self.state.done
                        self._changed.notify_all()
            with self._changed:
                self._process = None
                if self._ended:
                    return
                # A process that changed something before it died is no sign that the next one will
                # die, too.
                delay, deaths = (
                    (DELAYS[0], 0) if self.state.brought > brought else (delay, deaths + 1)
                )
                if not self.state.notice:
                    problem = (
                        f"the process that writes to it ended with status {process.returncode}"
                    )
                    self.state = replace(self.state, problem=problem)
                self._ended = self._finishing and deaths >= TRIES
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._ended, DELAYS[0] if self._finishing else delay)
                delay = min(2 * delay, DELAYS[1])

    def _start(self) -> subprocess.Popen[bytes]:
        with open(self._log_path, "ab") if self._log_path else nullcontext() as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", f"from {follower.__name__} import main; main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **python_environment()},
                # Away from Ctrl-C, which is meant for the driver.
                process_group=0,
            )
        order = {**self._order, "notice": self.state.notice, "brought": self.state.brought}
        self._send(json.dumps(order).encode() + b"\n")
        if self._finishing:
            self._send(FINISH)
        return self._process

    def _send(self, line: bytes) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):  # the process is gone, so `_watch` starts another
                self._process.stdin.write(line)
                self._process.stdin.flush()


@contextmanager
def mirroring(
    study: "Study | str",
    *,
    runs: Path = Path("mlruns"),
    storage: str | None = None,
    tracking: str | None = None,
    say: Callable[[str], None] = print,
    sync_command: str = "`sweeps.sync`",
    log: Path | None = None,
) -> Iterator[Mirror]:
    """Keep MLflow up to date with a study for the length of a `with` block, which holds
    `run_study`.

    Training never waits for MLflow. The end of the block waits as long as runs arrive in MLflow;
    after an interrupt, a few seconds.

    Args:
        study: the study or its name.
        runs: folder of the runs, as for `run_study`.
        storage: address of the study's storage, as for `run_study`.
        tracking: address of an MLflow server or store; None for the store in `runs`.
        say: gets one line at the end if runs are missing in MLflow.
        sync_command: the command that the line names for bringing the rest.
        log: a file that gets the lines that MLflow and the libraries of the process write; by
            default standard error gets them.

    Raises:
        UserError: MLflow cannot write to the tracking address.
    """
    mirror = Mirror(
        study if isinstance(study, str) else study.name,
        runs,
        storage,
        tracking,
        once=False,
        log=log,
    )
    timeout = HASTE
    patient = False
    try:
        yield mirror
        timeout = PATIENCE
        patient = True
    finally:
        try:
            mirror.finish(timeout, patient=patient)
        finally:
            if missing := mirror.missing():
                say(
                    f"{missing} The storage keeps all: the same command brings the rest, and so "
                    f"does {sync_command}."
                )
            elif mirror.state.notice:
                say(mirror.state.notice)


def sync(
    study: "Study | str",
    *,
    runs: Path = Path("mlruns"),
    storage: str | None = None,
    tracking: str | None = None,
) -> MirrorState:
    """Bring any MLflow store or server up to a study's storage once. The arguments are those of
    `mirroring`.

    Raises:
        UserError: the study does not exist, or MLflow cannot be reached or lacks something at the
            end.
    """
    name = study if isinstance(study, str) else study.name
    mirror = Mirror(name, runs, storage, tracking, once=True)
    state = mirror.finish(None)
    if missing := mirror.missing():
        raise UserError(f"study '{name}'", missing)
    return state


__all__ = ["Mirror", "mirroring", "sync"]
