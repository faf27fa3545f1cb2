"""Image files made into one array, once: headers read, one size settled, pixels decoded, all in parallel processes.

The processes write into one file on disk and pass no pixels to each other, so the images may be larger than memory.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps.errors import UserError
from vaeexp.data.datasets import RawImages, check_grey
from vaeexp.data.formats.image_files import (
    TEST,
    TRAINING,
    VALIDATION,
    Header,
    Listing,
    UnreadableError,
    read_header,
    read_pixels,
)

if TYPE_CHECKING:
    from vaeexp.settings import DataSettings

_FILES_PER_TASK = 64
_FILES_PER_PROCESS = 1_000  # fewer are decoded here before another process has started

Problem = tuple[int, str]
"""Place of a file in the listing, and why it cannot be read."""


def decode(
    listing: Listing,
    settings: "DataSettings",
    scratch: Path,
    say: Callable[[str], None],
    *,
    processes: int | None = None,
) -> RawImages:
    """All images of `listing` as uint8 [N, C, H, W] in one file in the folder `scratch`.

    Args:
        settings: `image_size`, `image_channels`, `crop`, `unreadable_share`, `binarisation`.
        say: is told what will be done, and which files were left out.
        processes: None: one for each processor core, fewer for few files.

    Raises:
        UserError: sizes differ and none is asked for, or more files are unreadable than `unreadable_share`.
    """
    wanted = min(_cores(), 1 + len(listing.names) // _FILES_PER_PROCESS)
    with _workers(processes or wanted) as spread:
        headers: list[Header | str] = []
        for found in _shown(spread(_headers, _tasks(listing)), len(listing.names), f"{listing.title}: headers", say):
            headers += found
        shape = _shape(listing, headers, settings)
        notes = _notes(listing, headers, shape, settings)
        say(f"{listing.title}: {notes[1]}")  # all of it is shown with the plan; this is what decoding settles
        images = _allocate(scratch / "decoded.npy", (len(listing.names), *shape))
        tasks = ((*task, scratch / "decoded.npy", shape, settings.crop) for task in _tasks(listing))
        problems: list[Problem] = []
        for _, failed in _shown(spread(_pixels, tasks), len(listing.names), f"{listing.title}: decoding", say):
            problems += failed
    unreadable = tuple((listing.names[place], problem) for place, problem in problems)
    check_unreadable(str(listing.root), unreadable, len(listing.names), settings.unreadable_share)
    if unreadable:
        say(f"  {_left_out(unreadable, len(listing.names))}")
    return _raw(listing, images, {place for place, _ in problems}, tuple(notes), unreadable)


def height_width(image_size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """The setting `image_size` as height and width; one number is a square."""
    if image_size is None:
        return None
    return (image_size, image_size) if isinstance(image_size, int) else (image_size[0], image_size[1])


def check_unreadable(place: str, unreadable: Sequence[tuple[str, str]], files: int, share: float) -> None:
    """Raise UserError when more than this share of the files could not be read."""
    if len(unreadable) > share * files:
        allowed = f"more than the {share:.1%} that data.unreadable_share allows"
        raise UserError(place, f"{_left_out(unreadable, files)}; {allowed}")


def _left_out(unreadable: Sequence[tuple[str, str]], files: int) -> str:
    shown = "; ".join(f"{name} ({problem})" for name, problem in unreadable[:5])
    more = f"; and {len(unreadable) - 5:,} more" if len(unreadable) > 5 else ""
    return f"{len(unreadable):,} of {files:,} image files cannot be read: {shown}{more}"


def _shape(listing: Listing, found: Sequence[Header | str], settings: "DataSettings") -> tuple[int, int, int]:
    """C, H, W of the array: as asked for, else as all files are."""
    headers = [header for header in found if isinstance(header, Header)]
    if not headers:
        raise UserError(str(listing.root), _left_out(list(zip(listing.names, found, strict=True)), len(found)))
    channels = settings.image_channels or (1 if all(header.grey for header in headers) else 3)
    check_grey(listing.title, channels, settings.binarisation)
    if (size := height_width(settings.image_size)) is None:
        sizes = Counter((header.height, header.width) for header in headers)
        if len(sizes) > 1:
            seen = ", ".join(
                f"{h} × {w} ({count:,} image{'s' * (count > 1)})" for (h, w), count in sizes.most_common(5)
            )
            more = f" and {len(sizes) - 5:,} other sizes" if len(sizes) > 5 else ""
            problem = f"the images differ in size (height × width): {seen}{more}"
            raise UserError(
                str(listing.root), f"{problem}. Set data.image_size, as image_size: [64, 64], or --set image_size=64"
            )
        (size,) = sizes
    return channels, *size


def _notes(
    listing: Listing, headers: Sequence[Header | str], shape: tuple[int, int, int], settings: "DataSettings"
) -> list[str]:
    """What was found and what will be done, one sentence each."""
    channels, height, width = shape
    good = [header for header in headers if isinstance(header, Header)]
    sizes = Counter((header.height, header.width) for header in good)
    grey = sum(header.grey for header in good)
    kinds = Counter(Path(name).suffix.lower() for name in listing.names)
    range_of = [
        f"{min(axis):,}" if min(axis) == max(axis) else f"{min(axis):,} to {max(axis):,}"
        for axis in zip(*sizes, strict=True)
    ]
    colour = "all in colour" if not grey else "all grey" if grey == len(good) else f"{grey:,} of them grey"
    found = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    resized = sizes.keys() != {(height, width)}
    steps = ["resized (Lanczos)"] if resized else []
    if any(h * width != w * height for h, w in sizes):
        crops = {"center": "cropped to the largest centred rectangle of these proportions", "none": "stretched"}
        steps.insert(0, crops[settings.crop])
    classes = f"Classes: {_few(listing.classes)}" if listing.classes else "Classes: none"
    dropped = Counter(words for header in good for words in header.dropped)
    return [
        f"Files: {found}; height {range_of[0]}, width {range_of[1]} pixels; {colour}",
        f"Images: {height} × {width} pixels, {' and '.join(steps) or 'as they are'}",
        f"Channels: {channels} ({'grey levels' if channels == 1 else 'red, green, blue'})",
        *([f"Dropped: {', '.join(f'{words} ({_files(count)})' for words, count in dropped.items())}"] if dropped else []),
        classes,
        *listing.notes,
    ]  # fmt: skip


def _files(count: int) -> str:
    return f"{count:,} file{'s' * (count != 1)}"


def _few(names: Sequence[str]) -> str:
    return f"{len(names):,} ({', '.join(names[:12])}{', …' if len(names) > 12 else ''})"


def _raw(
    listing: Listing, images: np.ndarray, bad: set[int], notes: tuple[str, ...], unreadable: tuple[tuple[str, str], ...]
) -> RawImages:
    """Rows of the array by split, without the unreadable ones."""
    readable = np.ones(len(listing.names), dtype=bool)
    readable[sorted(bad)] = False
    rows = {part: np.flatnonzero(readable & (listing.parts == part)) for part in (TRAINING, VALIDATION, TEST)}
    training = np.concatenate([rows[TRAINING], rows[VALIDATION]])
    if any(not len(rows[part]) for part in (TRAINING, TEST)):
        raise UserError(str(listing.root), "one of the splits has no image that can be read")
    return RawImages(
        training_images=images,
        training_labels=listing.labels[training],
        test_images=images,
        test_labels=listing.labels[rows[TEST]],
        training_rows=training,
        test_rows=rows[TEST],
        validation=len(rows[VALIDATION]) if listing.holdout is None else None,
        holdout=listing.holdout,
        classes=listing.classes,
        notes=notes,
        files=len(listing.names),
        unreadable=unreadable,
    )


def _allocate(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """An array on disk. Its space is taken at once: a full disk is an error here, and not a crash in a child."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _tasks(listing: Listing) -> Iterator[tuple[Path, Sequence[str], int]]:
    """Root, names, place of the first name."""
    for start in range(0, len(listing.names), _FILES_PER_TASK):
        yield listing.root, listing.names[start : start + _FILES_PER_TASK], start


