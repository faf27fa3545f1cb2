"""Studies of every condition, written as the driver writes them, read back."""

import itertools
import math

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState, create_trial

from sweeps.results import (
    best_run,
    best_so_far,
    compared_levels,
    matched_pairs,
    ranked,
    read_results,
    tables_of,
)
from sweeps.storage.study_record import read_state, write_identity
from sweeps.study.space import Space

SEARCH = {
    "beta": {"kind": "float", "low": 0.01, "high": 10.0, "log": True},
    "optimizer": {"kind": "choice", "values": ["adam", "adamax"]},
    "hidden": {"kind": "choice", "values": [[512, 512], [64]]},
    "prior": {"kind": "choice", "values": ["normal", "mixture"]},
    "components": {
        "kind": "int",
        "low": 2,
        "high": 64,
        "log": True,
        "when": {"prior": ["mixture"]},
    },
}
SPACE = Space.from_dict(SEARCH)
DISTRIBUTIONS = {
    "beta": optuna.distributions.FloatDistribution(0.01, 10, log=True),
    "optimizer": optuna.distributions.CategoricalDistribution(["adam", "adamax"]),
    "hidden": optuna.distributions.CategoricalDistribution(["[512, 512]", "[64]"]),
    "prior": optuna.distributions.CategoricalDistribution(["normal", "mixture"]),
    "components": optuna.distributions.IntDistribution(2, 64, log=True),
}
ADAM = {"beta": 0.5, "optimizer": "adam", "hidden": [64], "prior": "normal"}
MIXTURE = {
    "beta": 2.0,
    "optimizer": "adamax",
    "hidden": [512, 512],
    "prior": "mixture",
    "components": 7,
}


@pytest.fixture
def storage():
    return optuna.storages.InMemoryStorage()


@pytest.fixture
def study(storage):
    return open_one(storage)


def open_one(storage, name="toy", spec=True):
    study = optuna.create_study(storage=storage, study_name=name)
    write_identity(study)
    if spec:
        study.set_user_attr("spec", {"search": SEARCH})
    return study


def add(study, params=ADAM, curve=(), state=TrialState.COMPLETE, **attrs):
    """A trial of the search with these values per epoch, as the driver leaves it."""
    curve = dict(enumerate(curve, start=1))
    stored = {name: SPACE[name].encode(value) for name, value in params.items()}
    metrics = {
        f"epoch/{e}": {"at": 10.5 + e, "metrics": {"val/loss": v, "seconds": 0.5}}
        for e, v in curve.items()
    }
    study.add_trial(
        create_trial(
            state=state,
            value=min(curve.values())
            if state == TrialState.COMPLETE and "value" not in attrs
            else attrs.pop("value", None),
            params=stored,
            distributions={name: DISTRIBUTIONS[name] for name in stored},
            user_attrs={"seed": 5, "round": 0, "started": 10.0, **metrics, **attrs},
            intermediate_values=curve,
        )
    )


def repeat(
    study,
    of,
    curve,
    *,
    purposes=("confirm",),
    pairs_of=(),
    index=0,
    params=ADAM,
    state=TrialState.COMPLETE,
    **result,
):
    value = min(curve) if state == TrialState.COMPLETE else None
    attrs = {
        "source_trial": of,
        "purposes": list(purposes),
        "pair_ids": list(pairs_of),
        "seed_index": index,
        "params": params,
        "seed": 90 + index,
    }
    metrics = {
        f"epoch/{epoch}": {"at": None, "metrics": {"seconds": 1.0}}
        for epoch in range(1, len(curve) + 1)
    }
    result = {
        name.replace("_nll", "/loss", 1) if name == "test_nll" else "test/iw_nll": v
        for name, v in result.items()
    }
    study.add_trial(
        create_trial(
            state=state,
            value=value,
            user_attrs={**attrs, **metrics, "results": result, "ended": 50.0},
            intermediate_values=dict(enumerate(curve, start=1)),
        )
    )


