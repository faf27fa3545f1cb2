"""Download of the official files with torchvision, after a quick look whether any mirror answers."""

import os
import queue
import socket
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

from vaeexp.data.cache import build_once
from vaeexp.data.definitions import FILES, Definition
from vaeexp.data.layouts import LAYOUTS

__all__ = ["DownloadError", "download", "why_unreachable"]

_PROBE_SECONDS = 8.0
_STALL_SECONDS = 30.0


class DownloadError(Exception):
    """The files could not be had from the network; the message says why."""


@cache
def why_unreachable(mirrors: tuple[str, ...]) -> str | None:
    """None when one of the mirrors answers within 8 s, else a sentence that says why none does.

    The answer is kept for this process.
    """
    answers: queue.Queue[str | None] = queue.Queue()
    for mirror in mirrors:
        # Daemon threads, since the look-up of a host name can hang for longer than any timeout given to urllib.
        threading.Thread(target=lambda mirror=mirror: answers.put(_ask(mirror)), daemon=True).start()
    problem = f"no mirror answered within {_PROBE_SECONDS:.0f} s"
    try:
        for _ in mirrors:
            answer = answers.get(timeout=_PROBE_SECONDS)
            if answer is None:
                return None
            problem = answer
    except queue.Empty:
        pass
    return problem


def _ask(mirror: str) -> str | None:
    import urllib.request
    from http.client import HTTPException

    address = f"{mirror}{FILES[3]}.gz" if mirror.endswith("/") else mirror
    request = urllib.request.Request(address, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_SECONDS / 2):
            return None
    except (OSError, HTTPException, ValueError) as error:
        return f"{mirror} does not answer ({getattr(error, 'reason', None) or error})"


def download(definition: Definition, target: Path, say: Callable[[str], None]) -> None:
    """Put the official files into `target` in torchvision's layout, checked against torchvision's MD5 sums.

    Raises DownloadError when `VAEEXP_OFFLINE` is set, no mirror answers or a file does not arrive whole; then
    `target` is not made. Raises UserError when the cache cannot be written.
    """
    if os.environ.get("VAEEXP_OFFLINE", "0") not in ("", "0"):
        raise DownloadError("VAEEXP_OFFLINE is set")
    if problem := why_unreachable(definition.mirrors):
        raise DownloadError(problem)
    say(f"Downloading {definition.title} to {target}.")
    build_once(
        target,
        is_whole=lambda folder: bool(LAYOUTS[definition.layout].find(definition, folder)),
        build=lambda folder: _fetch(definition, folder),
    )


def _fetch(definition: Definition, folder: Path) -> None:
    from http.client import HTTPException

    import torchvision.datasets

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_STALL_SECONDS)  # torchvision gives none: a dead connection would hang for ever
    try:
        for keyword, value in definition.downloads:
            getattr(torchvision.datasets, definition.torchvision)(folder, **{keyword: value}, download=True)
    except (RuntimeError, ImportError, OSError, HTTPException, EOFError) as error:
        raise DownloadError(f"the download failed: {error}") from error
    finally:
        socket.setdefaulttimeout(before)
