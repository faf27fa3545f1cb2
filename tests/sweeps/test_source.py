"""Children run the code of their driver: real processes, started in a folder whose files must not
run.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.errors import UserError
from sweeps.source import Source, check_sources, search_path, source_of, sources

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = f"open({{mark!r}}, 'w').close()\nraise SystemExit('{ROOT} was not first in the path')\n"
DRIVER = """
import json, sys
from pathlib import Path
import counting
from sweeps.errors import UserError
from sweeps.tracking import sync
from sweeps.lanes import TrialSpec, advance_all
from sweeps.lanes.worker_pool import WorkerPool
from sweeps.lanes.worker_process import preload

if "fork" in sys.argv:
    preload("counting")
    preloading = WorkerPool(counting.build, [{"folder": Path(sys.argv[1])}])
    preloading.close()
if "edit" in sys.argv:
    with open(sys.modules["sweeps"].__file__, "a") as file:
        file.write("# edited\\n")
said = {}
try:
    pool = WorkerPool(counting.build, [{"folder": Path(sys.argv[1])}])
    pool.add(TrialSpec(number=0, params={}, seed=0, epoch=0))
    said["value"] = advance_all(pool, [0])[0].objective
    pool.close()
except UserError as error:
    said["worker"] = str(error)
try:
    sync("none", runs=Path(sys.argv[1]))
except UserError as error:
    said["mirror"] = str(error)
print(json.dumps(said))
"""


@pytest.fixture
def hostile(tmp_path):
    """A folder with files named like modules that children import, and with packages named like
    ours.
    """
    folder = tmp_path / "hostile"
    for name in ("socket", "signal", "pickle", "sweeps/__init__", "vaeexp/__init__", "counting"):
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HOSTILE.format(mark=str(tmp_path / f"ran {name.partition('/')[0]}")))
    return folder


def drive(tmp_path, folder, *words, code=ROOT):
    """What the driver said; its working directory is `folder`, and its code lies in `code`."""
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    path = f"{code}{os.pathsep}{ROOT / 'tests' / 'support'}"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "method",
    [
        "spawn",
        pytest.param(
            "fork", marks=pytest.mark.skipif(sys.platform != "linux", reason="no fork server")
        ),
    ],
)
def test_children_run_no_file_of_the_working_directory(hostile, tmp_path, method):
    said = drive(tmp_path, hostile, method)
    assert list(tmp_path.glob("ran *")) == []
    assert "value" in said
    assert "'none'" in said["mirror"], "the mirror has looked for the study"


def test_the_module_runs_no_file_of_the_working_directory(hostile, tmp_path):
    for package in ("sweeps", "vaeexp"):  # Python itself would run the second
        shutil.rmtree(hostile / package)
    done = subprocess.run(
        [sys.executable, "-m", "vaeexp", "--version"],
        cwd=hostile,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert list(tmp_path.glob("ran *")) == []
    assert done.returncode == 0, done.stderr


@pytest.fixture
def copied(tmp_path):
    """Another checkout."""
    shutil.copytree(
        ROOT / "sweeps", tmp_path / "copy" / "sweeps", ignore=shutil.ignore_patterns("__pycache__")
    )
    return tmp_path / "copy"


def test_children_that_start_after_an_edit_are_refused(copied, tmp_path):
    said = drive(tmp_path, tmp_path, "edit", code=copied)
    assert "value" not in said
    assert "runs other code than this process: sweeps of" in said["worker"]
    assert "\n" not in said["worker"]


def test_a_driver_in_a_notebook_finds_files_of_the_working_directory_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "/first", "/second"])
    assert search_path() == ["/first", "/second", str(tmp_path)]
    monkeypatch.chdir(ROOT)
    assert search_path() == [str(ROOT), "/first", "/second"]


def test_the_hash_is_of_names_and_contents(copied, tmp_path, monkeypatch):
    def sha256(folder):
        code = (
            f"import sys; sys.path.insert(0, {str(folder)!r}); from sweeps.source import "
            "source_of; print(source_of('sweeps').sha256)"
        )
        return subprocess.run(
            [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()

    before = sha256(copied)
    assert before == source_of("sweeps").sha256, "and not of the folder"
    (copied / "sweeps" / "notes.txt").write_text("no code")
    assert sha256(copied) == before
    (copied / "sweeps" / "seeds.py").rename(copied / "sweeps" / "seed.py")
    renamed = sha256(copied)
    assert renamed != before
    with (copied / "sweeps" / "files.py").open("a") as file:
        file.write(" ")
    assert sha256(copied) not in (before, renamed)


def test_a_child_that_says_nothing_of_its_code_is_refused():
    with pytest.raises(
        UserError, match=r"worker-0: runs other code .* sweeps of no folder \(unknown\)"
    ):
        check_sources("worker-0", {}, ["sweeps"])
    check_sources("worker-0", json.loads(json.dumps(sources(["sweeps"]))), ["sweeps"])
    assert sources(["no_such_package"]) == {"no_such_package": Source("", "", "")}
