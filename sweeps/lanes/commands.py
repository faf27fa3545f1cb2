"""Commands to workers: each worker's part, the trials that it concerns, how long it may take, and
the rest of an interrupted one.

`advance` and `release` have the numbers of trials as their argument, `finish` a mapping from
numbers to outcomes, `add` a trial, `discard_checkpoints` trials; `replay` and `close` have none.
"""

from collections.abc import Collection, Iterable, Mapping

from sweeps.lanes import Failure
from sweeps.lanes.worker import Lost, Worker, silent

Command = tuple[str, tuple]
"""Name and arguments of a method of lanes."""


def share_out(workers: Iterable[Worker], name: str, work: Collection[int]) -> dict[Worker, Command]:
    """Return the command `advance`, `release` or `finish`, as far as it concerns its trials, for
    each worker that holds any.
    """
    commands: dict[Worker, Command] = {}
    for worker in workers:
        if mine := [number for number in work if number in worker.trials]:
            outcomes = (
                {number: work[number] for number in mine} if isinstance(work, Mapping) else None
            )
            commands[worker] = (name, (outcomes if name == "finish" else mine,))
    return commands


def concerned(child: Worker, command: Command) -> list[int]:
    """Return the numbers of the trials that a command works on."""
    name, arguments = command
    if name in ("advance", "finish"):
        return list(arguments[0])
    if name == "add":
        return [arguments[0].number]
    return [] if name in ("discard_checkpoints", "release") else list(child.trials)


def one_by_one(command: Command) -> list[Command]:
    """Split a command into one for each of its trials."""
    name, (work,) = command
    return [(name, ({number: work[number]} if name == "finish" else [number],)) for number in work]


def left_of(child: Worker, command: Command) -> Command | None:
    """Return what an interrupted command still has to do in a new process, which holds its trials
    and has caught up.
    """
    name, arguments = command
    if name in ("add", "replay", "discard_checkpoints"):
        return command
    left = [number for number in concerned(child, command) if number in child.trials]
    if not left:
        return None
    return (
        (name, (left,))
        if name == "advance"
        else (name, ({number: arguments[0][number] for number in left},))
    )


def check_time(command: Command, seconds: float, timeout: float | None) -> None:
    """Raise Lost where a worker has been too long at a part of an epoch, or too long without a
    batch at another command.
    """
    if timeout is None or seconds < timeout or command[0] == "discard_checkpoints":
        return
    if command[0] != "advance":
        raise silent(timeout)
    how = f"not done after {timeout:g} seconds"
    raise Lost(
        Failure(kind="timed_out", message=f"its epoch was {how}"),
        f"was stopped: an epoch was {how}",
    )
