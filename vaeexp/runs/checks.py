"""The check of the files that the runs of a study left: each against its own checksum and against
the hash on record.
"""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sweeps import Damaged, Finding, State, Trial, UserError, check_file, quarantine, run_folder
from vaeexp.run_files import (
    CALIBRATION,
    CHECKPOINT,
    EVALUATION,
    LAST,
    PICTURES,
    PREVIOUS,
    RESULT,
    SETTINGS,
    SHEET,
    WEIGHTS,
)

SEALED = (
    *(SETTINGS, RESULT, WEIGHTS, LAST, CHECKPOINT, PREVIOUS),
    *(PICTURES, EVALUATION, SHEET, CALIBRATION),
)
"""Files of a run's folder that carry a checksum."""


def check_files(runs: Path, stored: State) -> Iterator[Finding]:
    """Check all files of a study's runs. One finding counts those that are whole; each other file
    is a finding of its own.
    """
    whole = size = 0
    study = stored.study
    for run in stored.runs:
        folder = runs / (
            run.folder or f"trials/{study.name}/{run_folder(run.number, repeat=run.repeat)}"
        )
        title = run.name_in(study.name)
        again = f"`vaeexp reproduce {title} --restore` trains the run again and puts its files back"
        for name in SEALED:
            path = folder / name
            finding = partial(Finding, name=f"{title}: {name}", ok=False)
            try:
                size += _check(path, run.files.get(name))
                whole += 1
            except FileNotFoundError:
                if name in _left_by(run) and name not in study.freed.get(folder.name, ()):
                    words = f"{path} is missing, and the record says that the run has left it"
                    yield finding(words=words, remedy=again)
            except (Damaged, OSError) as error:
                resume = (
                    f"`vaeexp sweep {study.name}` goes on from an earlier checkpoint, or from the "
                    "start"
                )
                remedy = again if run.outcome else resume
                yield finding(words=str(error), remedy=remedy, repair=partial(_set_aside, path))
            except UserError as error:  # of another version, which reads it
                yield finding(words=str(error))
    words = f"{whole:,} files of runs match their checksums ({size / 1e6:,.0f} MB)"
    yield Finding(name=f"{study.name}: files", ok=True, words=words)


def _left_by(run: Trial) -> set[str]:
    """Return the names of the files that a run has left, by its record."""
    if not run.files or run.duplicate_of is not None:
        return set()
    tested = any(name.startswith("test/") for name in run.results)
    return {*run.files, SETTINGS, RESULT, PICTURES, *([EVALUATION] if tested else [])}


def _check(path: Path, sha256: str | None) -> int:
    """Check a file and return its bytes. Raises FileNotFoundError, OSError, Damaged where a
    checksum does not match, or UserError.
    """
    content = path.read_bytes()
    check_file(content, path)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise Damaged(
            str(path),
            f"is whole, and not the file of its run's record, whose SHA-256 is {sha256[:12]}….",
        )
    return len(content)


def _set_aside(path: Path) -> str:
    return f"moved the damaged file to {quarantine(path)}"
