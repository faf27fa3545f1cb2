"""A toy workload: deterministic, instantaneous, with checkpoints on disk, and killed at a chosen
call.

It needs the door `sweeps` alone. Some of its trials diverge, fail, stop early, or cannot be
finished, by their parameters.
"""

import hashlib
import json
import math
import os
import signal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sweeps


def uniform(text: str) -> float:
    """Return a number from 0 to 1 that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def level(params: Mapping[str, Any]) -> float:
    """Return where the learning curve of these parameters ends."""
    numbers = {"x": 0.5, "y": 0.01, "n": 3, "c": "a", "d": "p", **params}
    choices = {"a": 0.0, "b": 0.1, "c": 0.3, "p": 0.0, "q": 0.05}
    return (
        1
        + abs(numbers["x"] - 0.3)
        + 0.2 * abs(math.log10(numbers["y"]) + 2)
        + 0.05 * numbers["n"]
        + choices[numbers["c"]]
        + choices[numbers["d"]]
    )


class ToyLanes(sweeps.Lanes):
    """Lanes in this process. Two that have the same folder share their checkpoints, as two
    processes do.
    """

    def __init__(self, folder: str, width: int, epochs: int, failing: bool = True) -> None:
        self.folder, self._width, self.epochs, self.failing = Path(folder), width, epochs, failing
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lanes: dict[int, SimpleNamespace] = {}

    @property
    def width(self) -> int:
        return self._width

    def add(self, trial: Any) -> None:
        if len(self.lanes) >= self.width:
            raise RuntimeError(f"no lane is free for trial {trial.number}")
        text = json.dumps(dict(trial.params), sort_keys=True)
        lane = SimpleNamespace(
            trial=trial, text=text, fate=uniform(f"fate of {text}"), epoch=0, state=0.0
        )
        file = self._file(trial)
        if file.exists():
            epoch, state = json.loads(file.read_text())
            if epoch <= trial.epoch:
                lane.epoch, lane.state = epoch, state
        self.lanes[trial.number] = lane

    def replay(self) -> None:
        for lane in self.lanes.values():
            while lane.epoch < lane.trial.epoch:
                self._train(lane)

    def advance(self, numbers: Collection[int]) -> Iterator[list[Any]]:
        for number in numbers:
            yield [self._advance(self.lanes[number])]

    def _advance(self, lane: SimpleNamespace) -> Any:
        number, epoch = lane.trial.number, lane.epoch + 1
        if self.failing and lane.fate < 0.1 and epoch == 1 + int(1000 * lane.fate) % 3:
            kind = "diverged" if lane.fate < 0.07 else "error"
            failure = sweeps.Failure(kind=kind, message=f"the toy fails: {kind}")
            return sweeps.Progress(
                number=number, epoch=epoch, objective=math.nan, finished=True, failure=failure
            )
        self._train(lane)
        if lane.epoch % 2 == 0:
            self._save(lane)
        x, late = lane.trial.params.get("x", 0.5), lane.state + 1 / epoch
        metrics = {
            "toy/state": lane.state,
            "val/rate": 10 * x**2 + late,
            "val/distortion": 50 * (1 - x) ** 2 + late,
        }
        last = lane.trial.params.get("epochs", self.epochs) - (
            self.failing and 0.13 <= lane.fate < 0.2
        )
        return sweeps.Progress(
            number=number,
            epoch=epoch,
            objective=lane.state,
            metrics=metrics,
            finished=epoch >= last,
        )

    def _train(self, lane: SimpleNamespace) -> None:
        lane.epoch += 1
        start = 5 + uniform(lane.text) if lane.epoch == 1 else lane.state
        noise = 0.05 * uniform(f"{lane.text}:{lane.trial.seed}:{lane.epoch}")
        lane.state = start + 0.4 * (level(lane.trial.params) - start) + noise

    def _file(self, trial: Any) -> Path:
        return self.folder / f"{trial.checkpoint_name}.json"

    def _save(self, lane: SimpleNamespace) -> None:
        new = self.folder / f"new-{lane.trial.number}-{os.getpid()}"
        new.write_text(json.dumps([lane.epoch, lane.state]))
        new.replace(self._file(lane.trial))

    def release(self, numbers: Collection[int]) -> None:
        for number in [number for number in numbers if number in self.lanes]:
            self._save(self.lanes.pop(number))

    def finish(self, ending: Mapping[int, Any]) -> list[Any]:
        return [self._finish(number, outcome) for number, outcome in ending.items()]

    def _finish(self, number: int, outcome: Any) -> Any:
        lane = self.lanes.pop(number)
        failure, paused = None, outcome.state == "paused"
        if self.failing and outcome.state == "complete" and 0.1 <= lane.fate < 0.12:
            failure = sweeps.Failure(kind="error", message="the toy cannot be finished")
        if paused:
            self._save(lane)
        return sweeps.TrialResult(
            number=number,
            metrics={"toy/last": lane.state, "toy/test": lane.state + 0.01 * lane.trial.test},
            failure=failure,
            checkpoint_bytes=1000 if paused else 0,
        )

    def discard_checkpoints(self, trials: Sequence[Any]) -> None:
        for trial in trials:
            self._file(trial).unlink(missing_ok=True)

    def stop(self, seconds: float) -> Iterator[list[Any]]:
        self.release([*self.lanes])
        return iter(())

    def close(self) -> None:
        self.lanes.clear()


class EagerToyLanes(ToyLanes):
    """Lanes of two workers in this process, each of which begins the next round as soon as it
    may.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.plan: Callable[..., Any] | None = None
        self.worker: dict[int, int] = {}
        self.begun: dict[int, Any] = {}
        self.held: dict[int, Any] = {}
        self.results: dict[int, Any] = {}

    def run_ahead(self, plan: Callable[..., Any]) -> None:
        self.plan = plan

    prefetch = run_ahead  # the name of the same method in later checkouts

    def add(self, trial: Any) -> None:
        if trial.number in self.begun:
            assert self.begun.pop(trial.number) == trial
            return
        self._place(trial, trial.number % 2)

    def _place(self, trial: Any, worker: int) -> None:
        super().add(trial)
        self.worker[trial.number] = worker

    def advance(self, numbers: Collection[int]) -> Iterator[list[Any]]:
        plan, self.plan = self.plan, None
        for worker in (0, 1):
            mine = [number for number in numbers if self.worker[number] == worker]
            self._train_these([number for number in mine if number not in self.held])
            if mine:
                yield [self.held.pop(number) for number in mine]
            if plan is not None:
                self._go_ahead(worker, plan)

    def _go_ahead(self, worker: int, plan: Callable[..., Any]) -> None:
        ending, fresh = plan([number for number in self.lanes if self.worker[number] == worker])
        self.results |= {result.number: result for result in super().finish(ending)}
        for trial in fresh:
            self._place(trial, worker)
            self.begun[trial.number] = trial
        if any(trial.epoch for trial in fresh):
            self.replay()
        self._train_these([number for number in self.lanes if self.worker[number] == worker])

    def _train_these(self, numbers: Collection[int]) -> None:
        self.held |= {number: self._advance(self.lanes[number]) for number in numbers}

    def stop(self, seconds: float) -> Iterator[list[Any]]:
        yield [*self.held.values()]
        self.release([*self.lanes])

    def finish(self, ending: Mapping[int, Any]) -> list[Any]:
        left = {number: outcome for number, outcome in ending.items() if number not in self.results}
        self.results |= {result.number: result for result in super().finish(left)}
        for number in ending:
            self.held.pop(number, None)
        return [self.results.pop(number) for number in ending]


