"""Change files of a finished run as a faulty program would: with the checksums that belong to the
changed content.
"""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from sweeps.checksums import SLOT, seal
from sweeps.schema import MARKS
from vaeexp.run_files import SETTINGS, load_json, save_json
from vaeexp.training.checkpoint import save_tensors


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


def change_marks(path: Path, **marks: Any) -> None:
    """Give a sealed file (JSON, npz, safetensors) another schema number and version, or none, as
    another version would write it.
    """
    content, rest = path.read_bytes(), b""
    if path.suffix == ".npz":
        stored, comment = io.BytesIO(content), json.dumps({**marks, "sha256": SLOT})
        with zipfile.ZipFile(stored, "a") as file:
            file.comment = (comment if marks else comment.strip("{}")).encode()
        content = stored.getvalue()
    elif path.suffix == ".safetensors":
        end = 8 + int.from_bytes(content[:8], "little")
        header, rest = json.loads(content[8:end]), content[end:]
        facts = {
            name: text for name, text in header.pop("__metadata__").items() if name not in MARKS
        }
        facts |= {name: str(mark) for name, mark in marks.items()} | {"sha256": SLOT}
        text = json.dumps({"__metadata__": facts, **header}).encode()
        text += b" " * (-len(text) % 8)
        content = len(text).to_bytes(8, "little") + text
    else:
        stored_json = {
            name: value for name, value in json.loads(content).items() if name not in MARKS
        }
        content = json.dumps({**marks, "sha256": SLOT} | stored_json | {"sha256": SLOT}).encode()
    path.write_bytes(seal(content, rest) + rest)
