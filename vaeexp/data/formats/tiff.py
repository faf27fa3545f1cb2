"""TIFF files that hold more than a picture, read by tifffile: stacks of images, and images of any
number of channels and any type.

tifffile names the axes of a file: Y and X are those of a page, S its samples, and C channels; T
(time), Z (depth), I (pages) and others count pages. Only the first series of a file is read,
because others are previews, or pages of another size.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import refusing
from vaeexp.data.formats.entries import Entry
from vaeexp.data.formats.levels import black_of, turned
from vaeexp.data.formats.scratch import allocate
from vaeexp.words import plural

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

    from vaeexp.settings import DataSettings

TIFF = (".tif", ".tiff")
PHOTOMETRIC = 262
"""Tag of TIFF that is 0 where 0 is white."""
TURNED = "TIFF files in which 0 is white are turned, so that 0 is black"
_WANTED = "a whole TIFF file; compression other than deflate needs pip install imagecodecs"


class TiffFacts(NamedTuple):
    """The first series of a file as one image: type, channels, height, width, and its pages.

    black: of a file in which 0 is white, the number that is black; else 0.
    """

    dtype: np.dtype
    channels: int
    height: int
    width: int
    pages: int
    black: int


@contextmanager
def _first_series(path: Path) -> Iterator[tuple["TiffFile", "TiffPageSeries"]]:
    """Open the first series of a file. Raises ValueError for a file without pages, and for one that
    ends before its last page.
    """
    from tifffile import TiffFile

    logger = logging.getLogger("tifffile")
    remarks = list[str]()

    def take(record: logging.LogRecord) -> bool:
        """Keep what tifffile only remarks on damaged files."""
        remarks.append(record.getMessage())
        return False

    logger.addFilter(take)
    try:
        file = TiffFile(path)
        pages = len(file.pages) and file.series  # remarks are made while pages are looked for
    finally:
        logger.removeFilter(take)
    with file:
        for text in remarks:
            if "invalid page offset" in text:
                raise ValueError(f"{text}, a page is missing")
        if not pages or not file.series or not {"Y", "X"} <= set(file.series[0].axes):
            raise ValueError("no series of pages")
        yield file, file.series[0]


def _white_is_0(series: "TiffPageSeries") -> bool:
    tag = series.keyframe.tags.get(PHOTOMETRIC)
    return tag is not None and tag.value == 0


def _black(file: "TiffFile", series: "TiffPageSeries") -> int:
    """Return the number that is black in a file in which 0 is white; else 0."""
    return black_of(file.asarray(series=0, out="memmap")) if _white_is_0(series) else 0


def tiff_facts(path: Path) -> TiffFacts:
    """Return what a file says of itself as one image. Raises any error for a damaged file."""
    with _first_series(path) as (file, series):
        *others, height, width = [series.shape[place] for place in _order(series.axes)]
        channels = prod(others)
        pages = channels // others[-1] if "S" in series.axes else channels
        return TiffFacts(series.dtype, channels, height, width, pages, _black(file, series))


def _order(axes: str, channels: Sequence[int] = ()) -> list[int]:
    """Return the places of the axes: those of pages, of which `channels` are last, S, Y and X."""
    return sorted(range(len(axes)), key=lambda at: ("SYX".find(axes[at]), at in channels))


def read_tiff(path: Path, black: int) -> np.ndarray:
    """Read a file as one image [C, H, W]: all its pages and samples are channels, in the order of
    the pages. Raises any error for a damaged file.

    black: as `turned` has it; 0 to leave files as they are.
    """
    with _first_series(path) as (file, series):
        array = file.asarray(series=0).transpose(_order(series.axes))
        if black and _white_is_0(series):
            array = turned(array, black)
        return array.reshape(-1, *array.shape[-2:])


def unpack(root: Path, name: str, settings: "DataSettings", folder: Path) -> dict[str, str]:
    """Return the path of each image of an image file below `root`, by its name.

    Where pages are images, each image of a TIFF file is written into a file of the new `folder`,
    and NAME[PAGE] is its name. Raises UserError as `stack_entry`.
    """
    from tifffile import imwrite

    if settings.pages != "images" or not name.lower().endswith(TIFF):
        return {name: name}
    folder.mkdir()
    images = stack_entry(root / name, settings)[0].read(folder / "stack")
    files = dict[str, str]()
    for page, image in enumerate(images):
        path = folder / f"{page}.tif"
        imwrite(path, image, photometric="rgb" if len(image) == 3 else "minisblack")
        files[f"{name}[{page}]"] = str(path)
    return files


def stack_entry(
    path: Path, settings: "DataSettings", black: int | None = None
) -> tuple[Entry, str, int]:
    """Return the images [N, C, H, W] of a stack, a note on its axes, and the number that is black
    where 0 is white; else 0.

    C and S are channels, and with `pages: channels` or `channels_first` the last axis of pages is,
    too; all other axes count images. In a file that has channels and no other axis, the channels
    are images. Raises UserError where two axes have no name.

    black: as `read_tiff` has it; None: by the numbers of the file.
    """
    last = settings.pages == "channels" if settings.pages else settings.channels_first
    with refusing(path, _WANTED), _first_series(path) as (file, series):
        axes, shape, dtype = series.axes, series.shape, series.dtype
        others = len(file.series) - 1
        least = _black(file, series) if black is None else black
    sizes = f"{axes} {list(shape)}"
    if axes.count("Q") > 1 and not last:
        problem = f"got pages of several axes without a name ({sizes}); must be one axis of images"
        remedy = "If the file is [N, C, H, W], try --set channels_first=true; else save a .npy"
        raise UserError(str(path), f"{problem}. {remedy}.")
    pages = [place for place, axis in enumerate(axes) if axis not in "YXS"]
    named = [place for place in pages if axes[place] == "C"]
    alone = not last and named == pages
    channels = pages[-1:] if last else named
    if alone:
        channels = []
    order = _order(axes, channels)
    ordered = [shape[place] for place in order]
    count = len(pages) - len(channels)
    whole = prod(ordered[:count]), prod(ordered[count:-2]), *ordered[-2:]
    note = f"Pages: {sizes} in the file, {plural(whole[0], 'image')}"
    if alone and pages:
        note = f"{note}, because channels without another axis are taken as images"
    if others:
        note = f"{note}; not read: {others:,} other series of pages"

    def read(target: Path) -> np.ndarray:
        with refusing(path, _WANTED), _first_series(path) as (file, series):
            array = allocate(target, shape, dtype.newbyteorder("="))
            file.asarray(series=0, out=array)
            if least and _white_is_0(series):
                most = max(least, black_of(array))
                for page in array:
                    page[:] = turned(page, most)
        return array.transpose(order).reshape(whole)

    entry = Entry(name="images", place=str(path), header=lambda: (dtype, whole), read=read)
    return entry, note, least
