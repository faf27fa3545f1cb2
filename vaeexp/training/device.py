"""Chooses the device that trains and its arithmetic, and looks after its memory."""

import ctypes
import sys
from contextlib import AbstractContextManager, nullcontext, suppress

import torch

from sweeps import UserError


def resolve_device(name: str) -> torch.device:
    """Return the device of this name; `auto` takes cuda, then mps, then the CPU.

    Raises:
        UserError: this machine does not have the device.
    """
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if present[device])
    if not present[name]:
        choices = " or ".join(device for device, is_present in present.items() if is_present)
        raise UserError("--device", f"got {name}, which this machine does not have. Try {choices}.")
    return torch.device(name)


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether the device has bf16 units. Elsewhere bf16 products are emulated, slower than
    float32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        probes = (
            getattr(torch.cpu, name, None)
            for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        )
        return any(probe() for probe in probes if probe is not None)
    return False


def resolve_precision(name: str, device: torch.device) -> str:
    """Return `float32` or `bf16`; `auto` takes bf16 where it is fast."""
    if name == "auto":
        return "bf16" if has_fast_bf16(device) else "float32"
    return name


def training_precision(device: torch.device, precision: str) -> AbstractContextManager:
    """Return a context that autocasts matrix products. Training uses it; densities and evaluation
    stay float32.
    """
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def wide_dtype(device: torch.device) -> torch.dtype:
    """Return the type of sums over many images: float64, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # from malloc.h
_LARGEST_BLOCK, _LARGEST_REST = 32 * 2**20, 256 * 2**20  # bytes


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks of up to 32 MiB, together up to 256 MiB, for the next step.

    By default glibc returns blocks above 128 KiB to the kernel, so that a step faults each page of
    its activations and gradients in again: 300 faults a step of the default model, 5 to 10 % of its
    time. Without `mallopt` nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_TRIM_THRESHOLD, _LARGEST_REST)


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory in MiB: of the device on CUDA, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # Not ru_maxrss on Linux, because there a child process inherits the peak of its parent.
    with suppress(OSError, StopIteration), open("/proc/self/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**10
    import resource  # Windows lacks this module, so sweeps refuse Windows

    # ru_maxrss counts bytes on macOS and KiB elsewhere.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out. On the CPU torch says so only in the message."""
    messages = ("can't allocate memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        text in str(error) for text in messages
    )


def free_memory(device: torch.device) -> None:
    """Hand cached blocks back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
