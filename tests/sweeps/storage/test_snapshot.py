"""Snapshots of journals: the same state as from all records; a bad snapshot is never believed.
`test_postgres` has those of rows.
"""

import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_lanes import ToyLanes
from toy_study import CONDITIONAL, X, table, toy_study

from sweeps.checksums import Damaged
from sweeps.engine import run_study
from sweeps.errors import warn_once
from sweeps.lanes import Failure
from sweeps.storage import open_storage, open_study, snapshot
from sweeps.storage.journal import journal_path, open_journal, snapshot_path
from sweeps.storage.journals import journals_at
from sweeps.storage.optuna_internals import PackedTrial, replayed
from sweeps.study.study_model import Budget

SPACE = {**X, **CONDITIONAL, "steps": {"kind": "int", "low": 1, "high": 9, "log": True}}
STUDY = toy_study(
    SPACE,
    trials=12,
    sampler="tpe",
    sampler_options={"startup_trials": 3},
    pruner="median",
    pruner_options={"startup_trials": 2},
)


class Killed(Exception):
    pass


def lanes(killed_at=None):
    happened = []

    def before(event):
        happened.append(event)
        if len(happened) == killed_at:
            raise Killed

    failures = {2: (2, Failure(kind="diverged", message="it went away"))}
    return ToyLanes(width=3, epochs=4, failures=failures, before=before)


