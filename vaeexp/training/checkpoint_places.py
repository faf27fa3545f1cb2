"""Where the checkpoints of running trials lie: in the trials' folders, or at an address that many
machines see.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs

from sweeps import Damaged, TrialSpec, UserError, masked, warn_once
from vaeexp.training import Lane, State
from vaeexp.training.checkpoint import (
    checkpoint_parts,
    discard_checkpoints,
    load_checkpoint,
    read_checkpoint,
    resume_lane,
    save_checkpoint,
)

_SLOTS = (0, 1)


class FolderCheckpoints:
    """Two checkpoints of each running trial, in the trials' folders."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the parent of the trials' folders."""
        self._folder = folder

    def save(self, lane: Lane, state: State) -> int:
        """Write a checkpoint, from which the lane continues as if it had never stopped; return its
        size in bytes.
        """
        return save_checkpoint(self._folder / lane.trial.checkpoint_name, lane, state)

    def load(self, lane: Lane, *, averaged: bool) -> State | None:
        """Return the state of the newest usable checkpoint and put its progress into `lane`; None
        without one. `averaged`, usable: as in `vaeexp.training.checkpoint.load_checkpoint`."""
        return load_checkpoint(self._folder / lane.trial.checkpoint_name, lane, averaged=averaged)

    def discard(self, trial: TrialSpec) -> None:
        """Delete the checkpoints of a trial."""
        discard_checkpoints(self._folder / trial.checkpoint_name)


class RemoteCheckpoints:
    """Checkpoints in a file system of fsspec, as `s3://bucket/folder` or `file:///shared/folder`.

    Such a file system may be unable to rename, so a trial has two slots that are written in turn:
    one of them is whole at any instant. An address that cannot be reached costs time alone, because
    a trial without a checkpoint begins again.
    """

    def __init__(self, address: str, study: str, origin: Mapping[str, Any]) -> None:
        """
        Args:
            address: the parent of the studies' folders.
            study: its name.
            origin: what a checkpoint depends on besides the settings and the seed of its trial, as
                JSON: images, arithmetic. Studies of one name and another origin have another
                folder.

        Raises:
            UserError: there is no such file system, or its library is missing.
        """
        self._system, root = _open(address)
        digest = hashlib.sha256(
            json.dumps(origin, sort_keys=True, default=str).encode()
        ).hexdigest()
        self._address = masked(address)
        self._root = f"{root.rstrip('/')}/{study}-{digest[:16]}"
        self._next: dict[str, int] = {}
        """Folder of a trial → slot of its next checkpoint."""

    def save(self, lane: Lane, state: State) -> int:
        """As `FolderCheckpoints.save`; 0 where the address cannot be written."""
        name = lane.trial.checkpoint_name
        slot = self._next.get(name, _SLOTS[0])
        content = b"".join(checkpoint_parts(lane, state))
        try:
            self._system.makedirs(f"{self._root}/{name}", exist_ok=True)
            self._system.pipe_file(f"{self._root}/{_file(name, slot)}", content)
        except Exception as error:  # each file system has errors of its own
            self._tell("written", error)
            return 0
        self._next[name] = 1 - slot
        lane.checkpoint_due = 0.0
        return len(content)

    def load(self, lane: Lane, *, averaged: bool) -> State | None:
        name = lane.trial.checkpoint_name
        usable = {}
        for slot in _SLOTS:
            try:
                content = self._system.cat_file(f"{self._root}/{_file(name, slot)}")
                found = read_checkpoint(content, Path(_file(name, slot)), lane, averaged=averaged)
            except FileNotFoundError:
                continue
            except Damaged as error:
                again = (
                    "Its trial repeats the epochs since an earlier checkpoint; its numbers stay "
                    "the same."
                )
                warn_once(f"{self._address}: {error} {again}")
            except UserError:
                raise
            except Exception as error:
                self._tell("read", error)
            else:
                if found is not None:
                    usable[slot] = found
        if not usable:
            return None
        newest = max(usable, key=lambda slot: usable[slot][0]["epoch"])
        self._next[name] = 1 - newest
        return resume_lane(lane, usable[newest])

    def discard(self, trial: TrialSpec) -> None:
        name = trial.checkpoint_name
        self._next.pop(name, None)
        for slot in _SLOTS:
            try:
                self._system.rm_file(f"{self._root}/{_file(name, slot)}")
            except FileNotFoundError:
                continue
            except Exception as error:
                self._tell("deleted", error)
        with suppress(Exception):  # where folders are names alone, there is none to remove
            self._system.rmdir(f"{self._root}/{name}")

    def _tell(self, what: str, error: Exception) -> None:
        """Warn once of each kind of error, because the text of a server's error differs each
        time.
        """
        warn_once(
            f"{self._address}: checkpoints cannot be {what} ({type(error).__name__}). Training "
            "goes on; the numbers stay the same."
        )


Checkpoints = FolderCheckpoints | RemoteCheckpoints


def check_address(address: str) -> None:
    """Write, read and delete a file at an address. Raises UserError where that fails."""
    system, root = _open(address)
    path = f"{root.rstrip('/')}/vaeexp-{uuid.uuid4().hex}"
    content = b"vaeexp"
    try:
        system.makedirs(root, exist_ok=True)
        system.pipe_file(path, content)
        found = system.cat_file(path)
        system.rm_file(path)
    except Exception as error:
        raise UserError("--checkpoints", _problem(address, error)) from None
    if found != content:
        raise UserError(
            "--checkpoints",
            f"got {masked(address)}, which gives back other bytes than were written.",
        )


def absolute_address(address: str) -> str:
    """Return an address that means the same in every folder."""
    return address if "://" in address else str(Path(address).absolute())


def _open(address: str) -> tuple[Any, str]:
    try:
        return url_to_fs(address)
    except Exception as error:
        raise UserError("--checkpoints", _problem(address, error)) from None


def _problem(address: str, error: Exception) -> str:
    return (
        f"got {masked(address)}, which cannot be used: "
        f"{masked(' '.join(f'{type(error).__name__}: {error}'.split()))}"
    )


def _file(name: str, slot: int) -> str:
    return f"{name}/checkpoint-{slot}.safetensors"
