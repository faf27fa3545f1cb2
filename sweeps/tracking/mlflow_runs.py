"""Brings a study's runs in MLflow up to the storage: one experiment, one parent run, one nested run
per trial.

Bringing the same records twice changes nothing. Runs are found by their tags before they are
created. A run's newest epoch is a tag that MLflow gets in one call with the metrics of this epoch.
Metrics that come again have the same time and value, so MLflow keeps them once. Names of pictures
and files follow from the record. The status comes last, so a run with its final status has
everything. A server may do a request later that got no answer, so the runs of such requests are
read again in the end.

A server takes one run in a request, so several runs are brought at the same time, each by one
request after the other.
"""

import bisect
import hashlib
import json
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweeps.errors import UserError
from sweeps.lanes import baseline_names
from sweeps.state.record import RegisteredModel, StudyRecord
from sweeps.state.trial import Trial
from sweeps.tracking.artifacts import log_files, log_pictures
from sweeps.tracking.found_runs import Run, find_runs, run_of
from sweeps.tracking.mlflow_store import (
    STUDY_TAG,
    Store,
    StoreReplacedError,
    artifact_location,
    claim_model,
    is_server,
    register,
    tracking_uri,
)
from sweeps.tracking.run_tags import (
    LONGEST_DATASET,
    LONGEST_PARAM,
    LONGEST_TAG,
    STATUS,
    cut,
    cut_tags,
    ending_tags,
    role_tags,
    state_of,
)
from sweeps.tracking.saved_view import TAG, saved_view, view_key, view_text

NOTE = "mlflow.note.content"
"""Tag of a run or an experiment that MLflow shows as its description."""
PARENT = "study"
"""Value of the tag `sweeps.trial` on the parent run."""
METRICS = 1000
"""The most metrics that MLflow takes in one call."""
AT_ONCE = 8
"""Runs that are brought at the same time through a server, whose own processes are four by
default.
"""
REFUSALS = ("INVALID_PARAMETER_VALUE", "INVALID_STATE")
"""Errors of MLflow that will come again."""
SESSION = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "interrupted": "KILLED",
    "failed": "FAILED",
}
"""State of a study's newest session → status of the parent run."""


