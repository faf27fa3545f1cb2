"""The driver with a toy workload: rounds, budgets, duplicates, conditions, and every way that a
trial can end.
"""

import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from toy_lanes import SimulatedClock, ToyLanes
from toy_study import (
    CONDITIONAL,
    Watcher,
    X,
    decided_by,
    in_memory,
    run_repeats,
    search,
    table,
    toy_study,
)

from sweeps.engine import KNOWN_IN_A_ROW
from sweeps.lanes import Failure, TrialResult
from sweeps.search.proposals import propose
from sweeps.state.trial import Repeat
from sweeps.storage import repeat_study
from sweeps.testing import check_lanes

DIVERGED = Failure(kind="diverged", message="the loss became NaN")


def run(study, lanes=None, watcher=None, optuna_study=None, clock=None, **options):
    optuna_study = optuna_study or in_memory(study)
    lanes = lanes or ToyLanes()
    clock = clock or SimulatedClock()
    observers = [watcher] if watcher else []
    reason = search(
        optuna_study, study, lanes, observers, **{"clock": clock, "timer": clock} | options
    )
    return optuna_study, reason


def states(optuna_study):
    return [trial.state.name for trial in optuna_study.trials]


def level(*levels):
    """A curve that stays at a level given by the number of the trial."""
    return lambda trial, epoch, state: levels[trial.number]


# ---- rounds ----


def test_all_trials_of_a_round_are_reported_before_any_is_decided():
    study = toy_study(trials=4)
    watcher = Watcher()
    lanes = ToyLanes(width=2, epochs=2)
    run(study, lanes, watcher)
    assert watcher.events == [
        ("started", 0, False),
        ("started", 1, False),
        ("epoch", 0, 1),
        ("epoch", 1, 1),
        ("round",),
        ("epoch", 0, 2),
        ("epoch", 1, 2),
        ("ended", 0, "complete", None),
        ("ended", 1, "complete", None),
        ("round",),
        ("started", 2, False),
        ("started", 3, False),
        ("epoch", 2, 1),
        ("epoch", 3, 1),
        ("round",),
        ("epoch", 2, 2),
        ("epoch", 3, 2),
        ("ended", 2, "complete", None),
        ("ended", 3, "complete", None),
        ("round",),
    ]
    assert lanes.events[:5] == [
        "add 0@0",
        "add 1@0",
        "advance 0 1",
        "advance 0 1",
        "finish 0 complete",
    ]


def test_observers_hear_of_a_round_while_the_next_one_trains():
    """What ends is told of at once; for the rest, lanes are not kept waiting."""
    watcher, training = Watcher(), []

    class Training(ToyLanes):
        def advance(self, numbers):
            training.append(len(watcher.events))
            yield []
            yield [progress for [progress] in super().advance(numbers)]

    run(toy_study(trials=3), Training(width=2, epochs=2, last_epochs={0: 1}), watcher)
    before, told = 0, []
    for heard in [*training, len(watcher.events)]:
        told.append(watcher.events[before:heard])
        before = heard
    assert told == [
        [],
        [
            ("started", 0, False),
            ("started", 1, False),
            ("epoch", 0, 1),
            ("ended", 0, "complete", None),
        ],
        [
            ("epoch", 1, 1),
            ("round",),
            ("started", 2, False),
            ("epoch", 1, 2),
            ("ended", 1, "complete", None),
        ],
        [("epoch", 2, 1), ("round",), ("epoch", 2, 2), ("ended", 2, "complete", None), ("round",)],
    ]


def test_what_the_storage_holds_when_others_are_told():
    """Metrics before the value, the value before observers, all endings before the first tell."""
    study = toy_study(trials=2)
    optuna_study = in_memory(study)

    class Inspector(Watcher):
        def epoch_finished(self, trial, progress):
            stored = optuna_study.trials[trial.number]
            assert stored.intermediate_values[progress.epoch] == progress.objective
            assert stored.user_attrs[f"epoch/{progress.epoch}"]["metrics"] == dict(progress.metrics)

        def trial_ended(self, trial, outcome, result, duplicate_of):
            stored = optuna_study.trials
            assert stored[trial.number].state == TrialState.RUNNING
            assert all("outcome" in other.user_attrs for other in stored)
            assert stored[trial.number].user_attrs["results"] == dict(result.metrics)
            super().trial_ended(trial, outcome, result, duplicate_of)

    watcher = Inspector()
    run(study, ToyLanes(width=2, epochs=2), watcher, optuna_study)
    assert [event[0] for event in watcher.events].count("ended") == 2


