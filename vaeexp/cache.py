"""The user's cache: folders that are built once, whole or not at all, and checked against their
checksums when opened.

Each folder holds `meta.json`: what is known of the folder, size and SHA-256 of each of its files,
its schema number, and a seal of its own.
"""

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from sweeps import (
    MARKS,
    SLOT,
    UNNUMBERED,
    Damaged,
    UserError,
    check_schema,
    check_seal,
    file_digest,
    seal,
)

T = TypeVar("T")

FACTS = "meta.json"
_PATIENCE = 900  # seconds to wait for another process that builds the same folder
_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return the folder named by `VAEEXP_CACHE`, else the user's cache folder for vaeexp. The
    folder may be missing.

    Raises:
        UserError: the user has no home folder, as in a container that runs under a bare number.
    """
    if chosen := os.environ.get("VAEEXP_CACHE"):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    try:
        return Path(platformdirs.user_cache_dir("vaeexp", appauthor=False))
    except RuntimeError:
        problem = "this user has no home folder. Set VAEEXP_CACHE to a folder for prepared images."
        raise UserError("cache", problem) from None


def spare_home() -> None:
    """Keep matplotlib's caches in `VAEEXP_CACHE` where the home folder is missing or read-only,
    unless `MPLCONFIGDIR` is set.
    """
    chosen = os.environ.get("VAEEXP_CACHE")
    if chosen and not os.access(os.path.expanduser("~"), os.W_OK):
        os.environ.setdefault("MPLCONFIGDIR", str(cache_folder() / "matplotlib"))


def seal_folder(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write `meta.json` into a folder that is complete: the facts, and size and SHA-256 of each
    file.
    """
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        files[name] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
    text = json.dumps({**MARKS, "sha256": SLOT, "facts": facts, "files": files}, indent=2) + "\n"
    (folder / FACTS).write_bytes(seal(text.encode()))


def read_facts(folder: Path) -> dict[str, Any] | None:
    """Check all files of a folder and return its facts; None if there is no folder.

    Raises:
        Damaged: a file is missing or its content has changed, or the folder was never sealed.
        UserError: another version of vaeexp wrote the folder in a way that this version cannot
            read.
    """
    path = folder / FACTS
    try:
        content = path.read_bytes()
        check_seal(content, path)
        stored = json.loads(content)
        check_schema(str(path), {**UNNUMBERED, **stored})
        for name, file in stored["files"].items():
            path = folder / name
            if path.stat().st_size != file["bytes"]:
                raise Damaged(
                    str(path),
                    f"is damaged: it has {path.stat().st_size:,} bytes instead of "
                    f"{file['bytes']:,}.",
                )
            if file["sha256"] != file_digest(path):
                raise Damaged(str(path), "is damaged: its content does not match its checksum.")
    except FileNotFoundError:
        if not folder.exists():
            return None
        problem = (
            f"lacks {path.name}, because it is damaged or was written by an older version of "
            "vaeexp."
        )
        raise Damaged(str(folder), problem) from None
    except OSError as error:
        raise Damaged(str(path), f"cannot be read ({error.strerror or error}).") from error
    facts: dict[str, Any] = stored["facts"]
    return facts


def distrust(folder: Path) -> None:
    """Let the next process that opens a folder build it again, because its files were found damaged
    after they were opened.
    """
    with suppress(OSError):  # the cache may be read-only
        (folder / FACTS).unlink()


def build_once(
    target: Path, open_whole: Callable[[Path], T | None], build: Callable[[Path], None]
) -> T:
    """Return `open_whole(target)`, the content of a folder; where that is None or raises Damaged,
    make or replace the folder first.

    `build` fills an empty temporary folder next to the target, which is then renamed. So no reader
    sees half a folder, and nothing stays when `build` raises. Of several processes one builds and
    the others wait. A warning names what is damaged.

    Raises:
        UserError: the cache cannot be written.
    """
    import filelock

    content, _ = _opened(open_whole, target)
    if content:
        return content
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(target.parent / f"{target.name}.lock", timeout=_PATIENCE):
            content, damage = _opened(open_whole, target)
            if content:
                return content
            if damage:
                _log.warning(f"{damage} It is made again.")
            _replace_folder(target, build)
    except filelock.Timeout as error:
        problem = (
            f"a process has held the lock for {_PATIENCE // 60} minutes. If no process runs, "
            "delete the file."
        )
        raise UserError(f"{target}.lock", problem) from error
    except OSError as error:
        problem = (
            f"the cache cannot be written ({error.strerror or error}). Set VAEEXP_CACHE to "
            "another folder."
        )
        raise UserError(str(target.parent), problem) from error
    content, _ = _opened(open_whole, target)
    if not content:
        raise UserError(
            str(target), "got damaged files right after they were written. Check the disk."
        )
    return content


def _replace_folder(target: Path, build: Callable[[Path], None]) -> None:
    """Build a folder and put it in the place of the target, whose lock is held."""
    prefix = f".{target.name}-"
    for leftover in target.parent.glob(f"{prefix}*"):  # of a killed process
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(
        prefix=prefix, dir=target.parent, ignore_cleanup_errors=True
    ) as temporary:
        folder = Path(temporary)
        # Because temporary folders are private, and a cache may be shared.
        folder.chmod(0o755)
        build(folder)
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)


def _opened(
    open_whole: Callable[[Path], T | None], target: Path
) -> tuple[T | None, Damaged | None]:
    """Return the content of a folder, if it is whole, and what is damaged, if anything."""
    try:
        return open_whole(target), None
    except Damaged as damage:
        return None, damage
