"""Change files of a finished run as a faulty program would: with the checksums that belong to the changed content."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from vaeexp.training.checkpoint import SETTINGS, load_json, save_json, save_tensors


def change_settings(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change `settings.json` of a run in place."""
    settings = load_json(folder / SETTINGS)
    change(settings)
    save_json(folder / SETTINGS, settings)


def change_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change a file of weights in place."""
    tensors = load_file(path)
    change(tensors)
    save_tensors(path, tensors, {"epoch": "1"})


def flip_bit(path: Path, share: float = 0.5) -> None:
    """Flip one bit of a file at this share of its length, as a disk does."""
    content = bytearray(path.read_bytes())
    content[min(int(share * len(content)), len(content) - 1)] ^= 4
    path.write_bytes(content)
