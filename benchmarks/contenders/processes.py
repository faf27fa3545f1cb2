"""Several processes that share the device, each with a contender of its own: how people train
trials side by side today.
"""

import multiprocessing
from dataclasses import replace
from multiprocessing.connection import Connection

from contenders import Stretch, Task, Train, open_contender

__all__ = ["open_train"]


def open_train(task: Task) -> Train:
    """All processes open at once; a stretch lasts from when the first begins until the last has
    ended.
    """
    context = multiprocessing.get_context("spawn")
    ends = [context.Pipe() for _ in range(task.processes)]
    workers = [
        context.Process(target=_work, args=(replace(task, processes=1), theirs), daemon=True)
        for _, theirs in ends
    ]
    for worker, (_, theirs) in zip(workers, ends, strict=True):
        worker.start()
        theirs.close()  # so that a worker that dies ends the wait for it
    for mine, _ in ends:
        mine.recv()

    def train(images: int) -> Stretch:
        for mine, _ in ends:
            mine.send(images)
        stretches = [Stretch(*mine.recv()) for mine, _ in ends]
        return Stretch(
            min(stretch.began for stretch in stretches),
            max(stretch.ended for stretch in stretches),
            sum(stretch.memory_mb for stretch in stretches),
        )

    return train


def _work(task: Task, pipe: Connection) -> None:
    train = open_contender(task)
    pipe.send(None)
    while True:
        pipe.send(tuple(train(pipe.recv())))
