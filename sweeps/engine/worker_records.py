"""Records of the workers of a running study, for whoever looks from another terminal: where they
are, how fast, and which stall.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sweeps.lanes import Lanes, Stall, run_name
from sweeps.lanes.pulse import TIMES_USUAL
from sweeps.storage.store import Store

_SECONDS = 10.0
"""Between two records of the workers: a line each, some hundred bytes a worker."""
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class WorkerRecords:
    """What the record of a study says of the workers that hold its lanes."""

    store: Store
    lanes: Lanes
    timer: Callable[[], float]
    """Seconds since some fixed moment, as `time.monotonic`."""

    def __post_init__(self) -> None:
        self._stalls: tuple[Stall, ...] = ()
        self._recorded = -math.inf
        """When the workers were recorded last, by `timer`."""
        stored = self.store.record
        if stored.stalls or stored.workers:  # of a process that was killed
            self.store.write(stalls=(), workers=())

    def record(self) -> None:
        """Record where the lanes are and how fast, if the last record is some seconds old."""
        workers = self.lanes.workers
        if workers and self.timer() >= self._recorded + _SECONDS:
            self._recorded = self.timer()
            self.store.write(
                workers=[asdict(each) | {"trials": self._names(each.trials)} for each in workers]
            )

    def record_stalls(self) -> None:
        """Record which workers do not move; say it once."""
        stalls = self.lanes.stalls
        if stalls != self._stalls:
            for stall in set(stalls).difference(self._stalls):
                _log.warning("%s", self._in_words(stall))
            self._stalls = stalls
            self.store.write(stalls=tuple(map(self._in_words, stalls)))

    def clear(self) -> None:
        """Record that no worker holds lanes any more."""
        if self.lanes.workers:
            self.store.write(workers=())

    def _names(self, numbers: Sequence[int]) -> list[str]:
        repeat = self.store.phase == "repeats"
        return [run_name(self.store.name, number, repeat=repeat) for number in numbers]

    def _in_words(self, stall: Stall) -> str:
        runs = ", ".join(self._names(stall.trials))
        last = datetime.fromtimestamp(stall.since).astimezone().isoformat(" ", "seconds")
        return (
            f"{stall.worker} trains {runs} and has done no batch since {last} (the last was "
            f"number {stall.batch:,}), {TIMES_USUAL} times the usual {stall.usual:.3g} s of an "
            "epoch or more; --trial-timeout ends what hangs"
        )
