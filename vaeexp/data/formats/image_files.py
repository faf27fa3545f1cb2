"""Image files made into one array, once: headers read, one size settled, pixels decoded, all in parallel processes.

The processes write into one file on disk and pass no pixels to each other, so the images may be larger than memory.
"""

import os
import signal
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sweeps.errors import UserError
from sweeps.source import check_sources, same_code, sources
from sweeps.workload.worker_process import without_main_module
from vaeexp.console import open_console, progress_bar
from vaeexp.data.formats import RawImages, Unreadable, check_grey, height_width, printable
from vaeexp.machine import usable_cores

if TYPE_CHECKING:
    from PIL.Image import Image

    from vaeexp.settings import DataSettings

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

# Pillow goes by the content and not by the name, and hands PostScript to a program that runs it.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_GREY_MODES = ("1", "L", "LA", "La")
_TRANSPARENT_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_ORIENTATION = 0x0112  # EXIF: 5 to 8 lie on their side
_PACKAGES = ("sweeps", "vaeexp")
_FILES_PER_TASK = 64
_FILES_PER_PROCESS = 1_000  # fewer are decoded here before another process has started


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Image files of a data set: names below `root` with `/`; parts, labels, classes and notes as in `RawImages`."""

    title: str
    root: Path
    names: Sequence[str]
    parts: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] | None
    notes: tuple[str, ...] = ()


class Header(NamedTuple):
    """Size in pixels as shown (after the EXIF rotation), whether the image has no colour, and the content that is dropped."""

    height: int
    width: int
    grey: bool
    dropped: tuple[str, ...]


class UnreadableError(Exception):
    """A file holds no image that can be decoded; the message says why."""


@contextmanager
def _opened(path: Path) -> Iterator["Image"]:
    """Open the image of a regular file; a named pipe would keep the reader waiting for ever. Raises UnreadableError."""
    from PIL import Image

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableError("no regular file")
        with Image.open(path, formats=_FORMATS) as image:
            yield image
    except UnreadableError:
        raise
    except MemoryError as error:
        raise UserError(str(path), "its pixels do not fit into the memory of this machine") from error
    except Exception as error:  # Pillow raises any error on a damaged file
        text = (getattr(error, "strerror", None) or str(error)).replace(str(path), path.name)
        problem = "no image" if type(error).__name__ == "UnidentifiedImageError" else " ".join(text.split())
        raise UnreadableError(printable(problem) or type(error).__name__) from error


def read_header(path: Path) -> Header:
    """Read the first bytes of the file. Raises UnreadableError when it is no image."""
    with _opened(path) as image:
        width, height = image.size
        if not width or not height:
            raise UnreadableError("no pixels")
        if image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8):
            width, height = height, width
        if image.mode == "F":
            raise UnreadableError("floating-point pixels")
        deep = image.mode.startswith("I")
        dropped = {
            "transparency": image.mode in _TRANSPARENT_MODES or "transparency" in image.info,
            "all frames but the first": getattr(image, "is_animated", False),
            "the lower bits of 16": deep,
        }
        losses = tuple(loss for loss, there in dropped.items() if there)
        return Header(height, width, deep or image.mode in _GREY_MODES, losses)


def read_pixels(path: Path, shape: tuple[int, int, int], crop: str) -> np.ndarray:
    """Read the pixels uint8 [C, H, W] of an image of any size.

    Where the size differs, the largest centred rectangle of the wanted proportions is taken when `crop` is "center"
    and the whole image when it is "none"; it is resized with Lanczos' filter. The first frame counts, transparency is
    dropped, 16-bit values keep their upper 8 bits. Raises UnreadableError.
    """
    from PIL import Image, ImageOps

    channels, height, width = shape
    with _opened(path) as image:
        # JPEG files are decoded at 1/2, 1/4 or 1/8 of their size where that leaves twice the pixels wanted.
        image.draft(None, (2 * max(width, height), 2 * max(width, height)))
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):
            upright = Image.fromarray((np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
        upright = upright.convert("L" if channels == 1 else "RGB")
        if upright.size != (width, height):
            box = _centre(upright.size, (width, height)) if crop == "center" else None
            upright = upright.resize((width, height), Image.Resampling.LANCZOS, box=box)
        return np.asarray(upright, dtype=np.uint8).reshape(height, width, channels).transpose(2, 0, 1)


def _centre(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of the largest centred rectangle in `size` with the proportions of `wanted`."""
    scale = min(size[0] / wanted[0], size[1] / wanted[1])
    width, height = wanted[0] * scale, wanted[1] * scale
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, min(left + width, size[0]), min(top + height, size[1])


