"""A study of densities whose sub-pixels are left out since this version, and one that keeps all."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import vaeexp
from sweeps.errors import UserError
from vaeexp.data import numbers as of_numbers
from vaeexp.launch.job import describe_data, prepare_job
from vaeexp.launch.options import SweepOptions
from vaeexp.launch.run import plan_sweep
from vaeexp.launch.study_log import StudyLog
from vaeexp.runs.reproduce import reproduce_trial
from vaeexp.runs.run import evaluate_run, open_images, open_run

STUDY = """
question: Which learning rate?
data: {dataset: arrays, binarisation: none, scale: standard}
model: {network: mlp, hidden: [8], latent_size: 2, likelihood: gaussian}
train: {epochs: 1, batch_size: 20}
evaluation: {importance_samples: 2, pictures_every: 100}
search:
  learning_rate: {values: [0.003]}
sampler: grid
pruner: none
budget: {trials: 1}
confirm: {top: 1, seeds: 1}
"""
LEFT_OUT = "Left out of the density: 20 of 36 values, which never change in training"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    Path("bordered.yaml").write_text(STUDY, encoding="utf-8")
    images = np.zeros((120, 6, 6), np.float32)
    images[:, 1:5, 1:5] = np.random.default_rng(0).normal(size=(120, 4, 4))
    np.save("mine.npy", images)


def run():
    how = {"workers": 1, "device": "cpu", "precision": "float32", "compile": "off"}
    return vaeexp.run_study("bordered.yaml", data="mine.npy", **how)


def plan(*changes: str) -> None:
    options = SweepOptions(study="bordered.yaml", data=Path("mine.npy"), overrides=changes)
    plan_sweep(options, StudyLog(Console(file=io.StringIO())))


def job_of(*changes: str):
    options = SweepOptions(study="bordered.yaml", data=Path("mine.npy"), overrides=changes)
    return prepare_job(options, StudyLog(Console(file=io.StringIO())))


def test_the_plan_says_how_many_are_left_out():
    for name in ("gaussian", "gaussian_learned", "laplace", "student_t"):
        assert LEFT_OUT in describe_data(job_of(f"likelihood={name}"))
    np.save("mine.npy", np.random.default_rng(0).normal(size=(120, 6, 6)))
    assert not any("Left out" in line for line in describe_data(job_of()))


def test_bytes_are_not_ranked_with_scales_that_leave_some_out():
    np.save("mine.npy", (np.load("mine.npy") * 30 + 120).clip(0, 255).astype(np.uint8))
    change = "search.scale={values: [unit, standard]}"
    with pytest.raises(UserError, match=r"leave 0 and 20 sub-pixels .* without unit: range"):
        job_of(change)
    job_of("search.scale={values: [range, standard]}")
    np.save("mine.npy", np.random.default_rng(0).integers(0, 256, (120, 6, 6)).astype(np.uint8))
    job_of(change)


def test_a_density_of_all_sub_pixels_is_not_searched_with_one_that_leaves_some_out():
    np.save("mine.npy", 1 / (1 + np.exp(-np.load("mine.npy"))) - 0.5 * (np.load("mine.npy") == 0))
    searched = "search.likelihood={values: [continuous_bernoulli, gaussian]}"
    with pytest.raises(UserError, match="cannot be ranked together"):
        plan("scale=unit", searched)
    plan("scale=unit", searched.replace("continuous_bernoulli", "laplace"))


@pytest.mark.slow
def test_a_study_of_all_sub_pixels_is_refused_and_its_runs_keep_them(monkeypatch, no_figures):
    with monkeypatch.context() as former:
        former.setattr(of_numbers, "constant_runs", lambda *_: ())
        study = run()
    monkeypatch.setenv("VAEEXP_CACHE", "other cache")  # as after a change of the layout
    with pytest.raises(UserError, match="leaves out 20 that never change in training"):
        run()
    found = open_run("bordered/0", Path("mlruns"))
    assert found.values.constant == ()
    say = Console(file=io.StringIO())
    here = {"data": Path("mine.npy"), "device": None, "precision": None}
    assert reproduce_trial("bordered/0", Path("mlruns"), None, **here, console=say)
    images = open_images(found, Path("mine.npy"), same=True, say=print)
    words = evaluate_run(found, images, importance_samples=None, device="cpu", say=print)
    assert "vary" not in words["protocol"]["likelihood"]
    assert study.trials["objective"].notna().all()
