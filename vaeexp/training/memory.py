"""The memory that training takes: how much, whether it ran out, and how freed memory is kept."""

import ctypes
import resource
import sys

import torch

__all__ = ["free_memory", "is_out_of_memory", "keep_freed_memory", "peak_memory_mb"]

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # from malloc.h
_LARGEST_BLOCK, _LARGEST_REST = 32 * 2**20, 256 * 2**20  # bytes


def keep_freed_memory() -> None:
    """Let glibc keep the blocks of up to 32 MiB that are freed, and up to 256 MiB of them, for the next step.

    By default it hands those above 128 KiB back to the kernel, and a step faults each page of its activations and
    gradients in again: 300 faults a step of the default model, 5 to 10 % of its time. Nothing is done where there is no
    `mallopt`.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        mallopt(_TRIM_THRESHOLD, _LARGEST_REST)


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of the device on cuda, else of this process, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        # Not ru_maxrss: on Linux a child process inherits the peak of its parent.
        with open("/proc/self/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**10
    except (OSError, StopIteration):
        # ru_maxrss counts bytes on macOS and KiB elsewhere.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; on the CPU torch says so in words only."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return "can't allocate memory" in text or "out of memory" in text


def free_memory(device: torch.device) -> None:
    """Hand cached blocks back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
