"""Promotion where rounds are decided late: nobody waits to know who pauses, and nobody trains an
epoch beyond a rung.
"""

from hypothesis import given, settings
from hypothesis import strategies as st
from test_resume import CURVES, FAILURES, falling
from toy_lanes import EagerLanes, SimulatedClock, ToyLanes
from toy_study import X, decided_by, in_memory, search, toy_study

from sweeps.storage.optuna_internals import storage_of
from sweeps.storage.study_record import read_state

TPE = {"sampler": "tpe", "sampler_options": {"startup_trials": 3}}
SAMPLERS = {"tpe": TPE, "curves": CURVES}


def promotion(rungs, factor):
    return {"pruner": "promotion", "pruner_options": {"rungs": rungs, "factor": factor}}


def least(record, epoch):
    return min(each.objective for each in record.epochs[:epoch])


@settings(max_examples=20, deadline=None)
@given(
    width=st.integers(1, 8),
    rungs=st.sampled_from([[1], [1, 2], [2, 3]]),
    factor=st.integers(2, 4),
    failures=st.dictionaries(
        st.integers(0, 12), st.sampled_from(list(FAILURES.values())), max_size=3
    ),
    kind=st.sampled_from([ToyLanes, EagerLanes]),
)
def test_each_pause_follows_from_the_rounds_before_and_the_trial_itself(
    width, rungs, factor, failures, kind
):
    study = toy_study(X, trials=20, **promotion(rungs, factor))
    stored = in_memory(study)
    lanes = kind(width=width, epochs=5, curve=falling, failures=failures)
    with decided_by(1):
        search(stored, study, lanes, [], clock=SimulatedClock())
    records = read_state(storage_of(stored), "toy").trials
    for epoch in rungs:
        reached = [record for record in records if len(record.epochs) >= epoch]
        for record in reached:
            round_ = record.round_of(epoch)
            before = [
                (least(each, epoch), each.number)
                for each in reached
                if each.round_of(epoch) < round_
            ]
            own = least(record, epoch), record.number
            goes_on = sorted([*before, own]).index(own) < (len(before) + 1) // factor
            pause = next((pause for pause in record.pauses if pause.epoch == epoch), None)
            assert (pause is None) == goes_on
            if pause:
                assert pause.round == round_, "it left its lane with the round of the rung"
                assert pause.until is None or pause.until >= round_ + 2, (
                    "others were chosen for the next round"
                )
            if pause is None or pause.until is None:
                assert len(record.epochs) == epoch or pause is None, "it trained no epoch more"