def decode(listing: Listing, settings: "DataSettings", scratch: Path, say: Callable[[str], None]) -> RawImages:
    """Decode all images of `listing` as uint8 [N, C, H, W] in one file in the folder `scratch`.

    say: is told what will be done, and which files were left out. Raises UserError when sizes differ and none is asked for,
    or when more files are unreadable than `unreadable_share`.
    """
    count, path = len(listing.names), scratch / "decoded.npy"
    starts = range(0, count, _FILES_PER_TASK)
    tasks = [(listing.root, listing.names[start : start + _FILES_PER_TASK], start) for start in starts]
    with _workers(min(usable_cores(), 1 + count // _FILES_PER_PROCESS)) as spread:
        results = list(_shown(spread(_headers, tasks), count, f"{listing.title}: headers", say))
        headers = [header for header in chain(*results) if isinstance(header, Header)]
        if not headers:
            raise UserError(str(listing.root), _left_out([*chain(*results)], count))
        shape = _shape(listing, headers, settings)
        notes = _notes(listing, headers, shape, settings)
        say(f"{listing.title}: {notes[1]}")  # the plan shows all notes; decoding settles this note
        images = _allocate(path, (count, *shape))
        decoded = spread(_pixels, ((*task, path, shape, settings.crop) for task in tasks))
        unreadable = [*chain(*_shown(decoded, count, f"{listing.title}: decoding", say))]
    check_unreadable(str(listing.root), unreadable, count, settings.unreadable_share)
    if unreadable:
        say(f"  {_left_out(unreadable, count)}")
    return RawImages(images, listing.labels, listing.parts, listing.classes, notes, tuple(unreadable))


def check_unreadable(source: str, unreadable: Sequence[Unreadable], files: int, share: float) -> None:
    """Raise UserError when more than this share of the files could not be read."""
    if len(unreadable) > share * files:
        allowed = f"more than the {share:.1%} that data.unreadable_share allows"
        raise UserError(source, f"{_left_out(unreadable, files)}; {allowed}")


def _left_out(unreadable: Sequence[Unreadable], files: int) -> str:
    shown = "; ".join(f"{name} ({problem})" for _, name, problem in unreadable[:5])
    more = f"; and {len(unreadable) - 5:,} more" if len(unreadable) > 5 else ""
    return f"{len(unreadable):,} of {files:,} image files cannot be read: {shown}{more}"


def _shape(listing: Listing, headers: Sequence[Header], settings: "DataSettings") -> tuple[int, int, int]:
    """Return C, H, W of the array: as asked for, else as all files are."""
    channels = settings.image_channels or (1 if all(header.grey for header in headers) else 3)
    check_grey(listing.title, channels, settings.binarisation)
    if (size := height_width(settings.image_size)) is None:
        sizes = Counter((header.height, header.width) for header in headers)
        if len(sizes) > 1:
            most = sizes.most_common(5)
            seen = ", ".join(f"{h} × {w} ({count:,} image{'s' * (count > 1)})" for (h, w), count in most)
            more = f" and {len(sizes) - 5:,} other sizes" if len(sizes) > 5 else ""
            problem = f"got images of different sizes (height × width): {seen}{more}; must be one size"
            raise UserError(str(listing.root), f"{problem}. Try image_size: [64, 64], or --set image_size=64.")
        (size,) = sizes
    return channels, *size


def _notes(
    listing: Listing, headers: Sequence[Header], shape: tuple[int, int, int], settings: "DataSettings"
) -> tuple[str, ...]:
    """Describe the files and what will be done to them."""
    channels, height, width = shape
    sizes = {(header.height, header.width) for header in headers}
    grey = sum(header.grey for header in headers)
    kinds = Counter(Path(name).suffix.lower() for name in listing.names)
    tall, wide = (
        f"{min(axis):,}" if min(axis) == max(axis) else f"{min(axis):,} to {max(axis):,}"
        for axis in zip(*sizes, strict=True)
    )
    colour = "all in colour" if not grey else "all grey" if grey == len(headers) else f"{grey:,} of them grey"
    formats = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    steps = ["resized (Lanczos)"] if sizes != {(height, width)} else []
    if any(h * width != w * height for h, w in sizes):
        crops = {"center": "cropped to the largest centred rectangle of these proportions", "none": "stretched"}
        steps.insert(0, crops[settings.crop])
    names = listing.classes or ()
    classes = f"{len(names):,} ({', '.join(names[:12])}{', …' if len(names) > 12 else ''})" if names else "none"
    dropped = Counter(loss for header in headers for loss in header.dropped)
    drops = ", ".join(f"{loss} ({count:,} file{'s' * (count != 1)})" for loss, count in dropped.items())
    return (
        f"Files: {formats}; height {tall}, width {wide} pixels; {colour}",
        f"Images: {height} × {width} pixels, {' and '.join(steps) or 'as they are'}",
        f"Channels: {channels} ({'grey levels' if channels == 1 else 'red, green, blue'})",
        *([f"Dropped: {drops}"] if dropped else []),
        f"Classes: {classes}",
        *listing.notes,
    )


def _allocate(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Make an array on disk and take its space, because a full disk must be an error here and no crash in a child."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _headers(task: tuple[Path, Sequence[str], int]) -> list[Header | Unreadable]:
    """Read the header of each file, or say why there is none; a task is the root, names below it and the row of the first."""
    root, names, first = task
    headers: list[Header | Unreadable] = []
    for row, name in enumerate(names, first):
        try:
            headers.append(read_header(root / name))
        except UnreadableError as error:
            headers.append(Unreadable(row, printable(name), str(error)))
    return headers


def _pixels(task: tuple[Path, Sequence[str], int, Path, tuple[int, int, int], str]) -> list[Unreadable]:
    """Write each file's pixels into its row; return the files that failed."""
    root, names, first, path, shape, crop = task
    images, failed = np.load(path, mmap_mode="r+"), []
    for row, name in enumerate(names, first):
        try:
            images[row] = read_pixels(root / name, shape, crop)
        except UnreadableError as error:
            failed.append(Unreadable(row, printable(name), str(error)))
    return failed


@contextmanager
def _workers(count: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """Yield a `map` over this many processes; the built-in `map` for one process."""
    if count == 1:
        yield map
        return
    # Spawned, since a forked child inherits locks of threads that it does not have.
    # Ctrl-C reaches all processes; the parent ends the others.
    pool = ProcessPoolExecutor(count, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN))
    try:
        with without_main_module(), same_code():  # the processes start at the first call
            theirs = pool.submit(sources, _PACKAGES).result()
            check_sources("a process that decodes images", theirs, _PACKAGES)
            yield pool.map
    except BrokenProcessPool as error:
        raise UserError("decoding", "a process that decodes images was ended, perhaps for lack of memory") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _shown(results: Iterable[Any], total: int, title: str, say: Callable[[str], None]) -> Iterator[Any]:
    """Yield the results, with a progress bar in a terminal and a plain line elsewhere."""
    console, title = open_console(stderr=True), f"{title} of {total:,} image files"
    if not console.is_terminal:
        say(title)
    with progress_bar(console, title) as advance:
        for done, result in enumerate(results, 1):
            advance(min(done * _FILES_PER_TASK, total), total)
            yield result
