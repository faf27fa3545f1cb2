"""Applies events of the outbox to MLflow. Applying an event twice changes nothing.

Runs are found by their tags before they are created; a run's newest epoch is a tag written in one transaction with
that epoch's metrics; pictures and files have names that follow from the event.
"""

import logging
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.tracking.artifacts import log_files, log_picture
from sweeps.tracking.mlflow_store import QUIET, STUDY_TAG, artifact_location, connections, opening, prepare
from sweeps.tracking.model_registry import register
from sweeps.tracking.outbox import Refused

Event = dict[str, Any]

PARENT = "study"  # value of `sweeps.trial` on the parent run
METRICS = 1000  # per call, the most that MLflow takes
REFUSALS = ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST")
STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "interrupted": "KILLED"}
STATE = {
    "complete": "COMPLETE",
    "pruned": "PRUNED",
    "failed": "FAIL",
    "interrupted": "INTERRUPTED",
    "running": "RUNNING",
}
CLOSING = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


@dataclass
class _Run:
    """What is known of a run in MLflow."""

    id: str
    state: str
    epoch: int
    """Newest epoch whose metrics MLflow has."""
    found: bool
    """It was there before this process, perhaps with pictures that are told of once more."""
    pictures: set[str] = field(default_factory=set)
    """Recorded by this process."""
    metrics: list[Any] = field(default_factory=list)
    """Not yet sent."""
    waiting: int = 0
    """Newest epoch among `metrics`."""


