"""Checks of a study's storage: whether it opens, each record's checksum, and what a driver that died left over."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import optuna

from sweeps.doctor.findings import Finding
from sweeps.errors import UserError, masked
from sweeps.program import how_to
from sweeps.state.state import State
from sweeps.storage import hold_study, keep_identity, open_storage, study_holder
from sweeps.storage.checked_records import JournalCheck
from sweeps.storage.claim import SILENCE, claimed, driver_in_words
from sweeps.storage.journal import check_journal, journal_path, salvage
from sweeps.storage.postgres import Database
from sweeps.storage.postgres_journal import check_rows, set_rows_aside
from sweeps.storage.study_record import read_state, write_study


def check_storage(url: str | None, runs: Path, study: str, found: list[State]) -> Iterator[Finding]:
    """Check that the storage opens and that every record matches its checksum; a study that can be read goes into `found`."""
    what, path = f"{study}: journal", journal_path(runs, study)
    journal, first = _look_through(url, path, study)
    if journal is not None and journal.problem:
        line = (
            f"line {journal.records + 1} of {path}"
            if url is None
            else f"row {first} of sweeps_journal in {masked(url)}"
        )
        remedy = f"{how_to('repair', study)} keeps the {journal.records:,} records before it"
        repair = partial(_salvage, runs, study) if url is None else partial(_set_aside, url, runs, study)
        yield Finding(name=what, ok=False, words=f"{line} is damaged: {journal.problem}", remedy=remedy, repair=repair)
        return
    try:
        stored = read_state(open_storage(url, runs, study, must_exist=True), study)
    except UserError as error:
        yield Finding(name=what, ok=False, words=str(error))
        return
    found.append(stored)
    assert journal is not None  # the study was read
    counted = f"its {journal.records:,} records match their checksums"
    yield Finding(name=what, ok=True, words=f"{len(stored.records):,} trials and repeats; {counted}")


def _look_through(url: str | None, path: Path, study: str) -> tuple[JournalCheck | None, int | None]:
    """Look through the records up to the first bad one; returns also the identity of a bad row. None where no journal is."""
    if url is None:
        return (check_journal(path) if path.exists() else None), None
    try:
        return check_rows(Database(url), study)
    except UserError:
        return None, None  # opening the storage says why


def _salvage(runs: Path, study: str) -> str:
    saved = salvage(runs, study)
    if saved is None:
        return "the journal is whole"
    journal, aside = saved
    with hold_study(None, runs, study) as storage:
        keep_identity(storage, study, journal.identity)
    return f"kept {journal.records:,} records and dropped {journal.rest:,}; the damaged journal is {aside}"


def _set_aside(url: str, runs: Path, study: str) -> str:
    database = Database(url)
    with claimed(database, study) as claim:
        journal, first = check_rows(database, study)
        if first is None:
            return "the journal is whole"
        set_rows_aside(database, claim, first)
    with hold_study(url, runs, study) as storage:
        keep_identity(storage, study, journal.identity)
    return f"kept {journal.records:,} records; the other {journal.rest:,} are in the table sweeps_damaged"


def check_driver(url: str | None, runs: Path, stored: State) -> Iterator[Finding]:
    """Check that a study which is on record as running has a driver that gives signs of life."""
    study, what = stored.study.name, f"{stored.study.name}: driver"
    running = [run.name_in(study) for run in stored.records if run.state == "running"]
    waiting = f"; to be continued: {_some(running)}" if running else ""
    holder, goes_on = study_holder(url, runs, study), f"{how_to('run', study)} goes on"
    if holder is not None and holder.get("silent", 0.0) < SILENCE:
        yield Finding(name=what, ok=True, words=f"{driver_in_words(holder)} runs the study")
        return
    if holder is None and stored.study.session != "running":
        yield Finding(name=what, ok=True, words=f"none; the study is {stored.study.session or 'not begun'}{waiting}")
        return
    words = f"died: the study is on record as running, and no process runs it{waiting}"
    if holder is not None:
        words = f"{driver_in_words(holder)} gives no sign of life{waiting}"
        goes_on = f"{how_to('take_over', study)} takes it over"
    remedy = f"{goes_on}, or {how_to('repair', study)} closes it as interrupted"
    yield Finding(name=what, ok=False, words=words, remedy=remedy, repair=partial(_close, url, runs, stored))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _close(url: str | None, runs: Path, stored: State) -> str:
    """Record that the study was interrupted, at the time of its newest record. Its running trials stay, to be continued."""
    study = stored.study.name
    times = [epoch.at for run in stored.records for epoch in run.epochs[-1:]]
    newest = max(_known([*times, stored.study.session_at]), default=None)
    with hold_study(url, runs, study, take_over=True) as storage:
        if stored.study.session == "running":
            open_study = optuna.load_study(study_name=study, storage=storage)
            write_study(open_study, session="interrupted", session_at=newest)
    return f"recorded that the study was interrupted; {how_to('run')} continues it"


def _known(times: Iterable[float | None]) -> list[float]:
    return [at for at in times if at is not None]
