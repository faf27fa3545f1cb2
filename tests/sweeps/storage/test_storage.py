"""Where studies are kept: what opens, what is refused and with which words, who holds a study."""

import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from killed_search import PATHS
from pydantic import BaseModel, ConfigDict
from toy_lanes import ToyLanes
from toy_study import Fixed, in_memory, search, toy_study

from sweeps.errors import UserError, full_disk
from sweeps.schema import VERSION
from sweeps.state.record import StudyRecord
from sweeps.storage import (
    check_definition,
    keep_figures,
    open_storage,
    open_study,
    storage_errors_as_user_errors,
    study_names,
)
from sweeps.storage.checked_records import record_line
from sweeps.storage.journal import lock_holder, open_journal, study_lock
from sweeps.storage.optuna_internals import batched_writes
from sweeps.storage.study_record import study_record

# ---- journal files ----


def test_a_journal_is_made_and_found_again(tmp_path):
    study = toy_study()
    open_study(open_storage(None, tmp_path, "toy"), study)
    assert (tmp_path / "journal" / "toy.log").is_file()
    assert study_names(tmp_path) == ["toy"]
    again = open_storage(None, tmp_path, "toy", must_exist=True)
    assert again.get_all_studies()[0].user_attrs["question"] == "What is it?"


def test_looking_at_a_study_that_does_not_exist_creates_nothing(tmp_path):
    with pytest.raises(UserError, match=r"no such study 'toy'; start it first"):
        open_storage(None, tmp_path / "runs", "toy", must_exist=True)
    assert list(tmp_path.iterdir()) == []
    open_study(open_storage(None, tmp_path, "toys"), toy_study(name="toys"))
    with pytest.raises(UserError, match="Did you mean 'toys'"):
        open_storage(None, tmp_path, "toy", must_exist=True)


def test_a_runs_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for action in (
        lambda runs: open_storage(None, runs, "toy"),
        lambda runs: study_lock(runs, "toy").__enter__(),
    ):
        with pytest.raises(
            UserError, match=r"file/runs/journal: cannot be written: .*another folder with --runs"
        ):
            action(tmp_path / "file" / "runs")


def test_a_file_that_is_no_journal(tmp_path):
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "toy.log").write_text("this\nis\nsomething else\n")
    with pytest.raises(UserError, match=r"toy\.log: line 1 is damaged: it is no record"):
        open_storage(None, tmp_path, "toy")


def test_reading_while_a_driver_writes_half_a_line(tmp_path):
    open_study(open_storage(None, tmp_path, "toy"), toy_study())
    with (tmp_path / "journal" / "toy.log").open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":')
    storage = open_storage(None, tmp_path, "toy", must_exist=True)
    assert [study.study_name for study in storage.get_all_studies()] == ["toy"]


# ---- the lock ----

