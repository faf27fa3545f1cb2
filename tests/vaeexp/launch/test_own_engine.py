"""An engine from outside, by one class and one row, runs a study to its report."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from mnist_files import write_files
from rich.console import Console

import vaeexp
from sweeps.lanes.engines import ENGINES
from vaeexp.launch.options import SweepOptions
from vaeexp.launch.run import run_sweep
from vaeexp.launch.study_log import StudyLog

STUDY = {
    "question": "Does it learn?",
    "data": {"dataset": "mnist", "binarisation": "dynamic", "validation_size": 40},
    "model": {"network": "mlp", "hidden": [16], "latent_size": 2},
    "train": {"epochs": 2, "batch_size": 20},
    "evaluation": {"importance_samples": 7},
    "search": {"learning_rate": {"values": [0.01, 0.003]}},
    "sampler": "grid",
    "pruner": "none",
    "budget": {"trials": 2},
}


@pytest.mark.slow
def test_a_study_on_an_engine_of_somebody_else_s_reaches_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path, no_figures: None
) -> None:
    write_files(tmp_path / "data" / "MNIST" / "raw", training=160, test=30)
    (tmp_path / "mlruns").mkdir()
    shutil.copy(empty_store, tmp_path / "mlruns")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(ENGINES, "threads", "thread_engine:open_threads")
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(STUDY))
    options = SweepOptions(
        "toy.yaml", data=Path("data"), device="cpu", workers=2, lanes=2, html=False
    )
    run_sweep(replace(options, engine="threads"), StudyLog(Console(file=io.StringIO())))
    assert list(vaeexp.load_study("toy").trials["state"]) == ["complete", "complete"]
    assert (tmp_path / "reports" / "toy" / "README.md").is_file()
