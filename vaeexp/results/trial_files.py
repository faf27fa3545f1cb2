"""The files that trained trials left in their folders: pictures, and numbers about the latent space."""

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

PICTURES, EVALUATION = "pictures.npz", "evaluation.npz"
LOOKED_AT = 500
"""Trials of the search, the best ones, whose files may stand for those of the best model."""
COMPONENTS = 20
"""Components of a mixture that are shown, the heaviest ones."""

Arrays = Mapping[str, np.ndarray]


def read_pictures(folder: object) -> Arrays:
    """Return the arrays of a trial's `pictures.npz`, uint8 [..., H, W, C]; empty where it left none or the file is damaged."""
    return read_arrays(folder, PICTURES)


def read_evaluation(folder: object) -> Arrays:
    """Return the arrays of a run's `evaluation.npz`, about its latent space on test images; empty as `read_pictures`."""
    return read_arrays(folder, EVALUATION)


def read_arrays(folder: object, name: str, needed: str | None = None) -> Arrays:
    """Return the arrays of a file; empty, too, where the file lacks the array that is needed."""
    if not isinstance(folder, str | Path):
        return {}
    try:
        with np.load(Path(folder) / name, allow_pickle=False) as file:
            return {key: file[key] for key in file.files} if needed is None or needed in file.files else {}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}


def left_pictures(trials: pd.DataFrame) -> np.ndarray:
    """Tell which of these trials have a file of pictures, as booleans."""
    there = [isinstance(folder, str) and (Path(folder) / PICTURES).exists() for folder in trials["folder"]]
    return np.array(there, dtype=bool)


def first_with(groups: Iterable[pd.DataFrame], name: str, needed: str) -> tuple[pd.Series, Arrays] | None:
    """Return the first trial of these tables whose file holds the array `needed`, with all arrays of that file."""
    for group in groups:
        for place, folder in enumerate(group["folder"]):
            arrays = read_arrays(folder, name, needed)
            if needed in arrays:
                return group.iloc[place], arrays
    return None


def heaviest(weights: np.ndarray) -> np.ndarray:
    """Return the places of at most `COMPONENTS` components of these weights [K], the heaviest first."""
    return np.argsort(-weights, kind="stable")[:COMPONENTS]
