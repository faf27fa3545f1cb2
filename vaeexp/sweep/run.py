"""`vaeexp sweep`: one study from its file to its report and the registered model."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps.errors import UserError, masked
from sweeps.results.rankings import best_run
from vaeexp.console import program, write_line
from vaeexp.data import describe_plan
from vaeexp.runs.provenance import describe_run, protocol
from vaeexp.study import maxima_of, uses_average
from vaeexp.sweep.execution import Execution, resolve_execution
from vaeexp.sweep.job import Job, SweepOptions, prepare_job
from vaeexp.version import __version__

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage
    from rich.console import Console

    from sweeps.results.rankings import Results
    from sweeps.storage.study_record import StudyRecord
    from sweeps.tracking import Tracker
    from sweeps.workload.worker_pool import WorkerLanes
    from vaeexp.data import Dataset
    from vaeexp.sweep.progress import LiveProgress


def register_best(results: "Results", dataset: "Dataset", tracker: "Tracker", runs: Path) -> None:
    """Register the best run that left weights; nothing when no trial completed."""
    run = best_run(results)
    if run is None:
        return
    folder = runs / "trials" / results.name / run["name"]
    if not (folder / "weights.safetensors").exists():
        return
    from vaeexp.runs.mlflow_model import Reconstructor

    scale = 1 if dataset.binarisation == "static" else 255
    images = np.asarray(dataset.validation.images[:2], dtype=np.float32) / scale
    tracker.register_model(
        name=results.name,
        trial_name=run["name"],
        folder=folder,
        loader_module="vaeexp.runs.mlflow_model",
        signature_example=(images, Reconstructor(folder).predict(images)),
        pip_requirements=[f"vaeexp=={__version__}", "torch", "safetensors"],
    )


def run_sweep(options: SweepOptions, *, console: "Console") -> Path:
    """Run a study, or continue it, to its report; the report's path.

    Raises:
        UserError: something given is wrong; found before any training.
        KeyboardInterrupt: stopped; everything finished is kept, and what was running resumes.
    """
    from sweeps.storage.database import open_storage, open_study, storage_errors_as_user_errors
    from sweeps.storage.lock import study_lock
    from sweeps.storage.study_record import study_record, write_study

    job = prepare_job(options, console, training=True)
    name = job.study.name
    # A database that cannot be reached is found out before anything is written.
    database = open_storage(options.storage, options.runs, name) if options.storage else None
    with study_lock(options.runs, name), storage_errors_as_user_errors(options.storage):
        storage = database or open_storage(None, options.runs, name)
        optuna_study = open_study(storage, job.study, extend=options.extend)
        stored = study_record(optuna_study)
        _check_same_data(job, stored.provenance)
        budget = job.study.budget.model_dump()
        if stored.finished and stored.budget == budget:
            return _already_finished(job, storage, stored)
        execution = resolve_execution(
            options.execution,
            stored.execution,
            job.dataset,
            job.settings,
            maxima_of(job.study),
            job.study.budget.trials or 100,
        )
        searched = job.study.space.names
        record = describe_run(
            job.dataset, job.settings, study_text=job.study.text, searched=searched, command=job.command()
        )
        record["protocols"] = _protocols(job)
        write_study(optuna_study, finished=False, budget=budget, execution=execution.as_dict(), provenance=record)
        with _tracking(job, record, execution) as tracker:
            _search_and_confirm(job, storage, optuna_study, execution, tracker)
            return _conclude(job, storage, optuna_study, tracker)


def plan_sweep(options: SweepOptions, *, console: "Console") -> None:
    """`--dry-run`: check everything, print what would happen, train nothing, write nothing but prepared data."""
    from vaeexp.sweep.plan import print_plan

    job = prepare_job(options, console, training=False)
    print_plan(job.study, job.settings, job.dataset, options.execution, console)


def _check_same_data(job: Job, record: Mapping[str, Any]) -> None:
    """Trials on different images are different studies: their values must never share a ranking."""
    before = record.get("data")
    if before is not None and before["fingerprint"] != job.dataset.fingerprint:
        raise UserError(
            f"study '{job.study.name}'",
            f"was made on {before['title']} ({before['source']}), and this run would use {job.dataset.title} "
            f"({job.dataset.source}). Use `--name NEW` for a new study, or give the first data again (--data).",
        )


def _already_finished(job: Job, storage: "BaseStorage", stored: "StudyRecord") -> Path:
    name, more = job.study.name, (job.study.budget.trials or 40) * 2
    write_line(job.console, f"The study '{name}' is complete: {stored.stopped}")
    write_line(job.console, f"To extend it: {job.command(budget=False, program=program())} --trials {more}")
    path = job.options.reports / name / "README.md"
    if not path.exists():
        path = _write_report(job, storage)
    _say_where(job, path)
    return path


@contextmanager
def _tracking(job: Job, record: Mapping[str, Any], execution: Execution) -> Iterator["Tracker"]:
    """The tracker of a running sweep; ends the parent run as what happened: finished, interrupted or failed."""
    from sweeps.tracking import Tracker

    tracker = Tracker(
        job.options.tracking, job.options.runs, job.study.name, lambda trial: _describe(job, record, execution, trial)
    )
    try:
        data = record["data"]
        tracker.open_study(
            question=job.study.question,
            tags=_tags(record, record["protocol"], execution),
            params={"budget": job.study.budget.model_dump(exclude_none=True), "seed": job.study.seed},
            dataset={
                "name": data["title"],
                "fingerprint": data["fingerprint"],
                "source": data["source"],
                "profile": data,
            },
        )
        yield tracker
    except KeyboardInterrupt:
        tracker.close("interrupted", timeout=5)
        write_line(
            job.console,
            f"Stopped. What is finished is kept, and what was running resumes. Continue with: {job.command(program=program())}",
        )
        raise
    except BaseException:
        tracker.close("failed", timeout=5)
        raise
    pending = tracker.close("finished")
    if pending:
        write_line(job.console, pending.message, style="yellow")


def _search_and_confirm(
    job: Job, storage: "BaseStorage", optuna_study: "optuna.Study", execution: Execution, tracker: "Tracker"
) -> None:
    from sweeps.engine.repeats import plan_repeats
    from sweeps.engine.search import run_repeats, search
    from sweeps.storage.database import repeat_study
    from sweeps.storage.study_record import read_study
    from vaeexp.sweep.progress import LiveProgress

    _announce(job, execution)
    with (
        _lanes(job, execution) as lanes,
        LiveProgress(job.console, study=job.study.name, epochs=job.settings.train.epochs) as progress,
    ):
        observers = [tracker, progress, _Warnings(tracker, progress)]
        runs = job.options.runs
        search(optuna_study, job.study, lanes, observers, runs=runs)
        plan = plan_repeats(read_study(storage, job.study.name), job.study)
        run_repeats(repeat_study(storage, job.study.name), plan, lanes, observers, runs=runs)


@contextmanager
def _lanes(job: Job, execution: Execution) -> Iterator["WorkerLanes"]:
    from sweeps.workload.worker_pool import WorkerLanes
    from vaeexp.runs.worker import open_lanes

    shared = {
        "settings": job.settings,
        "datasets": dict(job.datasets),
        "maxima": maxima_of(job.study),
        "averaged": uses_average(job.study),
        "study": job.study.name,
        "study_seed": job.study.seed,
        "folder": str(job.options.runs.absolute() / "trials" / job.study.name),
        "precision": execution.precision,
        "group": execution.group,
        "width": execution.width,
        "threads": execution.threads,
        "checkpoint_seconds": execution.checkpoint_seconds,
        "resident_mb": execution.resident_mb,
    }
    lanes = WorkerLanes(open_lanes, [{**shared, "device": device} for device in execution.devices()])
    try:
        yield lanes
    finally:
        lanes.close()


def _conclude(job: Job, storage: "BaseStorage", optuna_study: "optuna.Study", tracker: "Tracker") -> Path:
    """Register the best model, write the report, and say where things are."""
    from sweeps.results.rankings import read_results
    from sweeps.storage.study_record import write_study

    register_best(read_results(storage, job.study.name), job.dataset, tracker, job.options.runs)
    write_study(optuna_study, finished=True)
    path = _write_report(job, storage)
    tracker.log_study_folder(path.parent, "report")
    _say_where(job, path)
    return path


def _write_report(job: Job, storage: "BaseStorage") -> Path:
    from sweeps.results.rankings import read_results
    from vaeexp.report import write_report

    return write_report(
        read_results(storage, job.study.name, runs=job.options.runs), runs=job.options.runs, reports=job.options.reports
    )


def _protocols(job: Job) -> dict[str, dict[str, str]]:
    """Of each baseline; that on the best setting of the search differs from the study in its own settings only."""
    found = {}
    for row in job.study.baselines:
        settings = job.settings.with_params(row.settings)
        found[row.name] = protocol(job.datasets[settings.data.binarisation], settings, job.study.space.names)
    return found


def _announce(job: Job, execution: Execution) -> None:
    train, validation, test = job.dataset.sizes
    lanes = execution.processes * execution.width
    write_line(job.console, f"{job.study.name}: {job.study.question}")
    write_line(
        job.console,
        f"{job.dataset.title}: {train:,} images to train on, {validation:,} to validate, {test:,} to test. "
        f"{lanes} trials at once on {execution.device} ({execution.processes} processes × {execution.width} lanes, {execution.precision}).",
    )
    for line in describe_plan(job.dataset) if job.dataset.notes else []:  # files of the user's own
        write_line(job.console, f"  {line}")


def _say_where(job: Job, report: Path) -> None:
    options, words = job.options, ["ui"]
    words += ["--runs", str(options.runs)] if options.runs != Path("mlruns") else []
    words += ["--tracking", masked(options.tracking)] if options.tracking else []
    write_line(job.console, f"Report: {report}")
    write_line(job.console, f"Browse the runs: {program()} {shlex.join(words)}")


def _tags(record: Mapping[str, Any], protocol: Mapping[str, str], execution: Execution) -> dict[str, str]:
    """What every run of the study carries, and the protocol of this one."""
    git, versions = record["git"], record["versions"]
    tags = {f"protocol.{name}": value for name, value in protocol.items()}
    tags |= {f"version.{name}": value for name, value in versions.items()}
    tags |= {"git.commit": git.get("commit", "unknown"), "git.dirty": str(git.get("dirty", "unknown"))}
    tags |= {"device": execution.device, "precision": execution.precision, "group": execution.group}
    return tags | {
        "command": record["command"],
        "hardware": record["hardware"]["processor"],
        "subset": str(record["data"]["subset"]),
    }


def _describe(job: Job, record: Mapping[str, Any], execution: Execution, trial: Any):
    from sweeps.tracking import Description

    protocol = record["protocols"].get(trial.baseline, record["protocol"])
    return Description(
        params=job.settings.with_params(dict(trial.params)).flat(), tags=_tags(record, protocol, execution)
    )


class _Warnings:
    """Shows what the tracker has to say, once a round."""

    def __init__(self, tracker: "Tracker", progress: "LiveProgress") -> None:
        self._tracker, self._progress = tracker, progress

    def trial_started(self, *event: Any, **details: Any) -> None: ...
    def epoch_finished(self, *event: Any) -> None: ...
    def trial_ended(self, *event: Any) -> None: ...

    def round_finished(self, snapshot: Any) -> None:
        if self._tracker.warning:
            self._progress.warn(self._tracker.warning)
