"""A study may change itself for the digits that come with vaeexp, a small part of MNIST."""

import io
from pathlib import Path

import pytest
from click.testing import CliRunner
from mnist_files import write_files
from rich.console import Console

from sweeps.errors import UserError
from vaeexp.commands import cli
from vaeexp.launch.job import Job, prepare_job
from vaeexp.launch.options import SweepOptions
from vaeexp.launch.run import plan_sweep
from vaeexp.launch.study_log import StudyLog
from vaeexp.study import data_of, open_study_file

SUBSET = 'subset=["hidden=[16]", train.batch_size=40, confirm.seeds=5]'


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    monkeypatch.delenv("VAEEXP_DATA", raising=False)


def asked(*overrides: str, data: Path | None = None) -> SweepOptions:
    return SweepOptions("smoke", overrides=overrides, data=data, device="cpu", compile="off")


def prepared(*overrides: str, data: Path | None = None) -> Job:
    return prepare_job(asked(*overrides, data=data), StudyLog(Console(quiet=True)))


def test_the_changes_hold_on_the_bundled_digits_and_options_come_after_them():
    job = prepared(SUBSET, "confirm.seeds=4")
    assert (job.settings.model.hidden, job.settings.train.batch_size) == ((16,), 40)
    assert job.study.confirm.seeds == 4
    assert job.study.spec()["train"]["batch_size"] == 40
    console = Console(file=io.StringIO(), width=200)
    plan_sweep(asked(SUBSET), StudyLog(console))
    words = "On this subset the study changes: hidden=[16], train.batch_size=40, confirm.seeds=5"
    assert words in console.file.getvalue()


def test_the_whole_of_a_set_leaves_a_study_as_its_file_has_it(tmp_path):
    write_files(tmp_path / "data" / "MNIST" / "raw", training=160, test=30)
    small = ("validation_size=40", "train_size=120", "batch_size=20")
    job = prepared(*small, SUBSET, data=tmp_path / "data")
    assert job.settings.train.batch_size == 20
    assert job.settings.model.hidden != (16,)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("train.batc=3", "train.batc: unknown setting. Did you mean 'batch_size'"),
        ("data.binarisation=none", "smoke.yaml: subset: changes the data"),
        ("epochs=0", "train.epochs"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused(change, says):
    with pytest.raises(UserError, match=says):
        prepared(f"subset=[{change}]")
    for command in (["show", "smoke"], ["slurm", "smoke", "--time", "1:00:00"]):
        done = CliRunner().invoke(cli, [*command, "--set", f"subset=[{change}]"])
        assert says in str(done.exception)


GREY = ("data.binarisation=none", "model.likelihood=gaussian")


def test_a_change_of_the_data_sets_that_are_searched_is_refused():
    with pytest.raises(UserError, match="subset: changes the data"):
        prepared(*GREY, 'subset=["search.scale.values=[unit, range]"]')


def test_a_change_may_drop_the_one_baseline_that_needs_data_of_its_own():
    text = (
        "extends: smoke\nquestion: Which?\nsubset: [baselines=null]\n"
        "baselines: {anew: {title: drawn anew, settings: {binarisation: dynamic}}}\n"
    )
    options = SweepOptions("mine", device="cpu", compile="off")
    job = prepare_job(options, StudyLog(Console(quiet=True)), text)
    assert [*data_of(open_study_file("mine", text=text))] == ["static", "dynamic"]
    assert [*job.datasets] == ["static"]


def test_a_study_that_drops_a_part_drops_the_changes_to_it():
    text = "extends: beta_mnist\nquestion: Which?\nconfirm: null\ncompare: null\n"
    study = open_study_file("mine", text=text, subset=True)
    assert (study.confirm, study.compare) == (None, None)
    assert study.fixed["train"].batch_size == 32
    assert not [change for change in study.subset if change.startswith(("confirm", "compare"))]


def test_show_says_what_changes_on_a_small_part_of_the_data():
    done = CliRunner().invoke(cli, ["show", "smoke", "--set", SUBSET])
    said = " ".join(done.output.split())
    assert "subset hidden=[16]; train.batch_size=40; confirm.seeds=5" in said


def test_slurm_names_a_study_as_sweep_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["slurm", "smoke", "--time", "1:00:00", "--set", SUBSET, "--name", "mine"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "mine.sbatch").exists()
