"""Where training runs and in which arithmetic."""

from contextlib import AbstractContextManager, nullcontext

import torch

from sweeps.errors import UserError

__all__ = ["has_fast_bf16", "resolve_device", "resolve_precision", "training_precision", "wide_dtype"]


def resolve_device(name: str) -> torch.device:
    """`auto` takes cuda, then mps, then the CPU.

    Raises:
        UserError: the device asked for is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if there[device])
    if not there[name]:
        have = ", ".join(device for device, present in there.items() if present)
        raise UserError("--device", f"'{name}' is not available on this machine. Available: {have}.")
    return torch.device(name)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 products run on units of their own; elsewhere they are emulated and slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
        return any(probe() for probe in probes if probe is not None)
    return False


def resolve_precision(name: str, device: torch.device) -> str:
    """`auto` takes bf16 where it is fast, else float32."""
    if name == "auto":
        return "bf16" if has_fast_bf16(device) else "float32"
    return name


def training_precision(device: torch.device, precision: str) -> AbstractContextManager:
    """Autocast of matrix products during training; densities and evaluation stay float32."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def wide_dtype(device: torch.device) -> torch.dtype:
    """What sums over many images are kept in: float64, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64
