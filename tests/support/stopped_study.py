"""A study on workers that leave no checkpoint of their own accord, stopped by Ctrl-C at given
moments and continued.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from toy_study import MemoryJournal, in_memory, search, table, toy_study

from sweeps.lanes import Lanes
from vaeexp.commands.stop_signals import after_finalizers

STUDY = toy_study(
    trials=5, pruner="median", pruner_options={"startup_trials": 2, "warmup_epochs": 2}
)


@contextmanager
def interrupted(*moments: Callable[[], bool]) -> Iterator[None]:
    """Send this process Ctrl-C as soon as each condition holds, one after the other."""
    over = threading.Event()
    # Ray has finalizers.
    before = signal.signal(signal.SIGINT, after_finalizers(signal.default_int_handler))

    def watch() -> None:
        for moment in moments:
            while not moment():
                if over.wait(0.005):
                    return
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGINT, before)


def notes(folder: Path) -> list[str]:
    """Return what the lanes have written down (`counting.LastingLanes`)."""
    path = folder / "notes"
    return path.read_text().splitlines() if path.exists() else []


def stopped_study(
    make_lanes: Callable[[], Lanes],
    folder: Path,
    moments: Sequence[Callable[[], bool]],
    *,
    runs: Path = Path("mlruns"),
) -> list[dict[str, object]]:
    """Run the study, stop it at each moment, go on to its end; return its table."""
    journal = MemoryJournal()
    for moment in moments:
        with interrupted(moment), closing(make_lanes()) as lanes:
            search(in_memory(STUDY, journal), STUDY, lanes, [], runs=runs)
    with closing(make_lanes()) as lanes:
        study = in_memory(STUDY, journal)
        search(study, STUDY, lanes, [], runs=runs)
    return table(study)


def epochs_trained(folder: Path) -> list[str]:
    """Return the epochs that the lanes have trained, sorted, each as often as it was trained."""
    return sorted(line for line in notes(folder) if line.startswith("trained"))