def test_a_pruned_trial_frees_its_lane_in_the_same_round():
    pruner = {"startup_trials": 1, "warmup_epochs": 0}
    study = toy_study(trials=4, pruner="median", pruner_options=pruner)
    lanes = ToyLanes(width=1, epochs=3, objective=level(1.0, 2.0, 0.5, 3.0))
    optuna_study, _ = run(study, lanes)
    assert states(optuna_study) == ["COMPLETE", "PRUNED", "COMPLETE", "PRUNED"]
    assert optuna_study.trials[1].user_attrs["outcome"] == {
        "state": "pruned",
        "epoch": 1,
        "objective": 2.0,
        "failure": None,
    }
    assert lanes.events.count("advance 1") == 1


def test_pruning_sees_every_report_of_the_round_whatever_the_order_of_lanes():
    """Two trials reach a rung together: the second one's better value counts when the first is
    judged.
    """
    options = {"min_epochs": 1, "factor": 2}
    study = toy_study(trials=2, pruner="successive_halving", pruner_options=options)
    optuna_study, _ = run(study, ToyLanes(width=2, epochs=4, objective=level(1.0, 2.0)))
    assert states(optuna_study) == ["COMPLETE", "PRUNED"]


def test_observers_get_a_snapshot_of_each_round():
    watcher = Watcher()
    clock = SimulatedClock()
    study = toy_study(trials=3)
    run(
        study,
        ToyLanes(width=2, epochs=2, clock=clock, objective=level(3.0, 2.0, 1.0)),
        watcher,
        clock=clock,
    )
    first, second, *_, last = watcher.snapshots
    assert [(one.trial.number, one.epoch, one.objective) for one in first.running] == [
        (0, 1, 3.0),
        (1, 1, 2.0),
    ]
    assert (first.complete, first.best_objective, first.epochs, first.elapsed) == (0, None, 2, 1.0)
    assert (second.complete, second.best_objective, second.best_number) == (2, 2.0, 1)
    assert (last.phase, last.planned, last.complete, last.running) == ("search", 3, 3, ())
    assert (last.best_number, last.epochs, last.elapsed) == (2, 6, 4.0)


def test_the_same_study_repeats_exactly_and_another_seed_differs():
    study = toy_study(
        trials=8, sampler="tpe", sampler_options={"startup_trials": 3}, pruner="median"
    )
    first, second = (run(study, ToyLanes(width=3))[0] for _ in range(2))
    assert table(first) == table(second)
    other, _ = run(
        toy_study(trials=8, sampler="tpe", sampler_options={"startup_trials": 3}, seed=1)
    )
    assert other.trials[0].params != first.trials[0].params


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "grid", "cmaes", "gp"])
def test_every_sampler_gives_what_its_own_ask_would(sampler):
    """Thinking on a view of the storage changes nothing: the same numbers as with plain Optuna."""
    from sweeps.search.samplers import make_sampler

    options = {"tpe": {"startup_trials": 3}, "gp": {"startup_trials": 3}}.get(sampler, {})
    space = {
        "x": {"kind": "float", "low": 0.0, "high": 1.0, "step": 0.0625},
        "y": {"kind": "int", "low": 1, "high": 9},
    }
    study = toy_study(space, trials=6, sampler=sampler, sampler_options=options, name="plain")
    ours, _ = run(study, ToyLanes(width=1, epochs=1))
    plain = in_memory(toy_study(space, name="plain"))
    for number in range(6):
        plain.sampler = make_sampler(study.sampler, study.space, study.seed, number, {})
        trial = plain.ask()
        assert study.space.suggest(trial) == ours.trials[number].params
        plain.tell(trial, ours.trials[number].value)


def test_lists_are_stored_as_text_and_reach_the_workload_as_lists():
    seen = []
    search_space = {"hidden": {"kind": "choice", "values": [[64, 64], [128]]}}
    lanes = ToyLanes(
        epochs=1, objective=lambda trial, epoch, state: seen.append(trial.params) or 1.0
    )
    run(toy_study(search_space, trials=1), lanes)
    assert seen[0]["hidden"] in ([64, 64], [128])


# ---- conditions ----


