"""Runs on data of each kind, as files hold them: their numbers, data sets, and folders."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from made_data import made
from saved_runs import finished_run

from vaeexp.data import Dataset

COUNT = 60
FEATURES = ("age (years)", "a|b", "constant", "income")


def _random() -> np.random.Generator:
    return np.random.default_rng(0)


def _table(kind: str) -> np.ndarray:
    rows = _random().normal(size=(COUNT, 1, 1, 4)) * [10, 0.01, 0, 1e5] + [40, 0, 3, 1e9]
    return rows.astype(kind)


def _masks(random: np.random.Generator) -> np.ndarray:
    return random.integers(0, 4, (COUNT, 1, 5, 4), np.uint8)


KINDS: dict[str, tuple[np.ndarray, dict[str, Any], dict[str, Any]]] = {
    "bytes": (_random().integers(0, 256, (COUNT, 1, 6, 5), np.uint8), {}, {}),
    "static": (
        _random().integers(0, 256, (COUNT, 1, 6, 5), np.uint8),
        {},
        {"binarisation": "static"},
    ),
    "dynamic": (
        _random().integers(0, 256, (COUNT, 1, 6, 5), np.uint8),
        {},
        {"binarisation": "dynamic"},
    ),
    "masks": (_masks(_random()), {}, {}),
    "booleans": (_random().random((COUNT, 1, 5, 4)) > 0.4, {}, {}),
    "binarised floats": (
        _random().random((COUNT, 1, 5, 4)).astype(np.float32),
        {},
        {"binarisation": "dynamic"},
    ),
    "binarised sixteen bits": (
        _random().integers(0, 4000, (COUNT, 1, 5, 4)).astype(np.uint16),
        {},
        {"binarisation": "dynamic"},
    ),
    "sixteen bits": (
        _random().integers(0, 4096, (COUNT, 3, 4, 4)).astype(np.uint16),
        {},
        {"scale": "unit"},
    ),
    "decibels": (
        (30 * _random().normal(size=(COUNT, 2, 4, 4)) - 40).astype(np.float32),
        {},
        {"scale": "standard", "scale_per": "channel", "clip": (1.0, 99.0)},
    ),
    "whole": (
        _random().integers(-500, 500, (COUNT, 1, 1, 7)).astype(np.int16),
        {},
        {"scale": "range", "scale_per": "feature"},
    ),
    "still columns": (
        (_random().normal(size=(COUNT, 1, 1, 5)) * [3, 0, 0.1, 5, 0] + [1, 7, 0, -2, 9]),
        {},
        {"scale": "standard", "scale_per": "feature"},
    ),
    "bordered floats": (
        np.pad(_random().normal(5, 2, (COUNT, 1, 3, 3)), [(0, 0), (0, 0), (1, 1), (1, 1)]),
        {},
        {"scale": "standard"},
    ),
    "counts": (_random().poisson(3, (COUNT, 1, 1, 6)), {}, {"scale": "none"}),
    "table": (
        _table("float64"),
        {"features": FEATURES},
        {"scale": "standard", "scale_per": "feature"},
    ),
    "table of whole numbers": (
        _table("int64"),
        {"features": FEATURES},
        {"scale": "standard", "scale_per": "feature"},
    ),
}


WHITES = {"masks": 3, "booleans": 1, "binarised floats": 1, "binarised sixteen bits": 4095}
"""The number that is white in files whose images become bytes, where it is not 255."""


class Case:
    """A data set, and a run on it in a folder of runs, `small/0`."""

    def __init__(self, kind: str, root: Path, **params: Any) -> None:
        numbers, raw, settings = KINDS[kind]
        self.white = WHITES.get(kind, 255)
        self.numbers = numbers
        self.dataset: Dataset = made(numbers, root / "data", raw=raw, **settings)
        self.runs = root / "mlruns"
        self.folder = self.runs / "trials" / "small" / "trial-0000"
        likelihood = "gaussian" if self.dataset.binarisation == "none" else "bernoulli"
        chosen = {"binarisation": self.dataset.binarisation, "hidden": (6,), "latent_size": 3}
        params = {"likelihood": likelihood, **chosen, **settings, **params}
        self.vae = finished_run(
            self.folder, self.dataset.image_shape, dataset=self.dataset, **params
        )

    def wanted(self, numbers: np.ndarray) -> np.ndarray:
        """What the model makes of numbers [N, C, H, W], by the scaling of the data set;
        columns that never change keep their value.
        """
        kept = self.dataset.kept
        taken = numbers if kept is None else numbers[..., list(kept)]
        with torch.no_grad():
            made = self.numbers_of(self.vae.reconstruct(self.targets(taken)).numpy())
        every = np.repeat(numbers[:1].astype(np.float64), len(numbers), axis=0)
        every[..., slice(None) if kept is None else list(kept)] = made
        return every

    def targets(self, numbers: np.ndarray) -> torch.Tensor:
        """Targets of numbers [N, C, H, W]; of bytes grey levels, 16 bits by their upper 8."""
        if not self.dataset.scaling.bytes:
            return torch.from_numpy(self.dataset.scaling.targets(numbers))
        shares = np.asarray(numbers, np.float64) / self.white
        levels = numbers // 16 if self.white == 4095 else np.rint(shares * 255)
        return torch.from_numpy((levels / 255).astype(np.float32))

    def numbers_of(self, targets: np.ndarray) -> np.ndarray:
        """Numbers of the files that have these targets."""
        scaling = self.dataset.scaling
        return (
            targets.astype(np.float64) * self.white if scaling.bytes else scaling.numbers(targets)
        )
