"""Ordinary inputs get no warning and no refusal: what a new doubt must be silent on."""

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from ordinary_inputs import ORDINARY, iris_without_names
from trained_runs import trained_run

from sweeps import UserError
from vaeexp.commands import cli
from vaeexp.data import open_dataset
from vaeexp.launch.fitting import fit_study
from vaeexp.settings import DataSettings

SEEDS = (0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2)))


def silent(text: str) -> None:
    """Take what is said while files are read."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_inputs_open_in_silence(name, seed, tmp_path):
    path, settings = ORDINARY[name](tmp_path, np.random.default_rng(seed))
    groups = None if "split" in settings else settings.get("split_by")
    names = {"labels": settings.get("labels"), "split_by": groups}
    if "split" in settings:  # `init` is not told of times
        fitted = {"dataset": "arrays", "binarisation": "none", "scale": "standard"}
        fitted["scale_per"] = "feature"
    else:
        fitted = fit_study(path, **names, say=silent).data
    data = open_dataset(DataSettings(**fitted | settings), root=path, say=silent)
    assert data.warnings == ()
    assert min(data.sizes) > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_iris_without_names_is_refused_and_no_row_becomes_names(seed, tmp_path):
    path = iris_without_names(tmp_path, np.random.default_rng(seed))
    with pytest.raises(UserError) as refused:
        fit_study(path, labels=None, split_by=None, say=silent)
    assert re.search(r"names", str(refused.value))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Path]:
    """A finished run on a table, and the table."""
    root = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEEXP_CACHE", str(root / "cache"))
        path, _ = ORDINARY["measurements"](root, np.random.default_rng(0))
        scaled = {"dataset": "arrays", "scale": "standard", "scale_per": "feature"}
        folder, _ = trained_run(root, path, epochs=1, model={"likelihood": "gaussian"}, **scaled)
    return folder, path


@pytest.mark.parametrize("ending", ["csv", "parquet", "npz"])
@pytest.mark.parametrize("command", ["encode", "score"])
def test_what_a_command_wrote_is_written_again(command, ending, tmp_path, finished, keep_signals):
    folder, path = finished
    to = tmp_path / f"out.{ending}"
    given = [command, str(folder), str(path), "--to", str(to)]
    given += ["--data", str(path)] if command == "score" else []
    for _ in range(2):
        done = CliRunner().invoke(cli, given, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert to.stat().st_size > 0
