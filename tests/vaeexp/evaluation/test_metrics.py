"""The table of metrics: what it needs, what it names, and that a new row appears everywhere."""

import importlib
import subprocess
import sys

import pytest
from reference_pages import columns

from vaeexp.evaluation import metrics
from vaeexp.evaluation.metrics import METRICS, Metric, measured_at, result_columns
from vaeexp.settings import Settings


def test_it_needs_the_standard_library_alone():
    code = (
        "import sys, vaeexp.evaluation.metrics; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split()) - {"vaeexp", "sweeps"}
    assert not {"torch", "numpy", "pandas", "pydantic", "optuna", "mlflow"} & loaded


@pytest.mark.parametrize("name", METRICS)
def test_a_row_names_a_function_and_settings_that_there_are(name):
    metric = METRICS[name]
    module, _, path = metric.measured.partition(":")
    found = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    assert callable(found)
    assert set(metric.protocol) <= set(Settings().flat())
    assert metric.places
    assert metric.better == "" or metric.kind in ("figure", "course")


def test_a_row_is_enough_for_columns_summary_and_reference_page(monkeypatch):
    row = Metric(
        label="blur",
        in_full="blur of samples",
        meaning="share of samples that are blurred",
        unit="",
        places=("test", "test_last"),
        measured="vaeexp.evaluation.generation:generation_figures",
        better="lower",
    )
    monkeypatch.setitem(metrics.METRICS, "blur", row)
    assert "test/blur" in result_columns()
    assert "blur" in measured_at("test_last", "figure")
    assert (
        "| `result.test/blur` | share of samples that are blurred; lower is better |" in columns()
    )


def test_figures_of_samples_and_reconstructions_are_those_that_their_functions_measure():
    assert metrics.OF_PICTURES == (
        "reconstruction_mse",
        "unexplained_variance",
        "reconstruction_ssim",
        "inception_score",
        "fid",
    )
    assert [METRICS[name].title for name in metrics.OF_PICTURES if METRICS[name].by_classifier] == [
        "IS (classifier)",
        "FID (classifier features)",
    ]
