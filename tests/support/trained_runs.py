"""Runs that were really trained for an epoch or two, on files of any kind, without a study."""

from pathlib import Path
from typing import Any

from sweeps.lanes import Outcome, TrialSpec, advance_all
from vaeexp.data import Dataset, open_dataset
from vaeexp.runs import worker
from vaeexp.settings import DataSettings, EvaluationSettings, ModelSettings, Settings, TrainSettings


def trained_run(
    root: Path, path: Path | None, *, epochs: int = 2, model: dict[str, Any], **data: Any
) -> tuple[Path, Dataset]:
    """Train a repeat on the files at `path`; its folder, and its data set. The environment names
    the cache.
    """
    settings = Settings(
        data=DataSettings(**{"binarisation": "none", "validation_size": 12} | data),
        model=ModelSettings(**{"hidden": (16,), "latent_size": 3} | model),
        train=TrainSettings(epochs=epochs, batch_size=32),
        evaluation=EvaluationSettings(importance_samples=5, pictures_every=100),
    )
    dataset = open_dataset(settings.data, root=path, say=lambda text: None)
    lanes = worker.open_lanes(
        settings=settings,
        datasets={settings.data.key: dataset},
        maxima={},
        averaged=False,
        study="s",
        study_seed=4,
        folder=str(root / "trials"),
        device="cpu",
        precision="float32",
        fuse=False,
        compile=False,
        lanes=1,
        rows=1,
        threads=1,
        checkpoint_seconds=60,
    )
    lanes.add(TrialSpec(number=0, params={}, seed=0, repeat=True, test=True))
    for _ in range(epochs):
        [progress] = advance_all(lanes, [0])
    ended = Outcome(state="complete", epoch=epochs, objective=progress.objective)
    [result] = lanes.finish({0: ended})
    return Path(result.folder), dataset
