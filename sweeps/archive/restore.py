"""Restores an archive: all is unpacked and checked beside its place, then renamed into its place,
the study's records last.

So a process that is killed at any moment leaves either no study, or the whole study. Folders that a
killed process put in place carry a mark, by which the next restore finds and removes them.
"""

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sweeps.archive.manifest import RECORDS, REPORT, TRIALS, Manifest
from sweeps.archive.unpack import open_archive
from sweeps.errors import UserError
from sweeps.files import UNFINISHED, rename
from sweeps.names import check_name
from sweeps.state.state import State
from sweeps.state.trial import stored_path
from sweeps.storage import storage_errors_as_user_errors
from sweeps.storage.checked_records import parse_line
from sweeps.storage.journal import journal_path, open_journal
from sweeps.storage.journals import journals_at
from sweeps.storage.transfer import ImportRules, write_records

_MARK = f"{UNFINISHED}restored"
"""File in a folder that was put in place, until the study's records are there, too."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A study that was restored."""

    manifest: Manifest
    stored: State
    report: Path | None
    study_file: Path | None
    """The study file as it stood; None for a study that no file describes."""


def restore_study(
    file: Path,
    *,
    runs: Path,
    reports: Path,
    storage: str | None,
    name: str | None,
    loaders: Mapping[str, Collection[str]],
    adapt: Callable[[Path, str], object],
) -> Restored:
    """Put the study of an archive into a runs folder, a storage and a folder of reports.

    Args:
        storage: address of the PostgreSQL database that gets the records; None for a journal below
            `runs`.
        name: another name for the study; None for its own.
        loaders: as of `ImportRules`.
        adapt: gets the folder of the unpacked runs and the study's name before anything is put in
            place.

    Raises:
        UserError: the file is no archive, or of another version; the study exists here; the disk
            is full.
        Damaged: the archive is not what was written.
    """
    with ExitStack() as stack:
        archive = stack.enter_context(open_archive(file))
        manifest = archive.manifest
        study = manifest.study if name is None else check_name(name, "--name")
        stack.enter_context(_write_errors(storage, runs))
        put_records = stack.enter_context(journals_at(storage, runs).receive(study))
        places = {TRIALS: runs / "trials" / study, REPORT: reports / study}
        _check_absent(places)
        there = stack.enter_context(_folder_beside(places[TRIALS], runs))
        (there / TRIALS).mkdir()
        archive.unpack(there)
        has_report = (there / REPORT).is_dir()
        report = stored_path(places[REPORT], runs) if has_report else None
        rules = ImportRules(old=manifest.study, name=study, report=report, loaders=loaders)
        hidden = there / journal_path(runs, study).name
        with (there / RECORDS).open("rb") as lines:
            stored = write_records(open_journal(hidden), map(parse_line, lines), rules)
        if stored.study.text:  # the study goes on with its file only
            (there / TRIALS / f"{study}.yaml").write_text(stored.study.text, encoding="utf-8")
        adapt(there / TRIALS, study)
        if has_report:  # reports may lie on another disk
            beside = stack.enter_context(_folder_beside(places[REPORT], reports))
            shutil.move(there / REPORT, beside / REPORT)
            _put(beside / REPORT, places[REPORT])
        _put(there / TRIALS, places[TRIALS])
        put_records(hidden)
        for place in places.values():
            (place / _MARK).unlink(missing_ok=True)
        return Restored(
            manifest=manifest,
            stored=stored,
            report=places[REPORT] if has_report else None,
            study_file=places[TRIALS] / f"{study}.yaml" if stored.study.text else None,
        )


@contextmanager
def _write_errors(storage: str | None, runs: Path) -> Iterator[None]:
    try:
        with storage_errors_as_user_errors(storage, runs):
            yield
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}. Nothing was restored."
        raise UserError(str(error.filename or runs), problem) from error


def _check_absent(places: Mapping[str, Path]) -> None:
    """Raise UserError where there are files of such a study; remove what a killed restore of it put
    in place.
    """
    for place in places.values():
        if (place / _MARK).is_file():
            shutil.rmtree(place)
        if os.path.lexists(place) and not (place.is_dir() and not any(place.iterdir())):
            raise UserError(
                str(place), "exists already. Move it away, or restore the study with --name NEW."
            )


@contextmanager
def _folder_beside(place: Path, parent: Path) -> Iterator[Path]:
    """Make a folder, on the disk of `place`, that goes at the end; folders that killed processes
    left go at once.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for other in parent.glob(f"{UNFINISHED}*"):
        if re.fullmatch(rf"{re.escape(UNFINISHED)}\d+-restore-{place.name}", other.name):
            shutil.rmtree(other)
    folder = parent / f"{UNFINISHED}{os.getpid()}-restore-{place.name}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(folder: Path, place: Path) -> None:
    (folder / _MARK).touch()
    place.parent.mkdir(parents=True, exist_ok=True)
    rename(folder, place)
