"""A small study written to a journal as a driver writes it, and all that MLflow knows of it; used
by the tests of tracking.
"""

import re
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from PIL import Image

from sweeps.files import UNFINISHED
from sweeps.lanes import Failure, Outcome, Progress, TrialResult, run_name
from sweeps.schema import MARKS
from sweeps.state.record import RegisteredModel
from sweeps.state.state import State
from sweeps.state.trial import Repeat, stored_path
from sweeps.storage import open_storage, repeat_study
from sweeps.storage.optuna_internals import handle_of
from sweeps.storage.running_trial import RunningTrial
from sweeps.storage.study_record import read_state, write_study
from sweeps.storage.trial_record import read_trial
from sweeps.tracking.run_tags import title

STUDY = "small"
DATASET = {"name": "digits", "fingerprint": "ab" * 32, "source": "made up", "profile": {"train": 8}}
SPEC = {"search": {"beta": {"kind": "float", "low": 0.0, "high": 100.0}}}


class SmallStudy:
    """A study in the journal of a runs folder, told step by step."""

    def __init__(self, runs: Path, *, identity: str = "0123", name: str = STUDY) -> None:
        self.runs, self.name = runs, name
        self.storage = open_storage(None, runs, name)
        self.optuna = optuna.create_study(
            study_name=name, storage=self.storage, load_if_exists=True
        )
        for key, value in {**MARKS, "identity": identity}.items():
            self.optuna.set_user_attr(key, value)
        self.write(
            question="Does it work?", spec=SPEC, seed=0, budget={"trials": 4, "seconds": None}
        )
        self.write(
            tags={"git": "abc", "model": "toy"}, constants={"epochs": 3, "beta": 9}, dataset=DATASET
        )
        self.write(text="question: Does it work?\n")
        self.running: dict[int, RunningTrial] = {}
        self.session("running")

    def write(self, **changes: Any) -> None:
        write_study(self.optuna, **changes)

    def session(self, state: str) -> None:
        self.write(session=state, session_at=time.time())

    def folder(self, number: int) -> Path:
        folder = self.runs / "trials" / self.name / f"trial-{number:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def start(self, number: int) -> None:
        """Begin a trial, or continue it."""
        trials = self.optuna.get_trials(deepcopy=False)
        if number == len(trials):
            params = {"beta": 0.1 * (number + 1)}
            distributions = {"beta": optuna.distributions.FloatDistribution(0, 100)}
            attributes = {"seed": 100 + number, "round": 0}
            fresh = optuna.create_trial(
                state=optuna.trial.TrialState.RUNNING,
                params=params,
                distributions=distributions,
                user_attrs=attributes,
            )
            self.optuna.add_trial(fresh)
            trials = self.optuna.get_trials(deepcopy=False)
        trial = read_trial(trials[number], dict, repeat=False)
        handle = handle_of(self.optuna, trials[number])
        self.running[number] = RunningTrial(trial.spec, handle, self.runs)

    def repeat(self, plan: Repeat) -> None:
        """A repeat that is trained for one epoch."""
        study = repeat_study(self.storage, self.name)
        number = len(study.get_trials(deepcopy=False))
        study.add_trial(
            optuna.create_trial(
                state=optuna.trial.TrialState.COMPLETE,
                value=1.0,
                intermediate_values={1: 1.0},
                user_attrs={
                    **asdict(plan),
                    "started": 10.0,
                    "ended": 20.0,
                    "round": 0,
                    "results": {"test/images": 8.0, "test/rate": 2.0},
                },
            )
        )
        assert study.get_trials(deepcopy=False)[number].user_attrs["seed"] == plan.seed

    def reassign(self, **roles: Mapping[str, Any]) -> None:
        """Give repeats, by number, other roles, as a longer search does."""
        write_study(
            repeat_study(self.storage, self.name),
            reassigned={name.removeprefix("r"): role for name, role in roles.items()},
        )

    def epoch(
        self,
        number: int,
        step: int,
        metrics: Mapping[str, float] | None = None,
        picture: Image.Image | None = None,
    ) -> None:
        """One epoch with metrics and a picture."""
        path = self.folder(number) / f"epoch-{step:04d}-samples.png"
        (picture or Image.new("L", (60, 40), color=10 * step % 256)).save(path)
        progress = Progress(
            number=number,
            epoch=step,
            objective=11.0 / step - number,
            metrics=metrics or {"train/loss": 10.0 / step, "val/neg_elbo": 11.0 / step},
            images={step: {"samples": str(path)}},
        )
        self.running[number].report(progress, step - 1, time.time())

    def end(
        self,
        number: int,
        state: str,
        *,
        epochs: int,
        duplicate_of: int | None = None,
        results: Mapping[str, float] | None = None,
    ) -> None:
        """The end of a trial, with files in its folder."""
        folder = self.folder(number)
        if duplicate_of is None:
            for name in (
                "settings.json",
                "weights.safetensors",
                "checkpoint.safetensors",
                f"{UNFINISHED}half",
            ):
                (folder / name).write_text(name)
        failure = (
            Failure(kind="diverged", message="loss became infinite") if state == "failed" else None
        )
        objective = 11.0 / epochs - (number if duplicate_of is None else duplicate_of)
        outcome = Outcome(state=state, epoch=epochs, objective=objective, failure=failure)
        result = TrialResult(
            number=number, metrics=results or {"parameters": 7.0}, folder=str(folder)
        )
        self.running[number].end(
            outcome, result, epochs - 1, time.time(), duplicate_of=duplicate_of
        )
        self.running.pop(number).tell(outcome, outcome.objective if state != "failed" else None)

    def tell_all(self) -> None:
        """Three trials of 3 epochs (complete, pruned, failed), a duplicate, the report and the
        model.
        """
        for number in range(3):
            self.start(number)
        for step in range(1, 4):
            for number in range(3):
                self.epoch(number, step)
        for number, state in enumerate(("complete", "pruned", "failed")):
            self.end(number, state, epochs=3)
        self.start(3)
        self.end(3, "complete", epochs=3, duplicate_of=0)
        self.conclude()

    def conclude(self) -> None:
        """The report, the model and the end of the session."""
        report = self.runs.parent / "reports" / self.name
        report.mkdir(parents=True, exist_ok=True)
        (report / "README.md").write_text("# It works")
        model = self.runs / "trials" / "model"
        model.mkdir(exist_ok=True)
        (model / "factor.json").write_text("2")
        registered = RegisteredModel(
            name=f"{self.name}-best",
            alias="best",
            run=run_name(self.name, 0, repeat=False),
            folder=stored_path(model, self.runs),
            loader_module="doubling_model",
            inputs={"dtype": "float32", "values": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]},
            outputs={"dtype": "float32", "values": [[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]]},
            pip_requirements=("numpy",),
            description="Doubles.",
        )
        self.write(report=str(report), report_at=time.time(), model=registered)
        self.session("finished")

    def stored(self) -> State:
        return read_state(self.storage, self.name)


