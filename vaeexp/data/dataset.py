"""A data set opened for training: three splits as memory maps, and what a record has to say about them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps.errors import UserError, did_you_mean
from vaeexp.data.definitions import DATASETS, SUBSET_VALIDATION
from vaeexp.data.prepare import Prepared, prepare
from vaeexp.data.sources import Source, find_source

if TYPE_CHECKING:
    from vaeexp.settings import DataSettings

__all__ = ["Dataset", "Split", "open_dataset"]


@dataclass(frozen=True)
class Split:
    """Images uint8 [N, C, H, W] and labels uint8 [N], both read-only memory maps."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """Images split for training, validation and test.

    Pixels are 0 or 1 under static binarisation and 0 to 255 otherwise (dynamic binarisation is drawn in training).
    A pickle holds the fields below and no array; the process that opens it maps the arrays again when they are used.

    fingerprint: SHA-256 (hex) of the arrays, the validation size and the binarisation. Two runs with the same
        fingerprint are validated and tested on the same pixels, whatever their `train_size`.
    source: where the files came from, for people, without a path of this machine.
    folder: the prepared arrays (vaeexp/data/prepare.py).
    sizes: images in train, validation and test.
    """

    name: str
    title: str
    subset: bool
    binarisation: str
    image_shape: tuple[int, int, int]
    fingerprint: str
    source: str
    folder: Path
    sizes: tuple[int, int, int]

    @cached_property
    def train(self) -> Split:
        """The first images of the split order: all that are not held out, or the first `train_size` of them."""
        return self._split("training", slice(0, self.sizes[0]))

    @cached_property
    def validation(self) -> Split:
        """The last images of the split order."""
        return self._split("training", slice(-self.sizes[1], None))

    @cached_property
    def test(self) -> Split:
        """The images of the test files."""
        return self._split("test", slice(None))

    def describe(self) -> dict[str, Any]:
        """What a record keeps of the data: JSON-able, without arrays and paths."""
        train, validation, test = self.sizes
        return {
            "name": self.name,
            "title": self.title,
            "subset": self.subset,
            "train": train,
            "validation": validation,
            "test": test,
            "image_shape": list(self.image_shape),
            "binarisation": self.binarisation,
            "fingerprint": self.fingerprint,
            "source": self.source,
        }

    def _split(self, part: str, which: slice) -> Split:
        try:
            images = np.load(self.folder / f"{part}_images.npy", mmap_mode="r")
            labels = np.load(self.folder / f"{part}_labels.npy", mmap_mode="r")
        except (OSError, ValueError) as error:
            raise UserError(str(self.folder), f"prepared arrays cannot be opened ({error}); start again") from error
        return Split(images[which], labels[which])

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def open_dataset(
    settings: "DataSettings", *, root: Path | None = None, full_data: bool = False, say: Callable[[str], None] = print
) -> Dataset:
    """Find, prepare (the first time) and open the data set that `settings` name.

    root: folder with the official files (`--data`, `VAEEXP_DATA`); without one the user's cache, a download and, for
        MNIST, the bundled digits are tried, unless `full_data` forbids those. `say` announces a download and the subset.

    Raises UserError when there are no files, when one is damaged, when the split leaves nothing to train on, or
    when the cache cannot be written.
    """
    if settings.dataset not in DATASETS:
        raise UserError(
            "data.dataset", f"'{settings.dataset}' is not known. {did_you_mean(settings.dataset, DATASETS)}"
        )
    source = find_source(DATASETS[settings.dataset], root=root, full_data=full_data, say=say)
    prepared = prepare(source, static=settings.binarisation == "static", seed=settings.split_seed)
    sizes = _sizes(settings, source, prepared)
    facts = f"{prepared.digest} validation={sizes[1]} binarisation={settings.binarisation}"
    return Dataset(
        name=source.definition.name,
        title=_title(source, prepared),
        subset=source.subset,
        binarisation=settings.binarisation,
        image_shape=source.definition.image_shape,
        fingerprint=hashlib.sha256(facts.encode()).hexdigest(),
        source=source.words,
        folder=prepared.folder,
        sizes=sizes,
    )


def _sizes(settings: "DataSettings", source: Source, prepared: Prepared) -> tuple[int, int, int]:
    """Images in train, validation and test; the subset keeps its own validation size and takes any train_size."""
    validation = SUBSET_VALIDATION if source.subset else settings.validation_size
    if validation >= prepared.training:
        problem = f"{validation:,} leaves no image to train on; the training files hold {prepared.training:,}"
        raise UserError("data.validation_size", problem)
    most = prepared.training - validation
    train = settings.train_size or most
    if train > most and not source.subset:
        raise UserError("data.train_size", f"{train:,} is more than the {most:,} images that are not held out")
    return min(train, most), validation, prepared.test


def _title(source: Source, prepared: Prepared) -> str:
    definition, count = source.definition, prepared.training + prepared.test
    if source.subset:
        return f"{definition.title}, {count:,}-image subset"
    if (prepared.training, prepared.test) != definition.counts:
        return f"{definition.title}, {count:,} images (not the official files)"
    return definition.title
