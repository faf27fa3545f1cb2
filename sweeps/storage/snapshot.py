"""Snapshots of journals: the state after many records in one file, so that a study of 10,000 trials
opens in less than a second.

A snapshot is a cache beside the journal: one line of JSON (the studies, and of each trial what
samplers and pruners ask for), sealed by its SHA-256, and after it the attributes of each trial as
compressed JSON, which are unpacked when they are first read. The journal stays the truth. A
snapshot is used only where the bytes of the journal that it stands for have the same checksum as
when it was written, so a damaged record is found with a snapshot as without.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from sweeps.checksums import SLOT, Damaged, check_seal, seal
from sweeps.errors import UserError, warn_once
from sweeps.files import write_whole
from sweeps.schema import MARKS, SCHEMA
from sweeps.storage.optuna_internals import (
    BatchedWrites,
    PackedTrial,
    Replayed,
    brief_attributes,
    journal_of,
    open_replayed,
    packed_attributes,
    replayed,
    unpack,
)

RECORDS = 20_000
"""Records after the newest snapshot from which a new one is written; replaying them takes a quarter
of a second.
"""
SHARE = 0.05
"""The same as a share of all records, because a snapshot is written whole."""

_BRIEF = ("ended_round", "duplicate_of", "pauses", "revives", "warmup")
"""Attributes of finished trials that a driver asks for in every round
(`sweeps.storage.trial_record`).
"""


def open_with_snapshot(journal: BatchedWrites, path: Path) -> JournalStorage:
    """Open a journal from the snapshot at `path` and the records after it, or from all records;
    renew the snapshot.

    A snapshot that is damaged, of another version, or of other records is removed, with a warning.

    Raises:
        Damaged: a record that was read does not match its checksum.
    """
    storage = open_replayed(journal, _load(path, journal))
    renew_snapshot(storage, path)
    return storage


def renew_snapshot(storage: JournalStorage, path: Path) -> None:
    """Write a snapshot if many records have come after the newest one; nothing where that fails,
    because it is a cache.
    """
    journal = journal_of(storage)
    state = replayed(storage)
    if (
        state.records - journal.in_snapshot < max(RECORDS, SHARE * state.records)
        or not path.parent.is_dir()
    ):
        return
    with suppress(OSError, UserError):
        content = _pack(state, journal.position())
        write_whole(path, lambda unfinished: unfinished.write_bytes(content), durable=True)
        journal.in_snapshot = state.records


def _load(path: Path, journal: BatchedWrites) -> Replayed | None:
    """Return the state in a snapshot, after which the journal goes on; None where there is none for
    this journal.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return None
    try:
        check_seal(content, path)
        end = content.index(b"\n")
        head = json.loads(content[:end])
        if head["schema"] != SCHEMA or head.get("brief") != list(_BRIEF):
            problem = "is of another version"
        elif journal.resume(head["records"], head["position"]):
            state = Replayed(
                records=head["records"],
                next_study=head["next_study"],
                studies=head["studies"],
                trials=list(_trials_of(head, content[end + 1 :])),
            )
            journal.in_snapshot = state.records
            return state
        else:
            problem = "does not belong to the journal as it is now"
    except Damaged:
        problem = "is damaged"
    warn_once(
        f"{path}: the snapshot {problem}. All records are read, and a new one is written when "
        "there are many."
    )
    with suppress(OSError):
        path.unlink()
    return None


# ---- content ----


def _pack(state: Replayed, position: Mapping[str, Any]) -> bytes:
    spaces: dict[str, int] = {}
    texts: dict[int, str] = {}

    def number_of(space: BaseDistribution) -> int:
        text = texts.setdefault(id(space), "") or distribution_to_json(space)
        texts[id(space)] = text
        return spaces.setdefault(text, len(spaces))

    rows = []
    packed = []
    for study, trial in state.trials:
        attributes = packed_attributes(trial)
        brief = brief_attributes(trial)
        packed.append(attributes)
        params = {
            name: [number_of(space), space.to_internal_repr(trial.params[name])]
            for name, space in trial.distributions.items()
        }
        rows.append(
            {
                "study": study,
                "number": trial.number,
                "state": trial.state.value,
                "values": trial.values,
                "times": [_seconds(trial.datetime_start), _seconds(trial.datetime_complete)],
                "params": params,
                "system": trial.system_attrs,
                "brief": {key: brief[key] for key in _BRIEF if key in brief},
                "epochs": [
                    list(trial.intermediate_values),
                    list(trial.intermediate_values.values()),
                ],
                "size": len(attributes),
            }
        )
    head = {
        "sha256": SLOT,
        **MARKS,
        "records": state.records,
        "position": position,
        "next_study": state.next_study,
        "studies": state.studies,
        "brief": _BRIEF,
        "spaces": list(spaces),
        "trials": rows,
    }
    rest = b"\n" + b"".join(packed)
    return seal(json.dumps(head, separators=(",", ":")).encode(), rest) + rest


def _trials_of(head: Mapping[str, Any], attributes: bytes) -> Iterator[tuple[int, FrozenTrial]]:
    spaces = [json_to_distribution(text) for text in head["spaces"]]
    start = 0
    for identity, row in enumerate(head["trials"]):
        state = TrialState(row["state"])
        params = row["params"]
        packed = attributes[start : start + row["size"]]
        start += row["size"]
        fields = {
            "number": row["number"],
            "trial_id": identity,
            "state": state,
            "value": None,
            "values": row["values"],
            "datetime_start": _time(row["times"][0]),
            "datetime_complete": _time(row["times"][1]),
            "params": {
                name: spaces[space].to_external_repr(value)
                for name, (space, value) in params.items()
            },
            "distributions": {name: spaces[space] for name, (space, _) in params.items()},
            "system_attrs": row["system"],
            "intermediate_values": dict(zip(*row["epochs"], strict=True)),
        }
        if state.is_finished():  # it never changes again
            yield row["study"], PackedTrial(packed, row["brief"], **fields)
        else:
            yield row["study"], FrozenTrial(user_attrs=unpack(packed), **fields)


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()


def _time(seconds: float | None) -> datetime | None:
    """Return a time as Optuna has it: of this machine's zone, without saying so."""
    return None if seconds is None else datetime.fromtimestamp(seconds)
