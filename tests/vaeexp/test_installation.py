"""What vaeexp says where its environment is not what it needs."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_package_sweeps_of_another_project_is_named(tmp_path: Path) -> None:
    other = tmp_path / "sweeps" / "__init__.py"
    other.parent.mkdir()
    other.write_text("raise RuntimeError('must not be imported')\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-c", "import vaeexp"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: sweeps: got {other}, the package of another project")
    assert last.endswith("Try: pip uninstall sweeps, then install vaeexp again.")


def test_a_file_of_the_working_folder_is_no_module_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "socket.py").write_text("raise RuntimeError('must not be imported')\n")
    command = [sys.executable, "-m", "vaeexp", "trials", "--help"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONSAFEPATH", None)
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
