"""What the queues of the workers of a pool still hold: who is to be trained, who ends, whose
checkpoints are to be discarded.
"""

from collections.abc import Mapping

from sweeps.lanes import TrialSpec
from sweeps.lanes.commands import Command
from sweeps.lanes.worker import Worker

Queues = Mapping[Worker, list[Command]]


def training(queues: Queues) -> set[int]:
    """Return the numbers of the trials that workers are to advance."""
    return _numbers(queues, "advance")


def finishing(queues: Queues) -> set[int]:
    """Return the numbers of the trials that workers are to end."""
    return _numbers(queues, "finish")


def _numbers(queues: Queues, wanted: str) -> set[int]:
    commands = [command for queue in queues.values() for command in queue]
    return {number for name, arguments in commands if name == wanted for number in arguments[0]}


def discarding(queues: Queues, trial: TrialSpec) -> bool:
    """Whether a worker is still to discard the checkpoints from which a trial would go on."""
    commands = [command for queue in queues.values() for command in queue]
    work = [arguments[0] for name, arguments in commands if name == "discard_checkpoints"]
    return trial.epoch > 0 and any(
        each.checkpoint_name == trial.checkpoint_name for some in work for each in some
    )
