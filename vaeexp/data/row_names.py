"""Names of rows for people: what a column says, the name of the file of a single row, or FILE[row].

They lie beside prepared arrays, and are no part of the digest. `training_rows.npy` and
`test_rows.npy`, int64 [N], hold the place in the source of each image. `name_text.npy`, uint8,
holds names in UTF-8, one after the other: one ends at its number in `name_ends.npy`, and is that of
the rows of the source up to its number in `name_rows.npy`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vaeexp.data.formats import RawImages, printable


def write_names(folder: Path, raw: RawImages, rows: Mapping[str, np.ndarray]) -> None:
    """Write the names of images.

    rows: training and test → the rows of `raw`, in the order of the images.
    """
    names = [name for name, _ in raw.files] if raw.names is None else raw.names
    counts = [count for _, count in raw.files] if raw.names is None else np.ones(len(names), int)
    texts = [printable(str(name)).encode() for name in names]
    if raw.names is None and raw.rows is not None:
        rows = {part: raw.rows[some] for part, some in rows.items()}
    for part, some in rows.items():
        np.save(folder / f"{part}_rows.npy", some)
    np.save(folder / "name_text.npy", np.frombuffer(b"".join(texts), np.uint8))
    np.save(folder / "name_ends.npy", np.cumsum([len(text) for text in texts]))
    np.save(folder / "name_rows.npy", np.cumsum(counts))


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
        if not (self.folder / "name_text.npy").exists():
            return [f"{self.split}[{place}]" for place in places]
        text = self._load("name_text").tobytes()
        ends = np.concatenate([[0], self._load("name_ends")])
        last = np.concatenate([[0], self._load("name_rows")])
        rows = self._load(f"{self.part}_rows")[self.which][places]
        names = list[str]()
        for row, each in zip(rows, np.searchsorted(last, rows, side="right") - 1, strict=True):
            name = text[ends[each] : ends[each + 1]].decode()
            alone = last[each + 1] - last[each] == 1
            names.append(name if alone else f"{name}[{row - last[each]}]")
        return names

    def _load(self, name: str) -> np.ndarray:
        array: np.ndarray = np.load(self.folder / f"{name}.npy")
        return array
