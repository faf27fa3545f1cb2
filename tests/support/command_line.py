"""The command line as a user has it: on a machine without MNIST and without a network."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def without_mnist(folder: Path) -> dict[str, str]:
    """Return the environment of a command whose cache lies in the folder."""
    environment = {name: value for name, value in os.environ.items() if name != "VAEEXP_DATA"}
    return environment | {
        "PYTHONPATH": str(ROOT),
        "VAEEXP_OFFLINE": "1",
        "VAEEXP_CACHE": str(folder / "cache"),
    }


@dataclass(frozen=True)
class Swept:
    """A finished sweep: the folder that the command ran in, and what the command said."""

    folder: Path
    said: str

    def copy_to(self, folder: Path) -> None:
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)

    def copy_cache_to(self, folder: Path) -> None:
        """Spare a study of the same images their preparation and the training of the classifier."""
        shutil.copytree(self.folder / "cache", folder / "cache")


def sweep_once(folder: Path, empty_store: Path) -> Swept:
    """Run the study `smoke` in the folder, as the `beta_mnist` of the docs, unless it was run
    there.
    """
    if not (folder / "said").exists():
        (folder / "mlruns").mkdir(parents=True)
        shutil.copy(empty_store, folder / "mlruns")
        command = [
            sys.executable,
            "-P",
            "-m",
            "vaeexp",
            "sweep",
            "--study",
            "smoke",
            "--name",
            "beta_mnist",
        ]
        done = subprocess.run(
            command,
            cwd=folder,
            env=without_mnist(folder),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "said").write_text(done.stdout, encoding="utf-8")
    return Swept(folder, (folder / "said").read_text(encoding="utf-8"))


class Forks:
    """A process that has imported what commands need and runs each in a fork of itself; `close`
    ends it.
    """

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-P", str(Path(__file__).with_name("forked.py"))]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, cwd=folder, env=without_mnist(folder), stdin=pipe, stdout=pipe, text=True
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `vaeexp ARGUMENTS…` in the folder and return what the command printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        return subprocess.CompletedProcess(arguments, **json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate(timeout=60)
