"""Find the files of a data set: in the folder given, in the user's cache, by download, or the bundled digits."""

import os
import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.errors import UserError
from vaeexp.cache import build_once, cache_folder
from vaeexp.data.datasets import DIGITS, SUBSET_COUNTS, SUBSET_VALIDATION
from vaeexp.data.formats import Definition, Source
from vaeexp.data.formats.arrays import ARRAYS
from vaeexp.data.formats.torchvision_files import FILES

if TYPE_CHECKING:
    from vaeexp.settings import DataSettings

BUNDLED = Path(__file__).parent
"""The folder with the bundled digits."""

_PROBE_SECONDS = 8.0
_STALL_SECONDS = 30.0


class DownloadError(Exception):
    """The network does not give the files; the message has the reason."""


@cache
def why_unreachable(mirrors: tuple[str, ...]) -> str | None:
    """Return None when a mirror answers within 8 s, else a sentence with the reason. This process asks once."""
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
        is_whole=lambda folder: bool(definition.layout.find(definition, folder)),
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


def find_source(
    settings: "DataSettings", definition: Definition, *, root: Path | None, full_data: bool, say: Callable[[str], None]
) -> Source:
    """Find the files: under `root`, else in the user's cache, else by download, else the bundled digits (MNIST only).

    A root that is given must hold the files. `say` announces the bundled digits.
    Raises UserError, which names the files expected and the places searched, when there are no files, or none but the
    bundled digits and `full_data` is set.
    """
    layout, title = definition.layout, definition.title
    expected = layout.expected(definition)

    def source(root: Path, paths: tuple[Path, ...], words: str) -> Source:
        return Source(definition=definition, settings=settings, root=root, paths=paths, words=words)

    if root is not None:
        root = Path(root).expanduser()
        if paths := layout.find(definition, root):
            files = f"{title} files" if definition.mirrors else title
            return source(root, paths, f"{files} in the {'folder' if root.is_dir() else 'file'} given")
        if layout is ARRAYS:
            other = ". For a folder of image files try --set dataset=folder." if root.is_dir() else ""
            raise UserError(str(root), f"got no file of arrays; must be {expected}{other}")
        if not root.is_dir():
            other = ". For a file of arrays try --set dataset=arrays." if root.suffix in (".npy", ".npz") else ""
            raise UserError(str(root), f"got a path that is not a folder; must be a folder with {expected}{other}")
        raise UserError(str(root), f"got a folder without {title}; must hold {expected}{_elsewhere(definition)}")
    if not definition.mirrors:
        problem = f"'{definition.name}' needs --data (or VAEEXP_DATA), which must name {expected}"
        raise UserError("data.dataset", problem)
    downloads = cache_folder() / "downloads" / definition.name
    if paths := layout.find(definition, downloads):
        return source(downloads, paths, f"{title} files in the user's cache")
    try:
        download(definition, downloads, say)
        return source(downloads, layout.find(definition, downloads), f"{title} files, downloaded")
    except DownloadError as error:
        reason = str(error)
    looked = f"no data folder was given, {downloads} holds none, and they could not be downloaded: {reason}"
    if full_data or not definition.bundled:
        problem = f"got no files ({looked}); must be {expected}. Try --data FOLDER or VAEEXP_DATA=FOLDER"
        raise UserError(title, f"{problem}{_elsewhere(definition)}")
    say(_notice(definition, looked))
    digits = replace(definition, layout=DIGITS)
    return Source(
        definition=digits,
        settings=settings,
        root=BUNDLED,
        paths=DIGITS.find(digits, BUNDLED),
        words=f"{sum(SUBSET_COUNTS):,} {title} digits bundled with vaeexp",
        subset=True,
    )


def _elsewhere(definition: Definition) -> str:
    """How to get the files on another machine."""
    if not definition.torchvision:
        return ""
    calls = [
        f"{definition.torchvision}('FOLDER', {name}={value!r}, download=True)" for name, value in definition.downloads
    ]
    code = f"from torchvision.datasets import {definition.torchvision}; {'; '.join(calls)}"
    return f'. On a machine with a network, this command makes such a FOLDER: python -c "{code}"'


def _notice(definition: Definition, looked: str) -> str:
    training = SUBSET_COUNTS[0] - SUBSET_VALIDATION
    return "\n".join(
        [
            f"NOTE: this run uses {sum(SUBSET_COUNTS):,} real digits, not the whole of {definition.title}.",
            f"  The digits come with vaeexp: {training:,} to train on, {SUBSET_VALIDATION} for validation, "
            f"{SUBSET_COUNTS[1]} for test.",
            f"  Every result is marked as made on this subset; it cannot be compared with results on {definition.title}.",
            f"  Why: {looked}.",
            f"  For all {sum(definition.counts or ()):,} images: --data FOLDER or VAEEXP_DATA=FOLDER, where FOLDER holds",
            f"  {definition.layout.expected(definition)}.",
        ]
    )
