"""Bring studies to MLflow in processes that are killed at some instant, until one process comes to
its end.

    python killed_mirror.py RUNS ADDRESS STUDY=SEED...

Prints how many processes were killed. Each process is a fork of this one, because importing MLflow
takes seconds.
"""

import itertools
import os
import random
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

KILLS = 3
REQUESTS = 25
"""The kill follows one of so many requests, up to `DELAY` seconds after it began."""
DELAY = 0.03


def main() -> None:
    runs, address = Path(sys.argv[1]), sys.argv[2]
    from sweeps.tracking.mlflow_store import QUIET

    os.environ.update(QUIET)
    import mlflow  # noqa: F401

    killed = 0
    for study, _, seed in (argument.partition("=") for argument in sys.argv[3:]):
        draw = random.Random(int(seed))
        for _ in range(KILLS):
            killed += _in_a_fork(
                runs, address, study, (draw.randint(1, REQUESTS), draw.uniform(0, DELAY))
            )
        assert not _in_a_fork(runs, address, study, None)
    print(killed)


def _in_a_fork(runs: Path, address: str, study: str, kill: tuple[int, float] | None) -> bool:
    """Bring a study in a fork; whether it was killed."""
    fork = os.fork()
    if fork == 0:
        with suppress(BaseException):
            _bring(runs, address, study, kill)
            os._exit(0)
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
    assert status in (0, -signal.SIGKILL), f"the process ended with status {status}"
    return status != 0


def _bring(runs: Path, address: str, study: str, kill: tuple[int, float] | None) -> None:
    from requests import Session

    from sweeps.storage import open_storage
    from sweeps.storage.study_record import read_state
    from sweeps.tracking.mlflow_runs import StudyRuns

    if kill is not None:
        number, delay = kill
        requests, send = itertools.count(1), Session.send

        def counted(*arguments: Any, **options: Any) -> Any:
            if next(requests) == number:
                threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
            return send(*arguments, **options)

        Session.send = counted  # type: ignore[method-assign]
    stored = read_state(open_storage(None, runs, study, must_exist=True), study)
    mlflow = StudyRuns(address, runs, stored.study)
    # The server may still be busy with requests of the process before.
    for patience in (True, True, False):
        try:
            mlflow.bring(stored.study, stored.trials, lambda name: None)
            return
        except Exception:
            if not patience:
                raise


if __name__ == "__main__":
    main()
