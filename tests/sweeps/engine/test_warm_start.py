"""Studies that take over from another: its best configurations come first, its trials teach the
sampler, and it may then go.
"""

import itertools
import logging
import shutil
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.trial import TrialState
from toy_lanes import SimulatedClock, ToyLanes
from toy_study import Fixed, MemoryJournal, Watcher, search, table, toy_study

from sweeps.engine import run_study
from sweeps.engine.warm_start import fitted, warm_start
from sweeps.errors import UserError
from sweeps.results import ranked_trials
from sweeps.search.proposals import learned_trials
from sweeps.state.record import LearnedTrial, StudyRecord
from sweeps.storage import open_storage, open_study, study_names
from sweeps.storage.study_record import read_state, record_in, study_record
from sweeps.study.space import Space
from sweeps.study.start import BestOf

PROTOCOL = {"objective": "the toy level", "data": "toys", "epochs": "5"}
TWO = {"x": {"kind": "float", "low": 0.0, "high": 1.0}, "n": {"kind": "int", "low": 1, "high": 8}}
CONDITIONAL = {
    "prior": {"kind": "choice", "values": ["normal", "mixture"]},
    "components": {"kind": "int", "low": 2, "high": 9, "when": {"prior": ["mixture"]}},
    "x": {"kind": "float", "low": 0.0, "high": 1.0},
}


def lanes(**options):
    return ToyLanes(**{"width": 2} | options)


