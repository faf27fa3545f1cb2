"""Nothing is read from a damaged file of a finished run: real damage, the commands, and what mends
it.
"""

import json
import random
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from refusals import refused
from safetensors import safe_open
from sealed import change_marks, change_settings, flip_bit
from tiny_study import NAME
from trials import changed

from sweeps.checksums import Damaged
from sweeps.errors import UserError, warn_once
from sweeps.schema import MARKS, VERSION
from vaeexp.commands import cli
from vaeexp.console import program
from vaeexp.results import stored_study
from vaeexp.results.tables import read_arrays
from vaeexp.run_files import EVALUATION, LAST, PICTURES, RESULT, SETTINGS, WEIGHTS, load_json
from vaeexp.runs.checks import check_files
from vaeexp.runs.comparison import Part, compare_figures
from vaeexp.runs.record import read_record
from vaeexp.runs.reproduce import restore_files
from vaeexp.training.checkpoint import load_model, load_tensors

REPEAT = "repeat-0000"


@pytest.fixture(autouse=True)
def cache_of_study(tiny_study: Path, empty_folder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAEEXP_CACHE", str(tiny_study / "cache"))
    warn_once.cache_clear()


def folder_of(runs: Path, run: str = REPEAT) -> Path:
    return runs / "trials" / NAME / run


def called(tiny_study: Path, runs: Path, *arguments: object) -> Result:
    given = [*arguments, "--runs", runs, "--data", tiny_study / "data", "--device", "cpu"]
    return CliRunner().invoke(cli, list(map(str, given)))


# ---- what loads a model ----


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("file", [WEIGHTS, LAST, SETTINGS])
def test_a_flipped_bit_keeps_a_model_from_being_loaded(runs: Path, file: str, share: float) -> None:
    flip_bit(folder_of(runs) / file, share)
    with pytest.raises(Damaged, match=file) as refusal:
        load_model(folder_of(runs), LAST if file == LAST else WEIGHTS)
    assert "vaeexp reproduce RUN --restore" in refusal.value.problem


def test_every_command_on_a_run_refuses_damaged_weights_in_one_line(
    runs: Path, tiny_study: Path, capsys: pytest.CaptureFixture
) -> None:
    flip_bit(folder_of(runs) / WEIGHTS)
    data, run = ["--data", tiny_study / "data"], f"{NAME}/r0"
    for arguments in (["evaluate", run, *data], ["sample", run], ["export", run, "-o", "out"]):
        said = refused(capsys, *arguments, "--runs", runs)
        assert (
            f"{WEIGHTS}: is damaged: its content does not match its checksum. `{program()} "
            "reproduce" in said
        )
    assert list(Path().iterdir()) == []


# ---- arrays ----


def test_no_array_is_ever_read_from_a_damaged_file(
    runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 1,500 flipped bits the CRC-32 of zip let no wrong array through, but 101 ended in errors
    that no reader of zip expects.
    """
    folder, draw = folder_of(runs), random.Random(3)
    for name in (PICTURES, EVALUATION):
        whole = (folder / name).read_bytes()
        needed = "originals" if name == PICTURES else "neg_elbo_per_image"
        assert read_arrays(folder, needed)
        places = [0, 40, len(whole) // 2, len(whole) - 100, len(whole) - 1]
        for place in [*places, *(draw.randrange(len(whole)) for _ in range(10))]:
            changed = bytearray(whole)
            changed[place] ^= 1 << draw.randrange(8)
            (folder / name).write_bytes(changed)
            assert not read_arrays(folder, needed), place
        (folder / name).write_bytes(whole)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == len(set(lines)), "one line for each file and reason"
    assert all("It is left out; `vaeexp reproduce RUN --restore`" in line for line in lines)


# ---- versions ----


def test_a_file_of_a_higher_schema_is_refused_and_not_called_damaged(
    runs: Path, capsys: pytest.CaptureFixture
) -> None:
    folder, stored = folder_of(runs), stored_study(NAME, runs, None)
    for name in (WEIGHTS, PICTURES, EVALUATION, SETTINGS, RESULT):
        whole = (folder / name).read_bytes()
        change_marks(folder / name, schema=2, version="9.1")
        *findings, _ = check_files(runs, stored)
        (finding,) = (each for each in findings if "schema" in each.words)
        line = (
            f"{folder / name}: is stored in schema 2, and vaeexp {VERSION} reads schema 1. Use "
            "vaeexp 9.1, which wrote it."
        )
        assert (finding.words, finding.repair) == (line, None)
        if name in (PICTURES, EVALUATION):
            with pytest.raises(UserError, match="is stored in schema 2"):
                read_arrays(folder)
        elif name in (WEIGHTS, SETTINGS):
            assert line in refused(capsys, "sample", f"{NAME}/r0", "--runs", runs)
        (folder / name).write_bytes(whole)


def test_files_without_a_number_are_read_and_those_of_arrays_have_one(runs: Path) -> None:
    """As studies of earlier versions left them."""
    folder = folder_of(runs)
    before = read_arrays(folder)
    with zipfile.ZipFile(folder / PICTURES) as file:
        assert json.loads(file.comment).items() >= MARKS.items()
    for name in (PICTURES, EVALUATION):
        change_marks(folder / name)
        with zipfile.ZipFile(folder / name) as file:
            assert file.comment.startswith(b'"sha256": "')
    after = read_arrays(folder)
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    (last,) = check_files(runs, stored_study(NAME, runs, None))
    assert last.ok


def test_the_header_of_weights_is_that_of_earlier_versions(runs: Path) -> None:
    """The records of their studies hold its hash, and `reproduce --restore` makes the same file
    again.
    """
    for name in (WEIGHTS, LAST):
        with safe_open(folder_of(runs) / name, framework="pt") as file:
            assert set(file.metadata()) == {"epoch", "sha256"}


# ---- restore ----


def test_restore_puts_damaged_and_missing_files_back(runs: Path, tiny_study: Path) -> None:
    folder = folder_of(runs)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    flip_bit(folder / WEIGHTS)
    (folder / LAST).unlink()
    flip_bit(folder / SETTINGS)
    flip_bit(folder / PICTURES)
    (folder / RESULT).unlink()
    compared = called(tiny_study, runs, "reproduce", f"{NAME}/r0")
    assert compared.exit_code == 1, compared.output
    assert "cannot be used" in compared.output
    done = called(tiny_study, runs, "reproduce", f"{NAME}/r0", "--restore")
    assert done.exit_code == 0, done.output
    for file in (WEIGHTS, LAST):
        assert (folder / file).read_bytes() == before[file]
    assert "is put back; its SHA-256 is the recorded" in done.output
    assert {path.name for path in folder.iterdir() if path.is_file()} == before.keys()
    assert load_json(folder / SETTINGS)["seed"] == json.loads(before[SETTINGS])["seed"]
    assert read_arrays(folder)
    again = called(tiny_study, runs, "reproduce", f"{NAME}/r0", "--restore")
    assert "is whole and stays as it is" in again.output


@pytest.mark.parametrize("equal", [True, False])
def test_restore_of_a_run_that_left_no_weights_goes_by_its_figures(
    runs: Path, equal: bool, tmp_path: Path
) -> None:
    """A pruned trial leaves settings and result alone. A campaign of faults found that these could
    not be restored.
    """
    record = read_record(f"{NAME}/2", runs, None)
    record = replace(record, trial=changed(record.trial, files={}))
    made, place = Path(shutil.copytree(record.folder, tmp_path / "made")), record.folder
    for file in (WEIGHTS, SETTINGS, PICTURES):
        (place / file).unlink()
    parts = restore_files(record, made, [Part("epochs", "", True), Part("end", "", equal)])
    assert [part.what for part in parts] == [SETTINGS] * equal
    assert (place / SETTINGS).exists() == equal
    assert not (place / WEIGHTS).exists()
    assert not (place / PICTURES).exists()


# ---- evaluate ----


def test_restore_puts_other_weights_beside(runs: Path, tiny_study: Path) -> None:
    folder = folder_of(runs, "trial-0001")
    flip_bit(folder / WEIGHTS)
    damaged = (folder / WEIGHTS).read_bytes()
    done = called(tiny_study, runs, "reproduce", f"{NAME}/1", "--restore", "--precision", "bf16")
    assert done.exit_code == 1, done.output
    assert "on record; it lies beside as reproduced-weights.safetensors" in done.output
    assert (folder / WEIGHTS).read_bytes() == damaged
    assert load_tensors(folder / f"reproduced-{WEIGHTS}")


def test_evaluate_says_whether_the_figures_are_those_of_the_record(
    runs: Path, tiny_study: Path
) -> None:
    done = called(tiny_study, runs, "evaluate", f"{NAME}/r0", "--output", "figures.json")
    assert done.exit_code == 0, done.output
    assert "figures are those of the study's record" in done.output
    assert json.loads(Path("figures.json").read_text())["record"]["agrees"] is True
    folder = Path(shutil.copytree(folder_of(runs), "copied"))
    change_settings(folder, lambda settings: settings.update(study_seed=settings["study_seed"] + 1))
    done = called(tiny_study, runs, "evaluate", folder, "--output", "figures.json")
    assert done.exit_code == 1, done.output
    words = json.loads(Path("figures.json").read_text())["record"]["words"]
    assert words.startswith("differs from the study's record: test/")
    assert words in " ".join(done.output.split())
    assert json.loads(Path("figures.json").read_text())["record"]["agrees"] is False


RECORDED = {
    "test/neg_elbo": 100.0,
    "test/iw_nll": 95.0,
    "test/importance_samples": 50.0,
    "test/fid": 9.0,
}
RECORDED |= {"test/active_units": 7.0, "test_last/neg_elbo": 101.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_what_one_test_image_cannot_tell_agrees_with_itself(value: float) -> None:
    """Standard errors of one image are no numbers, on record and again."""
    figures = {"test/neg_elbo": 100.0, "test/neg_elbo_se": value}
    assert compare_figures(figures, figures, last=False, same=True).agrees is True
    other = figures | {"test/neg_elbo_se": 1.0}
    assert compare_figures(other, figures, last=False, same=True).agrees is False


@pytest.mark.parametrize(
    ("changed", "options", "agrees"),
    [
        ({}, {}, True),
        ({"test/neg_elbo": 100.005}, {}, True),
        ({"test/neg_elbo": 100.05}, {"same": False}, True),
        ({"test/neg_elbo": 100.2}, {"same": False}, False),
        ({"test/neg_elbo": float("nan")}, {}, False),
        ({"test/fid": 12.0}, {}, True),
        ({"test/iw_nll": 90.0}, {}, False),
        ({"test/iw_nll": 90.0, "test/importance_samples": 500.0}, {}, True),
        ({}, {"last": True}, False),
        ({"test/neg_elbo": 101.0}, {"last": True}, True),
    ],
)
def test_figures_differ_where_they_may_not(changed: dict, options: dict, agrees: bool) -> None:
    found = {name: value for name, value in RECORDED.items() if name.startswith("test/")} | changed
    assert (
        compare_figures(found, RECORDED, **{"last": False, "same": True} | options).agrees is agrees
    )
    assert compare_figures(found, {}, last=False, same=True).agrees is None