HOLDER = """
import sys, time
sys.path[:0] = {paths!r}
from pathlib import Path
from sweeps.storage.journal import study_lock
with study_lock(Path({runs!r}), "toy"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_driver_is_refused_and_told_who_is_there(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(paths=PATHS, runs=str(tmp_path))],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "held\n"
        holder = lock_holder(tmp_path, "toy")
        assert holder["pid"] == process.pid
        assert abs(holder["since"] - time.time()) < 60
        with (
            pytest.raises(
                UserError,
                match=rf"study 'toy': process {process.pid} on host .* \(since 2.*\) is running "
                rf"it already",
            ),
            study_lock(tmp_path, "toy"),
        ):
            pass
        with study_lock(tmp_path, "other"):
            pass
    finally:
        process.kill()
        process.communicate()
    with study_lock(tmp_path, "toy"):  # the system has released it
        assert lock_holder(tmp_path, "toy")["pid"] == os.getpid()
    assert lock_holder(tmp_path, "toy") is None
    assert lock_holder(tmp_path, "never") is None


def test_mending_keeps_every_whole_line(tmp_path):
    (tmp_path / "journal").mkdir()
    path = tmp_path / "journal" / "toy.log"
    whole = b"".join(record_line({"n": n, "filler": "x" * 70_000}) for n in range(4))
    next_line = record_line({"n": 5, "filler": "x"})
    halves = [next_line[:end] for end in range(len(next_line))]
    for kept, tail in [*((whole, tail) for tail in halves), (b"", b'{"n"')]:
        path.write_bytes(kept + tail)
        with study_lock(tmp_path, "toy"):
            assert path.read_bytes() == kept


# ---- continuing with a changed file ----


def refused(old, new, extend=False):
    optuna_study = in_memory(old)
    with pytest.raises(UserError) as error:
        open_study(optuna_study._storage, new, extend=extend)
    assert optuna_study.user_attrs["spec"] == json.loads(json.dumps(old.spec()))
    return str(error.value)


WIDER = {"x": {"kind": "float", "low": 0.0, "high": 5.0}}


def test_a_changed_file_is_refused_with_the_differences():
    message = refused(toy_study(), toy_study(WIDER, fixed=Fixed(epochs=9), seed=3))
    lines = message.splitlines()
    assert "study 'toy': exists with another definition" in lines[0]
    assert lines[1:4] == ["  train.epochs: 5 → 9", "  search.x.high: 1.0 → 5.0", "  seed: 0 → 3"]
    assert lines[4] == "Use `--name NEW` for a new study."
    lines = refused(toy_study(), toy_study(WIDER)).splitlines()
    assert "--extend" in lines[-1]


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"seed": 5}, "seed"),
        ({"objectives": {"a": "val/a", "b": "val/b"}}, "objectives"),
    ],
)
def test_extend_changes_nothing_that_trials_of_one_ranking_share(changes, first):
    message = refused(toy_study(), replace(toy_study(WIDER), **changes), extend=True)
    assert f"cannot be extended, for {first} differs" in message
    assert message.endswith("Use `--name NEW` for a new study.")


class Measured(BaseModel):
    """A section with a setting of the training, and two of figures."""

    model_config = ConfigDict(frozen=True)
    width: int = 5
    samples: int = 100
    threshold: float = 0.1


FIGURES = frozenset({"samples", "threshold"})


def measured(**given):
    return replace(toy_study(), fixed={"train": Measured(**given)}, figures=FIGURES)


def recorded(study, **others):
    return StudyRecord(name="toy", spec=json.loads(json.dumps(study.spec())), **others)


def test_settings_of_figures_never_refuse_and_stay_as_they_are_on_record():
    stored = recorded(measured(samples=50))
    study, lines = keep_figures(stored, measured(threshold=0.2), extend=False)
    assert study.fixed["train"] == Measured(samples=50)
    assert lines == (
        f"train.samples stays 50, as on record, not 100, the default of sweeps {VERSION}.",
        "train.threshold stays 0.1, as on record, not 0.2 of the file; --extend takes that for new "
        "runs.",
    )
    check_definition(stored, study, extend=False)
    assert keep_figures(stored, measured(samples=50), extend=False)[1] == ()


def test_extend_takes_the_figures_that_the_file_names():
    stored = recorded(measured(samples=50))
    study, lines = keep_figures(stored, measured(threshold=0.2), extend=True)
    assert study.fixed["train"] == Measured(samples=50, threshold=0.2)
    assert len(lines) == 1
    check_definition(stored, study, extend=True)


@pytest.mark.parametrize(
    ("text", "command", "given", "of_default"),
    [
        ("train: {other: 3}", "", {}, True),
        ("train: {width: 4}", "", {}, False),  # the line was taken out of the file
        ("", "sweep toy --set width=4", {}, False),
        ("", "", {"width": 5}, False),  # the file names it now
    ],
)
def test_a_default_that_changed_is_said_to_be_one(text, command, given, of_default):
    versions = {"versions": {"sweeps": "0.1.0"}, "command": command}
    stored = recorded(measured(width=4), text=text, provenance=versions)
    with pytest.raises(UserError) as error:
        check_definition(stored, measured(**given), extend=False)
    line = str(error.value).splitlines()[1]
    said = f", the default of sweeps 0.1.0 → {VERSION}. Keep it with --set train.width=4"
    assert line == "  train.width: 4 → 5" + of_default * said


def test_a_changed_budget_or_wording_is_no_other_study():
    optuna_study = in_memory(toy_study(trials=3))
    new = replace(toy_study(trials=99), question="What is it really?")
    assert open_study(optuna_study._storage, new).user_attrs["question"] == "What is it really?"


def test_extend_continues_with_the_new_file():
    study = toy_study(trials=3)
    optuna_study = in_memory(study)
    search(optuna_study, study, ToyLanes(), [])
    optuna_study.set_user_attr("finished", True)
    wider = toy_study(WIDER, trials=9, sampler="tpe")
    extended = open_study(optuna_study._storage, wider, extend=True)
    assert study_record(extended).spec["search"]["x"]["high"] == 5.0
    assert extended.user_attrs["finished"] is False
    search(extended, wider, ToyLanes(), [])
    assert len(extended.trials) == 9
    assert max(trial.params["x"] for trial in extended.trials) > 1


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (
            "runs.db",
            "is no storage of studies. Omit --storage to use a journal file, or give an address "
            "that begins with postgresql://",
        ),
        ("mysql://ann:secret@host/db", "is no storage of studies"),
        ("sqlite:///runs.db", "is no storage of studies"),
        ("postgresql+psycopg2://ann:secret@host/db", "is no storage of studies"),
        ("postgresql+psycopg://host/db?nonsense=1", "is not the address of a database"),
        (
            "postgresql+psycopg://ann:se@cret@127.0.0.1:1/db",
            "has an '@' in the user or password; write it as %40",
        ),
        ("postgresql+psycopg://ann:secret@127.0.0.1:1/db", "cannot be reached: connection failed"),
        ("postgresql+psycopg://ann@no-such-host.invalid/db?password=secret", "cannot be reached"),
    ],
)
def test_a_url_that_leads_nowhere(tmp_path, url, problem):
    started = time.monotonic()
    with pytest.raises(UserError) as error:
        open_storage(url, tmp_path, "toy")
    assert time.monotonic() - started < 10
    assert "\n" not in str(error.value)
    assert problem in str(error.value)
    assert "secret" not in str(error.value)
    assert "cret" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def fail_as_a_worker():
    full = full_disk(OSError(errno.ENOSPC, "No space left on device"))
    raise UserError(full.place, full.problem)


def test_a_disk_that_fills_up_is_told_in_one_line(tmp_path):
    (tmp_path / "journal").mkdir()
    for failing in (lambda: Path("/dev/full").write_text("always full"), fail_as_a_worker):
        with (
            pytest.raises(
                UserError, match=rf"^{tmp_path}: the disk is full. What is finished is kept"
            ),
            storage_errors_as_user_errors(None, tmp_path),
        ):
            failing()
    with pytest.raises(FileNotFoundError), storage_errors_as_user_errors(None, tmp_path):
        Path("/nowhere/file").write_text("another error stays what it is")


def test_batched_writes_are_durable_at_the_end_in_their_order(tmp_path, monkeypatch):
    path = tmp_path / "one.log"
    storage = open_journal(path)
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    syncs = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: syncs.append(descriptor))
    with batched_writes(study):
        for number in range(3):
            trial.set_user_attr("number", number)
        trial.report(0.5, 1)
        assert len(syncs) == 0
    assert len(syncs) == 1
    for seen in (study, optuna.load_study(study_name=study.study_name, storage=open_journal(path))):
        (found,) = seen.trials
        assert found.user_attrs["number"] == 2
        assert found.intermediate_values == {1: 0.5}


def test_batched_writes_of_a_trial_that_another_has_finished_are_left(tmp_path):
    path = tmp_path / "one.log"
    storage = open_journal(path)
    study = optuna.create_study(storage=storage)
    mine, other = study.ask(), study.ask()
    elsewhere = optuna.load_study(study_name=study.study_name, storage=open_journal(path))
    with batched_writes(study):
        mine.report(0.5, 1)
        elsewhere.tell(mine.number, 2.0)
        other.report(0.7, 1)
    assert study.trials[0].value == 2.0
    stored = optuna.load_study(study_name=study.study_name, storage=open_journal(path))
    assert [trial.intermediate_values for trial in stored.trials] == [{}, {1: 0.7}]


def test_what_an_interrupt_cuts_off_is_kept(tmp_path):
    storage = open_journal(tmp_path / "one.log")
    study = optuna.create_study(storage=storage)
    trial = study.ask()

    def interrupted():
        with batched_writes(study):
            trial.report(0.5, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert study.trials[0].intermediate_values == {1: 0.5}
