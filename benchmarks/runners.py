"""The contenders of `throughput.py` as processes that live side by side and train in turn."""

import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from contenders import BATCH, EPOCH, Stretch
from lineup import Entry
from table import child_environment

__all__ = ["Bench", "Failed", "Runner", "climbed", "measured", "repeat"]

WARM_UP = 4 * BATCH
GAIN = 0.95
"""A wider `ours` is tried as long as the last one took less than this share of the time of the
best.
"""


class Failed(Exception):
    """A contender cannot run; the message says why."""


class Runner:
    """A contender's process, and what it has shown so far."""

    def __init__(self, entry: Entry, folder: str) -> None:
        self.entry, self.seconds, self.memory_mb = entry, [], 0.0
        self._log = tempfile.TemporaryFile("w+", dir=folder)  # noqa: SIM115
        started = time.time()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "contenders.child", json.dumps(asdict(entry.task))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
            env=child_environment() | {"TMPDIR": folder},
        )
        self.first_step_s = self.train(BATCH).ended - started

    def train(self, images: int) -> Stretch:
        """A stretch. Raises Failed."""
        try:
            print(images, file=self._process.stdin)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.close()
            raise Failed(self._last_words())
        stretch = Stretch(**json.loads(answer))
        self.memory_mb = max(self.memory_mb, stretch.memory_mb)
        return stretch

    def measure(self, images: int) -> float:
        """Seconds per trial-epoch, after a short stretch to get warm. Raises Failed."""
        self.train(WARM_UP)
        stretch = self.train(images)
        return (stretch.ended - stretch.began) / self.entry.task.trials * EPOCH / images

    def end(self) -> None:
        """Let it end, which takes it a while."""
        self._process.stdin.close()

    def close(self) -> None:
        self.end()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        return lines[-1][:200] if lines else f"ended with status {self._process.returncode}"


class Bench:
    """Opens contenders, `at_once` side by side, and keeps them; `failed` says why others do not
    run.
    """

    def __init__(self, folder: str, at_once: int) -> None:
        self.failed: dict[Entry, str] = {}
        self._runners: list[Runner] = []
        self._folder, self._at_once = folder, at_once

    def close(self) -> None:
        for runner in self._runners:
            runner.end()
        for runner in self._runners:
            runner.close()

    def open(self, entries: list[Entry]) -> list[Runner]:
        """Those that run, past their first step."""
        with ThreadPoolExecutor(self._at_once) as threads:
            return [runner for runner in threads.map(self._opened, entries) if runner is not None]

    def _opened(self, entry: Entry) -> Runner | None:
        say(f"{entry.task.model}: opening {entry.name}")
        try:
            runner = Runner(entry, self._folder)
        except Failed as reason:
            self.failed[entry] = str(reason)
            return None
        self._runners.append(runner)
        return runner


def climbed(
    bench: Bench, steps: list[list[Entry]], images: int
) -> tuple[list[Runner], Entry | None]:
    """`ours` from the narrowest on, in each precision until memory or time per trial stops
    improving; the last one still has a row. `steps`: for each width an entry in each precision.
    With the fastest of the last precision."""
    climbing, runners = list(range(len(steps[0]))), [[] for _ in steps[0]]
    least, fastest = [float("inf")] * len(runners), None
    for step in steps:
        there = {runner.entry: runner for runner in bench.open([step[index] for index in climbing])}
        for index in list(climbing):
            runner = there.get(step[index])
            seconds = measured(runner, images, bench.failed) if runner else None
            if seconds is None:
                climbing.remove(index)
                continue
            runners[index].append(runner)
            if index == len(runners) - 1 and seconds < least[index]:
                fastest = step[index]
            if seconds > GAIN * least[index]:
                climbing.remove(index)
            least[index] = min(least[index], seconds)
    return [runner for of_precision in runners for runner in of_precision], fastest


def measured(runner: Runner, images: int, failed: dict[Entry, str]) -> float | None:
    try:
        return runner.measure(images)
    except Failed as reason:
        failed[runner.entry] = str(reason)
        return None


def repeat(runners: list[Runner], images: int, repeats: int, failed: dict[Entry, str]) -> None:
    for number in range(repeats):
        for runner in runners:
            if (
                runner.entry not in failed
                and (seconds := measured(runner, images, failed)) is not None
            ):
                runner.seconds.append(seconds)
        say(f"repetition {number + 1} of {repeats} done")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
