"""The one way to replace a file: whole, or not at all."""

import itertools
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

UNFINISHED = ".part-"
"""Prefix of the names of half-written files. No reader opens such a file, and no mirror copies
it.
"""
_ASIDE = re.compile(r"\.(damaged|unrecorded)(-\d+)?$")


def write_whole(path: Path, write: Callable[[Path], object], *, durable: bool = False) -> None:
    """Replace the file `path` by the file that `write` makes under a temporary name beside it.

    A reader sees the old file or the new file, and never a part of the new file. If `write` raises,
    the old file stays and the temporary file goes. Two processes may write the same file at once:
    the later file stays. The name ends as `path` does, because some writers choose the format by
    it. Folders that are missing are made.

    Args:
        durable: bring the content to the disk before the rename, so that a power cut leaves no
            empty file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{UNFINISHED}{os.getpid()}-{path.name}")
    try:
        write(unfinished)
        if durable:
            _flush(unfinished)
        os.replace(unfinished, path)
    finally:
        # After a rename there is nothing left to remove, but for a hard link to the file that
        # `path` was already.
        with suppress(OSError):
            unfinished.unlink()


def remove_unfinished(path: Path) -> None:
    """Remove what killed processes left of the file `path`, side files of a database too. Only its
    one writer may call this.
    """
    for unfinished in path.parent.glob(f"{UNFINISHED}*-{path.name}*"):
        unfinished.unlink(missing_ok=True)


def quarantine(path: Path, *, copy: bool = False) -> Path:
    """Rename a file or folder to the free name `….damaged` next to it; return its new path.

    `copy`: of a file, leave it in its place, too, so that something can replace it without a moment
    in between.
    """
    aside = free_name(path.with_name(f"{path.name}.damaged"))
    if copy:
        write_whole(aside, partial(shutil.copy2, path), durable=True)
    else:
        path.rename(aside)
    return aside


def is_aside(path: Path) -> bool:
    """Whether a file or folder has a name that `quarantine` gives."""
    return _ASIDE.search(path.name) is not None


def free_name(path: Path) -> Path:
    """Return the path, or the path with the first of `-2`, `-3` … that no file has."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(name for name in itertools.chain([path], numbered) if not name.exists())


def rename(path: Path, place: Path) -> None:
    """Rename a file or folder, and flush the new name to the disk."""
    os.rename(path, place)
    _flush(place.parent)


def _flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
