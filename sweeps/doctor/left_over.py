"""The check of what runs left over: folders that no record names, as a salvaged or deleted journal
leaves them, and half-written files of killed processes.

Such a folder may be all that is left of a run, so it is moved aside and never deleted.
"""

import re
import shutil
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from sweeps.doctor.findings import Finding
from sweeps.files import UNFINISHED, is_abandoned, quarantine
from sweeps.lanes import run_folder
from sweeps.program import how_to
from sweeps.state.state import State
from sweeps.storage import hold_study, study_holder
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
    every = sorted((runs / "trials" / stored.study.name).glob("*"))
    folders = [path for path in every if path.is_dir() and not path.is_symlink()]
    recorded = recorded_folders(runs, stored)
    return [path for path in folders if _RUN.fullmatch(path.name) and path not in recorded]


def check_left_over(url: str | None, runs: Path, stored: State) -> Iterator[Finding]:
    """Look for folders of runs that a study has no record of, and for half-written files among its
    files.
    """
    study = stored.study.name
    finding = partial(Finding, name=f"{study}: left over")
    remedy = how_to("repair", study)
    if study_holder(url, runs, study) is not None:
        yield finding(ok=True, words="not looked for while a process drives the study")
        return
    folders = unrecorded_folders(runs, stored)
    for folder in folders:
        words = f"{folder} ({_megabytes(folder)}) is the folder of a run that is not on record"
        repair = partial(_set_run_aside, url, runs, study, folder)
        yield finding(ok=False, words=words, remedy=f"{remedy} moves it aside", repair=repair)
    places = [runs / "trials" / study, runs / "artifacts" / study]
    places += [runs / stored.study.report] if stored.study.report else []
    every = chain.from_iterable(place.rglob(f"{UNFINISHED}*") for place in places)
    if left := sorted(filter(is_abandoned, every)):
        words = f"{len(left):,} half-written, of processes that are gone; {left[0]}"
        repair = partial(_delete, url, runs, study, left)
        yield finding(
            ok=False,
            words=words,
            remedy=f"{remedy} deletes what was never whole",
            repair=repair,
        )
    if not folders and not left:
        yield finding(ok=True, words="nothing")


def _megabytes(folder: Path) -> str:
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{sum(sizes) / 1e6:,.1f} MB"


def _set_run_aside(url: str | None, runs: Path, study: str, folder: Path) -> str:
    with hold_study(url, runs, study) as storage:
        if folder in recorded_folders(runs, read_state(storage, study)):
            return f"{folder} is on record now"
        return f"moved it to {quarantine(folder, 'unrecorded')}"


def _delete(url: str | None, runs: Path, study: str, paths: list[Path]) -> str:
    with hold_study(url, runs, study):
        for path in paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    return f"deleted {len(paths):,}"
