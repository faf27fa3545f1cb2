"""A trial trained again from its record: it matches to the bit, and whatever was changed on record
or in its folder shows.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from mnist_files import write_files
from refusals import refused
from safetensors.torch import load_file
from sealed import change_settings, change_tensors
from tiny_study import NAME
from trials import changed, make_trial

from sweeps.lanes import Failure, Outcome
from sweeps.state.trial import Epoch, Trial
from sweeps.storage import open_storage
from sweeps.storage.checked_records import record_line
from vaeexp.commands import cli, main
from vaeexp.results import parse_run
from vaeexp.runs.comparison import Criterion, choose_criterion, compare

EXACT = Criterion(True, "")
OTHER = Criterion(False, "")


@pytest.fixture(autouse=True)
def nothing_left(
    tmp_path: Path, tiny_study: Path, empty_folder: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A folder for temporary files, which must be empty in the end as the working directory
    must.
    """
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("VAEEXP_CACHE", str(tiny_study / "cache"))
    yield
    assert [*(tmp_path / "temporary").iterdir(), *(tmp_path / "here").iterdir()] == []


def reproduce(root: Path, trial: str, *options: object, runs: Path | None = None) -> Result:
    arguments = ["reproduce", f"{NAME}/{trial}", "--runs", runs or root / "mlruns", *options]
    if "--data" not in options:
        arguments += ["--data", root / "data"]
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tamper(runs: Path, trial: str, change: Callable[[dict], None]) -> None:
    """Change the lines of the journal that belong to a trial; one that is cleared is left out."""
    journal = runs / "journal" / f"{NAME}.log"
    repeat, number = trial.startswith("repeat"), int(trial[-4:])
    place = f"{NAME}.repeats" if repeat else NAME
    storage = open_storage(None, runs, NAME, must_exist=True)
    identity = storage.get_all_trials(storage.get_study_id_from_name(place))[number]._trial_id
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    before = json.dumps(lines)
    # Without an identity: they are counted.
    made = [line for line in lines if "intermediate_values" in line]
    for line in lines:
        if line.get("trial_id") == identity or line is made[identity]:
            change(line)
    assert json.dumps(lines) != before
    for line in lines:
        line.pop("crc32", None)
    journal.write_bytes(b"".join(record_line(line) for line in lines if line))


def attribute(name: str, change: Callable) -> Callable[[dict], None]:
    """Change a user attribute of a trial where the journal sets it."""

    def changed(line: dict) -> None:
        if name in line.get("user_attr", {}):
            line["user_attr"][name] = change(line["user_attr"][name])

    return changed


# ---- what was not touched matches ----


def test_a_complete_trial_matches_to_the_bit_in_a_process_like_those_of_a_sweep(
    tiny_study: Path,
) -> None:
    before = contents(tiny_study / "mlruns")
    done = reproduce(tiny_study, "trial-0001")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].startswith(f"{NAME}/1: complete after 4 epochs, seed ")
    assert "on cpu (float32, fuse off, compile off, threads 1)" in lines[1]
    assert lines[2].startswith("It should match bit for bit: ")
    found = {line.split("  ")[0]: line for line in lines if "  agrees  " in line}
    assert found["epochs"].endswith("4 of 4 equal, bit for bit")
    assert found["weights"].endswith("13 tensors equal, bit for bit")
    assert found["final figures"].endswith("best_epoch, parameters: as on record")
    assert lines[-1] == f"{NAME}/1 matches its record."
    assert contents(tiny_study / "mlruns") == before


@pytest.mark.parametrize(
    ("trial", "says"),
    [
        (
            "0",
            [
                "failed after 2 epochs",
                "fails in epoch 3, diverged",
                "9 tensors equal",
            ],
        ),
        ("2", ["pruned after 2 epochs, as on record", "2 of 2 equal, bit for bit"]),
        ("3", [f"{NAME}/3 took the result of {NAME}/1", "4 of 4 equal"]),
        (
            "r0",
            [
                "test/iw_nll",
                "test_last/used_dimensions: as on record",
                "last weights",
            ],
        ),
    ],
)
def test_every_kind_of_ending_is_reached_again(
    tiny_study: Path, in_this_process, trial: str, says: list
) -> None:
    before = contents(tiny_study / "mlruns")
    done = reproduce(tiny_study, trial)
    assert done.exit_code == 0, done.output
    for words in says:
        assert words in done.output
    assert done.output.rstrip().endswith("matches its record.")
    assert contents(tiny_study / "mlruns") == before


