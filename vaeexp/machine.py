"""This machine: its hardware, the user's cache, whose folders are written whole or not at all, and the shipped studies."""

import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sweeps.errors import UserError

T = TypeVar("T")

_PATIENCE = 900  # seconds to wait for another process that builds the same folder


def cache_folder() -> Path:
    """Return the folder named by `VAEEXP_CACHE`, else the user's cache folder for vaeexp. The folder may be missing."""
    if chosen := os.environ.get("VAEEXP_CACHE"):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("vaeexp", appauthor=False))


def build_once(target: Path, open_whole: Callable[[Path], T | None], build: Callable[[Path], None]) -> T:
    """Return `open_whole(target)`, the content of a folder; where it is empty, make or replace the folder by `build` first.

    `build` fills an empty temporary folder beside the target, which is then brought to the disk and renamed. So no
    reader sees half a folder, and nothing stays when `build` raises. Of several processes one builds and the others
    wait. Raises UserError when the cache cannot be written.
    """
    import filelock

    if content := open_whole(target):
        return content
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(target.parent / f"{target.name}.lock", timeout=_PATIENCE):
            if content := open_whole(target):
                return content
            _remove_leftovers(target)
            prefix = f".{target.name}-"
            with tempfile.TemporaryDirectory(prefix=prefix, dir=target.parent, ignore_cleanup_errors=True) as temporary:
                folder = Path(temporary)
                folder.chmod(0o755)  # because temporary folders are private, and a cache may be shared
                build(folder)
                _sync(folder)
                if target.exists():
                    target.rename(folder.parent / f"{folder.name}-damaged")
                folder.rename(target)
            _remove_leftovers(target)
    except filelock.Timeout as error:
        problem = f"a process has held the lock for {_PATIENCE // 60} minutes. If no process runs, delete the file."
        raise UserError(f"{target}.lock", problem) from error
    except OSError as error:
        problem = f"the cache cannot be written ({error.strerror or error}). Set VAEEXP_CACHE to another folder."
        raise UserError(str(target.parent), problem) from error
    if not (content := open_whole(target)):
        raise UserError(str(target), "got damaged files right after they were written. Check the disk.")
    return content


def _remove_leftovers(target: Path) -> None:
    # Called under the target's lock, so each folder with this prefix is damaged or belongs to a killed process.
    for leftover in target.parent.glob(f".{target.name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        if path.is_file() or hasattr(os, "O_DIRECTORY"):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def shipped_studies() -> Path:
    """Return the folder of the shipped studies: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside, beside = package / "studies", package.parent / "studies"
    return inside if inside.is_dir() else beside


def usable_cores() -> int:
    """Count the cores that this process may use: those of the machine, of its affinity, of its container's quota.

    A batch system or a user sets fewer with `LOKY_MAX_CPU_COUNT`.
    """
    import joblib

    return int(joblib.cpu_count())


def processor_name() -> str:
    """Return the model of the processor, in its maker's words."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown"


def describe_hardware() -> dict[str, Any]:
    """Return processor, cores, memory and accelerators of this machine, for a record."""
    import torch

    facts: dict[str, Any] = {
        "processor": processor_name(),
        "cores": usable_cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if torch.cuda.is_available():
        facts["accelerators"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return facts
