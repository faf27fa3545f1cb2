"""Likelihoods of one measure are searched, ranked and compared in one study; those of several are
refused before any work.
"""

import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

import vaeexp
from sweeps.errors import UserError
from vaeexp.launch.job import prepare_job
from vaeexp.launch.options import SweepOptions
from vaeexp.launch.run import _describe_objective
from vaeexp.launch.study_log import StudyLog
from vaeexp.models.parts import LIKELIHOOD_SUPPORTS
from vaeexp.results.study_view import open_study
from vaeexp.study import open_study_file

STUDY = {
    "question": "Which likelihood?",
    "data": {"dataset": "arrays", "binarisation": "none"},
    "model": {"hidden": [8], "latent_size": 2},
    "train": {"epochs": 2, "batch_size": 20},
    "evaluation": {"importance_samples": 2, "pictures_every": 100},
    "sampler": "grid",
    "pruner": "none",
    "confirm": {"top": 2, "seeds": 2},
}
OF_COUNTS = ("poisson", "negative_binomial")
OF_NUMBERS = ("gaussian_learned", "student_t", "laplace")
MASSES = "masses of counts"
DENSITIES = "densities of real numbers"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")


def counts() -> np.ndarray:
    random = np.random.default_rng(0)
    return random.negative_binomial(2, 0.2, size=(160, 6))


def numbers() -> np.ndarray:
    return np.random.default_rng(0).standard_t(3, size=(160, 6)) * 4 + 10


def study_of(likelihoods, **changes) -> dict:
    searched = {"likelihood": {"values": [*likelihoods]}}
    return STUDY | {"search": searched, "budget": {"trials": len(likelihoods)}} | changes


CASES = {
    "counts": (
        counts,
        OF_COUNTS,
        {"scale": "none"},
        {"wide": {"settings": {"likelihood": "poisson", "hidden": [9]}, "title": "wide"}},
        MASSES,
    ),
    "numbers": (
        numbers,
        OF_NUMBERS[:2],
        {"scale": "standard"},
        {"edges": {"settings": {"likelihood": "laplace"}, "title": "Laplace", "at": "best"}},
        DENSITIES,
    ),
}