def test_an_epoch_that_took_too_long_is_not_tried_again(
    tiny_study: Path, runs: Path, in_this_process: None
) -> None:
    failure = {"kind": "timed_out", "message": "its epoch was not done after 15 seconds in epoch 3"}
    tamper(runs, "trial-0000", attribute("outcome", lambda ending: ending | {"failure": failure}))
    done = reproduce(tiny_study, "0", runs=runs)
    assert "2 of 2 equal, bit for bit" in done.output
    assert "not tried, because a limit on time ended the trial" in done.output


def test_without_its_folder_a_trial_is_trained_from_the_study(tiny_study: Path, runs: Path) -> None:
    shutil.rmtree(runs / "trials" / NAME / "trial-0001")
    tamper(runs, "trial-0001", attribute("folder", lambda folder: f"{folder}-gone"))
    done = reproduce(tiny_study, "1", runs=runs)
    assert done.exit_code == 0, done.output
    assert "4 of 4 equal, bit for bit" in done.output
    assert "the run has left no weights.safetensors" in done.output


def test_a_study_that_was_changed_since_does_not_change_what_its_runs_were(
    tiny_study: Path, runs: Path
) -> None:
    storage = open_storage(None, runs, NAME, must_exist=True)
    study = storage.get_study_id_from_name(NAME)
    spec = storage.get_study_user_attrs(study)["spec"]
    spec["train"]["epochs"] = 9
    storage.set_study_user_attr(study, "spec", spec)
    done = reproduce(tiny_study, "1", runs=runs)
    assert done.exit_code == 0, done.output
    assert "4 of 4 equal, bit for bit" in done.output


def test_another_precision_is_compared_with_the_spread_of_seeds(
    tiny_study: Path, runs: Path
) -> None:
    done = reproduce(tiny_study, "1", "--precision", "bf16", runs=runs)
    assert done.exit_code == 0, done.output
    assert "It should match within the spread of seeds: precision bf16 instead of" in done.output
    assert "differ first at epoch 1, " in done.output
    assert "standard deviation over seeds unknown: no setting has two of them" in done.output
    assert "tensors differ, the first is " in done.output
    assert done.output.rstrip().endswith("matches its record where the two can be compared.")


# ---- what was changed shows ----


def seed(line: dict) -> None:
    if "user_attrs" in line:
        line["user_attrs"]["seed"] += 1


def value_of_epoch_3(line: dict) -> None:
    if line.get("step") == 3:
        line["intermediate_value"] += 1e-9


def failing_in_epoch_4(line: dict) -> None:
    failure = {"kind": "diverged", "message": "by decree"}
    attribute(
        "outcome", lambda ending: ending | {"state": "failed", "epoch": 4, "failure": failure}
    )(line)
    if line.get("step") == 4:
        line.clear()


def with_another_rate(epoch: dict) -> dict:
    return epoch | {
        "metrics": epoch["metrics"] | {"train/rate": epoch["metrics"]["train/rate"] * 1.001}
    }


def last_rate(results: dict) -> dict:
    return results | {"test_last/rate": results["test_last/rate"] * 1.001}


