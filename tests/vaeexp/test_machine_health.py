"""What `doctor` says of the machine: each check is red by a real fault, and green without."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from sealed import flip_bit

from sweeps.errors import UserError
from sweeps.files import is_aside
from vaeexp.cache import build_once, read_facts, seal_folder
from vaeexp.data.block_checks import write_table
from vaeexp.machine_checks import check_cache, check_device, check_disk, check_versions
from vaeexp.runs.tidy import PREPARED, PROGRAMS, items_of_cache

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


def test_a_damaged_cache_is_red(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path))
    images = tmp_path / "prepared" / "mine" / "test_images.npy"
    for folder in (images.parent, tmp_path / "compiled" / "program"):
        folder.mkdir(parents=True)
        np.save(folder / images.name, np.arange(50_000))
    seal_folder(tmp_path / "compiled" / "program", {})
    write_table(images)
    seal_folder(images.parent, {}, by_blocks=[images.name])
    (healthy,) = check_cache()
    assert (healthy.ok, healthy.words) == (True, "2 folders match their checksums (0.8 MB)")
    program = tmp_path / "compiled" / "program" / images.name
    for path, words in (
        (images, "is damaged in 1 blocks, first in block 3."),
        (program, "is damaged: its content does not match its checksum."),
    ):
        flip_bit(path)
        finding, others = check_cache()
        assert (finding.name, finding.ok) == (f"cache: {path.parent.relative_to(tmp_path)}", False)
        assert finding.words == f"{path}: {words}"
        assert others.ok
        damaged = path.read_bytes()
        assert finding.repair() == f"moved the folder to {path.parent}.damaged"
        assert (
            path.parent.with_name(f"{path.parent.name}.damaged") / path.name
        ).read_bytes() == damaged
    assert [finding.words for finding in check_cache()] == [
        "0 folders match their checksums (0.0 MB)"
    ]
    assert [item.kind for item in items_of_cache([]) if is_aside(item.path)] == [PROGRAMS, PREPARED]


def test_a_folder_that_was_moved_aside_is_built_again_and_not_while_it_is_built(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path))
    target, built = tmp_path / "classifiers" / "mine", []

    def build(folder: Path) -> None:
        (folder / "weights").write_bytes(bytes(1000))
        seal_folder(folder, {"made": len(built)})
        built.append(folder)

    build_once(target, read_facts, build)
    flip_bit(target / "weights")
    finding, _ = check_cache()
    with (
        FileLock(f"{target}.lock"),
        pytest.raises(UserError, match="a process is building it again"),
    ):
        finding.repair()
    finding.repair()
    assert build_once(target, read_facts, build) == {"made": 1}
    (healthy,) = check_cache()
    assert healthy.ok
    assert target.with_name("mine.damaged").is_dir(), "the damaged folder is kept"


def test_a_folder_that_cannot_be_written_asks_for_another_one():
    """More space would not help."""
    runs, cache = check_disk(Path("/proc/no/such/folder"))
    assert not runs.ok
    assert cache.ok
    assert "--runs" in runs.remedy
    for finding in (runs, cache):
        assert ("free 1 GiB" in finding.remedy) == ("cannot be written" not in finding.words)
