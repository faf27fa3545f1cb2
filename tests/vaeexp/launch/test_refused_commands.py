"""A command that is refused writes nothing: the files of the study stay as they are, and its own
command goes on.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from image_files import noise

from sweeps.lanes.worker_process import preload
from vaeexp.commands import cli

NETWORK = """
from torch import nn
from refused_helper import activation

WIDTH = 6


class Net:
    def encoder(self, settings, image_shape, outputs):
        size = image_shape[0] * image_shape[1] * image_shape[2]
        return nn.Sequential(nn.Flatten(), nn.Linear(size, WIDTH), activation(), nn.Linear(WIDTH, outputs))

    def decoder(self, settings, image_shape, latent_size, parameters):
        size = parameters * image_shape[0] * image_shape[1] * image_shape[2]
        return nn.Sequential(nn.Linear(latent_size, size), nn.Unflatten(1, (-1, *image_shape[1:])))
"""  # noqa: E501
HELPER = "from torch import nn\n\n\ndef activation():\n    return nn.ReLU()\n"
STUDY = """
question: What does a refused command write?
data: {dataset: arrays, binarisation: none, validation_size: 8}
model: {network: "refused_network:Net", likelihood: gaussian, latent_size: 2}
train: {epochs: 2, batch_size: 8}
evaluation: {pictures_every: 1000}
search: {learning_rate: {low: 0.001, high: 0.01}}
pruner: none
budget: {trials: 1}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a study of one trial, trained by the command."""
    folder, patch = tmp_path_factory.mktemp("refused"), pytest.MonkeyPatch()
    preload("vaeexp.runs.worker")
    patch.chdir(folder)
    patch.setenv("VAEEXP_CACHE", str(folder / "cache"))
    np.save("images.npy", noise(60, 4, 4, 1))
    np.save("others.npy", noise(60, 4, 4, 1, seed=1))
    (folder / "refused_network.py").write_text(NETWORK)
    (folder / "refused_helper.py").write_text(HELPER)
    (folder / "s.yaml").write_text(STUDY)
    assert sweep().exit_code == 0
    yield folder
    patch.undo()


def sweep(*arguments: str, data: str = "images.npy"):
    for module in ("refused_network", "refused_helper"):
        sys.modules.pop(module, None)  # each command of a user is a process of its own
    common = ("s.yaml", "--data", data, "--precision", "float32", "--lanes", "1", "--workers", "1")
    return CliRunner().invoke(cli, ["sweep", *common, *arguments])


def edit(path: Path, text: str) -> None:
    """Write a module as at a later second than before; Python takes edits within a second for none,
    where the size is the same.
    """
    later = path.stat().st_mtime + 5
    path.write_text(text)
    os.utime(path, (later, later))


def files(folder: Path) -> dict[str, str]:
    every = [
        path
        for name in ("mlruns", "reports")
        for path in (folder / name).rglob("*")
        if path.is_file()
    ]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in every}


def refused(place, *arguments, data="images.npy"):
    """What is said when a command is refused; nothing is written."""
    before = files(place)
    done = sweep("--trials", "2", *arguments, data=data)
    assert done.exception is not None
    assert files(place) == before
    return str(done.exception)


@pytest.mark.slow
def test_refused_commands_write_nothing_and_the_study_goes_on(place):
    assert "precision bf16, not float32" in refused(place, "--precision", "bf16")
    assert "threads 2, not 1" in refused(place, "--threads", "2")
    assert "compile on, not off" in refused(place, "--compile", "on")
    assert "was made on" in refused(place, data="others.npy")
    assert "another definition" in refused(place, "--set", "train.epochs=3")
    assert "another definition" in refused(place, "--set", "seed=5")
    assert "--lanes" in refused(place, "--workers", "3")
    for file, old, new, said in (
        ("refused_helper.py", "ReLU", "Tanh", "refused_helper.py: activation changed"),
        (
            "refused_network.py",
            "WIDTH = 6",
            "WIDTH = 5",
            "refused_network.py: top-level code changed",
        ),
    ):
        text = (place / file).read_text()
        edit(place / file, text.replace(old, new))
        assert said in refused(place)
        edit(place / file, text)
    done = sweep("--trials", "2")
    assert done.exit_code == 0, done.output
    edit(place / "refused_network.py", NETWORK.replace("WIDTH = 6", "WIDTH = 5"))
    done = sweep("--trials", "3", "--extend")
    assert done.exit_code == 0, done.output
    assert "s/2 and s/r0 on ended under code 2" in done.output.replace("\n", " ")
    rows = (place / "reports" / "s" / "trials.csv").read_text().splitlines()
    assert [row.rpartition(",")[2] for row in rows] == ["code", "1", "1", "2"]
    # A process of its own, because this one has imported the network as it was.
    command = [sys.executable, "-P", "-m", "vaeexp", "sample", "s/0"]
    opened = subprocess.run(command, capture_output=True, text=True, check=False)
    assert opened.returncode == 2, opened.stderr
    said = " ".join(opened.stderr.split())
    assert "refused_network.py: top-level code changed" in said
    assert "do not fit" in said


@pytest.mark.parametrize(
    "arguments", [("--workers", "3"), ("--set", "start=[{study: none, top: 1}]")]
)
def test_a_new_study_that_is_refused_leaves_no_study(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    np.save("images.npy", noise(60, 4, 4, 1))
    (tmp_path / "s.yaml").write_text(STUDY.replace('network: "refused_network:Net"', "hidden: [4]"))
    done = sweep(*arguments)
    assert done.exception is not None
    assert not isinstance(done.exception, SystemExit), done.output
    assert [name for name in files(tmp_path) if not name.endswith(".lock")] == []
