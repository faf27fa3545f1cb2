"""Decides where and how a study runs: from the options, the record of the study, and the
machine.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch

from sweeps import UserError, warn_once
from vaeexp.compiler import why_not_compiled
from vaeexp.data import Dataset
from vaeexp.launch.options import CHECKPOINT_SECONDS, SweepOptions
from vaeexp.machine import usable_cores
from vaeexp.models.vae import shape_of
from vaeexp.runs.worker import open_source
from vaeexp.settings import APART, ModelSettings, Settings
from vaeexp.training.device import free_memory, resolve_device, resolve_precision
from vaeexp.training.groups import fastest_lanes, seconds_per_image
from vaeexp.words import plural

if TYPE_CHECKING:
    from sweeps import Study

_LANES_OF_A_WORKER = 2
"""On a CPU, because one lane trains while the other waits for the driver."""
_CONFIGURATIONS = 256
_PREPARED = 4
"""The most shapes that a worker compiles before the first trial. Further shapes are compiled when a
trial needs them.
"""
_STEPS_THAT_PAY = {"bf16": 6_000, "AVX512": 15_000, "other": 4_000, "cuda": 20_000}
"""Steps of one worker from which on compiling pays. Compiling takes 15 to 20 s of a core for each
shape of model. With bf16 units, a step of the network `mlp` then takes 1.7 to 3 ms less; in float32
with AVX-512, where products take most of a step, 1.3 ms less; on other processors 4 to 10 ms less.
The number for CUDA is an estimate from the bytes that a compiled step saves."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """The execution of a study. The study records it, because rounding and the order of proposals
    depend on it.
    """

    device: str
    precision: str
    fuse: bool
    """Whether the lanes of a worker train as one program."""
    compile: bool
    """Whether the training step is compiled."""
    workers: int
    lanes: int
    """Trials at once, of all workers together."""
    rows: int
    """The most lanes of one fused program. A worker with more lanes trains them in turn, in
    programs of that size.
    """
    threads: int | None
    """CPU threads of a worker; None on an accelerator."""
    checkpoint_seconds: float
    resident_mb: float | Literal["auto"]

    @property
    def most_lanes(self) -> int:
        """The most lanes of one worker."""
        return -(-self.lanes // self.workers)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as they are recorded, `fuse` and `compile` as the options spell
        them.
        """
        return asdict(self) | {
            name: "on" if getattr(self, name) else "off" for name in ("fuse", "compile")
        }

    def describe(self) -> str:
        """Say in words where and how the lanes train: "cpu (2 workers, bf16, compiled steps)"."""
        steps = f"{'fused, ' if self.fuse else ''}{'compiled' if self.compile else 'eager'} steps"
        return f"{self.device} ({plural(self.workers, 'worker')}, {self.precision}, {steps})"

    def worker_arguments(self, shapes: Sequence[Settings] = ()) -> list[dict[str, Any]]:
        """Return the arguments of each worker: its device, an even share of the lanes, and its
        share of the `shapes`, which the workers compile side by side before the first trial."""
        prepared = (
            shapes
            if self.compile and not self.fuse and len(shapes) <= _PREPARED * self.workers
            else ()
        )
        devices = [self.device] * self.workers
        if self.device == "cuda" and self.workers > 1:
            devices = [f"cuda:{index % torch.cuda.device_count()}" for index in range(self.workers)]
        share, rest = divmod(self.lanes, self.workers)
        common = {name: value for name, value in vars(self).items() if name != "workers"}
        return [
            {
                **common,
                "device": device,
                "lanes": share + (index < rest),
                "prepare": list(prepared[index :: self.workers]),
            }
            for index, device in enumerate(devices)
        ]


