"""A trial's pictures and files among the artifacts of its MLflow run.

The same files as `MlflowClient.log_image` makes, except that the random part of the name follows from the picture's
file name: recording a picture twice overwrites it, also when the first time was cut off in the middle of a copy.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from sweeps.files import UNFINISHED, write_whole

if TYPE_CHECKING:
    from mlflow import MlflowClient

THUMBNAIL = 256  # pixels of the longer side, as MLflow's own


def log_picture(client: Any, run_id: str, path: Path, *, key: str, step: int, at: int, again: bool) -> None:
    """Record a PNG file at a step, at time `at` (unix ms). A file that is gone is left out.

    `again`: the step may have been recorded before, perhaps at another time; then it is looked up first.
    """
    from PIL import Image

    if not path.exists():
        return
    mark = _mark(path.name)
    stem = f"{key.replace('/', '~')}+step+{step}+timestamp+{at}+{mark}"
    if again:
        names = {Path(item.path).name for item in client.list_artifacts(run_id, "images")}
        if any(f"+step+{step}+" in name and mark in name and not name.startswith(stem) for name in names):
            return
    with tempfile.TemporaryDirectory() as folder, Image.open(path) as image:
        shutil.copyfile(path, Path(folder, f"{stem}.png"))
        scale = THUMBNAIL / max(image.size)
        width, height = (max(1, int(side * scale)) for side in image.size)
        image.resize((width, height)).save(Path(folder, f"{stem}+compressed.webp"))
        client.log_artifacts(run_id, folder, "images")
    client.set_tag(run_id, "mlflow.loggedImages", "True")


def pictured(path: Path, names: Collection[str]) -> bool:
    """Whether a file is among the pictures of a run, given the names in its `images` folder."""
    return path.suffix == ".png" and any(_mark(path.name) in name for name in names)


def _mark(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


_LEFT_OUT = {"checkpoint.safetensors"}


def log_files(client: "MlflowClient", run_id: str, folder: Path) -> None:
    """Log the files of a folder below `trial/`, but no checkpoint, no half-written file, no picture shown as one."""
    pictures = {Path(item.path).name for item in client.list_artifacts(run_id, "images")}
    store = _local(client.get_run(run_id).info.artifact_uri)
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name in _LEFT_OUT or path.name.startswith(UNFINISHED) or pictured(path, pictures):
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
    try:
        write_whole(target, lambda unfinished: os.link(path, unfinished))
    except OSError:
        return False
    return True