class StudyRuns:
    """The runs of one study in one MLflow store. Constructing it imports MLflow (1 to 2 s) and
    opens or creates the store.

    Raises:
        UserError: the store in the runs folder is damaged, or a newer MLflow has written it.
    """

    def __init__(
        self,
        tracking: str | None,
        runs: Path,
        study: StudyRecord,
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = Store(tracking, runs, answered)
        self._client = self.store.client
        self._address = shlex.quote(tracking or f"sqlite:///{runs.resolve() / 'mlflow.db'}")
        self._experiment, self._note = self._open_experiment(
            study.name, artifact_location(tracking_uri(tracking), runs, study.name)
        )
        self.notices: list[str] = []
        """One line for each thing of somebody else in MLflow that was left as it is."""
        self._folder, self._study, self._identity = runs, study.name, study.identity
        self._runs = find_runs(self._client, self._experiment, self._identity)
        self._at_once = AT_ONCE if is_server(tracking_uri(tracking)) else 1
        self._doubtful: set[str] = set()
        """Names of runs of which a server may still do a request that got no answer."""
        self._is_first = is_server(tracking_uri(tracking))
        """Whether such a request may be of the process before this one, which may have been
        killed.
        """
        self._best = self._complete = 0
        self._foreign_model = False
        """Whether the name and alias of the study's model belong to another model, which stays."""
        self.refused: dict[str, str] = {}
        """Name of a run → why MLflow will never take its records."""

    def pending(self, study: StudyRecord, records: Sequence[Trial]) -> list[str]:
        """Return the names of the runs that MLflow lacks, or has in another state than the
        storage.
        """
        names = [record.name_in(study.name) for record in records if not self._has(study, record)]
        parent = self._runs.get(PARENT)
        if parent is None or not self._is_concluded(parent, study):
            names.append(PARENT)
        return [name for name in names if name not in self.refused]

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
        self._find_doubtful()
        self._doubtful |= {PARENT} if self._is_first else set()
        parent = self._runs.get(PARENT) or self._create_parent(study, records)
        with self._refusals(PARENT):
            if not parent.deleted:
                self._describe(parent, study)
        self._bring_runs(study, records, arrived)
        if self._doubtful:
            self._find_doubtful()
            self._doubtful.clear()
            self._is_first, parent = False, self._runs[PARENT]
            self._bring_runs(study, records, arrived)
        with self._refusals(PARENT):
            if not parent.deleted:
                self._draw_best(parent, study, records)
                self._save_view(parent, study, records)
            if not self._is_concluded(parent, study):
                self._conclude(parent, study)
                arrived(PARENT)
        self.store.check()

    def _bring_runs(
        self, study: StudyRecord, records: Sequence[Trial], arrived: Callable[[str], None]
    ) -> None:
        """Bring each run that is behind, several at a time through a server, until one fails."""

        def bring(record: Trial) -> None:
            name = record.name_in(study.name)
            with self._refusals(name):
                self._bring_run(study, record)
                arrived(name)

        behind = [record for record in records if not self._has(study, record)]
        behind = [record for record in behind if record.name_in(study.name) not in self.refused]
        self._doubtful |= (
            {record.name_in(study.name) for record in behind} if self._is_first else set()
        )
        if self._at_once == 1:
            for record in behind:
                bring(record)
            return
        with ThreadPoolExecutor(self._at_once) as pool:
            try:
                for brought in as_completed([pool.submit(bring, record) for record in behind]):
                    brought.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _find_doubtful(self) -> None:
        """Read the doubtful runs from MLflow, and leave one run of each name."""
        for name in sorted(self._doubtful) if len(self._doubtful) <= AT_ONCE else [None]:
            found = find_runs(self._client, self._experiment, self._identity, name)
            for key in found.keys() & self._doubtful:
                known = self._runs.get(key)
                found[key].pictures = (
                    known.pictures if known and known.artifacts == found[key].artifacts else set()
                )
                self._runs[key] = found[key]

    @contextmanager
    def _refusals(self, name: str) -> Iterator[None]:
        """Note that MLflow will never take the records of a run, and go on with the other runs."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise StoreReplacedError(
                    "MLflow has lost runs of the study; they are built anew."
                ) from error
            if error.error_code not in REFUSALS:
                self._doubtful.add(name)
                raise
            self.refused[name] = str(error).splitlines()[0]

    def _open_experiment(self, study: str, location: str | None) -> tuple[str, str]:
        """Return the id and the note of the study's experiment, which is created where there is
        none.
        """
        experiment = self._client.get_experiment_by_name(study)
        if experiment is None:
            tags = {STUDY_TAG: study, "mlflow.experimentKind": "custom_model_development"}
            return self._client.create_experiment(study, artifact_location=location, tags=tags), ""
        if experiment.lifecycle_stage != "active":
            remedy = (
                f"MLFLOW_TRACKING_URI={self._address} mlflow experiments restore --experiment-id "
                f"{experiment.experiment_id}"
            )
            raise UserError(f"experiment '{study}'", f"was deleted in MLflow. Restore it: {remedy}")
        return experiment.experiment_id, experiment.tags.get(NOTE, "")

    def _create_run(self, name: str, tags: Mapping[str, str], started: float) -> Run:
        identity_tags = {
            "sweeps.id": self._identity,
            "sweeps.trial": name,
            "sweeps.state": "RUNNING",
        }
        try:
            tags = cut_tags({**tags, **identity_tags})
            run = self._client.create_run(self._experiment, start_time=_ms(started), tags=tags)
        except Exception:
            self._doubtful.add(name)
            raise
        self._runs[name] = run_of(run)
        return self._runs[name]

    def _log(
        self, run: Run, metrics: Sequence[Any], params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> None:
        from mlflow.entities import Param, RunTag

        texts = {
            name: cut(str(value), LONGEST_PARAM)
            for name, value in params.items()
            if name not in run.params
        }
        changed = {
            name: value for name, value in cut_tags(tags).items() if run.tags.get(name) != value
        }
        if metrics or texts or changed:
            self._client.log_batch(
                run.artifacts.run_id,
                metrics=metrics,
                params=[Param(name, text) for name, text in texts.items()],
                tags=[RunTag(name, value) for name, value in changed.items()],
            )
            run.params |= texts.keys()
            run.tags |= changed

    def _set_status(self, run: Run, status: str, at: float | None) -> None:
        if status in ("RUNNING", "SCHEDULED"):
            if run.status != status:
                self._client.update_run(run.artifacts.run_id, status=status)
                run.ended = None
        elif run.status != status or run.ended != _ms(at):
            self._client.set_terminated(run.artifacts.run_id, status=status, end_time=_ms(at))
            run.ended = _ms(at)
        run.status = status

    def _create_parent(self, study: StudyRecord, records: Sequence[Trial]) -> Run:
        starts = [record.started for record in records if record.started]
        tags = {STUDY_TAG: study.name, "mlflow.runName": study.name, **study.tags}
        return self._create_run(PARENT, tags, min(starts, default=study.session_at or 0.0))

    def _describe(self, parent: Run, study: StudyRecord) -> None:
        """Give the parent the question and the answer as its note, the tags, the data set, and what
        all trials share: settings and file.

        The experiment gets the note, too, unless it has a note of another study or of a person.
        """
        answer = "\n".join(study.answer) if study.finished else ""
        note = cut("\n\n".join(filter(None, (study.question, answer))), LONGEST_TAG)
        before = parent.tags.get(NOTE, "")
        if before != note and self._note in ("", before):
            self._client.set_experiment_tag(self._experiment, NOTE, note)
            self._note = note
        tags = {**study.tags, NOTE: note}
        if study.session == "running":
            self._set_status(parent, "RUNNING", None)
            tags["sweeps.state"] = "RUNNING"
        params: dict[str, Any] = {} if study.seed is None else {"seed": study.seed}
        if budget := {name: limit for name, limit in study.budget.items() if limit is not None}:
            params["budget"] = budget
        searched = study.spec.get("search") or {}
        params |= {name: value for name, value in study.constants.items() if name not in searched}
        self._log(parent, (), params, tags)
        self._add_dataset(parent, study)
        version = hashlib.sha256(study.text.encode()).hexdigest()[:16]
        if study.text and parent.tags.get("sweeps.study_file") != version:
            self._client.log_text(parent.artifacts.run_id, study.text, f"study/{study.name}.yaml")
            self._log(parent, (), {}, {"sweeps.study_file": version})

    def _add_dataset(self, run: Run, study: StudyRecord) -> None:
        if study.dataset is None or run.dataset:
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = study.dataset
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
        self._client.log_inputs(run.artifacts.run_id, datasets=[DatasetInput(entity, tags)])
        run.dataset = True

    def _save_view(self, parent: Run, study: StudyRecord, records: Sequence[Trial]) -> None:
        """Save the view of the study where it has changed since it was saved; a person's changes of
        it stay until then.
        """
        view, key = saved_view(study, records), view_key(study)
        mark = hashlib.sha256(json.dumps(view).encode()).hexdigest()[:16]
        if parent.tags.get("sweeps.view") == mark:
            return
        text = view_text(study.name, view, _ms(study.session_at))
        self._client.set_experiment_tag(self._experiment, f"{TAG}{key}", text)
        self._log(parent, (), {}, {"sweeps.view": mark})

    def _draw_best(self, parent: Run, study: StudyRecord, records: Sequence[Trial]) -> None:
        """Draw the best objective of the search as a curve over trial-epochs; nothing where there
        are two objectives.
        """
        from mlflow.entities import Metric

        complete = sum(record.state == "complete" for record in records)
        if complete == self._complete or study.objectives:
            return
        curve = _best_curve(records)
        if new := curve[self._best :]:
            points = [
                Metric("best_objective", objective, at, step) for objective, at, step, _ in new
            ]
            self._log(parent, points, {}, {"sweeps.best_trial": str(new[-1][3])})
        self._best, self._complete = len(curve), complete

    def _is_concluded(self, parent: Run, study: StudyRecord) -> bool:
        """Whether the parent shows all of the study's record."""
        ended = study.session == "running" or parent.ended == _ms(study.session_at)
        tags = {
            **study.tags,
            **{name: value for name, (value, _) in self._additions(study).items()},
        }
        return parent.deleted or (
            ended
            and parent.status == SESSION[study.session or "running"]
            and cut_tags(tags).items() <= parent.tags.items()
        )

    def _additions(self, study: StudyRecord) -> dict[str, tuple[str, Path]]:
        """Return the parent's tags for report and model: tag → its value, and the folder to
        record.
        """
        additions = {}
        if study.report:
            additions["sweeps.report_at"] = str(_ms(study.report_at)), self._folder / study.report
        run = self._runs.get(study.model.run) if study.model else None
        if study.model and run and not run.deleted and not self._foreign_model:
            additions["sweeps.model"] = study.model.run, self._folder / study.model.folder
        return {
            tag: (value, folder) for tag, (value, folder) in additions.items() if folder.is_dir()
        }

    def _register(self, model: RegisteredModel, folder: Path) -> None:
        """Register the study's model, unless its name and alias are those of another model."""
        if notice := claim_model(self._client, model, self._identity):
            self._foreign_model = True
            self.notices.append(notice)
            return
        run_id = self._runs[model.run].artifacts.run_id
        self.notices += register(self._client, run_id, folder, model)

    def _conclude(self, parent: Run, study: StudyRecord) -> None:
        """Record the report, register the model, and at last set the parent's status."""
        for tag, (value, folder) in self._additions(study).items():
            if parent.tags.get(tag) == value:
                continue
            if study.model and tag == "sweeps.model":
                self._register(study.model, folder)
                if self._foreign_model:
                    continue
            else:
                log_files(self._client, parent.artifacts, folder, "report")
            self._log(parent, (), {}, {tag: value})
        if study.session != "running":
            self._log(
                parent,
                (),
                {},
                {"sweeps.state": "COMPLETE" if study.session == "finished" else "INTERRUPTED"},
            )
            self._set_status(parent, SESSION[study.session or "interrupted"], study.session_at)

    def _has(self, study: StudyRecord, record: Trial) -> bool:
        """Whether MLflow has all of a record."""
        run = self._runs.get(record.name_in(study.name))
        if run is None:
            return False
        state = state_of(study, record)
        if run.deleted:
            return True
        if not cut_tags(role_tags(study, record, run.tags)).items() <= run.tags.items():
            return False
        if run.brought == state:
            return True
        tag, epoch, _ = state
        ended = (
            tag != "RUNNING" and run.status == STATUS[tag] and run.tags.get("sweeps.state") == tag
        )
        return ended and run.epoch == epoch

    def _bring_run(self, study: StudyRecord, record: Trial) -> None:
        name = record.name_in(study.name)
        run = self._runs.get(name) or self._create_run(
            name, self._tags_of(study, record), record.started or 0.0
        )
        state = state_of(study, record)
        self._set_status(run, "RUNNING", None)
        self._add_dataset(run, study)
        self._log_metrics(
            run, study, record, ending_tags(record, state[0]) | role_tags(study, record, run.tags)
        )
        self._add_pictures(run, record)
        if record.outcome is not None and record.duplicate_of is None and record.folder:
            shown = {self._folder / picture.path for picture in record.pictures}
            log_files(self._client, run.artifacts, self._folder / record.folder, "trial", shown)
        self._set_status(
            run, STATUS[state[0]], record.ended if record.outcome else study.session_at
        )
        run.brought = state

    def _tags_of(self, study: StudyRecord, record: Trial) -> dict[str, str]:
        tags = {
            **study.tags,
            STUDY_TAG: study.name,
            "mlflow.parentRunId": self._runs[PARENT].artifacts.run_id,
        }
        tags |= {"sweeps.number": str(record.number), "sweeps.seed": str(record.seed)}
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
        params = {**record.params, **constants}

        def points(values: Mapping[str, float], at: float | None, step: int) -> list[Any]:
            return _points(
                {name: value for name, value in values.items() if name not in study.no_metrics},
                at,
                step,
            )

        newest = run.epoch
        for epoch in (epoch for epoch in record.epochs if epoch.epoch > run.epoch):
            if metrics and len(metrics) + len(epoch.metrics) > METRICS:
                self._log(run, metrics, params, {"sweeps.epoch": str(newest)})
                metrics = []
            metrics += points(epoch.metrics, epoch.at, epoch.epoch)
            newest = epoch.epoch
        if outcome := record.outcome:
            final = {} if record.duplicate_of is not None else dict(record.results)
            if outcome.objective is not None:
                final["objective"] = outcome.objective
            metrics += points(final, record.ended, outcome.epoch)
        self._log(
            run, metrics, params, {**tags, **({"sweeps.epoch": str(newest)} if newest else {})}
        )

    def _add_pictures(self, run: Run, record: Trial) -> None:
        times = {epoch.epoch: epoch.at for epoch in record.epochs}
        new = {(picture.epoch, picture.name): picture.path for picture in record.pictures}
        placed = [
            (self._folder / path, name, epoch, _ms(times.get(epoch, record.started)))
            for (epoch, name), path in new.items()
            if (epoch, name) not in run.pictures
        ]
        log_pictures(self._client, run.artifacts, placed)
        run.pictures |= new.keys()


def _best_curve(records: Sequence[Trial]) -> list[tuple[float, int, int, int]]:
    """Return each new best objective of the search: the objective, unix ms, trial-epochs so far,
    number of the trial.
    """
    search = [record for record in records if not record.repeat]
    went_on = {record.before.number for record in search if record.before}
    search = [record for record in search if record.number not in went_on]
    complete = sorted(
        (record.ended_round, record.number, record.outcome.objective, record.ended)
        for record in search
        if record.state == "complete" and record.outcome and record.outcome.objective is not None
        if record.ended and record.ended_round is not None
    )
    # The order is that of the rounds, because a clock may jump. A trial that waits has trained in
    # earlier rounds.
    rounds = sorted(record.round_of(epoch.epoch) for record in search for epoch in record.epochs)
    curve: list[tuple[float, int, int, int]] = []
    for round_, number, objective, ended in complete:
        if not curve or objective < curve[-1][0]:
            curve.append((objective, _ms(ended), bisect.bisect_right(rounds, round_), number))
    return curve


def _points(values: Mapping[str, float], at: float | None, step: int) -> list[Any]:
    """Return metrics of one step. MLflow would draw an infinity as 1.8e308 and flatten the
    chart.
    """
    from mlflow.entities import Metric

    return [
        Metric(name, value if math.isfinite(value) else math.nan, _ms(at), step)
        for name, value in values.items()
    ]


def _ms(at: float | None) -> int:
    return int(1000 * (at or 0.0))
