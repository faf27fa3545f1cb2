"""A control group of the kernel with little memory, as a container is given."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")


class NoControlGroups(Exception):
    """This user or this machine cannot make control groups."""


@contextmanager
def memory_group(megabytes: int) -> Iterator[Path]:
    """Make a group with this much memory, without swap, and remove it; a process joins by writing
    its number to `cgroup.procs`.

    Raises:
        NoControlGroups: the group cannot be made.
    """
    first = (GROUPS / "memory").is_dir()
    group = (
        GROUPS / "memory" if first else GROUPS
    ) / f"vaeexp-test-{os.getpid()}-{time.monotonic_ns()}"
    try:
        group.mkdir()
    except OSError as error:
        raise NoControlGroups(f"no control group can be made here: {error.strerror}") from None
    try:
        _write_limits(group, megabytes, first)
        yield group
    finally:
        _remove(group)


def _write_limits(group: Path, megabytes: int, first: bool) -> None:
    """Write the limit of memory, and of memory with swap (version 1) or of swap (version 2)."""
    names = (
        ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
        if first
        else ("memory.max", "memory.swap.max")
    )
    limit = str(megabytes * 10**6)
    try:
        (group / names[0]).write_text(limit, encoding="ascii")
    except OSError as error:
        raise NoControlGroups(
            f"control groups here do not bound memory: {error.strerror}"
        ) from None
    with suppress(OSError):  # a kernel that does not count swap
        (group / names[1]).write_text(limit if first else "0", encoding="ascii")


def _remove(group: Path) -> None:
    """Remove a group; the kernel refuses until its last process has gone."""
    deadline = time.monotonic() + 30
    while group.exists() and time.monotonic() < deadline:
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.05)
