"""What `doctor` says of the machine: each check is red by a real fault, and green without."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from vaeexp.health import TOLERANCE, check_code, check_device, check_disk, check_limits, check_versions, step_difference

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import json
from vaeexp.health import check_code, check_limits, check_versions
findings = [*check_versions(), *check_code(), *check_limits()]
print(json.dumps({finding.name: [finding.ok, finding.words] for finding in findings}))
"""


def test_this_machine_is_healthy(tmp_path):
    for check in (check_versions, check_code, check_device, lambda: check_disk(tmp_path / "not" / "yet")):
        for finding in check():
            assert finding.ok, finding


def test_a_wrong_version_a_foreign_package_and_low_limits_are_red(tmp_path):
    shutil.copytree(ROOT / "sweeps", tmp_path / "sweeps", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "vaeexp-0.1.0.dist-info").mkdir()
    metadata = "Metadata-Version: 2.1\nName: vaeexp\nVersion: 0.1.0\nRequires-Dist: numpy>=99\nRequires-Dist: no-such-package\n"
    (tmp_path / "vaeexp-0.1.0.dist-info" / "METADATA").write_text(metadata + 'Requires-Dist: other; extra == "dev"\n')

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
        resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))

    done = subprocess.run(
        [sys.executable, "-P", "-c", CODE],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        preexec_fn=lower,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["versions"][0] is False
    assert found["versions"][1].startswith("numpy ")
    assert found["versions"][1].endswith("is not >=99, no-such-package is missing")
    assert found["code"] == [False, f"vaeexp of {ROOT} with sweeps of {tmp_path}"]
    assert found["open files"] == [False, "200 files free of 200 files"]
    assert found["address space"] == [False, "6.0 GiB free of 6.0 GiB"]


def test_arithmetic_of_less_precision_is_red():
    assert step_difference(torch.device("cpu")) < TOLERANCE / 10
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, arithmetic = check_device()
    assert arithmetic.ok is False
    assert "the numbers of this machine are wrong" in arithmetic.remedy


def test_a_full_disk_is_red():
    runs, cache = check_disk(Path("/proc/no/such/folder"))
    assert (runs.ok, runs.words.split(" in ")[0]) == (False, "0.0 GiB free")
    assert cache.ok


def test_the_limits_of_a_container_are_found(tmp_path, monkeypatch):
    """Files as the kernel shows them, of version 2 and of version 1 of control groups."""
    monkeypatch.setattr("vaeexp.health._CONTAINER", tmp_path)
    for name, content in {"memory.max": "943718400", "memory.current": "104857600", "pids.max": "max"}.items():
        (tmp_path / name).write_text(f"{content}\n")
    (memory,) = (finding for finding in check_limits() if "container" in finding.name)
    assert (memory.ok, memory.words) == (False, "0.8 GiB free of 0.9 GiB")
    assert memory.remedy == "raise the limit: a sweep needs about 1.5 GiB"
    for name in ("memory.max", "memory.current", "pids.max"):
        (tmp_path / name).unlink()
    for group, name, content in (
        ("memory", "memory.limit_in_bytes", 2**63 - 4096),
        ("memory", "memory.usage_in_bytes", 2**30),
        ("pids", "pids.max", 12),
        ("pids", "pids.current", 3),
    ):
        (tmp_path / group).mkdir(exist_ok=True)
        (tmp_path / group / name).write_text(f"{content}\n")
    (processes,) = (finding for finding in check_limits() if "container" in finding.name)
    assert (processes.ok, processes.words) == (False, "9 processes free of 12 processes")
