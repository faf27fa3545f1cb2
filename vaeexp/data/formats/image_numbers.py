"""Image files that are no plain pictures, as the numbers that they store: of 16 or 32 bits, floats,
and TIFF files of any number of channels.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import some_of
from vaeexp.data.formats.array_pixels import MOST_CHANNELS
from vaeexp.data.formats.image_pixels import (
    Facts,
    Header,
    UnreadableError,
    centre,
    is_deep_png,
    opened,
    read_header,
    reason_of,
    upright,
    white_is_0,
)
from vaeexp.data.formats.levels import stored_kind, turned
from vaeexp.data.formats.tiff import read_tiff
from vaeexp.words import plural

if TYPE_CHECKING:
    from vaeexp.settings import DataSettings

_LUMA = np.array([299, 587, 114]) / 1000  # ITU-R BT.601, as Pillow's


def common_type(headers: Sequence[Header]) -> np.dtype | None:
    """Return the type of the numbers of all files; None where one is a plain picture, or where they
    are not all floats, all bytes, or all whole numbers of more bits.
    """
    if not all(header.dtype for header in headers):
        return None
    types = [np.dtype(name) for name in {header.dtype for header in headers}]
    kinds = {("f" if each.kind == "f" else "i", each.itemsize > 1) for each in types}
    return np.result_type(*types).newbyteorder("=") if len(kinds) == 1 else None


def channels_of(root: Path, headers: Sequence[Header], settings: "DataSettings") -> int:
    """Return the channels of the array: as asked for, else as all files have. Raises UserError."""
    counts = Counter(header.channels for header in headers)
    if settings.image_channels and set(counts) <= {1, 3}:
        return settings.image_channels
    seen = some_of([f"{n} ({plural(files, 'image')})" for n, files in counts.most_common()], 5)
    if settings.image_channels:
        problem = f"got {settings.image_channels}, but the files have channels: {seen}"
        raise UserError("data.image_channels", f"{problem}. Try --set image_channels=null")
    if max(counts) > MOST_CHANNELS:
        problem = f"got files of {max(counts):,} channels (pages and samples)"
        remedy = "For a stack of images try --data FILE.tif --set dataset=arrays"
        raise UserError(str(root), f"{problem}; must be at most {MOST_CHANNELS}. {remedy}")
    if len(counts) > 1 and set(counts) != {1, 3}:
        problem = f"got files of different channels (pages and samples): {seen}"
        raise UserError(str(root), f"{problem}; must be the same. Put the others elsewhere")
    return max(counts)


def read_numbers(
    path: Path, shape: tuple[int, int, int], crop: str, dtype: np.dtype, black: int = 0
) -> tuple[np.ndarray, Facts]:
    """Read the numbers [C, H, W] of an image of any size.

    Where the size differs, each channel is cropped and resized as `read_pixels` does it, in
    float32; whole numbers are rounded. `black`: as in `read_tiff`. Raises UnreadableError.
    """
    channels, *size = shape
    numbers = _stored(path, black)
    if len(numbers) != channels:
        numbers = _with_channels(numbers, channels)
    if list(numbers.shape[1:]) != size:
        numbers = np.stack([_resized(each, size[0], size[1], crop) for each in numbers])
    if dtype.kind != "f" and numbers.dtype.kind == "f":
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        numbers = np.rint(numbers.astype(np.float64)).clip(low, high)
    return numbers.astype(dtype), Facts(stored_kind(dtype), 0, 0, False)


def _stored(path: Path, black: int) -> np.ndarray:
    """Return the numbers of a file as they are stored [C, H, W]. Raises UnreadableError."""
    header = read_header(path)
    try:
        with opened(path) as image:
            deep = image.mode[0] in "IF"
            if deep and header.channels == 1 and not header.animated:
                values = np.asarray(upright(image)).astype(np.dtype(header.dtype), copy=False)
                return (turned(values, black) if black and white_is_0(image) else values)[None]
            coloured = is_deep_png(image)
    except UnreadableError:
        coloured = False
    try:
        return _coloured_png(path) if coloured else read_tiff(path, black)
    except Exception as error:  # tifffile raises any error on a damaged file
        text = reason_of(error)
        remedy = ": pip install imagecodecs" if "imagecodecs" in text else ""
        raise UnreadableError(f"{text}{remedy}") from error


def _coloured_png(path: Path) -> np.ndarray:
    from torchvision.io import ImageReadMode, read_image

    return read_image(str(path), ImageReadMode.UNCHANGED).numpy()


def _with_channels(numbers: np.ndarray, channels: int) -> np.ndarray:
    """Return grey levels as three equal channels, or three channels as grey levels."""
    if channels == 3:
        return numbers.repeat(3, axis=0)
    return np.tensordot(_LUMA, numbers, 1)[None]


def _resized(values: np.ndarray, height: int, width: int, crop: str) -> np.ndarray:
    """Return a channel [H, W] of the wanted size, float32."""
    from PIL import Image

    picture = Image.fromarray(values.astype(np.float32))
    box = centre(picture.size, (width, height)) if crop == "center" else None
    return np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS, box=box))
