"""Optuna's private parts: the only module that touches them, so that a new Optuna is checked in one place.

Optuna has no public way to create a trial with all its parameters in one write, to learn a trial's identity in its
storage, or to group writes. `pyproject.toml` bounds the version of Optuna for this module's sake.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import get_lock_file
from optuna.trial import FrozenTrial

from sweeps.checksums import Damaged
from sweeps.storage.checked_records import parse_line, record_line


def storage_of(study: optuna.Study) -> BaseStorage:
    return study._storage


def study_id(study: optuna.Study) -> int:
    return study._study_id


def study_ids(storage: BaseStorage) -> dict[str, int]:
    """Return the identity of each study in a storage, by name."""
    return {study.study_name: study._study_id for study in storage.get_all_studies()}


def trial_id(trial: FrozenTrial) -> int:
    return trial._trial_id


def set_trial_id(trial: FrozenTrial, identity: int) -> None:
    trial._trial_id = identity


def handle_of(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """Return the object through which a stored trial is written."""
    return optuna.Trial(study, trial._trial_id)


def attributes_of(handle: optuna.Trial) -> dict[str, Any]:
    """Return the attributes of a trial as its handle knows them; Optuna's public way copies them all."""
    return handle._cached_frozen_trial.user_attrs


def set_state(handle: optuna.Trial, state: optuna.trial.TrialState, objective: float | None) -> None:
    """End a trial in its storage.

    `Study.tell` copies the whole trial, and it takes the value of a pruned trial from the reported epochs, which a
    duplicate lacks.
    """
    values = None if objective is None else [objective]
    handle.storage.set_trial_state_values(handle._trial_id, state, values)


class BatchedWrites(ABC):
    """A journal that collects its writes while `batched_writes` lasts."""

    batch: list[dict[str, Any]] | None = None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self.batch is not None:
            self.batch += logs
        else:
            self.write(logs)

    @abstractmethod
    def write(self, records: list[dict[str, Any]]) -> None:
        """Append records; they are durable when it returns."""


class JournalFile(BatchedWrites, JournalFileBackend):
    """A journal file with a checksum in each line, which reads only what is new.

    Optuna looks for what others wrote before nearly every call, some hundred times in a round of 64 lanes.
    """

    def write(self, records: list[dict[str, Any]]) -> None:
        with get_lock_file(self._lock), open(self._file_path, "ab") as file:
            file.write(b"".join(map(record_line, records)))
            file.flush()
            os.fsync(file.fileno())

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        number, offset = log_number_from, self._log_number_offset[log_number_from]
        if self.batch is not None or offset == os.stat(self._file_path).st_size:
            return
        with open(self._file_path, "rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):  # another process is writing the line, or died over it
                    return
                number, offset = number + 1, offset + len(line)
                try:
                    record = parse_line(line)
                except ValueError as error:
                    raise damaged_journal(Path(self._file_path), number - 1, str(error)) from None
                self._log_number_offset[number] = offset
                yield record


def copy_journal(path: Path, storage: BaseStorage) -> None:
    """Append all records of a journal file to an open storage that has none, in one write."""
    journal = storage._backend  # type: ignore[attr-defined]
    with path.open("rb") as file:
        journal.write([parse_line(line) for line in file])


def damaged_journal(path: Path, records: int, reason: str) -> Damaged:
    """Return the error for a journal whose line after so many whole `records` is bad."""
    return Damaged(str(path), damage_in_words(f"line {records + 1}", reason, path.stem, records))


def damage_in_words(place: str, reason: str, study: str, records: int) -> str:
    """Say what is wrong with a line or row after so many whole `records` of a study, and how to save these."""
    counted = "the record" if records == 1 else f"the {records:,} records"
    keeps = f"keeps {counted} before it" if records else "sets all aside, and the study starts anew"
    return f"{place} is damaged: {reason}. `vaeexp doctor {study} --repair` {keeps}."


@contextmanager
def batched_writes(study: optuna.Study) -> Iterator[None]:
    """Make all writes within durable at the end, in one write, in the same order.

    A write of its own costs a lock and a sync, milliseconds; a round of 64 lanes has over a hundred. If the process dies
    in the one write, the journal ends after some of its records, as it would between many writes.
    """
    storage = study._storage
    journal = getattr(storage, "_backend", None)
    if not isinstance(storage, JournalStorage) or not isinstance(journal, BatchedWrites) or journal.batch is not None:
        yield
        return
    # `create_new_trial` returns the number from here; Optuna fills it in when it first reads such a record.
    vars(storage._replay_result).setdefault("_last_created_trial_id_by_this_process", -1)
    journal.batch = []
    try:
        yield
    finally:
        batch, journal.batch = journal.batch, None
        if batch:
            journal.write(batch)
            _read(storage)


def _read(storage: JournalStorage) -> None:
    """Take in the writes of a batch. Optuna raises once for each write to a trial that another process has finished."""
    while True:
        with suppress(UpdateFinishedTrialError), storage._thread_lock:
            storage._sync_with_backend()
            return
