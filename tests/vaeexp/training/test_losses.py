"""Training objectives: the table, and those of the user's own by import path, in every kind of
group and to the report.
"""

import json
import re
import shutil
import sys
import textwrap

import pytest
import torch
from fused import BASE, make_lanes, trial
from mnist_files import write_files
from tiny_study import train_study

from sweeps.errors import UserError
from sweeps.lanes import advance_all
from sweeps.tracking import sync
from vaeexp.models.vae import build_vae
from vaeexp.report import write_report
from vaeexp.results.study_view import open_study
from vaeexp.study import open_study_file
from vaeexp.training.losses import LOSSES, make_step

OWN = """
import torch

def iwae(step):
    "The bound of Burda et al. (2016) with three draws."
    log_w = step.prior.log_prob(step.z) - step.distortion - step.log_q
    return -(log_w.logsumexp(0) - torch.tensor(3.0).log()).mean()
iwae.samples = 3

class Capacity:
    "|rate - C| with C rising over training (Burgess et al. 2018)."
    def __call__(self, step):
        return step.distortion.mean() + step.beta * (step.rate.mean() - 5 * step.progress).abs()

def moments(step):
    "Means and variances of codes beside those of the prior."
    mask, z = step.model.latent_mask, step.z
    apart = z.mean(0).square() + (z.var(0, correction=0) - 1).square()
    return step.distortion.mean() + 10 * (apart * mask).sum()

def unmasked(step):
    return step.distortion.mean() + (step.z.var(0, correction=0) - 1).square().sum()

def same(step):
    return step.distortion.mean() + step.beta * step.rate.mean()

def branching(step):
    return step.distortion.mean() * (2.0 if step.rate.mean() > 1e9 else 1.0)

def drawing(step):
    return step.distortion.mean() + torch.randn(()) * 0

def per_image(step): return step.distortion
def number(step): return 1.0
def constant(step): return step.beta * 1
def infinite(step): return step.distortion.mean() / 0
def raises(step): return step.mean
def two(step, other): return step.rate.mean()
def half(step): return step.rate.mean()
half.samples = 0.5
def in_place(step):
    rate = step.rate.exp()
    square = rate * rate
    rate.add_(1)
    return step.distortion.mean() + square.mean()
def steep(step): return step.distortion.mean() + (step.rate * 0).sum().sqrt()
def rate_alone(step): return step.rate.mean()
def labelled(step, labels=None): return step.distortion.mean() + step.rate.mean()
class Classed(Capacity):
    def __init__(self, n_classes=10): super().__init__()
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module `own_losses` in the working directory."""
    (tmp_path / "own_losses.py").write_text(textwrap.dedent(OWN))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    yield tmp_path
    sys.modules.pop("own_losses", None)


@pytest.mark.parametrize("name", ["iwae", "Capacity", "moments"])
def test_an_own_objective_trains_alike_fused_and_one_after_the_other(name, own, caplog):
    losses = {}
    for kind in ("vectorised", "sequential"):
        lanes, _ = make_lanes(own / kind, kind=kind, every=3600.0, maxima={"latent_size": 6})
        for number, size in ((0, 4), (1, 6)):
            lanes.add(trial(number, loss=f"own_losses:{name}", epochs=2, latent_size=size))
        for progress in advance_all(lanes, [0, 1]):
            losses[kind, progress.number] = progress.metrics
        assert [group.fused for group in lanes.groups.all()] == [kind == "vectorised"]
    for number in (0, 1):
        fused, alone = (losses[kind, number] for kind in ("vectorised", "sequential"))
        assert fused["train/loss"] == pytest.approx(alone["train/loss"], rel=1e-4)
        assert fused["val/neg_elbo"] == pytest.approx(alone["val/neg_elbo"], rel=1e-4)
        assert "val/loss" not in fused
    assert "one after the other" not in caplog.text


