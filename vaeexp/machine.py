"""This machine: its hardware, and the folder of the shipped studies."""

import os
import platform
import warnings
from pathlib import Path
from typing import Any

# joblib warns of missing semaphores and unknown cores, which concern its own pools, and nothing
# here uses one.
warnings.filterwarnings("ignore", module="joblib")


def shipped_studies() -> Path:
    """Return the folder of the shipped studies: inside the installed package, or beside it in a
    checkout.
    """
    package = Path(__file__).resolve().parent
    inside = package / "studies"
    beside = package.parent / "studies"
    return inside if inside.is_dir() else beside


def nearest_folder(folder: Path) -> Path:
    """Return the folder where it exists, else the nearest one above it that does."""
    path = folder.absolute()
    return next(each for each in (path, *path.parents) if each.exists())


def usable_cores() -> int:
    """Count the cores that this process may use: those of the machine, of its affinity, of its
    container's quota.

    A batch system or a user sets fewer with `LOKY_MAX_CPU_COUNT`.
    """
    import joblib

    return int(joblib.cpu_count())


def processor_name() -> str:
    """Return the model of the processor, in its maker's words."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown"


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, memory and system of this machine, for a record."""
    return {
        "processor": processor_name(),
        "cores": usable_cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def describe_hardware() -> dict[str, Any]:
    """Return `describe_machine` with the accelerators, which PyTorch knows."""
    import torch

    facts = describe_machine()
    if torch.cuda.is_available():
        facts["accelerators"] = [
            torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())
        ]
    return facts
