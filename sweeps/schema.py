"""The version of the code, and the number of the way in which it stores studies and the files of their runs."""

from collections.abc import Mapping
from typing import Any

from sweeps.errors import UserError

VERSION = "0.1.0"
SCHEMA = 1
"""Rises with every change of what is stored that an older version would misread."""

MARKS: Mapping[str, Any] = {"schema": SCHEMA, "version": VERSION}
"""The keys by which every stored study, and every file that is read again as JSON, names its schema and its writer."""


def check_schema(place: str, stored: Mapping[str, Any]) -> None:
    """Check the schema number of what is stored: attributes of a study, or the content of a file.

    Raises:
        UserError: the number is missing or unknown; names the version of vaeexp that reads it.
    """
    if (schema := stored.get("schema")) == SCHEMA:
        return
    here = f"vaeexp {VERSION} reads schema {SCHEMA}"
    if schema is None:
        raise UserError(place, f"has no schema number, because an older version of vaeexp wrote it; {here}.")
    writer = f"vaeexp {stored['version']}, which wrote it" if "version" in stored else "the version that wrote it"
    raise UserError(place, f"is stored in schema {schema}, and {here}. Use {writer}.")