@pytest.mark.usefixtures("no_figures")
@pytest.mark.slow
@pytest.mark.parametrize(("case", "fuse"), [("counts", "on"), ("numbers", "off")])
def test_likelihoods_of_one_measure_are_searched_and_compared(case, fuse):
    made, likelihoods, data, baselines, measure = CASES[case]
    np.save("mine.npy", made())
    compare = {"parameters": ["likelihood"], "top": 1, "seeds": 3}
    content = study_of(likelihoods, compare=compare, baselines=baselines)
    content["data"] = content["data"] | data
    Path("mine.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    asked = {"device": "cpu", "workers": 1, "compile": "off", "fuse": fuse}
    vaeexp.run_study("mine.yaml", data="mine.npy", **asked)
    view = open_study("mine", Path("mlruns"), None)
    trials = pd.read_csv("reports/mine/trials.csv")
    found = trials.loc[~trials["repeat"], "params.likelihood"]
    assert sorted(found) == sorted(likelihoods)
    assert set(trials["state"]) == {"complete"}
    protocol = view.plan.protocol()
    assert protocol["measure"] == measure
    assert protocol["likelihood"].startswith(f"{likelihoods[0]} or {likelihoods[1]}")
    [baseline] = view.retrained.baselines
    assert baseline.same_protocol == view.confirmed[0].same_protocol
    [row] = baselines.values()
    assert baseline.protocol["likelihood"].startswith(row["settings"]["likelihood"])
    summary = json.loads(Path("reports/mine/summary.json").read_text(encoding="utf-8"))
    [recorded] = summary["protocols"]
    assert recorded["measure"] == measure
    [comparison] = summary["comparisons"]
    assert comparison["parameter"] == "likelihood"
    assert {comparison["first"], comparison["second"]} == set(likelihoods)
    report = Path("reports/mine/README.md").read_text(encoding="utf-8")
    assert "cannot be compared" not in report
    assert report.count("**likelihood**") >= 1


@pytest.mark.parametrize(
    ("change", "recorded"),
    [
        ({"model": {"likelihood": "poisson"}, "search": {"beta": {"values": [1, 2]}}}, False),
        ({}, True),
    ],
)
def test_a_study_learns_from_records_without_a_measure(change, recorded):
    np.save("mine.npy", counts())
    content = study_of(OF_COUNTS, **change)
    content["data"] = content["data"] | {"scale": "none"}
    Path("mine.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    options = SweepOptions(study="mine.yaml", data=Path("mine.npy"))
    facts = _describe_objective(prepare_job(options, StudyLog(Console(file=io.StringIO()))))
    assert ("measure" in facts) == recorded


@pytest.mark.parametrize(
    ("likelihoods", "words"),
    [
        (("bernoulli", "gaussian"), r"bernoulli \(zeros and ones.*\) and gaussian \(real numbers"),
        (("poisson", "gaussian"), r"poisson \(whole numbers from 0\) and gaussian \(real"),
        (("categorical_256", "laplace"), r"categorical_256 \(levels .*\) and laplace \(real"),
        (("bernoulli", "discretised_logistic"), r"bernoulli .* and discretised_logistic \(lev"),
    ],
)
def test_a_search_across_measures_is_refused_before_any_work(likelihoods, words):
    Path("mine.yaml").write_text(yaml.safe_dump(study_of(likelihoods)), encoding="utf-8")
    with pytest.raises(UserError, match=r"(?s)search.likelihood: got " + words) as caught:
        vaeexp.run_study("mine.yaml", data="no_such_file.npy")
    assert "cannot be ranked together" in str(caught.value)
    assert "mine.yaml:" in str(caught.value)
    assert not Path("mlruns").exists()


@pytest.mark.parametrize(
    ("module", "name", "other", "accepted"),
    [
        ("OWN = Sharp", "OWN", "gaussian", False),
        ("OWN = Likelihood(Laplace, head)", "OWN", "gaussian", True),
        ("OWN = Likelihood(Laplace, head)", "OWN", "poisson", False),
    ],
    ids=["undeclared", "declared", "declared otherwise"],
)
def test_an_own_likelihood_is_compared_where_it_declares_its_support(
    tmp_path, monkeypatch, module, name, other, accepted
):
    text = (
        "from torch import nn\n"
        "from vaeexp.models.likelihoods import LIKELIHOODS, Likelihood\n"
        "from vaeexp.models.likelihoods.distributions import Laplace\n"
        "def head(settings, values):\n    return LIKELIHOODS['laplace'].head(settings, values)\n"
        "class Sharp(nn.Module):\n    outputs = 1\n    def __init__(self, settings):\n"
        "        super().__init__()\n"
        "    def forward(self, h):\n        return Laplace(h, 1.0)\n"
    )
    stem = f"own_measure_{abs(hash((module, other)))}"
    Path(f"{stem}.py").write_text(text + module, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    path = f"{stem}:{name}"
    content = yaml.safe_dump(study_of([path, other]))
    if accepted:
        study = open_study_file("mine", text=content)
        assert study.fixed["model"].likelihood == "bernoulli"
        return
    with pytest.raises(UserError, match=re.escape(f"got {path} (")):
        open_study_file("mine", text=content)


def test_every_likelihood_has_one_of_few_measures():
    found: dict[str, set[str]] = {}
    for name in LIKELIHOOD_SUPPORTS:
        for other in {*LIKELIHOOD_SUPPORTS} - {name}:
            try:
                open_study_file("mine", text=yaml.safe_dump(study_of([name, other])))
            except UserError:
                continue
            found.setdefault(name, {name}).add(other)
    levels = {"categorical_256", "discretised_logistic", "discretised_logistic_mixture"}
    real = {*OF_NUMBERS, "gaussian", "continuous_bernoulli"}
    groups = [levels, real, {*OF_COUNTS}]
    assert found == {name: group for group in groups for name in group}