@settings(max_examples=30, deadline=None)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_a_parameter_is_drawn_exactly_when_its_condition_holds(data, seed):
    names = ["a", "b", "c", "d"]
    space = {}
    for index, name in enumerate(names):
        space[name] = {"kind": "choice", "values": ["p", "q", "r"]}
        if index and data.draw(st.booleans(), label=f"{name} is conditional"):
            parent = data.draw(st.sampled_from(names[:index]), label=f"parent of {name}")
            allowed = data.draw(
                st.lists(st.sampled_from("pqr"), min_size=1, max_size=2, unique=True)
            )
            space[name]["when"] = {parent: allowed}
    optuna_study, _ = run(toy_study(space, trials=6, seed=seed), ToyLanes(epochs=1))
    for trial in optuna_study.trials:
        for name, content in space.items():
            holds = all(
                trial.params.get(parent) in allowed
                for parent, allowed in content.get("when", {}).items()
            )
            assert (name in trial.params) == holds


# ---- budgets ----


@pytest.mark.parametrize(
    ("budget", "lanes", "trials", "reason"),
    [
        ({"trials": 3}, {"width": 2}, 3, "The budget of 3 trials is used up."),
        ({"epochs": 9}, {"width": 2, "epochs": 4}, 4, "The budget of 9 epochs is used up."),
        (
            {"trials": 100, "epochs": 4},
            {"width": 2, "epochs": 2},
            2,
            "The budget of 4 epochs is used up.",
        ),
        (
            {"stale_trials": 3},
            {"width": 1, "epochs": 1},
            5,
            "The last 3 finished trials brought no better value.",
        ),
    ],
    ids=["trials", "epochs", "the first limit that is reached", "stale trials"],
)
def test_a_budget_ends_the_search(budget, lanes, trials, reason):
    values = level(3.0, 2.0, 2.5, 2.0, 4.0, 1.0)
    optuna_study, why = run(toy_study(**budget), ToyLanes(**lanes, objective=values))
    assert (len(optuna_study.trials), why) == (trials, reason)


def test_budget_of_seconds_lets_running_trials_finish():
    clock = SimulatedClock()
    optuna_study, reason = run(
        toy_study(seconds=6.5), ToyLanes(width=2, epochs=4, clock=clock), clock=clock
    )
    assert states(optuna_study) == ["COMPLETE"] * 4
    assert optuna_study.user_attrs["elapsed"] == 8.0
    assert reason == "The budget of 6.5 seconds is used up."


def test_a_stale_search_goes_on_when_a_running_trial_turns_out_better():
    values = level(1.0, 2.0, 2.0, 0.5, *[3.0] * 10)
    lanes = ToyLanes(width=2, epochs=1, last_epochs={3: 4}, objective=values)
    optuna_study, _ = run(toy_study(stale_trials=3), lanes)
    assert optuna_study.best_trial.number == 3
    assert len(optuna_study.trials) > 5  # it had stopped asking after 0, 1, 2 and 4


def test_continuing_counts_what_is_there():
    optuna_study, _ = run(toy_study(trials=4), ToyLanes(width=2, epochs=2))
    whole, _ = run(toy_study(trials=7), ToyLanes(width=2, epochs=2))
    watcher, lanes = Watcher(), ToyLanes(width=2, epochs=2)
    _, reason = run(toy_study(trials=4), lanes, watcher, optuna_study)
    assert (reason, watcher.events, lanes.events) == ("The budget of 4 trials is used up.", [], [])
    run(toy_study(trials=7), lanes, watcher, optuna_study)
    assert [event[1] for event in watcher.events if event[0] == "started"] == [4, 5, 6]
    assert [trial.params for trial in optuna_study.trials] == [
        trial.params for trial in whole.trials
    ]


def test_seconds_add_up_over_processes_and_time_between_them_does_not_count():
    clock = SimulatedClock()
    study = toy_study(seconds=10)
    optuna_study = in_memory(study)

    def interrupt(event):
        if clock.now == 6.0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(
            study,
            ToyLanes(width=1, epochs=4, clock=clock, before=interrupt),
            None,
            optuna_study,
            clock,
        )
    assert optuna_study.user_attrs["elapsed"] == 6.0
    clock.now = 1e6
    run(study, ToyLanes(width=1, epochs=4, clock=clock), None, optuna_study, clock)
    assert optuna_study.user_attrs["elapsed"] == 12.0


def test_a_finished_study_that_is_extended_is_no_longer_finished():
    optuna_study, _ = run(toy_study(trials=2))
    optuna_study.set_user_attr("finished", True)
    seen = []

    class Inspector(Watcher):
        def epoch_finished(self, trial, progress):
            seen.append((optuna_study.user_attrs["stopped"], optuna_study.user_attrs["finished"]))

    run(toy_study(trials=2), None, Inspector(), optuna_study)
    assert optuna_study.user_attrs["finished"] is True
    run(toy_study(trials=3), None, Inspector(), optuna_study)
    assert set(seen) == {(None, False)}
    assert optuna_study.user_attrs["stopped"] == "The budget of 3 trials is used up."


