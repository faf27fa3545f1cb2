"""Checks of a study's storage: whether it opens, each record's checksum, and what a driver that died left over."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import optuna

from sweeps.checksums import Damaged
from sweeps.errors import UserError
from sweeps.health import Finding
from sweeps.storage import open_storage
from sweeps.storage.journal import check_journal, journal_path, lock_holder, salvage, study_lock
from sweeps.storage.study_record import StoredStudy, read_study, write_study


def check_storage(url: str | None, runs: Path, study: str, found: list[StoredStudy]) -> Iterator[Finding]:
    """Check that the storage opens and that every record matches its checksum; a study that can be read goes into `found`."""
    what = f"{study}: {'journal' if url is None else 'database'}"
    path = journal_path(runs, study)
    if url is None and path.exists() and (journal := check_journal(path)).problem:
        words = f"line {journal.records + 1} of {path} is damaged: {journal.problem}"
        remedy = f"`vaeexp doctor {study} --repair` keeps the {journal.records:,} records before it"
        yield Finding(name=what, ok=False, words=words, remedy=remedy, repair=partial(_salvage, runs, study))
        return
    try:
        stored = read_study(open_storage(url, runs, study, must_exist=True), study)
    except UserError as error:
        remedy = "restore a backup of the database" if isinstance(error, Damaged) else ""
        yield Finding(name=what, ok=False, words=str(error), remedy=remedy)
        return
    found.append(stored)
    counted = f"its {journal.records:,} records" if url is None else "the values of its trials"
    words = f"{len(stored.trials) + len(stored.repeats):,} trials and repeats; {counted} match their checksums"
    yield Finding(name=what, ok=True, words=words)


def _salvage(runs: Path, study: str) -> str:
    saved = salvage(runs, study)
    if saved is None:
        return "the journal is whole"
    journal, aside = saved
    return f"kept {journal.records:,} records and dropped {journal.rest:,}; the damaged journal is {aside}"


def check_driver(url: str | None, runs: Path, stored: StoredStudy) -> Iterator[Finding]:
    """Check that a study which is on record as running has a driver. Only drivers on this host can be seen."""
    study, what = stored.study.name, f"{stored.study.name}: driver"
    running = [run.name_in(study) for run in (*stored.trials, *stored.repeats) if run.state == "running"]
    waiting = f"; to be continued: {_some(running)}" if running else ""
    if (holder := lock_holder(runs, study)) is not None:
        yield Finding(name=what, ok=True, words=f"process {holder['pid']} runs the study")
    elif stored.study.session != "running":
        yield Finding(name=what, ok=True, words=f"none; the study is {stored.study.session or 'not begun'}{waiting}")
    elif url is not None:
        words = f"none on this host, and the study is on record as running{waiting}"
        yield Finding(name=what, ok=None, words=words, remedy="look on the hosts that use the database")
    else:
        words = f"died: the study is on record as running, and no process runs it{waiting}"
        remedy = f"`vaeexp sweep {study}` goes on, or `vaeexp doctor {study} --repair` closes it as interrupted"
        yield Finding(name=what, ok=False, words=words, remedy=remedy, repair=partial(_close, runs, stored))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _close(runs: Path, stored: StoredStudy) -> str:
    """Record that the study was interrupted, at the time of its newest record. Its running trials stay, to be continued."""
    study = stored.study.name
    times = [epoch.at for run in (*stored.trials, *stored.repeats) for epoch in run.epochs[-1:]]
    newest = max(_known([*times, stored.study.session_at]), default=None)
    with study_lock(runs, study):
        open_study = optuna.load_study(study_name=study, storage=open_storage(None, runs, study, must_exist=True))
        write_study(open_study, session="interrupted", session_at=newest)
    return "recorded that the study was interrupted; `vaeexp sweep` continues it"


def _known(times: Iterable[float | None]) -> list[float]:
    return [at for at in times if at is not None]
