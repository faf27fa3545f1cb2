"""The far side of a worker on a Ray cluster: an actor that holds lanes and answers commands.

Two threads of the actor answer: one works with the lanes, the other one answers pulses. An actor
that its driver has not heard for most of the time after which the driver gives it up leaves by
itself, because Ray does not end an actor that is cut off, and such an actor would go on writing
beside its successor.
"""

import logging
import os
import pickle
import shutil
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from sweeps.lanes import (
    Images,
    Lanes,
    Outcome,
    Progress,
    TrialResult,
    TrialSpec,
)
from sweeps.lanes.pulse import batches, end_soon
from sweeps.lanes.worker import WarningSender, answers, build, hello
from sweeps.memory import go_first

LEASE = 0.8
"""Share of the driver's limit after which an actor that is not heard leaves."""


class SharedFolderProbe(NamedTuple):
    """The folder in which the driver keeps the files of trials, and how an actor knows that it sees
    the same folder.
    """

    folder: str
    sign: str
    """Name and content of a file in the folder."""
    checkpoints: bool = False
    """Whether checkpoints lie where all workers see them, though the folder may not."""


class Place(NamedTuple):
    """Where an actor runs."""

    node: str
    """Ray's name of it."""
    host: str
    shares: bool
    """Whether it sees the driver's folder."""


class Part(NamedTuple):
    """A part of an answer: messages as `Worker` reads them, and files that the driver does not
    see.
    """

    messages: Sequence[bytes]
    files: Mapping[str, bytes] = {}
    """Path in the folder of trials → content."""
    last: bool = False
    place: Place | None = None


class Lease:
    """The time that an actor may go on without its driver.

    The driver sends a pulse once it has heard the answer to the one before. So a pulse proves that
    this answer arrived, and the time runs from then. The answer to the last pulse may be lost, and
    a pulse may arrive late, when a cut network is whole again.
    """

    def __init__(self, limit: float, now: float) -> None:
        """`limit`: seconds without an answer after which the driver gives the actor up. `now`: of
        `time.monotonic`, as below.
        """
        self.seconds = LEASE * limit
        self._since = self._answered = now

    def renew(self, now: float) -> None:
        """Note a pulse, which is answered now."""
        self._since = self._answered
        self._answered = now

    def is_over(self, now: float) -> bool:
        """Tell whether the actor has to leave."""
        return now - self._since >= self.seconds


class LanesActor:
    """Lanes on another machine. `sweeps.ray.worker` makes it a Ray actor."""

    def __init__(self, limit: float) -> None:
        """`limit`: seconds without a pulse after which the driver gives the actor up."""
        go_first()
        self._lanes: Lanes | None = None
        self._carried: CarriedLanes | None = None
        self._own: Path | None = None
        self._warnings: list[bytes] = []
        self._lease = Lease(limit, time.monotonic())
        threading.Thread(target=self._leave_when_unheard, daemon=True).start()

    def pulse(self) -> int:
        """Return the number of the last batch, and live on."""
        self._lease.renew(time.monotonic())
        return batches()

    def stop_early(self) -> None:
        """End the command at hand early; the thread that works with the lanes is at it."""
        end_soon()

    def open(
        self, recipe: bytes, environment: Mapping[str, str], sight: SharedFolderProbe
    ) -> Iterator[Part]:
        """Say where and which code this is, and build the lanes. `environment`: variables that this
        machine may set otherwise.
        """
        import ray

        for name, value in environment.items():
            os.environ.setdefault(name, value)
        shares = _sees_folder(sight)
        if not shares:
            self._own = Path(tempfile.mkdtemp(prefix="lanes-"))
        packages, building = pickle.loads(recipe)
        code = hello(packages)
        logging.getLogger().addHandler(WarningSender(self._warnings.append))
        self._lanes, built = build(
            building, **({} if self._own is None else {"folder": str(self._own)})
        )
        if self._own is not None and self._lanes is not None:
            self._carried = CarriedLanes(
                self._lanes, self._own, Path(sight.folder), sight.checkpoints
            )
            self._lanes = cast(Lanes, self._carried)
        place = Place(ray.get_runtime_context().get_node_id(), os.uname().nodename, shares)
        yield Part([code, *self._warned(), built], last=True, place=place)

    def work(self, command: str, arguments: bytes) -> Iterator[Part]:
        """Do what a command says."""
        assert self._lanes is not None
        for message in answers(self._lanes, command, pickle.loads(arguments)):
            yield from self._files()
            yield Part([*self._warned(), message])
        if command == "close" and self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
        yield Part([], last=True)

    def _warned(self) -> list[bytes]:
        warnings, self._warnings[:] = [*self._warnings], []
        return warnings

    def _files(self) -> Iterator[Part]:
        files = self._carried.files if self._carried else {}
        for name in [*files]:
            yield Part([], {name: files.pop(name)})

    def _leave_when_unheard(self) -> None:
        """End this process once its driver gives it up soon."""
        while not self._lease.is_over(time.monotonic()):
            time.sleep(self._lease.seconds / 40)
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
        os._exit(1)


