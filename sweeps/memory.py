"""Memory that this process may still get: of its machine, and of the control groups (cgroups,
version 1 or 2) that hold it.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")
UNLIMITED_BYTES = 2**60
"""Version 1 writes a number above this one where there is no limit."""
_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Of versions 2 and 1: files of the limit and the use, key of `memory.stat` for what the kernel can
drop.
"""


@dataclass(frozen=True)
class FreeMemory:
    """Bytes that can still be had, and what bounds them."""

    bytes: int
    bound: str
    """`the machine` or `the container`."""


def free_memory(
    groups: Path = CONTROL_GROUPS, own: Path = OWN, machine: Path = MEMINFO
) -> FreeMemory | None:
    """Return the memory that is free in the machine, or in a control group that has less; None
    where the system does not say.

    Args:
        groups: folder where the control groups are mounted.
        own: file that names the groups of this process.
        machine: file of the machine's memory.
    """
    found = [
        FreeMemory(1024 * value, "the machine") for value in read_values(machine, "MemAvailable:")
    ]
    for folder in _folders(groups, own):
        for limit_file, use_file, droppable in _FILES:
            limit = read_number(folder / limit_file)
            used = read_number(folder / use_file)
            if limit is not None and limit < UNLIMITED_BYTES and used is not None:
                used -= sum(read_values(folder / "memory.stat", droppable))
                found.append(FreeMemory(max(0, limit - used), "the container"))
    return min(found, key=lambda free: free.bytes, default=None)


def go_first() -> None:
    """Make this process, a child, the first that the kernel kills when memory runs out, so that the
    driver lives and says so.
    """
    with suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _folders(groups: Path, own: Path) -> Iterator[Path]:
    """Yield the folders of the groups with a memory controller that hold this process, the
    innermost first.
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(",") or (number == "0" and not controllers):
            root = groups / "memory" if controllers else groups
            inside = root / path.lstrip("/")
            # A container may see its own group as the root, under the path that the group has
            # outside.
            for folder in (inside, *inside.parents):
                if folder.is_relative_to(root) and folder.is_dir():
                    yield folder


def read_number(path: Path) -> int | None:
    """Return the number in a file; None without one (`max`, or no such file)."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def read_values(path: Path, name: str) -> Iterator[int]:
    """Yield the number after this name in a file of lines `name number`."""
    with suppress(OSError, ValueError):
        for line in path.read_text(encoding="ascii").splitlines():
            if line.split()[:1] == [name]:
                yield int(line.split()[1])
