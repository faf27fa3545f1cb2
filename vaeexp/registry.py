"""The study's best model, registered in MLflow under the study's name and the alias `best`."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sweeps.results import best_run
from vaeexp import __version__

if TYPE_CHECKING:
    from sweeps.results import Results
    from sweeps.tracking import Tracker
    from vaeexp.data import Dataset

__all__ = ["register_best"]


def register_best(results: "Results", dataset: "Dataset", tracker: "Tracker", runs: Path) -> None:
    """Register the best run that left weights; nothing when no trial completed."""
    run = best_run(results)
    if run is None:
        return
    folder = runs / "trials" / results.name / run["name"]
    if not (folder / "weights.safetensors").exists():
        return
    from vaeexp.serving import Reconstructor

    scale = 1 if dataset.binarisation == "static" else 255
    images = np.asarray(dataset.validation.images[:2], dtype=np.float32) / scale
    tracker.register_model(
        name=results.name,
        trial_name=run["name"],
        folder=folder,
        loader_module="vaeexp.serving",
        signature_example=(images, Reconstructor(folder).predict(images)),
        pip_requirements=[f"vaeexp=={__version__}", "torch", "safetensors"],
    )
