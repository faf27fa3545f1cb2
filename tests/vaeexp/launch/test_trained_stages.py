"""A study whose file changes between two sweeps, really trained: what users see of its stages, and
what they cannot do.
"""

import csv
import io
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from mnist_files import write_files
from tiny_study import NAME, STUDY

from sweeps import UserError
from vaeexp.commands import cli
from vaeexp.results import best_of, stored_study

HEAD = STUDY[: STUDY.index("search:")]
FIRST = f"""{HEAD}
search:
  beta: {{low: 0.1, high: 4, log: true}}
  optimizer: {{values: [adam, adamax]}}
seed: 3
sampler: random
pruner: none
budget: {{trials: 6}}
"""
SWEEP = ("--device", "cpu", "--lanes", "2", "--workers", "1", "--threads", "1")
NARROW = ("--set", "search.beta.high=1")


def called(*arguments, status=0):
    done = CliRunner().invoke(cli, list(map(str, arguments)))
    error = done.exception
    found = error.status if isinstance(error, UserError) else done.exit_code
    assert found == status, (done.output, error)
    return " ".join(f"{done.output} {error or ''}".split())


def sweep(*arguments, status=0):
    return called("sweep", f"{NAME}.yaml", *SWEEP, "--data", "data", *arguments, status=status)


@pytest.fixture(scope="module")
def first(tmp_path_factory, empty_store):
    """A folder with a study that was swept with 6 trials."""
    root = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEEXP_OFFLINE", "1")
        patch.setenv("VAEEXP_CACHE", str(root / "cache"))
        patch.chdir(root)
        write_files(root / "data" / "MNIST" / "raw", training=160, test=30)
        (root / f"{NAME}.yaml").write_text(FIRST, encoding="utf-8")
        (root / "mlruns").mkdir()
        shutil.copy(empty_store, root / "mlruns")
        sweep()
        yield root


@pytest.fixture
def here(first, tmp_path, monkeypatch):
    """A copy of this folder."""
    root = tmp_path / "copy"
    shutil.copytree(first, root)
    monkeypatch.chdir(root)
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    monkeypatch.setenv("VAEEXP_CACHE", str(first / "cache"))
    return root


def content(root):
    return (root / "mlruns" / "journal" / f"{NAME}.log").read_bytes()


def test_the_likeliest_mistakes_are_refused_and_write_nothing(here):
    before = content(here)
    changed = sweep(*NARROW, "--trials", "10", status=2)
    assert f"study '{NAME}': the file has changed since its 6 trials (stored → file):" in changed
    assert "search.beta.high: 4.0 → 1.0 " in changed
    assert "of 6 lie inside" in changed
    assert "--extend begins stage 2 with this file; --name NEW begins a new study." in changed
    used = sweep(*NARROW, "--extend", status=2)
    assert "stage 2 has no trial to begin: 6 of 6 are used; give --trials 12" in used
    protocol = sweep("--set", "data.binarisation=static", "--extend", "--trials", "9", status=2)
    assert "binarisation: dynamic → static. Values of the two cannot be compared" in protocol
    assert "--name NEW" in protocol
    planned = sweep(*NARROW, "--trials", "10", "--extend", "--dry-run")
    assert "search.beta.high: 4.0 → 1.0 " in planned
    assert "Stage 2 begins with trial 6." in planned
    assert "Nothing was trained." in planned
    assert content(here) == before


def test_stages_in_the_tables_and_the_first_file_again(here, caplog):
    sweep(*NARROW, "--trials", "8", "--extend")
    assert "Stage 2 begins with trial 6." in caplog.text
    stored = stored_study(NAME, Path("mlruns"), None)
    assert [t.counts for t in stored.trials] == [t.params["beta"] <= 1 for t in stored.trials]
    assert {t.counts for t in stored.trials[:6]} == {True, False}
    outside = next(trial.number for trial in stored.trials if not trial.counts)
    assert best_of(stored).counts
    listed = called("trials", NAME)
    assert "run stage state" in listed
    assert f"– {outside} 1 complete" in listed
    forgotten = sweep("--trials", "10", status=2)
    assert "The last command had `--set search.beta.high=1`: repeat it" in forgotten
    assert "--extend returns to 4.0 as stage 3." in forgotten
    sweep("--trials", "9", "--extend")
    stored = stored_study(NAME, Path("mlruns"), None)
    assert all(trial.counts for trial in stored.trials)
    assert [trial.stage for trial in stored.trials] == [1] * 6 + [2] * 2 + [3]


def test_no_ranking_mixes_batch_sizes(here):
    sweep("--set", "train.batch_size=10", "--trials", "11", "--extend")
    stored = stored_study(NAME, Path("mlruns"), None)
    assert [trial.counts for trial in stored.trials] == [False] * 6 + [True] * 5
    ranked = sorted(stored.trials[:6], key=lambda trial: trial.value)[:3]
    assert [trial.params for trial in stored.trials[6:9]] == [trial.params for trial in ranked]
    assert all(trial.duplicate_of is None for trial in stored.trials)
    page = Path("reports", NAME, "README.md").read_text()
    assert "5 of 11 trials count: the others had batch size 20." in page
    assert "| 2 | 6 | train.batch_size: 20 → 10 | 5 | 5 |" in page
    assert "Settings of stage 1 alone" in page
    shown = called("show", f"{NAME}/3")
    assert "stage 1" in shown
    assert "batch_size 20 (now 10)" in shown
    table = csv.DictReader(io.StringIO(Path("reports", NAME, "trials.csv").read_text()))
    rows = [row for row in table if row["repeat"] == "False"]
    assert [row["stage"] for row in rows] == ["1"] * 6 + ["2"] * 5
    assert [row["counts"] for row in rows] == ["False"] * 6 + ["True"] * 5
    assert {row["fixed.batch_size"] for row in rows[6:]} == {"10"}


def test_a_choice_more_and_a_parameter_more(here, caplog):
    wider = ("--set", "search.optimizer.values=[adam, adamax, adamw]")
    more = ("--set", "search.latent_size={low: 2, high: 8}")
    sweep(*wider, *more, "--trials", "8", "--extend")
    said = " ".join(caplog.text.split())
    assert "optimizer.values: [adam, adamax] → [adam, adamax, adamw]" in said
    assert "model.latent_size: 2 → searched, whole numbers from 2 to 8" in said
    assert "All 6 trials count." in said
    stored = stored_study(NAME, Path("mlruns"), None)
    assert all(trial.counts and "latent_size" in trial.params for trial in stored.trials)
    assert Path("reports", NAME, "README.md").exists()
    page = Path("reports", NAME, "README.md").read_text()
    assert "## Stages of the search" in page
    assert "| 2 | 6 |" in page
    assert "trials count" not in page
