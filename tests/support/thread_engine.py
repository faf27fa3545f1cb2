"""An engine from outside: its workers are threads of this process."""

import pickle
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sweeps.lanes import Lanes
from sweeps.lanes.engines import Engine
from sweeps.lanes.worker import Worker, answers, build, hello


class ThreadWorker(Worker):
    """The driver's end of one thread, which cannot be killed: it ends with its process."""

    batch = 0

    @classmethod
    def ready(cls, workers: Collection[Self], seconds: float | None) -> set[Self]:
        end = float("inf") if seconds is None else time.monotonic() + seconds
        while (
            not (found := {worker for worker in workers if not worker.messages.empty()})
            and time.monotonic() < end
        ):
            time.sleep(0.001)
        return found

    def start(self) -> None:
        self.commands, self.messages = queue.SimpleQueue[Any](), queue.SimpleQueue[bytes]()
        threading.Thread(target=self._serve, name=self.name, daemon=True).start()

    def _serve(self) -> None:
        packages, recipe = pickle.loads(self.recipe)
        self.messages.put(hello(packages))
        lanes, built = build(recipe)
        self.messages.put(built)
        while lanes is not None and (command := self.commands.get()):
            for answer in answers(lanes, *command):
                self.messages.put(answer)

    def _post(self, command: str, arguments: tuple) -> None:
        self.commands.put((command, arguments))

    def _read(self) -> bytes:
        return self.messages.get()

    def stop_early(self) -> None:
        """Leave it to end its command."""

    def kill(self) -> None:
        self.commands.put(None)
        self.up = False


class ThreadEngine(Engine):
    def worker(
        self, name: str, factory: Callable[..., Lanes], arguments: Mapping[str, Any]
    ) -> Worker:
        return ThreadWorker(name, factory, arguments)


@contextmanager
def open_threads(address: str, packages: Sequence[Path], **needs: Any) -> Iterator[Engine]:
    yield ThreadEngine(**needs)
