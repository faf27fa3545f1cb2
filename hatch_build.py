"""Gives the package's page on an index a README whose links lead to the repository, because its
files are not beside it there.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class ReadmeHook(MetadataHookInterface):
    """Adds `readme` to the metadata."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Make each relative link of README.md absolute: pages of the repository, and its raw files
        for pictures.
        """
        repository = metadata["urls"]["Homepage"]
        raw = repository.replace("github.com", "raw.githubusercontent.com")
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        text = re.sub(r"(!\[[^\]]*\]\()(?!\w+:|#)", rf"\g<1>{raw}/main/", text)
        text = re.sub(r"(?<!!)(\[[^\]]*\]\()(?!\w+:|#)", rf"\g<1>{repository}/blob/main/", text)
        text = re.sub(r'(src=")(?!\w+:)', rf"\g<1>{raw}/main/", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def get_metadata_hook() -> type[MetadataHookInterface]:
    """Return the hook, for hatchling."""
    return ReadmeHook
