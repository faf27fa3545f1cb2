"""Where and how a study runs: from the options, the record of the study, and the machine."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from sweeps.errors import UserError
from vaeexp.console import warn_once
from vaeexp.data import Dataset
from vaeexp.hardware import usable_cores
from vaeexp.settings import ExecutionSettings, ModelSettings, Settings

if TYPE_CHECKING:
    import torch

    from sweeps.study.study_file import Study

_LANES_OF_A_WORKER = 2
"""On a CPU: while one lane waits for the driver the other trains."""
_CONFIGURATIONS = 256
_PREPARED = 4
"""Shapes that a worker compiles before the first trial, at most; further shapes when a trial asks for them."""
_PAYS_WITH_BF16 = 6_000
"""Steps of one worker from which on compiling pays. Compiling takes 15 to 20 s of a core for each shape of model. With bf16
units, a step of the network `mlp` then takes 1.7 to 3 ms less."""
_PAYS_WITH_AVX512 = 15_000
"""The same in float32 with AVX-512, where products take most of a step: 1.3 ms less."""
_PAYS_ELSEWHERE = 4_000
"""The same on other processors, where a step takes 4 to 10 ms less."""
_PAYS_ON_CUDA = 20_000
"""Estimated from the bytes that a compiled step saves; not measured."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a study runs. It is recorded with the study, because rounding and the order of proposals depend on it."""

    device: str
    precision: str
    fuse: bool
    """Whether the lanes of a worker train as one program."""
    compile: bool
    """Whether the training step is compiled."""
    workers: int
    lanes: int
    """Trials at once, of all workers together."""
    threads: int | None
    """CPU threads of a worker; None on an accelerator."""
    checkpoint_seconds: float
    resident_mb: float | Literal["auto"]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as they are recorded, `fuse` and `compile` as the options spell them."""
        return asdict(self) | {name: "on" if getattr(self, name) else "off" for name in ("fuse", "compile")}

    def describe(self) -> str:
        """Say in words where and how the lanes train: "cpu (2 workers, bf16, compiled steps)"."""
        workers = f"{self.workers} worker{'' if self.workers == 1 else 's'}"
        steps = f"{'fused, ' if self.fuse else ''}{'compiled' if self.compile else 'eager'} steps"
        return f"{self.device} ({workers}, {self.precision}, {steps})"

    def worker_arguments(self, shapes: Sequence[Settings] = ()) -> list[dict[str, Any]]:
        """Return the arguments of each worker: its device, its lanes, spread as evenly as they can be, and its share of the
        `shapes` that all workers compile side by side before the first trial."""
        prepared = shapes if self.compile and not self.fuse and len(shapes) <= _PREPARED * self.workers else ()
        devices = [self.device] * self.workers
        if self.device == "cuda" and self.workers > 1:
            import torch

            devices = [f"cuda:{index % torch.cuda.device_count()}" for index in range(self.workers)]
        share, rest = divmod(self.lanes, self.workers)
        return [
            {
                "device": device,
                "lanes": share + (index < rest),
                "precision": self.precision,
                "fuse": self.fuse,
                "compile": self.compile,
                "threads": self.threads,
                "checkpoint_seconds": self.checkpoint_seconds,
                "resident_mb": self.resident_mb,
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
) -> Execution:
    """Decide how a study runs: as an option says, else as recorded when the study began, else as suits this machine.

    Args:
        options: fields of `ExecutionSettings` that were given.
        recorded: the `Execution` of the study's first run, as a mapping; empty at first.
        dataset: the images.
        settings: what the study fixes.
        maxima: largest latent size and component count of the study.
        trials: budget of the search.
        shapes: model shapes that trials can have; each is compiled by itself.

    Raises:
        UserError: the device is not there, or the options contradict each other.
    """
    from vaeexp.training.device import resolve_device, resolve_precision

    kept = {name: recorded[name] for name in ("precision", "workers", "lanes", "fuse", "compile") if name in recorded}
    if "lanes" in options:
        kept.pop("workers", None)
    wanted = ExecutionSettings(**{**kept, **options})
    device = resolve_device(wanted.device)
    precision = resolve_precision(wanted.precision, device)
    fuse = device.type != "cpu" if wanted.fuse == "auto" else wanted.fuse == "on"
    cores = usable_cores()
    compile = wanted.compile == "on"
    if compile and (problem := _why_no_compiled_step(device.type, fuse)):
        if options.keys() & {"fuse", "compile"}:
            raise UserError("--compile", f"got on; {problem}")
        compile = False  # the study began on another device
    if wanted.compile == "auto" and device.type == "cpu" and not fuse:
        compile = _pays_on_cpu(settings, dataset, trials, precision, workers=cores, shapes=shapes)
    lanes_of_a_worker = _LANES_OF_A_WORKER
    if wanted.lanes == "auto" or (wanted.lanes is None and device.type != "cpu"):
        # Fused lanes are measured uncompiled, because half a minute for each number of lanes would be too long.
        lanes_of_a_worker = _measured_lanes(
            dataset, settings, maxima, device, precision, fuse, compile and not fuse, trials, wanted.resident_mb
        )
    workers = _workers(wanted, device.type, cores, trials, lanes_of_a_worker)
    lanes = wanted.lanes if isinstance(wanted.lanes, int) else workers * lanes_of_a_worker
    if wanted.compile == "auto" and device.type == "cuda" and fuse:
        compile = _steps(settings, dataset, trials, lanes) >= _PAYS_ON_CUDA
    return Execution(
        device=device.type,
        precision=precision,
        fuse=fuse,
        compile=compile,
        workers=workers,
        lanes=lanes,
        threads=max(1, cores // workers) if device.type == "cpu" else None,
        checkpoint_seconds=wanted.checkpoint_seconds,
        resident_mb=wanted.resident_mb,
    )


def model_shapes(study: "Study", settings: Settings) -> list[Settings]:
    """Return settings of each shape of model that the search can ask for by a choice of values, of each shape once."""
    from vaeexp.models.vae import shape_of

    names = {*ModelSettings.model_fields, "batch_size"}
    configurations: list[dict[str, Any]] = [{}]
    for parameter in study.space.parameters:
        if parameter.values and parameter.name in names and len(configurations) <= _CONFIGURATIONS:
            configurations = [
                {**params, parameter.name: value}
                for params in configurations
                for value in (parameter.values if parameter.name in study.space.active(params) else ())
            ] + [params for params in configurations if parameter.name not in study.space.active(params)]
    shapes: dict[Any, Settings] = {}
    for params in configurations:
        shape = settings.with_params(params)
        shapes.setdefault((shape_of(shape.model), shape.train.batch_size), shape)
    return list(shapes.values())


def _why_no_compiled_step(device: str, fuse: bool) -> str:
    if device == "mps":
        return "compiled steps need cpu or cuda, and this study would run on mps. Try --compile off."
    if device == "cpu" and fuse:
        return "fused lanes are compiled on cuda only. Try --fuse off or --compile off."
    if device == "cuda" and not fuse:
        return "lanes that are not fused are compiled on a CPU only. Try --fuse on or --compile off."
    return ""


def _workers(wanted: ExecutionSettings, device: str, cores: int, trials: int, lanes_of_a_worker: int) -> int:
    """The number of processes that train."""
    if isinstance(wanted.workers, int):
        if isinstance(wanted.lanes, int) and wanted.lanes < wanted.workers:
            problem = f"got {wanted.lanes}; must be at least {wanted.workers}, one for each worker. Try --workers auto."
            raise UserError("--lanes", problem)
        return wanted.workers
    import torch

    places = {"cpu": cores, "cuda": torch.cuda.device_count(), "mps": 1}[device]
    if isinstance(wanted.lanes, int):
        return min(places, wanted.lanes)
    # A sampler learns from finished trials only: with more lanes than a quarter of the trials the search is random.
    return max(1, min(places, -(-max(4, trials // 4) // lanes_of_a_worker)))


def _steps(settings: Settings, dataset: Dataset, trials: int, at_once: int) -> float:
    """Steps of one worker in the whole search, by the study alone and not by what is left of it.

    `at_once` trials take a step in the time of one.
    """
    return trials * settings.train.epochs * (dataset.sizes[0] // settings.train.batch_size) / at_once


def _pays_on_cpu(
    settings: Settings, dataset: Dataset, trials: int, precision: str, *, workers: int, shapes: int
) -> bool:
    """Whether compiling saves more time than it takes, by facts that never change from run to run: the steps of the study,
    the workers, the shapes to compile, the arithmetic and the vector units of the processor."""
    import torch

    from vaeexp.compiler import why_not_compiled

    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    steps_that_pay = _PAYS_WITH_BF16 if precision == "bf16" else _PAYS_WITH_AVX512 if wide else _PAYS_ELSEWHERE
    if _steps(settings, dataset, trials, workers) < steps_that_pay * -(-shapes // workers):
        return False
    if reason := why_not_compiled():
        warn_once(f"Trials train uncompiled; compiled it can be twice as fast, but {reason}.")
        return False
    return True


def _measured_lanes(
    dataset: Dataset,
    settings: Settings,
    maxima: Mapping[str, int],
    device: "torch.device",
    precision: str,
    fuse: bool,
    compile: bool,
    trials: int,
    resident_mb: float | Literal["auto"],
) -> int:
    import torch

    from vaeexp.runs.worker import open_source
    from vaeexp.training.device import free_memory
    from vaeexp.training.groups.measure import fastest_lanes, seconds_per_image

    if device.type == "cpu":
        torch.set_num_threads(1)
    source = open_source(dataset, device, study_seed=0, resident_mb=resident_mb)
    measure = partial(seconds_per_image, source, settings, maxima, precision=precision, fuse=fuse, compile=compile)
    lanes = fastest_lanes(measure, max(1, min(trials, 512)))
    del source, measure
    free_memory(device)
    return lanes
