"""Optuna's private parts: the only module that touches them, so that a new Optuna is checked in one place.

Optuna has no public way to create a trial with all its parameters in one write, to learn a trial's identity in its
storage, or to group writes. `pyproject.toml` bounds the version of Optuna for this module's sake.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial


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


class BatchingJournal(JournalFileBackend):
    """A journal file that can collect writes (`batched_writes`) and that reads its file only when the file has grown.

    Optuna looks for what others wrote before nearly every call, some hundred times in a round of 64 lanes.
    """

    batch: list[dict[str, Any]] | None = None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self.batch is None:
            super().append_logs(logs)
        else:
            self.batch += logs

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        known = self._log_number_offset.get(log_number_from)
        if self.batch is None and known != os.stat(self._file_path).st_size:
            yield from super().read_logs(log_number_from)


@contextmanager
def batched_writes(study: optuna.Study) -> Iterator[None]:
    """Make all writes within durable at the end: in one write where the storage is a journal, in the same order.

    A write of its own costs a lock and a sync, milliseconds; a round of 64 lanes has over a hundred. If the process dies
    in the one write, the journal ends after some of its records, as it would between many writes.
    """
    storage = study._storage
    journal = getattr(storage, "_backend", None)
    if not isinstance(storage, JournalStorage) or not isinstance(journal, BatchingJournal) or journal.batch is not None:
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
            journal.append_logs(batch)
            _read(storage)


def _read(storage: JournalStorage) -> None:
    """Take in the writes of a batch. Optuna raises once for each write to a trial that another process has finished."""
    while True:
        with suppress(UpdateFinishedTrialError), storage._thread_lock:
            storage._sync_with_backend()
            return
