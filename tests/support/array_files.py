"""Files of arrays that are no images of bytes, one of each kind that pictures show in another
way.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

COUNT = 60
COLUMNS = ("age (years)", "a|b", "*c*", "d", "e")


def _table(path: Path, random: np.random.Generator) -> Path:
    rows = random.normal(size=(COUNT, 2)) @ random.normal(size=(2, len(COLUMNS)))
    rows += 0.3 * random.normal(size=rows.shape)
    rows = rows * [0.01, 1, 10, 1000, 5] + [40, 0, -7, 1e5, 3]
    with path.with_suffix(".csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows.tolist()])
    return path.with_suffix(".csv")


def _saved(make: Callable[[np.random.Generator], np.ndarray]) -> Callable:
    def save(path: Path, random: np.random.Generator) -> Path:
        np.save(path.with_suffix(".npy"), make(random))
        return path.with_suffix(".npy")

    return save


def _signals(random: np.random.Generator) -> np.ndarray:
    phases = random.random((COUNT, 1))
    return (100 + 12 * np.sin(2 * np.pi * (np.linspace(0, 2, 50) + phases))).astype(np.float32)


def _waves(random: np.random.Generator, *shape: int) -> np.ndarray:
    """[N, H, W, …] of waves in [−1, 1]."""
    places = sum(np.meshgrid(*(np.arange(side) / side for side in shape), indexing="ij"))
    return np.sin(5 * places + 6 * random.random((COUNT, *(1 for _ in shape))))


KINDS: dict[str, tuple[Callable[[Path, np.random.Generator], Path], dict[str, Any]]] = {
    "table": (_table, {"scale": "standard", "scale_per": "feature"}),
    "signal": (_saved(_signals), {"scale": "standard"}),
    "channels": (
        _saved(lambda random: (50 * _waves(random, 8, 9, 5)).astype(np.float32)),
        {"scale": "range"},
    ),
    "decibels": (
        _saved(lambda random: (30 * _waves(random, 8, 10) - 40).astype(np.float32)),
        {"scale": "standard"},
    ),
    "deep": (
        _saved(lambda random: ((_waves(random, 8, 8) + 1) * 32767).astype(np.uint16)),
        {"scale": "unit"},
    ),
}
"""Kind → what writes its file, and the settings of data that suit it."""
