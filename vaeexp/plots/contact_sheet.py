"""A contact sheet: a few training images as the model sees them, kept with the study so that a
report outlives its data.
"""

import base64
import io
import math
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from vaeexp.plots.pictures import ground, opaque, picture_axes
from vaeexp.plots.style import MUTED, annotate, framed, shortened

ACROSS = 3
"""Images in a row."""
WIDTH = 4.2
"""Inches of the images of a row together."""
HIGHEST = 8.0
"""Inches of all rows together."""
KEPT = 96
"""Pixels of the longer side of an image that is kept with a study; larger images are made
smaller.
"""
_GAP, _BAND = 0.09, 0.24
"""Inches between two images, and for the name of a class below an image."""
_LETTERS = 20
"""Of the name of a class."""
_TITLE_LETTERS = 36
"""Of a line of the title."""


class ContactSheet(NamedTuple):
    """Images uint8 [N, H, W, C], the class of each (none where there are no classes), and the name
    of the data.
    """

    images: np.ndarray
    classes: tuple[str, ...]
    title: str


def pack(sheet: ContactSheet) -> dict[str, Any]:
    """Return a sheet as values for JSON: the images side by side in one PNG, large ones made
    smaller.
    """
    scale = min(1.0, KEPT / max(sheet.images.shape[1:3]))
    height, width = (max(1, round(scale * side)) for side in sheet.images.shape[1:3])
    images = [
        Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
        for image in sheet.images
    ]
    resized = [
        np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)) for image in images
    ]
    file = io.BytesIO()
    Image.fromarray(np.concatenate(resized, axis=1)).save(file, format="png", optimize=True)
    words = {"classes": list(sheet.classes), "title": sheet.title}
    return {"images": len(images), "png": base64.b64encode(file.getvalue()).decode(), **words}


def unpack(packed: Mapping[str, Any]) -> ContactSheet:
    """Return the sheet that `pack` packed."""
    with Image.open(io.BytesIO(base64.b64decode(packed["png"]))) as file:
        joined = np.asarray(file)
    joined = joined[..., None] if joined.ndim == 2 else joined
    images = np.stack(np.split(joined, packed["images"], axis=1))
    return ContactSheet(images, tuple(packed["classes"]), packed["title"])


def draw(sheet: ContactSheet) -> Figure:
    """Draw the images in rows under the title, each in a fine frame and above the name of its
    class.
    """
    count, height, width, _ = sheet.images.shape
    per_inch = (ACROSS * width) / (WIDTH - (ACROSS - 1) * _GAP)
    gap = max(1, round(_GAP * per_inch))
    band = max(gap, round(_BAND * per_inch)) if sheet.classes else gap
    rows = math.ceil(count / ACROSS)
    canvas = ground(rows * (height + band), ACROSS * (width + gap) - gap)
    corners = [
        (number // ACROSS * (height + band), number % ACROSS * (width + gap))
        for number in range(count)
    ]
    for image, (top, left) in zip(sheet.images, corners, strict=True):
        canvas[top : top + height, left : left + width] = opaque(image)
    across = min(WIDTH, HIGHEST * canvas.shape[1] / canvas.shape[0])
    figure, axes = picture_axes(canvas, margin=0.06, width=across)
    for number, (top, left) in enumerate(corners):
        place = (left - 0.5, top - 0.5)
        axes.add_patch(
            Rectangle(place, width, height, fill=False, edgecolor=MUTED, linewidth=0.5, alpha=0.6)
        )
        if sheet.classes:
            name = shortened(sheet.classes[number], _LETTERS)
            below = (left + width / 2, top + height)
            annotate(axes, name, below, (0, -2), ha="center", va="top", fontsize=9, colour=MUTED)
    return framed(figure, "\n".join(textwrap.wrap(sheet.title, _TITLE_LETTERS)))
