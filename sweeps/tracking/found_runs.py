"""The runs of a study that MLflow has, each name once.

A request that got no answer may have been done, at once or later. So a name may have two runs after
its creation was repeated.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sweeps.tracking.artifacts import ArtifactFolder


@dataclass
class Run:
    """The content of a run in MLflow."""

    artifacts: ArtifactFolder
    status: str
    tags: dict[str, str]
    params: set[str]
    dataset: bool
    ended: int | None = None
    """Unix ms."""
    deleted: bool = False
    """Whether somebody deleted it in MLflow, where it can be restored."""
    pictures: set[tuple[int, str]] = field(default_factory=set)
    """Epoch and name of each picture that this process recorded."""
    brought: tuple[str, int, int] | None = None
    """The `state_of` of its record when it was last brought up to date."""

    @property
    def epoch(self) -> int:
        """The newest epoch whose metrics MLflow has."""
        return int(self.tags.get("sweeps.epoch", 0))


def run_of(run: Any) -> Run:
    """Return the content of an MLflow entity."""
    return Run(
        artifacts=ArtifactFolder(run.info.run_id, run.info.artifact_uri),
        status=run.info.status,
        tags=dict(run.data.tags),
        params=set(run.data.params),
        dataset=bool(run.inputs and run.inputs.dataset_inputs),
        ended=run.info.end_time,
        deleted=run.info.lifecycle_stage == "deleted",
    )


def find_runs(client: Any, experiment: str, identity: str) -> dict[str, Run]:
    """Return the runs of the study with this identity by name, deleted ones too.

    Of two runs of one name the one with more content stays. The other is deleted in MLflow, where
    it can be restored.
    """
    runs: dict[str, Run] = {}
    for run in map(run_of, mlflow_runs(client, experiment, identity)):
        name = run.tags["sweeps.trial"]
        runs[name] = _keep_one(client, runs[name], run) if name in runs else run
    return runs


def mlflow_runs(client: Any, experiment: str, identity: str) -> Iterator[Any]:
    """Yield MLflow's entities of the runs of the study with this identity, deleted ones too."""
    from mlflow.entities import ViewType

    condition = f"tags.`sweeps.id` = '{identity}'"
    token = None
    while True:
        page = client.search_runs(
            [experiment], condition, ViewType.ALL, max_results=1000, page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def _keep_one(client: Any, *doubles: Run) -> Run:
    from mlflow.exceptions import MlflowException

    kept, surplus = sorted(
        doubles,
        key=lambda run: (not run.deleted, len(run.params) + len(run.tags), run.artifacts.run_id),
        reverse=True,
    )
    if not surplus.deleted:
        try:
            client.delete_run(surplus.artifacts.run_id)
        except MlflowException as error:
            if error.error_code != "PERMISSION_DENIED":  # the experiment is of another user
                raise
    return kept
