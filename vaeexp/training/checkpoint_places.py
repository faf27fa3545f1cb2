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

from sweeps import (
    Damaged,
    TrialSpec,
    UserError,
    masked,
    remove_unfinished,
    warn_once,
    write_whole,
)
from vaeexp.run_files import CHECKPOINT, PREVIOUS
from vaeexp.training import Lane, State
from vaeexp.training.checkpoint import (
    checkpoint_parts,
    read_checkpoint,
    resume_lane,
    write_parts,
)

_SLOTS = (0, 1)
_REPEATED = "Its trial repeats the epochs since an earlier checkpoint; its numbers stay the same."
"""What follows from a damaged checkpoint."""


class FolderCheckpoints:
    """Two checkpoints of each running trial, in the trials' folders."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the parent of the trials' folders."""
        self._folder = folder

    def save(self, lane: Lane, state: State) -> int:
        """Write `checkpoint.safetensors`, from which the lane continues as if it had never stopped;
        return its size in bytes.

        The checkpoint before it becomes `checkpoint-previous.safetensors`. At any instant one of
        the two files is whole.
        """
        newest, previous = self._paths(lane.trial)
        parts = checkpoint_parts(lane, state)

        def write(unfinished: Path) -> None:
            write_parts(unfinished, parts)
            with suppress(FileNotFoundError):
                newest.replace(previous)

        write_whole(newest, write, durable=True)
        lane.checkpoint_due = 0.0
        return sum(map(len, parts))

    def load(self, lane: Lane, *, averaged: bool) -> State | None:
        """Return the state of the newest usable checkpoint and put its progress into `lane`; None
        without one.

        A checkpoint is usable if it is whole, has the lane's settings, seed, shapes and `averaged`
        (whether a running average of the weights is kept), because a folder edited by hand may hold
        another checkpoint, and is not ahead of the trial's reported epoch. A damaged checkpoint is
        removed, because it would take the place of the good one before it at the next save; one
        warning names it. The trial then continues from the checkpoint before it, or from the start.

        Raises:
            UserError: another version of vaeexp wrote a checkpoint in a way that this version
                cannot read.
        """
        for path in self._paths(lane.trial):
            try:
                found = read_checkpoint(path.read_bytes(), path, lane, averaged=averaged)
            except FileNotFoundError:
                continue
            except (Damaged, OSError) as error:
                warn_once(f"{error} {_REPEATED}")
                with suppress(OSError):
                    path.unlink()
                continue
            if found is not None:
                return resume_lane(lane, found)
        return None

    def discard(self, trial: TrialSpec) -> None:
        """Delete both checkpoints of a trial, and what killed processes left of one."""
        for path in self._paths(trial):
            path.unlink(missing_ok=True)
            remove_unfinished(path)

    def _paths(self, trial: TrialSpec) -> tuple[Path, Path]:
        """Return the places of the newest checkpoint of a trial and of the one before."""
        folder = self._folder / trial.checkpoint_name
        return folder / CHECKPOINT, folder / PREVIOUS


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
                warn_once(f"{self._address}: {error} {_REPEATED}")
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
