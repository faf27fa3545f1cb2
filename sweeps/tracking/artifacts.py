"""A run's pictures, files and model among the artifacts of its MLflow run.

A picture becomes the two files that `MlflowClient.log_image` makes, except that the random part of their names follows from
the picture's file name: whoever records a picture twice overwrites it, also when a kill cut the first time off.
"""

import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from sweeps.files import UNFINISHED, write_whole

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from sweeps.storage.study_record import RegisteredModel

THUMBNAIL = 256  # pixels of the longer side, as MLflow's own
FAST = 0  # effort of the thumbnail's compression, of 6

_LEFT_OUT = {"checkpoint.safetensors"}


@dataclass(frozen=True)
class Place:
    """Where the artifacts of one run go."""

    run_id: str
    uri: str

    def local(self) -> Path | None:
        """Return the folder on this machine; None for a remote store."""
        parsed = urlparse(self.uri)
        return Path(unquote(parsed.path)) if parsed.scheme in ("", "file") else None


def log_pictures(client: "MlflowClient", place: Place, pictures: Sequence[tuple[Path, str, int, int]]) -> None:
    """Record PNG files of a run, each as (path, key, step, unix ms). A file that is gone is left out."""
    store = place.local()
    for picture in pictures:
        if not picture[0].exists():
            continue
        if store:
            (store / "images").mkdir(parents=True, exist_ok=True)
            _write_picture(store / "images", *picture)
        else:
            with tempfile.TemporaryDirectory() as temporary:
                _write_picture(Path(temporary), *picture)
                client.log_artifacts(place.run_id, temporary, "images")


def _write_picture(folder: Path, path: Path, key: str, step: int, at: int) -> None:
    from PIL import Image

    stem = f"{key.replace('/', '~')}+step+{step}+timestamp+{at}+{uuid.uuid5(uuid.NAMESPACE_URL, path.name)}"
    if not _linked(path, folder / f"{stem}.png"):
        shutil.copyfile(path, folder / f"{stem}.png")
    with Image.open(path) as image:
        scale = THUMBNAIL / max(image.size)
        width, height = (max(1, int(side * scale)) for side in image.size)
        image.resize((width, height)).save(folder / f"{stem}+compressed.webp", method=FAST)


def log_files(client: "MlflowClient", place: Place, folder: Path, below: str, shown: Collection[Path] = ()) -> None:
    """Record the files of a folder below `below`, but no checkpoint, no half-written file, none that is `shown` as a picture."""
    store = place.local()
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name in _LEFT_OUT or path.name.startswith(UNFINISHED) or path in shown:
            continue
        target = Path(below, *path.relative_to(folder).parts)
        if store is None or not _linked(path, store / target):
            client.log_artifact(place.run_id, str(path), target.parent.as_posix())


def _linked(path: Path, target: Path) -> bool:
    """Make `target` a hard link to `path`; False where the file system cannot, or across two of them."""
    try:
        write_whole(target, lambda unfinished: os.link(path, unfinished))
    except OSError:
        return False
    return True


def register(client: "MlflowClient", run_id: str, folder: Path, model: "RegisteredModel") -> None:
    """Save the model in `folder` below the run's artifacts, make it a version of the registered model, and point the alias at it.

    A run has at most one version of a model; a second call reuses it.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(model.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(model.name)
    versions = client.search_model_versions(f"name = '{model.name}' and run_id = '{run_id}'")
    if versions:
        version = versions[0].version
    else:
        _upload(client, run_id, folder, model)
        source = f"{client.get_run(run_id).info.artifact_uri}/model"
        version = client.create_model_version(model.name, source, run_id=run_id).version
    client.set_registered_model_alias(model.name, model.alias, version)


def _upload(client: "MlflowClient", run_id: str, folder: Path, model: "RegisteredModel") -> None:
    import mlflow.pyfunc
    from mlflow.models import infer_signature

    inputs, outputs = _array(model.inputs), _array(model.outputs)
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(temporary, "model")
        mlflow.pyfunc.save_model(
            path,
            loader_module=model.loader_module,
            data_path=str(folder),
            signature=infer_signature(inputs, outputs),
            input_example=inputs,
            pip_requirements=list(model.pip_requirements),
        )
        client.log_artifacts(run_id, str(path), "model")


def _array(example: Mapping[str, Any]) -> Any:
    import numpy as np

    return np.array(example["values"], dtype=example["dtype"])
