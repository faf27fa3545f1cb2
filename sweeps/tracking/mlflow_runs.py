"""Brings a study's runs in MLflow up to the storage: one experiment, one parent run, one nested run
per trial.

Bringing the same records twice changes nothing. Runs are found by their tags before they are
created. A run's newest epoch is a tag that MLflow gets in one call with the metrics of this epoch.
Metrics that come again have the same time and value, so MLflow keeps them once. Names of pictures
and files follow from the record. The status comes last, so a run with its final status has
everything. A server may do a request later that got no answer, so all runs are read again after a
failure, and after the first pass of a process.

A server takes one run in a request, so several runs are brought at the same time, each by one
request after the other.
"""

import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweeps.errors import UserError
from sweeps.lanes import baseline_names
from sweeps.state.record import StudyRecord
from sweeps.state.stages import fixed_differences
from sweeps.state.trial import Trial
from sweeps.tracking.artifacts import log_files, log_pictures
from sweeps.tracking.found_runs import Run, find_runs
from sweeps.tracking.mlflow_store import (
    STUDY_TAG,
    Store,
    StoreReplacedError,
    artifact_location,
    is_server,
    tracking_uri,
)
from sweeps.tracking.parent_run import NOTE, PARENT, ParentRun
from sweeps.tracking.run_tags import STATUS, cut_tags, ending_tags, role_tags, state_of
from sweeps.tracking.run_writer import RunWriter, milliseconds

METRICS = 1000
"""The most metrics that MLflow takes in one call."""
AT_ONCE = 8
"""Runs that are brought at the same time through a server, whose own processes are four by
default.
"""
REFUSALS = ("INVALID_PARAMETER_VALUE", "INVALID_STATE")
"""Errors of MLflow that will come again."""


