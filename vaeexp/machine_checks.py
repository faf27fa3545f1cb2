"""Checks of this machine: versions and device."""

from collections.abc import Iterator

import torch

from sweeps import (
    Finding,
)
from vaeexp.machine import processor_name, usable_cores
from vaeexp.runs.provenance import installed_versions
from vaeexp.training.device import has_fast_bf16, resolve_device


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