def resolve_execution(
    options: Mapping[str, Any],
    recorded: Mapping[str, Any],
    dataset: Dataset,
    settings: Settings,
    maxima: Mapping[str, int],
    trials: int,
    shapes: int = 1,
    *,
    places: int | None = None,
) -> Execution:
    """Decide how a study runs: by the options, else by the record of its first run, else by this
    machine.

    Args:
        options: the given options of the execution, by name.
        recorded: the `Execution` of the study's first run, as a mapping; empty before it.
        dataset: the images.
        settings: the fixed settings of the study.
        maxima: largest latent size and component count of the study.
        trials: budget of the search.
        shapes: number of model shapes that trials can have; each is compiled by itself.
        places: workers for which the engine has room; None: all workers run on this machine.

    Raises:
        UserError: the system is Windows, the device is missing, or the options contradict each
            other.
    """
    if sys.platform == "win32":
        raise UserError(
            "platform", "got Windows; must be Linux or macOS. Try the Windows Subsystem for Linux."
        )
    wanted = _merge_options(options, recorded)
    device = resolve_device(wanted.device or "auto")
    precision = resolve_precision(wanted.precision or "auto", device)
    fuse = wanted.fuse == "on" or (wanted.fuse != "off" and device.type != "cpu")
    resident_mb = "auto" if wanted.resident_mb is None else wanted.resident_mb
    cores = usable_cores()
    compile = _asked_to_compile(
        wanted, device.type, fuse, refuse=bool({"fuse", "compile"} & set(options))
    )
    if compile is None and device.type == "cpu" and not fuse:
        compile = _pays_on_cpu(settings, dataset, trials, precision, workers=cores, shapes=shapes)
    lanes_of_a_worker = _LANES_OF_A_WORKER
    if wanted.lanes == "auto" or (wanted.lanes is None and device.type != "cpu"):
        lanes_of_a_worker = _measure_lanes(
            dataset,
            settings,
            maxima,
            device=device,
            precision=precision,
            fuse=fuse,
            compile=bool(compile) and not fuse,
            most=trials,
            resident_mb=resident_mb,
        )
    if places is None:
        places = {"cpu": cores, "cuda": torch.cuda.device_count(), "mps": 1}[device.type]
    workers, lanes = _share_lanes(wanted, device.type, places, trials, lanes_of_a_worker)
    if compile is None:
        steps = _count_steps(settings, dataset, trials, lanes)
        compile = device.type == "cuda" and fuse and steps >= _STEPS_THAT_PAY["cuda"]
    return Execution(
        device=device.type,
        precision=precision,
        fuse=fuse,
        compile=compile,
        workers=workers,
        lanes=lanes,
        rows=recorded.get("rows") or -(-lanes // workers),
        threads=(wanted.threads or 1) if device.type == "cpu" else None,
        checkpoint_seconds=wanted.checkpoint_seconds or CHECKPOINT_SECONDS,
        resident_mb=resident_mb,
    )


def _merge_options(options: Mapping[str, Any], recorded: Mapping[str, Any]) -> SweepOptions:
    """Return the given options, and the recorded ones for those that are not given."""
    earlier = {
        name: recorded[name]
        for name in ("precision", "workers", "lanes", "fuse", "compile", "threads")
        if recorded.get(name) is not None
    }
    if "lanes" in options:
        earlier.pop("workers", None)
    return SweepOptions("", **{**earlier, **options})


def _asked_to_compile(
    wanted: SweepOptions, device: str, fuse: bool, *, refuse: bool
) -> bool | None:
    """Tell whether the options ask for compiled steps; None where they leave the choice.

    Fused lanes are compiled on cuda only, others on a CPU only. A study that began on another
    device trains uncompiled, unless `refuse`.

    Raises:
        UserError: `refuse`, and there is no compiled step for this device and `fuse`.
    """
    if wanted.compile in (None, "auto"):
        return None
    if wanted.compile == "off":
        return False
    possible = device == ("cuda" if fuse else "cpu")
    if refuse and not possible:
        raise UserError(
            "--compile",
            f"got on; the study would run on {device} with --fuse {'on' if fuse else 'off'}. "
            "Steps are compiled on a CPU with --fuse off, and on cuda with --fuse on. Try "
            "--compile off.",
        )
    return possible


def shape_count(study: "Study", settings: Settings, trials: int) -> int:
    """Return the most shapes of models among so many trials; a range of a user's network may give
    each trial its own.
    """
    ranges = any(
        not parameter.values
        for parameter in study.space.parameters
        if parameter.name in settings.model.own()
    )
    return trials if ranges else len(model_shapes(study, settings))


def model_shapes(study: "Study", settings: Settings) -> list[Settings]:
    """Return settings for each shape of model that the search can reach by a choice of values."""
    names = {*ModelSettings.model_fields, *settings.model.own(), "batch_size", *APART}
    configurations: list[dict[str, Any]] = [{}]
    for parameter in study.space.parameters:
        if parameter.values and parameter.name in names and len(configurations) <= _CONFIGURATIONS:
            expanded = []
            for params in configurations:
                if parameter.name in study.space.active(params):
                    expanded += [{**params, parameter.name: value} for value in parameter.values]
                else:
                    expanded.append(params)
            configurations = expanded
    shapes: dict[Any, Settings] = {}
    for params in configurations:
        shape = settings.with_params(params)
        # Targets of another scale are modelled by other code.
        kind = shape.data.key, shape_of(shape.model), shape.train.batch_size
        shapes.setdefault(kind, shape)
    return list(shapes.values())


def _share_lanes(
    wanted: SweepOptions, device: str, places: int, trials: int, lanes_of_a_worker: int
) -> tuple[int, int]:
    """Return the number of workers, and that of the lanes of all workers together.

    Raises:
        UserError: there are more workers than lanes, or the cluster has no place for a worker.
    """
    lanes = wanted.lanes if isinstance(wanted.lanes, int) else None
    if isinstance(wanted.workers, int):
        if lanes is not None and lanes < wanted.workers:
            problem = f"got {lanes}; must be at least {wanted.workers}, one for each worker."
            raise UserError("--lanes", f"{problem} Try --workers auto.")
        return wanted.workers, lanes or wanted.workers * lanes_of_a_worker
    if places < 1:
        raise UserError(
            "--workers",
            "the cluster has no room for a worker yet. Say how many workers to wait for.",
        )
    if lanes is not None:
        return min(places, lanes), lanes
    # A sampler learns from finished trials only, so with more lanes than a quarter of the trials
    # the search is random.
    useful = max(4, trials // 4)
    workers = max(1, min(places, -(-useful // lanes_of_a_worker)))
    lanes = workers * lanes_of_a_worker
    # Cores without a worker would be idle, because a worker has one thread.
    return min(places, lanes) if device == "cpu" else workers, lanes


def _count_steps(settings: Settings, dataset: Dataset, trials: int, at_once: int) -> float:
    """Return the steps of one worker in the whole search if `at_once` trials take a step in the
    time of one.

    The number follows from the study alone and not from the trials that are left.
    """
    return (
        trials * settings.train.epochs * (dataset.sizes[0] // settings.train.batch_size) / at_once
    )


def _pays_on_cpu(
    settings: Settings, dataset: Dataset, trials: int, precision: str, *, workers: int, shapes: int
) -> bool:
    """Tell whether compiling saves more time than it takes. The facts never change from run to run:
    the study's steps and shapes, the workers, the precision and the vector units of the processor.
    """
    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    kind = "AVX512" if wide else "other"
    if precision == "bf16":
        kind = "bf16"
    compilations = -(-shapes // workers)
    steps = _count_steps(settings, dataset, trials, workers)
    if steps < _STEPS_THAT_PAY[kind] * compilations:
        return False
    if reason := why_not_compiled():
        warn_once(f"Trials train uncompiled; compiled it can be twice as fast, but {reason}.")
        return False
    return True


def _measure_lanes(
    dataset: Dataset,
    settings: Settings,
    maxima: Mapping[str, int],
    *,
    device: torch.device,
    most: int,
    resident_mb: float | Literal["auto"],
    **how: Any,
) -> int:
    """Try a few numbers of lanes, `most` at most; return the fastest.

    Fused lanes are measured uncompiled, because half a minute for each number of lanes would be too
    long. `how`: precision, fuse and compile of `seconds_per_image`.
    """
    if device.type == "cpu":
        torch.set_num_threads(1)
    source = open_source(dataset, device, study_seed=0, resident_mb=resident_mb)
    measure = partial(seconds_per_image, source, settings, maxima, **how)
    lanes = fastest_lanes(measure, max(1, min(most, 512)))
    del source, measure
    free_memory(device)
    return lanes
