"""Files and answers over HTTP: resumed when a transfer breaks, checked when it is complete."""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeexp.console import open_console, progress_bar
from vaeexp.data.formats import RemoteFile

if TYPE_CHECKING:
    from requests import Response

_ATTEMPTS = 4
_CHUNK = 2**18
PAUSE_SECONDS = 1.0
"""Pause before the second attempt; the third waits twice as long."""
_FINAL = (400, 401, 403, 404, 405, 410, 451)
"""Answers that another attempt would not change."""


class DownloadError(Exception):
    """The network does not give the files; the message has the reason in one line."""


class _Broken(Exception):
    """A transfer broke off, and another attempt may succeed; the message has the reason."""


def fetch_file(file: RemoteFile, folder: Path, *, stall: float) -> Path:
    """Download a file into `folder` and return its path.

    A transfer that breaks off is resumed, or begun again where the server cannot resume. The file
    gets its name when its size and its MD5 sum, where they are known, are right.

    stall: seconds that the connection may be silent.

    Raises DownloadError.
    """
    path = folder / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    version = ""
    for attempt in range(_ATTEMPTS):
        time.sleep(PAUSE_SECONDS * attempt)
        version, problem = _receive(file, part, version, stall)
        if not problem:
            break
    else:
        raise DownloadError(f"{file.url} broke off {_ATTEMPTS} times ({problem})")
    if file.md5 and (found := _md5(part)) != file.md5:
        part.unlink()
        raise DownloadError(f"{file.url} has the MD5 sum {found}; must be {file.md5}")
    return part.rename(path)


def fetch_json(url: str, *, stall: float, token_from: str = "") -> Any:
    """Return the content of an answer in JSON; arguments as in `RemoteFile` and `fetch_file`.
    Raises DownloadError.
    """
    try:
        with _opened(url, {}, stall=stall, token_from=token_from) as response:
            return response.json()
    except _Broken as broken:
        raise DownloadError(f"{url} does not answer ({broken})") from broken
    except ValueError as error:
        raise DownloadError(f"{url} answers with something else than JSON") from error


def _receive(file: RemoteFile, part: Path, version: str, stall: float) -> tuple[str, str]:
    """Write what is missing of a file into `part`. Return the server's name for this version of the
    file, and why the transfer broke off; empty when the file is complete.

    version: of the bytes that are there. They are kept where the server still has this version, and
    where an MD5 sum will tell. Raises DownloadError.
    """
    have = part.stat().st_size if part.exists() else 0
    headers = {}
    if have and (version or file.md5):
        headers["Range"] = f"bytes={have}-"
    if have and version:
        headers["If-Range"] = version
    try:
        with _opened(file.url, headers, stall=stall, token_from=file.token_from) as response:
            version = _version(response)
            _write(response, part, have, file.name)
    except _Broken as broken:
        return version, str(broken)
    return version, ""


def _write(response: "Response", part: Path, have: int, name: str) -> None:
    """Append a resumed transfer to the `have` bytes of `part`, or write all of it. Raises
    _Broken.
    """
    resumed = response.status_code == 206
    if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        part.unlink()
        raise _Broken("the server resumed at another place")
    done = have if resumed else 0
    length = response.headers.get("Content-Length", "")
    total = done + int(length) if length.isdecimal() else None
    response.raw.enforce_content_length = False  # what has arrived is kept
    bar = progress_bar(open_console(stderr=True), f"Downloading {name}")
    with part.open("ab" if resumed else "wb") as stream, bar as advance:
        for chunk in response.iter_content(_CHUNK):
            stream.write(chunk)
            done += len(chunk)
            advance(done, total or done)
    if total is not None and done != total:
        raise _Broken(f"{done:,} of {total:,} bytes arrived")


def _version(response: "Response") -> str:
    """Return what names the version of a file; empty where two versions may have one name."""
    tag: str = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else ""


@contextmanager
def _opened(
    url: str, headers: dict[str, str], *, stall: float, token_from: str
) -> Iterator["Response"]:
    """Open an address. A token follows a redirection within its host, and no other. Raises
    DownloadError and _Broken.
    """
    import requests

    sent = {"User-Agent": "vaeexp", "Accept-Encoding": "identity", **headers}
    if token := os.environ.get(token_from, ""):
        sent["Authorization"] = f"Bearer {token}"
    try:
        # Without `auth`, a password of .netrc would take the place of the token.
        with requests.get(
            url, headers=sent, auth=lambda request: request, timeout=stall, stream=True
        ) as response:
            if response.status_code >= 400:
                problem = f"{url} answers {response.status_code} ({response.reason})"
                raise (DownloadError if response.status_code in _FINAL else _Broken)(problem)
            yield response
    except requests.exceptions.InvalidSchema as error:
        raise DownloadError(f"got the address {url}; must begin with https://") from error
    except requests.JSONDecodeError:
        raise
    except requests.RequestException as error:
        raise _Broken(reason_of(error)) from error


def reason_of(error: BaseException) -> str:
    """Return the first cause of an error in one line."""
    while error.__context__:
        error = error.__context__
    return "the connection was silent" if isinstance(error, TimeoutError) else one_line(str(error))


def one_line(text: str) -> str:
    """Return a text without line breaks."""
    return " ".join(text.split())


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
