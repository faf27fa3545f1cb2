"""A study of three stages, whose trials lie in two Optuna studies, wherever it is kept."""

import json
from dataclasses import replace

import optuna
import pytest
from hostile_archives import restored
from pydantic import BaseModel, ConfigDict
from toy_lanes import ToyLanes
from toy_study import toy_study
from tracked_study import client

from sweeps import read_results, run_study
from sweeps.archive.pack import pack_study
from sweeps.doctor.storage import check_storage
from sweeps.errors import UserError
from sweeps.state.record import Description
from sweeps.storage import open_storage, recorded_study, snapshot, study_names
from sweeps.storage.study_record import read_state, record_of
from sweeps.study.study_model import Confirm
from sweeps.tracking import sync

X = {"kind": "float", "low": 0.0, "high": 1.0}
A = {"kind": "choice", "values": ["one", "two"]}
SPACES = ({"x": X, "a": A}, {"x": X | {"high": 0.7}, "a": A | {"values": ["one"]}}, {"x": X})


class Fixed(BaseModel):
    model_config = ConfigDict(frozen=True)
    epochs: int = 3
    a: str = "one"
    size: int = 3


def stage(number):
    """The study as its file has it in this stage, from 1."""
    study = toy_study(SPACES[number - 1], trials=6 * number, sampler="tpe")
    size = 4 if number == 3 else 3
    fixed = {"train": Fixed(size=size)}
    return replace(study, fixed=fixed, confirm=Confirm(top=1, seeds=2))


def in_stages(runs, storage=None):
    for number in (1, 2, 3):
        study = stage(number)
        run_study(
            study,
            lambda: ToyLanes(3, 3),
            runs=runs,
            storage=storage,
            extend=number > 1,
            description=Description(constants=study.fixed["train"].model_dump()),
        )
    return open_storage(storage, runs, "toy", must_exist=True)


def rows(stored):
    return [
        (
            run.number,
            run.repeat,
            run.params,
            run.state,
            run.value,
            run.stage,
            run.counts,
            run.purposes,
        )
        for run in stored.records
    ]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    runs = tmp_path_factory.mktemp("stages")
    return runs, read_state(in_stages(runs), "toy")


def test_numbers_go_on_over_the_optuna_studies(stored):
    runs, state = stored
    storage = open_storage(None, runs, "toy")
    names = {study.study_name for study in storage.get_all_studies()}
    assert names == {"toy", "toy.stage2", "toy.repeats"}
    assert [trial.number for trial in state.trials] == list(range(18))
    assert [trial.stage for trial in state.trials] == [1] * 6 + [2] * 6 + [3] * 6
    assert [trial.counts for trial in state.trials] == [False] * 12 + [True] * 6
    assert len(optuna.load_study(study_name="toy.stage2", storage=storage).trials) == 12
    assert study_names(runs) == ["toy"]
    with pytest.raises(UserError) as error:
        read_state(storage, "toi")
    assert "stage2" not in str(error.value)


def test_repeats_of_other_settings_stand_for_nothing(stored):
    _, state = stored
    assert [run.stage for run in state.repeats] == [1, 1, 2, 2, 3, 3]
    assert [run.purposes for run in state.repeats] == [()] * 4 + [("confirm",)] * 2
    assert all(run.source_trial >= 12 for run in state.repeats[4:])


def test_the_winner_counts_and_the_tables_mark_the_others(stored):
    runs, state = stored
    results = read_results(runs, "toy")
    assert results.trials.query("~repeat")["counts"].sum() == 6
    least = min(state.trials, key=lambda trial: trial.value)
    assert results.trials.query("~repeat")["objective"].min() == least.value


def test_an_older_version_refuses_it_and_this_one_does_not(stored):
    runs, _ = stored
    storage = open_storage(None, runs, "toy")
    study = optuna.load_study(study_name="toy", storage=storage)
    assert study.user_attrs["schema"] == 2
    assert "schema" not in optuna.load_study(study_name="toy.stage2", storage=storage).user_attrs


def test_an_archive_carries_all_under_another_name(stored, tmp_path):
    runs, state = stored
    pack_study("toy", tmp_path / "toy.tar.zst", runs=runs, storage=None, about={"versions": {}})
    restored(tmp_path / "toy.tar.zst", tmp_path / "there", name="other")
    there = read_state(open_storage(None, tmp_path / "there" / "runs", "other"), "other")
    assert rows(there) == rows(state)
    assert {each.spec["name"] for each in there.study.stages} == {"other"}
    before = recorded_study(None, runs, "toy")
    assert [each.fixed for each in there.study.stages] == [each.fixed for each in before.stages]


def test_a_snapshot_holds_all(stored, monkeypatch):
    runs, state = stored
    monkeypatch.setattr(snapshot, "RECORDS", 1)
    first = read_state(open_storage(None, runs, "toy"), "toy")
    assert (runs / "journal" / "toy.snapshot").exists()
    again = read_state(open_storage(None, runs, "toy"), "toy")
    assert rows(first) == rows(again) == rows(state)


def test_doctor_counts_all_records(stored):
    runs, _ = stored
    found = []
    (finding,) = check_storage(None, runs, "toy", found)
    assert finding.ok
    assert finding.words.startswith("24 trials and repeats")


def test_mlflow_says_the_stage_of_each_run(stored):
    runs, _ = stored
    sync("toy", runs=runs)
    there = client(runs)
    (experiment,) = there.search_experiments(filter_string="name = 'toy'")
    found = {run.info.run_name: run for run in there.search_runs([experiment.experiment_id])}
    assert [found[f"toy/{number}"].data.tags["sweeps.stage"] for number in (0, 6, 12)] == [*"123"]
    assert "size" not in found["toy/6"].data.params
    assert found["toy/12"].data.params["size"] == "4"
    parent = found["toy"].data
    assert parent.params["size"] == "3"
    assert json.loads(parent.tags["sweeps.constants"])["size"] == 4


def test_postgresql_keeps_the_same(stored, url, tmp_path):
    _, state = stored
    there = read_state(in_stages(tmp_path, url), "toy")
    assert rows(there) == rows(state)


def test_records_of_older_versions_are_read_as_stages():
    search = {"x": X | {"grow": True}}
    step = {"parameter": "x", "bound": "upper", "end": 2.0, "round": 3, "trial": 20}
    old = {"spec": {"search": search}, "text": "search: x"}
    record = record_of("toy", old | {"grown": [step]})
    assert [(each.trial, each.by_search) for each in record.stages] == [(0, False), (20, True)]
    assert record.space["x"].high == 2.0
    record = record_of("toy", old | {"revives_from": 7})
    assert [(each.trial, each.fixed) for each in record.stages] == [(0, None), (7, {})]
    assert record.begun.trial == 7
    assert record_of("toy", old).stages == ()
