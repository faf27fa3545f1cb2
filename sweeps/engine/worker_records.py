"""Records of the workers of a running study, for other terminals: where they
are, and how fast.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

from sweeps.lanes import Lanes, run_name
from sweeps.storage.store import Store

_SECONDS = 10.0
"""Between two records of the workers: a line each, some hundred bytes a worker."""


@dataclass(eq=False)
class WorkerRecords:
    """What the record of a study says of the workers that hold its lanes."""

    store: Store
    lanes: Lanes
    timer: Callable[[], float]
    """Seconds since some fixed moment, as `time.monotonic`."""

    def __post_init__(self) -> None:
        self._recorded = -math.inf
        """When the workers were recorded last, by `timer`."""
        if self.store.record.workers:  # of a process that was killed
            self.store.write(workers=())

    def record(self) -> None:
        """Record where the lanes are and how fast, if the last record is some seconds old."""
        workers = self.lanes.workers
        if workers and self.timer() >= self._recorded + _SECONDS:
            self._recorded = self.timer()
            named = partial(run_name, self.store.name, repeat=self.store.phase == "repeats")
            self.store.write(
                workers=[asdict(each) | {"trials": [*map(named, each.trials)]} for each in workers]
            )

    def clear(self) -> None:
        """Record that no worker holds lanes any more."""
        if self.lanes.workers:
            self.store.write(workers=())
