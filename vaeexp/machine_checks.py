"""Checks of this machine: versions, device, disk."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from sweeps import (
    Finding,
)
from vaeexp.cache import cache_folder
from vaeexp.machine import nearest_folder, processor_name, usable_cores
from vaeexp.runs.provenance import installed_versions
from vaeexp.training.device import has_fast_bf16, resolve_device
from vaeexp.words import format_gibibytes

DISK = 2**30
"""Bytes that must be free: a study of many trials writes some hundred MiB."""


def check_versions() -> Iterator[Finding]:
    """Name the versions that decide a result."""
    words = ", ".join(f"{name} {version}" for name, version in installed_versions().items())
    yield Finding(name="versions", ok=True, words=words)


def check_device() -> Iterator[Finding]:
    """Name the device that `--device auto` takes."""
    device = resolve_device("auto")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    fast = "bf16 is fast" if has_fast_bf16(device) else "bf16 is emulated"
    yield Finding(name="device", ok=True, words=f"{device}: {name}, {usable_cores()} cores; {fast}")


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
