"""Workers that stop in order: each ends the epoch at hand, hands over what it has done, and leaves
checkpoints.

The driver may have been interrupted anywhere, even between two parts of an answer. So nothing is
taken from what the driver was doing; the handles of the workers alone tell which answers are still
to come.
"""

import logging
import time
from collections.abc import Collection, Iterator, Sequence

from sweeps.errors import UserError
from sweeps.lanes import Progress, TrialResult
from sweeps.lanes.worker import Lost, Worker

_log = logging.getLogger(__name__)


def stop_workers(
    workers: Sequence[Worker], finished: Collection[int], seconds: float
) -> Iterator[list[Progress] | list[TrialResult]]:
    """Yield what these workers still owe; once its answers have been taken, a worker leaves a
    checkpoint of each of its trials.

    Args:
        workers: workers that are up.
        finished: numbers of the trials that their lanes hold no more, because their results are
            here.
        seconds: the most that it may take. Workers that are not done by then are told of in a line.
    """
    deadline = time.monotonic() + seconds
    # A lost message cannot be asked for again, and the next one would be taken for its answer.
    left = [worker for worker in workers if worker.trials and not worker.torn]
    for worker in left:
        worker.stop_early()
    gone = set(finished)
    releasing: set[Worker] = set()
    while left:
        for worker in [*left]:
            try:
                for answer in _answers(worker):
                    gone |= {result.number for result in answer if isinstance(result, TrialResult)}
                    yield answer
            except (Lost, UserError) as problem:
                _log.warning("%s leaves no checkpoints: %s", worker.name, problem)
                left.remove(worker)
                continue
            if not worker.owed and worker in releasing:
                left.remove(worker)
            elif not worker.owed:
                worker.send("release", [number for number in worker.trials if number not in gone])
                releasing.add(worker)
        if left and not left[0].ready(left, max(0.0, deadline - time.monotonic())):
            break
    if left:
        names = ", ".join(worker.name for worker in left)
        _log.warning(
            "%s: no checkpoint within %g s. What was trained since the last one is repeated; the "
            "numbers stay the same.",
            *(names, seconds),
        )


def _answers(worker: Worker) -> Iterator[list[Progress] | list[TrialResult]]:
    """Yield what a worker owes and has sent by now. Raises Lost or UserError where it fails."""
    while worker.owed and worker.poll():
        if answer := worker.receive():
            yield answer
