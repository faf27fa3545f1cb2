"""Image files made into one array, once: headers read, one size settled, pixels decoded, all in
parallel processes.

The processes write into one file on disk and pass no pixels to each other, so the images may be
larger than memory.
"""

import math
import signal
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps import UserError, check_sources, same_code, sources, without_main_module
from vaeexp.console import open_console, progress_bar
from vaeexp.data.formats import (
    ONE_CHANNEL,
    RawImages,
    Unreadable,
    check_grey,
    height_width,
    printable,
    some_of,
)
from vaeexp.data.formats.image_numbers import (
    channels_of,
    common_type,
    read_numbers,
)
from vaeexp.data.formats.image_pixels import (
    Facts,
    Header,
    UnreadableError,
    read_header,
    read_pixels,
)
from vaeexp.data.formats.levels import DEEPEST, PLAIN, Stored, stored_kind
from vaeexp.data.formats.scratch import allocate
from vaeexp.data.formats.tiff import TURNED
from vaeexp.machine import usable_cores
from vaeexp.words import plural

if TYPE_CHECKING:
    from vaeexp.settings import DataSettings

_PACKAGES = ("sweeps", "vaeexp")
_FILES_PER_TASK = 64
_CHANNELS = {1: "grey levels", 3: "red, green, blue"}
_PLANES = "pages and samples of a file; with --set data.pages=images each page is an image"
_NO_FACTS = Facts(Stored.BYTES, 0, 0, False)  # of an unreadable file
_FILES_PER_PROCESS = 1_000  # fewer are decoded here before another process has started


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Image files of a data set: names below `root` with `/`; the other fields are as in
    `RawImages`.
    """

    title: str
    root: Path
    names: Sequence[str]
    parts: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] | None
    notes: tuple[str, ...] = ()
    unlabelled: tuple[int, ...] = ()


class SeveralSizesError(UserError):
    """Image files have several sizes, and none is asked for."""

    side: int
    """Pixels that suit them: the power of two below the median of their shorter sides, from 32 to
    128.
    """


Task = tuple[Path, list[str], list[int]]
"""The root of some image files, their names below it, and their rows."""


def decode(
    listing: Listing, settings: "DataSettings", scratch: Path, say: Callable[[str], None]
) -> RawImages:
    """Decode all images of `listing` as uint8 [N, C, H, W] in one file in the folder `scratch`.

    Where no file is a plain picture of 8 bits, images hold the numbers of the files in their type.

    say: is told what will be done, and which files were left out. Raises UserError when sizes
    differ and none is asked for, or when more files are unreadable than `unreadable_share`.
    """
    count = len(listing.names)
    target = scratch / "decoded.npy"
    every = np.arange(count)
    results = _work_on(listing, every, _read_headers, "headers", say)
    headers = [header for header in results if isinstance(header, Header)]
    if not headers:
        raise UserError(str(listing.root), _left_out(results, count))
    dtype = common_type(headers)
    shape = _shape(listing, headers, settings, dtype)
    notes = _notes(listing, headers, shape, settings, dtype)
    say(f"{listing.title}: {notes[1]}")  # the plan shows all notes; decoding settles this note
    images = allocate(target, (count, *shape), dtype or np.uint8)
    black = max(header.black for header in headers)
    how: dict[str, Any] = {"shape": shape, "crop": settings.crop, "black": black}
    read = partial(read_pixels, background=settings.background, **how)
    if dtype is not None:
        read = partial(read_numbers, dtype=dtype, **how)
    write = partial(_write_pixels, target=target, read=read)
    results = _work_on(listing, every, write, "decoding", say)
    unreadable = [result for result in results if isinstance(result, Unreadable)]
    check_unreadable(str(listing.root), unreadable, count, settings.unreadable_share)
    if unreadable:
        say(f"  {_left_out(unreadable, count)}")
    raw = RawImages(
        images=images,
        labels=listing.labels,
        parts=listing.parts,
        classes=listing.classes,
        notes=notes,
        unreadable=tuple(unreadable),
        unlabelled=listing.unlabelled,
        black=black or DEEPEST,
        changed=(TURNED,) if black else (),
    )
    if dtype is not None:
        return raw._replace(stored=np.full(count, stored_kind(dtype), np.uint8))
    facts = [_NO_FACTS if isinstance(result, Unreadable) else result for result in results]
    stored, largest, _, composed = np.array(facts, np.int64).T
    if several := int(composed.sum()):
        ground = f"transparent pixels show a {settings.background} background"
        transparency = f"Transparency: {ground} ({plural(several, 'file')})"
        raw = raw._replace(
            notes=(*notes, transparency), reading=(f"transparency on {settings.background}",)
        )
    return raw._replace(
        stored=stored.astype(np.uint8),
        largest=largest,
        read_again=partial(_read_again, listing, stored, target, read, say),
    )


def _read_again(
    listing: Listing,
    stored: np.ndarray,
    target: Path,
    read: Callable[..., tuple[np.ndarray, Facts]],
    say: Callable[[str], None],
    whites: Mapping[Stored, int],
) -> np.ndarray:
    """Decode once more the files whose white differs, because images are resized after that; as
    `RawImages.read_again`.
    """
    changed = [kind for kind in whites if whites[kind] != PLAIN[kind]]
    rows = np.flatnonzero(np.isin(stored, changed))
    write = partial(_write_pixels, target=target, read=partial(read, whites=whites))
    results = _work_on(listing, rows, write, "decoding to their range", say)
    above = np.zeros(len(stored), np.int64)
    above[rows] = [0 if isinstance(result, Unreadable) else result.above for result in results]
    return above


def check_unreadable(
    source: str, unreadable: Sequence[Unreadable], files: int, share: float
) -> None:
    """Raise UserError when more than this share of the files could not be read."""
    if len(unreadable) > share * files:
        allowed = f"more than the {share:.1%} that data.unreadable_share allows"
        needed = math.ceil(100 * len(unreadable) / files) / 100
        remedy = f"Repair or remove them, or leave them out by --set unreadable_share={needed:g}"
        raise UserError(source, f"{_left_out(unreadable, files)}; {allowed}. {remedy}")


def _left_out(unreadable: Sequence[Unreadable], files: int) -> str:
    shown = some_of([f"{name} ({problem})" for _, name, problem in unreadable], 5)
    return f"{len(unreadable):,} of {files:,} image files cannot be read: {shown}"


def _shape(
    listing: Listing, headers: Sequence[Header], settings: "DataSettings", dtype: np.dtype | None
) -> tuple[int, int, int]:
    """Return C, H, W of the array: as asked for, else as all files are. Raises UserError.

    dtype: of the numbers of files that are no plain pictures; else None.
    """
    channels: int = settings.image_channels or (1 if all(header.grey for header in headers) else 3)
    if dtype is not None:
        channels = channels_of(listing.root, headers, settings)
    check_grey(listing.title, channels, settings.binarisation, ONE_CHANNEL)
    if size := height_width(settings.image_size):
        return channels, *size
    sizes = Counter((header.height, header.width) for header in headers)
    if len(sizes) > 1:
        seen = [f"{h} × {w} ({plural(n, 'image')})" for (h, w), n in sizes.most_common()]
        problem = f"got images of different sizes (height × width): {some_of(seen, 5)}"
        short = np.median([*map(min, sizes.elements())])
        side = 32 << bisect((64, 128), short)
        error = SeveralSizesError(
            str(listing.root),
            f"{problem}; must be one size. Try image_size: {side}, or --set image_size={side}.",
        )
        error.side = side
        raise error
    return channels, *next(iter(sizes))


def _notes(
    listing: Listing,
    headers: Sequence[Header],
    shape: tuple[int, int, int],
    settings: "DataSettings",
    dtype: np.dtype | None,
) -> tuple[str, ...]:
    """Describe the files and what will be done to them."""
    channels, height, width = shape
    sizes = {(header.height, header.width) for header in headers}
    grey = sum(header.grey for header in headers)
    kinds = Counter(Path(name).suffix.lower() for name in listing.names)
    tall, wide = (_span(axis) for axis in zip(*sizes, strict=True))
    colours = {0: "all in colour", len(headers): "all grey"}
    colour = colours.get(grey, f"{grey:,} of them grey")
    planes = any(header.grey and header.channels > 1 for header in headers)
    held = {} if planes else _CHANNELS
    if channels not in held:
        colour = f"{channels} channels each"
    formats = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    steps = ["resized (Lanczos)"] if sizes != {(height, width)} else []
    if any(h * width != w * height for h, w in sizes):
        crops = {
            "center": "cropped to the largest centred rectangle of these proportions",
            "none": "stretched",
        }
        steps.insert(0, crops[settings.crop])
    names = listing.classes
    classes = f"{len(names):,} ({some_of(names)})" if names else "none"
    moving = 0 if dtype is not None else sum(header.animated for header in headers)
    frames = f"all frames but the first ({plural(moving, 'file')})"
    return (
        f"Files: {formats}; height {tall}, width {wide} pixels; {colour}",
        f"Images: {height} × {width} pixels, {' and '.join(steps) or 'as they are'}",
        f"Channels: {channels} ({held.get(channels, _PLANES)})",
        *([f"Numbers: {dtype}, as in the files"] if dtype is not None else []),
        *["Pages: each is an image"] * (settings.pages == "images"),
        *([TURNED] if any(header.black for header in headers) else []),
        *([f"Dropped: {frames}"] if moving else []),
        f"Classes: {classes}",
        *listing.notes,
    )


def _span(lengths: Sequence[int]) -> str:
    low = min(lengths)
    high = max(lengths)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _read_each(task: Task, read: Callable[[int, Path], Any]) -> list[Any]:
    """Return what `read` makes of row and path of each file of a task; `Unreadable` with the reason
    where it fails.
    """
    root, names, rows = task
    results: list[Any] = []
    for row, name in zip(rows, names, strict=True):
        try:
            results.append(read(row, root / name))
        except UnreadableError as error:
            results.append(Unreadable(row, printable(name), str(error)))
    return results


def _read_headers(task: Task) -> list[Header | Unreadable]:
    return _read_each(task, lambda _, path: read_header(path))


def _write_pixels(
    task: Task, *, target: Path, read: Callable[[Path], tuple[np.ndarray, Facts]]
) -> list[Facts | Unreadable]:
    """Write the pixels of each file into its row of the file `target`; return the facts."""
    images = np.load(target, mmap_mode="r+")

    def write(row: int, path: Path) -> Facts:
        images[row], facts = read(path)
        return facts

    return _read_each(task, write)


def _work_on(
    listing: Listing,
    rows: np.ndarray,
    work: Callable[[Task], list[Any]],
    title: str,
    say: Callable[[str], None],
) -> list[Any]:
    """Return the results of `work` for the files of these rows, one each, made by all processes,
    with a progress bar in a terminal and a plain line elsewhere.
    """
    console = open_console(stderr=True)
    title = f"{listing.title}: {title} of {len(rows):,} image files"
    if not console.is_terminal:
        say(title)
    tasks: list[Task] = []
    for start in range(0, len(rows), _FILES_PER_TASK):
        piece = rows[start : start + _FILES_PER_TASK].tolist()
        tasks.append((listing.root, [listing.names[row] for row in piece], piece))
    results: list[Any] = []
    with _workers(len(rows)) as spread, progress_bar(console, title) as advance:
        for some in spread(work, tasks):
            results += some
            advance(len(results), len(rows))
    return results


@contextmanager
def _workers(files: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """Yield a `map` over the processes that so many files are worth; the built-in `map` for one
    process.
    """
    count = min(usable_cores(), 1 + files // _FILES_PER_PROCESS)
    if count == 1:
        yield map
        return
    # Spawned, since a forked child inherits locks of threads that it does not have.
    # Ctrl-C reaches all processes; the parent ends the others.
    pool = ProcessPoolExecutor(
        count, get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN)
    )
    try:
        with without_main_module(), same_code():  # the processes start at the first call
            theirs = pool.submit(sources, _PACKAGES).result()
            check_sources("a process that decodes images", theirs, _PACKAGES)
            yield pool.map
    except BrokenProcessPool as error:
        raise UserError(
            "decoding", "a process that decodes images was ended, perhaps for lack of memory"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
