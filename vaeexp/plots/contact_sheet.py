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
from PIL import Image

from vaeexp.plots.pictures import opaque
from vaeexp.plots.style import MUTED, framed, new_figure, shortened

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
_BAND = 0.24
"""Inches for the name of a class below an image."""
_LETTERS = 20
"""Of the name of a class."""
_TITLE_LETTERS = 36
"""Of a line of the title."""


class ContactSheet(NamedTuple):
    """Images uint8 [N, H, W, C], the class of each (none where there are no classes), the name of
    the data, and how a picture shows an array in words (empty for images).
    """

    images: np.ndarray
    classes: tuple[str, ...]
    title: str
    words: str = ""


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
    return {
        "images": len(images),
        "png": base64.b64encode(file.getvalue()).decode(),
        "classes": list(sheet.classes),
        "title": sheet.title,
        **({"words": sheet.words} if sheet.words else {}),
    }


def unpack(packed: Mapping[str, Any]) -> ContactSheet:
    """Return the sheet that `pack` packed."""
    with Image.open(io.BytesIO(base64.b64decode(packed["png"]))) as file:
        joined = np.asarray(file)
    joined = joined[..., None] if joined.ndim == 2 else joined
    images = np.stack(np.split(joined, packed["images"], axis=1))
    return ContactSheet(images, tuple(packed["classes"]), packed["title"], packed.get("words", ""))


def draw(sheet: ContactSheet) -> Figure:
    """Draw the images in rows under the title, each in a fine frame and above the name of its
    class.
    """
    count, height, width, _ = sheet.images.shape
    rows = math.ceil(count / ACROSS)
    tall = rows * (WIDTH / ACROSS * height / width + _BAND)
    scale = min(1.0, HIGHEST / tall)
    figure = new_figure(scale * tall, scale * WIDTH)
    panels = figure.subplots(rows, ACROSS, squeeze=False).ravel()
    for axes in panels[count:]:
        axes.set_axis_off()
    for axes, image in zip(panels, sheet.images, strict=False):
        axes.imshow(opaque(image))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=MUTED, linewidth=0.5, alpha=0.6)
    for axes, name in zip(panels, sheet.classes, strict=False):
        axes.set_xlabel(shortened(name, _LETTERS), fontsize=9, color=MUTED)
    return framed(figure, "\n".join(textwrap.wrap(sheet.title, _TITLE_LETTERS)))
