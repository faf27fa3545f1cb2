"""Checksums of what is stored: a seal inside a file, and the digest of a whole file."""

import hashlib
import re
from pathlib import Path

from sweeps.errors import UserError
from sweeps.program import program

SLOT = "0" * 64
"""The placeholder of a seal, until the content is sealed."""

CHECKSUM = "crc32"
"""The key of a record that holds the checksum of its other keys."""

_SEAL = re.compile(rb'"sha256": ?"([0-9a-f]{64})"')


class Damaged(UserError):
    """A stored file does not hold what was written into it. The place is its path; the problem says
    what to do.
    """


def seal(content: bytes, rest: bytes | memoryview = b"") -> bytes:
    """Return `content` with a SHA-256 in its slot: that of `content` followed by `rest`.

    Args:
        content: a JSON text, or the JSON head of a file (safetensors), with the slot `"sha256":
            "000…0"` (64 zeros, with or without the space). The first key `sha256` with 64
            hexadecimal digits is the slot.
        rest: what the file holds after `content`; it is not copied.

    Raises:
        ValueError: `content` has no slot.
    """
    slot = _SEAL.search(content)
    if slot is None or slot[1] != SLOT.encode():
        raise ValueError(
            'the content has no slot: "sha256" with 64 zeros must be its first key of that name'
        )
    digest = hashlib.sha256(content)
    digest.update(rest)
    return content[: slot.start(1)] + digest.hexdigest().encode() + content[slot.end(1) :]


def check_seal(content: bytes, path: Path) -> None:
    """Check the content of the file `path` against its seal.

    Raises:
        Damaged: the content has changed since it was sealed, or it has no seal.
    """
    found = _SEAL.search(content)
    if found is None:
        older = f"an older version of {program().name}"
        problem = f"has no checksum, because it is damaged or was written by {older}."
        raise Damaged(str(path), problem)
    view = memoryview(content)
    digest = hashlib.sha256(view[: found.start(1)])
    digest.update(SLOT.encode())
    digest.update(view[found.end(1) :])
    if found[1].decode() != digest.hexdigest():
        raise Damaged(str(path), "is damaged: its content does not match its checksum.")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits. The file is read block by block.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