def test_columns_and_types_do_not_depend_on_the_trials(storage, study):
    always = {
        "epoch_metrics": ("val/loss", "seconds"),
        "result_metrics": ("test/loss", "test/rate"),
    }
    empty = tables_of(read_state(storage, "toy"), **always)
    add(study, MIXTURE, (3.0, 2.0), results={"test/loss": 2.5})
    repeat(open_one(storage, "toy.repeats", spec=False), 0, (2.0,))
    full = tables_of(read_state(storage, "toy"), **always)
    for table in ("trials", "epochs"):
        before, after = getattr(empty, table), getattr(full, table)
        assert len(before) == 0
        assert len(after) > 0
        assert before.dtypes.to_dict() == after.dtypes.to_dict()
        assert list(before) == list(after)
    assert list(full.epochs)[:5] == ["repeat", "number", "epoch", "round", "objective"]
    assert {"val/loss", "seconds"} <= set(full.epochs)
    assert {"result.test/loss", "result.test/rate", *(f"params.{name}" for name in SEARCH)} <= set(
        full.trials
    )
    for selection in (ranked, best_so_far, lambda results: matched_pairs(results, "optimizer")):
        assert len(selection(empty)) == 0
    assert compared_levels(empty, "optimizer") == []
    assert best_run(empty) is None


def test_a_complete_trial(storage, study):
    add(
        study,
        MIXTURE,
        (3.0, 1.5, 1.75),
        ended=20.5,
        folder="runs/trial-0000",
        results={"parameters": 1234, "odd": True},
    )
    results = read_results(storage, "toy")
    row = results.trials.iloc[0]
    assert (row["name"], row["state"], row["objective"], row["epochs"], row["best_epoch"]) == (
        "toy/0",
        "complete",
        1.5,
        3,
        2,
    )
    assert (row["seed"], row["started"], row["ended"], row["seconds"], row["folder"]) == (
        5,
        10.0,
        20.5,
        1.5,
        "runs/trial-0000",
    )
    assert {name: row[f"params.{name}"] for name in MIXTURE} == MIXTURE
    assert (row["result.parameters"], row["result.odd"]) == (1234.0, 1.0)
    assert row["purposes"] == ()
    assert pd.isna(row["source_trial"])
    assert (
        results.epochs["val/loss"].tolist()
        == results.epochs["objective"].tolist()
        == [3.0, 1.5, 1.75]
    )
    assert results.epochs["epoch"].tolist() == [1, 2, 3]


def test_trials_in_every_state_and_with_attributes_missing(storage, study):
    failure = {"kind": "diverged", "message": "the value became nan"}
    add(
        study,
        ADAM,
        (3.0, 2.0),
        TrialState.PRUNED,
        outcome={"state": "pruned", "epoch": 2, "objective": 2.0, "failure": None},
    )
    add(
        study,
        ADAM,
        (3.0,),
        TrialState.FAIL,
        outcome={"state": "failed", "epoch": 2, "objective": 3.0, "failure": failure},
    )
    add(study, ADAM, (), TrialState.FAIL)  # told by somebody else
    add(study, ADAM, (4.0, math.nan), TrialState.RUNNING)
    study.ask()  # killed before anything was written
    study.enqueue_trial({"beta": 1.0})
    add(study, ADAM, (), value=7.0, duplicate_of=0)
    add(
        study,
        ADAM,
        (),
        TrialState.PRUNED,
        duplicate_of=0,
        outcome={"epoch": 3, "objective": 6.0, "failure": None},
    )
    study._storage.set_trial_user_attr(
        study.trials[3]._trial_id, "epoch/1", {"metrics": {"val/loss": None, "train/loss": "?"}}
    )
    study._storage.set_trial_user_attr(
        study.trials[3]._trial_id, "epoch/3", {"metrics": {"val/loss": 9.0}}
    )  # not yet reported
    trials = read_results(storage, "toy").trials
    assert trials["state"].tolist() == [
        "pruned", "failed", "failed", "running", "running", "waiting", "complete", "pruned",
    ]  # fmt: skip
    np.testing.assert_equal(
        trials["objective"].tolist(), [2.0, 3.0, math.nan, 4.0, math.nan, math.nan, 7.0, 6.0]
    )
    assert trials["epochs"].tolist() == [2, 1, 0, 2, 0, 0, 0, 0]
    assert trials["failure"].tolist() == [None, "diverged", None, None, None, None, None, None]
    assert trials["message"][1] == "the value became nan"
    assert trials["duplicate_of"].dropna().to_dict() == {6: 0, 7: 0}
    assert trials["params.components"].isna().all()
    assert trials["params.hidden"][4] is None
    epochs = read_results(storage, "toy").epochs
    assert epochs["number"].tolist() == [0, 0, 1, 3, 3]
    np.testing.assert_equal(epochs["val/loss"].tolist(), [3.0, 2.0, 3.0, math.nan, math.nan])
    assert epochs["train/loss"].isna().all()


