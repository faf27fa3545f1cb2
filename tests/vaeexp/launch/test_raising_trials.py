"""A network that raises for one configuration fails that trial alone: its neighbours have the
numbers of a study in which it does not.
"""

import io
import os

import numpy as np
import pytest
from image_files import noise
from rich.console import Console
from toy_study import search

from sweeps.lanes.engines import Engine
from sweeps.lanes.worker_process import preload
from sweeps.storage import open_storage, open_study
from vaeexp.launch.job import prepare_job
from vaeexp.launch.memory import choose_execution
from vaeexp.launch.options import SweepOptions
from vaeexp.launch.study_log import StudyLog
from vaeexp.launch.workers import make_workers

MODULE = """
import os
from torch import nn


class Decoder(nn.Sequential):
    when, passes = "never", 0

    def forward(self, z):
        self.passes += self.training
        if os.environ["DRIVER"] != str(os.getpid()) and (
            (self.when == "train" and self.passes >= 12)
            or (self.when == "evaluate" and not self.training)
            or (self.when == "draw" and not self.training and len(z) != 9)
        ):
            raise ArithmeticError("the width does not suit")
        return super().forward(z)


class Net:
    def encoder(self, settings, image_shape, outputs):
        size = image_shape[0] * image_shape[1] * image_shape[2]
        width = settings.hidden[0]
        return nn.Sequential(nn.Flatten(), nn.Linear(size, width), nn.ReLU(), nn.Linear(width, outputs))

    def decoder(self, settings, image_shape, latent_size, parameters):
        size = parameters * image_shape[0] * image_shape[1] * image_shape[2]
        when = os.environ["RAISES"] if settings.hidden[0] == 6 else "never"
        if os.environ["DRIVER"] != str(os.getpid()) and (when == "build" or (when == "pad" and latent_size > 4)):
            raise AssertionError("the width does not suit")  # not in the plan, which would refuse the study
        decoder = Decoder(nn.Linear(latent_size, size), nn.Unflatten(1, (-1, *image_shape[1:])))
        decoder.when = when
        return decoder
"""  # noqa: E501
STUDY = """
question: Who fails?
data: {dataset: arrays, binarisation: none, validation_size: 9}
model: {network: "raising_network:Net", likelihood: gaussian, latent_size: 4}
train: {epochs: 3, batch_size: 4}
evaluation: {pictures_every: 1000}
search: {hidden: {values: [[2], [4], [6], [8]]}}
sampler: grid
pruner: none
budget: {trials: 4}
"""


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Trains the study with a network that raises there; configuration → (kind of failure, values
    by epoch).
    """
    preload("vaeexp.runs.worker")
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DRIVER", str(os.getpid()))
    monkeypatch.chdir(tmp_path)
    np.save("images.npy", noise(60, 4, 4, 1))
    (tmp_path / "raising_network.py").write_text(MODULE)
    (tmp_path / "who.yaml").write_text(STUDY)

    def train(when, **asked):
        monkeypatch.setenv("RAISES", when)
        runs = tmp_path / f"{when} {asked}"
        options = SweepOptions(study="who.yaml", data=tmp_path / "images.npy", runs=runs)
        asked = {"device": "cpu", "precision": "float32", "lanes": 4, "workers": 1} | asked
        job = prepare_job(options, StudyLog(Console(file=io.StringIO())))
        study = open_study(open_storage(None, runs, "who"), job.study)
        execution = choose_execution(job.study, job.settings, job.dataset, asked, {}, print)
        lanes = make_workers(job, execution, Engine(folder=job.runs / "trials" / job.study.name))
        try:
            search(study, job.study, lanes, [], runs=runs)
        finally:
            lanes.close()
        return {
            trial.params["hidden"]: (trial.state.name, trial.intermediate_values)
            for trial in study.trials
        }

    return train


@pytest.mark.parametrize(
    ("when", "asked"),
    [
        ("train", {}),
        *(
            pytest.param(when, asked, marks=pytest.mark.slow)
            for when in ("build", "evaluate", "draw", "train")
            for asked in ({"workers": 2}, {"fuse": "on"})
        ),
    ],
)
def test_who_raises_fails_alone(trained, when, asked):
    expected, got = trained("never", **asked), trained(when, **asked)
    [bad] = [name for name, (state, _) in got.items() if state == "FAIL"]
    assert "6" in bad
    assert {state for state, _ in expected.values()} == {"COMPLETE"}
    del expected[bad], got[bad]
    assert got == expected


@pytest.mark.slow
def test_a_network_that_raises_for_padded_sizes_alone_fails_no_trial(trained):
    """Fused lanes are padded to a latent size of 8; the trial that has a network of this width has
    size 4.
    """
    assert {state for state, _ in trained("pad", fuse="on").values()} == {"COMPLETE"}
