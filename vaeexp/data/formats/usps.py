"""USPS (Hull 1994): handwritten digits of 16 × 16 pixels, two bzip2-compressed text files in the
format of LIBSVM, https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps.

A line is `label 1:value … 256:value`, with labels from 1 to 10 for the digits 0 to 9 and values
from −1, black, to 1, white. Values become bytes as in torchvision: (value + 1) / 2 · 255 in
float32, without its fraction.
"""

from pathlib import Path

import numpy as np

from vaeexp.data.formats import Layout, refusing
from vaeexp.data.formats.torchvision_files import check_labels, complete_set, join_files

USPS_FILES = ("usps.bz2", "usps.t.bz2")
_SIDE = 16


def read_usps(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read images uint8 [N, 1, 16, 16] and labels uint8 [N] from 0 to 9. Raises UserError."""
    from sklearn.datasets import load_svmlight_file

    with refusing(path, "lines `label 1:value … 256:value` in a whole bzip2 file"):
        found, labels = load_svmlight_file(
            str(path), n_features=_SIDE**2, dtype=np.float32, zero_based=False
        )
        numbers = found.toarray()
        if found.nnz != numbers.size:
            raise ValueError(f"a line has other indices than 1 to {_SIDE**2}")
        if not (np.abs(numbers) <= 1).all():
            raise ValueError(f"values from {numbers.min():g} to {numbers.max():g}")
    images = ((numbers + 1) / 2 * 255).astype(np.uint8).reshape(-1, 1, _SIDE, _SIDE)
    labels = labels.astype(np.int64) - 1
    check_labels(path, labels, len(images), 10)
    return images, labels.astype(np.uint8)


USPS = Layout(
    expected=lambda _: " and ".join(USPS_FILES),
    find=lambda row, root: complete_set(row, root, ("", row.folder, row.name), USPS_FILES),
    read=lambda source, *_: join_files(source, map(read_usps, source.paths)),
)
