"""`vaeexp sweep`: one study from its file to its report and the registered model."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps import (
    GRID_DONE,
    VERSION,
    Description,
    EngineLostError,
    Mirror,
    RegisteredModel,
    State,
    StudyRecord,
    Sweep,
    UserError,
    WorkerPool,
    check_reachable,
    exhausted,
    extension,
    keep_figures,
    masked,
    mirroring,
    open_storage,
    open_sweep,
    read_state,
    recorded_study,
    run_folder,
    stored_path,
    study_reader,
    sync,
    tracking_uri,
    warm_start,
    warn_once,
)
from sweeps.results import Results, best_run
from vaeexp import report as pages
from vaeexp.console import in_notebook, program
from vaeexp.data.dataset import drawn
from vaeexp.evaluation.metrics import measured_at
from vaeexp.import_paths import flat_settings
from vaeexp.launch.continuing import check_protocol, installed_changes, job_of_study
from vaeexp.launch.execution import Execution
from vaeexp.launch.job import (
    Job,
    compare_sizes,
    contact_sheet,
    describe_data,
    later_epochs,
    later_runs,
    prepare_job,
    print_plan,
)
from vaeexp.launch.memory import choose_execution
from vaeexp.launch.options import SweepOptions
from vaeexp.launch.progress import BarProgress, LiveProgress
from vaeexp.launch.study_log import StudyLog, log_path
from vaeexp.launch.workers import engine_of, make_workers
from vaeexp.models.parts import recorded_measure
from vaeexp.own_code import check_code, note_beginning
from vaeexp.plots.contact_sheet import draw, pack
from vaeexp.report.closing import sheet_statement
from vaeexp.report.sentences import sentence
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import study_tables
from vaeexp.results.verdict import verdict_of
from vaeexp.run_files import LOADER, REQUIREMENTS, SETTINGS, WEIGHTS, load_json
from vaeexp.runs.best_weights import BestWeights
from vaeexp.runs.drawing import write_figure
from vaeexp.runs.marks import check_ours
from vaeexp.runs.preparation import table_in
from vaeexp.runs.provenance import describe_run, protocol
from vaeexp.runs.raw_numbers import Reconstructor, raw_example
from vaeexp.study import setting_options, train_options
from vaeexp.words import format_signed, join_and, naming, one_line, plural

if TYPE_CHECKING:
    from sweeps import Baseline
    from vaeexp.data import Dataset


def run_sweep(options: SweepOptions, log: StudyLog, text: str | None = None) -> bool:
    """Run a study, or continue it, to its report; return whether all trials of the search failed,
    so that there is no answer.

    text: as for `prepare_job`.

    Raises:
        UserError: an option, the study or the machine is unfit; raised before any training.
        KeyboardInterrupt: the sweep was stopped; finished trials are kept, and running trials
            resume.
    """
    job = prepare_job(options, log, text)
    facts = _describe_objective(job)
    # The mirror ends last, because it records how the sweep ended.
    with (
        log.keep(job.runs, job.study.name, job.command()) as begin_log,
        _say_how_to_continue(job),
        engine_of(job) as engine,
        ExitStack() as opened,
        open_sweep(
            job.study,
            runs=job.runs,
            storage=options.storage,
            extend=options.extend,
            take_over=options.take_over,
            patience=options.storage_timeout,
            protocol=facts,
            check=partial(check_protocol, job.study.name, facts),
        ) as sweep,
    ):
        job = job_of_study(job, sweep.study, sweep.before, sweep.read)
        if sweep.finished and not _has_failed_runs(job, sweep):
            begin_log()
            return _conclude_again(job, sweep.read())
        execution = choose_execution(
            job.study,
            job.settings,
            job.dataset,
            options.execution,
            sweep.before.execution,
            log.say,
            engine=engine,
        )
        compare_sizes(job, execution)
        before = sweep.read() if sweep.before.session else None
        _announce(job, execution, before)
        kind = None if options.extend else sweep.before.worker_kind
        opened.enter_context(engine.shown())  # workers look for the folder when they start
        # The workers are the last that can refuse the command; whatever is left behind comes after
        # them.
        with closing(make_workers(job, execution, engine, kind)) as workers:
            begin_log()
            trials = job.runs / "trials" / job.study.name
            if sweep.before.session is None and not any(trials.glob("*")):
                note_beginning(job.runs, job.study.name)
            sweep.begin(_describe_study(job, execution))
            mirror = opened.enter_context(_open_mirror(job))
            stored = _train(job, sweep, workers, mirror)
            if before and [run.ended for run in stored.runs] == [run.ended for run in before.runs]:
                job.log.say("Nothing was left to train.")
                _say_finished(job, stored.study)
        return _report(job, sweep, stored)


def _train(job: Job, sweep: Sweep, workers: WorkerPool, mirror: Mirror) -> State:
    """Search, then train the repeats, with the progress on the console and in the log; return all
    trials.
    """
    options = job.options
    kept = BestWeights.of(sweep, job.study.keep.weights)
    shown: dict[str, Any] = {"study": job.study.name, "epochs": job.settings.train.epochs}
    shown |= {"later": later_epochs(job), "warning": lambda: mirror.warning}
    progress_on = BarProgress if in_notebook() else LiveProgress
    with (
        progress_on(job.log.console, **shown) as progress,
        LiveProgress(job.log.file_console, **shown) as lines,
    ):
        stored = sweep.train(
            workers,
            [progress, lines, *kept],
            max_failures=options.max_failures,
            stop_seconds=options.stop_seconds,
            retry_failed=options.retry_failed,
            learned=partial(_has_learned, job),
        )
    for each in kept:
        each.conclude()
    return stored


def _has_learned(job: Job, stored: State) -> bool:
    """Say why a search has ended, and tell whether it has taught anything; where it has not, say
    which runs do not follow, and how to get them.
    """
    job.log.say(f"The search has ended: {stored.study.stopped}")
    verdict = verdict_of(stored).nothing_learned
    runs = sum(later_runs(replace(job.study, baselines=())).values())
    if verdict and runs and any(trial.state == "complete" for trial in stored.trials):
        command = job.command(program=program())
        job.log.say(
            "Nothing was learned, so nothing is confirmed or compared (up to "
            f"{plural(runs, 'run')}). To train the best configuration with fresh seeds all the "
            f"same: {command} --set 'baselines.best={{at: best}}' --extend"
        )
    return not verdict


def _report(job: Job, sweep: Sweep, stored: State) -> bool:
    """Write the report of a study that has trained all its runs, and record that it is finished."""
    job.log.say("Writing the report.")
    stored = replace(stored, study=replace(stored.study, finished=True))
    tables = study_tables(stored, job.runs)
    model = best_model(tables, job.dataset, job.runs)
    view = StudyView(tables)
    path = pages.write_report(
        view, reports=job.reports, html=job.options.html, tracking=job.options.tracking
    )
    answer = pages.answer_lines(view)
    warnings = pages.failed_checks(view)
    sweep.conclude(model=model, report=path.parent, warnings=warnings, answer=answer)
    return _conclude(job, view, path)


def best_model(results: Results, dataset: "Dataset", runs: Path) -> RegisteredModel | None:
    """Return the model of the best run for MLflow's registry; None if no run with weights is
    complete, or they are damaged.
    """
    run = best_run(results)
    if run is None:
        return None
    folder = runs / "trials" / results.name / run_folder(run["number"], repeat=run["repeat"])
    if not (folder / WEIGHTS).exists():
        return None
    try:
        check_code(run["name"], flat_settings(load_json(folder / SETTINGS)), folder, allow=False)
        model = Reconstructor(folder)
    except UserError as error:
        # The report of days of work must not wait for one file, nor for the code of a run from
        # elsewhere.
        warn_once(f"{error} No model is registered.")
        return None
    inputs = raw_example(dataset)
    found = model.predict(np.array(inputs["values"], inputs["dtype"]))
    outputs = {**inputs, "dtype": found.dtype.name, "values": found.tolist()}
    return RegisteredModel(
        name=results.name,
        alias="best",
        run=run["name"],
        folder=stored_path(folder, runs),
        loader_module=LOADER,
        inputs=inputs,
        outputs=outputs,
        pip_requirements=tuple(
            f"vaeexp=={VERSION}" if name == "vaeexp" else name for name in REQUIREMENTS
        ),
        description=f"Best run of the study {results.name}: numbers as they stand in the files "
        "go in, reconstructions in the same unit come out.",
    )


def plan_sweep(options: SweepOptions, log: StudyLog, *, show: bool = False) -> None:
    """Check all that a sweep checks, print what it would do, and record nothing.

    show: write a contact sheet of the training images, `<study>-images.png`, into the current
    folder.

    Raises:
        UserError: the sweep would refuse to start, its tracking server does not answer, or the
            sheet cannot be written.
    """
    job = prepare_job(options, log)
    if show:
        path = Path(f"{job.study.name}-images.png")
        check_ours(path, "Rename it")
        sheet = contact_sheet(job)
        trained_on = job.dataset.sizes[0]
        drawn_once = None if job.dataset.binarisation == "none" else job.dataset.binarisation
        with naming(job.noun):
            caption = sentence(sheet_statement(len(sheet.images), trained_on, drawn_once))
        if sheet.words:
            caption += f" Each picture shows {sheet.words}."
        elif not job.dataset.scaling.bytes:
            black, white = map(format_signed, drawn(job.dataset).shown)
            caption += f" Black is the target {black}, white {white}; numbers: {job.dataset.pixels}"
        write_figure(draw(sheet), caption, path)
        job.log.say(f"{path}  {caption}")
    if options.tracking is not None:
        check_reachable(tracking_uri(options.tracking))
    name = job.study.name
    stored = recorded_study(options.storage, job.runs, name) or StudyRecord(name=name)
    read = study_reader(options.storage, job.runs, job.study)
    facts = _describe_objective(job)
    check_protocol(name, facts, stored)
    study, kept = keep_figures(stored, job.study, extend=options.extend)

    def recorded() -> State:
        return read_state(open_storage(options.storage, job.runs, name), name)

    changed = extension(stored, study, recorded, extend=options.extend)
    for line in (*changed.lines, *kept, *warm_start(job.study, stored, facts, read)[1]):
        job.log.say(line)
    job = job_of_study(job, study, stored, recorded)
    done = stored.finished and stored.budget == job.study.budget.model_dump()
    if done and not changed.lines:
        _say_finished(job, stored)
        return
    _say_unused_address(job)
    with engine_of(job) as engine:
        print_plan(job, log.console, engine)


def _has_failed_runs(job: Job, sweep: Sweep) -> bool:
    """Tell whether the options ask for failed trials once more, and there are any."""
    stored = sweep.read()
    runs = [*stored.trials, *(run for run in stored.repeats if run.purposes)]
    return job.options.retry_failed and any(run.state == "failed" for run in runs)


def _say_finished(job: Job, study: StudyRecord) -> None:
    more = (job.study.budget.trials or 40) * 2
    job.log.say(f"The study '{study.name}' is complete: {study.stopped}")
    if study.stopped == GRID_DONE or exhausted(
        job.study.sampler, job.study.space, job.study.budget.trials or 0
    ):
        job.log.say(
            "A larger budget adds no trial: the grid has no other setting. Search more values, "
            "with --extend."
        )
        return
    job.log.say(
        f"To extend it: {_as_begun(job, study).command(budget=False, program=program())} "
        f"--trials {more}{' --extend' if installed_changes(study) else ''}"
    )


def _as_begun(job: Job, study: StudyRecord) -> Job:
    """Return the job without options of the execution that this study's workers would be refused
    for.
    """
    refused: dict[str, Any] = {
        name: None
        for name, value in job.options.execution.items()
        if name in study.worker_kind and str(value) not in ("auto", str(study.worker_kind[name]))
    }
    return replace(job, options=replace(job.options, **refused))


def _conclude_again(job: Job, stored: State) -> bool:
    """Bring MLflow the rest of a finished study, as after a server that was away; write its report
    where that is gone.
    """
    options = job.options
    try:
        state = sync(job.study, runs=job.runs, storage=options.storage, tracking=options.tracking)
    except UserError as error:
        job.log.say(f"warning: {error}", style="yellow")
    else:
        if state.brought:
            job.log.say(f"MLflow lacked {state.brought} of {state.runs} runs; it has them now.")
    _say_finished(job, stored.study)
    path = job.reports / job.study.name / "README.md"
    view = StudyView(study_tables(stored, job.runs))
    if not path.exists() or (options.html and not path.with_name(pages.PAGE).exists()):
        path = pages.write_report(
            view, reports=job.reports, html=options.html, tracking=options.tracking
        )
    return _conclude(job, view, path)


@contextmanager
def _open_mirror(job: Job) -> Iterator[Mirror]:
    """Keep MLflow up to date, and say at the end which runs it lacks."""
    options = job.options
    study = job.study.name
    sync_command = f"`{job.places.command('sync', f' {study}')}`"
    with mirroring(
        job.study,
        runs=job.runs,
        storage=options.storage,
        tracking=options.tracking,
        say=partial(job.log.say, style="yellow"),
        sync_command=sync_command,
        log=log_path(job.runs, study),
    ) as mirror:
        yield mirror
        job.log.say(
            f"Copying the last runs to MLflow. Ctrl-C is safe: {sync_command} brings the rest."
        )


@contextmanager
def _say_how_to_continue(job: Job) -> Iterator[None]:
    """Say after an interrupt, or the loss of all machines, how the study goes on."""
    try:
        yield
    except (KeyboardInterrupt, EngineLostError):
        command = job.command(program=program())
        job.log.say(
            f"Stopped. Finished trials are kept, running trials resume. Continue with: {command}"
        )
        raise


def _describe_study(job: Job, execution: Execution) -> Description:
    """Return the record of the study: where and how it runs, its images, and the protocol of each
    baseline.

    A baseline on the best setting of the search differs from the study in its own settings only.
    """
    record = describe_run(
        job.dataset, _protocol(job), study_text=job.study.text, command=job.command()
    )
    protocols = {row.name: _protocol(job, row) for row in job.study.baselines}
    data = record["data"]
    return Description(
        execution=execution.as_dict(),
        provenance={
            **record,
            "protocols": protocols,
            "warnings": list(job.warnings),
            "contact_sheet": pack(contact_sheet(job)),
            "columns": [*table_in(job.dataset.preparation)],
            **job.code,
        },
        constants=job.settings.flat(),
        no_metrics=_find_constant_metrics(job),
        tags=_make_tags(record, execution) | _make_protocol_tags(record["protocol"]),
        baseline_tags={
            name: _make_protocol_tags(baseline_protocol)
            for name, baseline_protocol in protocols.items()
        },
        dataset={
            "name": data["title"],
            "fingerprint": data["fingerprint"],
            "source": data["source"],
            "profile": data,
        },
    )


def _protocol(job: Job, row: "Baseline | None" = None) -> dict[str, str]:
    """Return the protocol of the search, or that of a baseline."""
    settings = job.settings.with_params(dict(row.settings) if row else {})
    dataset = job.datasets[settings.data.key] if row else job.dataset
    likelihoods = dict.fromkeys(setting_options(job.study, "likelihood", row))
    return protocol(dataset, settings, job.study.space.names, [*likelihoods])


def _describe_objective(job: Job) -> dict[str, str]:
    """Return the facts that the −ELBO of another study must share to be compared with that of this
    one, trial by trial.
    """
    space = job.study.space
    settings = job.settings
    epochs = space["epochs"].domain() if "epochs" in space.names else str(settings.train.epochs)
    objective = "−ELBO at β = 1 on validation images, nats per image"
    facts = _protocol(job)
    measure = facts.pop("measure")
    # Studies that were recorded before measures were have the likelihood alone.
    facts |= {} if measure == recorded_measure(facts) else {"measure": measure}
    if job.study.objectives:
        objective = f"{' and '.join(job.study.objectives)}, two at once"
    return {
        "objective": objective,
        **facts,
        "epochs": epochs,
    }


def _find_constant_metrics(job: Job) -> tuple[str, ...]:
    """Return the figures that say how a trial was trained and tested; learning rate and β are
    curves only where they change.
    """
    options = train_options(job.study)
    constant = [f"test/{name}" for name in measured_at("test", "condition")]
    if {*options["schedule"]} == {"constant"} and not any(options["warmup_steps"]):
        constant.append("train/learning_rate")
    if not any(options["warmup_epochs"]):
        constant.append("train/beta")
    return tuple(constant)


def _announce(job: Job, execution: Execution, before: State | None) -> None:
    """Say what the sweep will do; first which trials of the study as it was `before` go on."""
    train, validation, test = job.dataset.sizes
    running = [run for run in before.runs if run.state == "running"] if before else []
    if running:
        epochs = sorted({len(run.objectives) for run in running})
        job.log.say(
            f"{plural(len(running), 'trial continues', 'trials continue')} at epoch "
            f"{join_and([*map(str, epochs)])}."
        )
    job.log.say(f"{job.study.name}: {one_line(job.study.question)}")
    _say_unused_address(job)
    job.log.say(
        f"{job.title}: {train:,} {job.noun}s to train on, {validation:,} to validate, "
        f"{test:,} to test. {execution.lanes} trials at once on {execution.describe()}.",
    )
    if later := later_runs(job.study):
        words = ", ".join(f"{count} {purpose}" for purpose, count in later.items())
        job.log.say(
            f"After the search come up to {plural(sum(later.values()), 'further run')}: {words}."
        )
    if job.dataset.notes:  # the files are the user's own
        for line in describe_data(job):
            job.log.say(f"  {line}")
    for warning in job.warnings:
        job.log.say(f"warning: {warning}", style="yellow")


def _say_unused_address(job: Job) -> None:
    """Say that MLflow's own variable is not used: runs go to no server that was not named to this
    command.
    """
    address = os.environ.get("MLFLOW_TRACKING_URI")
    if address and job.options.tracking is None:
        job.log.say(
            f"MLFLOW_TRACKING_URI is set and not used: the runs go to {job.runs / 'mlflow.db'}. "
            f"To send them there: --tracking {masked(address)}",
            style="yellow",
        )


def _conclude(job: Job, view: StudyView, report: Path) -> bool:
    """Say what the study has come to, and where its report is."""
    for line in pages.answer_lines(view):
        job.log.say(line, style="yellow" if view.verdict.nothing_learned else "")
    job.log.say(f"Report: {report.with_name(pages.PAGE) if job.options.html else report}")
    job.log.say(f"Browse the runs: {job.places.command('ui')}")
    return view.verdict.all_failed


def _make_tags(record: Mapping[str, Any], execution: Execution) -> dict[str, str]:
    git = record["git"]
    decided = execution.as_dict()
    names = ("device", "precision", "fuse", "compile", "lanes", "workers")
    return {
        **{f"version.{name}": value for name, value in record["versions"].items()},
        **{f"git.{name}": str(git.get(name, "unknown")) for name in ("commit", "dirty")},
        **{name: str(decided[name]) for name in names},
        "command": record["command"],
        "hardware": record["hardware"]["processor"],
        "subset": str(record["data"]["subset"]),
    }


def _make_protocol_tags(protocol: Mapping[str, str]) -> dict[str, str]:
    return {f"protocol.{name}": value for name, value in protocol.items()}
