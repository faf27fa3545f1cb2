"""Promotion where rounds are decided late: nobody waits to know who pauses, and nobody trains an
epoch beyond a rung.
"""

from contextlib import closing

import counting
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_resume import CURVES, FAILURES, Killed, _tables, falling, reviving
from toy_lanes import EagerLanes, SimulatedClock, ToyLanes
from toy_study import MemoryJournal, X, decided_by, in_memory, search, table, toy_study

from sweeps.engine.trial_loop import Rounds
from sweeps.lanes.worker_pool import WorkerPool
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


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_workers_of_different_speed_and_kills_end_in_the_table_of_one_process(
    sampler, tmp_path, monkeypatch
):
    study, went_on = toy_study(trials=14, **SAMPLERS[sampler], **promotion([1, 3], 2)), []
    plan = Rounds._plan

    def noted(rounds, numbers):
        ending, begin = plan(rounds, numbers)
        went_on.extend(trial for trial in begin if trial.epoch)
        return ending, begin

    monkeypatch.setattr(Rounds, "_plan", noted)

    def pool(folder):
        folder.mkdir(exist_ok=True)
        each = [{"folder": folder, "width": 2, "seconds": seconds} for seconds in (0.0, 0.01, 0.03)]
        return WorkerPool(counting.build_uneven, each)

    with decided_by(1):
        alone, calm = in_memory(study), MemoryJournal()
        (tmp_path / "alone").mkdir()
        search(alone, study, counting.build_uneven(tmp_path / "alone", 6), [])
        with closing(pool(tmp_path / "calm")) as lanes:
            search(in_memory(study, calm), study, lanes, [])
        assert table(in_memory(study, calm)) == table(alone)
        assert went_on, "workers went on with promoted trials before the round was over"
        assert not list((tmp_path / "calm").glob("replayed-*")), (
            "from the checkpoints of their pauses"
        )
        journal = MemoryJournal()
        for writes in (len(calm.lines) // 3, len(calm.lines) // 4):
            left = iter(range(writes))

            def before(left=left):
                if next(left, None) is None:
                    raise Killed

            journal.before = before
            with closing(pool(tmp_path / "killed")) as lanes, pytest.raises(Killed):
                search(in_memory(study, journal), study, lanes, [])
        journal.before = lambda: None
        with closing(pool(tmp_path / "killed")) as lanes:
            search(in_memory(study, journal), study, lanes, [])
        assert table(in_memory(study, journal)) == table(alone)


def test_a_revived_trial_that_pauses_goes_on_again_under_its_new_number():
    tables = []
    for kind in (ToyLanes, EagerLanes):
        with decided_by(1):
            world = reviving(30, top=5, **promotion([1, 2, 3], 2))
            world.kind = kind
            assert world.process()
        tables.append(_tables(world.journal))
    assert tables[0] == tables[1]
    [(_, trials)] = tables[0]
    revived = [trial["attrs"] for trial in trials if trial["attrs"].get("revives") is not None]
    assert any(
        sum(pause["until"] is not None for pause in attrs["pauses"]) > 1 for attrs in revived
    )
    assert len({attrs["revives"] for attrs in revived}) == len(revived), "nobody is revived twice"
