"""A trial's files among the artifacts of its run. In a local store they are links: weights take their space once."""

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from sweeps.tracking.pictures import pictured

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["log_files"]

_LEFT_OUT = {"checkpoint.safetensors"}


def log_files(client: "MlflowClient", run_id: str, folder: Path) -> None:
    """Log the files of a folder below `trial/`, but no checkpoint, no half-written file, no picture shown as one."""
    pictures = {Path(item.path).name for item in client.list_artifacts(run_id, "images")}
    store = _local(client.get_run(run_id).info.artifact_uri)
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name in _LEFT_OUT or path.suffix == ".tmp" or pictured(path, pictures):
            continue
        below = Path("trial", *path.relative_to(folder).parts[:-1])
        if store is None or not _linked(path, store / below / path.name):
            client.log_artifact(run_id, str(path), below.as_posix())


def _local(artifact_uri: str) -> Path | None:
    """The folder behind an artifact address on this machine, None for a remote one."""
    parsed = urlparse(artifact_uri)
    return Path(unquote(parsed.path)) if parsed.scheme in ("", "file") else None


def _linked(path: Path, target: Path) -> bool:
    """Whether `target` could be made a hard link to `path`: not across file systems, and not on all of them."""
    temporary = target.with_name(f".{target.name}.link")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        os.link(path, temporary)
        os.replace(temporary, target)
        # Replacing a link by a link to the same file leaves both names.
        temporary.unlink(missing_ok=True)
    except OSError:
        return False
    return True
