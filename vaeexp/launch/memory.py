"""Estimates the memory of a sweep before it starts, and refuses or narrows a sweep that does not
fit.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from sweeps import FreeMemory, UserError, free_memory
from vaeexp.data import Dataset
from vaeexp.launch.execution import Execution, model_shapes, resolve_execution, shape_count
from vaeexp.models.vae import count_parameters
from vaeexp.settings import Settings
from vaeexp.study import largest_own, maxima_of, searched_values, uses_average
from vaeexp.words import format_gibibytes

if TYPE_CHECKING:
    from sweeps import Engine, Study

MIB = 2**20
MIRROR = 200 * MIB
WORKER = 350 * MIB
PROGRAMS = 300 * MIB
"""Measured: the process that writes to MLflow; a worker with PyTorch; the compiled programs of a
worker. The driver and its fork server have their memory when the estimate is made, and the report
is made when the workers have gone."""
_VECTORS = 7
"""Vectors of a lane's size: weights, two moments, best weights, gradients, and two while it is
built or saved. One more for an average.
"""


class MemoryPlan:
    """The memory that a study needs, from its largest model and its images."""

    def __init__(self, study: "Study", settings: Settings, dataset: Dataset) -> None:
        """Count the parameters of the largest model without building it."""
        wide = largest_own(study) | maxima_of(study)
        models = [
            shape.with_params({**wide, "network": name}).model
            for shape, name in product(
                model_shapes(study, settings), searched_values(study, "network")
            )
        ]
        self.parameters = max(count_parameters(model, dataset.values) or 0 for model in models)
        self._lane = self.parameters * 4 * (_VECTORS + uses_average(study))
        _, validation, test = dataset.sizes
        # Targets are float32; a worker holds those of validation, and those of the test images
        # while it tests.
        self._images = 4 * (validation + test) * math.prod(dataset.image_shape)
        self._place = f"{study.path}: model"

    def needed(self, workers: int, lanes: int, *, compiled: bool) -> int:
        """Return the bytes that a sweep on the CPU needs at the most besides those that it has,
        about.
        """
        programs = PROGRAMS if compiled else 0
        return MIRROR + workers * (WORKER + programs + self._images) + lanes * self._lane

    def asked(self, engine: "Engine", execution: Execution) -> "Engine":
        """Return the engine with what each worker needs."""
        memory = self.needed(1, execution.most_lanes, compiled=execution.compile)
        return replace(engine, cpus=float(execution.threads or 1), memory=memory)

    def check(self) -> None:
        """Raise UserError where one lane of the largest model does not fit, before any model is
        built.
        """
        free = free_memory()
        needed = self.needed(1, 1, compiled=False)
        if free is not None and needed > free.bytes:
            problem = (
                f"the largest model has {self.parameters:,} parameters; one trial of it needs "
                f"about {format_gibibytes(needed)} more, and {free.bound} has "
                f"{format_gibibytes(free.bytes)} free. Make the model smaller, or give the sweep "
                "more memory."
            )
            raise UserError(self._place, problem)

    def fitting(self, execution: Execution, free: FreeMemory) -> tuple[int, int]:
        """Return the most workers and lanes that fit in the free memory, none more than the
        execution has; at least one each.
        """
        fitting = [
            (workers, workers * each)
            for workers, each in product(range(1, execution.workers + 1), (1, 2))
            if workers * each <= execution.lanes
            and self.needed(workers, workers * each, compiled=execution.compile) <= free.bytes
        ]
        return max(fitting, default=(1, 1))

    def words(self, execution: Execution) -> str:
        """Say how much memory the sweep needs, and how much is free."""
        free = free_memory()
        needed = self.needed(execution.workers, execution.lanes, compiled=execution.compile)
        of = f" of {format_gibibytes(free.bytes)} that {free.bound} has free" if free else ""
        return f"Memory: about {format_gibibytes(needed)} more{of}"


def choose_execution(
    study: "Study",
    settings: Settings,
    dataset: Dataset,
    asked: Mapping[str, Any],
    recorded: Mapping[str, Any],
    say: Callable[[str], None],
    *,
    engine: "Engine | None" = None,
) -> Execution:
    """Decide how a study runs (`resolve_execution`); on a CPU with fewer workers and lanes where
    memory is short, and says so.

    With an engine that knows for how many workers it has places, there are as many.

    Args:
        asked: the given options of the execution, by name.
        recorded: the execution of the study's first run; empty before it.
        say: gets a line where the sweep is narrowed.
        engine: where the workers run; None: on this machine.

    Raises:
        UserError: as `resolve_execution`; or what the user or the record asks for does not fit.
    """
    plan = MemoryPlan(study, settings, dataset)
    trials = study.budget.trials or 100
    shapes = shape_count(study, settings, trials)
    resolve = partial(
        resolve_execution,
        recorded=recorded,
        dataset=dataset,
        settings=settings,
        maxima=maxima_of(study),
        trials=trials,
        shapes=shapes,
    )
    if engine is not None and (places := engine.places) is not None:
        execution = resolve(asked, places=places)
        while (places := plan.asked(engine, execution).places or 0) < execution.workers:
            fewer = resolve(asked, places=places)
            # As many as were asked for; the study waits for them.
            if fewer.workers == execution.workers:
                break
            execution = fewer
        return execution
    execution = resolve(asked)
    free = free_memory()
    needed = plan.needed(execution.workers, execution.lanes, compiled=execution.compile)
    if execution.device != "cpu" or free is None or needed <= free.bytes:
        return execution
    workers, lanes = plan.fitting(execution, free)
    short = (
        f"{execution.workers} workers with {execution.lanes} lanes need about "
        f"{format_gibibytes(needed)} more, and {free.bound} has {format_gibibytes(free.bytes)} "
        "free"
    )
    if recorded or {"workers", "lanes"} & asked.keys():
        raise UserError("memory", f"{short}. Try --workers {workers} --lanes {lanes}.")
    say(f"{short}: the study runs with --workers {workers} --lanes {lanes}.")
    return resolve({**asked, "workers": workers, "lanes": lanes})
