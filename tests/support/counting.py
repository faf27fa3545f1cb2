"""A workload in which every epoch counts: a value depends on all epochs before it, so a lost or
repeated one shows.

What a trial does wrong is in its params: `{"bad": a key of BAD, "at": epoch or command, "times":
how often}`. How often it has happened is counted in files, as it must outlive the process.
"""

import json
import logging
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from toy_lanes import ToyLanes

from sweeps.errors import UserError
from sweeps.lanes import Progress, TrialResult
from sweeps.lanes.pulse import heartbeat, heartbeats


def build(folder, width=2, problem=None, kind=None):
    if problem == "user":
        raise UserError("study.yaml: device", "got 'abacus'; known: cpu.")
    if problem == "bug":
        raise ZeroDivisionError("no such device")
    if problem == "exit":
        os._exit(7)
    if problem == "warning":
        logging.getLogger(__name__).warning("The lanes of %s train slowly.", Path(folder).name)
    if problem == "slow":
        (Path(folder) / f"starting-{os.getpid()}").touch()
        time.sleep(60)
    return CountingLanes(Path(folder), width, kind)


def build_toy(folder, kills=(), width=1):
    """Lanes of the driver's toy workload; each event of `kills` kills its process, the first time
    that it happens.
    """

    def before(event):
        sign = Path(folder) / f"killed at {event}"
        if event in kills and not sign.exists():
            sign.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return ToyLanes(width=width, epochs=3, before=before)


def build_fused(folder, width=2):
    return FusedLanes(Path(folder), width)


def send_itself(number):
    return lambda folder: os.kill(os.getpid(), number)


def fail_with(error):
    def fail(folder):
        raise error

    return fail


def nap(seconds):
    return lambda folder: time.sleep(seconds)


def wait_until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.01)


def compile_long(folder):
    with heartbeats():
        time.sleep(2.5)


BAD = {
    "kill": send_itself(signal.SIGKILL),
    "segfault": send_itself(signal.SIGSEGV),
    "exit": lambda folder: os._exit(3),
    "raise": fail_with(ValueError("the loss has no gradient")),
    "lines": fail_with(RuntimeError("Error(s) in loading:\n\tsize mismatch" + 999 * "\n\tanother")),
    "leave": fail_with(SystemExit("the loss has no gradient")),
    "interrupt": fail_with(KeyboardInterrupt("the loss has no gradient")),
    "user": fail_with(UserError("study.yaml: beta", "got -1; must be at least 0.")),
    "full": lambda folder: Path("/dev/full").write_text("a device that is always full"),
    "wait": lambda folder: wait_until((folder / "go").exists),
    "nod": nap(0.6),
    "sleep": nap(60),
    "compile": compile_long,
    "spin": lambda folder: spin(60),
}
"""What a trial can do wrong, given the folder of its lanes."""


