"""Searches for two objectives: what samplers see, whom the rule prunes and promotes, kills, and
mistakes of study files.
"""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial
from optuna_trials import as_read, may_revive
from pydantic import BaseModel
from toy_plane import OBJECTIVES, PROMOTION, Plane, study_of
from toy_study import Watcher, in_memory, search

from sweeps.errors import UserError
from sweeps.results import best_record, front_trials, last_values, ranked_trials
from sweeps.results.front import pareto_front
from sweeps.search.promotion import Rungs
from sweeps.search.pruners import RoundPercentilePruner
from sweeps.search.two_objectives import TwoObjectives
from sweeps.storage.optuna_internals import storage_of
from sweeps.storage.study_record import read_state
from sweeps.study.study import load_study


def searched(lanes=None, **options):
    study = study_of(**options)
    stored = in_memory(study)
    watcher = Watcher()
    search(stored, study, lanes or Plane(width=3, epochs=4), [watcher])
    return stored, watcher


def stored_trial(number, pairs, state=TrialState.COMPLETE, **attributes):
    """A trial with these pairs, an epoch each; None is an epoch without metrics."""
    metrics = {
        f"epoch/{epoch}": {
            "at": 0.0,
            "metrics": {} if pair is None else dict(zip(OBJECTIVES.values(), pair, strict=True)),
        }
        for epoch, pair in enumerate(pairs, start=1)
    }
    values = {"value": 0.0} if state == TrialState.COMPLETE else {}
    trial = create_trial(
        state=state,
        intermediate_values=dict.fromkeys(range(1, len(pairs) + 1), 0.0),
        user_attrs={"seed": number, "round": 0, **metrics, **attributes},
        **values,
    )
    trial.number = number
    return as_read([trial])[0]


def rule_of(percentile, startup, warmup):
    return RoundPercentilePruner(percentile, startup_trials=startup, warmup_epochs=warmup)


def two():
    return TwoObjectives(OBJECTIVES.values())


# ---- the search ----


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_a_search_prunes_and_finds_a_front(sampler):
    stored, watcher = searched(sampler=sampler)
    states = [trial.state for trial in stored.trials]
    assert len(states) == 30
    assert 3 <= states.count(TrialState.PRUNED) < 27
    record = read_state(storage_of(stored), "toy")
    pairs = {
        trial.number: last_values(trial, OBJECTIVES.values())
        for trial in record.trials
        if trial.state == "complete"
    }
    expected = [list(pairs)[index] for index in pareto_front(np.array([*pairs.values()]))]
    assert [trial.number for trial in front_trials(record)] == expected
    assert ranked_trials(record) == []
    assert best_record(record) is None
    assert all(snapshot.best_objective is None for snapshot in watcher.snapshots)
    assert record.study.objectives == OBJECTIVES


def test_tpe_learns_the_plane_better_than_random():
    """y makes both worse, so a sampler that learns from the front comes to small y."""
    late = {}
    for sampler in ("tpe", "random"):
        stored, _ = searched(sampler=sampler, pruner="none", pruner_options={}, trials=60)
        late[sampler] = np.mean([trial.params["y"] for trial in stored.trials[30:]])
    assert late["tpe"] < late["random"] - 0.15


# ---- samplers ----


def test_samplers_see_pairs_of_complete_trials_and_no_pruned_ones():
    trials = [
        stored_trial(0, [(9.0, 9.0), (1.0, 2.0)]),
        stored_trial(1, [(0.1, 0.1)], TrialState.PRUNED),
        stored_trial(2, [(3.0, 3.0)], TrialState.RUNNING),
        stored_trial(3, [], duplicate_of=0),
        stored_trial(4, [(3.0, 3.0), None]),
        stored_trial(5, [(3.0, math.inf)]),
        stored_trial(6, [(3.0, 3.0)], TrialState.FAIL),
    ]
    assert two().as_sampled(trials) == [(1.0, 2.0), None, None, (1.0, 2.0), None, None, None]


# ---- pruning ----

PAIR = st.tuples(st.integers(0, 6).map(float), st.integers(0, 6).map(float))
TRIALS = st.lists(
    st.tuples(
        st.lists(PAIR, min_size=1, max_size=3),
        st.sampled_from([TrialState.COMPLETE, TrialState.RUNNING]),
    ),
    min_size=1,
    max_size=14,
)


@given(TRIALS, st.sampled_from([25.0, 50.0, 90.0]), st.integers(0, 3))
def test_no_trial_ends_that_no_other_beats_in_both(drawn, percentile, startup):
    trials = [stored_trial(number, pairs, state) for number, (pairs, state) in enumerate(drawn)]
    rule = rule_of(percentile, startup, 0)
    running = [trial for trial in trials if trial.state == "running"]
    pruned = two().pruned(rule, running, trials)
    complete = [trial for trial in trials if trial.state == "complete"]
    assert not pruned or len(complete) >= max(1, startup)
    for number in pruned:
        epoch = len(drawn[number][0])
        pair = drawn[number][0][-1]
        there = [pairs[epoch - 1] for pairs, _ in drawn if len(pairs) >= epoch]
        assert any(other[0] < pair[0] and other[1] < pair[1] for other in there)


