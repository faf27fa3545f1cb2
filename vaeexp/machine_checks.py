"""Checks of this machine: versions, device, arithmetic, disk, memory, open files, cache."""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import vaeexp
from sweeps import (
    Damaged,
    Finding,
    UserError,
    free_memory,
    is_aside,
    problem_of,
    quarantine,
    required_packages,
)
from vaeexp.cache import FACTS, cache_folder, read_facts
from vaeexp.data.block_checks import damaged_blocks
from vaeexp.machine import nearest_folder, processor_name, usable_cores
from vaeexp.models.vae import build_vae
from vaeexp.settings import ModelSettings
from vaeexp.training.device import has_fast_bf16, resolve_device
from vaeexp.training.losses import LOSSES
from vaeexp.training.optimizers import Rule, update_one
from vaeexp.training.steps import TrainingLoss
from vaeexp.words import format_gibibytes, format_megabytes

TOLERANCE = 1e-4
"""The largest relative difference between a training step in float32 and in float64. Sums of 784
pixels round to about 1e-6.
"""
DISK = 2**30
"""Bytes that must be free: a study of many trials writes some hundred MiB."""
MEMORY = 3 * 2**29
"""Bytes that must be free: PyTorch and one small study take about 1 GiB."""
OPEN_FILES = 256
"""Files that the process must be allowed to open: a sweep holds pipes and libraries open."""
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
    """Name the device that `--device auto` takes, and compare a training step there with the same
    step in float64.
    """
    device = resolve_device("auto")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    fast = "bf16 is fast" if has_fast_bf16(device) else "bf16 is emulated"
    yield Finding(name="device", ok=True, words=f"{device}: {name}, {usable_cores()} cores; {fast}")
    difference = step_difference(device)
    words = (
        f"a training step in float32 differs from float64 by {difference:.1e}, relative; at most "
        f"{TOLERANCE:.0e}"
    )
    remedy = (
        "the numbers of this machine are wrong: try `--device cpu`, another PyTorch, and a test "
        "of the memory"
    )
    yield Finding(name="arithmetic", ok=difference <= TOLERANCE, words=words, remedy=remedy)


def step_difference(device: torch.device) -> float:
    """Return how far a training step in float32 on the device is from the same step in float64 on
    the CPU.

    The step is one of Adam, of a small VAE on random images. Loss, gradients and second moments are
    compared, each by the norm of the difference over the norm; the largest counts, NaN as infinity.
    Weights are not compared, because rounding decides the direction of Adam where a gradient is
    almost 0.
    """
    narrow = _step(device, torch.float32)
    wide = _step(torch.device("cpu"), torch.float64)
    sizes = [
        float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b))
        for a, b in zip(narrow, wide, strict=True)
    ]
    return max(size if size == size else float("inf") for size in sizes)


def _step(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Take one step; return loss [1], gradients [P] and Adam's second moments [P] as float64 on the
    CPU.
    """
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(64, 1, 28, 28, generator=draw).round().to(device, dtype)
    noise = torch.randn(64, 8, generator=draw).to(device, dtype)
    vae = build_vae(ModelSettings(hidden=(64,), latent_size=8), (1, 28, 28), 0).to(device, dtype)
    weights = list(vae.parameters())
    beta = torch.ones((), device=device, dtype=dtype)
    free_nats = torch.zeros((), device=device, dtype=dtype)
    loss = TrainingLoss(vae, LOSSES["elbo"])(x, noise, beta, free_nats, free_nats).loss
    gradients = [gradient.contiguous() for gradient in torch.autograd.grad(loss, weights)]
    kept = torch.cat([gradient.flatten() for gradient in gradients]).double().cpu()
    first, second = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
    with torch.no_grad():
        update_one(weights, gradients, first, second, step=1, learning_rate=1e-3, rule=Rule())
    moments = torch.cat([moment.flatten() for moment in second]).double().cpu()
    return loss.detach().double().cpu().reshape(1), kept, moments


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


def check_limits() -> Iterator[Finding]:
    """Check what the machine, the container and the user's limits allow: memory and open files."""
    import resource

    free = free_memory()
    if free is not None:
        words = f"{format_gibibytes(free.bytes)} free in {free.bound}"
        remedy = f"a sweep needs about {format_gibibytes(MEMORY)}; end programs, or raise the limit"
        yield Finding(name="memory", ok=free.bytes >= MEMORY, words=words, remedy=remedy)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = files == resource.RLIM_INFINITY or files >= OPEN_FILES
    words = "no limit" if files == resource.RLIM_INFINITY else f"{files:,} allowed"
    remedy = f"raise the limit to {OPEN_FILES} or more (`ulimit -n`)"
    yield Finding(name="open files", ok=enough, words=words, remedy=remedy)
