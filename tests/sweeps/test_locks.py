"""Drives without locks, limits on the size of files, and folders of others: one line with what
helps, and reading goes on.
"""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from no_locks import refusing_library

from sweeps.errors import full_disk, limit_reached, unfit_folder
from sweeps.locks import is_locked, lock_file

HERE = Path(__file__).resolve().parents[1] / "support"
ROOT = HERE.parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
WRITING = """
import sys
from pathlib import Path
from sweeps import run_study
from sweeps.errors import UserError
from sweeps.storage import study_holder, study_names
from sweeps.tracking.mlflow_store import creation_lock
from toy_lanes import ToyLanes
from toy_study import toy_study

def told(action):
    try:
        return action()
    except UserError as error:
        return f"refused: {error}"

runs = Path(sys.argv[1])
print("sweep", told(lambda: run_study(toy_study(), ToyLanes, runs=runs / "new")))
print("store", told(lambda: creation_lock(runs / "new")))
print("reading", told(lambda: (study_names(runs), study_holder(None, runs, "toy"))))
"""


def run(*command: object, **options: object) -> str:
    words = list(map(str, command))
    done = subprocess.run(
        words, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False, **options
    )
    return done.stdout + done.stderr


@pytest.mark.skipif(
    not shutil.which("gcc") or sys.platform != "linux", reason="takes gcc, and Linux's LD_PRELOAD"
)
@pytest.mark.parametrize("refusal", ["ENOLCK", "EOPNOTSUPP"])
def test_a_drive_without_locks_is_named_with_what_helps_and_can_be_read(refusal, tmp_path):
    library = refusing_library(tmp_path, refusal)
    (tmp_path / "journal").mkdir()
    for name in ("toy.log", "toy.lock"):
        (tmp_path / "journal" / name).touch()
    said = run("env", f"LD_PRELOAD={library}", sys.executable, "-c", WRITING, tmp_path)
    sweep, store, reading = said.splitlines()
    for line, folder in ((sweep, tmp_path / "new" / "journal"), (store, tmp_path / "new")):
        assert f"refused: {folder}: the file system of this folder has no locks" in line, said
        assert "local disk" in line
        assert "--runs" in line
    assert reading == "reading (['toy'], None)"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EROFS, errno.EACCES])
def test_a_folder_that_does_not_serve_is_named_with_the_variables_that_help(number):
    told = str(
        unfit_folder(OSError(number, os.strerror(number), "/drive/cache/x"), "--runs, MY_CACHE")
    )
    assert told.startswith("/drive/cache/x: ")
    assert os.strerror(number) in told
    assert told.endswith("--runs, MY_CACHE.")
    assert limit_reached(OSError(errno.ENOENT, "nothing")) is None
    assert unfit_folder(OSError(errno.ENOENT, "nothing"), "--runs") is None


LIMITED = """
import sys
from pathlib import Path
from sweeps.errors import full_disk, limit_reached
from sweeps.files import write_whole
folder = Path(sys.argv[1])
try:
    write_whole(folder / "weights", lambda path: path.write_bytes(b"x" * 9000))
except OSError as error:
    print(limit_reached(error))
"""


def test_a_limit_on_the_size_of_files_is_named(tmp_path):
    said = run(
        "bash", "-c", 'ulimit -f 8; exec "$@"', "bash", sys.executable, "-c", LIMITED, tmp_path
    )
    [weights] = said.splitlines()
    assert "ulimit -f" in weights
    assert str(full_disk(OSError(errno.EFBIG, "too large", "a"))).startswith("a: ")


@pytest.mark.parametrize("mode", [0o644, 0o444])
def test_a_lock_is_seen_by_readers_who_may_not_write(mode, tmp_path):
    path = tmp_path / "lock"
    with lock_file(path, ""):
        path.chmod(mode)
        tmp_path.chmod(0o555)
        assert is_locked(path)
    assert not is_locked(path)
    tmp_path.chmod(0o755)
    assert not is_locked(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == [path]
