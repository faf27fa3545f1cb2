"""`vaeexp reproduce`: a trial trained again from its record alone, beside its study, and whether it is the same."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import UserError
from sweeps.storage.running_trial import checked
from sweeps.storage.trial_record import EpochRecord, TrialRecord
from sweeps.workload.protocol import Outcome, Progress, advance_all
from sweeps.workload.worker_pool import WorkerPool
from vaeexp.console import minus_elbo, print_table, progress_bar, write_line
from vaeexp.data import Dataset, open_dataset
from vaeexp.hardware import usable_cores
from vaeexp.runs.comparison import Criterion, Finding, compare, criterion, differing
from vaeexp.runs.names import find_run
from vaeexp.runs.provenance import arithmetic, describe_run
from vaeexp.runs.trial_settings import RunRecord, read_record
from vaeexp.runs.worker import open_lanes
from vaeexp.settings import SECTIONS
from vaeexp.study import maxima_of, uses_average
from vaeexp.training.checkpoint import SETTINGS
from vaeexp.training.device import resolve_device, resolve_precision
from vaeexp.words import format_params

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.workload.protocol import Lanes

HEARTBEAT_SECONDS = 30.0


def reproduce_trial(
    run: str,
    runs: Path,
    storage: str | None,
    *,
    data: Path | None,
    device: str | None,
    precision: str | None,
    console: "Console",
) -> bool:
    """Train a trial again in a temporary folder and say on `console` whether it matches its record; whether it does.

    `device` and `precision` are those of the record where they are None. Study, journal and MLflow runs are only read.

    Raises:
        UserError: there is no such trial, it has not ended, its record is incomplete, or the images are others.
    """
    name = find_run(run, runs, storage)
    record = read_record(name, runs, storage)
    if record.trial.trial.number != name.number:
        write_line(console, f"{name} took the result of {record.name}, which has equal settings.")
    here = _arithmetic_here(record, device, precision)
    wanted = criterion(record.arithmetic, here, record.trial.epochs)
    dataset = _open_data(record, data, console)
    _announce(record, here, wanted, console)
    with tempfile.TemporaryDirectory(prefix="vaeexp-reproduce-") as folder:
        again = _train(record, here, wanted, dataset, Path(folder), console)
        findings = compare(record.trial, again, (record.folder, Path(again.folder) if again.folder else None), wanted)
    if record.contradictions:
        findings.append(Finding(SETTINGS, "; ".join(record.contradictions), False))
    _conclude(record, findings, dataset, console)
    return all(finding.agrees is not False for finding in findings)


def _arithmetic_here(record: RunRecord, device: str | None, precision: str | None) -> dict[str, Any]:
    wanted = record.arithmetic
    try:
        found = resolve_device(device or wanted["device"])
    except UserError as error:
        if device is not None:
            raise
        raise UserError("--device", f"{error.problem} {record.name} was trained there; name another.") from error
    threads = (wanted["threads"] or usable_cores()) if found.type == "cpu" else None
    arithmetics = resolve_precision(precision or wanted["precision"], found)
    return arithmetic(
        str(found),
        precision=arithmetics,
        fuse=wanted["fuse"] == "on",
        compile=wanted["compile"] == "on",
        threads=threads,
    )


def _open_data(record: RunRecord, data: Path | None, console: "Console") -> Dataset:
    dataset = open_dataset(record.settings.data, root=data, say=lambda text: write_line(console, text, style="yellow"))
    if dataset.fingerprint != record.fingerprint:
        raise UserError(
            record.name,
            f"was trained on images with the fingerprint {record.fingerprint[:12]}; those of {dataset.title} "
            f"({dataset.source}) have {dataset.fingerprint[:12]}. Give the first data again (--data).",
        )
    return dataset


def _announce(record: RunRecord, here: Mapping[str, Any], wanted: Criterion, console: "Console") -> None:
    trial, outcome = record.trial.trial, record.outcome
    ended = f"{outcome.state} after {len(record.trial.epochs)} epochs"
    write_line(console, f"{record.name}: {ended}, seed {trial.seed}, {format_params(trial.params)}", style="bold")
    now = record.stored.spec
    fixed = {name: value for section in SECTIONS for name, value in now.get(section, {}).items()}
    ran = {
        name: value
        for section in SECTIONS
        for name, value in getattr(record.settings, section).model_dump(mode="json").items()
    }
    changed = [name for name, value in fixed.items() if name not in trial.params and ran[name] != value]
    if changed:
        words = ", ".join(f"{name} {ran[name]} (now {fixed[name]})" for name in changed)
        write_line(console, f"The study has changed since: this run had {words}.")
    threads = f", threads {here['threads']}" if here["threads"] else ""
    write_line(
        console,
        f"Trained again on {here['device']} ({here['precision']}, fuse {here['fuse']}, compile {here['compile']}{threads}), in a temporary folder.",
    )
    write_line(console, f"It should match {wanted.words}: {wanted.why}.")


def _train(
    record: RunRecord, here: Mapping[str, Any], wanted: Criterion, dataset: Dataset, folder: Path, console: "Console"
) -> TrialRecord:
    """The trial anew, in a process like those of a sweep, as far as the record goes: into the epoch that failed, too."""
    execution = record.stored.execution
    arguments = {
        "settings": record.settings,
        "datasets": {record.settings.data.binarisation: dataset},
        "maxima": maxima_of(record.parts),
        "averaged": uses_average(record.parts),
        "study": record.study,
        "study_seed": record.study_seed,
        "folder": str(folder),
        **{name: here[name] for name in ("device", "precision", "threads")},
        **{name: here[name] == "on" for name in ("fuse", "compile")},
        "lanes": 1,
        "checkpoint_seconds": execution["checkpoint_seconds"],
        "resident_mb": execution.get("resident_mb", "auto"),
    }
    lanes = WorkerPool(open_lanes, [arguments])
    trial = record.trial.trial
    try:
        lanes.add(trial)
        progress = list(_live(record, lanes, wanted, console))
        last = progress[-1] if progress else None
        reported = tuple(each for each in progress if not each.failure)
        outcome = Outcome(
            state="failed" if last and last.failure else "complete" if last and last.finished else "pruned",
            epoch=last.epoch if last else 0,
            objective=min((each.objective for each in reported), default=None),
            failure=last.failure if last else None,
        )
        [result] = lanes.finish({trial.number: outcome})
    finally:
        lanes.close()
    epochs = tuple(_as_epoch(each) for each in reported)
    return replace(record.trial, outcome=outcome, epochs=epochs, results=dict(result.metrics), folder=result.folder)


def _as_epoch(progress: Progress) -> EpochRecord:
    return EpochRecord(epoch=progress.epoch, objective=progress.objective, metrics=progress.metrics, at=None)


def _live(record: RunRecord, lanes: "Lanes", wanted: Criterion, console: "Console") -> Iterator[Progress]:
    """Train epoch by epoch and say how it goes."""
    recorded, number = record.trial.epochs, record.trial.trial.number
    most = len(recorded) + (record.outcome.failure is not None)
    agree, spoke = True, time.monotonic()
    with progress_bar(console, record.trial.trial.name) as advance:
        for place in range(most):
            progress = checked(advance_all(lanes, [number])[0])
            advance(place + 1, most)
            on_record = place < len(recorded)
            apart = None
            if bool(progress.failure) == on_record:
                agree = False
            elif on_record and agree:
                apart = differing(recorded[place], _as_epoch(progress), wanted)
            over = progress.finished or progress.failure or place + 1 == most
            if apart:
                agree = False
                write_line(console, f"differs: {apart.words}", style="yellow")
            elif over or (not console.is_terminal and time.monotonic() - spoke >= HEARTBEAT_SECONDS):
                spoke = time.monotonic()
                value = progress.failure.kind if progress.failure else f"{minus_elbo(console)} {progress.objective:.2f}"
                so_far = ("near the record" if wanted.tolerance else "as on record") if agree else "not as on record"
                write_line(console, f"epoch {progress.epoch}/{most}: {value}, {so_far}")
            yield progress
            if progress.failure or progress.finished:
                return


def _conclude(record: RunRecord, findings: list[Finding], dataset: Dataset, console: "Console") -> None:
    marks = {True: "agrees", False: "DIFFERS", None: ""}
    write_line(console, "")
    print_table(console, ("", "", ""), [(f.what, marks[f.agrees], f.words) for f in findings], header=False)
    changed = list(_surroundings(record, dataset))
    write_line(console, "")
    if changed:
        print_table(console, ("", "on record", "now"), changed)
        write_line(console, "")
    wrong = [finding for finding in findings if finding.agrees is False]
    if wrong:
        write_line(
            console, f"{record.name} DIFFERS from its record: {wrong[0].what} {wrong[0].words}", style="bold red"
        )
    else:
        write_line(console, f"{record.name} matches its record.", style="bold green")


def _surroundings(record: RunRecord, dataset: Dataset) -> Iterator[tuple[str, str, str]]:
    """What is not as it was when the study was last run: code, versions, machine."""
    before, now = record.stored.provenance, describe_run(dataset, record.settings, study_text="", command="")
    names = {"commit": "git commit", "dirty": "uncommitted changes"}
    for part in ("git", "versions", "hardware"):
        old, new = before.get(part) or {}, now[part]
        for name in {**old, **new}:
            pair = old.get(name), new.get(name)
            # What was changed without a commit is on no record, so the same may be another.
            if name != "memory_gib" and (pair[0] != pair[1] or (name == "dirty" and pair[0])):
                yield names.get(name, name), *(_shown(value) for value in pair)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)
