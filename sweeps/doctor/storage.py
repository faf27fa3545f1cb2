"""Checks of a study's storage: whether it opens, each record's checksum, and what a driver that
died left over.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import optuna

from sweeps.doctor.findings import Finding
from sweeps.errors import UserError
from sweeps.program import how_to
from sweeps.state.state import State
from sweeps.storage import hold_study, keep_identity, open_storage, study_holder
from sweeps.storage.journals import SILENCE, driver_in_words, journals_at
from sweeps.storage.study_record import read_state, write_study


def check_storage(url: str | None, runs: Path, study: str, found: list[State]) -> Iterator[Finding]:
    """Check that the storage opens and that every record matches its checksum; a study that can be
    read goes into `found`.
    """
    finding = partial(Finding, name=f"{study}: journal")
    checked = journals_at(url, runs).check(study)
    if checked is not None and (journal := checked[0]).problem:
        remedy = f"{how_to('repair', study)} keeps the {journal.records:,} records before it"
        words = f"{checked[1]} is damaged: {journal.problem}"
        yield finding(
            ok=False,
            words=words,
            remedy=remedy,
            repair=partial(_salvage, url, runs, study),
        )
        return
    try:
        stored = read_state(open_storage(url, runs, study, must_exist=True), study)
    except UserError as error:
        yield finding(ok=False, words=str(error))
        return
    found.append(stored)
    words = f"{len(stored.records):,} trials and repeats"
    if checked is not None:
        words += f"; its {checked[0].records:,} records match their checksums"
    yield finding(ok=True, words=words)


def _salvage(url: str | None, runs: Path, study: str) -> str:
    saved = journals_at(url, runs).salvage(study)
    if saved is None:
        return "the journal is whole"
    journal, place = saved
    with hold_study(url, runs, study) as storage:
        keep_identity(storage, study, journal.identity)
    return f"kept {journal.records:,} records; the other {journal.rest:,} are in {place}"


def check_driver(url: str | None, runs: Path, stored: State) -> Iterator[Finding]:
    """Check that a study which is on record as running has a driver that gives signs of life."""
    study = stored.study.name
    finding = partial(Finding, name=f"{study}: driver")
    running = [run.name_in(study) for run in stored.records if run.state == "running"]
    more = " …" if len(running) > 3 else ""
    waiting = f"; to be continued: {', '.join(running[:3])}{more}" if running else ""
    holder = study_holder(url, runs, study)
    goes_on = f"{how_to('run', study)} goes on"
    if holder is not None and holder.get("silent", 0.0) < SILENCE:
        yield finding(ok=True, words=f"{driver_in_words(holder)} runs the study")
        return
    if holder is None and stored.study.session != "running":
        yield finding(
            ok=True,
            words=f"none; the study is {stored.study.session or 'not begun'}{waiting}",
        )
        return
    words = f"died: the study is on record as running, and no process runs it{waiting}"
    if holder is not None:
        words = f"{driver_in_words(holder)} gives no sign of life{waiting}"
        goes_on = f"{how_to('take_over', study)} takes it over"
    remedy = f"{goes_on}, or {how_to('repair', study)} closes it as interrupted"
    yield finding(ok=False, words=words, remedy=remedy, repair=partial(_close, url, runs, stored))


def _close(url: str | None, runs: Path, stored: State) -> str:
    """Record that the study was interrupted, at the time of its newest record. Its running trials
    stay, to be continued.
    """
    study = stored.study.name
    with hold_study(url, runs, study, take_over=True) as storage:
        if stored.study.session == "running":
            open_study = optuna.load_study(study_name=study, storage=storage)
            write_study(open_study, session="interrupted", session_at=stored.newest_at)
    return f"recorded that the study was interrupted; {how_to('run')} continues it"
