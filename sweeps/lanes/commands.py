"""Commands to workers: each worker's part, the trials that it concerns, and the rest of an
interrupted one.

`advance` and `release` have the numbers of trials as their argument, `finish` a mapping from
numbers to outcomes, `add` a trial, `discard_checkpoints` trials; `replay` and `close` have none.
"""

from collections.abc import Collection, Iterable, Mapping

from sweeps.lanes.worker import Worker

Command = tuple[str, tuple]
"""Name and arguments of a method of lanes."""


def share_out(workers: Iterable[Worker], name: str, work: Collection[int]) -> dict[Worker, Command]:
    """Return the command `advance`, `release` or `finish`, as far as it concerns its trials, for
    each worker that holds any.
    """
    held = {worker: [number for number in work if number in worker.trials] for worker in workers}
    return {worker: part((name, (work,)), mine) for worker, mine in held.items() if mine}


def part(command: Command, numbers: Collection[int]) -> Command:
    """Return the part of `advance`, `release` or `finish` that concerns these trials."""
    name, (work,) = command
    if isinstance(work, Mapping) and name == "finish":
        return name, ({number: work[number] for number in numbers},)
    return name, (list(numbers),)


def concerned(worker: Worker, command: Command) -> list[int]:
    """Return the numbers of the trials that a command works on."""
    name, arguments = command
    if name in ("advance", "finish"):
        return list(arguments[0])
    if name == "add":
        return [arguments[0].number]
    return [] if name in ("discard_checkpoints", "release") else list(worker.trials)


def left_of(worker: Worker, command: Command, *, one_by_one: bool = False) -> list[Command]:
    """Return what an interrupted command still has to do in a new process, which holds its trials
    and has caught up; with `one_by_one`, a command for each trial.
    """
    if command[0] in ("add", "replay", "discard_checkpoints"):
        return [command]
    left = [number for number in concerned(worker, command) if number in worker.trials]
    shares = [[number] for number in left] if one_by_one else [left]
    return [part(command, share) for share in shares if share]
