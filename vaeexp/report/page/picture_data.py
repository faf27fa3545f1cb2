"""The pictures of a study's trials for the page: of each epoch that was kept, and along latent
dimensions.
"""

import io
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from vaeexp.report.page.room import MOST_BYTES, Room, size_of
from vaeexp.results.plan import PROTOCOL
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import Arrays, load_arrays, read_arrays
from vaeexp.run_files import PICTURES, SHEET
from vaeexp.words import join_and, plural

MOST_PICTURED = 12_000_000
"""Bytes of all pictures in a page at most, because browsers keep them in memory."""
LAST_SHARE = 0.7
"""Of these bytes at most for the last epochs of trials; what is left is for earlier epochs and for
traversals.
"""
OF_EPOCH = re.compile(r"epoch-(\d+)-(reconstructions|samples)\.png")
IMAGES = ("data", "fingerprint", "split", "binarisation")
"""Parts of a protocol that two runs must share for their pictures to be of the same images."""


def picture_data(view: StudyView, trials: pd.DataFrame, room: int = MOST_BYTES) -> dict[str, Any]:
    """Return pictures by row, the best trials first, in `room` bytes and in `MOST_PICTURED` at
    most; empty where the study kept none.

    originals: the images that all reconstructions are of. rows: row → epochs (number → strip of
    reconstructions, then samples, the last epoch first) and, of tested runs, traversals (a strip of
    D · S pictures) with dimensions. notes: sentences on what was left out. A strip has its pictures
    side by side: png (data URI), and how many there are of each kind.
    """
    own = view.plan.protocol()
    other = {
        name
        for name in view.plan.baseline_specs
        if any(view.plan.protocol(name).get(part) != own.get(part) for part in IMAGES)
    }
    of_others = trials["baseline"].isin(other)
    album = Album(trials[~of_others], min(room, MOST_PICTURED))
    pictures = album.filled()
    if not album.kept:
        return {}
    notes, names = album.notes(), sorted(set(trials.loc[of_others, "baseline"]))
    if names:
        parts = f"{PROTOCOL['data']} or {PROTOCOL['binarisation']}"
        notes.append(
            f"Runs of {join_and(names)} are left out: their {parts} differ, so no picture of "
            "them compares."
        )
    return {**pictures, "notes": notes}


