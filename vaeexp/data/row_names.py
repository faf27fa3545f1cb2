"""Names of rows for people: what a column says, the name of the file of a single row, or FILE[row];
and marks of rows in which a column changes that is constant in training.

They lie beside prepared arrays, and are no part of the digest. `training_rows.npy` and
`test_rows.npy`, int64 [N], hold the place in the source of each image. `names.txt` holds a name a
line; that is the name of the rows of the source up to its number in `name_rows.npy`. `marks.json`
holds, for training and test, the place of an image → the names of its columns that change.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vaeexp.data.formats import RawImages, printable


def write_names(folder: Path, raw: RawImages, rows: Mapping[str, np.ndarray]) -> None:
    """Write the names of images.

    rows: training and test → the rows of `raw`, in the order of the images.
    """
    names: Iterable[Any] = (name for name, _ in raw.files)
    ends = np.cumsum([count for _, count in raw.files])
    if raw.names is not None:
        names, ends = raw.names, np.arange(1, len(raw.names) + 1)
    elif raw.rows is not None:
        rows = {part: raw.rows[some] for part, some in rows.items()}
    for part, some in rows.items():
        np.save(folder / f"{part}_rows.npy", some)
    text = "\n".join(printable(str(name)) for name in names)
    (folder / "names.txt").write_text(text, encoding="utf-8")
    np.save(folder / "name_rows.npy", ends)


def write_marks(folder: Path, unseen: Mapping[int, str], rows: Mapping[str, np.ndarray]) -> None:
    """Write which images have columns that change, by name, of the rows `unseen`; `rows` as of
    `write_names`.
    """
    marks = {
        part: {place: unseen[row] for place, row in enumerate(some.tolist()) if row in unseen}
        for part, some in rows.items()
    }
    (folder / "marks.json").write_text(json.dumps(marks), encoding="utf-8")


def read_marks(folder: Path, part: str, places: np.ndarray) -> list[str]:
    """Return the marks of the images at these places of a part, int64 [M]; empty for none."""
    path = folder / "marks.json"
    marks = json.loads(path.read_text(encoding="utf-8"))[part] if path.exists() else {}
    return [marks.get(str(place), "") for place in places.tolist()]


@dataclass(frozen=True)
class RowNames:
    """Names of the rows `which` of a part, training or test; without names in the folder they are
    those of the `split`: `test[17]`.
    """

    folder: Path
    part: str
    which: slice
    split: str

    def of(self, places: np.ndarray) -> list[str]:
        """Return the names of the rows at these places of the split, int64 [M]."""
        path = self.folder / "names.txt"
        if not path.exists():
            return [f"{self.split}[{place}]" for place in places]
        text = path.read_text(encoding="utf-8").split("\n")
        last = np.append(0, np.load(self.folder / "name_rows.npy"))
        rows = np.load(self.folder / f"{self.part}_rows.npy")[self.which][places]
        files = np.searchsorted(last, rows, side="right") - 1
        alone = np.diff(last) == 1
        names = list[str]()
        for row, file in zip(rows, files, strict=True):
            names.append(text[file] if alone[file] else f"{text[file]}[{row - last[file]}]")
        return names
