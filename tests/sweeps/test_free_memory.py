"""The free memory of control groups of both versions, read from trees as the kernel shows them, and
the cause of a kill.
"""

from pathlib import Path

import pytest

from sweeps.lanes.worker import Lost
from sweeps.lanes.worker_process import Child
from sweeps.memory import FreeMemory, free_memory

MIB = 2**20


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Path]:
    """A machine with 8 GiB free and no control group."""
    (tmp_path / "own").write_text("")
    (tmp_path / "machine").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {8 * 2**20} kB\n")
    return {"groups": tmp_path / "groups", "own": tmp_path / "own", "machine": tmp_path / "machine"}


def test_without_a_group_the_machine_bounds(tree: dict[str, Path]) -> None:
    assert free_memory(**tree) == FreeMemory(8 * 2**30, "the machine")
    tree["machine"].unlink()
    tree["own"].unlink()
    assert free_memory(**tree) is None


def test_version_2_the_tightest_group_above_counts_and_what_can_be_dropped_is_free(
    tree: dict[str, Path],
) -> None:
    tree["own"].write_text("0::/pod/box\n")
    write(tree["groups"] / "pod" / "box", memory__max="max", memory__current=700 * MIB)
    stat = f"anon 5\ninactive_file {200 * MIB}"
    write(
        tree["groups"] / "pod", memory__max=900 * MIB, memory__current=700 * MIB, memory__stat=stat
    )
    assert free_memory(**tree) == FreeMemory(400 * MIB, "the container")


def test_version_1_and_a_container_that_sees_its_group_as_the_root(tree: dict[str, Path]) -> None:
    tree["own"].write_text("8:pids:/\n4:cpu,memory:/docker/0123\n0::/\n")
    stat = f"total_inactive_file {100 * MIB}"
    group = {
        "memory__limit_in_bytes": 900 * MIB,
        "memory__usage_in_bytes": 300 * MIB,
        "memory__stat": stat,
    }
    write(
        tree["groups"] / "memory",
        **group,
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 3",
    )
    assert free_memory(**tree) == FreeMemory(700 * MIB, "the container")
    write(tree["groups"] / "memory", memory__limit_in_bytes=9223372036854771712)
    assert free_memory(**tree) == FreeMemory(8 * 2**30, "the machine")


def report_score() -> None:
    raise ValueError(Path("/proc/self/oom_score_adj").read_text())


def test_a_child_goes_before_its_driver() -> None:
    child = Child("worker", report_score, {})
    child.start()
    with pytest.raises(Lost, match="500"):
        child.wait_until_ready()
    child.kill()
