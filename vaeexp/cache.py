"""Folders that vaeexp reads: the user's cache, whose folders are written whole or not at all, and the shipped studies."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sweeps.errors import UserError

_PATIENCE = 900  # seconds to wait for another process that builds the same folder


def cache_folder() -> Path:
    """Return the folder named by `VAEEXP_CACHE`, else the user's cache folder for vaeexp. The folder may be missing."""
    if chosen := os.environ.get("VAEEXP_CACHE"):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("vaeexp", appauthor=False))


def build_once(target: Path, is_whole: Callable[[Path], bool], build: Callable[[Path], None]) -> None:
    """Make the folder `target` by `build`, unless `is_whole(target)`; replace a folder that is damaged.

    `build` fills an empty temporary folder beside the target, which is then brought to the disk and renamed. So no
    reader sees half a folder, and nothing stays when `build` raises. Of several processes one builds and the others
    wait. Raises UserError when the cache cannot be written.
    """
    import filelock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(target.parent / f"{target.name}.lock", timeout=_PATIENCE):
            if is_whole(target):
                return
            _remove_leftovers(target)
            with _temporary_folder(target) as folder:
                build(folder)
                _sync(folder)
                if target.exists():
                    target.rename(folder.parent / f"{folder.name}-damaged")
                folder.rename(target)
            _remove_leftovers(target)
    except filelock.Timeout as error:
        problem = (
            f"another process has held this lock for {_PATIENCE // 60} minutes. If there is none, delete the file."
        )
        raise UserError(f"{target}.lock", problem) from error
    except OSError as error:
        problem = f"the cache cannot be written ({error.strerror or error}). Set VAEEXP_CACHE to another folder."
        raise UserError(str(target.parent), problem) from error


@contextmanager
def _temporary_folder(target: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    folder.chmod(0o755)  # because mkdtemp makes private folders, and a cache may be shared
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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


def shipped_studies() -> Path:
    """Return the folder of the shipped studies: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside, beside = package / "studies", package.parent / "studies"
    return inside if inside.is_dir() else beside
