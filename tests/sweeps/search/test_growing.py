"""Ranges that grow while a study searches: when, how far, and the same after a kill anywhere."""

import itertools
import json
from dataclasses import replace

import pytest
from optuna.storages import JournalStorage
from optuna.trial import TrialState
from optuna_trials import trials_of
from toy_lanes import EagerLanes, SimulatedClock, ToyLanes
from toy_study import MemoryJournal, in_memory, search, table, toy_study

from sweeps.errors import UserError
from sweeps.search.growing import found_before, next_steps
from sweeps.storage import open_study
from sweeps.storage.study_record import study_record
from sweeps.study.ranges import LEAST_RANKED
from sweeps.study.space import Space

NARROW = {
    "x": {"kind": "float", "low": 0.4, "high": 1.0, "grow": True, "limits": {"ge": 0.0}},
    "y": {"kind": "float", "low": 0.1, "high": 1.0, "log": True},
}


def falling(params, seed, epoch, state):
    """Lower for smaller x, down to 0."""
    return params["x"] + 0.1 * abs(params["y"] - 0.3) + 1 / epoch


PROMOTION = {"pruner": "promotion", "pruner_options": {"rungs": [1, 2], "factor": 3}}


def searched(
    journal=None, *, lanes=None, sampler="tpe", space=NARROW, trials=44, pruner=None, **options
):
    study = toy_study(space, sampler=sampler, trials=trials, **(pruner or {}))
    optuna_study = in_memory(study, journal)
    lanes = lanes or ToyLanes(**{"width": 2, "epochs": 2, "curve": falling} | options)
    search(optuna_study, study, lanes, [], clock=SimulatedClock())
    return optuna_study


@pytest.fixture(scope="module")
def whole():
    return searched()


def test_a_range_grows_twice_where_the_best_lie_at_its_end(whole):
    grown = study_record(whole).grown
    assert [(growth.parameter, growth.bound, growth.end) for growth in grown] == [
        ("x", "lower", 0.1),
        ("x", "lower", 0.0),
    ]
    assert grown[0].trial >= 20
    ends = {growth.trial: growth.end for growth in grown}
    low = NARROW["x"]["low"]
    for trial in whole.trials:
        low = ends.get(trial.number, low)
        assert trial.distributions["x"].low == low
        assert trial.user_attrs["round"] >= max((g.round for g in grown if g.end == low), default=0)
    assert whole.best_params["x"] < 0.1


def test_a_range_grows_under_promotion_where_few_trials_are_complete():
    study = searched(pruner=PROMOTION, epochs=4)
    grown = study_record(study).grown
    assert [growth.end for growth in grown] == [0.1, 0.0]
    for growth in grown:
        complete = [
            t
            for t in study.trials
            if t.state == TrialState.COMPLETE and t.user_attrs["ended_round"] < growth.round
        ]
        assert len(complete) < LEAST_RANKED, "those that were paused were ranked, too"


def test_tpe_goes_on_to_model_all_parameters_together(whole):
    """It leaves out of its model a parameter whose distributions differ between trials."""
    modelled = [
        json.loads(trial.system_attrs["tpe:relative_params:0"]) for trial in whole.trials[20:]
    ]
    assert {tuple(sorted(params)) for params in modelled} == {("x", "y")}
    assert any(params["x"] < 0.4 for params in modelled)


@pytest.mark.parametrize("sampler", ["random", "qmc", "gp"])
def test_other_samplers_search_the_wider_range(sampler):
    trials = 30 if sampler == "gp" else 100
    study = searched(sampler=sampler, trials=trials)
    assert study_record(study).grown
    assert min(trial.params["x"] for trial in study.trials) < 0.4


def test_nothing_grows_beyond_what_the_setting_allows():
    study = searched(space={"x": NARROW["x"] | {"limits": {"ge": 0.4}}, "y": NARROW["y"]})
    assert study_record(study).grown == ()


class Killed(BaseException):
    """The process is gone."""


def killing(count):
    """What raises `Killed` when it is called for the `count`-th time."""
    calls = itertools.count(1)

    def tick():
        if next(calls) == count:
            raise Killed

    return tick


def writes_around_growth(journal):
    """Indices of the writes of growth, and of what stands around them."""
    grown = [index for index, line in enumerate(journal.lines) if '"grown": [{' in line]
    assert grown
    return [index + shift for index in grown for shift in (-7, -2, -1, 0, 1, 2, 3, 9)]


@pytest.mark.parametrize(
    ("kind", "width", "lag"), [(ToyLanes, 2, 0), (ToyLanes, 16, 1), (EagerLanes, 16, 1)]
)
def test_a_step_rests_on_trials_that_every_worker_could_know(kind, width, lag):
    """With many lanes a round's trials are chosen before the round before it is over."""
    study = searched(lanes=kind(width=width, epochs=2, curve=falling), trials=120)
    base, grown = Space.from_dict(NARROW), study_record(study).grown
    assert grown
    for growth in grown:
        known = found_before(trials_of(study, base), growth.round - lag)
        before = [earlier for earlier in grown if earlier.round < growth.round]
        assert growth in next_steps(base, known, before, round_=growth.round, number=growth.trial)
        assert study.trials[growth.trial].user_attrs["round"] == growth.round
        assert study.trials[growth.trial - 1].user_attrs["round"] < growth.round


@pytest.mark.parametrize(
    ("kind", "width", "pruner"),
    [(ToyLanes, 2, None), (ToyLanes, 3, PROMOTION), (EagerLanes, 16, None)],
)
def test_a_study_that_is_killed_around_a_step_takes_it_at_the_same_trial(kind, width, pruner):
    journal, trials = MemoryJournal(), width + 40 if width < 16 else 120
    lanes = {"width": width, "epochs": 4 if pruner else 2, "curve": falling}
    study = searched(journal, lanes=kind(**lanes), trials=trials, pruner=pruner)
    expected = table(study), study_record(study).grown
    assert expected[1]
    for index in writes_around_growth(journal):
        again, checkpoints = MemoryJournal(), {}
        again.before = killing(index + 1)
        with pytest.raises(Killed):
            searched(
                again, lanes=kind(**lanes, checkpoints=checkpoints), trials=trials, pruner=pruner
            )
        again.before = lambda: None
        continued = searched(
            again, lanes=kind(**lanes, checkpoints=checkpoints), trials=trials, pruner=pruner
        )
        assert (table(continued), study_record(continued).grown) == expected, index


def test_another_range_that_the_file_changes_leaves_the_steps(whole):
    journal = MemoryJournal()
    searched(journal)
    study = toy_study(NARROW, sampler="tpe", trials=50)
    other = replace(
        study, space=Space.from_dict({**study.space.as_dict(), "y": NARROW["y"] | {"high": 2.0}})
    )
    assert len(study_record(open_study(JournalStorage(journal), other, extend=True)).grown) == 2


def test_a_range_that_grows_is_not_changed_by_the_file(whole):
    journal = MemoryJournal()
    searched(journal)
    study = toy_study(NARROW, sampler="tpe", trials=50)
    search = NARROW | {"x": NARROW["x"] | {"low": 0.2}}
    with pytest.raises(UserError, match=r"search.x is a range that grows .* search.x.grow=false"):
        open_study(
            JournalStorage(journal), replace(study, space=Space.from_dict(search)), extend=True
        )
    search["x"] = {**search["x"], "grow": False}
    fixed = replace(study, space=Space.from_dict(search))
    record = study_record(open_study(JournalStorage(journal), fixed, extend=True))
    assert record.grown == ()
    assert record.space["x"].low == 0.2