@given(
    st.lists(st.integers(0, 40), min_size=3, max_size=15, unique=True),
    st.sampled_from([25.0, 50.0]),
)
def test_with_two_equal_objectives_the_rule_is_that_of_the_percentile(values, percentile):
    """One epoch, one value in both objectives: Optuna's pruner of one objective decides the
    same.
    """
    *complete, newest = map(float, values)
    trials = [stored_trial(number, [(value, value)]) for number, value in enumerate(complete)]
    trials.append(stored_trial(len(complete), [(newest, newest)], TrialState.RUNNING))
    rule = rule_of(percentile, 0, 0)
    limit = np.percentile(complete, percentile)
    # Because the rule compares quotients by a scale, rounding decides an exact tie.
    assume(newest != limit)
    expected = newest > limit
    assert bool(two().pruned(rule, trials[-1:], trials)) == expected


def test_trials_that_failed_make_no_front_and_nothing_ends_before_its_time():
    good = [stored_trial(number, [(5.0 + number, 5.0 + number)]) for number in range(4)]
    failed = stored_trial(4, [(0.0, 0.0)], TrialState.FAIL)
    leader = stored_trial(5, [(4.0, 4.0)], TrialState.RUNNING)
    last = stored_trial(6, [(9.0, 9.0)], TrialState.RUNNING)
    trials = [*good, failed, leader, last]
    for startup, warmup, ending in ((4, 1, [6]), (5, 1, []), (4, 2, [])):
        assert two().pruned(rule_of(50.0, startup, warmup), [leader, last], trials) == ending


@given(TRIALS, st.integers(2, 4))
def test_at_a_rung_the_front_goes_on_and_then_the_nearest(drawn, factor):
    trials = [stored_trial(number, pairs, state) for number, (pairs, state) in enumerate(drawn)]
    rungs = Rungs((1, 2), factor, two=two())
    running = [trial for trial in trials if trial.state == "running"]
    pausing = rungs.pausing(running, trials)
    for trial in running:
        epoch = len(trial.objectives)
        behind = two().behind(epoch, trials)
        place = sorted(behind, key=lambda number: (behind[number], number)).index(trial.number)
        goes_on = epoch not in (1, 2) or behind[trial.number] == 0 or place < len(behind) // factor
        assert (trial.number in pausing) != goes_on


def test_promotion_ends_with_complete_trials_and_keeps_the_checkpoints_of_those_that_may_be_revived():  # noqa: E501
    lanes = Plane(width=3, epochs=4)
    stored, _ = searched(lanes, **PROMOTION)
    states = {trial.state for trial in stored.trials}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}
    assert (
        {*lanes.checkpoints}
        == {f"trial-{trial.number:04d}" for trial in stored.trials if may_revive(trial)}
        != set()
    )


# ---- the budget ----


def test_stale_trials_count_since_the_front_moved():
    trials = [
        stored_trial(0, [(5.0, 5.0)]),
        stored_trial(1, [(6.0, 6.0)]),
        stored_trial(2, [(9.0, 1.0)]),
        stored_trial(3, [(0.0, 0.0)], TrialState.PRUNED),
        stored_trial(4, [(9.0, 1.0)]),
    ]
    assert [two().ended_since_gain(trials[:count], trials) for count in range(6)] == [
        0,
        0,
        1,
        0,
        1,
        2,
    ]


# ---- study files ----


class Train(BaseModel):
    """Training."""

    epochs: int = 4
    x: float = 0.5


def loaded(path: Path, text: str):
    file = path / "plane.yaml"
    file.write_text(
        f"question: Where is the front?\nsearch: {{x: {{low: 0, high: 1}}}}\nbudget: {{trials: "
        f"3}}\n{text}"
    )
    return load_study(file, sections={"train": Train}, epochs="epochs", metrics=OBJECTIVES)


def test_a_study_file_names_two_objectives(tmp_path):
    assert loaded(tmp_path, "objectives: [distortion, rate]\n").objectives == {
        "distortion": "val/distortion",
        "rate": "val/rate",
    }
    plain = loaded(tmp_path, "")
    assert plain.objectives == {}
    assert "objectives" not in plain.spec()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "objectives: [rate]",
            "objectives: got [rate]; must be two different ones of rate or distortion.",
        ),
        (
            "objectives: [rate, rate]",
            "objectives: got [rate, rate]; must be two different ones of rate or distortion.",
        ),
        (
            "objectives: [rate, distorsion]",
            "objectives.2: 'distorsion' is no objective. Did you mean 'distortion'?",
        ),
        ("objectives: rate", "objectives: got 'rate'; must be a list."),
        (
            "objectives: [rate, distortion]\nsampler: gp",
            "sampler.name: got gp, which searches for one objective; with two must be tpe, "
            "random, qmc or grid.",
        ),
        (
            "objectives: [rate, distortion]\npruner: hyperband",
            "pruner.name: got hyperband, which ranks trials by the values of one objective, "
            "while the front of two moves on; must be median, percentile, promotion or none.",
        ),
        (
            "objectives: [rate, distortion]\nconfirm: {top: 2, seeds: 3}",
            "confirm: ranks by one objective, and `objectives` names two. Drop `confirm`.",
        ),
        (
            "objectives: [rate, distortion]\nlearn_from: other",
            "learn_from: ranks by one objective",
        ),
        (
            "objectives: [rate, distortion]\nbaselines: {longer: {at: best, settings: {epochs: "
            "9}}}",
            "baselines.longer.at: got best, but of two objectives no configuration is the best; "
            "must be fixed.",
        ),
    ],
)
def test_mistakes_of_a_study_with_two_objectives(tmp_path, text, message):
    with pytest.raises(UserError) as caught:
        loaded(tmp_path, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
