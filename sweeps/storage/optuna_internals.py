"""Optuna's private parts: the only module that touches them, so that a new Optuna is checked in one place.

Optuna has no public way to create a trial with all its parameters in one write, to learn a trial's identity in its
storage, or to group writes. `pyproject.toml` bounds the version of Optuna for this module's sake.
"""

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import get_lock_file
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial

from sweeps.checksums import Damaged
from sweeps.errors import masked
from sweeps.storage.checked_records import opened_value, parse_line, record_line, sealed_value

if TYPE_CHECKING:
    from optuna.storages import RDBStorage


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


def rename_studies(storage: BaseStorage, names: Mapping[str, str]) -> None:
    """Rename studies of a database, old name → new name, all in one transaction."""
    from optuna.storages._rdb.models import StudyModel

    with storage._backend._session() as session:  # type: ignore[attr-defined]
        for old, new in names.items():
            session.query(StudyModel).filter(StudyModel.study_name == old).one().study_name = new


class BatchingJournal(JournalFileBackend):
    """A journal file with a checksum in each line, which collects writes (`batched_writes`) and reads only what is new.

    Optuna looks for what others wrote before nearly every call, some hundred times in a round of 64 lanes.
    """

    batch: list[dict[str, Any]] | None = None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self.batch is not None:
            self.batch += logs
            return
        with get_lock_file(self._lock), open(self._file_path, "ab") as file:
            file.write(b"".join(map(record_line, logs)))
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


def damaged_journal(path: Path, records: int, reason: str) -> Damaged:
    """Return the error for a journal whose line after so many whole `records` is bad."""
    counted = "the record" if records == 1 else f"the {records:,} records"
    keeps = f"keeps {counted} before it" if records else "moves the file away, and the study starts anew"
    repair = f"`vaeexp doctor {path.stem} --repair` {keeps}."
    return Damaged(str(path), f"line {records + 1} is damaged: {reason}. {repair}")


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


class _SealedValues:
    """Lays a checksum beside every value of an attribute that Optuna's storage in a database keeps for us.

    Optuna's own columns (states, objectives, parameters, values of epochs) have none.
    """

    place: str
    """The database, for messages."""
    scoped_session: Any

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        super().set_study_user_attr(study_id, key, sealed_value(key, value))  # type: ignore[misc]

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        super().set_study_system_attr(study_id, key, sealed_value(key, value))  # type: ignore[misc]

    def _set_trial_attr_without_commit(self, session: Any, model: Any, trial_id: int, key: str, value: Any) -> None:
        sealed = sealed_value(key, value)
        super()._set_trial_attr_without_commit(session, model, trial_id, key, sealed)  # type: ignore[misc]

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study_values(study_id, "StudyUserAttributeModel")

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study_values(study_id, "StudySystemAttributeModel")

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return the studies without their attributes, because the damage of one study must not stop the others."""
        from optuna.storages._rdb.models import StudyModel

        with self._session() as session:
            columns = session.query(StudyModel.study_id, StudyModel.study_name)
            found = [tuple(row) for row in columns.order_by(StudyModel.study_id)]
        return [
            FrozenStudy(name, None, {}, {}, identity, directions=self.get_study_directions(identity))  # type: ignore[attr-defined]
            for identity, name in found
        ]

    def _study_values(self, study_id: int, model: str) -> dict[str, Any]:
        from optuna.storages._rdb import models

        with self._session() as session:
            study = models.StudyModel.find_or_raise_by_id(study_id, session)
            rows = getattr(models, model).where_study_id(study_id, session)
            return self._opened(f"study '{study.study_name}'", rows)

    def _build_frozen_trial_from_trial_model(self, trial: Any) -> FrozenTrial:
        place = f"study '{trial.study.study_name}', trial {trial.number}"
        user, system = self._opened(place, trial.user_attributes), self._opened(place, trial.system_attributes)
        frozen: FrozenTrial = super()._build_frozen_trial_from_trial_model(trial)  # type: ignore[misc]
        frozen.user_attrs, frozen.system_attrs = user, system
        return frozen

    def _opened(self, place: str, rows: Iterable[Any]) -> dict[str, Any]:
        values = {}
        for row in rows:
            try:
                values[row.key] = opened_value(row.key, row.value_json)
            except ValueError as error:
                problem = f"{place}, attribute '{row.key}' is damaged: {error}. Restore the database from a backup."
                raise Damaged(self.place, problem) from None
        return values

    def _session(self) -> AbstractContextManager[Any]:
        from optuna.storages._rdb.storage import _create_scoped_session

        return _create_scoped_session(self.scoped_session)


def sealed_database(url: str, **options: Any) -> "RDBStorage":
    """Return Optuna's storage in a database (`options` as `RDBStorage` takes them), with a checksum beside each value of ours.

    Reading a value that its checksum does not fit raises `Damaged` with its study, trial and attribute.
    """
    from optuna.storages import RDBStorage

    storage: RDBStorage = type("SealedDatabase", (_SealedValues, RDBStorage), {"place": masked(url)})(url, **options)
    return storage