def test_a_value_outside_the_space_of_today_stays(storage):
    study = open_one(storage, spec=False)
    add(study, ADAM, (1.0,))
    assert read_results(storage, "toy").trials["params.hidden"][0] == "[64]"
    study.set_user_attr(
        "spec", {"search": {"hidden": {"kind": "choice", "values": [[512, 512], [32]]}}}
    )
    trials = read_results(storage, "toy").trials
    assert (trials["params.hidden"][0], trials["params.beta"][0]) == ("[64]", 0.5)
    assert len(matched_pairs(read_results(storage, "toy"), "unknown")) == 0


def test_ranking_history_and_savings(storage, study):
    add(study, ADAM, (3.0, 2.0))
    add(study, MIXTURE, (5.0, 1.0), TrialState.PRUNED)
    add(study, MIXTURE, (4.0, 1.5))
    add(study, ADAM, (), value=1.5, duplicate_of=2)
    add(study, ADAM, (1.75,))
    add(study, ADAM, (1.5,))
    add(study, ADAM, (), TrialState.PRUNED, duplicate_of=1)
    repeat(open_one(storage, "toy.repeats", spec=False), 0, (0.5,))
    results = read_results(storage, "toy")
    assert ranked(results)["number"].tolist() == [2, 5, 4, 0]
    history = best_so_far(results)
    assert history["number"].tolist() == [0, 2, 4, 5]
    assert history["best"].tolist() == [2.0, 1.5, 1.5, 1.5]


def test_matched_pairs(storage, study):
    add(study, ADAM, (2.0,))
    again = open_one(storage, "toy.repeats", spec=False)
    other = ADAM | {"optimizer": "adamax"}
    both = {"purposes": ("confirm", "compare")}
    repeat(again, 0, (2.0, 1.5), pairs_of=("optimizer:0/0",), **both)
    repeat(again, 0, (2.5,), pairs_of=("optimizer:0/1",), index=1, **both)
    repeat(again, 0, (1.0,), index=2)  # confirm alone
    repeat(
        again, 0, (2.0,), pairs_of=("optimizer:0/1",), index=1, params=other, purposes=("compare",)
    )
    repeat(again, 0, (1.75,), pairs_of=("optimizer:0/0",), params=other, purposes=("compare",))
    third = {"beta": 0.25, "pairs_of": ("optimizer:4/0",), "purposes": ("compare",)}
    repeat(again, 4, (1.75,), **third | {"params": other | {"beta": third.pop("beta")}})
    repeat(again, 4, (1.0,), **third, params=ADAM | {"beta": 0.25}, state=TrialState.FAIL)
    results = read_results(storage, "toy")
    assert compared_levels(results, "optimizer") == ["adam", "adamax"]
    expected = pd.DataFrame(
        {
            "pair_id": ["optimizer:0/0", "optimizer:0/1", "optimizer:4/0"],
            "source_trial": [0, 0, 4],
            "seed_index": [0, 1, 0],
            "objective.adam": [1.5, 2.5, math.nan],
            "objective.adamax": [1.75, 2.0, 1.75],
            "difference": [0.25, -0.5, math.nan],
        }
    ).astype({"pair_id": "object"})
    pd.testing.assert_frame_equal(matched_pairs(results, "optimizer"), expected)
    turned = matched_pairs(results, "optimizer", ("adamax", "adam"))
    np.testing.assert_equal(turned["difference"].tolist(), [-0.25, 0.5, math.nan])
    assert compared_levels(results, "prior") == []
    assert matched_pairs(results, "prior").empty


