"""Where and how wide a study runs: from what was asked for, what was recorded, and what the machine has."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sweeps.errors import UserError
from vaeexp.console import warn_once
from vaeexp.data import Dataset
from vaeexp.hardware import usable_cores
from vaeexp.settings import ExecutionSettings, Settings

_COMPILING_PAYS = 20_000
"""Steps of a process from which on the auto group is compiled: half a minute is spent to save about a minute on a CPU (on
CUDA about as long, by the bytes that are saved; not measured)."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What was decided; recorded with the study, for rounding and the order of asking depend on it."""

    device: str
    precision: str
    group: str
    processes: int
    width: int
    threads: int | None
    checkpoint_seconds: float
    resident_mb: float | Literal["auto"]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def devices(self) -> list[str]:
        """One device for each process."""
        if self.device == "cuda" and self.processes > 1:
            import torch

            return [f"cuda:{i % torch.cuda.device_count()}" for i in range(self.processes)]
        return [self.device] * self.processes


def resolve_execution(
    asked: Mapping[str, Any],
    recorded: Mapping[str, Any],
    dataset: Dataset,
    settings: Settings,
    maxima: Mapping[str, int],
    trials: int,
) -> Execution:
    """Asked for on the command line → recorded when the study began → chosen for this machine.

    Raises:
        UserError: the device asked for is not there, or not one for the group asked for.
    """
    import torch

    from vaeexp.training.device import resolve_device, resolve_precision

    kept = {name: recorded[name] for name in ("precision", "group", "processes", "width") if name in recorded}
    wanted = ExecutionSettings(**{**kept, **asked})
    device = resolve_device(wanted.device)
    precision = resolve_precision(wanted.precision, device)
    cores = usable_cores()
    group = wanted.group
    if group == "auto":
        group = "stacked" if device.type != "cpu" else _group_on_cpu(settings, dataset, trials, processes=cores)
    if group == "compiled" and device.type == "mps":
        if asked.get("group") == "compiled":
            problem = "'compiled' is for cpu and cuda, and this study would run on mps. Leave it out."
            raise UserError("--group", problem)
        group = "stacked"  # what was recorded elsewhere
    width = wanted.width
    if width is None and device.type == "cpu":
        width = 2
    if width is None or width == "auto":
        # Fused lanes uncompiled: half a minute for each width would be too long.
        measured = "stacked" if (device.type, group) == ("cuda", "compiled") else group
        width = _measured_width(dataset, settings, maxima, device, precision, measured, trials, wanted.resident_mb)
    processes = wanted.processes
    if processes == "auto":
        devices = {"cpu": cores, "cuda": torch.cuda.device_count(), "mps": 1}[device.type]
        # A sampler learns from finished trials only: more lanes than a quarter of the trials is random search.
        processes = max(1, min(devices, -(-max(4, trials // 4) // width)))
    if wanted.group == "auto" and device.type == "cuda" and _is_long(settings, dataset, trials, processes * width):
        group = "compiled"
    return Execution(
        device=device.type,
        precision=precision,
        group=group,
        processes=processes,
        width=width,
        threads=max(1, cores // processes) if device.type == "cpu" else None,
        checkpoint_seconds=wanted.checkpoint_seconds,
        resident_mb=wanted.resident_mb,
    )


def _group_on_cpu(settings: Settings, dataset: Dataset, trials: int, *, processes: int) -> str:
    """What suits the length of the study."""
    from vaeexp.compiler import why_not_compiled

    if not _is_long(settings, dataset, trials, processes):
        return "loop"
    if reason := why_not_compiled():
        warn_once(f"Trials train uncompiled; compiled it can be twice as fast, but {reason}.")
        return "loop"
    return "compiled"


def _is_long(settings: Settings, dataset: Dataset, trials: int, at_once: int) -> bool:
    """Whether compiling pays. The study file alone says how long a study is, not what is left of it. `at_once`: trials that
    take a step in the time of one."""
    steps = trials * settings.train.epochs * (dataset.sizes[0] // settings.train.batch_size) / at_once
    return steps >= _COMPILING_PAYS


def _measured_width(
    dataset: Dataset,
    settings: Settings,
    maxima: Mapping[str, int],
    device,
    precision: str,
    group: str,
    trials: int,
    resident_mb: float | Literal["auto"],
) -> int:
    import torch

    from vaeexp.runs.worker import open_source
    from vaeexp.training.device import free_memory
    from vaeexp.training.groups.measure import best_width

    if device.type == "cpu":
        torch.set_num_threads(1)
    source = open_source(dataset, device, study_seed=0, resident_mb=resident_mb)
    width = best_width(source, settings, maxima, precision=precision, group=group, most=max(1, min(trials, 512)))
    del source
    free_memory(device)
    return width
