"""Pictures that the MLflow UI shows with a slider over epochs.

The same files as `MlflowClient.log_image` makes, except that the random part of the name follows from the picture's
file name: recording a picture twice overwrites it, also when the first time was cut off in the middle of a copy.
"""

import shutil
import tempfile
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any

__all__ = ["log_picture", "pictured"]

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
