"""A study whose paused trials are revived by a larger budget, really trained: on this machine, and
on another one from its archive.
"""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from mnist_files import write_files
from tiny_study import NAME, STUDY

from vaeexp.commands import cli
from vaeexp.results import stored_study
from vaeexp.results.tables import study_tables
from vaeexp.run_files import CHECKPOINT, WEIGHTS

HEAD = STUDY[: STUDY.index("search:")].replace("train: {epochs: 4", "train: {epochs: 5")
RATES = [0.01, 0.008, 0.006, 0.004, 0.002, 0.001, 1e-4, 8e-5, 6e-5, 4e-5, 2e-5, 1e-5]
"""The later trials are worse, so that more of the first ones go on."""
PROMOTED = f"""{HEAD}
search:
  learning_rate: {{low: 1.0e-5, high: 0.01, log: true}}
start: {json.dumps([{"learning_rate": rate} for rate in RATES])}
seed: 3
sampler: random
pruner: {{name: promotion, rungs: [1, 2], factor: 2}}
budget: {{trials: 6}}
keep: {{pruned: weights}}
"""
SWEEP = ("--device", "cpu", "--lanes", "2", "--workers", "1", "--threads", "1")


def called(*arguments, status=0):
    done = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done.output


def numbers(runs):
    """The tables of a study without times and folders."""
    results = study_tables(stored_study(NAME, Path(runs), None), Path(runs))
    of_time = ["folder", "started", "ended", "seconds"]
    epochs = results.epochs.drop(columns=["seconds", "images_per_second", "memory_mb"])
    return results.trials.drop(columns=of_time), epochs


@pytest.fixture(scope="module")
def swept(tmp_path_factory, empty_store):
    """A folder with a study that was swept with 6 trials and archived."""
    root = tmp_path_factory.mktemp("revived")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEEXP_OFFLINE", "1")
        patch.setenv("VAEEXP_CACHE", str(root / "cache"))
        patch.chdir(root)
        write_files(root / "data" / "MNIST" / "raw", training=160, test=30)
        (root / f"{NAME}.yaml").write_text(PROMOTED, encoding="utf-8")
        (root / "mlruns").mkdir()
        shutil.copy(empty_store, root / "mlruns")
        called("sweep", f"{NAME}.yaml", "--data", "data", *SWEEP)
        called("archive", NAME, "study.tar.zst")
    return root


@pytest.fixture
def place(swept, monkeypatch, tmp_path):
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    monkeypatch.setenv("VAEEXP_CACHE", str(swept / "cache"))
    monkeypatch.setattr(
        "vaeexp.runs.reproduce.WorkerPool", lambda factory, given: factory(**given[0])
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_larger_budget_revives_trials_here_and_from_an_archive(
    swept, place, keep_signals, no_figures
):
    left = [*(swept / "mlruns" / "trials" / NAME).glob(f"*/{CHECKPOINT}")]
    assert len(left) > 1, "checkpoints outlive the end of the study"
    shutil.copytree(swept / "mlruns", place / "here")
    shutil.copytree(swept / "mlruns", place / "lost")
    assert (
        called("gc", NAME, "--checkpoints", "--runs", "here")
        .splitlines()[-1]
        .startswith("Freed 0 files")
    )
    freed = called("gc", NAME, "--paused", "--runs", "lost").splitlines()[-1]
    assert freed.startswith(f"Freed {len(left)} files"), freed
    called("restore", swept / "study.tar.zst", "--runs", "there", "--reports", "elsewhere")
    assert len([*(place / "there" / "trials" / NAME).glob(f"*/{CHECKPOINT}")]) == len(left), (
        "the archive has them"
    )
    for runs in ("here", "lost", "there"):
        called(
            *(
                "sweep",
                swept / f"{NAME}.yaml",
                "--data",
                swept / "data",
                *SWEEP,
                "--trials",
                "12",
                "--extend",
            ),
            *("--runs", runs, "--reports", f"reports-{runs}"),
        )
    stored = stored_study(NAME, Path("here"), None)
    revived = [trial for trial in stored.trials if trial.before is not None]
    whole = [trial for trial in revived if trial.state == "complete"]
    assert len(stored.trials) == 12
    assert whole
    for runs in ("lost", "there"):
        for ours, theirs in zip(numbers("here"), numbers(runs), strict=True):
            assert ours.equals(theirs), "with a checkpoint or without: the same table"
        for trial in whole:
            weights = [
                Path(r, "trials", NAME, f"trial-{trial.number:04d}", WEIGHTS)
                for r in ("here", runs)
            ]
            assert weights[0].read_bytes() == weights[1].read_bytes()
    for trial in whole:
        assert f"{NAME}/{trial.number} matches its record" in called(
            *("reproduce", f"{NAME}/{trial.number}", "--data", swept / "data", "--runs", "here")
        )
    shown = called("show", f"{NAME}/{whole[0].number}", "--runs", "here")
    assert ["revives", str(whole[0].before.number)] in [line.split() for line in shown.splitlines()]
    assert "12 of 12 trials" in called("status", NAME, "--runs", "here")
    assert sum(len(trial.chain) for trial in stored.trials) == 12 + len(revived)
    report = Path("reports-here", NAME, "README.md").read_text(encoding="utf-8")
    assert "12 trials" in report
