"""The check of what runs left over: folders that no record names, and half-written files of
processes that are gone.

A salvaged or deleted journal leaves folders, a kill leaves half-written files. Such a folder may be
all that is left of a run, so it is moved aside and never deleted.
"""

import re
import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from sweeps.doctor.findings import Finding
from sweeps.errors import masked
from sweeps.files import UNFINISHED, is_abandoned, quarantine
from sweeps.lanes import run_folder
from sweeps.names import is_name
from sweeps.program import how_to
from sweeps.state.state import State
from sweeps.storage import hold_study, study_holder, study_names
from sweeps.storage.journal import journal_path, study_lock
from sweeps.storage.study_record import read_state

_RUN = re.compile(r"(trial|repeat)-\d{4,}", re.ASCII)


def recorded_folders(runs: Path, stored: State) -> set[Path]:
    """Return the folders that the runs of a study have, whether they are there or not."""
    study = stored.study.name
    own = {
        runs / "trials" / study / run_folder(run.number, repeat=run.repeat)
        for run in stored.records
    }
    return own | {runs / run.folder for run in stored.records if run.folder}


def unrecorded_folders(runs: Path, stored: State) -> list[Path]:
    """Return the folders below `trials/<study>` that have the name of a run, and no record."""
    every, recorded = _folders(runs / "trials" / stored.study.name), recorded_folders(runs, stored)
    return [folder for folder in every if _RUN.fullmatch(folder.name) and folder not in recorded]


def check_left_over(url: str | None, runs: Path, stored: State) -> Iterator[Finding]:
    """Look for folders of runs that a study has no record of, and for half-written files among its
    files.
    """
    study = stored.study.name
    what, remedy = f"{study}: left over", how_to("repair", study)
    if study_holder(url, runs, study) is not None:
        yield Finding(name=what, ok=True, words="not looked for while a process drives the study")
        return
    folders = unrecorded_folders(runs, stored)
    for folder in folders:
        words = f"{folder} ({_megabytes(folder)}) is the folder of a run that is not on record"
        repair = partial(_set_run_aside, url, runs, study, folder)
        yield Finding(
            name=what, ok=False, words=words, remedy=f"{remedy} moves it aside", repair=repair
        )
    places = [runs / "trials" / study, runs / "artifacts" / study]
    places += [runs / stored.study.report] if stored.study.report else []
    unfinished = _outermost(path for place in places for path in place.rglob(f"{UNFINISHED}*"))
    if unfinished:
        repair = partial(_delete_of_study, url, runs, study, unfinished)
        yield _half_written(what, unfinished, remedy, repair)
    if not folders and not unfinished:
        yield Finding(name=what, ok=True, words="nothing")


def check_unknown(url: str | None, runs: Path) -> Iterator[Finding]:
    """Look for folders of studies that neither a journal nor the database at `url` knows, and for
    half-written files beside studies.

    Without `url`, nothing can be told of a study that a driver has had here, because a database may
    have its records.
    """
    what, found, known = "left over", False, _known(url, runs)
    for folder in _folders(runs / "trials"):
        if not is_name(folder.name) or folder.name in known:
            continue
        found = True
        words = f"{folder} ({_megabytes(folder)}) is the folder of a study without a journal"
        if url is None and journal_path(runs, folder.name).with_suffix(".lock").exists():
            check = how_to("check_database")
            remedy = f"where a database has its records: {check}; else move the folder away"
            yield Finding(name=what, ok=None, words=words, remedy=remedy)
            continue
        words += f", and not in {masked(url)}" if url else ""
        repair = partial(_set_study_aside, url, runs, folder)
        yield Finding(
            name=what,
            ok=False,
            words=words,
            remedy=f"{how_to('repair')} moves it aside",
            repair=repair,
        )
    places = (runs, runs / "journal", runs / "logs")
    unfinished = _outermost(path for place in places for path in place.glob(f"{UNFINISHED}*"))
    if unfinished:
        yield _half_written(what, unfinished, how_to("repair"), partial(_delete, unfinished))
    if not found and not unfinished:
        yield Finding(name=what, ok=True, words="nothing")


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.glob("*") if path.is_dir() and not path.is_symlink())


def _known(url: str | None, runs: Path) -> set[str]:
    return {*study_names(runs), *(study_names(runs, url) if url else ())}


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Return what processes that are gone left half-written, without what lies in a folder of the
    same kind.
    """
    left = {path for path in paths if is_abandoned(path)}
    return sorted(path for path in left if not left.intersection(path.parents))


def _half_written(what: str, paths: list[Path], remedy: str, repair: partial[str]) -> Finding:
    count = f"{len(paths):,} half-written {'files' if len(paths) > 1 else 'file'}"
    words = f"{count} ({_megabytes(*paths)}) of processes that are gone; {paths[0]}"
    return Finding(
        name=what,
        ok=False,
        words=words,
        remedy=f"{remedy} deletes what was never whole",
        repair=repair,
    )


def _megabytes(*paths: Path) -> str:
    files = (
        file
        for path in paths
        for file in ([path] if path.is_file() else path.rglob("*"))
        if file.is_file()
    )
    return f"{sum(file.stat().st_size for file in files) / 1e6:,.1f} MB"


def _set_run_aside(url: str | None, runs: Path, study: str, folder: Path) -> str:
    with hold_study(url, runs, study) as storage:
        if folder in recorded_folders(runs, read_state(storage, study)):
            return f"{folder} is on record now"
        return f"moved it to {quarantine(folder, 'unrecorded')}"


def _set_study_aside(url: str | None, runs: Path, folder: Path) -> str:
    with study_lock(runs, folder.name):
        if folder.name in _known(url, runs):
            return f"{folder} is on record now"
        return f"moved it to {quarantine(folder, 'unrecorded')}"


def _delete_of_study(url: str | None, runs: Path, study: str, paths: list[Path]) -> str:
    with hold_study(url, runs, study):
        return _delete(paths)


def _delete(paths: list[Path]) -> str:
    left = [path for path in paths if is_abandoned(path)]
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return f"deleted {len(left):,} of {len(paths):,}"
