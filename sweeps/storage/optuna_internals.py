"""Optuna's private parts: the only module that touches them, so that a new Optuna is checked in one
place.

Optuna has no public way to create a trial with all its parameters in one write, to learn a trial's
identity in its storage, or to group writes. `pyproject.toml` bounds the version of Optuna for this
module's sake.
"""

import json
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileOpenLock
from optuna.storages.journal._file import get_lock_file
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial

from sweeps.checksums import Damaged
from sweeps.program import how_to
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


def write_trial(study: optuna.Study, trial: FrozenTrial) -> None:
    """Add a trial to a study, in one write; its number is that of the storage."""
    study._storage.create_new_trial(study._study_id, trial)


def handle_of(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """Return the object through which a stored trial is written."""
    return optuna.Trial(study, trial._trial_id)


def attributes_of(handle: optuna.Trial) -> dict[str, Any]:
    """Return the attributes of a trial as its handle knows them; Optuna's public way copies them
    all.
    """
    return handle._cached_frozen_trial.user_attrs


def set_state(
    handle: optuna.Trial, state: optuna.trial.TrialState, objective: float | None
) -> None:
    """End a trial in its storage.

    `Study.tell` copies the whole trial, and it takes the value of a pruned trial from the reported
    epochs, which a duplicate lacks.
    """
    values = None if objective is None else [objective]
    handle.storage.set_trial_state_values(handle._trial_id, state, values)


class BatchedWrites(BaseJournalBackend, ABC):
    """A journal that collects its writes while `batched_writes` lasts, and can go on after a
    snapshot.
    """

    batch: list[dict[str, Any]] | None = None
    in_snapshot = 0
    """Records that the newest snapshot holds."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self.batch is not None:
            self.batch += logs
        else:
            self.write(logs)

    @abstractmethod
    def write(self, records: list[dict[str, Any]]) -> None:
        """Append records; they are durable when it returns."""

    @abstractmethod
    def position(self) -> dict[str, Any]:
        """Return the mark of the records read so far, JSON-able, by which `resume` knows them
        again.
        """

    @abstractmethod
    def resume(self, records: int, position: Mapping[str, Any]) -> bool:
        """Skip the first `records`, and return True, where `position` is their mark. The first read
        comes later.
        """


class JournalFile(BatchedWrites, JournalFileBackend):
    """A journal file with a checksum in each line, which reads only what is new.

    Optuna looks for what others wrote before nearly every call, some hundred times in a round of 64
    lanes.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), lock_obj=JournalFileOpenLock(str(path), grace_period=10))
        self._records = self._length = self._crc = 0
        """Lines that were read, their bytes, and the CRC-32 of these."""

    def write(self, records: list[dict[str, Any]]) -> None:
        with get_lock_file(self._lock), open(self._file_path, "ab") as file:
            file.write(b"".join(map(record_line, records)))
            file.flush()
            os.fsync(file.fileno())

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Yield the records that are new since the last call, whatever the number. Raises
        Damaged.
        """
        if self.batch is not None or self._length == os.stat(self._file_path).st_size:
            return
        with open(self._file_path, "rb") as file:
            file.seek(self._length)
            for line in file:
                if not line.endswith(b"\n"):  # another process is writing the line, or died over it
                    return
                try:
                    record = parse_line(line)
                except ValueError as error:
                    raise damaged_journal(
                        Path(self._file_path), self._records, str(error)
                    ) from None
                self._records += 1
                self._length += len(line)
                self._crc = zlib.crc32(line, self._crc)
                yield record

    def position(self) -> dict[str, Any]:
        return {"length": self._length, "crc32": self._crc}

    def resume(self, records: int, position: Mapping[str, Any]) -> bool:
        left = position["length"]
        crc = 0
        with open(self._file_path, "rb") as file:
            while left and (data := file.read(min(left, 1 << 20))):
                left -= len(data)
                crc = zlib.crc32(data, crc)
        if left or crc != position["crc32"]:
            return False
        self._records = records
        self._length = position["length"]
        self._crc = crc
        return True


def copy_journal(path: Path, storage: BaseStorage) -> None:
    """Append all records of a journal file to an open storage that has none, in one write."""
    journal = storage._backend  # type: ignore[attr-defined]
    with path.open("rb") as file:
        journal.append_logs([parse_line(line) for line in file])


def damaged_journal(path: Path, records: int, reason: str) -> Damaged:
    """Return the error for a journal whose line after so many whole `records` is bad, with how to
    save these.
    """
    counted = "the record" if records == 1 else f"the {records:,} records"
    keeps = f"keeps {counted} before it" if records else "sets all aside, and the study starts anew"
    problem = f"line {records + 1} is damaged: {reason}. {how_to('repair', path.stem)} {keeps}."
    return Damaged(str(path), problem)


# ---- what a storage has replayed ----


class PackedTrial(FrozenTrial):
    """A finished trial that unpacks its attributes when they are first read: 30 epochs of
    metrics are some ten kB.
    """

    def __init__(self, packed: bytes, brief: Mapping[str, Any], **fields: Any) -> None:
        super().__init__(user_attrs={}, **fields)
        self.packed = packed
        self.brief = brief
        self._unpacked = False

    @property
    def user_attrs(self) -> dict[str, Any]:
        if not self._unpacked:
            self._user_attrs = unpack(self.packed)
            self._unpacked = True
        return self._user_attrs

    @user_attrs.setter
    def user_attrs(self, value: dict[str, Any]) -> None:
        self._user_attrs = value
        self._unpacked = True


def packed_attributes(trial: FrozenTrial) -> bytes:
    """Return the attributes of a trial as JSON, compressed."""
    if isinstance(trial, PackedTrial):
        return trial.packed
    return zlib.compress(json.dumps(trial.user_attrs, separators=(",", ":")).encode(), 1)


def unpack(packed: bytes) -> dict[str, Any]:
    """Return what was packed by `packed_attributes`."""
    attributes: dict[str, Any] = json.loads(zlib.decompress(packed))
    return attributes


def brief_attributes(trial: FrozenTrial) -> Mapping[str, Any]:
    """Return attributes that hold at least the brief ones, without unpacking the others."""
    return trial.brief if isinstance(trial, PackedTrial) else trial.user_attrs


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The state of a journal's storage after so many records."""

    records: int
    next_study: int
    """Identity of the next study; those of deleted studies are not used again."""
    studies: Sequence[Mapping[str, Any]]
    """`identity`, `name`, `directions` (numbers), `user`, `system`."""
    trials: Sequence[tuple[int, FrozenTrial]]
    """Identity of its study, and the trial; by identity of the trial."""