# ---- duplicates ----

TWO = {"a": {"kind": "choice", "values": ["p", "q"]}}


def test_a_setting_that_is_done_is_not_trained_again():
    watcher, lanes = Watcher(), ToyLanes(width=1, epochs=2)
    optuna_study, _ = run(toy_study(TWO, trials=8), lanes, watcher)
    trained = {event[1] for event in watcher.events if event[0] == "epoch"}
    assert len(trained) == 2
    assert sum(event.startswith("add") for event in lanes.events) == 2
    for trial in optuna_study.trials:
        original = trial.user_attrs.get("duplicate_of")
        assert (original is None) == (trial.number in trained)
        if original is not None:
            twin = optuna_study.trials[original]
            assert (trial.params, trial.state, trial.value) == (twin.params, twin.state, twin.value)
            assert trial.user_attrs["outcome"] == twin.user_attrs["outcome"]
            assert trial.user_attrs["results"] == twin.user_attrs["results"]
            assert ("ended", trial.number, "complete", original) in watcher.events


def test_a_duplicate_of_a_running_trial_waits_for_it_without_a_lane():
    watcher, lanes = Watcher(), ToyLanes(width=3, epochs=2)
    optuna_study, _ = run(toy_study(TWO, trials=6), lanes, watcher)
    assert states(optuna_study) == ["COMPLETE"] * 6
    assert sum(event.startswith("add") for event in lanes.events) == 2
    starts = [index for index, event in enumerate(watcher.events) if event[0] == "started"]
    assert max(starts) < watcher.events.index(("epoch", 0, 1))
    ends = {event[1]: index for index, event in enumerate(watcher.events) if event[0] == "ended"}
    for trial in optuna_study.trials:
        if (original := trial.user_attrs.get("duplicate_of")) is not None:
            assert ends[trial.number] > ends[original]


def test_a_duplicate_of_a_failed_trial_is_trained():
    failures = {0: (2, DIVERGED)}
    optuna_study, _ = run(
        toy_study({"a": {"kind": "choice", "values": ["p"]}}, trials=4),
        ToyLanes(width=2, epochs=3, failures=failures),
    )
    assert states(optuna_study) == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    first, second, third, fourth = (trial.user_attrs for trial in optuna_study.trials)
    assert first["outcome"]["failure"]["kind"] == "diverged"
    assert (second["duplicate_of"], second["round"]) == (None, 2)
    assert (third["duplicate_of"], fourth["duplicate_of"]) == (1, 1)
    assert len(optuna_study.trials[1].intermediate_values) == 3


def test_a_search_without_new_settings_ends():
    optuna_study, reason = run(toy_study(TWO, seconds=1000.0), ToyLanes(width=1))
    assert reason == f"The sampler proposed only known settings, {KNOWN_IN_A_ROW} times in a row."
    assert len(optuna_study.trials) < 3 * KNOWN_IN_A_ROW


def test_a_grid_ends_when_each_setting_is_done():
    optuna_study, reason = run(
        toy_study(CONDITIONAL, trials=100, sampler="grid"), ToyLanes(epochs=1)
    )
    assert reason == "Every setting of the grid is done."
    found = sorted(tuple(sorted(trial.params.items())) for trial in optuna_study.trials)
    mixtures = [(("components", count), ("prior", "mixture")) for count in (2, 3, 4)]
    assert found == [*mixtures, (("prior", "normal"),)]


@pytest.mark.parametrize(
    ("sampler", "pruner"), [("tpe", "median"), ("qmc", "promotion"), ("curves", "promotion")]
)
def test_trials_chosen_while_others_train_are_those_chosen_after(sampler, pruner):
    options = {} if sampler in ("random", "qmc") else {"startup_trials": 5}
    study = toy_study(
        {**X, "y": {"kind": "float", "low": 0.01, "high": 1.0}},
        trials=24,
        sampler=sampler,
        sampler_options=options,
        pruner=pruner,
        pruner_options={"rungs": [1, 2], "factor": 2} if pruner == "promotion" else {},
    )
    training, ahead, seconds = [False], [], [0.0]

    class Waiting(ToyLanes):
        def advance(self, numbers):
            training[0] = True
            yield []
            training[0] = False
            time.sleep(seconds[0])  # a quarter of a round is there to choose in
            yield from super().advance(numbers)

    def counted(store, sampler, space, shown, **more):
        if training[0]:
            ahead.append(len(shown.proposals))
        return propose(store, sampler, space, shown, **more)

    lanes = {
        "width": 4,
        "epochs": 3,
        "last_epochs": {1: 1, 2: 1, 3: 2, 4: 2, 5: 2, 6: 1, 7: 1, 8: 2},
    }
    hasty = in_memory(study)
    with decided_by(4), pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweeps.search.searched_trials.propose", counted)
        search(hasty, study, ToyLanes(**lanes), [])
        assert ahead == []
        for seconds[0] in (
            (0.4, 1.6, 3.2, 12.8) if sampler == "gp" else (0.1, 0.4, 1.6, 6.4)
        ):  # a busy machine chooses slowly
            patient = in_memory(study)
            search(patient, study, Waiting(**lanes), [])
            assert table(patient) == table(hasty)
            if max(ahead) >= 2:
                break
    assert max(ahead) >= 2, "some were chosen after others that were not on record yet"