class Recorder:
    """One MLflow client and the runs of one study. Constructing it imports MLflow (2 s) and opens the store."""

    def __init__(self, uri: str, runs: Path, study: str, identity: str, *, own_store: bool) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        with opening(runs):
            from mlflow import MlflowClient

            for name in ("mlflow", "alembic", "urllib3.connectionpool"):
                logging.getLogger(name).setLevel(logging.ERROR)
            self.notice = prepare(runs) if own_store else None
            self._connections = connections() if own_store else []
            self._client = MlflowClient(uri)
            self._runs_folder, self._study, self._identity = runs, study, identity
            self._experiment = self._open_experiment(artifact_location(uri, runs, study))
        self._cache: dict[str, _Run] = {}
        self._parent_tags: dict[str, str] = {}
        self._datasets: list[Any] = []

    def close(self) -> None:
        """Leave a store of our own as one file: the last connection that closes takes its write-ahead log in."""
        for connection in self._connections:
            connection.close()

    def record(self, events: Iterable[Event]) -> None:
        """Apply events in order. Raises Refused where MLflow will never take one, else what the client raised."""
        from mlflow.exceptions import MlflowException

        for run in self._cache.values():
            run.metrics, run.waiting = [], 0
        try:
            for event in events:
                if PARENT not in self._cache:
                    self._find_parent(event["at"])
                self._APPLY[event["kind"]](self, event)
            self._flush_all()
        except MlflowException as error:
            if error.error_code in REFUSALS:
                raise Refused(str(error).splitlines()[0]) from error
            raise

    def _open_experiment(self, location: str | None) -> str:
        found = self._client.get_experiment_by_name(self._study)
        if found is None:
            tags = {STUDY_TAG: self._study, "mlflow.experimentKind": "custom_model_development"}
            return self._client.create_experiment(self._study, artifact_location=location, tags=tags)
        if found.lifecycle_stage != "active":
            raise RuntimeError(
                f"experiment '{self._study}' was deleted in MLflow: restore it there, or rename the study"
            )
        return found.experiment_id

    def _search(self, condition: str) -> list[Any]:
        """The runs of this study that meet a condition, whole."""
        condition = f"tags.`sweeps.id` = '{self._identity}' and {condition}"
        found, token = [], None
        while True:
            page = self._client.search_runs([self._experiment], condition, max_results=1000, page_token=token)
            found, token = [*found, *page], page.token
            if not token:
                return found

    def _find_parent(self, at: int) -> None:
        found = self._search(f"tags.`sweeps.trial` = '{PARENT}'")
        if found:
            run = found[0]
        else:
            tags = {**self._own_tags(PARENT), "sweeps.state": STATE["running"]}
            run = self._client.create_run(self._experiment, start_time=at, tags=tags, run_name=self._study)
        self._parent_tags = {
            key: value for key, value in run.data.tags.items() if not key.startswith(("mlflow.", "sweeps."))
        }
        self._datasets = run.inputs.dataset_inputs if run.inputs else []
        self._cache[PARENT] = _remember(run, found=bool(found))

    def _own_tags(self, trial: str) -> dict[str, str]:
        return {STUDY_TAG: self._study, "sweeps.id": self._identity, "sweeps.trial": trial}

    def _open_study(self, event: Event) -> None:
        from mlflow.entities import RunTag

        parent = self._cache[PARENT]
        self._client.set_experiment_tag(self._experiment, "mlflow.note.content", event["question"])
        self._client.update_run(parent.id, status="RUNNING")
        self._parent_tags |= event["tags"]
        tags = {**self._parent_tags, "sweeps.state": STATE["running"], "mlflow.note.content": event["question"]}
        self._client.log_batch(parent.id, tags=[RunTag(key, value) for key, value in tags.items()])
        self._add_params(parent, event["params"], self._client.get_run(parent.id).data.params)
        if event["dataset"]:
            self._datasets = [_dataset_input(event["dataset"])]
            self._client.log_inputs(parent.id, datasets=self._datasets)

    def _add_params(self, run: _Run, params: dict[str, str], present: dict[str, str]) -> None:
        """Parameters cannot be changed in MLflow, so those that are there stay."""
        from mlflow.entities import Param

        self._client.log_batch(
            run.id, params=[Param(key, value) for key, value in params.items() if key not in present]
        )

    def _trial_run(self, event: Event) -> _Run:
        """The run of an event's trial: remembered, found by its tags, or created."""
        name = event["trial"]
        if name in self._cache:
            return self._cache[name]
        found = self._search(f"tags.`sweeps.trial` = '{name}'")
        if found:
            run = found[0]
        else:
            tags = {**self._parent_tags, **event.get("tags", {}), **self._own_tags(name)}
            tags |= {"mlflow.parentRunId": self._cache[PARENT].id, "sweeps.state": STATE["running"]}
            run = self._client.create_run(self._experiment, start_time=event["at"], tags=tags, run_name=name)
        if not (run.inputs and run.inputs.dataset_inputs) and self._datasets:
            self._client.log_inputs(run.info.run_id, datasets=self._datasets)
        known = _remember(run, found=bool(found))
        self._add_params(known, event.get("params", {}), run.data.params)
        self._cache[name] = known
        return known

    def _start(self, event: Event) -> None:
        run = self._trial_run(event)
        if run.state == STATE["interrupted"]:
            self._client.update_run(run.id, status="RUNNING")
            self._client.set_tag(run.id, "sweeps.state", STATE["running"])
            run.state = STATE["running"]

    def _epoch(self, event: Event) -> None:
        run = self._trial_run(event)
        epoch = event["epoch"]
        if epoch > max(run.epoch, run.waiting):
            self._add_metrics(run, event["metrics"], event["at"], epoch)
            run.waiting = epoch
        self._add_pictures(run, event)

    def _add_pictures(self, run: _Run, event: Event) -> None:
        # An older version left records in the outbox that name the pictures of their own epoch.
        own = [(event["epoch"], key, path) for key, path in event.get("images", {}).items()]
        for epoch, key, path in event.get("pictures", own):
            if path not in run.pictures:
                place = self._runs_folder / path
                log_picture(self._client, run.id, place, key=key, step=epoch, at=event["at"], again=run.found)
                run.pictures.add(path)

    def _best(self, event: Event) -> None:
        parent = self._cache[PARENT]
        if event["epochs"] > max(parent.epoch, parent.waiting):
            self._add_metrics(parent, {"best_value": event["value"]}, event["at"], event["epochs"])
            parent.waiting = event["epochs"]
            self._client.set_tag(parent.id, "sweeps.best_trial", str(event["number"]))

    def _add_metrics(self, run: _Run, metrics: dict[str, float], at: int, step: int) -> None:
        from mlflow.entities import Metric

        if len(run.metrics) + len(metrics) > METRICS:
            self._flush(run)
        # MLflow would draw an infinity as 1.8e308 and flatten the chart.
        finite = {key: value if math.isfinite(value) else math.nan for key, value in metrics.items()}
        run.metrics += [Metric(key, value, at, step) for key, value in finite.items()]

    def _flush_all(self) -> None:
        for run in self._cache.values():
            self._flush(run)

    def _flush(self, run: _Run) -> None:
        from mlflow.entities import RunTag

        if not run.metrics and not run.waiting:
            return
        tags = [RunTag("sweeps.epoch", str(run.waiting))] if run.waiting else []
        self._client.log_batch(run.id, metrics=run.metrics, tags=tags)
        run.epoch, run.metrics, run.waiting = max(run.epoch, run.waiting), [], 0

    def _end(self, event: Event) -> None:
        from mlflow.entities import RunTag

        run, state = self._trial_run(event), STATE[event["state"]]
        if run.state == state:
            return
        metrics = {} if event["duplicate_of"] is not None else dict(event["metrics"])
        if event["value"] is not None:
            metrics["value"] = event["value"]
        self._add_metrics(run, metrics, event["at"], event["epoch"])
        self._flush(run)
        self._add_pictures(run, event)
        if event["folder"] and event["duplicate_of"] is None:
            log_files(self._client, run.id, self._runs_folder / event["folder"])
        tags = {} if event["duplicate_of"] is None else {"sweeps.duplicate_of": str(event["duplicate_of"])}
        if event["failure"]:
            tags |= dict(zip(("sweeps.failure", "sweeps.message"), event["failure"], strict=True))
        # The status first: a run whose tag says that it ended is not ended again.
        self._client.set_terminated(run.id, status=STATUS[event["state"]], end_time=event["at"])
        self._client.log_batch(
            run.id, tags=[RunTag(key, value) for key, value in {**tags, "sweeps.state": state}.items()]
        )
        run.state = state

    def _folder(self, event: Event) -> None:
        self._client.log_artifacts(
            self._cache[PARENT].id, str(self._runs_folder / event["path"]), event["artifact_path"]
        )

    def _model(self, event: Event) -> None:
        run = self._trial_run(event)
        register(self._client, run.id, self._runs_folder / event["path"], event)

    def _close(self, event: Event) -> None:
        self._flush_all()
        if event["status"] != "finished":
            for run in self._search("attributes.status = 'RUNNING'"):
                if run.data.tags["sweeps.trial"] != PARENT:
                    self._client.set_tag(run.info.run_id, "sweeps.state", STATE["interrupted"])
                    self._client.set_terminated(run.info.run_id, status=STATUS["interrupted"], end_time=event["at"])
                    self._cache.pop(run.data.tags["sweeps.trial"], None)
        state = STATE["complete" if event["status"] == "finished" else "interrupted"]
        self._client.set_tag(self._cache[PARENT].id, "sweeps.state", state)
        self._client.set_terminated(self._cache[PARENT].id, status=CLOSING[event["status"]], end_time=event["at"])

    _APPLY: dict[str, Callable[["Recorder", Event], None]] = {  # noqa: RUF012
        "study": _open_study,
        "started": _start,
        "epoch": _epoch,
        "best": _best,
        "ended": _end,
        "folder": _folder,
        "model": _model,
        "closed": _close,
    }


def _remember(run: Any, *, found: bool) -> _Run:
    tags = run.data.tags
    return _Run(run.info.run_id, tags.get("sweeps.state", ""), int(tags.get("sweeps.epoch", 0)), found)


def _dataset_input(dataset: dict[str, Any]) -> Any:
    import json

    from mlflow.entities import Dataset, DatasetInput, InputTag

    described = {key: json.dumps(dataset[key]) for key in ("schema", "profile") if dataset.get(key) is not None}
    entity = Dataset(dataset["name"], dataset["fingerprint"][:16], "local", dataset["source"], **described)
    return DatasetInput(entity, [InputTag("mlflow.data.context", "training")])
