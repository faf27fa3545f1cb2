"""The path of a newcomer, from README to a generated picture in a notebook: a real kernel, and what
a person sees at each step.
"""

import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from command_line import Swept, without_mnist
from notebooks import NOTEBOOK, ROOT, Shown, execute, show, shown

NETWORK = """
from torch import nn

class Net:
    def encoder(self, settings, image_shape, outputs):
        return nn.Sequential(nn.Flatten(), nn.Linear(784, outputs))

    def decoder(self, settings, image_shape, latent_size, parameters):
        return nn.Sequential(nn.Linear(latent_size, parameters * 784), nn.Unflatten(1, (parameters, 28, 28)))
"""  # noqa: E501
ARGUMENTS = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--width", {option})
args = parser.parse_args()
"""
STUDY = """
import vaeexp

study = {
    "question": "Does a notebook take its own network?",
    "data": {"dataset": "mnist", "train_size": 100},
    "train": {"epochs": 1, "batch_size": 50},
    "evaluation": {"importance_samples": 5},
    "search": {"beta": {"low": 0.5, "high": 2.0}},
    "budget": {"trials": 2},
}
options = {"workers": 1, "lanes": 2, "compile": "off"}
"""


def test_the_pages_lead_from_the_readme_to_the_notebook() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "docs/guide/notebook.md)" in readme
    guide = (ROOT / "docs" / "guide" / "notebook.md").read_text(encoding="utf-8")
    assert "(../examples/notebook.ipynb)" in guide


def test_the_notebook_was_executed_and_shows_what_it_shows_today() -> None:
    cells = [
        cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"
    ]
    assert all(cell.execution_count for cell in cells)
    check_steps([shown(cell) for cell in cells])


def check_steps(steps: list[Shown]) -> None:
    """Check what a person sees below each cell of the notebook."""
    assert not [step.error for step in steps if step.error]
    assert not [step for step in steps if "\x1b" in step.lines + step.bar]
    run, study, params, table, curves, plot, pictures = steps
    lines = run.lines.splitlines()
    assert len(lines) == len(set(lines)), "each line once"
    assert not run.kinds
    assert "smoke: Does everything work, from the study file to the report?" in lines
    assert "Report: reports/smoke/report.html" in lines[-3:]
    assert not [line for line in lines if line.startswith("[")], "the bar counts the trials"
    assert re.match(r"smoke: confirm, compare and baselines: \S+ 5/5 ", run.bar)
    assert "text/markdown" in study.kinds
    assert params.value.startswith("{'beta': ")
    assert "objective" in table.value
    assert "val/rate" in curves.value
    assert "image/png" in plot.kinds
    assert "image/png" in pictures.kinds


@pytest.fixture
def place(tmp_path: Path, empty_store: Path, swept_smoke: Swept) -> Path:
    (tmp_path / "mlruns").mkdir()
    shutil.copy(empty_store, tmp_path / "mlruns")
    swept_smoke.copy_cache_to(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_notebook_runs_and_its_study_has_its_lines_on_file(place: Path) -> None:
    executed = execute(nbformat.read(NOTEBOOK, as_version=4), place, without_mnist(place))
    steps = [shown(cell) for cell in executed.cells if cell.cell_type == "code"]
    check_steps(steps)
    log = (place / "mlruns" / "logs" / "smoke.txt").read_text(encoding="utf-8")
    assert "[8/8]  smoke/" in log
    assert "[5/5]  smoke/r" in log
    for line in steps[0].lines.splitlines():
        assert log.count(f"  {line}\n") == 1, line


@pytest.mark.slow
def test_own_networks_in_a_notebook_work_or_one_line_names_the_way(place: Path) -> None:
    (place / "defaults.py").write_text(ARGUMENTS.format(option="type=int, default=8") + NETWORK)
    (place / "required.py").write_text(ARGUMENTS.format(option="required=True") + NETWORK)
    cells = [
        STUDY + NETWORK,
        'vaeexp.run_study(study | {"network": Net}, name="cell", **options)',
        f"%%writefile nets.py\n{NETWORK}",
        'import nets\nown = vaeexp.run_study(study | {"network": nets.Net}, name="written", '
        "**options)",
        "print(own.best_params)\nprint(own.best_model().sample(16).mean.shape)",
        'vaeexp.run_study(study | {"network": "defaults:Net"}, name="defaults", **options)',
        'vaeexp.run_study(study | {"network": "required:Net"}, name="required", **options)',
        f"!{sys.executable} -P -m vaeexp sweep written --trials 3 --workers 1 --lanes 2 "
        "--compile off",
        'vaeexp.load_study("written")',
    ]
    _, cell, _, written, own, defaults, required, _, continued = show(
        cells, place, without_mnist(place)
    )
    assert "%%writefile nets.py" in cell.error
    assert "'nets:Net'" in cell.error
    assert len(cell.error.splitlines()) == 1
    assert "2/2" in written.bar
    assert own.lines.startswith("{'beta': ")
    assert "[16, 1, 28, 28]" in own.lines
    assert "2 trials (2 complete)" in defaults.value
    assert "ends the process (exit status 2)" in required.error
    assert len(required.error.splitlines()) == 1
    assert continued.value.startswith("written: 3 trials (3 complete)")
    assert sorted(path.name for path in (place / "mlruns" / "trials").iterdir()) == [
        "defaults",
        "written",
    ]