class Noted:
    """Lanes whose calls are noted, and that end the process, or raise, before a chosen one."""

    def __init__(self, lanes: Any, calls: list[str], ends_at: int | None, ending: str) -> None:
        """`ends_at`: place of the call in `calls`; `ending`: `kill`, or `interrupt` for a
        KeyboardInterrupt there.
        """
        self._lanes, self._calls, self._ends_at, self._ending = lanes, calls, ends_at, ending

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lanes, name)

    def _note(self, call: str) -> None:
        if len(self._calls) == self._ends_at:
            if self._ending == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            self._ends_at = None
            raise KeyboardInterrupt
        self._calls.append(call)

    def add(self, trial: Any) -> None:
        self._note(f"add {trial.folder_name}@{trial.epoch}")
        self._lanes.add(trial)

    def advance(self, numbers: Collection[int]) -> Iterator[list[Any]]:
        self._note(f"advance {' '.join(map(str, numbers))}")
        for part in self._lanes.advance(numbers):
            for progress in part:
                self._note(f"epoch {progress.number}@{progress.epoch}")
            yield part

    def finish(self, ending: Mapping[int, Any]) -> list[Any]:
        self._note(
            "finish " + ", ".join(f"{number} {outcome.state}" for number, outcome in ending.items())
        )
        return self._lanes.finish(ending)

    def release(self, numbers: Collection[int]) -> None:
        self._note(f"release {' '.join(map(str, numbers))}")
        self._lanes.release(numbers)

    def discard_checkpoints(self, trials: Sequence[Any]) -> None:
        self._note(f"discard {' '.join(trial.checkpoint_name for trial in trials)}")
        self._lanes.discard_checkpoints(trials)