CHANGES = {
    "a value": ("trial-0001", value_of_epoch_3, "epochs differ first at epoch 3, −ELBO "),
    "a measure": (
        "trial-0001",
        attribute("epoch/2", with_another_rate),
        "epochs differ first at epoch 2, train/rate ",
    ),
    "the seed": ("trial-0002", seed, "epochs differ first at epoch 1, −ELBO "),
    "the best epoch": (
        "trial-0001",
        attribute("results", lambda own: own | {"best_epoch": 3.0}),
        "final figures best_epoch 4 instead of 3",
    ),
    "a figure of the last epoch": (
        "repeat-0000",
        attribute("results", last_rate),
        "final figures test_last/rate ",
    ),
    "how it failed": (
        "trial-0000",
        attribute("outcome", lambda own: own | {"epoch": 4}),
        "end fails in epoch 3, diverged",
    ),
    "that it failed": (
        "trial-0001",
        failing_in_epoch_4,
        "end complete after 4 epochs; on record: fails in epoch 4, diverged (by decree)",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_on_record_is_found_out(tiny_study: Path, runs: Path, change: str) -> None:
    trial, tampering, says = CHANGES[change]
    tamper(runs, trial, tampering)
    done = reproduce(tiny_study, trial, runs=runs)
    assert done.exit_code == 1, done.output
    assert done.output.splitlines()[-1].startswith(
        f"{parse_run(f'{NAME}/{trial}')} DIFFERS from its record: {says}"
    )
    if change == "a value":
        assert "differs: epoch 3, −ELBO " in done.output, (
            "at once, and not after the last epoch only"
        )


def test_changed_weights_and_settings_are_found_out(tiny_study: Path, runs: Path, capsys) -> None:
    folder = runs / "trials" / NAME / "trial-0001"
    name = sorted(load_file(folder / "weights.safetensors"))[0]
    change_tensors(
        folder / "weights.safetensors", lambda tensors: tensors[name].view(-1)[0].add_(0.5)
    )
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, given("1", runs, tiny_study / "data"))))
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert f"weights        DIFFERS  1 of 13 tensors differ, the first is {name}" in said.out
    assert said.err == "", "a difference is no bug"


# ---- what cannot be done ----


def given(trial: str, runs: Path, data: Path) -> list[object]:
    return ["reproduce", f"{NAME}/{trial}", "--runs", runs, "--data", data]


