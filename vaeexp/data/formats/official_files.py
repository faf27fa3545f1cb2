"""Whether files are the official ones of their data set. Their checksums say so; names, sizes and
counts do not.
"""

import gzip
import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vaeexp.data.formats import Checksum, Definition

NOT_OFFICIAL = "not the official files"
NOT_VERIFIED = "files not verified"
"""Words for a title."""


def describe_doubt(definition: Definition, paths: Sequence[Path]) -> tuple[str, tuple[str, ...]]:
    """Compare files with the checksums of their definition, in its order.

    Returns words for the title and warnings; both are empty for the official files.
    """
    title = definition.title
    if len(paths) != len(definition.checksums):  # unpacked files of an archive
        archives = ", ".join(file.name.rpartition("/")[2] for file in definition.remote)
        problem = f"only {archives} of {title} has a known checksum, and the files are unpacked"
        return NOT_VERIFIED, (f"{problem}. Put it into the same folder to have them verified",)
    others = list[str]()
    unknown = list[str]()
    for path, checksum in zip(paths, definition.checksums, strict=True):
        official = _is_official(path, checksum)
        if official is None:
            unknown.append(path.name)
        elif not official:
            others.append(path.name)
    if others:
        problem = f"the checksum of {', '.join(others)} is not that of {title}"
        remedy = f"If {title} is meant, replace the files"
        return NOT_OFFICIAL, (
            f"{problem}: no figure published for {title} can be compared. {remedy}",
        )
    if unknown:
        problem = f"only the compressed files of {title} have known checksums"
        remedy = "Put the .gz files into the same folder to have them verified"
        return NOT_VERIFIED, (f"{problem}, and {', '.join(unknown)} is unpacked. {remedy}",)
    return "", ()


def _is_official(path: Path, known: Checksum) -> bool | None:
    """Return whether a file is the published one, packed or not; None where only the checksum of
    the packed file is known.
    """
    if known.content:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == known.content
    if not path.name.endswith(known.suffix):
        return None
    with path.open("rb") as stream:
        md5 = hashlib.file_digest(stream, partial(hashlib.md5, usedforsecurity=False))
    return md5.hexdigest() == known.md5
