"""Official files from the network into the user's cache: whole and checked, or not at all.

Torchvision downloads the files that it knows; vaeexp downloads all others. A broken transfer is
resumed where it broke. A folder of downloads appears in the cache when all its files are there.
"""

import os
import socket
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from vaeexp.cache import FACTS, build_once, cache_folder, read_facts, seal_folder
from vaeexp.data.formats import Definition
from vaeexp.data.formats.torchvision_files import FILES
from vaeexp.data.http_files import DownloadError, fetch_file, one_line, reason_of

_PROBE_SECONDS = 4.0
_NO_HEAD = (403, 405, 501)
"""Answers of servers that do not tell whether a file is there."""
STALL_SECONDS = 30.0
"""How long a connection may be silent."""


def downloads_folder(definition: Definition) -> Path:
    """Return the folder of the cache for the files of a data set; it may be missing."""
    return cache_folder() / "downloads" / (definition.kept_as or definition.name)


def check_online() -> None:
    """Raise DownloadError where `VAEEXP_OFFLINE` is set."""
    if os.environ.get("VAEEXP_OFFLINE", "0") not in ("", "0"):
        raise DownloadError("VAEEXP_OFFLINE is set")


@cache
def why_unreachable(mirrors: tuple[str, ...]) -> str | None:
    """Return None when a mirror answers, else a sentence with the reason. This process asks once,
    for 4 s a mirror.
    """
    import requests

    problem: str | None = None
    for mirror in mirrors:
        address = f"{mirror}{FILES[3]}.gz" if mirror.endswith("/") else mirror
        try:
            answer = requests.head(address, allow_redirects=True, timeout=_PROBE_SECONDS)
        except requests.RequestException as error:
            problem = f"{mirror} does not answer ({reason_of(error)})"
            continue
        if answer.ok or answer.status_code in _NO_HEAD:
            return None  # the host answers, and the download will tell
        problem = f"{mirror} answers {answer.status_code} ({answer.reason})"
    return problem


def download(definition: Definition, target: Path, say: Callable[[str], None]) -> tuple[Path, ...]:
    """Put the official files into `target`, checked against their MD5 sums; return them. They lie
    there as torchvision lays them out.

    Files that are there and whole stay; damaged files are downloaded again. Raises DownloadError
    when `VAEEXP_OFFLINE` is set, no mirror answers or a file does not arrive whole; then `target`
    is not made. Raises UserError when the cache cannot be written.
    """
    check_online()
    first = tuple(file.url for file in definition.remote[:1])
    if problem := why_unreachable(definition.mirrors or first):
        raise DownloadError(problem)
    say(f"Downloading {definition.title} to {target}.")
    if definition.remote or definition.list_remote:
        fetch = partial(_fetch_files, definition, say=say)
    else:
        fetch = partial(_fetch_torchvision, definition)
    return build_once(target, partial(open_downloads, definition), fetch)


def open_downloads(definition: Definition, folder: Path) -> tuple[Path, ...]:
    """Return the files in a folder of downloads, checked; none where there are none. Raises
    Damaged.

    Files that the user put there have no checksums.
    """
    if (folder / FACTS).exists():
        read_facts(folder)
    return definition.layout.find(definition, folder)


def _fetch_files(definition: Definition, folder: Path, say: Callable[[str], None]) -> None:
    files = definition.list_remote() if definition.list_remote else definition.remote
    for number, file in enumerate(files, 1):
        if len(files) > 1:
            say(f"  {number:,} of {len(files):,}: {file.name}")
        fetch_file(file, folder, stall=STALL_SECONDS)
    seal_folder(folder, {})


def _fetch_torchvision(definition: Definition, folder: Path) -> None:
    from http.client import HTTPException

    import torchvision.datasets

    before = socket.getdefaulttimeout()
    # Torchvision gives none: a dead connection would hang for ever.
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        for keyword, value in definition.downloads:
            getattr(torchvision.datasets, definition.torchvision)(
                folder, **{keyword: value}, download=True
            )
    except (RuntimeError, ImportError, OSError, HTTPException, EOFError) as error:
        raise DownloadError(f"the download failed: {one_line(str(error))}") from error
    finally:
        socket.setdefaulttimeout(before)
    seal_folder(folder, {})
