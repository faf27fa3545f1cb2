"""Metrics of the user's own, each one definition, from a study file to its report."""

import json
import re
import shutil
import sys

import pandas as pd
import pytest
from mnist_files import write_files
from tiny_study import train_study

from sweeps.errors import UserError
from sweeps.storage import open_storage
from sweeps.storage.study_record import read_state
from sweeps.tracking import sync
from vaeexp.commands import main
from vaeexp.report import write_report
from vaeexp.results.study_view import open_study
from vaeexp.study import open_study_file

OWN = """
import torch

def sharpness(tested):
    "Mean difference of neighbours in each reconstruction."
    return tested.model.reconstruct(tested.images).diff(dim=-1).abs().flatten(1).mean(1)

class Spread:
    "Mean distance between two samples."
    def __call__(self, tested):
        one, two = (tested.model.sample(8, tested.generator).mean for _ in range(2))
        return float((one - two).square().mean().sqrt())

def share_off(tested): return (tested.images < 0.5).double().mean()
def by_numpy(tested): return tested.images.flatten(1).mean(1).numpy()

def fid(tested): return 1.0
class More:
    @staticmethod
    def sharpness(tested): return 1.0
def nothing(): return 1.0
def words(tested): return "sharp"
def by_label(tested, y=None): return 1.0
def pixels(tested): return tested.images
def raises(tested): return tested.labels
def at_the_end(tested): return 1.0 if len(tested.images) == 2 else tested.labels
"""
STUDY = """
question: Are reconstructions sharp?
data: {{dataset: mnist, validation_size: 40}}
model: {{hidden: [8], latent_size: 2}}
train: {{epochs: 2, batch_size: 40}}
evaluation: {{importance_samples: 3, pictures_every: 100, metrics: [{metrics}]}}
search: {{learning_rate: {{values: [0.01, 0.003]}}}}
budget: {{trials: 2}}
confirm: {{top: 1, seeds: 2}}
"""
PATHS = [
    f"own_metrics:{name}" for name in ("sharpness", "Spread", "share_off", "by_numpy", "at_the_end")
]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module `own_metrics` in the working directory."""
    (tmp_path / "own_metrics.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    yield tmp_path
    sys.modules.pop("own_metrics", None)


def test_own_metrics_go_from_one_definition_to_the_report(
    own, empty_store, no_figures, capsys, caplog
):
    write_files(own / "data" / "MNIST" / "raw", training=160, test=30)
    figures = {}
    for name, metrics in (("plain", ""), ("mine", ", ".join(f'"{path}"' for path in PATHS))):
        runs = train_study(own, name, STUDY.format(metrics=metrics))
        stored = read_state(open_storage(None, runs, name), name)
        figures[name] = stored.repeats[0].results
    mine = {f"test/{name}" for name in ("sharpness", "Spread", "share_off", "by_numpy")}
    errors = {"test/sharpness_se", "test/by_numpy_se"}
    last = {name.replace("test/", "test_last/") for name in mine}
    assert figures["mine"].keys() - figures["plain"].keys() == mine | errors | last
    # Own metrics leave training and built-in metrics as they are.
    assert figures["mine"].items() >= figures["plain"].items()

    assert "'own_metrics:at_the_end' fails on images [30, 1, 28, 28]" in caplog.text

    view = open_study("mine", runs, None)
    written = write_report(view, reports=own / "reports", html=False)
    report = written.read_text()
    assert re.search(r"\| MSE \| SSIM \|.* sharpness \| Spread \| share off \| by numpy \|", report)
    summary = json.loads((written.parent / "summary.json").read_text())
    [best] = summary["confirmed"]
    assert best["test"]["sharpness"]["mean"] == pytest.approx(view.best.test("sharpness").mean)
    assert best["test_last"]["Spread"]["n"] == 2
    trials = pd.read_csv(written.parent / "trials.csv")
    assert trials["result.test/sharpness"].count() == 2
    run = runs / "trials" / "mine" / "repeat-0000"
    assert json.loads((run / "settings.json").read_text())["own_code"].keys() == {"own_metrics.py"}
    shutil.copy(empty_store, runs / "mlflow.db")
    sync("mine", runs=runs)
    with pytest.raises(SystemExit, match="0"):
        main(["evaluate", str(run), "--data", str(own / "data"), "--allow-code"])
    shown = capsys.readouterr().out
    assert "share off" in shown
    assert "figures are those of the study's record" in shown


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ("fid", "metrics: 'fid' is no import path.*built-in metrics need no entry"),
        ("'own_metrics:gone'", "metrics: 'own_metrics:gone' cannot be imported"),
        ("'own_metrics:nothing'", "'own_metrics:nothing' fails on images.*TypeError"),
        (
            "'own_metrics:fid'",
            "'own_metrics:fid' gives 'fid', as a built-in metric does. Rename it",
        ),
        (
            "'own_metrics:sharpness', 'own_metrics:More.sharpness'",
            "gives 'sharpness', as 'own_metrics:sharpness' does",
        ),
        ("'own_metrics:words'", "'own_metrics:words' fails on images.*str"),
        ("'own_metrics:by_label'", "metrics: `by_label` has an argument `y`, which is never given"),
        ("'own_metrics:pixels'", r"returns values \[2, 1, 28, 28\] for 2 images"),
        ("'own_metrics:raises'", r"fails on images \[2, 1, 28, 28\]: AttributeError.*labels"),
    ],
)
def test_an_unfit_metric_is_refused_before_any_training(metrics, says, own):
    (own / "study.yaml").write_text(STUDY.format(metrics=metrics))
    with pytest.raises(UserError, match=says) as refused:
        open_study_file(str(own / "study.yaml"), values=(1, 28, 28))
    assert "study.yaml:" in str(refused.value)