# ---- repeats ----


def repeat(source_trial=0, seed=1, index=0, test=True, x=0.5, purposes=("confirm",)):
    return Repeat(
        source_trial=source_trial,
        params={"x": x},
        seed=seed,
        seed_index=index,
        purposes=purposes,
        test=test,
    )


def test_repeats_are_trained_once_each_and_marked():
    plan = [
        repeat(seed=1),
        repeat(seed=2, index=1),
        repeat(source_trial=3, seed=1, test=False, x=0.25, purposes=("compare",)),
    ]
    storage = in_memory(toy_study())._storage
    optuna_study = repeat_study(storage, "toy")
    seen = []
    value = lambda trial, epoch, state: seen.append(trial) or state  # noqa: E731
    watcher = Watcher()
    for _ in range(2):
        run_repeats(
            optuna_study,
            plan,
            ToyLanes(epochs=2, objective=value),
            [watcher],
            clock=SimulatedClock(),
        )
    assert states(optuna_study) == ["COMPLETE"] * 3
    assert optuna_study.study_name == "toy.repeats"
    assert [trial.user_attrs["source_trial"] for trial in optuna_study.trials] == [0, 0, 3]
    assert [trial.user_attrs["seed_index"] for trial in optuna_study.trials] == [0, 1, 0]
    assert [trial.user_attrs["purposes"] for trial in optuna_study.trials] == [
        ["confirm"],
        ["confirm"],
        ["compare"],
    ]
    assert [trial.user_attrs["params"] for trial in optuna_study.trials] == [
        {"x": 0.5},
        {"x": 0.5},
        {"x": 0.25},
    ]
    assert {trial.folder_name for trial in seen} == {"repeat-0000", "repeat-0001", "repeat-0002"}
    assert {(trial.seed, trial.test) for trial in seen} == {(1, True), (2, True), (1, False)}
    assert {snapshot.phase for snapshot in watcher.snapshots} == {"repeats"}
    assert watcher.snapshots[-1].planned == 3


# ---- the toy itself ----


def test_the_toy_passes_the_checks_for_lanes():
    checkpoints = {}
    make = lambda: ToyLanes(width=2, epochs=9, checkpoints=checkpoints)  # noqa: E731
    check_lanes(make, [{"x": 0.1}, {"x": 0.7}, {"x": 0.4}], epochs=4)


class Neighbourly(ToyLanes):
    """Wrong: an epoch depends on how many train at once."""

    def advance(self, numbers):
        for [p] in super().advance(numbers):
            yield [replace(p, objective=p.objective + 0.1 * len(numbers))]


class Forgetful(ToyLanes):
    """Wrong: starts again at the checkpoint and never catches up."""

    def replay(self):
        for lane in self._lanes.values():
            lane.epoch = lane.trial.epoch


class Greedy(ToyLanes):
    """Wrong: trains every lane, whoever is asked for."""

    def advance(self, numbers):
        for [progress] in super().advance(list(self._lanes)):
            if progress.number in numbers:
                yield [progress]


class Mistaken(ToyLanes):
    """Wrong: hands back another trial's result."""

    def finish(self, ending):
        return [TrialResult(number=result.number + 1) for result in super().finish(ending)]


@pytest.mark.parametrize("wrong", [Neighbourly, Forgetful, Greedy, Mistaken])
def test_the_checks_for_lanes_find_what_is_wrong(wrong):
    checkpoints = {}
    make = lambda: wrong(width=2, epochs=9, checkpoints=checkpoints)  # noqa: E731
    with pytest.raises(AssertionError):
        check_lanes(make, [{"x": 0.1}, {"x": 0.7}, {"x": 0.4}], epochs=4)