def spin(seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pass


class CountingLanes:
    workers = ()

    def __init__(self, folder, width, kind=None):
        self.folder, self.width, self.held, self.kind = folder, width, {}, kind or {}

    def add(self, trial):
        self.misbehave(trial, "add")
        epoch, state = 0, trial.seed
        saved = self.saved(trial)
        if trial.epoch and saved.exists():
            epoch, state = json.loads(saved.read_text())
            if epoch > trial.epoch:  # ahead of what was published: of no use
                epoch, state = 0, trial.seed
        self.held[trial.number] = [trial, epoch, state]

    def replay(self):
        for number, held in self.held.items():
            while held[1] < held[0].epoch:
                self.misbehave(held[0], "replay")
                (self.folder / f"replayed-{number}-{held[1] + 1}").touch()
                self.train(held)

    def prefetch(self, plan): ...

    def advance(self, numbers):
        for number in numbers:
            yield [self.advance_one(self.held[number])]
        for number in numbers:
            self.misbehave(self.held[number][0], "end of advance")

    def advance_one(self, held):
        trial, epoch, _ = held
        if epoch and epoch % 2 == 0:
            self.save(held)
        self.misbehave(trial, epoch + 1)
        state = self.train(held)
        metrics = {
            "pid": os.getpid(),
            "variable": float(os.environ.get("VAEEXP_TEST_VARIABLE", "nan")),
        }
        return Progress(
            number=trial.number,
            epoch=epoch + 1,
            objective=state / 1e9,
            metrics=metrics,
            finished=epoch + 1 == 6,
        )

    def train(self, held):
        heartbeat()
        held[1] += 1
        held[2] = (held[2] * 1_103_515_245 + held[1]) % 2**31
        return held[2]

    def saved(self, trial):
        return self.folder / f"{trial.number}.json"

    def save(self, held):
        partial = self.saved(held[0]).with_suffix(".partial")
        partial.parent.mkdir(exist_ok=True)
        partial.write_text(json.dumps(held[1:]))
        partial.rename(self.saved(held[0]))

    def release(self, numbers):
        for number in [number for number in numbers if number in self.held]:
            self.misbehave(self.held[number][0], "release")
            self.save(self.held.pop(number))

    def finish(self, ending):
        return [self.finish_one(number, outcome) for number, outcome in ending.items()]

    def finish_one(self, number, outcome):
        trial, epoch, _ = self.held.pop(number)
        self.misbehave(trial, "finish")
        return TrialResult(number=number, metrics={"epochs": epoch}, folder=outcome.state)

    def discard_checkpoints(self, trials):
        for trial in trials:
            self.misbehave(trial, "discard_checkpoints")
            self.saved(trial).unlink(missing_ok=True)

    def close(self):
        (self.folder / f"closed-{os.getpid()}").touch()

    def misbehave(self, trial, at):
        if trial.params.get("at") != at:
            return
        done = len(list(self.folder.glob(f"bad-{trial.number}-*")))
        if done >= trial.params.get("times", 99):
            return
        (self.folder / f"bad-{trial.number}-{done}-{os.getpid()}").touch()
        if bad := BAD.get(trial.params["bad"]):
            bad(self.folder)


class FusedLanes(CountingLanes):
    """Lanes that train as one program: their epochs are done together."""

    def advance(self, numbers):
        yield [self.advance_one(self.held[number]) for number in numbers]


def build_lasting(folder, width=2):
    return LastingLanes(Path(folder), width)


class LastingLanes(CountingLanes):
    """Lanes that take their time, write down what they do, and leave no checkpoint of their own
    accord.
    """

    def __init__(self, folder, width, notes=None):
        super().__init__(folder, width)
        self.notes = notes or folder

    def advance_one(self, held):
        trial, epoch, _ = held
        note(self.notes, f"epoch {trial.number} {epoch + 1} of {os.getpid()}")
        time.sleep(0.05)
        state = self.train(held)
        return Progress(
            number=trial.number, epoch=epoch + 1, objective=state / 1e9, finished=epoch + 1 == 6
        )

    def finish_one(self, number, outcome):
        note(self.notes, f"finish {number}")
        time.sleep(0.25)
        return super().finish_one(number, outcome)

    def train(self, held):
        note(self.notes, f"trained {held[0].number} {held[1] + 1}")
        return super().train(held)


def build_pausing(folder, notes, width=2):
    return PausingLanes(Path(folder), width, notes)


class PausingLanes(LastingLanes):
    """The same, but the checkpoints lie beside the files of trials, and those of trials that pause
    stay.
    """

    def saved(self, trial):
        return self.folder / trial.checkpoint_name / "checkpoint.json"

    def finish_one(self, number, outcome):
        held = self.held[number]
        if outcome.state == "paused":
            self.save(held)
        folder = self.folder / held[0].folder_name
        folder.mkdir(exist_ok=True)
        (folder / "weights").write_text(f"weights {held[2]}")
        return replace(super().finish_one(number, outcome), folder=str(folder))


def build_hanging(folder, width=2):
    return HangingLanes(Path(folder), width)


class HangingLanes(LastingLanes):
    """Lanes that hang in their second epoch."""

    def train(self, held):
        if held[1] == 1:
            time.sleep(3600)
        return super().train(held)


def note(folder, line):
    """Add a line to the notes in a folder, whole beside the lines of other processes."""
    with (folder / "notes").open("ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


def build_writing(folder, width=2):
    return WritingLanes(Path(folder), width)


class WritingLanes(CountingLanes):
    """Lanes that leave a folder with files for each trial, and a picture of each epoch."""

    def advance_one(self, held):
        progress = super().advance_one(held)
        return replace(
            progress,
            images={progress.epoch: {"state": self.write(held, f"epoch-{progress.epoch}.png")}},
        )

    def finish_one(self, number, outcome):
        self.write(self.held[number], "weights")
        result = super().finish_one(number, outcome)
        return replace(result, folder=str(self.folder / f"trial-{number:04d}"))

    def write(self, held, name):
        path = self.folder / held[0].folder_name / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{name} {held[2]}")
        return str(path)


class UnevenLanes(CountingLanes):
    """Lanes that take so many seconds for an epoch. They leave a checkpoint of a trial that
    pauses.
    """

    def __init__(self, folder, width, seconds):
        super().__init__(folder, width)
        self.seconds = seconds

    def advance(self, numbers):
        time.sleep(self.seconds)
        for [progress] in super().advance(numbers):
            yield [replace(progress, metrics={})]  # whose process it was

    def finish_one(self, number, outcome):
        if outcome.state == "paused":
            self.save(self.held[number])
        result = super().finish_one(number, outcome)
        return replace(result, checkpoint_bytes=1000 if outcome.state == "paused" else 0)
