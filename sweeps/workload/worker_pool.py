"""Local parallelism: child processes, each with its own lanes, that look to the driver like one wider `Lanes`.

Rounds are in step, so a study on many processes repeats as exactly as on one. A child that dies is replaced, and its
trials go on from their checkpoints; the driver does not notice. Trials whose child dies three times in one epoch fail,
and the study goes on.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from multiprocessing.connection import wait
from typing import Any, NoReturn

from sweeps.workload import Failure, Lanes, Outcome, Progress, Stall, Trial, TrialResult
from sweeps.workload.pulse import Watch
from sweeps.workload.worker_process import Child, Lost

_DEATHS = 3  # in one epoch, after which the child's trials fail
_CLOSE_SECONDS = 1.0  # for an orderly end without them
_LOOK_SECONDS = 5.0  # between two looks at the pulses of children that train
_UNANSWERED = 32  # admissions; pipes hold some hundred, and with full ones on either side both would wait for ever

_Command = tuple[str, tuple]
_log = logging.getLogger(__name__)


class WorkerError(RuntimeError):
    """A child process failed where no trial can be blamed; the message has its traceback or how it died."""


class WorkerPool:
    """Lanes over `len(arguments)` spawned processes; number i serves `factory(**arguments[i])`.

    `factory` is a function of a module, and everything in `arguments` can be pickled. Libraries have one thread each in a
    child until its lanes ask for more. Waits until every child is ready.

    A trial that the pool fails comes out of `advance` with a failure: `out_of_memory` (SIGKILL ended its process three
    times), `crashed` (it died in another way), `error` (the lanes raised in `add`, `replay` or `advance`) or `timed_out`
    (alone in its process, it did not do its epoch in `timeout` seconds).

    The children work side by side. `add` does not wait for them: what goes wrong in it shows in the next call.

    Raises UserError where the lanes do, and when a child runs other code than this process; WorkerError when a child fails while it is built or in `finish`.
    """

    def __init__(
        self, factory: Callable[..., Lanes], arguments: Sequence[Mapping[str, Any]], *, timeout: float | None = None
    ) -> None:
        """`timeout`: the most seconds that a child may work on one part of an epoch; None for no limit."""
        self._timeout = timeout
        self._children = [
            Child(f"worker-{index}", factory, child_arguments) for index, child_arguments in enumerate(arguments)
        ]
        self._adding: list[tuple[Child, int]] = []
        """Numbers of the trials that children have not answered for yet."""
        self._failed: dict[int, Progress] = {}
        self._watch, self._stalls = Watch(), dict[Child, Stall]()
        try:
            for child in self._children:
                child.start()
            for child in self._children:
                child.wait_until_ready()
        except BaseException as error:
            self.close()
            if isinstance(error, Lost):
                raise WorkerError(f"{child.name} could not start: {error.detail}") from None
            raise

    @property
    def width(self) -> int:
        """Number of trials that fit at once, in all children; follows a child that changes its own width."""
        return sum(child.width for child in self._children)

    @property
    def stalls(self) -> tuple[Stall, ...]:
        return tuple(self._stalls.values())

    def add(self, trial: Trial) -> None:
        """Place a trial in the child with most free lanes, the first among equals."""
        self._wait_for_added(_UNANSWERED)
        child = max(self._children, key=lambda child: child.width - len(child.trials))
        if child.width <= len(child.trials):
            raise ValueError(f"no lane is free for {trial.folder_name}: all {self.width} are taken")
        child.trials[trial.number] = trial
        self._adding.append((child, trial.number))
        child.send("add", trial)

    def replay(self) -> None:
        self._wait_for_added()
        self._exchange({child: ("replay", ()) for child in self._children if child.trials})

    def advance(self, numbers: Collection[int]) -> Iterator[list[Progress]]:
        self._wait_for_added()
        commands: dict[Child, _Command] = {}
        for child in self._children:
            if mine := [number for number in numbers if number in child.trials]:
                commands[child] = ("advance", (mine,))
        self._send(commands)
        yield []
        for child, done in self._answers(commands):
            if done is not None:
                yield done
                child.report(done)
        if failed := [self._failed[number] for number in numbers if number in self._failed]:
            yield failed

    def finish(self, ending: Mapping[int, Outcome]) -> list[TrialResult]:
        """Free the lanes of trials that ended. A trial that the pool failed has an empty result."""
        self._wait_for_added()
        results = {number: TrialResult(number=number) for number in ending if self._failed.pop(number, None)}
        commands: dict[Child, _Command] = {}
        for child in self._children:
            if mine := {number: outcome for number, outcome in ending.items() if number in child.trials}:
                commands[child] = ("finish", (mine,))
        for answer in self._exchange(commands).values():
            results |= {result.number: result for result in answer or ()}
        for number in ending:
            if number in self._failed and (failure := self._failed[number].failure):
                raise WorkerError(f"finishing trial {number}: {failure.message}")
        for child, (_, (mine,)) in commands.items():
            child.trials = {number: trial for number, trial in child.trials.items() if number not in mine}
        return [results[number] for number in ending]

    def discard_checkpoints(self, trials: Sequence[Trial]) -> None:
        # Any child can see to it.
        self._wait_for_added()
        self._exchange({self._children[0]: ("discard_checkpoints", (trials,))})

    def close(self) -> None:
        """End every child: an idle one closes its lanes, one in the midst of an epoch is killed."""
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

    def _exchange(self, commands: dict[Child, _Command]) -> dict[Child, Any]:
        """Send each child its command and wait for all answers; a child whose trials failed answers None."""
        self._send(commands)
        return dict.fromkeys(commands) | dict(self._answers(commands))

    def _send(self, commands: dict[Child, _Command]) -> None:
        for child, (name, arguments) in commands.items():
            child.send(name, *arguments)

    def _wait_for_added(self, most: int = 0) -> None:
        """Wait until at most so many are on their way."""
        while len(self._adding) > most:
            child, number = self._adding.pop(0)
            try:
                child.receive()
            except Lost as lost:
                # The new process is given all that this one had, or was to have.
                self._adding = [(other, n) for other, n in self._adding if other is not child]
                self._replace(child, [number], lost)

    def _answers(self, commands: dict[Child, _Command]) -> Iterator[tuple[Child, Any]]:
        """Yield the answers to what was sent, as they come, and an empty one when a child stalls or moves again. A child that
        is lost meanwhile is replaced.

        The lanes of a child that works too long on a part of an epoch train one by one in its replacement, so that the lane
        that hangs is found.
        """
        waiting, alone = dict(commands), {child: list[int]() for child in commands}
        begun = dict.fromkeys(waiting, time.monotonic())

        def work(child: Child, command: _Command | None) -> None:
            alone[child] = [number for number in alone[child] if number in child.trials]
            if command is None and alone[child]:
                command = ("advance", ([alone[child].pop(0)],))
            if command is not None:
                waiting[child], begun[child] = command, time.monotonic()
                child.send(command[0], *command[1])

        while waiting:
            ready = set(
                wait([handle for child in waiting for handle in child.handles()], self._patience(begun, waiting))
            )
            yield from self._look(waiting)
            for child in [*waiting]:
                answered = bool(ready.intersection(child.handles()))
                if not answered and not self._is_late(begun[child], waiting[child]):
                    continue
                command = waiting.pop(child)
                seconds = time.monotonic() - begun[child]
                try:
                    answer = child.receive() if answered else self._give_up()
                except Lost as lost:
                    self._replace(child, _concerned(child, command), lost)
                    again = _left_of(child, command)
                    if again and lost.failure.kind == "timed_out":
                        alone[child], again = [*again[1][0], *alone[child]], None
                    work(child, again)
                    continue
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

    def _look(self, waiting: Mapping[Child, _Command]) -> Iterator[tuple[Child, Any]]:
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

    def _patience(self, begun: Mapping[Child, float], waiting: Mapping[Child, _Command]) -> float | None:
        """Return the seconds until the first child is late, or until the next look at pulses; None where none trains."""
        training = [begun[child] for child, (name, _) in waiting.items() if name == "advance"]
        if not training:
            return None
        if self._timeout is None:
            return _LOOK_SECONDS
        return min(_LOOK_SECONDS, max(0.0, min(training) + self._timeout - time.monotonic()))

    def _is_late(self, begun: float, command: _Command) -> bool:
        return self._timeout is not None and command[0] == "advance" and time.monotonic() >= begun + self._timeout

    def _give_up(self) -> NoReturn:
        how = f"not done after {self._timeout:g} seconds"
        raise Lost(Failure(kind="timed_out", message=f"its epoch was {how}"), f"was stopped: an epoch was {how}")

    def _replace(self, child: Child, suspects: list[int], lost: Lost) -> None:
        """Put a new process with the same trials, caught up, in place of a lost one.

        An exception will repeat, so the `suspects` fail at once; a crash is retried twice; a suspect alone that was too slow
        fails, of several suspects none. If the child is lost even so, its other trials are the suspects; when it holds none,
        the program itself is.
        """
        while True:
            child.kill()
            late = lost.failure.kind == "timed_out"
            child.losses += not late
            _log.warning("%s %s", child.name, lost.detail)
            if lost.failure.kind == "error" or (late and len(suspects) == 1) or child.losses >= _DEATHS:
                if not suspects:
                    raise WorkerError(f"{child.name}: {lost.detail}")
                self._fail(child, suspects, lost.failure)
                suspects = list(child.trials)
            try:
                child.restore()
                return
            except Lost as again:
                lost = again

    def _fail(self, child: Child, numbers: list[int], failure: Failure) -> None:
        how_often = "" if failure.kind in ("error", "timed_out") else f", {child.losses} times"
        for number in numbers:
            epoch = child.trials.pop(number).epoch + 1
            because = Failure(kind=failure.kind, message=f"{failure.message} in epoch {epoch}{how_often}")
            self._failed[number] = Progress(number=number, epoch=epoch, objective=float("nan"), failure=because)
        child.losses = 0


def _concerned(child: Child, command: _Command) -> list[int]:
    """Return the numbers of the trials that a command works on."""
    name, arguments = command
    if name in ("advance", "finish"):
        return list(arguments[0])
    return [] if name == "discard_checkpoints" else list(child.trials)


def _left_of(child: Child, command: _Command) -> _Command | None:
    """Return what an interrupted command still has to do in a new process, which holds its trials and has caught up."""
    name, arguments = command
    if name == "discard_checkpoints":
        return command
    left = [number for number in _concerned(child, command) if number in child.trials]
    if not left or name == "replay":
        return None
    return (name, (left,)) if name == "advance" else (name, ({number: arguments[0][number] for number in left},))