def client(runs: Path, uri: str | None = None) -> Any:
    """A client of the store in a runs folder, or of another."""
    from mlflow import MlflowClient

    return MlflowClient(uri or f"sqlite:///{runs / 'mlflow.db'}")


def contents(runs: Path, uri: str | None = None, name: str = STUDY) -> dict[str, dict[str, Any]]:
    """Everything that MLflow knows of a study, by name of run, free of ids."""
    mlflow = client(runs, uri)
    found: dict[str, dict[str, Any]] = {}
    for run in mlflow.search_runs([mlflow.get_experiment_by_name(name).experiment_id]):
        identity, tags = run.info.run_id, dict(run.data.tags)
        assert run.info.run_name not in found, "two runs of one name"
        found[run.info.run_name] = {
            "status": run.info.status,
            "started": run.info.start_time,
            "ended": run.info.end_time,
            "params": dict(run.data.params),
            "tags": {key: value for key, value in tags.items() if key != "mlflow.parentRunId"},
            "nested": "mlflow.parentRunId" in tags,
            "points": {
                key: [
                    (p.step, p.timestamp, p.value) for p in mlflow.get_metric_history(identity, key)
                ]
                for key in run.data.metrics
            },
            "files": sorted(
                re.sub(r"\+[-0-9a-f]{36}", "", item.path)
                for folder in ("trial", "images", "report", "study")
                for item in mlflow.list_artifacts(identity, folder)
            ),
            "dataset": [item.dataset.digest for item in run.inputs.dataset_inputs],
        }
    return found


def expected(stored: State) -> dict[str, dict[str, Any]]:
    """Points, pictures, times and states that MLflow should have of each trial, as the storage
    tells them.
    """
    found = {}
    stopped = stored.study.session != "running"
    states = {
        "complete": ("FINISHED", "COMPLETE"),
        "pruned": ("KILLED", "PRUNED"),
        "failed": ("FAILED", "FAIL"),
    }
    states["running"] = ("KILLED", "INTERRUPTED") if stopped else ("RUNNING", "RUNNING")
    for record in (*stored.trials, *stored.repeats):
        points: dict[str, list[tuple[int, int, float]]] = {}
        for epoch in record.epochs:
            for name, value in epoch.metrics.items():
                points.setdefault(name, []).append((epoch.epoch, int(1000 * epoch.at), value))
        if record.outcome:
            final = {} if record.duplicate_of is not None else dict(record.results)
            if record.outcome.objective is not None:
                final["objective"] = record.outcome.objective
            for name, value in final.items():
                points.setdefault(name, []).append(
                    (record.outcome.epoch, int(1000 * record.ended), value)
                )
        times = {epoch.epoch: int(1000 * epoch.at) for epoch in record.epochs}
        pictures = [
            f"images/{p.name}+step+{p.epoch}+timestamp+{times[p.epoch]}" for p in record.pictures
        ]
        found[title(stored.study.name, record)] = {
            "status": states[record.state][0],
            "state": states[record.state][1],
            "points": points,
            "pictures": sorted(
                name + kind for name in pictures for kind in (".png", "+compressed.webp")
            ),
        }
    return found


def reduced(contents: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the part of `contents` that `expected` names."""
    return {
        name: {
            "status": run["status"],
            "state": run["tags"]["sweeps.state"],
            "points": run["points"],
            "pictures": [file for file in run["files"] if file.startswith("images/")],
        }
        for name, run in contents.items()
        if run["nested"]
    }


def views(runs: Path) -> list[str]:
    """The keys of the saved views in the store of a runs folder."""
    with closing(sqlite3.connect(runs / "mlflow.db")) as connection:
        found = connection.execute(
            "SELECT key FROM experiment_tags WHERE key LIKE 'mlflow.sharedViewState.%'"
        )
        return sorted(key.removeprefix("mlflow.sharedViewState.") for (key,) in found)