@pytest.fixture(autouse=True)
def early(monkeypatch):
    """Write a snapshot after every record."""
    monkeypatch.setattr(snapshot, "RECORDS", 1)
    monkeypatch.setattr(snapshot, "SHARE", 0.0)
    warn_once.cache_clear()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The table of a study that nobody disturbed, and its journal."""
    runs = tmp_path_factory.mktemp("runs")
    run_study(STUDY, lanes, runs=runs)
    return table(open_study(open_storage(None, runs, "toy"), STUDY)), journal_path(
        runs, "toy"
    ).read_bytes()


def whole(storage):
    """All that a storage knows, with the types of its values; studies and trials in their order."""
    state = replayed(storage)
    trials = [
        {
            "study": study,
            "identity": trial._trial_id,
            "times": (trial.datetime_start, trial.datetime_complete),
            "system": trial.system_attrs,
            "user": sorted(trial.user_attrs.items()),
            **{
                name: getattr(trial, name)
                for name in (
                    "number",
                    "state",
                    "values",
                    "params",
                    "distributions",
                    "intermediate_values",
                )
            },
        }
        for study, trial in state.trials
    ]
    return repr((state.records, state.next_study, state.studies, trials))


def from_all_records(runs):
    path = journal_path(runs, "toy")
    kept = snapshot_path(path).rename(path.with_name("aside"))
    found = whole(open_journal(path))
    kept.rename(snapshot_path(path))
    return found


@pytest.mark.parametrize("killed_at", [5, 17, 30])
def test_a_study_goes_on_from_a_snapshot_as_from_its_journal(tmp_path, undisturbed, killed_at):
    with pytest.raises(Killed):
        run_study(STUDY, lambda: lanes(killed_at), runs=tmp_path)
    storage = open_storage(None, tmp_path, "toy", must_exist=True)  # writes a snapshot
    again = open_storage(None, tmp_path, "toy", must_exist=True)  # reads it
    assert whole(again) == whole(storage) == from_all_records(tmp_path)
    finished = [trial for _, trial in replayed(again).trials if trial.state.is_finished()]
    assert all(isinstance(trial, PackedTrial) for trial in finished)
    run_study(STUDY, lanes, runs=tmp_path)
    found = open_storage(None, tmp_path, "toy", must_exist=True)
    assert table(open_study(found, STUDY)) == undisturbed[0]
    assert whole(found) == from_all_records(tmp_path)


PAUSING = replace(
    toy_study(X, trials=9, pruner="promotion", pruner_options={"rungs": [1, 3], "factor": 3}),
    start=tuple({"x": x / 30} for x in range(30)),
)


def falling():
    """Lanes in which the first trials are the best, so that the later ones let them go on."""
    return ToyLanes(curve=lambda params, seed, epoch, state: params["x"] + 1 / epoch)


@pytest.mark.parametrize("brief", [snapshot._BRIEF, ("ended_round", "duplicate_of")])
def test_a_study_revives_trials_from_a_snapshot_as_from_its_journal(tmp_path, monkeypatch, brief):
    """Also where a version that did not know of revivals wrote the snapshot."""
    tables = []
    for name, records in (("with", 1), ("without", 10**6)):
        monkeypatch.setattr(snapshot, "RECORDS", records)
        with monkeypatch.context() as patch:
            patch.setattr(snapshot, "_BRIEF", brief)
            run_study(PAUSING, falling, runs=tmp_path / name)
            open_storage(None, tmp_path / name, "toy", must_exist=True)
        assert snapshot_path(journal_path(tmp_path / name, "toy")).exists() is (name == "with")
        larger = replace(PAUSING, budget=Budget(trials=30))
        run_study(larger, falling, runs=tmp_path / name)
        tables.append(table(open_study(open_storage(None, tmp_path / name, "toy"), larger)))
    assert tables[0] == tables[1]
    assert any(trial["attrs"].get("revives") is not None for trial in tables[0])


def test_opening_reads_no_record_that_the_snapshot_holds_and_unpacks_nothing(
    tmp_path, undisturbed, monkeypatch
):
    path = tmp_path / "toy.log"
    path.write_bytes(undisturbed[1])
    open_journal(path)
    monkeypatch.setattr("sweeps.storage.optuna_internals.parse_line", None)
    monkeypatch.setattr("sweeps.storage.optuna_internals.unpack", None)
    storage = open_journal(path)
    assert len(storage.get_all_trials(0, deepcopy=False)) == 12


def flipped(content, bit):
    return content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_snapshot_with_a_flipped_bit_or_cut_is_built_again(tmp_path, undisturbed, caplog, data):
    path = tmp_path / "toy.log"
    path.write_bytes(undisturbed[1])
    expected = whole(open_journal(path))
    content = snapshot_path(path).read_bytes()
    cut = data.draw(st.booleans())
    at = data.draw(st.integers(0, (len(content) if cut else 8 * len(content)) - 1))
    snapshot_path(path).write_bytes(content[:at] if cut else flipped(content, at))
    warn_once.cache_clear()
    caplog.clear()
    assert whole(open_journal(path)) == expected
    assert re.search(r"toy\.snapshot: the snapshot is damaged\. All records are read", caplog.text)
    assert snapshot_path(path).read_bytes() == content


@pytest.mark.parametrize("place", ["head", "middle", "end"])
def test_a_damaged_record_is_found_although_a_snapshot_holds_it(tmp_path, undisturbed, place):
    path = journal_path(tmp_path, "toy")
    path.parent.mkdir()
    path.write_bytes(undisturbed[1])
    open_journal(path)
    lines = undisturbed[1].splitlines(keepends=True)
    bad = {"head": 0, "middle": len(lines) // 2, "end": len(lines) - 1}[place]
    path.write_bytes(
        b"".join(
            [*lines[:bad], lines[bad].replace(b'"op_code":', b'"op_code":1'), *lines[bad + 1 :]]
        )
    )
    for _ in range(2):
        with pytest.raises(Damaged, match=rf"line {bad + 1} is damaged"):
            open_journal(path)
    journals_at(None, tmp_path).salvage("toy")
    run_study(STUDY, lanes, runs=tmp_path)
    assert table(open_study(open_storage(None, tmp_path, "toy"), STUDY)) == undisturbed[0]


def test_a_snapshot_of_another_journal_is_not_believed(tmp_path, undisturbed, caplog):
    run_study(toy_study(trials=3), ToyLanes, runs=tmp_path)
    path = journal_path(tmp_path, "toy")
    path.write_bytes(undisturbed[1])
    assert table(open_study(open_journal(path), STUDY)) == undisturbed[0]
    assert "toy.snapshot: the snapshot does not belong to the journal as it is now" in caplog.text


def test_a_study_needs_no_snapshot(tmp_path, undisturbed):
    """It is a cache: the disk may be full, or the place taken."""
    path = journal_path(tmp_path, "toy")
    snapshot_path(path).mkdir(parents=True)
    run_study(STUDY, lanes, runs=tmp_path)
    assert table(open_study(open_journal(path), STUDY)) == undisturbed[0]


def test_small_studies_have_none(tmp_path, undisturbed, monkeypatch):
    monkeypatch.undo()
    path = tmp_path / "toy.log"
    path.write_bytes(undisturbed[1])
    open_journal(path)
    assert [file.name for file in tmp_path.iterdir()] == ["toy.log"]