def test_the_same_objective_from_outside_gives_the_same_bits(own):
    found = {}
    for loss in ("elbo", "own_losses:same"):
        lanes, _ = make_lanes(own / "runs", kind="sequential", every=3600.0)
        lanes.add(trial(0, loss=loss))
        found[loss] = advance_all(lanes, [0])[0].metrics
    first, second = (
        {name: value for name, value in each.items() if "/" in name} for each in found.values()
    )
    assert first.pop("val/loss") == pytest.approx(first["val/distortion"] + first["val/rate"])
    assert first == second


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("branching", "vmap refuses it"),
        ("drawing", "vmap refuses it"),
        ("unmasked", "other numbers"),
    ],
)
def test_what_vmap_refuses_trains_one_lane_after_the_other(name, says, own, caplog):
    lanes, _ = make_lanes(own / "runs", every=3600.0, maxima={"latent_size": 6})
    lanes.add(trial(0, loss=f"own_losses:{name}"))
    assert not lanes.groups.all()[0].fused
    assert f"Lanes of own_losses:{name} with" in caplog.text
    assert says in caplog.text


def test_iwae_of_one_draw_is_the_elbo_by_draws():
    """The pass of S draws is that of each draw alone."""
    vae = build_vae(BASE.model, (1, 8, 8), 0)
    x, noise = torch.rand(5, 1, 8, 8).round(), torch.randn(5, 3, 4)
    one, zero = torch.ones(()), torch.zeros(())
    elbo = LOSSES["elbo"]
    step = make_step(vae, elbo._replace(samples=3), x, noise, one, zero, zero)
    for draw in range(3):
        alone = make_step(vae, elbo, x, noise[:, draw], one, zero, zero)
        torch.testing.assert_close(step.distortion[draw], alone.distortion)
        torch.testing.assert_close(step.z[draw], alone.z)


STUDY = """
question: Do several draws buy a better bound?
data: {{dataset: mnist, validation_size: 40}}
model: {{hidden: [8], latent_size: 2}}
train: {{epochs: 1, batch_size: 40, loss: {loss}}}
evaluation: {{importance_samples: 3, pictures_every: 100}}
search: {{learning_rate: {{values: [0.01, 0.003]}}}}
budget: {{trials: 2}}
"""
MORE = """
confirm: {top: 1, seeds: 2}
baselines: {plain: {title: The ELBO, at: best, seeds: 2, settings: {loss: elbo}}}
"""


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ("elbow", r"loss: there is no loss 'elbow'.*Did you mean 'elbo'.*import path"),
        ("own_losses:no_such", r"loss: 'own_losses:no_such' cannot be imported: .*no_such"),
        ("own_losses:two", r"'own_losses:two' must be a function `\(step\)`"),
        ("own_losses:half", r"`samples` of 'own_losses:half' is 0.5; must be a whole number"),
        ("own_losses:per_image", r"returns tensor\(\[.*must return one finite number"),
        ("own_losses:constant", r"returns tensor\(.*must return one finite number"),
        ("own_losses:in_place", "loss: 'own_losses:in_place' cannot be differentiated"),
        ("own_losses:steep", "loss: .*no finite gradient to 'encoder"),
        ("own_losses:rate_alone", "loss: .*no finite gradient to 'decoder"),
        ("own_losses:labelled", "loss: `labelled` has an argument `labels`, which is never given"),
        ("own_losses:Classed", "loss: `Classed` has an argument `n_classes`"),
        ("own_losses:infinite", r"returns tensor\(inf.* on two images"),
        ("own_losses:raises", r"fails on two images of shape \(1, 28, 28\): AttributeError"),
    ],
)
def test_an_unfit_objective_is_refused_before_any_training(loss, says, own):
    (own / "study.yaml").write_text(STUDY.format(loss=f'"{loss}"'))
    with pytest.raises(UserError, match=says) as refused:
        open_study_file(str(own / "study.yaml"), values=(1, 28, 28))
    assert "study.yaml:" in str(refused.value)


def test_an_own_objective_goes_from_one_definition_to_the_report(own, empty_store, no_figures):
    write_files(own / "data" / "MNIST" / "raw", training=160, test=30)
    text = STUDY.format(loss='"own_losses:iwae"') + MORE
    runs = train_study(own, "draws", text)
    view = open_study("draws", runs, None)
    report = write_report(view, reports=own / "reports", html=False).read_text()
    assert re.search(r"\| train \| loss own_losses:iwae,", report)
    assert "train loss, last epoch" in report
    settings = json.loads((runs / "trials" / "draws" / "trial-0000" / "settings.json").read_text())
    assert settings["train"]["loss"] == "own_losses:iwae"
    assert settings["own_code"].keys() == {"own_losses.py"}
    assert "iwae" in settings["own_code"]["own_losses.py"]
    shutil.copy(empty_store, runs / "mlflow.db")
    sync("draws", runs=runs)