def _headers(task: tuple[Path, Sequence[str], int]) -> list[Header | str]:
    """The header of each file, or why there is none."""
    root, names, _ = task
    found: list[Header | str] = []
    for name in names:
        try:
            found.append(read_header(root / name))
        except UnreadableError as error:
            found.append(str(error))
    return found


def _pixels(task: tuple[Path, Sequence[str], int, Path, tuple[int, int, int], str]) -> tuple[range, list[Problem]]:
    """Write each file's pixels into its row; the places, and those that failed."""
    root, names, first, path, shape, crop = task
    images, failed = np.load(path, mmap_mode="r+"), []
    for place, name in enumerate(names, first):
        try:
            images[place] = read_pixels(root / name, shape, crop)
        except UnreadableError as error:
            failed.append((place, str(error)))
    return range(first, first + len(names)), failed


@contextmanager
def _workers(count: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A `map` over this many processes; the built-in one for one."""
    if count == 1:
        yield map
        return
    # Spawned, since a forked child inherits locks of threads that it does not have.
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_ignore_interrupts)
    try:
        yield pool.map
    except BrokenProcessPool as error:
        raise UserError("decoding", "a process that decodes images was ended, perhaps for lack of memory") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ignore_interrupts() -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends the others


def _shown(results: Iterable[Any], total: int, words: str, say: Callable[[str], None]) -> Iterator[Any]:
    """The results one by one, with a progress bar in a terminal and a plain line elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        say(f"{words} of {total:,} image files")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(words, total=total)
        for done, result in enumerate(results, 1):
            progress.update(bar, completed=min(done * _FILES_PER_TASK, total))
            yield result


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
