"""The parent run of a study in MLflow: what all trials share, the view, the report and the
registered model.
"""

import bisect
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeps.state.record import StudyRecord
from sweeps.state.trial import Trial
from sweeps.tracking.artifacts import log_files
from sweeps.tracking.found_runs import Run
from sweeps.tracking.mlflow_store import STUDY_TAG, claim_model, register
from sweeps.tracking.run_tags import LONGEST_TAG, cut, cut_tags
from sweeps.tracking.run_writer import RunWriter, milliseconds
from sweeps.tracking.saved_view import TAG, saved_view, view_key, view_text

NOTE = "mlflow.note.content"
"""Tag of a run or an experiment that MLflow shows as its description."""
PARENT = "study"
"""Value of the tag `sweeps.trial` on the parent run."""
SESSION = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "interrupted": "KILLED",
    "failed": "FAILED",
}
"""State of a study's newest session → status of the parent run."""


class ParentRun:
    """Writes what the parent run of a study and its experiment hold.

    Args:
        folder: the runs folder.
        note: the note of the experiment as it was found.
    """

    def __init__(self, writer: RunWriter, folder: Path, note: str) -> None:
        self._writer = writer
        self._folder = folder
        self._note = note
        self._best = self._complete = 0
        """Points of the curve that MLflow has, and complete trials among which they were found."""
        self._foreign_model = False
        """Whether the name and alias of the study's model belong to another model, which stays."""
        self.notices: list[str] = []
        """One line for each thing that a user wants to know."""

    def create(self, study: StudyRecord, records: Sequence[Trial]) -> Run:
        """Create the run; it began with the first trial."""
        starts = [record.started for record in records if record.started]
        tags = {STUDY_TAG: study.name, "mlflow.runName": study.name, **study.tags}
        return self._writer.create(PARENT, tags, min(starts, default=study.session_at))

    def describe(self, run: Run, study: StudyRecord) -> None:
        """Give the run the question and the answer as its note, the tags, the data set, and what
        all trials share: settings and file.

        The experiment gets the note, too, unless it has a note of another study or of a person.
        """
        answer = "\n".join(study.answer) if study.finished else ""
        note = cut("\n\n".join(filter(None, (study.question, answer))), LONGEST_TAG)
        before = run.tags.get(NOTE, "")
        if before != note and self._note in ("", before):
            self._writer.client.set_experiment_tag(self._writer.experiment, NOTE, note)
            self._note = note
        tags = {**study.tags, NOTE: note}
        if study.session == "running":
            self._writer.set_status(run, "RUNNING", None)
            tags["sweeps.state"] = "RUNNING"
        if study.stages:  # parameters cannot change: they stay those of the first stage
            tags["sweeps.constants"] = json.dumps(_constants(study))
            first = study.stages[0]
            constants = {**study.constants, **(first.fixed or {})}
            study = replace(study, constants=constants, spec=first.spec)
        self._writer.log(run, params=_constants(study), tags=tags)
        self._writer.add_dataset(run, study)
        version = _mark(study.text)
        if study.text and run.tags.get("sweeps.study_file") != version:
            file = f"study/{study.name}.yaml"
            self._writer.client.log_text(run.artifacts.run_id, study.text, file)
            self._writer.log(run, tags={"sweeps.study_file": version})

    def save_view(self, run: Run, study: StudyRecord, records: Sequence[Trial]) -> None:
        """Save the view of the study where it has changed since it was saved; a person's changes of
        it stay until then.
        """
        view = saved_view(study, records)
        mark = _mark(json.dumps(view))
        if run.tags.get("sweeps.view") == mark:
            return
        text = view_text(study.name, view, milliseconds(study.session_at))
        key = f"{TAG}{view_key(study)}"
        self._writer.client.set_experiment_tag(self._writer.experiment, key, text)
        self._writer.log(run, tags={"sweeps.view": mark})

    def draw_best(self, run: Run, study: StudyRecord, records: Sequence[Trial]) -> None:
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
            self._writer.log(run, metrics=points, tags={"sweeps.best_trial": str(new[-1][3])})
        self._best = len(curve)
        self._complete = complete

    def is_concluded(self, run: Run, study: StudyRecord, runs: Mapping[str, Run]) -> bool:
        """Whether the run shows all of the study's record. `runs`: those of the study, by name."""
        if run.deleted:
            return True
        session = study.session or "running"
        if run.status != SESSION[session]:
            return False
        if session != "running" and run.ended != milliseconds(study.session_at):
            return False
        additions = self._additions(study, runs)
        tags = {**study.tags, **{tag: value for tag, (value, _) in additions.items()}}
        return cut_tags(tags).items() <= run.tags.items()

    def conclude(self, run: Run, study: StudyRecord, runs: Mapping[str, Run]) -> None:
        """Record the report, register the model, and at last set the status of the run."""
        client = self._writer.client
        for tag, (value, folder) in self._additions(study, runs).items():
            if run.tags.get(tag) == value:
                continue
            if study.model is None or tag != "sweeps.model":
                log_files(client, run.artifacts, folder, "report")
            elif notice := claim_model(client, study.model, self._writer.identity):
                self._foreign_model = True
                self.notices.append(notice)
                continue
            else:
                run_id = runs[study.model.run].artifacts.run_id
                self.notices += register(client, run_id, folder, study.model)
            self._writer.log(run, tags={tag: value})
        if study.session != "running":
            state = "COMPLETE" if study.session == "finished" else "INTERRUPTED"
            self._writer.log(run, tags={"sweeps.state": state})
            self._writer.set_status(run, SESSION[study.session or "interrupted"], study.session_at)

    def _additions(
        self, study: StudyRecord, runs: Mapping[str, Run]
    ) -> dict[str, tuple[str, Path]]:
        """Return the tags for report and model: tag → its value, and the folder to record."""
        additions = {}
        if study.report:
            value = str(milliseconds(study.report_at))
            additions["sweeps.report_at"] = value, self._folder / study.report
        run = runs.get(study.model.run) if study.model else None
        if study.model and run and not run.deleted and not self._foreign_model:
            additions["sweeps.model"] = study.model.run, self._folder / study.model.folder
        return {tag: (value, path) for tag, (value, path) in additions.items() if path.is_dir()}


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
        if record.counts
        if record.ended and record.ended_round is not None
    )
    # The order is that of the rounds, because a clock may jump. A trial that waits has trained in
    # earlier rounds.
    rounds = list[int]()
    for record in search:
        rounds += [record.round_of(epoch.epoch) for epoch in record.epochs]
    rounds.sort()
    curve: list[tuple[float, int, int, int]] = []
    for round_, number, objective, ended in complete:
        if not curve or objective < curve[-1][0]:
            curve.append(
                (objective, milliseconds(ended), bisect.bisect_right(rounds, round_), number)
            )
    return curve


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _constants(study: StudyRecord) -> dict[str, Any]:
    """Return what all trials share: seed, budget and the settings that are not searched."""
    params: dict[str, Any] = {} if study.seed is None else {"seed": study.seed}
    if budget := {name: limit for name, limit in study.budget.items() if limit is not None}:
        params["budget"] = budget
    searched = study.spec.get("search") or {}
    return params | {name: v for name, v in study.constants.items() if name not in searched}
