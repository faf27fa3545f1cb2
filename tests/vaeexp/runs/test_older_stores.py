"""Stores of older versions: opened, scored, reported and continued, or refused with the version
that opens them. `tests/support/stores/0.1.0.tar.xz` is what 0.1.0 left of two small studies.
"""

import json
import re
import tarfile
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from sealed import change_marks, change_settings

from sweeps import VERSION, UserError
from vaeexp.commands import cli
from vaeexp.run_files import SETTINGS
from vaeexp.runs.record import read_record
from vaeexp.runs.run import open_run

STORE = Path(__file__).parents[2] / "support" / "stores" / "0.1.0.tar.xz"
DATA = {"digits": "digits.npz", "sizes": "sizes.csv"}
RUN = Path("mlruns", "trials", "sizes", "trial-0001")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The folder of the store, which is the current folder."""
    with tarfile.open(STORE) as packed:
        packed.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path / "store")
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "store"


def called(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def sweep(study: str, *arguments: str) -> str:
    return called("sweep", study, "--data", DATA[study], "--device", "cpu", *arguments)


def test_the_store_is_small_and_names_no_machine():
    assert STORE.stat().st_size < 1e6
    with tarfile.open(STORE) as packed:
        assert {(entry.uid, entry.uname, entry.gname) for entry in packed} == {(0, "", "")}
        texts = [
            packed.extractfile(entry).read().decode()
            for entry in packed
            if entry.name.endswith((".log", ".json", ".yaml"))
        ]
    assert len(texts) > 10
    for text in texts:
        assert not any(f'"{place}' in text for place in ("/tmp", "/home", "/root", "/work"))
        assert '"node": "' not in text.replace('"node": "host"', "")


@pytest.mark.parametrize("study", DATA)
def test_a_store_of_0_1_0_is_opened_scored_and_reported(store, study):
    assert "3 of 3 trials: 3 complete" in called("status", study)
    trials = called("trials", study)
    assert "r0 complete" in trials
    assert f"{study}/r0" in called("best", study)
    settings = json.loads((store / f"mlruns/trials/{study}/repeat-0000" / SETTINGS).read_text())
    assert settings["version"] == "0.1.0"
    evaluated = called("evaluate", f"{study}/r0", "--data", DATA[study])
    assert settings["fingerprint"] in evaluated
    called("score", f"{study}/best", DATA[study], "--data", DATA[study], "--to", "scores.csv")
    scores = pd.read_csv("scores.csv")
    assert len(scores) == 240
    assert scores["neg_elbo"].notna().all()
    assert called("report", study).endswith(".html")
    table = pd.read_csv(f"reports/{study}/trials.csv")
    assert table["state"].tolist() == ["complete"] * 4
    assert "code" not in table


@pytest.mark.parametrize("study", DATA)
def test_a_trial_of_0_1_0_is_trained_again_to_the_bit_or_close_to_it(store, study):
    said = called("reproduce", f"{study}/1", "--data", DATA[study])
    assert f"{study}/1 " in said
    assert "differs" not in said


@pytest.mark.slow
@pytest.mark.parametrize("study", DATA)
def test_a_study_of_0_1_0_goes_on_with_extend_and_its_runs_are_told_apart(store, study):
    said = sweep(study, "--trials", "4", "--extend")
    assert "vaeexp 0.1.0 (" in said
    assert f"runs from {study}/3 and {study}/r1 on ended under code 2" in said
    table = pd.read_csv(f"reports/{study}/trials.csv")
    assert sorted(table["code"]) == [1, 1, 1, 1, 2]
    assert table.loc[table["number"] == 3, "code"].tolist() == [2]
    again = sweep(study, "--trials", "4")
    assert "is complete" in again


def test_a_study_of_0_1_0_begins_a_stage_and_is_told_of_lost_winners(store):
    command = ("sweep", "digits", "--data", DATA["digits"], "--dry-run", "--trials", "6")
    for change in ("train.batch_size=8", "epochs=3", "hidden=[16]"):
        said = called(*command, "--extend", "--set", change)
        assert "0 trials count, 3 do not, among them digits/" in said, change
        assert "Stage 2 begins with trial 3." in said
    done = CliRunner().invoke(cli, [*command, "--extend", "--set", "validation_size=20"])
    assert "split: " in str(done.exception)
    assert "cannot be compared: give --name NEW" in str(done.exception)
    done = CliRunner().invoke(cli, [*command, "--set", "search.beta.high=1"])
    assert re.search(r"the best so far \(.*, beta = 1\.\d+, ", str(done.exception))
    for change in ("search.beta.high=9", "search.beta.high=2"):
        assert "All 3 trials count." in called(*command, "--extend", "--set", change)


def test_settings_of_figures_do_not_keep_a_study_from_going_on(store):
    for change, kept in (
        ("rate_threshold=0.05", "rate_threshold stays 0.1,"),
        ("importance_samples=20", "importance_samples stays 10,"),
        ("pictures_every=1", "pictures_every stays 5,"),
    ):
        said = called("sweep", "digits", "--data", DATA["digits"], "--dry-run", "--set", change)
        assert kept in said
        assert "is complete" in said


# ---- the first runs, and those of other versions ----


def first_form(settings):
    """Make settings as runs recorded them before they had `values`."""
    settings["image_shape"] = settings.pop("values")["shape"]
    del settings["preparation"]


def test_a_run_that_recorded_the_shape_of_its_images_alone_opens(store):
    folder = store / "mlruns" / "trials" / "digits" / "trial-0001"
    now = open_run("digits/1", Path("mlruns"))
    change_settings(folder, first_form)
    first = open_run("digits/1", Path("mlruns"))
    assert first.values == now.values
    assert called("evaluate", "digits/1", "--data", DATA["digits"])
    for name, tensor in now.vae.state_dict().items():
        assert tensor.equal(first.vae.state_dict()[name])


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ({"version": "0.0.9"}, ". Open it with vaeexp 0.0.9."),
        ({}, ". Open it with the version of vaeexp that trained it."),
        ({"version": VERSION}, "('values')."),
    ],
)
def test_settings_that_are_not_understood_name_the_version_that_wrote_them(store, version, said):
    change_settings(RUN, lambda settings: settings.pop("values"))
    change_marks(RUN / SETTINGS, schema=1, **version)
    for read in (
        lambda: open_run("sizes/1", Path("mlruns")),
        lambda: read_record("sizes/1", Path("mlruns"), None),
    ):
        with pytest.raises(UserError) as error:
            read()
        assert str(error.value).endswith(said)
        assert f"vaeexp {VERSION} reads ('values')" in str(error.value)


# ---- files that are read otherwise now ----

OTHERWISE = "This version of vaeexp reads the files otherwise: − is a minus."


def refused(*arguments: str) -> str:
    """Return what a command says of the table `sizes.csv` that it refuses."""
    done = CliRunner().invoke(cli, [*arguments, "--data", DATA["sizes"]])
    assert isinstance(done.exception, UserError)
    return str(done.exception)


def write_minus(place: int) -> None:
    """Write `sizes.csv` with a minus of typesetters in a row."""
    table = pd.read_csv("sizes.csv")
    number = table.columns[0]
    table[number] = table[number].astype(str)
    table.loc[place, number] = "−0.25"
    table.to_csv("sizes.csv", index=False)


def test_what_is_read_otherwise_now_is_said_of_what_was_made_before(store):
    write_minus(3)
    commands = (["sweep", "sizes"], ["evaluate", "sizes/r0"], ["reproduce", "sizes/1"])
    for command in commands:
        assert OTHERWISE in refused(*command), command
    change_settings(RUN, lambda settings: settings["preparation"].update(edition=2))
    said = refused("evaluate", "sizes/1")
    assert "other images" in said
    assert "otherwise" not in said


@pytest.mark.slow
def test_what_differs_in_truth_is_not_said_to_be_read_otherwise(store):
    write_minus(3)
    sweep("sizes", "--name", "now", "--trials", "1")
    write_minus(4)
    for command in (["sweep", "sizes", "--name", "now"], ["evaluate", "now/0"]):
        said = refused(*command)
        assert "sizes.csv" in said, command
        assert "otherwise" not in said, command
