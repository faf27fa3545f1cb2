"""Writes single runs of a study into MLflow, each time only what the run lacks."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.state.record import StudyRecord
from sweeps.tracking.found_runs import Run, run_of
from sweeps.tracking.run_tags import LONGEST_DATASET, LONGEST_PARAM, cut, cut_tags


class RunWriter:
    """Creates and changes runs of one study in one experiment.

    Args:
        client: an `MlflowClient`.
        experiment: id of the experiment.
        identity: that of the study.
    """

    def __init__(self, client: Any, experiment: str, identity: str) -> None:
        self.client = client
        self.experiment = experiment
        self.identity = identity

    def create(self, name: str, tags: Mapping[str, str], started: float | None) -> Run:
        """Create the run of this name. It began at `started` (unix seconds)."""
        own = {"sweeps.id": self.identity, "sweeps.trial": name, "sweeps.state": "RUNNING"}
        run = self.client.create_run(
            self.experiment, start_time=milliseconds(started), tags=cut_tags({**tags, **own})
        )
        return run_of(run)

    def log(
        self,
        run: Run,
        *,
        metrics: Sequence[Any] = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Add metrics, and the parameters and tags that the run lacks, in one request."""
        from mlflow.entities import Param, RunTag

        new = {
            name: cut(str(value), LONGEST_PARAM)
            for name, value in (params or {}).items()
            if name not in run.params
        }
        changed = {
            name: value
            for name, value in cut_tags(tags or {}).items()
            if run.tags.get(name) != value
        }
        if metrics or new or changed:
            self.client.log_batch(
                run.artifacts.run_id,
                metrics=metrics,
                params=[Param(name, text) for name, text in new.items()],
                tags=[RunTag(name, value) for name, value in changed.items()],
            )
            run.params |= new.keys()
            run.tags |= changed

    def set_status(self, run: Run, status: str, at: float | None) -> None:
        """Set the status; one that ends the run ends it at this time (unix seconds)."""
        ended = None if status in ("RUNNING", "SCHEDULED") else milliseconds(at)
        if run.status == status and ended in (None, run.ended):
            return
        if ended is None:
            self.client.update_run(run.artifacts.run_id, status=status)
        else:
            self.client.set_terminated(run.artifacts.run_id, status=status, end_time=ended)
        run.status = status
        run.ended = ended

    def add_dataset(self, run: Run, study: StudyRecord) -> None:
        """Name the data set of the study in a run that has none."""
        dataset = study.dataset
        if dataset is None or run.dataset:
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        described = {
            key: json.dumps(dataset[key])
            for key in ("schema", "profile")
            if dataset.get(key) is not None
        }
        entity = Dataset(
            cut(dataset["name"], LONGEST_DATASET),
            dataset["fingerprint"][:16],
            "local",
            dataset["source"],
            **described,
        )
        tags = [InputTag("mlflow.data.context", "training")]
        self.client.log_inputs(run.artifacts.run_id, datasets=[DatasetInput(entity, tags)])
        run.dataset = True


def milliseconds(at: float | None) -> int:
    """Return a time in unix seconds as MLflow has it; 0 for None."""
    return int(1000 * (at or 0.0))
