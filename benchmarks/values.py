"""When each validation value of a sweep was there: (clock time, value), one for each
trial-epoch.
"""

import json
import threading
import time
from pathlib import Path

from optuna.storages.journal._storage import JournalOperation

__all__ = ["JournalWatch", "append_value", "read_values"]

Value = tuple[float, float]


def append_value(path: Path, when: float, value: float) -> None:
    """A line of a file to which several processes append."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{when} {value}\n")


def read_values(path: Path) -> list[Value]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return sorted((float(when), float(value)) for when, value in (line.split() for line in lines))


class JournalWatch:
    """Values of a running `vaeexp sweep`, from the journal that it writes, to a tenth of a
    second.
    """

    def __init__(self, path: Path) -> None:
        self.values: list[Value] = []
        self._path, self._rest, self._place = path, "", 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> list[Value]:
        self._over.set()
        self._thread.join()
        self._look()
        return self.values

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self._look()

    def _look(self) -> None:
        if not self._path.exists():
            return
        with self._path.open(encoding="utf-8") as file:
            file.seek(self._place)
            text = self._rest + file.read()
            self._place = file.tell()
        *lines, self._rest = text.split("\n")
        for line in lines:
            entry = json.loads(line)
            if entry["op_code"] == JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE:
                self.values.append((time.time(), entry["intermediate_value"]))
