"""EMNIST (Cohen et al. 2017): six splits of handwritten letters and digits in one archive of IDX
files, https://www.nist.gov/itl/products-and-services/emnist-dataset.

The files hold each image transposed. The reader turns all images upright. The archive is read as it
is: unpacked, its six splits take 1.8 GB.
"""

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import Definition, Layout, RawImages, Source, refusing
from vaeexp.data.formats.torchvision_files import (
    below_raw,
    complete_set,
    fit_pair,
    join_files,
    read_idx,
    read_idx_stream,
)

ARCHIVE = "gzip.zip"
_FIRST = {"letters": 1}
"""Split → number of its first class; 0 elsewhere."""


def emnist_files(split: str) -> tuple[str, ...]:
    """Return the names of training images, training labels, test images and test labels."""
    names = list[str]()
    for part in ("train", "test"):
        stem = f"emnist-{split}-{part}"
        names += [f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"]
    return tuple(names)


def _split(definition: Definition) -> str:
    return str(dict(definition.downloads)["split"])


def _find(definition: Definition, root: Path) -> tuple[Path, ...]:
    for below in below_raw(definition):
        if (archive := root / below / ARCHIVE).is_file():
            return (archive,)
    names = emnist_files(_split(definition))
    return complete_set(definition, root, below_raw(definition), names, (".gz", ""))


def _read(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    definition = source.definition
    split = _split(definition)
    names = emnist_files(split)
    paths = source.paths * len(names) if len(source.paths) == 1 else source.paths
    pairs = []
    for place in (0, 2):
        images = _read_file(paths[place], names[place], 3)
        labels = _read_file(paths[place + 1], names[place + 1], 1) - _FIRST.get(split, 0)
        upright = images.transpose(0, 2, 1)
        pairs.append(fit_pair(definition, (paths[place], upright), (paths[place + 1], labels)))
    raw = join_files(source, pairs)
    size = " × ".join(map(str, raw.images.shape[2:]))
    notes = (
        f"Images: {size} pixels, channels: 1, turned upright (the files hold them transposed)",
        f"Classes: {len(definition.classes or ())}",
    )
    return raw._replace(notes=notes)


def _read_file(path: Path, name: str, dimensions: int) -> np.ndarray:
    """Read an IDX file, or the one of this name in the archive. Raises UserError."""
    if path.suffix != ".zip":
        return read_idx(path, dimensions)
    with refusing(path, f"a whole zip file with {name}.gz"), zipfile.ZipFile(path) as archive:
        members = [each for each in archive.namelist() if each.endswith(f"{name}.gz")]
        if not members:
            raise UserError(str(path), f"got an archive without {name}.gz; must have it")
        with archive.open(members[0]) as packed, gzip.open(packed) as stream:
            return read_idx_stream(path, cast(BinaryIO, stream), dimensions, "u1")


EMNIST = Layout(
    expected=lambda row: (
        f"{row.folder}/raw/ with {ARCHIVE}, or with {', '.join(emnist_files(_split(row)))} "
        "(each raw or .gz)"
    ),
    find=_find,
    read=_read,
)