def run(study, runs, protocol=PROTOCOL, **options):
    return run_study(study, lambda: lanes(**options), runs=runs, protocol=protocol)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A runs folder with a finished study, some of whose trials were pruned."""
    runs = tmp_path_factory.mktemp("runs")
    study = toy_study(
        TWO, name="first", trials=24, pruner="median", pruner_options={"startup_trials": 3}
    )
    stored = run(study, runs)
    assert {trial.state for trial in stored.trials} == {"complete", "pruned"}
    return runs, stored


@pytest.fixture
def runs(first, tmp_path):
    """A copy of that folder."""
    return shutil.copytree(first[0], tmp_path / "runs")


def second(space=TWO, name="second", **options):
    fields = {
        field: options.pop(field) for field in ("start", "learn_from", "fixed") if field in options
    }
    study = toy_study(space, name=name, **{"trials": 12, "sampler": "tpe"} | options)
    return replace(study, **fields)


# ---- start ----


def test_the_first_trials_take_the_best_configurations_in_order(first, runs):
    best = [dict(trial.params) for trial in ranked_trials(first[1])[:3]]
    stored = run(second(start=(BestOf(study="first", top=3), {"n": 2})), runs)
    assert [dict(trial.params) for trial in stored.trials[:3]] == best
    assert stored.trials[3].params["n"] == 2
    assert list(stored.study.start) == [*best, {"n": 2}]
    assert stored.study.spec["start"] == [{"study": "first", "top": 3}, {"n": 2}]


def test_a_study_that_has_begun_needs_the_other_no_more(first, runs):
    def stop(event):
        if event == "advance 4 5":
            raise KeyboardInterrupt

    study = second(start=(BestOf(study="first", top=5),), learn_from="first")
    whole = run(replace(study, name="whole"), shutil.copytree(runs, runs.parent / "other"))
    with pytest.raises(KeyboardInterrupt):
        run(study, runs, before=stop)
    for path in (runs / "journal").glob("first*"):
        path.unlink()
    stored = run(study, runs)
    assert [(t.params, t.objective) for t in stored.trials] == [
        (t.params, t.objective) for t in whole.trials
    ]
    with pytest.raises(UserError, match="no study of this storage"):
        run(replace(study, name="third"), runs)


def test_values_that_do_not_fit_are_left_out_with_a_line(runs, caplog):
    narrow = {"x": TWO["x"], "n": {"kind": "int", "low": 100, "high": 200}}
    with caplog.at_level(logging.WARNING):
        stored = run(second(narrow, start=(BestOf(study="first", top=1),)), runs)
    assert [*stored.study.start[0]] == ["x"]
    (line,) = caplog.messages
    assert "goes without n = " in line
    assert "here it takes whole numbers from 100 to 200; the sampler chooses another" in line


def test_a_value_that_is_fixed_otherwise_is_named_and_an_equal_one_is_not():
    study = replace(toy_study({"x": TWO["x"]}), fixed={"train": Fixed(epochs=7)})
    assert fitted({"x": 0.5, "epochs": 7}, {}, study) == ({"x": 0.5}, [])
    point, without = fitted({"x": 0.5, "epochs": 5, "y": 1}, {}, study)
    assert point == {"x": 0.5}
    assert without == [
        "epochs = 5, because here it is fixed at 7",
        "y = 1, because here it does not exist",
    ]


def test_settings_that_the_other_study_fixes_count_where_they_are_searched_here():
    study = toy_study(CONDITIONAL)
    constants = {"prior": "mixture", "components": 4, "x": 0.1}
    assert fitted({"x": 0.5}, constants, study)[0] == {
        "x": 0.5,
        "prior": "mixture",
        "components": 4,
    }
    assert fitted({"x": 0.5}, constants | {"prior": "normal"}, study)[0] == {
        "x": 0.5,
        "prior": "normal",
    }


# ---- what is refused, before anything is written ----

WRONG = {
    "no such study": (
        {"start": (BestOf(study="frist"),)},
        PROTOCOL,
        r"start.1.study: got 'frist'.*'first'\?",
    ),
    "itself": (
        {"start": ({"n": 2}, BestOf(study="second"))},
        PROTOCOL,
        r"start.2.study: got 'second', which is this study",
    ),
    "too many": (
        {"start": (BestOf(study="first", top=99),)},
        PROTOCOL,
        r"start.1.top: got 99; must be at most \d+",
    ),
    "another objective": (
        {"start": (BestOf(study="first"),)},
        PROTOCOL | {"objective": "accuracy"},
        "start.1.study: got 'first', whose objective is the toy level; must be accuracy",
    ),
    "another protocol": (
        {"learn_from": "first"},
        PROTOCOL | {"epochs": "30", "likelihood": "bernoulli"},
        "learn_from: got 'first', whose protocol differs: epochs is 5 there and 30 here; "
        "likelihood is not recorded there and bernoulli here. Its best configurations can still "
        "be tried",
    ),
    "no protocol": ({"learn_from": "first"}, {}, "5 there and not recorded here"),
    "nothing fits": (
        {"learn_from": "first", "space": TWO | {"x": {"kind": "float", "low": 5.0, "high": 6.0}}},
        PROTOCOL,
        r"learn_from: got 'first', of whose \d+ finished trials none lies",
    ),
}


@pytest.mark.parametrize(("options", "protocol", "message"), WRONG.values(), ids=WRONG)
def test_another_study_that_does_not_serve_is_refused(runs, options, protocol, message):
    with pytest.raises(UserError, match=message) as caught:
        run(second(**options), runs, protocol)
    assert str(caught.value).startswith("second.yaml: ")
    assert study_names(runs) == ["first"]
    assert run(second(name="second"), runs, protocol).study.finished, (
        "nothing of the refused study is on record"
    )


# ---- trials that teach ----


def test_the_sampler_sees_the_trials_of_the_other_study_and_nobody_else_does(first, runs):
    watcher = Watcher()
    stored = run_study(
        second(learn_from="first"), lanes, runs=runs, protocol=PROTOCOL, observers=[watcher]
    )
    ended = [trial for trial in first[1].trials if trial.duplicate_of is None]
    lessons = stored.study.learned
    assert [lesson.params for lesson in lessons] == [trial.params for trial in ended]
    for lesson, trial in zip(lessons, ended, strict=True):
        complete = trial.state == "complete"
        assert lesson.objective == (trial.objective if complete else trial.epochs[-1].objective)
        assert lesson.pruned_after == (None if complete else len(trial.epochs))
    assert [trial.number for trial in stored.trials] == [*range(12)], "they cost no budget"
    assert {event[1] for event in watcher.events if event[0] == "started"} == {*range(12)}
    assert len(ranked_trials(stored)) <= 12
    alone = run(second(name="alone"), runs)
    assert [t.params for t in stored.trials] != [t.params for t in alone.trials]


def test_a_model_is_used_from_the_first_trial_on(runs):
    run(second(learn_from="first"), runs)
    storage = open_storage(None, runs, "second")
    trials = [trial for trial in storage.get_all_trials(0) if trial.state == TrialState.COMPLETE]
    assert all("tpe:relative_params:0" in trial.system_attrs for trial in trials)


def test_pruners_do_not_see_them(runs):
    """The other study has finished far more trials than the median pruner waits for, all of them
    better than these.
    """
    stored = run(
        second(learn_from="first", pruner="median", pruner_options={"startup_trials": 12}),
        runs,
        objective=lambda trial, epoch, state: state + 100,
    )
    assert {trial.state for trial in stored.trials} == {"complete"}


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
@pytest.mark.parametrize("pruner", ["none", "hyperband"])
def test_samplers_that_learn_can_see_them(runs, sampler, pruner):
    options = {"max_epochs": 5} if pruner == "hyperband" else {}
    stored = run(
        second(
            learn_from="first", sampler=sampler, pruner=pruner, pruner_options=options, trials=5
        ),
        runs,
    )
    assert len(stored.trials) == 5


class Killed(BaseException):
    """The process is gone."""


def test_a_study_that_learned_is_the_same_after_a_kill_anywhere():
    """From its first write on: what it learned from is written before its definition."""
    study = toy_study(TWO, name="toy", sampler="tpe", trials=8, pruner="median")
    study = replace(study, learn_from="first", start=(BestOf(study="first", top=2),))
    lessons = [
        LearnedTrial(params={"x": i / 12, "n": 1 + i % 8}, objective=abs(i / 12 - 0.3))
        for i in range(12)
    ]
    lessons[4] = replace(lessons[4], pruned_after=2)
    fields = {"start": [{"x": 0.25, "n": 3}, {"x": 0.75}], "learned": lessons}

    def process(journal, checkpoints):
        storage = JournalStorage(journal)
        begun = bool(record_in(storage, study.name).spec)
        opened = open_study(storage, study, fields={} if begun else fields)
        search(opened, study, lanes(checkpoints=checkpoints), [], clock=SimulatedClock())
        return opened

    journal = MemoryJournal()
    whole = process(journal, {})
    expected = table(whole), study_record(whole).learned
    assert len(expected[1]) == 12
    for bomb in (*range(1, 12), *range(12, len(journal.lines), 9)):
        again, checkpoints, calls = MemoryJournal(), {}, itertools.count(1)

        def tick(bomb=bomb, calls=calls):
            if next(calls) == bomb:
                raise Killed

        again.before = tick
        with pytest.raises(Killed):
            process(again, checkpoints)
        again.before = lambda: None
        continued = process(again, checkpoints)
        assert (table(continued), study_record(continued).learned) == expected, bomb


@given(count=st.integers(1, 40))
def test_lessons_keep_their_order_before_the_first_trial(count):
    space = Space.from_dict(TWO)
    lessons = [
        LearnedTrial(params={"x": 0.5, "n": 1 + number % 8}, objective=float(number))
        for number in range(count)
    ]
    trials = learned_trials(lessons, space)
    numbers = [trial.number for trial in trials]
    assert numbers == sorted({*numbers})
    assert all(-1 <= number < 0 for number in numbers)
    assert [trial.value for trial in trials] == [float(number) for number in range(count)]
    assert all(
        trial.distributions == {name: space[name].distribution for name in TWO} for trial in trials
    )


def test_lessons_outside_a_range_that_was_narrowed_are_left_out():
    lessons = [LearnedTrial(params={"x": x, "n": 2}, objective=x) for x in (0.1, 0.9)]
    narrowed = Space.from_dict(TWO | {"x": {"kind": "float", "low": 0.5, "high": 1.0}})
    assert [trial.params["x"] for trial in learned_trials(lessons, narrowed)] == [0.9]


def test_only_trials_with_the_choices_of_this_study_teach(tmp_path):
    """The other study also drew the prior, which is fixed here; a range that is fixed here may
    differ.
    """
    run(
        toy_study(
            CONDITIONAL | {"epochs": {"kind": "int", "low": 2, "high": 6}}, name="first", trials=20
        ),
        tmp_path,
    )
    theirs = read_state(open_storage(None, tmp_path, "first"), "first")

    class Model(Fixed):
        prior: str = "normal"

    study = replace(
        toy_study({"x": TWO["x"]}, sampler="tpe"), fixed={"train": Model()}, learn_from="first"
    )
    fields, lines = warm_start(study, StudyRecord(name="toy"), PROTOCOL, lambda name, place: theirs)
    normal = [trial for trial in theirs.trials if trial.params["prior"] == "normal"]
    assert 0 < len(normal) < 20
    assert [lesson.params for lesson in fields["learned"]] == [
        {"x": trial.params["x"]} for trial in normal
    ]
    assert lines == [
        f"The sampler also learns from {len(normal)} trials of 'first'; {20 - len(normal)} more "
        "do not lie in the space that is searched here."
    ]