class Album:
    """Reads pictures from the folders of runs until there is no room for more."""

    def __init__(self, trials: pd.DataFrame, room: int) -> None:
        """`trials` have the columns row, folder and epochs, in the order in which they are wanted.
        The album takes `room` bytes at most.
        """
        trained = trials[trials["folder"].map(lambda folder: isinstance(folder, str)).astype(bool)]
        self.folders = {
            row: Path(folder) for row, folder in zip(trained["row"], trained["folder"], strict=True)
        }
        self.epochs = dict(zip(trained["row"], trained["epochs"].astype(int), strict=True))
        self.room = room
        self.damaged: set[Path] = set()
        found = (
            self._arrays(folder / PICTURES).get("originals") for folder in self.folders.values()
        )
        self.originals = next((images for images in found if images is not None), None)
        self.kept, self.shown, self.shortened = 0, 0, 0

    def filled(self) -> dict[str, Any]:
        """Return the originals and the pictures of each row for which there was room: the last
        epoch of all of them first, then what else they kept.
        """
        originals = None if self.originals is None else _strip(self.originals)
        room = Room(int(LAST_SHARE * self.room))
        room.take(size_of(originals))
        rows = self._last_epochs(room)
        rest = Room(room.left + self.room - int(LAST_SHARE * self.room))
        for row, own in rows.items():
            self._add_more(self.folders[row], own, rest)
        self.shown = len(rows)
        return {"originals": originals if rows else None, "rows": rows}

    def _last_epochs(self, room: Room) -> dict[str, dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for row, folder in self.folders.items():
            if not ((folder / SHEET).exists() or (folder / PICTURES).exists()):
                continue
            self.kept += 1
            last = {} if room.full else self._last(folder, self.epochs[row])
            if last and room.take(size_of({row: last})):
                rows[row] = {"epochs": last}
        return rows

    def _add_more(self, folder: Path, own: dict[str, Any], room: Room) -> None:
        """Add the earlier epochs and the traversals of a run, as far as there is room for them."""
        for epoch, strip in () if room.full else self._earlier(folder):
            if epoch not in own["epochs"] and not room.full and room.take(size_of(strip)):
                own["epochs"][epoch] = strip
        traversals = None if room.full else self._traversals(folder)
        if traversals is not None and room.take(size_of(traversals)):
            own["traversals"] = traversals
        self.shortened += room.full and (
            bool(_files_of_epochs(folder)) or (folder / PICTURES).exists()
        )

    def notes(self) -> list[str]:
        """Say what was left out."""
        few = self.shown < self.kept
        runs = plural(self.kept, "run")
        files = plural(len(self.damaged), "file")
        are = "is" if len(self.damaged) == 1 else "are"
        said = {
            f"Pictures of {self.shown:,} of {runs} stand in this page, of the best ones.": few,
            "There was no room for all earlier epochs and latent dimensions of "
            f"{plural(self.shortened, 'run')}.": self.shortened,
            f"{files} of pictures cannot be read and {are} left out.": self.damaged,
        }
        return [note for note, holds in said.items() if holds]

    def _last(self, folder: Path, epoch: int) -> dict[int, dict[str, Any]]:
        """Return the last epoch of a run and its pictures; empty where it left none."""
        sheet = self._arrays(folder / SHEET)
        if {"reconstructions", "samples", "epoch"} <= sheet.keys():
            return {int(sheet["epoch"]): _strip(sheet["reconstructions"], sheet["samples"])}
        drawn = self._arrays(folder / PICTURES)
        if {"last_reconstructions", "last_samples"} <= drawn.keys():
            return {epoch: _strip(drawn["last_reconstructions"], drawn["last_samples"])}
        return {}

    def _arrays(self, path: Path) -> Arrays:
        arrays = load_arrays(path)
        if path.exists() and not arrays:
            self.damaged.add(path)
        return arrays

    def _earlier(self, folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the epochs of which a run kept both pictures as files."""
        if self.originals is None:
            return
        for epoch, paths in _files_of_epochs(folder):
            grids = [self._cut(path) for path in paths]
            if len(grids) == 2 and grids[0] is not None and grids[1] is not None:
                # The originals stand in the upper row of the first picture.
                yield epoch, _strip(grids[0][len(grids[0]) // 2 :], grids[1])

    def _cut(self, path: Path) -> np.ndarray | None:
        """Return the pictures of a file that `vaeexp.evaluation.generation.grid` made, row by row;
        None where it is none.
        """
        assert self.originals is not None
        height, width = self.originals.shape[1:3]
        try:
            with Image.open(path) as file:
                grid = np.asarray(file.convert("L" if self.originals.shape[3] == 1 else "RGB"))
        except OSError:
            self.damaged.add(path)
            return None
        grid = grid.reshape(*grid.shape[:2], -1)
        tops, lefts = range(0, grid.shape[0], height + 1), range(0, grid.shape[1], width + 1)
        return np.stack(
            [grid[top : top + height, left : left + width] for top in tops for left in lefts]
        )

    def _traversals(self, folder: Path) -> dict[str, Any] | None:
        arrays = read_arrays(str(folder), "traversals")
        if "traversals" not in arrays or "traversal_dimensions" not in arrays:
            return None
        drawn = arrays["traversals"]
        strip = _strip(drawn.reshape(-1, *drawn.shape[2:]))
        reach = float(arrays["traversal_reach"]) if "traversal_reach" in arrays else None
        return strip | {
            "steps": drawn.shape[1],
            "dimensions": arrays["traversal_dimensions"].tolist(),
            "reach": reach,
        }


def _files_of_epochs(folder: Path) -> list[tuple[int, list[Path]]]:
    """Return the epochs that a run kept, each with the files of its reconstructions and of its
    samples.
    """
    found: dict[int, list[Path]] = {}
    for path in sorted(folder.glob("epoch-*.png")):
        if match := OF_EPOCH.fullmatch(path.name):
            found.setdefault(int(match[1]), []).append(path)
    return sorted(found.items())


def _strip(reconstructions: np.ndarray, samples: np.ndarray | None = None) -> dict[str, Any]:
    """Return pictures uint8 [N, H, W, C] side by side as one PNG in text."""
    images = reconstructions if samples is None else np.concatenate([reconstructions, samples])
    joined = np.concatenate(list(images), axis=1)
    file = io.BytesIO()
    Image.fromarray(joined[..., 0] if joined.shape[2] == 1 else joined).save(file, format="png")
    png = f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
    counts = {
        "reconstructions": len(reconstructions),
        "samples": 0 if samples is None else len(samples),
    }
    return {"png": png, "width": images.shape[2], "height": images.shape[1], **counts}
