"""The pictures of a study's trials for the page."""

import io
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from vaeexp.report.page.room import MOST_BYTES, Room, size_of
from vaeexp.results.plan import PROTOCOL
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import load_arrays
from vaeexp.run_files import PICTURES, SHEET
from vaeexp.words import join_and, plural

PICTURED = 11_000_000
"""Bytes up to which pictures fill a page. Browsers keep pictures in memory."""
LEAST = 500_000
"""Bytes of pictures in a page that is larger without them, of the best trials."""
IMAGES = ("data", "fingerprint", "split", "binarisation")
"""Parts of a protocol that two runs must share for their pictures to be of the same images."""


def picture_data(view: StudyView, trials: pd.DataFrame, room: int = MOST_BYTES) -> dict[str, Any]:
    """Return pictures by row, the best trials first; empty where the study kept none. They take
    `room` bytes at most, and fill the page up to `PICTURED` bytes.

    Args:
        view: the study.
        trials: with the columns row, folder, epochs and baseline, in the order in which their
            pictures are wanted.
        room: bytes that a page of `MOST_BYTES` has left.

    Returns:
        originals: the images that all reconstructions are of.
        rows: row → a strip of reconstructions, then samples, with their epoch, the last.
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
    left = Room(min(room, max(room - MOST_BYTES + PICTURED, LEAST)))
    left.take(size_of(originals))
    rows: dict[str, dict[str, Any]] = {}
    for row, epochs in zip(compared["row"], compared["epochs"].astype(int), strict=True):
        last = _last(folders[row], epochs) if row in folders and not left.full else {}
        if last and left.take(size_of({row: last})):
            rows[row] = last
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


def _last(folder: Path, epoch: int) -> dict[str, Any]:
    """Return the pictures of a run's last epoch, and that epoch; empty where it left none."""
    sheet = load_arrays(folder / SHEET)
    if {"reconstructions", "samples", "epoch"} <= sheet.keys():
        epoch = int(sheet["epoch"])
        return _strip(sheet["reconstructions"], sheet["samples"]) | {"epoch": epoch}
    kept = load_arrays(folder / PICTURES)
    if {"last_reconstructions", "last_samples"} <= kept.keys():
        return _strip(kept["last_reconstructions"], kept["last_samples"]) | {"epoch": epoch}
    return {}


def _strip(reconstructions: np.ndarray, *samples: np.ndarray) -> dict[str, Any]:
    """Return reconstructions uint8 [N, H, W, C], and samples where there are any, side by side as
    one PNG in text.
    """
    images = np.concatenate([reconstructions, *samples])
    joined = np.concatenate(images, axis=1)
    file = io.BytesIO()
    Image.fromarray(joined[..., 0] if joined.shape[2] == 1 else joined).save(file, format="png")
    png = f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
    counts = {
        "reconstructions": len(reconstructions),
        "samples": len(images) - len(reconstructions),
    }
    return {"png": png, "width": images.shape[2], "height": images.shape[1], **counts}
