"""Failed trials and repeats that are trained once more: the new one stands for the failed one, and
the budget counts them once.
"""

from dataclasses import replace

import pytest
from optuna_trials import newest_of_each
from toy_lanes import ToyLanes
from toy_study import Fixed, Watcher, in_memory, run_repeats, search, toy_study

from sweeps.engine.races import GrowingPlan
from sweeps.engine.repeats import plan_repeats
from sweeps.lanes import Failure
from sweeps.storage import repeat_study
from sweeps.storage.store import Store
from sweeps.storage.study_record import read_state
from sweeps.study.study_model import Baseline, Compare, Confirm

BUG = Failure(kind="error", message="a bug")


class Warm(Fixed):
    warm: float = 1.5


@pytest.mark.parametrize("failed", [[1, 2, 5]])
def test_a_retried_trial_has_the_values_of_one_that_never_failed(failed):
    study = toy_study(trials=6)
    plain, mended = in_memory(study), in_memory(study)
    search(plain, study, ToyLanes(width=6, epochs=3), [])
    search(mended, study, ToyLanes(width=6, epochs=3, failures=dict.fromkeys(failed, (2, BUG))), [])
    assert Store(mended, study.space).retry(0.0) == len(failed)
    assert Store(mended, study.space).retry(0.0) == 0, "they run now"
    search(mended, study, ToyLanes(width=6, epochs=3), [])
    newest = newest_of_each(mended.trials)
    assert len(mended.trials) == 6 + len(failed)
    values = sorted(
        (tuple(trial.params.values()), trial.value, trial.user_attrs["seed"]) for trial in newest
    )
    assert values == sorted(
        (tuple(t.params.values()), t.value, t.user_attrs["seed"]) for t in plain.trials
    )
    assert [mended.trials[number].state.name for number in failed] == ["FAIL"] * len(failed)


SPACE = {
    "x": {"kind": "float", "low": 0.0, "high": 1.0},
    "b": {"kind": "choice", "values": ["p", "q"]},
}
CONFIRM = replace(toy_study(SPACE), confirm=Confirm(top=2, seeds=3))
RACE = replace(toy_study(SPACE), confirm=Confirm(top=3, seeds=5, race=True))
COMPARE = replace(toy_study(SPACE), compare=Compare(parameters=["b"], top=1, seeds=3))
BASELINE = replace(
    toy_study(SPACE),
    baselines=(Baseline(name="plain", title="plain", seeds=4, settings={"x": 0.5, "b": "p"}),),
)


def repeated(study, failures, *then):
    """Search, then train the repeats with these failures; then once more with each of the later
    ones. Return all repeats.
    """
    optuna_study = in_memory(study)
    storage = optuna_study._storage
    search(optuna_study, study, ToyLanes(), [])
    for number, failing in enumerate((failures, *then)):
        stored = read_state(storage, "toy")
        plan = GrowingPlan(stored, study) if study is RACE else plan_repeats(stored, study)
        run_repeats(
            repeat_study(storage, "toy"),
            plan,
            ToyLanes(width=2, failures=failing),
            [],
            retry_failed=number > 0,
        )
    return read_state(storage, "toy").repeats


def counting(repeats):
    """What the tables count: state, values and purposes of the runs of the newest plan."""
    return sorted(
        (
            run.source_trial or -1,
            run.seed,
            str(run.params),
            run.purposes,
            run.pair_ids,
            run.outcome.objective,
        )
        for run in repeats
        if run.purposes and run.state == "complete"
    )


@pytest.mark.parametrize("failed", [[1, 3]])
@pytest.mark.parametrize("study", [CONFIRM, RACE, COMPARE, BASELINE])
def test_a_retried_repeat_counts_as_one_that_never_failed(study, failed):
    plain = repeated(study, {})
    failures = dict.fromkeys(failed, (1, BUG))
    mended = repeated(study, failures, {})
    assert counting(mended) == counting(plain)
    assert [mended[number].purposes for number in failed] == [()] * len(failed), (
        "the failed ones count nowhere"
    )
    assert {run.before.number for run in mended if run.before} == set(failed)


def test_progress_counts_a_retried_repeat_once():
    watcher, optuna_study = Watcher(), in_memory(CONFIRM)
    storage = optuna_study._storage
    search(optuna_study, CONFIRM, ToyLanes(), [])
    plan, repeats = plan_repeats(read_state(storage, "toy"), CONFIRM), repeat_study(storage, "toy")
    run_repeats(repeats, plan, ToyLanes(failures={1: (1, BUG)}), [])
    run_repeats(repeats, plan, ToyLanes(), [watcher], retry_failed=True)
    assert watcher.snapshots[-1].planned == watcher.snapshots[-1].complete == len(plan)


def test_a_repeat_that_fails_again_is_retried_again_and_one_that_is_complete_is_not():
    plain = repeated(CONFIRM, {})
    twice = repeated(CONFIRM, {2: (1, BUG)}, {len(plain): (1, BUG)}, {}, {})
    assert counting(twice) == counting(plain)
    assert len(twice) == len(plain) + 2


def test_what_is_trained_once_more_keeps_its_warmup():
    study = replace(
        toy_study(trials=4, fixed=Warm()), confirm=Confirm(top=1, seeds=2), warmup="warm"
    )
    optuna_study = in_memory(study)
    storage = optuna_study._storage
    search(optuna_study, study, ToyLanes(epochs=4, failures={1: (2, BUG)}), [])
    assert Store(optuna_study, study.space).retry(0.0) == 1
    search(optuna_study, study, ToyLanes(epochs=4), [])
    for number, failures in enumerate(({1: (2, BUG)}, {})):
        plan = plan_repeats(read_state(storage, "toy"), study)
        lanes = ToyLanes(epochs=4, failures=failures)
        run_repeats(
            repeat_study(storage, "toy"),
            plan,
            lanes,
            [],
            warmup=study.warmup_of,
            retry_failed=number > 0,
        )
    stored = read_state(storage, "toy")
    went_on = {run.name_in("toy"): run.before.name_in("toy") for run in stored.runs if run.before}
    assert went_on == {"toy/4": "toy/1", "toy/r2": "toy/r0"} or went_on == {
        "toy/4": "toy/1",
        "toy/r2": "toy/r1",
    }
    assert {run.warmup for run in stored.records} == {2}
