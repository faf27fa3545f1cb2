"""Data sets made of arrays in memory, prepared as those of files are."""

from pathlib import Path
from typing import Any

import numpy as np

from vaeexp.data.dataset import Dataset, dataset_of
from vaeexp.data.formats import TRAINING, Definition, Layout, RawImages, Source
from vaeexp.data.prepare import prepare
from vaeexp.settings import DataSettings


def made(
    images: np.ndarray, folder: Path, *, raw: dict[str, Any] | None = None, **settings: Any
) -> Dataset:
    """Return the data set of images [N, C, H, W] under these settings of the data."""
    count = len(images)
    fields = {
        "images": images,
        "labels": np.zeros(count, np.uint8),
        "parts": np.full(count, TRAINING, np.uint8),
    }
    read = RawImages(**fields | (raw or {}))
    layout = Layout(
        expected=lambda _: "arrays",
        find=lambda _, root: (root,),
        read=lambda source, scratch, say: read,
    )
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "made.npy"
    np.save(file, images)
    definition = Definition(name="made", title="made", layout=layout)
    chosen = DataSettings(dataset="arrays", **{"binarisation": "none"} | settings)
    source = Source(definition=definition, settings=chosen, root=file, paths=(file,), words="made")
    prepared = prepare(source, say=lambda text: None)
    return dataset_of(source, prepared)