def test_other_images_are_refused_with_both_fingerprints(
    tiny_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    write_files(tmp_path / "data" / "MNIST" / "raw", training=160, test=30, seed=1)
    said = refused(capsys, *given("1", tiny_study / "mlruns", tmp_path / "data"))
    own = json.loads(
        (tiny_study / "mlruns/trials" / NAME / "trial-0001/settings.json").read_text()
    )["fingerprint"]
    mine, other = re.findall(r"[0-9a-f]{12}", said)
    assert mine == own[:12] != other
    assert "--data" in said


def test_what_has_not_ended_or_is_not_there_is_refused(
    tiny_study: Path, runs: Path, capsys
) -> None:
    storage = open_storage(None, runs, NAME, must_exist=True)
    study = storage.get_study_id_from_name(NAME)
    storage.set_trial_user_attr(storage.create_new_trial(study), "seed", 5)
    storage.create_new_trial(study)
    for trial, says in {
        "4": f"{NAME}/4: has not ended yet",
        "5": "was not made by `vaeexp sweep`",
        "99": f"study '{NAME}' has no {NAME}/99. It has {NAME}/0 to {NAME}/5.",
        "r7": f"It has {NAME}/r0 to {NAME}/r0.",
    }.items():
        assert says in refused(capsys, *given(trial, runs, tiny_study / "data"))


def test_a_device_that_is_not_here_is_named(
    tiny_study: Path, runs: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = runs / "trials" / NAME / "trial-0001"
    change_settings(
        folder, lambda settings: settings["arithmetic"].update(device="mps", processor="M")
    )
    said = refused(capsys, *given("1", runs, tiny_study / "data"))
    assert f"got mps, which this machine does not have. Try cpu. {NAME}/1 was trained there" in said


# ---- the comparison itself ----

HERE = {"device": "cpu", "processor": "A", "precision": "float32", "fuse": "off", "compile": "off"}
HERE |= {"threads": 2, "torch": "2"}


@pytest.mark.parametrize(
    ("recorded", "here", "exact"),
    [
        ({}, {}, True),
        ({"threads": 1}, {}, False),
        ({"compile": "on", "torch": None}, {}, False),
        ({"device": "cuda", "processor": "C", "threads": None, "precision": "bf16"}, {}, False),
        ({"device": "cuda", "processor": "C"}, {"device": "cuda", "processor": "C"}, False),
    ],
)
def test_what_is_asked_depends_on_what_is_the_same(recorded: dict, here: dict, exact: bool) -> None:
    found = choose_criterion(HERE | recorded, HERE | here)
    assert found.exact is exact
    assert all(name in found.why for name in recorded if not here)


@pytest.mark.parametrize(("spread", "agrees"), [(0.1, True), (0.02, False), (float("nan"), None)])
def test_the_best_value_may_differ_as_that_of_another_seed(
    spread: float, agrees: bool | None
) -> None:
    record = recorded()
    again = changed(record, epochs=(replace(record.epochs[0], objective=5.1),))
    parts = compare(record, again, (None, None), OTHER, spread)
    found = {part.what: part.agrees for part in parts}
    assert found == {"epochs": None, "best −ELBO": agrees, "end": True}


def epoch_record(epoch: int, objective: float, metrics: dict[str, float] | None = None) -> Epoch:
    return Epoch(epoch=epoch, objective=objective, metrics=metrics or {}, at=None)


def recorded(failure: Failure | None = None, state: str = "complete", **metrics: float) -> Trial:
    ending, epoch = ("failed", 2) if failure else (state, 1)
    outcome = Outcome(state=ending, epoch=epoch, objective=5.0, failure=failure)
    epochs = (epoch_record(1, 5.0, {"train/loss": 6.0, "seconds": 1.0}),)
    nothing = {"started": None, "ended": None, "pictures": (), "folder": None}
    first = {"number": 0, "repeat": False, "state": "complete", "params": {}, "seed": 0}
    return make_trial(**first, **nothing, outcome=outcome, epochs=epochs, results=metrics)


def findings(record: Trial, again: Trial, wanted: Criterion = EXACT) -> dict[str, tuple]:
    return {
        found.what: (found.agrees, found.words)
        for found in compare(record, again, (None, None), wanted, 0.0)
    }


def test_a_failure_that_does_not_come_again_is_a_difference() -> None:
    crashed = Failure(kind="crashed", message="its process ended")
    agrees, words = findings(recorded(crashed), recorded())["end"]
    assert (agrees, words.partition(";")[0]) == (False, "complete after 1 epochs")
    assert (
        findings(recorded(crashed), recorded(replace(crashed, message="otherwise")))["end"][0]
        is True
    )
    diverged = replace(crashed, kind="diverged")
    assert findings(recorded(crashed), recorded(diverged))["end"][0] is False
    assert findings(recorded(), recorded(diverged))["end"][0] is False


def test_a_trial_that_would_go_on_or_ends_by_itself_is_a_difference_of_bits_alone() -> None:
    for record, again in (("complete", "pruned"), ("pruned", "complete")):
        assert findings(recorded(state=record), recorded(state=again))["end"][0] is False
        assert findings(recorded(state=record), recorded(state=again), OTHER)["end"][0] is None


def test_times_and_the_classifier_do_not_count() -> None:
    one = recorded(**{"test/fid": 1.0, "parameters": 9.0})
    other = recorded(**{"test/fid": 1.1, "parameters": 9.0})
    slower = replace(other.epochs[0], metrics={"train/loss": 6.0, "seconds": 9.0})
    found = findings(one, changed(other, epochs=(slower,)))
    assert found["epochs"][0] is True
    assert found["final figures"][0] is True
    assert not [words for agrees, words in found.values() if agrees is False]


def test_a_final_figure_that_changed_or_is_missing_is_a_difference() -> None:
    record = recorded(**{"test/neg_elbo": 4.0})
    other = findings(record, recorded(**{"test/neg_elbo": 4.0 - 1e-6}))["final figures"]
    assert other == (False, "test/neg_elbo 3.999999 instead of 4, by 1e-06")
    lacking = changed(record, epochs=(replace(record.epochs[0], metrics={}),), results={})
    found = findings(record, lacking)
    assert found["epochs"] == (False, "differ first at epoch 1, train/loss is on record alone")
    assert found["final figures"] == (False, "test/neg_elbo is on record alone")
    assert findings(record, changed(record, epochs=()))["epochs"][0] is False
