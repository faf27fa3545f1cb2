"""Many workers, each with its own lanes, that look to the driver like one wider `Lanes`.

Rounds are in step, so a study on many workers repeats as exactly as on one. A worker that dies is replaced, and its trials go
on from their checkpoints; the driver does not notice. Trials whose worker dies three times in one epoch fail, and the study
goes on. While a worker has no place to run, the others hold its trials; when it comes, trials move to it before the next round.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from sweeps.workload import Failure, Lanes, Outcome, Progress, Stall, Trial, TrialResult, WorkerState
from sweeps.workload.commands import Command, concerned, left_of, one_by_one, share_out
from sweeps.workload.crew import DEATHS, Crew, WorkerError
from sweeps.workload.pulse import Watch
from sweeps.workload.worker import Lost, Worker, silent
from sweeps.workload.worker_process import Child

_CLOSE_SECONDS = 1.0  # for an orderly end without them
_LOOK_SECONDS = 5.0  # between two looks at the pulses of workers that train
_UNANSWERED = 32  # admissions; pipes hold some hundred, and with full ones on either side both would wait for ever

_log = logging.getLogger(__name__)


class WorkerPool:
    """Lanes over `len(arguments)` workers; number i serves `factory(**arguments[i])`.

    `factory` is a function of a module, and everything in `arguments` can be pickled. Libraries have one thread each in a
    worker until its lanes ask for more. Waits until every worker is ready; of a kind of worker that has `patience`, until one is
    ready, and for the others so long. Trials move to those that come later.

    A trial that the pool fails comes out of `advance` with a failure: `out_of_memory` (SIGKILL ended its process three
    times), `crashed` (it died in another way), `error` (the lanes raised in `add`, `replay` or `advance`) or `timed_out`
    (alone in its worker, it did not do its epoch in `timeout` seconds, or did nothing for so long in another call). A trial that
    hangs in `finish` has a result with this failure.

    The workers work side by side. `add` does not wait for them: what goes wrong in it shows in the next call.

    Raises UserError where the lanes do, and when a worker runs other code than this process or is of another `kind`; WorkerError when a worker fails
    while it is built or in `finish`. Where workers have `patience`, one that fails or is refused while it is built stays away
    with a warning, unless it is the last.
    """

    def __init__(
        self,
        factory: Callable[..., Lanes],
        arguments: Sequence[Mapping[str, Any]],
        *,
        timeout: float | None = None,
        worker: Callable[[str, Callable[..., Lanes], Mapping[str, Any]], Worker] = Child,
        lanes: int | None = None,
        kind: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            timeout: the most seconds that a worker may work on one part of an epoch, and the most between two batches
                (`sweeps.workload.pulse`) or answers in `add`, `replay` and `finish`; None for no limit.
            worker: makes a worker of its name, `factory` and its arguments; a process of this machine by default.
            lanes: trials at once, of all workers, even while some are away: then the lanes of a worker take more trials than
                their width, in turn. None: as many as the lanes of all workers have.
            kind: `Lanes.kind` of the study's workers; None: that of the first one.
        """
        self._timeout, self._lanes = timeout, lanes
        self._children = [worker(f"worker-{index}", factory, of_one) for index, of_one in enumerate(arguments)]
        self._crew = Crew(self._children, kind or {})
        self._adding: list[tuple[Worker, int]] = []
        """Numbers of the trials that workers have not answered for yet."""
        self._homeless: list[Trial] = []
        self._left: list[Command] = []
        """Trials of workers that have no place to run, and what these workers had still to do."""
        self._failed: dict[int, Progress] = {}
        self._watch, self._stalls = Watch(), dict[Worker, Stall]()
        try:
            self._crew.start()
            self._crew.joined.clear()
        except BaseException:
            self.close()
            raise

    @property
    def width(self) -> int:
        """Number of trials that fit at once, in all workers; follows a worker that changes its own width."""
        return sum(child.width for child in self._children) if self._lanes is None else self._lanes

    @property
    def stalls(self) -> tuple[Stall, ...]:
        return tuple(self._stalls.values())

    @property
    def workers(self) -> tuple[WorkerState, ...]:
        return tuple(child.state for child in self._crew.up)

    @property
    def kind(self) -> Mapping[str, Any]:
        return self._crew.kind

    def add(self, trial: Trial) -> None:
        """Place a trial in the worker with most free lanes, the first among equals."""
        if sum(len(child.trials) for child in self._children) + len(self._homeless) >= self.width:
            raise ValueError(f"no lane is free for {trial.folder_name}: all {self.width} are taken")
        self._place(trial)

    def _place(self, trial: Trial) -> None:
        self._wait_for_added(_UNANSWERED)
        self._crew.wait_for_one()
        child = max(self._crew.up, key=lambda child: child.width - len(child.trials))
        child.trials[trial.number] = trial
        self._adding.append((child, trial.number))
        child.send("add", trial)

    def replay(self) -> None:
        self._wait_for_added()
        self._exchange({child: ("replay", ()) for child in self._children if child.trials})

    def advance(self, numbers: Collection[int]) -> Iterator[list[Progress]]:
        self._crew.take_in(0.0)
        self._wait_for_added()
        if self._crew.joined:
            self._spread()
        commands = share_out(self._children, "advance", numbers)
        self._send(commands)
        yield []
        for child, done in self._answers(commands):
            if done is not None:
                yield done
                child.report(done)
        if failed := [self._failed[number] for number in numbers if number in self._failed]:
            yield failed

    def release(self, numbers: Collection[int]) -> None:
        self._wait_for_added()
        self._exchange(self._released(numbers))

    def _released(self, numbers: Collection[int]) -> dict[Worker, Command]:
        """Forget these trials; return the commands that make their workers do so."""
        commands = share_out(self._children, "release", numbers)
        for child in commands:
            child.trials = {number: trial for number, trial in child.trials.items() if number not in numbers}
        return commands

    def _spread(self) -> None:
        """Move trials to workers that have come, until all have as many free lanes. They go on from a checkpoint of this moment.

        A trial moves between workers that see the checkpoint only, because elsewhere it would be trained again from its start.
        """
        self._crew.joined.clear()
        held = {child: len(child.trials) - child.width for child in self._crew.up}
        moving: list[Trial] = []
        while True:
            full = max((child for child in held if child.resumes), key=held.__getitem__, default=None)
            free = min(held, key=held.__getitem__)
            if full is None or not free.resumes or held[full] - held[free] < 2:
                break
            stay = [trial for trial in full.trials.values() if trial not in moving]
            moving.append(stay[-1])
            held[full] -= 1
            held[free] += 1
        commands = self._released([trial.number for trial in moving])
        self._homeless += moving
        self._exchange(commands)

    def finish(self, ending: Mapping[int, Outcome]) -> list[TrialResult]:
        """Free the lanes of trials that ended. A trial that the pool failed has an empty result."""
        self._wait_for_added()
        results = self._unfinished(ending)
        commands = share_out(self._children, "finish", ending)
        self._send(commands)
        for _, answer in self._answers(commands):
            results |= {result.number: result for result in answer or ()}
        unfinished = self._unfinished(ending)
        for number, result in unfinished.items():
            if result.failure and result.failure.kind != "timed_out":
                raise WorkerError(f"finishing trial {number}: {result.failure.message}")
        results |= unfinished
        for child in self._children:
            child.trials = {number: trial for number, trial in child.trials.items() if number not in ending}
        return [results[number] for number in ending]

    def _unfinished(self, numbers: Collection[int]) -> dict[int, TrialResult]:
        """Return the results of those of these trials that the pool has failed."""
        failed = {number: self._failed.pop(number).failure for number in numbers if number in self._failed}
        return {number: TrialResult(number=number, failure=failure) for number, failure in failed.items()}

    def discard_checkpoints(self, trials: Sequence[Trial]) -> None:
        # Any worker that sees them can see to it.
        self._wait_for_added()
        self._crew.wait_for_one()
        child = next((child for child in self._crew.up if child.shares), self._crew.up[0])
        self._exchange({child: ("discard_checkpoints", (trials,))})

    def close(self) -> None:
        """End every worker: an idle one closes its lanes, one in the midst of an epoch is killed."""
        deadline = time.monotonic() + _CLOSE_SECONDS
        idle = [child for child in self._children if child.idle]
        try:
            for child in idle:
                child.send("close")
            for child in idle:
                child.end(deadline)
        finally:
            for child in self._children:
                child.kill()

    def _exchange(self, commands: dict[Worker, Command]) -> None:
        """Send each worker its command and wait for all answers."""
        self._send(commands)
        for _ in self._answers(commands):
            pass

    def _send(self, commands: dict[Worker, Command]) -> None:
        for child, (name, arguments) in commands.items():
            child.send(name, *arguments)

    def _wait_for_added(self, most: int = 0) -> None:
        """Wait until at most so many are on their way."""
        while len(self._adding) > most:
            child, number = self._adding.pop(0)
            try:
                child.receive(self._timeout)
            except Lost as lost:
                # The new process is given all that this one had, or was to have.
                self._adding = [(other, n) for other, n in self._adding if other is not child]
                self._replace(child, [number], lost)
                self._move_out(child)
        if self._homeless and not most:
            self._send(self._settle())

    def _move_out(self, child: Worker, *left: Command) -> bool:
        """Take the trials of a worker that is not up, and what it had still to do. Tells whether it is not up."""
        if child.up:
            return False
        self._homeless += child.trials.values()
        self._left += left
        child.trials = {}
        return True

    def _settle(self) -> dict[Worker, Command]:
        """Place the trials of workers that are away with others, caught up; return what is left to do, for these."""
        homeless, left = self._homeless, self._left
        self._homeless, self._left = [], []
        for trial in homeless:
            self._place(trial)
        if homeless:
            self.replay()
        commands: dict[Worker, Command] = {}
        for name, (work,) in left:
            if name == "discard_checkpoints":
                self._crew.wait_for_one()
                commands[self._crew.up[0]] = (name, (work,))
                continue
            merged = dict.fromkeys(work) if name == "advance" else dict(work)
            for _, (other,) in commands.values():
                merged |= dict.fromkeys(other) if name == "advance" else other
            commands = share_out(self._children, name, merged)
        return commands

    def _answers(self, commands: dict[Worker, Command]) -> Iterator[tuple[Worker, Any]]:
        """Yield the answers to what was sent, as they come. What a worker has not done that is lost for good is done by others."""
        while commands:
            yield from self._work(commands)
            self._send(commands := self._settle())

    def _work(self, commands: dict[Worker, Command]) -> Iterator[tuple[Worker, Any]]:
        """Yield the answers to what was sent, as they come, and an empty one when a worker stalls or moves again. A worker that
        is lost meanwhile is replaced.

        The trials of a worker that works too long on a part of an epoch, or stands still in another call, go one by one in its
        replacement, so that the trial that hangs is found.
        """
        waiting, alone = dict(commands), {child: list[Command]() for child in commands}
        begun = dict.fromkeys(waiting, time.monotonic())
        batches = {child: child.batch for child in waiting}

        def work(child: Worker, command: Command | None) -> None:
            alone[child] = [each for each in alone[child] if child.trials.keys() >= set(concerned(child, each))]
            if self._move_out(child, *alone[child], *([command] if command else [])):
                return
            if command is None and alone[child]:
                command = alone[child].pop(0)
            if command is not None:
                waiting[child], begun[child] = command, time.monotonic()
                child.send(command[0], *command[1])

        while waiting:
            ready = next(iter(waiting)).ready(waiting, self._patience(begun, waiting))
            yield from self._look(waiting)
            for child, command in [*waiting.items()]:
                if command[0] != "advance" and child.batch != batches[child]:
                    batches[child], begun[child] = child.batch, time.monotonic()
                seconds = time.monotonic() - begun[child]
                try:
                    if child not in ready or not child.hear():
                        self._check_time(command, seconds)
                        continue
                    answer = child.receive()
                except Lost as lost:
                    del waiting[child]
                    self._replace(child, concerned(child, command), lost)
                    again = left_of(child, command)
                    if again and lost.failure.kind == "timed_out":
                        alone[child], again = [*one_by_one(again), *alone[child]], None
                    work(child, again)
                    continue
                del waiting[child]
                if command[0] == "advance":
                    child.losses = 0
                    if child.busy:
                        self._watch.done(child.name, seconds)
                if child.busy:
                    done = {progress.number for progress in answer}
                    left = [number for number in command[1][0] if number not in done]
                    waiting[child], begun[child] = ("advance", (left,)), time.monotonic()
                elif alone[child]:
                    work(child, None)
                yield child, answer

    def _look(self, waiting: Mapping[Worker, Command]) -> Iterator[tuple[Worker, Any]]:
        """Look at the pulses of the children that train; yield an empty answer for each that stalls or moves again."""
        for child in self._children:
            stall = None
            if child in waiting and waiting[child][0] == "advance":
                stall = self._watch.look(child.name, child.batch, tuple(waiting[child][1][0]))
            else:
                self._watch.rest(child.name)
            if stall and child not in self._stalls:
                self._stalls[child] = stall
                yield child, []
            elif not stall and child in self._stalls:
                del self._stalls[child]
                yield child, []

    def _patience(self, begun: Mapping[Worker, float], waiting: Mapping[Worker, Command]) -> float | None:
        """Return the seconds until the first child may be late, or until the next look at pulses; None without either."""
        names = {child: name for child, (name, _) in waiting.items()}
        seconds = [_LOOK_SECONDS] if "advance" in names.values() else []
        if self._timeout is not None:
            due = [begun[child] + self._timeout for child, name in names.items() if name != "discard_checkpoints"]
            seconds += [max(0.0, min(due) - time.monotonic()), _LOOK_SECONDS] if due else []
        return min(seconds, default=None)

    def _check_time(self, command: Command, seconds: float) -> None:
        """Raise Lost where a worker has been too long at a part of an epoch, or too long without a batch at another command."""
        if self._timeout is None or seconds < self._timeout or command[0] == "discard_checkpoints":
            return
        if command[0] != "advance":
            raise silent(self._timeout)
        how = f"not done after {self._timeout:g} seconds"
        raise Lost(Failure(kind="timed_out", message=f"its epoch was {how}"), f"was stopped: an epoch was {how}")

    def _replace(self, child: Worker, suspects: list[int], lost: Lost) -> None:
        """Put a new process with the same trials, caught up, in place of a lost one.

        An exception will repeat, so the `suspects` fail at once; a crash is retried twice; a suspect alone that was too slow
        fails, of several suspects none, and the next process catches up with one trial after the other. If the child is lost even
        so, its other trials are the suspects, of one that was too slow those it caught up with; without any, the program itself is.
        """
        while True:
            child.kill()
            late = lost.failure.kind == "timed_out"
            child.losses += not (late or lost.machine)
            again = "" if child.resumes or not child.trials else "; its trials are trained again from their start"
            _log.warning("%s", f"{child.name} {lost.detail}{again}")
            if lost.failure.kind == "error" or (late and len(suspects) == 1) or child.losses >= DEATHS:
                if not suspects:
                    raise WorkerError(f"{child.name}: {lost.detail}")
                self._fail(child, suspects, lost.failure)
                suspects = list(child.trials)
            try:
                self._crew.restart(child, self._timeout, one_by_one=late)
                return
            except Lost as problem:
                lost = problem
                if lost.failure.kind == "timed_out":
                    suspects = list(lost.suspects)

    def _fail(self, child: Worker, numbers: list[int], failure: Failure) -> None:
        how_often = "" if failure.kind in ("error", "timed_out") else f", {child.losses} times"
        for number in numbers:
            epoch = child.trials.pop(number).epoch + 1
            because = Failure(kind=failure.kind, message=f"{failure.message} in epoch {epoch}{how_often}")
            self._failed[number] = Progress(number=number, epoch=epoch, objective=float("nan"), failure=because)
        child.losses = 0
