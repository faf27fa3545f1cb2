"""The workers of a sweep, on the engine that its options name."""

import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import sweeps
import vaeexp
from sweeps import Engine, WorkerPool, open_engine
from vaeexp.launch.execution import Execution, model_shapes
from vaeexp.launch.job import Job
from vaeexp.launch.memory import MemoryPlan
from vaeexp.runs.worker import open_lanes, open_remote_lanes
from vaeexp.study import data_changes, maxima_of, own_paths_of, train_options, uses_average
from vaeexp.training.checkpoint_places import absolute_address
from vaeexp.training.device import resolve_device
from vaeexp.training.optimizers import parts_of


def engine_of(job: Job) -> AbstractContextManager[Engine]:
    """Open the engine that the options name. Raises UserError where it is not installed, or its
    cluster cannot be joined.
    """
    options = job.options
    on_gpus = (
        options.engine != "local"
        and resolve_device(options.execution.get("device", "auto")).type == "cuda"
    )
    return open_engine(
        options.engine,
        address=options.address,
        packages=_code(job),
        folder=_folder(job),
        gpus=1.0 if on_gpus else 0.0,
        limit=options.worker_timeout,
        checkpoints=options.checkpoints is not None,
        environment={
            name: value for name, value in os.environ.items() if name.startswith("VAEEXP_")
        },
    )


def make_workers(
    job: Job, execution: Execution, engine: Engine, kind: Mapping[str, Any] | None = None
) -> WorkerPool:
    """Start the workers of a sweep. `kind`: that of the workers of the study; None: that of the
    first one. Raises as `WorkerPool`.
    """
    shared = {
        "settings": job.settings,
        "maxima": maxima_of(job.study),
        "averaged": uses_average(job.study),
        "parts": parts_of(train_options(job.study)),
        "study": job.study.name,
        "study_seed": job.study.seed,
        "folder": str(_folder(job)),
        "keep_pruned": job.study.keep.pruned == "weights",
        "keep_pictures": job.study.keep.pictures,
        "keep_sheets": job.study.keep.sheets,
        "checkpoints": job.options.checkpoints and absolute_address(job.options.checkpoints),
    }
    workers = execution.worker_arguments(model_shapes(job.study, job.settings))
    timeout = job.options.trial_timeout
    if not engine.remote:
        recipes = [{**shared, "datasets": dict(job.datasets), **arguments} for arguments in workers]
        return WorkerPool(open_lanes, recipes, timeout=timeout, worker=engine.worker, kind=kind)
    elsewhere = {
        **shared,
        "fingerprints": [
            (changes, job.datasets[job.settings.with_params(changes).data.key].fingerprint)
            for changes in data_changes(job.study)
        ],
        "data": None if job.options.data is None else str(Path(job.options.data).absolute()),
        "full_data": job.options.full_data,
    }
    # Each worker sees its own GPU only. A worker may hold the lanes of an absent one, in turn, so
    # all have the same width.
    recipes = [
        {**elsewhere, **arguments, "device": execution.device, "lanes": execution.most_lanes}
        for arguments in workers
    ]
    worker = MemoryPlan(job.study, job.settings, job.dataset).asked(engine, execution).worker
    return WorkerPool(
        open_remote_lanes, recipes, timeout=timeout, worker=worker, lanes=execution.lanes, kind=kind
    )


def _code(job: Job) -> list[Path]:
    """Return the packages that workers need: ours, and those of the user's own code, which the
    study file has imported.
    """
    own = {path.partition(":")[0].partition(".")[0] for path in own_paths_of(job.study)}
    modules = [sweeps, vaeexp, *(sys.modules[name] for name in sorted(own))]
    return [Path(next(iter(getattr(module, "__path__", [module.__file__])))) for module in modules]


def _folder(job: Job) -> Path:
    return job.runs.absolute() / "trials" / job.study.name
