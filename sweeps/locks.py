"""Exclusive locks on files, which the system releases when their process ends."""

import errno
import fcntl
import os
import tempfile
from pathlib import Path
from typing import Any

from filelock import AcquireReturnProxy, FileLock, Timeout

from sweeps.errors import LACKING_LOCKS, UserError


def lock_file(path: Path, remedy: str, timeout: float = 0.0) -> AcquireReturnProxy[Any]:
    """Take a lock and return what releases it, as a context manager. Its file is made where it is
    missing, and stays.

    Args:
        remedy: the sentence for a user whose folder cannot be locked.
        timeout: seconds to wait for another process.

    Raises:
        filelock.Timeout: another process holds the lock.
        UserError: the file system has no locks, or the file cannot be written.
    """
    try:
        return FileLock(path).acquire(timeout=timeout)
    except Timeout:
        raise
    except OSError as error:
        if error.errno not in LACKING_LOCKS:
            problem = f"cannot be written: {error.strerror}. {remedy}"
            raise UserError(str(path), problem) from error
        problem = (
            f"the file system of this folder has no locks ({error.strerror}), as that of some "
            "network drives."
        )
        raise UserError(str(path.parent), f"{problem} {remedy}") from error


def lock_place(folder: Path, name: str) -> Path:
    """Return the path of a lock's file in a folder; of one that cannot be written, as that of
    another user or on a read-only mount, a path among this user's temporary files.
    """
    if not folder.is_dir() or os.access(folder, os.W_OK):
        return folder / name
    return Path(tempfile.gettempdir(), f"{os.getuid()}-{name}")


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of this file. Writes nothing, so the folder may be
    read-only, or of another user.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EAGAIN)
    finally:
        os.close(descriptor)
    return False
