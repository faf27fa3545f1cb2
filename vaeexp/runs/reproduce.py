"""Train a trial again from its record alone, apart from its study, and compare the two
trainings.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweeps import (
    Damaged,
    Epoch,
    Lanes,
    Outcome,
    Progress,
    Trial,
    UserError,
    WorkerPool,
    advance_all,
    check_file,
    file_digest,
    with_divergence,
    write_whole,
)
from vaeexp.console import print_table, progress_bar, write_line
from vaeexp.data import Dataset, open_dataset
from vaeexp.machine import usable_cores
from vaeexp.run_files import EVALUATION, PICTURES, RESULT, SETTINGS
from vaeexp.runs.comparison import Criterion, Part, choose_criterion, compare, difference
from vaeexp.runs.provenance import arithmetic
from vaeexp.runs.record import RunRecord, read_record
from vaeexp.runs.run import other_images
from vaeexp.runs.worker import open_lanes
from vaeexp.study import maxima_of, train_options, uses_average
from vaeexp.training.device import resolve_device, resolve_precision
from vaeexp.training.optimizers import parts_of
from vaeexp.words import format_params

if TYPE_CHECKING:
    from rich.console import Console


def reproduce_trial(
    run: str,
    runs: Path,
    storage: str | None,
    *,
    data: Path | None,
    device: str | None,
    precision: str | None,
    restore: bool = False,
    allow_code: bool = False,
    console: "Console",
) -> bool:
    """Train a trial again in a temporary folder, print the comparison, and return whether the trial
    matches its record.

    `device` and `precision` are those of the record where they are None. `restore`: put files of
    the run that are missing or damaged back into its folder. Study, journal and MLflow runs are
    only read.

    Raises:
        UserError: there is no such trial, it has not ended, its record is incomplete, or the images
            are others; or, with `restore`, it has left no files.
    """
    record = read_record(run, runs, storage, allow_code=allow_code)
    if record.asked != record.name:
        write_line(
            console, f"{record.asked} took the result of {record.name}, which has equal settings."
        )
    if restore and not record.trial.folder:
        raise UserError(record.name, "has left no files, so there is nothing to restore.")
    here = _arithmetic_here(record, device, precision)
    wanted = choose_criterion(record.arithmetic, here)
    dataset = open_dataset(
        record.settings.data, root=data, say=lambda text: write_line(console, text, style="yellow")
    )
    if dataset.fingerprint != record.fingerprint:
        raise other_images(record.name, record.fingerprint, dataset, record.images)
    if not record.leaves_out:
        dataset = replace(dataset, values=replace(dataset.values, constant=()))
    _announce(record, here, wanted, console)
    with tempfile.TemporaryDirectory(prefix="vaeexp-reproduce-") as folder:
        again = _train(record, here, wanted, dataset, Path(folder), console)
        made = Path(again.folder) if again.folder else None
        restored: list[Part] = []
        if restore and made:
            compared = compare(record.trial, again, (None, None), wanted, record.spread)
            restored = restore_files(record, made, compared)
        parts = compare(record.trial, again, (record.folder, made), wanted, record.spread)
        parts += restored
    if record.damage and not restored:
        parts.append(Part(SETTINGS, record.damage, False))
    _conclude(record, parts, console)
    return all(part.agrees is not False for part in parts)


def restore_files(record: RunRecord, made: Path, compared: Sequence[Part]) -> list[Part]:
    """Put files that a new training `made` into the run's folder where they are missing or damaged;
    tell of each.

    A file of weights goes back if its SHA-256 is the recorded one, else next to it, as
    `reproduced-weights.safetensors`. The other files go back if the weights are the recorded ones;
    of a run that has left none, if all that was `compared` is.
    """
    parts = []
    weighed = bool(record.trial.files)
    equal = weighed or all(part.agrees is not False for part in compared)
    for file, sha256 in record.trial.files.items():
        place = record.folder / file
        found = file_digest(made / file)
        if place.is_file() and file_digest(place) == sha256:
            parts.append(Part(file, "is whole and stays as it is", None))
        elif found == sha256:
            _put(made / file, place)
            parts.append(Part(file, f"is put back; its SHA-256 is the recorded {sha256}", True))
        else:
            beside = place.with_name(f"reproduced-{file}")
            _put(made / file, beside)
            words = f"has the SHA-256 {found} now, {sha256} on record; it lies beside as"
            parts.append(Part(file, f"{words} {beside.name}", False))
        equal = equal and found == sha256
    if not equal:
        return parts
    for file in (SETTINGS, RESULT, *((PICTURES, EVALUATION) if weighed else ())):
        if (made / file).is_file() and not _is_whole(record.folder / file):
            _put(made / file, record.folder / file)
            parts.append(Part(file, "is put back", True))
    return parts


def _is_whole(path: Path) -> bool:
    try:
        check_file(path.read_bytes(), path)
    except (Damaged, OSError):
        return False
    return True


def _put(made: Path, place: Path) -> None:
    write_whole(place, lambda unfinished: shutil.copyfile(made, unfinished), durable=True)


def _arithmetic_here(
    record: RunRecord, device: str | None, precision: str | None
) -> dict[str, Any]:
    recorded = record.arithmetic
    try:
        here = resolve_device(device or recorded["device"])
    except UserError as error:
        if device is not None:
            raise
        raise UserError(
            "--device", f"{error.problem} {record.name} was trained there; name another."
        ) from error
    return arithmetic(
        str(here),
        precision=resolve_precision(precision or recorded["precision"], here),
        fuse=recorded["fuse"] == "on",
        compile=recorded["compile"] == "on",
        threads=(recorded["threads"] or usable_cores()) if here.type == "cpu" else None,
    )


def _announce(
    record: RunRecord, here: Mapping[str, Any], wanted: Criterion, console: "Console"
) -> None:
    trial = record.trial
    ended = f"{record.outcome.state} after {len(record.trial.epochs)} epochs"
    write_line(
        console,
        f"{record.name}: {ended}, seed {trial.seed}, {format_params(trial.params)}",
        style="bold",
    )
    threads = f", threads {here['threads']}" if here["threads"] else ""
    options = f"{here['precision']}, fuse {here['fuse']}, compile {here['compile']}{threads}"
    write_line(console, f"Trained again on {here['device']} ({options}), in a temporary folder.")
    near = "bit for bit" if wanted.exact else "within the spread of seeds"
    write_line(console, f"It should match {near}: {wanted.why}.")


def _train(
    record: RunRecord,
    here: Mapping[str, Any],
    wanted: Criterion,
    dataset: Dataset,
    folder: Path,
    console: "Console",
) -> Trial:
    """Train the trial in a worker process like those of a sweep, to the last recorded epoch or into
    the one that failed.
    """
    lanes = WorkerPool(open_lanes, [_arguments(record, here, dataset, folder)])
    trial = replace(record.trial.spec, epoch=0, resumes_from=None)
    try:
        lanes.add(trial)
        progress = list(_advance(record, lanes, wanted, console))
        outcome = _outcome(progress, record.trial.warmup)
        [result] = lanes.finish({trial.number: outcome})
    finally:
        lanes.close()
    epochs = tuple(
        Epoch(epoch=each.epoch, objective=each.objective, metrics=each.metrics, at=None)
        for each in progress
        if not each.failure
    )
    recorded = replace(
        record.trial.recorded,
        outcome=outcome,
        epochs=epochs,
        results=dict(result.metrics),
        folder=result.folder,
    )
    return replace(
        record.trial,
        objectives={epoch.epoch: epoch.objective for epoch in epochs},
        read=lambda: recorded,
    )


def _arguments(
    record: RunRecord, here: Mapping[str, Any], dataset: Dataset, folder: Path
) -> dict[str, Any]:
    """Return the arguments of `open_lanes` for the trial alone."""
    execution = record.study.execution
    return {
        "settings": record.settings,
        "datasets": {record.settings.data.key: dataset},
        "maxima": maxima_of(record.parts),
        "averaged": uses_average(record.parts),
        "parts": parts_of(train_options(record.parts)),
        "study": record.study.name,
        "study_seed": record.study_seed,
        "folder": str(folder),
        **{name: here[name] for name in ("device", "precision", "threads")},
        **{name: here[name] == "on" for name in ("fuse", "compile")},
        "lanes": 1,
        "rows": 1,
        "checkpoint_seconds": execution["checkpoint_seconds"],
        "resident_mb": execution.get("resident_mb", "auto"),
    }


def _outcome(progress: Sequence[Progress], warmup: int) -> Outcome:
    """Return how the training ended; `pruned` where it would go on."""
    if not progress:
        return Outcome(state="pruned", epoch=0, objective=None)
    last = progress[-1]
    counted = [each for each in progress if not each.failure and each.epoch > warmup]
    best = min((each.objective for each in counted), default=None)
    if last.failure:
        return Outcome(state="failed", epoch=last.epoch, objective=best, failure=last.failure)
    state: Literal["complete", "pruned"] = "pruned"
    if last.finished and best is not None:
        state = "complete"
    return Outcome(state=state, epoch=last.epoch, objective=best)


def _advance(
    record: RunRecord, lanes: Lanes, wanted: Criterion, console: "Console"
) -> Iterator[Progress]:
    """Train epoch by epoch. Print the first difference at once."""
    recorded = record.trial.epochs
    number = record.trial.number
    failure = record.outcome.failure
    # An epoch that a limit on time stopped may never end.
    most = len(recorded) + (failure is not None and failure.kind != "timed_out")
    agrees = wanted.exact
    with progress_bar(console, record.name) as advance:
        for index in range(most):
            progress = with_divergence(advance_all(lanes, [number])[0])
            advance(index + 1, most)
            counts = agrees and index < len(recorded) and not progress.failure
            if counts and (text := difference(recorded[index], progress)):
                agrees = False
                write_line(console, f"differs: {text}", style="yellow")
            yield progress
            if progress.failure or progress.finished:
                return


def _conclude(record: RunRecord, parts: list[Part], console: "Console") -> None:
    marks = {True: "agrees", False: "DIFFERS", None: ""}
    write_line(console, "")
    print_table(
        console,
        ("", "", ""),
        [(part.what, marks[part.agrees], part.words) for part in parts],
    )
    write_line(console, "")
    first = next((part for part in parts if part.agrees is False), None)
    if first:
        write_line(
            console,
            f"{record.name} DIFFERS from its record: {first.what} {first.words}",
            style="bold red",
        )
    else:
        unknown = any(part.what == "best −ELBO" and part.agrees is None for part in parts)
        where = " where the two can be compared" if unknown else ""
        write_line(console, f"{record.name} matches its record{where}.", style="bold green")
