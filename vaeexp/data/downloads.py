"""Official files from the network into the user's cache: whole and checked, or not at all."""

import os
import socket
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from vaeexp.cache import FACTS, build_once, read_facts, seal_folder
from vaeexp.data.formats import Definition
from vaeexp.data.formats.torchvision_files import FILES

_PROBE_SECONDS = 4.0
_STALL_SECONDS = 30.0


class DownloadError(Exception):
    """The network does not give the files; the message has the reason."""


@cache
def why_unreachable(mirrors: tuple[str, ...]) -> str | None:
    """Return None when a mirror answers, else a sentence with the reason. This process asks once,
    for 4 s a mirror.
    """
    import urllib.request
    from http.client import HTTPException

    problem: str | None = None
    for mirror in mirrors:
        address = f"{mirror}{FILES[3]}.gz" if mirror.endswith("/") else mirror
        request = urllib.request.Request(address, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=_PROBE_SECONDS):
                return None
        except (OSError, HTTPException) as error:
            problem = f"{mirror} does not answer ({getattr(error, 'reason', None) or error})"
    return problem


def download(definition: Definition, target: Path, say: Callable[[str], None]) -> tuple[Path, ...]:
    """Put the official files into `target` in torchvision's layout, checked against torchvision's
    MD5 sums; return them.

    Files that are there and whole stay; damaged files are downloaded again. Raises DownloadError
    when `VAEEXP_OFFLINE` is set, no mirror answers or a file does not arrive whole; then `target`
    is not made. Raises UserError when the cache cannot be written.
    """
    if os.environ.get("VAEEXP_OFFLINE", "0") not in ("", "0"):
        raise DownloadError("VAEEXP_OFFLINE is set")
    if problem := why_unreachable(definition.mirrors):
        raise DownloadError(problem)
    say(f"Downloading {definition.title} to {target}.")
    return build_once(target, partial(open_downloads, definition), partial(_fetch, definition))


def open_downloads(definition: Definition, folder: Path) -> tuple[Path, ...]:
    """Return the files in a folder of downloads, checked; none where there are none. Raises
    Damaged.

    Files that the user put there have no checksums.
    """
    if (folder / FACTS).exists():
        read_facts(folder)
    return definition.layout.find(definition, folder)


def _fetch(definition: Definition, folder: Path) -> None:
    from http.client import HTTPException

    import torchvision.datasets

    before = socket.getdefaulttimeout()
    # Torchvision gives none: a dead connection would hang for ever.
    socket.setdefaulttimeout(_STALL_SECONDS)
    try:
        for keyword, value in definition.downloads:
            getattr(torchvision.datasets, definition.torchvision)(
                folder, **{keyword: value}, download=True
            )
    except (RuntimeError, ImportError, OSError, HTTPException, EOFError) as error:
        raise DownloadError(f"the download failed: {error}") from error
    finally:
        socket.setdefaulttimeout(before)
    seal_folder(folder, {})
