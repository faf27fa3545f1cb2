"""The version of the code, and the number of the way in which it stores studies and the files of
their runs.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.checksums import check_seal
from sweeps.errors import UserError
from sweeps.program import program

VERSION = "0.2.0"
"""Rises with the form of what is stored, so that a line can name the version that opens a store."""
SCHEMA = 1
"""Rises with every change of what is stored that an older version would misread."""

STAGED = 2
"""Schema of a study of more than one stage, which an older version would take for one."""
STUDIES = (SCHEMA, STAGED)
"""Schemas of the studies that this version reads."""

MARKS: Mapping[str, Any] = {"schema": SCHEMA, "version": VERSION}
"""The keys by which every stored study, and every file that is read again, names its schema and its
writer.
"""

UNNUMBERED: Mapping[str, Any] = {"schema": 1}
"""What files without a number are: checkpoints, weights, arrays and the cache had none at first.
Weights have none to this day.
"""


def check_schema(place: str, stored: Mapping[str, Any], known: tuple[int, ...] = (SCHEMA,)) -> None:
    """Check the schema number of what is stored: attributes of a study, or the content of a file.

    Raises:
        UserError: the number is missing or unknown; names the version that reads it.
    """
    if (schema := stored.get("schema")) in known:
        return
    here = f"{program().name} {VERSION} reads schema {' and '.join(map(str, known))}"
    if schema is None:
        raise UserError(
            place,
            f"has no schema number, because an older version of {program().name} wrote it; {here}.",
        )
    writer = (
        f"{program().name} {stored['version']}, which wrote it"
        if "version" in stored
        else "the version that wrote it"
    )
    raise UserError(place, f"is stored in schema {schema}, and {here}. Use {writer}.")


def check_file(content: bytes, path: Path) -> None:
    """Check the content of a sealed file, in JSON, npz or safetensors by its name, against its
    seal, and its schema number.

    The number is a key of JSON, of the comment of an npz file (JSON, too), or of the metadata of
    safetensors. JSON must have it.

    Raises:
        Damaged: the content has changed since it was sealed, or it has no seal.
        UserError: another version wrote it in a way that this version cannot read.
    """
    check_seal(content, path)
    stored = (
        json.loads(content)
        if path.suffix == ".json"
        else {**UNNUMBERED, **_marks(content, path.suffix)}
    )
    check_schema(str(path), stored)


def _marks(content: bytes, kind: str) -> dict[str, Any]:
    if kind == ".npz":
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            comment = file.comment
        return json.loads(comment) if comment.startswith(b"{") else {}
    end = 8 + int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8:end]).get("__metadata__", {})
    # All metadata are texts.
    return {
        name: int(text) if text.isdecimal() else text
        for name, text in metadata.items()
        if name in MARKS
    }