class StudyRuns:
    """The runs of one study in one MLflow store. Constructing it imports MLflow (1 to 2 s) and
    opens or creates the store.

    Raises:
        UserError: the store in the runs folder is damaged, or the study's experiment was deleted.
    """

    def __init__(self, tracking: str | None, runs: Path, study: StudyRecord) -> None:
        uri = tracking_uri(tracking)
        self.store = Store(tracking, runs)
        self._client = self.store.client
        self._folder = runs
        self._is_server = is_server(uri)
        experiment, note = _open_experiment(
            self._client,
            study.name,
            artifact_location(uri, runs, study.name),
            tracking or f"sqlite:///{runs.resolve() / 'mlflow.db'}",
        )
        self._writer = RunWriter(self._client, experiment, study.identity)
        self._parent = ParentRun(self._writer, runs, note)
        self.notices = self._parent.notices
        others = f"tags.`sweeps.trial` = '{PARENT}' and tags.`sweeps.id` != '{study.identity}'"
        if self._client.search_runs([experiment], others, max_results=1):
            self.notices.append(
                f"MLflow's experiment '{study.name}' has another study of this name, too. The runs "
                f"of this one have tags.`sweeps.id` = '{study.identity}'. A study under another "
                "name has an experiment of its own."
            )
        self._runs: dict[str, Run] = {}
        self.refused: dict[str, str] = {}
        """Name of a run → why MLflow will never take its records."""
        self._unsure = True
        """Whether MLflow may hold something else than `_runs` says: at first, and after a failure.
        """

    @property
    def deleted(self) -> int:
        """Runs that somebody deleted in MLflow."""
        return sum(run.deleted for run in self._runs.values())

    def pending(self, study: StudyRecord, records: Sequence[Trial]) -> list[str]:
        """Return the names of the runs that MLflow lacks, or has in another state than the
        storage.
        """
        names = [*self._behind(study, records)]
        parent = self._runs.get(PARENT)
        concluded = parent and self._parent.is_concluded(parent, study, self._runs)
        if not concluded and PARENT not in self.refused:
            names.append(PARENT)
        return names

    def _behind(self, study: StudyRecord, records: Sequence[Trial]) -> dict[str, Trial]:
        """Return the records that MLflow lacks and has not refused, by name of the run."""
        behind = {
            record.name_in(study.name): record for record in records if not self._has(study, record)
        }
        return {name: behind[name] for name in behind if name not in self.refused}

    def bring(
        self, study: StudyRecord, records: Sequence[Trial], arrived: Callable[[str], None]
    ) -> None:
        """Bring the runs of the study up to its records; `arrived` gets the name of each changed
        run.

        Raises:
            StoreReplacedError: the store was deleted, or another store took its place.
            Exception: MLflow cannot be reached; nothing is lost, because the next call goes on.
        """
        self.store.check()
        try:
            if self._unsure:
                self._read_runs()
            self._bring_runs(study, records, arrived)
            if self._unsure and self._is_server:
                self._read_runs()
                self._bring_runs(study, records, arrived)
            self._conclude(study, records, arrived)
        except Exception as error:
            self._unsure = True
            if getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST":
                problem = "MLflow has lost runs of the study; they are built anew."
                raise StoreReplacedError(problem) from error
            raise
        self._unsure = False
        self.store.check()

    def _read_runs(self) -> None:
        """Read all runs of the study from MLflow. What this process knows of their pictures
        stays.
        """
        found = find_runs(self._client, self._writer.experiment, self._writer.identity)
        for name in found.keys() & self._runs.keys():
            if found[name].artifacts == self._runs[name].artifacts:
                found[name].pictures = self._runs[name].pictures
        self._runs = found

    def _bring_runs(
        self, study: StudyRecord, records: Sequence[Trial], arrived: Callable[[str], None]
    ) -> None:
        """Bring each run that is behind, several at a time through a server, until one fails."""
        if PARENT not in self._runs:
            self._runs[PARENT] = self._parent.create(study, records)
        if not self._runs[PARENT].deleted:
            with self._refusals(PARENT):
                self._parent.describe(self._runs[PARENT], study)

        def bring(name: str, record: Trial) -> None:
            with self._refusals(name):
                self._bring_run(study, record)

        behind = self._behind(study, records)
        if not self._is_server:
            for name, record in behind.items():
                bring(name, record)
                arrived(name)
            return
        with ThreadPoolExecutor(AT_ONCE) as pool:
            names = {pool.submit(bring, name, record): name for name, record in behind.items()}
            try:
                for brought in as_completed(names):
                    brought.result()
                    arrived(names[brought])
            finally:
                pool.shutdown(cancel_futures=True)

    @contextmanager
    def _refusals(self, name: str) -> Iterator[None]:
        """Note that MLflow will never take the records of a run, and go on with the other runs."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            if error.error_code not in REFUSALS:
                raise
            self.refused[name] = str(error).splitlines()[0]

    def _conclude(
        self, study: StudyRecord, records: Sequence[Trial], arrived: Callable[[str], None]
    ) -> None:
        """Bring what the parent run shows of all others."""
        parent = self._runs[PARENT]
        if parent.deleted:
            return
        with self._refusals(PARENT):
            self._parent.draw_best(parent, study, records)
            self._parent.save_view(parent, study, records)
            if not self._parent.is_concluded(parent, study, self._runs):
                self._parent.conclude(parent, study, self._runs)
                arrived(PARENT)

    def _has(self, study: StudyRecord, record: Trial) -> bool:
        """Whether MLflow has all of a record."""
        run = self._runs.get(record.name_in(study.name))
        if run is None or run.deleted:
            return run is not None
        if not cut_tags(role_tags(study, record, run.tags)).items() <= run.tags.items():
            return False
        state = state_of(study, record)
        if run.brought == state:
            return True
        tag, epoch, _ = state
        found = run.tags.get("sweeps.state"), run.status, run.epoch
        return tag != "RUNNING" and found == (tag, STATUS[tag], epoch)

    def _bring_run(self, study: StudyRecord, record: Trial) -> None:
        name = record.name_in(study.name)
        state = state_of(study, record)
        if name not in self._runs:
            tags = self._tags_of(study, record)
            self._runs[name] = self._writer.create(name, tags, record.started)
        run = self._runs[name]
        self._writer.set_status(run, "RUNNING", None)
        self._writer.add_dataset(run, study)
        self._log_metrics(
            run, study, record, ending_tags(record, state[0]) | role_tags(study, record, run.tags)
        )
        self._add_pictures(run, record)
        if record.outcome is not None and record.duplicate_of is None and record.folder:
            shown = {self._folder / picture.path for picture in record.pictures}
            log_files(self._client, run.artifacts, self._folder / record.folder, "trial", shown)
        ended = record.ended if record.outcome else study.session_at
        self._writer.set_status(run, STATUS[state[0]], ended)
        run.brought = state

    def _tags_of(self, study: StudyRecord, record: Trial) -> dict[str, str]:
        tags = {
            **study.tags,
            STUDY_TAG: study.name,
            "mlflow.parentRunId": self._runs[PARENT].artifacts.run_id,
            "sweeps.number": str(record.number),
            "sweeps.seed": str(record.seed),
        }
        # Those that share a run share its protocol.
        for name in baseline_names(record.baseline)[:1]:
            tags |= study.baseline_tags.get(name, {})
        return tags | role_tags(study, record, {})

    def _log_metrics(
        self, run: Run, study: StudyRecord, record: Trial, tags: Mapping[str, str]
    ) -> None:
        """Add parameters, the epochs that MLflow lacks and, of a trial that has ended, its final
        figures.
        """
        metrics: list[Any] = []
        constants = {
            name: value for name, value in record.results.items() if name in study.no_metrics
        }
        params = {**_own_settings(study, record), **record.params, **constants}
        for epoch in (epoch for epoch in record.epochs if epoch.epoch > run.epoch):
            if metrics and len(metrics) + len(epoch.metrics) > METRICS:
                counted = {"sweeps.epoch": str(epoch.epoch - 1)}
                self._writer.log(run, metrics=metrics, params=params, tags=counted)
                metrics = []
            metrics += _points(study, epoch.metrics, epoch.at, epoch.epoch)
        if outcome := record.outcome:
            final = {} if record.duplicate_of is not None else dict(record.results)
            if outcome.objective is not None:
                final["objective"] = outcome.objective
            metrics += _points(study, final, record.ended, outcome.epoch)
        if record.epochs:
            tags = {**tags, "sweeps.epoch": str(record.epochs[-1].epoch)}
        self._writer.log(run, metrics=metrics, params=params, tags=tags)

    def _add_pictures(self, run: Run, record: Trial) -> None:
        times = {epoch.epoch: epoch.at for epoch in record.epochs}
        new = {(picture.epoch, picture.name): picture.path for picture in record.pictures}
        placed = [
            (self._folder / path, name, epoch, milliseconds(times.get(epoch, record.started)))
            for (epoch, name), path in new.items()
            if (epoch, name) not in run.pictures
        ]
        log_pictures(self._client, run.artifacts, placed)
        run.pictures |= new.keys()


def _open_experiment(
    client: Any, study: str, location: str | None, address: str
) -> tuple[str, str]:
    """Return the id and the note of the study's experiment, which is created where there is none.

    Raises:
        UserError: somebody deleted it in MLflow. The message has the command that restores it.
    """
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        tags = {STUDY_TAG: study, "mlflow.experimentKind": "custom_model_development"}
        return client.create_experiment(study, artifact_location=location, tags=tags), ""
    if experiment.lifecycle_stage != "active":
        remedy = (
            f"MLFLOW_TRACKING_URI={shlex.quote(address)} mlflow experiments restore "
            f"--experiment-id {experiment.experiment_id}"
        )
        raise UserError(f"experiment '{study}'", f"was deleted in MLflow. Restore it: {remedy}")
    return experiment.experiment_id, experiment.tags.get(NOTE, "")


def _own_settings(study: StudyRecord, record: Trial) -> dict[str, Any]:
    """Return the fixed settings of a trial that are not those of the parent run."""
    if not study.stages:
        return {}
    changed = fixed_differences(study.stages[record.stage - 1], study.stages[0])
    return {name: value for name, (value, _) in changed.items()}


def _points(
    study: StudyRecord, values: Mapping[str, float], at: float | None, step: int
) -> list[Any]:
    """Return the metrics of one step. MLflow would draw an infinity as 1.8e308 and flatten the
    chart.
    """
    from mlflow.entities import Metric

    return [
        Metric(name, value if math.isfinite(value) else math.nan, milliseconds(at), step)
        for name, value in values.items()
        if name not in study.no_metrics
    ]
