"""Checks of this machine: versions, device, disk, cache."""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

import vaeexp
from sweeps import (
    Damaged,
    Finding,
    UserError,
    is_aside,
    problem_of,
    quarantine,
    required_packages,
)
from vaeexp.cache import FACTS, cache_folder, read_facts
from vaeexp.data.block_checks import damaged_blocks
from vaeexp.machine import nearest_folder, processor_name, usable_cores
from vaeexp.training.device import has_fast_bf16, resolve_device
from vaeexp.words import format_gibibytes, format_megabytes

DISK = 2**30
"""Bytes that must be free: a study of many trials writes some hundred MiB."""
CACHED = ("prepared", "classifiers", "compiled", "downloads")
"""Parts of the user's cache whose folders carry checksums."""


def check_versions() -> Iterator[Finding]:
    """Check that the packages that vaeexp needs are installed in versions that it accepts."""
    wrong = []
    shown = [f"vaeexp {vaeexp.__version__}", f"Python {platform.python_version()}"]
    asked = []
    for needed in required_packages("vaeexp"):
        if problem := problem_of(needed):
            wrong.append(problem)
            asked.append(f"'{needed.name}{needed.specifier}'")
        elif needed.name in ("torch", "optuna", "mlflow", "numpy"):
            shown.append(f"{needed.name} {importlib.metadata.version(needed.name)}")
    words = ", ".join(wrong or shown)
    remedy = f"`pip install {' '.join(asked)}` in this environment"
    yield Finding(name="versions", ok=not wrong, words=words, remedy=remedy)


def check_device() -> Iterator[Finding]:
    """Name the device that `--device auto` takes."""
    device = resolve_device("auto")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    fast = "bf16 is fast" if has_fast_bf16(device) else "bf16 is emulated"
    yield Finding(name="device", ok=True, words=f"{device}: {name}, {usable_cores()} cores; {fast}")


def check_cache() -> Iterator[Finding]:
    """Check the folders of the user's cache against their checksums: one finding for each damaged
    folder, one for all others.

    Damaged downloads stay in their place, because without a network a study would go on with the
    bundled images instead.
    """
    whole = size = 0
    for part in CACHED:
        for facts in sorted(cache_folder().glob(f"{part}/[!.]*/{FACTS}")):
            folder = facts.parent
            if is_aside(folder):
                continue
            try:
                _check_folder(folder)
            except (Damaged, OSError) as error:
                yield Finding(
                    name=f"cache: {part}/{folder.name}",
                    ok=False,
                    words=str(error),
                    remedy="its next use makes the folder again; test the disk",
                    repair=None if part == "downloads" else partial(_set_aside, folder),
                )
                continue
            whole += 1
            size += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    words = f"{whole:,} folders match their checksums ({format_megabytes(size)})"
    yield Finding(name="cache", ok=True, words=words)


def _check_folder(folder: Path) -> None:
    read_facts(folder)
    for table in folder.glob("*.crc32.npy"):
        images = table.with_name(table.name.replace(".crc32", ""))
        if len(blocks := damaged_blocks(images)):
            raise Damaged(
                str(images), f"is damaged in {len(blocks):,} blocks, first in block {blocks[0]:,}."
            )


def _set_aside(folder: Path) -> str:
    import filelock

    try:
        with filelock.FileLock(folder.with_name(f"{folder.name}.lock"), timeout=0):
            return f"moved the folder to {quarantine(folder)}"
    except filelock.Timeout as error:
        raise UserError(str(folder), "a process is building it again.") from error


def check_disk(runs: Path) -> Iterator[Finding]:
    """Check the free space of the runs folder and of the user's cache."""
    for name, folder in (("runs", runs), ("cache", cache_folder())):
        there = nearest_folder(folder)
        free = shutil.disk_usage(there).free
        writable = os.access(there, os.W_OK)
        words = f"{format_gibibytes(free)} free in {there}" + (
            "" if writable else ", which cannot be written"
        )
        way = "--runs" if name == "runs" else "the variable VAEEXP_CACHE"
        space = f"free {DISK / 2**30:.0f} GiB, or " if writable else ""
        remedy = f"{space}choose another folder with {way}"
        yield Finding(
            name=f"disk of {name}", ok=free >= DISK and writable, words=words, remedy=remedy
        )
