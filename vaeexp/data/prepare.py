"""Prepared arrays: a source read, checked, shuffled and binarised once, then opened as memory maps.

A folder holds `training_images.npy` uint8 [N, C, H, W] and `training_labels.npy` uint8 [N] in the order of the split
(`training_order.npy`, int64 [N]: place in the source's file), `test_images.npy`, `test_labels.npy` in the order of
the file, and `meta.json` with the sizes of these files and the SHA-256 of their content.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sweeps.errors import UserError
from vaeexp.data.cache import build_once, cache_folder
from vaeexp.data.draws import Purpose, binarise, permutation
from vaeexp.data.sources import Source

__all__ = ["ARRAYS", "Prepared", "prepare"]

ARRAYS = ("training_images", "training_labels", "training_order", "test_images", "test_labels")

_LAYOUT = 1  # raised whenever the same source would give other arrays


@dataclass(frozen=True)
class Prepared:
    """A folder of prepared arrays; `digest` is the SHA-256 (hex) of all of them, `training` and `test` count images."""

    folder: Path
    digest: str
    training: int
    test: int


def prepare(source: Source, *, static: bool, seed: int) -> Prepared:
    """The prepared arrays of `source`, made unless they are there; static binarisation and the split use `seed`.

    Raises UserError when a file of the source is damaged (nothing is kept then) or the cache cannot be written.
    """
    facts = [_LAYOUT, source.definition.name, source.identity(), static, seed]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    folder = cache_folder() / "prepared" / f"{source.definition.name}-{key}"
    if (prepared := _open(folder)) is None:
        build_once(
            folder,
            is_whole=lambda folder: _open(folder) is not None,
            build=lambda temporary: _write(temporary, _arrays(source, static=static, seed=seed)),
        )
        prepared = _open(folder)
    if prepared is None:
        raise UserError(str(folder), "the prepared arrays are damaged as soon as they are written; check the disk")
    return prepared


def _arrays(source: Source, *, static: bool, seed: int) -> dict[str, np.ndarray]:
    raw = source.read()
    training, test = raw.training_images, raw.test_images
    if static:
        training = binarise(training, seed, Purpose.TRAINING_PIXELS)
        test = binarise(test, seed, Purpose.TEST_PIXELS)
    order = permutation(len(training), seed, Purpose.SPLIT)
    return {
        "training_images": training[order],
        "training_labels": raw.training_labels[order],
        "training_order": order.astype("<i8"),
        "test_images": test,
        "test_labels": raw.test_labels,
    }


def _write(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    digest, sizes = hashlib.sha256(), {}
    for name in ARRAYS:
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
        np.save(folder / f"{name}.npy", array)
        sizes[name] = (folder / f"{name}.npy").stat().st_size
    meta = {
        "digest": digest.hexdigest(),
        "sizes": sizes,
        "training": len(arrays["training_images"]),
        "test": len(arrays["test_images"]),
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")


def _open(folder: Path) -> Prepared | None:
    """The prepared arrays, or None when there are none or their files do not have the sizes that were written."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        if any((folder / f"{name}.npy").stat().st_size != meta["sizes"][name] for name in ARRAYS):
            return None
        return Prepared(folder, meta["digest"], meta["training"], meta["test"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