def _sees_folder(sight: SharedFolderProbe) -> bool:
    try:
        return Path(sight.folder, sight.sign).read_text(encoding="ascii") == sight.sign
    except OSError:
        return False


class CarriedLanes:
    """Lanes in a folder of their own: the files of results go to the driver with the answers.
    Checkpoints stay, and go with the trial.
    """

    def __init__(self, lanes: Lanes, own: Path, theirs: Path, checkpoints: bool = False) -> None:
        """
        Args:
            own: the folder of the lanes.
            theirs: the driver's, in which each file will have the same path.
            checkpoints: whether checkpoints lie elsewhere, where all workers see them. If not, a
                trial that leaves these lanes and continues begins again.
        """
        self._lanes = lanes
        self._own = own
        self._theirs = theirs
        self._checkpoints = checkpoints
        self._trials: dict[int, TrialSpec] = {}
        self.files: dict[str, bytes] = {}
        """Path below the folder → content, of files that the driver has not got yet."""

    def __getattr__(self, name: str) -> Any:
        """Leave all else to the lanes."""
        return getattr(self._lanes, name)

    def add(self, trial: TrialSpec) -> None:
        self._trials[trial.number] = trial
        self._lanes.add(trial)

    def advance(self, numbers: Collection[int]) -> Iterator[list[Progress]]:
        for done in self._lanes.advance(numbers):
            yield [
                replace(progress, images=self._carry_images(progress.images)) for progress in done
            ]

    def release(self, numbers: Collection[int]) -> None:
        self._lanes.release(numbers)
        self._forget([self._trials.pop(number) for number in self._trials.keys() & set(numbers)])

    def finish(self, ending: Mapping[int, Outcome]) -> list[TrialResult]:
        """Finish trials and take the files of their results; their checkpoints go."""
        results = self._lanes.finish(ending)
        trials = [self._trials.pop(number) for number in ending]
        paused = [
            trial
            for trial in trials
            if ending[trial.number].state == "paused" and self._checkpoints
        ]
        self._lanes.discard_checkpoints([trial for trial in trials if trial not in paused])
        carried = [self._carry(result) for result in results]
        self._forget(trials)
        return carried

    def _forget(self, trials: Sequence[TrialSpec]) -> None:
        for trial in trials:
            shutil.rmtree(self._own / trial.checkpoint_name, ignore_errors=True)

    def _carry(self, result: TrialResult) -> TrialResult:
        images = self._carry_images(result.images)
        folder = None if result.folder is None else Path(result.folder)
        if folder is None or not folder.is_relative_to(self._own):
            return replace(result, images=images)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self._carry_file(path)
        shutil.rmtree(folder, ignore_errors=True)
        return replace(
            result, images=images, folder=str(self._theirs / folder.relative_to(self._own))
        )

    def _carry_images(self, images: Images) -> Images:
        return {
            epoch: {name: self._carry_file(Path(path)) for name, path in named.items()}
            for epoch, named in images.items()
        }

    def _carry_file(self, path: Path) -> str:
        """Take a file along; return its path on the driver's side."""
        relative = path.relative_to(self._own)
        self.files[str(relative)] = path.read_bytes()
        return str(self._theirs / relative)
