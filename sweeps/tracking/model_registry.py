"""A trial's model in MLflow's registry."""

import tempfile
import warnings
from pathlib import Path
from typing import Any


def register(client: Any, run_id: str, folder: Path, event: dict[str, Any]) -> None:
    """Save the model below the run's artifacts, make it a version of the registered model, point the alias at it.

    A run has at most one version of a model; a second call reuses it.
    """
    from mlflow.exceptions import MlflowException

    name = event["name"]
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name)
    versions = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    if versions:
        version = versions[0].version
    else:
        _upload(client, run_id, folder, event)
        source = f"{client.get_run(run_id).info.artifact_uri}/model"
        version = client.create_model_version(name, source, run_id=run_id).version
    client.set_registered_model_alias(name, event["alias"], version)


def _upload(client: Any, run_id: str, folder: Path, event: dict[str, Any]) -> None:
    import mlflow.pyfunc
    import numpy as np
    from mlflow.models import infer_signature

    inputs, outputs = (np.array(event[side]["values"], dtype=event[side]["dtype"]) for side in ("inputs", "outputs"))
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(temporary, "model")
        mlflow.pyfunc.save_model(
            path,
            loader_module=event["loader_module"],
            data_path=str(folder),
            signature=infer_signature(inputs, outputs),
            input_example=inputs,
            pip_requirements=event["pip_requirements"],
        )
        client.log_artifacts(run_id, str(path), "model")
