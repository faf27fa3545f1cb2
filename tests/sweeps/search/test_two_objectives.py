"""Searches for two objectives: what samplers see, whom the rule prunes and promotes, kills, and
mistakes of study files.
"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial
from optuna_trials import as_read, may_revive
from pydantic import BaseModel
from toy_plane import MEDIAN, OBJECTIVES, PROMOTION, Plane, study_of
from toy_study import MemoryJournal, Watcher, in_memory, search, table

from sweeps.errors import UserError
from sweeps.results import best_record, front_trials, last_values, ranked_trials
from sweeps.results.front import pareto_front
from sweeps.search.promotion import Rungs
from sweeps.search.pruners import Quantile
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


def test_metrics_alone_make_no_second_objective():
    """Without `objectives` trials end with the one value of the workload, and the record has no
    such entry.
    """
    study = replace(study_of(), objectives={})
    stored = in_memory(study)
    search(stored, study, Plane(width=3, epochs=4), [])
    assert "objectives" not in study.spec()
    complete = [trial for trial in stored.trials if trial.state == TrialState.COMPLETE]
    assert 3 <= len(complete) < 30
    assert [trial.values for trial in complete] == [
        [min(trial.intermediate_values.values())] for trial in complete
    ]


@pytest.mark.parametrize("options", [MEDIAN, PROMOTION], ids=["median", "promotion"])
def test_the_front_is_the_same_where_rounds_are_decided_late(options):
    """From 16 lanes on. A study that is killed there ends in the same table, too."""
    study, calm = study_of(trials=40, **options), MemoryJournal()
    search(in_memory(study, calm), study, Plane(width=16, epochs=4), [])
    expected, count = table(in_memory(study, calm)), len(calm.lines)
    assert sum(row["state"] == "PRUNED" for row in expected) > 3
    for moment in range(60, count, count // 6):
        assert table_after_a_kill(study, moment, width=16) == expected


def table_after_a_kill(study, moment, *, width):
    """The table of a search whose process dies at a write, and which another process takes to its
    end.
    """
    journal, checkpoints, writes = MemoryJournal(), {}, iter(range(10**9))

    def before():
        if next(writes) == moment:
            raise Killed

    journal.before = before
    with pytest.raises(Killed):
        search(
            in_memory(study, journal),
            study,
            Plane(width=width, epochs=4, checkpoints=checkpoints),
            [],
        )
    journal.before = lambda: None
    search(
        in_memory(study, journal), study, Plane(width=width, epochs=4, checkpoints=checkpoints), []
    )
    return table(in_memory(study, journal))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("options", [MEDIAN, PROMOTION], ids=["median", "promotion"])
def test_a_search_that_is_killed_anywhere_ends_in_the_same_table(options):
    study = study_of(trials=10, **options)
    calm = MemoryJournal()
    search(in_memory(study, calm), study, Plane(width=2, epochs=4), [])
    expected, count = table(in_memory(study, calm)), len(calm.lines)
    assert any(row["state"] == "PRUNED" for row in expected)
    for moment in range(5, count, 11):
        assert table_after_a_kill(study, moment, width=2) == expected, f"killed at write {moment}"


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
    rule = Quantile(percentile=percentile, startup_trials=startup, warmup_epochs=0)
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
    rule = Quantile(percentile=percentile, startup_trials=0, warmup_epochs=0)
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
    rule = Quantile(percentile=50.0, startup_trials=4, warmup_epochs=1)
    assert two().pruned(rule, [leader, last], trials) == [6]
    assert two().pruned(replace(rule, startup_trials=5), [leader, last], trials) == []
    assert two().pruned(replace(rule, warmup_epochs=2), [leader, last], trials) == []
    assert two().pruned(None, [leader, last], trials) == []


@given(TRIALS)
def test_the_decision_of_a_process_that_starts_anew_is_the_same(drawn):
    """A process that has seen the trials grow knows no more than one that sees them for the first
    time.
    """
    old, rule = two(), Quantile(percentile=50.0, startup_trials=1, warmup_epochs=0)
    for length in (1, 2, 3):
        trials = [
            stored_trial(number, pairs[:length], state)
            for number, (pairs, state) in enumerate(drawn)
        ]
        running = [trial for trial in trials if trial.state == "running"]
        assert old.pruned(rule, running, trials) == two().pruned(rule, running, trials)
        assert old.behind(length, trials) == two().behind(length, trials)


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


def test_a_workload_that_names_no_metrics_has_one_objective(tmp_path):
    file = tmp_path / "plane.yaml"
    file.write_text(
        "question: q\nsearch: {x: {low: 0, high: 1}}\nbudget: {trials: 3}\nobjectives: [rate, "
        "distortion]\n"
    )
    with pytest.raises(UserError, match="names no metrics that could be objectives"):
        load_study(file, sections={"train": Train})


def test_optuna_prunes_no_study_with_two_objectives():
    """The reason for a rule of our own; when Optuna has one (optuna#3450), this test says so."""
    study = optuna.create_study(directions=["minimize", "minimize"])
    with pytest.raises(NotImplementedError):
        study.ask().report(1.0, 1)
