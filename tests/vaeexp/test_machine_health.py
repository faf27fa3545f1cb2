"""What `doctor` says of the machine: each check is red by a real fault, and green without."""

import json
import subprocess
import sys
from pathlib import Path

from vaeexp.machine_checks import check_device, check_disk, check_versions

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import json
from vaeexp.machine_checks import check_versions
print(json.dumps({finding.name: [finding.ok, finding.words] for finding in check_versions()}))
"""


def test_this_machine_is_healthy(tmp_path):
    for check in (
        check_versions,
        check_device,
        lambda: check_disk(tmp_path / "not" / "yet"),
    ):
        for finding in check():
            assert finding.ok, finding


def test_a_wrong_version_is_red(tmp_path):
    (tmp_path / "vaeexp-0.1.0.dist-info").mkdir()
    metadata = (
        "Metadata-Version: 2.1\nName: vaeexp\nVersion: 0.1.0\nRequires-Dist: "
        "numpy>=99\nRequires-Dist: no-such-package\n"
    )
    (tmp_path / "vaeexp-0.1.0.dist-info" / "METADATA").write_text(
        metadata + 'Requires-Dist: other; extra == "dev"\n'
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", CODE],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["versions"][0] is False
    assert found["versions"][1].endswith("is not >=99, no-such-package is missing")


def test_a_folder_that_cannot_be_written_asks_for_another_one():
    """More space would not help."""
    runs, cache = check_disk(Path("/proc/no/such/folder"))
    assert not runs.ok
    assert cache.ok
    assert "--runs" in runs.remedy
    for finding in (runs, cache):
        assert ("free 1 GiB" in finding.remedy) == ("cannot be written" not in finding.words)
