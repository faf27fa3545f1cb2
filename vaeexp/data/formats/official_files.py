"""Whether files are the official ones of their data set. Their checksums say so; names, sizes and
counts do not.
"""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO

from vaeexp.data.formats import Checksum, Definition

NOT_OFFICIAL, NOT_VERIFIED = "not the official files", "files not verified"
"""Words for a title."""
_md5 = partial(hashlib.md5, usedforsecurity=False)


def describe_doubt(definition: Definition, paths: Sequence[Path]) -> tuple[str, tuple[str, ...]]:
    """Compare files with the checksums of their definition, in its order.

    Returns words for the title and warnings; both are empty for the official files.
    """
    answers = [
        _is_official(path, checksum)
        for path, checksum in zip(paths, definition.checksums, strict=True)
    ]
    others = ", ".join(
        path.name for path, answer in zip(paths, answers, strict=True) if answer is False
    )
    unknown = ", ".join(
        path.name for path, answer in zip(paths, answers, strict=True) if answer is None
    )
    if others:
        problem = (
            f"the checksum of {others} is not that of {definition.title}: no figure published for "
            f"{definition.title}"
        )
        remedy = (
            f"If {definition.title} is meant, replace the files; if not, the results are of these "
            "files alone"
        )
        return NOT_OFFICIAL, (f"{problem} can be compared. {remedy}",)
    if unknown:
        problem = (
            f"only the compressed files of {definition.title} have known checksums, and {unknown} "
            "is unpacked"
        )
        return NOT_VERIFIED, (
            f"{problem}. Put the .gz files into the same folder to have them verified",
        )
    return "", ()


def _is_official(path: Path, known: Checksum) -> bool | None:
    """Return whether a file is the published one, packed or not; None where only the checksum of
    the absent packed file is known.
    """
    if known.content:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == known.content
    packed = (
        path if path.name.endswith(known.suffix) else path.with_name(f"{path.name}{known.suffix}")
    )
    if not packed.is_file():
        return None
    with packed.open("rb") as stream:
        if hashlib.file_digest(stream, _md5).hexdigest() != known.md5:
            return False
        if packed == path:
            return True
        stream.seek(-8, 2)  # gzip ends with CRC-32 and size of what it holds
        crc, size = struct.unpack("<2I", stream.read(8))
    with path.open("rb") as stream:
        return (_crc(stream), path.stat().st_size) == (crc, size)


def _crc(stream: IO[bytes]) -> int:
    crc = 0
    for block in iter(partial(stream.read, 2**20), b""):
        crc = zlib.crc32(block, crc)
    return crc
