"""The user's cache: folders that are written whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sweeps.errors import UserError

T = TypeVar("T")

_PATIENCE = 900  # seconds to wait for another process that builds the same folder


def cache_folder() -> Path:
    """Return the folder named by `VAEEXP_CACHE`, else the user's cache folder for vaeexp. The folder may be missing."""
    if chosen := os.environ.get("VAEEXP_CACHE"):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("vaeexp", appauthor=False))


def build_once(target: Path, open_whole: Callable[[Path], T | None], build: Callable[[Path], None]) -> T:
    """Return `open_whole(target)`, the content of a folder; where it is empty, make or replace the folder by `build` first.

    `build` fills an empty temporary folder beside the target, which is then brought to the disk and renamed. So no
    reader sees half a folder, and nothing stays when `build` raises. Of several processes one builds and the others
    wait. Raises UserError when the cache cannot be written.
    """
    import filelock

    if content := open_whole(target):
        return content
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(target.parent / f"{target.name}.lock", timeout=_PATIENCE):
            if content := open_whole(target):
                return content
            _remove_leftovers(target)
            prefix = f".{target.name}-"
            with tempfile.TemporaryDirectory(prefix=prefix, dir=target.parent, ignore_cleanup_errors=True) as temporary:
                folder = Path(temporary)
                folder.chmod(0o755)  # because temporary folders are private, and a cache may be shared
                build(folder)
                _sync(folder)
                if target.exists():
                    target.rename(folder.parent / f"{folder.name}-damaged")
                folder.rename(target)
            _remove_leftovers(target)
    except filelock.Timeout as error:
        problem = f"a process has held the lock for {_PATIENCE // 60} minutes. If no process runs, delete the file."
        raise UserError(f"{target}.lock", problem) from error
    except OSError as error:
        problem = f"the cache cannot be written ({error.strerror or error}). Set VAEEXP_CACHE to another folder."
        raise UserError(str(target.parent), problem) from error
    if not (content := open_whole(target)):
        raise UserError(str(target), "got damaged files right after they were written. Check the disk.")
    return content


def _remove_leftovers(target: Path) -> None:
    # Called under the target's lock, so each folder with this prefix is damaged or belongs to a killed process.
    for leftover in target.parent.glob(f".{target.name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        if path.is_file() or hasattr(os, "O_DIRECTORY"):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