def test_configurations_that_are_equal_but_for_the_parameter_count_once(storage, study):
    """A run that stands in two pairs, as an adam trial and its adamax twin were both paired, would
    be counted twice.
    """
    add(study, ADAM, (2.0,))
    again = open_one(storage, "toy.repeats", spec=False)
    other = ADAM | {"optimizer": "adamax"}
    for source, params in itertools.product((0, 3), (ADAM, other)):
        ids = (f"optimizer:{source}/0",)
        repeat(
            again,
            source,
            (1.0 + (params is other),),
            pairs_of=ids,
            params=params,
            purposes=("compare",),
        )
    mixtures = [{**ADAM, "prior": "mixture", "components": count} for count in (2, 4)]
    for source, mixture in zip((7, 8), mixtures, strict=True):
        for params in (ADAM, mixture):
            repeat(
                again,
                source,
                (1.0,),
                pairs_of=(f"prior:{source}/0",),
                params=params,
                purposes=("compare",),
            )
    results = read_results(storage, "toy")
    table = matched_pairs(results, "optimizer")
    assert table[["source_trial", "difference"]].to_numpy().tolist() == [[0, 1.0]]
    assert compared_levels(results, "prior") == ["normal", "mixture"]
    assert matched_pairs(results, "prior")["source_trial"].tolist() == [7], (
        "components depend on the prior"
    )


def test_the_run_to_keep_is_of_the_best_confirmed_configuration(storage, study):
    add(study, ADAM, (2.0,))
    add(study, MIXTURE, (1.0,))
    add(study, ADAM, (3.0,))
    assert best_run(read_results(storage, "toy"))["name"] == "toy/1"
    again = open_one(storage, "toy.repeats", spec=False)
    for index, (value, nll) in enumerate([(1.5, 10.0), (1.25, 12.0), (1.75, 14.0)]):
        repeat(again, 0, (value,), index=index, test_nll=nll, test_iw_nll=nll - 1)
    repeat(again, 1, (2.0,), test_nll=9.0)
    repeat(again, 1, (1.0,), index=1, state=TrialState.FAIL)
    repeat(again, 2, (1.0,), state=TrialState.FAIL)
    repeat(again, 1, (0.1,), purposes=("compare",), pairs_of=("optimizer:1/0",))
    results = read_results(storage, "toy")
    assert best_run(results)["name"] == "toy/r1"


def test_ten_thousand_trials_are_each_read_once(storage, study):
    rows = storage.get_all_trials(study._study_id, deepcopy=False)
    metrics = dict.fromkeys((f"val/{index}" for index in range(16)), 1.0)
    attrs = {f"epoch/{epoch}": {"at": 1.0, "metrics": metrics} for epoch in range(1, 31)}
    template = create_trial(
        value=1.0,
        params={"beta": 0.5},
        distributions={"beta": DISTRIBUTIONS["beta"]},
        user_attrs=attrs,
        intermediate_values=dict.fromkeys(range(1, 31), 1.0),
    )
    template.number = 0
    asked = []

    def get_all_trials(study_id, deepcopy):
        asked.append(study_id)
        return rows if deepcopy else [template] * 10_000

    storage.get_all_trials = get_all_trials
    results = read_results(storage, "toy")
    assert asked == [study._study_id]
    assert results.epochs.shape == (300_000, 5 + len(metrics))
