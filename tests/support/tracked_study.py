"""A small study told to a Tracker, as a driver would; used by the tests of tracking, also from child processes."""

from pathlib import Path

from PIL import Image

from sweeps.tracking import Description, Tracker
from sweeps.workload.protocol import Failure, Outcome, Progress, Trial, TrialResult

STUDY = "small"
DATASET = {
    "name": "digits",
    "fingerprint": "ab" * 32,
    "source": "made up",
    "schema": {"images": [8, 1, 28, 28]},
    "profile": {"train": 8},
}


def describe(trial: Trial) -> Description:
    """Parameters and tags of a trial."""
    return Description(params={"epochs": 3, **trial.params}, tags={"model": "toy"})


def tracker(runs: Path, uri: str | None = None) -> Tracker:
    """A tracker of the small study."""
    return Tracker(uri, runs, STUDY, describe)


def open_study(tracked: Tracker) -> None:
    """Begin or continue the small study."""
    tracked.open_study(question="Does it work?", tags={"git": "abc"}, params={"seed": 0}, dataset=DATASET)


def trial(number: int, **changes: object) -> Trial:
    """A trial with one searched parameter."""
    return Trial(number=number, params={"beta": 0.1 * (number + 1)}, seed=100 + number, **changes)


def epoch(tracked: Tracker, runs: Path, number: int, step: int) -> None:
    """One epoch with two metrics and a picture."""
    folder = runs / "trials" / STUDY / trial(number).name
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / f"epoch-{step:04d}-samples.png"
    Image.new("L", (60, 40), color=10 * step).save(picture)
    metrics = {"train/loss": 10.0 / step, "val/neg_elbo": 11.0 / step}
    images = {step: {"samples": str(picture)}}
    tracked.epoch_finished(
        trial(number), Progress(number=number, epoch=step, objective=11.0 / step, metrics=metrics, images=images)
    )


def end(tracked: Tracker, runs: Path, number: int, state: str, *, steps: int) -> None:
    """The end of a trial, with files in its folder."""
    folder = runs / "trials" / STUDY / trial(number).name
    for name in ("settings.json", "weights.safetensors", "checkpoint.safetensors", ".part-1-half"):
        (folder / name).write_text(name)
    failure = Failure(kind="diverged", message="loss became infinite") if state == "failed" else None
    outcome = Outcome(state=state, epoch=steps, objective=11.0 / steps, failure=failure)
    result = TrialResult(number=number, metrics={"parameters": 7.0}, folder=str(folder))
    tracked.trial_ended(trial(number), outcome, result, None)


def tell_all(tracked: Tracker, runs: Path) -> None:
    """Three trials of 3 epochs (complete, pruned, failed) and a duplicate."""
    open_study(tracked)
    states = ("complete", "pruned", "failed")
    for number in range(3):
        tracked.trial_started(trial(number), resumed=False)
    for step in range(1, 4):
        for number in range(3):
            epoch(tracked, runs, number, step)
    for number, state in enumerate(states):
        end(tracked, runs, number, state, steps=3)
    outcome = Outcome(state="complete", epoch=3, objective=11.0 / 3)
    tracked.trial_ended(trial(3), outcome, TrialResult(number=3, metrics={"parameters": 7.0}), 0)


def contents(runs: Path, uri: str | None = None) -> dict[str, dict]:
    """Everything that MLflow knows of the small study, by name of run, free of ids and times."""
    from mlflow import MlflowClient

    client = MlflowClient(uri or f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(STUDY)
    found: dict[str, dict] = {}
    for run in client.search_runs([experiment.experiment_id]):
        assert run.info.run_name not in found, "two runs of one name"
        points = {
            key: [(point.step, round(point.value, 6)) for point in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
        }
        files = [
            item for folder in ("trial", "images", "model") for item in client.list_artifacts(run.info.run_id, folder)
        ]
        found[run.info.run_name] = {
            "status": run.info.status,
            "params": dict(run.data.params),
            "tags": {
                key: value for key, value in run.data.tags.items() if key not in ("sweeps.id", "mlflow.parentRunId")
            },
            "points": points,
            "files": sorted(item.path.split("+timestamp+")[0] + Path(item.path).suffix for item in files),
            "dataset": [item.dataset.digest for item in run.inputs.dataset_inputs],
            "parent": run.data.tags.get("mlflow.parentRunId"),
            "id": run.info.run_id,
        }
    return found
