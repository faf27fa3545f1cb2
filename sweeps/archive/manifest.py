"""The manifest of an archive: its first member, which lists all others with their sizes and SHA-256
and has a seal of its own.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sweeps.checksums import SLOT, check_seal, seal
from sweeps.errors import UserError
from sweeps.files import UNFINISHED
from sweeps.names import check_name
from sweeps.schema import MARKS, check_schema

MANIFEST = "manifest.json"
RECORDS = "records.jsonl"
TRIALS = "trials"
REPORT = "report"
"""Members: the study's records, a line of JSON each; the folders of its runs; its report."""
MOST = 32 * 2**20
"""Bytes of a manifest at the most, because it is read before anything vouches for it: some 200,000
files.
"""
_LONGEST = 255  # bytes of a name, in most file systems


class Member(NamedTuple):
    """A file of an archive."""

    path: str
    size: int
    sha256: str
    """64 hexadecimal digits."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of an archive."""

    study: str
    """Name of the study where it was archived."""
    about: Mapping[str, Any]
    """Versions and machine; no environment variable."""
    members: tuple[Member, ...]
    """In the order of the archive."""

    @property
    def size(self) -> int:
        """The bytes of all members, uncompressed."""
        return sum(member.size for member in self.members)

    def to_bytes(self) -> bytes:
        """Return the manifest as JSON with schema number, version and seal."""
        content = {**MARKS, "sha256": SLOT, **asdict(self)}
        return seal(
            (json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
        )

    @classmethod
    def from_bytes(cls, content: bytes, file: Path) -> "Manifest":
        """Return the manifest that `to_bytes` made, with every path in it checked.

        Raises:
            Damaged: it is not what was written.
            UserError: another version made the archive in a way that this version cannot read.
        """
        check_seal(content, file)
        stored = json.loads(content)
        check_schema(str(file), stored)
        members = tuple(Member(*row) for row in stored["members"])
        check_paths([member.path for member in members], str(file))
        study = check_name(stored["study"], str(file))
        return cls(study=study, about=stored["about"], members=members)


def check_paths(paths: Sequence[str], place: str) -> None:
    """Raise UserError unless these are the paths of an archive: one file of records, and files of
    runs and of the report.

    None leads out of its folder, none stands twice, and none is the folder of another.
    """
    files = set(paths)
    for path in paths:
        parts = path.split("/")
        known = (
            path == RECORDS
            or (parts[0] == TRIALS and len(parts) > 2)
            or (parts[0] == REPORT and len(parts) > 1)
        )
        parents = {"/".join(parts[:end]) for end in range(1, len(parts))}
        if not known or not all(map(_is_plain, parts)) or parents & files:
            raise UserError(
                place, f"got {path[:80]!r} as a path in the archive, which may lead out of it."
            )
    if len(files) < len(paths) or RECORDS not in files:
        raise UserError(place, "must have the records of one study and each path once.")


def _is_plain(part: str) -> bool:
    return (
        part not in ("", ".", "..")
        and part.isprintable()
        and "\\" not in part
        and not part.startswith(UNFINISHED)
        and len(part.encode()) <= _LONGEST
    )
