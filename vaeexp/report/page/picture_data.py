"""The pictures of a study's trials for the page: of each epoch that was kept, and along latent
dimensions.
"""

import io
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from vaeexp.report.page.room import MOST_BYTES, Room, size_of
from vaeexp.results.plan import PROTOCOL
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import load_arrays, read_arrays
from vaeexp.run_files import PICTURES, SHEET
from vaeexp.words import join_and, plural

MOST_PICTURED = 12_000_000
"""Bytes of all pictures in a page at most, because browsers keep them in memory."""
LAST_SHARE = 0.7
"""Of these bytes at most for the last epochs of trials; what is left is for earlier epochs and for
traversals.
"""
OF_EPOCH = re.compile(r"epoch-(\d+)-reconstructions\.png")
IMAGES = ("data", "fingerprint", "split", "binarisation")
"""Parts of a protocol that two runs must share for their pictures to be of the same images."""


def picture_data(view: StudyView, trials: pd.DataFrame, room: int = MOST_BYTES) -> dict[str, Any]:
    """Return pictures by row, the best trials first, in `room` bytes and in `MOST_PICTURED` at
    most; empty where the study kept none.

    Args:
        view: the study.
        trials: with the columns row, folder, epochs and baseline, in the order in which their
            pictures are wanted.
        room: bytes of all pictures.

    Returns:
        originals: the images that all reconstructions are of.
        rows: row → epochs (number → strip of reconstructions, then samples, the last epoch first)
            and, of tested runs, traversals (a strip of D · S pictures) with dimensions.
        notes: sentences on how a picture shows an array that is no image, and on what was left out.
        A strip has its pictures side by side: png (data URI), and how many there are of each kind.
    """
    other = _other_images(view)
    compared = trials[~trials["baseline"].isin(other) & trials["folder"].notna()]
    folders = {
        row: Path(folder)
        for row, folder in zip(compared["row"], compared["folder"], strict=True)
        if (Path(folder) / SHEET).exists() or (Path(folder) / PICTURES).exists()
    }
    if not folders:
        return {}
    kept = (load_arrays(folder / PICTURES).get("originals") for folder in folders.values())
    images = next((images for images in kept if images is not None), None)
    originals = None if images is None else _strip(images)
    room = min(room, MOST_PICTURED)
    first = Room(int(LAST_SHARE * room))
    first.take(size_of(originals))
    rows: dict[str, dict[str, Any]] = {}
    for row, epochs in zip(compared["row"], compared["epochs"].astype(int), strict=True):
        last = _last(folders[row], epochs) if row in folders and not first.full else {}
        if last and first.take(size_of({row: last})):
            rows[row] = {"epochs": last}
    rest = Room(first.left + room - int(LAST_SHARE * room))
    for row, own in rows.items():
        if rest.full:
            break
        _add_more(folders[row], own, images, rest)
    how = view.plan.recorded("contact_sheet").get("words", "")
    others = sorted(other & set(trials["baseline"].dropna()))
    notes = [f"Each picture shows {how}."] if how else []
    notes += _notes(len(rows), len(folders), others)
    return {"originals": originals if rows else None, "rows": rows, "notes": notes}


def _other_images(view: StudyView) -> set[str]:
    """Return the baselines whose pictures are of other images than those of the study."""
    own = view.plan.protocol()
    return {
        name
        for name in view.plan.baseline_specs
        if any(view.plan.protocol(name).get(part) != own.get(part) for part in IMAGES)
    }


def _notes(shown: int, kept: int, others: Sequence[str]) -> list[str]:
    """Say what was left out."""
    notes = []
    if shown < kept:
        notes.append(
            f"Pictures of {shown:,} of {plural(kept, 'run')} stand in this page, the best first. "
            "There was no room for the others, or they cannot be read."
        )
    if others:
        parts = f"{PROTOCOL['data']} or {PROTOCOL['binarisation']}"
        notes.append(
            f"Runs of {join_and(others)} are left out: their {parts} differ, so no picture of "
            "them compares."
        )
    return notes


def _last(folder: Path, epoch: int) -> dict[int, dict[str, Any]]:
    """Return the last epoch of a run and its pictures; empty where it left none."""
    sheet = load_arrays(folder / SHEET)
    if {"reconstructions", "samples", "epoch"} <= sheet.keys():
        return {int(sheet["epoch"]): _strip(sheet["reconstructions"], sheet["samples"])}
    drawn = load_arrays(folder / PICTURES)
    if {"last_reconstructions", "last_samples"} <= drawn.keys():
        return {epoch: _strip(drawn["last_reconstructions"], drawn["last_samples"])}
    return {}


def _add_more(folder: Path, own: dict[str, Any], images: np.ndarray | None, room: Room) -> None:
    """Add the earlier epochs and the traversals of a run, as far as there is room for them."""
    for epoch, strip in () if images is None else _earlier(folder, images.shape):
        if epoch not in own["epochs"] and room.take(size_of(strip)):
            own["epochs"][epoch] = strip
    traversals = _traversals(folder)
    if traversals is not None and room.take(size_of(traversals)):
        own["traversals"] = traversals


def _earlier(folder: Path, shape: tuple[int, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the epochs of which a run kept both pictures as files, of images of this shape."""
    found = [OF_EPOCH.fullmatch(path.name) for path in folder.glob("epoch-*.png")]
    for epoch in sorted((match[1] for match in found if match), key=int):
        both = _cut(folder / f"epoch-{epoch}-reconstructions.png", shape)
        samples = _cut(folder / f"epoch-{epoch}-samples.png", shape)
        if both is not None and samples is not None:
            # The originals stand in the upper row of the first picture.
            yield int(epoch), _strip(both[len(both) // 2 :], samples)


def _cut(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the pictures of a file that `vaeexp.evaluation.generation.grid` made, row by row; None
    where it cannot be read.
    """
    _, height, width, channels = shape
    try:
        with Image.open(path) as file:
            grid = np.asarray(file.convert("L" if channels == 1 else "RGB"))
    except OSError:
        return None
    grid = grid.reshape(*grid.shape[:2], -1)
    tops = range(0, grid.shape[0], height + 1)
    lefts = range(0, grid.shape[1], width + 1)
    corners = product(tops, lefts)
    return np.stack([grid[top : top + height, left : left + width] for top, left in corners])


def _traversals(folder: Path) -> dict[str, Any] | None:
    arrays = read_arrays(str(folder), "traversals")
    # They are in another file, which may be missing.
    if "traversal_dimensions" not in arrays:
        return None
    drawn = arrays["traversals"]
    strip = _strip(drawn.reshape(-1, *drawn.shape[2:]))
    return strip | {
        "steps": drawn.shape[1],
        "dimensions": arrays["traversal_dimensions"].tolist(),
        "reach": float(arrays["traversal_reach"]),
    }


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
