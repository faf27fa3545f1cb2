"""Files and pictures of runs as MLflow's artifacts: hard links where the store lies on the same
disk, else copies.

A picture becomes the two files that `MlflowClient.log_image` makes, but the random part of their
names follows from the picture's file name. So a picture that is recorded again, as after a kill,
overwrites its files.
"""

import os
import shutil
import tempfile
import urllib.parse
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.files import UNFINISHED, write_whole

if TYPE_CHECKING:
    from mlflow import MlflowClient

THUMBNAIL = 256
"""Pixels of the longer side, as in MLflow's own thumbnails."""


@dataclass(frozen=True)
class ArtifactFolder:
    """The destination of the artifacts of one run."""

    run_id: str
    uri: str

    def local(self) -> Path | None:
        """Return the folder on this machine; None for a remote store."""
        parsed = urllib.parse.urlparse(self.uri)
        return Path(urllib.parse.unquote(parsed.path)) if parsed.scheme in ("", "file") else None


def log_pictures(
    client: "MlflowClient",
    artifacts: ArtifactFolder,
    pictures: Sequence[tuple[Path, str, int, int]],
) -> None:
    """Record PNG files of a run, each as (path, key, step, unix ms). A file that is gone is left
    out.
    """
    from PIL import Image

    store = artifacts.local()
    with tempfile.TemporaryDirectory() as temporary:
        folder = store / "images" if store else Path(temporary)
        for path, key, step, at in pictures:
            if not path.exists():
                continue
            folder.mkdir(parents=True, exist_ok=True)
            identity = uuid.uuid5(uuid.NAMESPACE_URL, path.name)
            stem = f"{key.replace('/', '~')}+step+{step}+timestamp+{at}+{identity}"
            if not _linked(path, folder / f"{stem}.png"):
                shutil.copyfile(path, folder / f"{stem}.png")
            with Image.open(folder / f"{stem}.png") as image:
                scale = THUMBNAIL / max(image.size)
                width, height = (max(1, int(side * scale)) for side in image.size)
                image.resize((width, height)).save(folder / f"{stem}+compressed.webp", method=0)
        if any(Path(temporary).iterdir()):
            client.log_artifacts(artifacts.run_id, temporary, "images")


def log_files(
    client: "MlflowClient",
    artifacts: ArtifactFolder,
    folder: Path,
    below: str,
    shown: Collection[Path] = (),
) -> None:
    """Record the files of a folder below `below`, but no checkpoint, no half-written file, none
    that is `shown` as a picture.

    A file that is gone meanwhile is left out.
    """
    store = artifacts.local()
    for path in sorted(folder.rglob("*")):
        if (
            not path.is_file()
            or path.name in ("checkpoint.safetensors", "checkpoint-previous.safetensors")
            or path.name.startswith(UNFINISHED)
            or path in shown
        ):
            continue
        target = Path(below, *path.relative_to(folder).parts)
        if store is None or not _linked(path, store / target):
            try:
                client.log_artifact(artifacts.run_id, str(path), target.parent.as_posix())
            except OSError:
                if path.exists():
                    raise


def _linked(path: Path, target: Path) -> bool:
    """Make `target` a hard link to `path`; return False where the file system cannot, or across two
    of them.
    """
    try:
        write_whole(target, lambda unfinished: os.link(path, unfinished))
    except OSError:
        return False
    return True