def replayed(storage: JournalStorage) -> Replayed:
    """Return the state of an open storage, which shares its trials."""
    with storage._thread_lock:
        state = storage._replay_result
        studies = [
            {
                "identity": study._study_id,
                "name": study.study_name,
                "directions": [direction.value for direction in study._directions],
                "user": study.user_attrs,
                "system": study.system_attrs,
            }
            for study in state._studies.values()
        ]
        return Replayed(
            records=state.log_number_read,
            next_study=state._next_study_id,
            studies=studies,
            trials=[
                (state._trial_id_to_study_id[identity], trial)
                for identity, trial in state._trials.items()
            ],
        )


def open_replayed(journal: BatchedWrites, before: Replayed | None) -> JournalStorage:
    """Open a journal, which has resumed after the records of `before`. Raises Damaged."""
    journal.batch = []  # nothing is read yet
    storage = JournalStorage(journal)
    journal.batch = None
    if before is not None:
        state = storage._replay_result
        state.log_number_read = before.records
        state._next_study_id = before.next_study
        state._study_id_to_trial_ids = {identity: [] for identity in range(before.next_study)}
        for study in before.studies:
            state._studies[study["identity"]] = FrozenStudy(
                study_name=study["name"],
                direction=None,
                user_attrs=study["user"],
                system_attrs=study["system"],
                study_id=study["identity"],
                directions=[StudyDirection(number) for number in study["directions"]],
            )
        for identity, (study_identity, trial) in enumerate(before.trials):
            state._trials[identity] = trial
            state._trial_id_to_study_id[identity] = study_identity
            state._study_id_to_trial_ids[study_identity].append(identity)
    with storage._thread_lock:
        storage._sync_with_backend()
    return storage


def journal_of(storage: JournalStorage) -> BatchedWrites:
    """Return what a storage of ours reads and writes."""
    journal = storage._backend
    assert isinstance(journal, BatchedWrites)
    return journal


@contextmanager
def batched_writes(study: optuna.Study) -> Iterator[None]:
    """Make all writes within durable at the end, in one write, in the same order.

    A write of its own costs a lock and a sync, milliseconds; a round of 64 lanes has over a
    hundred. If the process dies in the one write, the journal ends after some of its records, as it
    would between many writes.
    """
    storage = study._storage
    journal = getattr(storage, "_backend", None)
    if (
        not isinstance(storage, JournalStorage)
        or not isinstance(journal, BatchedWrites)
        or journal.batch is not None
    ):
        yield
        return
    # `create_new_trial` returns the number from here; Optuna fills it in when it first reads such a
    # record.
    vars(storage._replay_result).setdefault("_last_created_trial_id_by_this_process", -1)
    journal.batch = []
    try:
        yield
    finally:
        batch = journal.batch
        journal.batch = None
        if batch:
            journal.write(batch)
            _read(storage)


def _read(storage: JournalStorage) -> None:
    """Take in the writes of a batch. Optuna raises once for each write to a trial that another
    process has finished.
    """
    while True:
        with suppress(UpdateFinishedTrialError), storage._thread_lock:
            storage._sync_with_backend()
            return
