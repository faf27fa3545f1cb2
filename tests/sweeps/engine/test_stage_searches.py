"""A study that goes on with another file: what its new stage proposes, and what it leaves alone."""

import itertools
from dataclasses import replace

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.trial import TrialState, create_trial
from pydantic import BaseModel, ConfigDict
from toy_lanes import SimulatedClock, ToyLanes
from toy_study import MemoryJournal, decided_by, search, toy_study

from sweeps.engine.extending import extension
from sweeps.errors import UserError
from sweeps.state.stages import configuration_in
from sweeps.storage import open_study
from sweeps.storage.store import Store
from sweeps.storage.study_record import read_state, record_in
from sweeps.study.space import Space
from sweeps.study.study_model import Budget

X = {"kind": "float", "low": 0.0, "high": 1.0}
A = {"kind": "choice", "values": ["one", "two"]}


class Fixed(BaseModel):
    """Settings, some of which are searched."""

    model_config = ConfigDict(frozen=True)
    epochs: int = 4
    x: float = 0.5
    y: float = 0.5
    a: str = "one"
    size: int = 3


def study_of(space, *, fixed=None, trials=10, sampler="random", pruner="none", **options):
    quick = {"tpe": 3, "gp": 4, "curves": 3}
    chosen = {"startup_trials": quick[sampler]} if sampler in quick else {}
    if sampler == "curves":
        chosen["max_epochs"] = 4
    rules = {"promotion": {"rungs": [1, 2], "factor": 2}, "median": {"startup_trials": 2}}
    return replace(
        toy_study(
            space,
            sampler=sampler,
            sampler_options=chosen,
            pruner=pruner,
            pruner_options=rules.get(pruner, {}),
            trials=trials,
            **options,
        ),
        fixed={"train": fixed or Fixed()},
        epochs="epochs",
    )


def small(high):
    return {"kind": "int", "low": 2, "high": high, "when": {"a": ["two"]}}


CHANGES = {
    "a range narrower": ({"x": X, "a": A}, {"x": X | {"high": 0.6}, "a": A}),
    "a range wider": ({"x": X, "a": A}, {"x": X | {"high": 2.0}, "a": A}),
    "a range shifted": ({"x": X, "a": A}, {"x": X | {"low": 0.3, "high": 1.3}, "a": A}),
    "a scale": ({"x": X}, {"x": {"kind": "float", "low": 0.1, "high": 1.0, "log": True}}),
    "a choice more": ({"x": X, "a": A}, {"x": X, "a": A | {"values": ["one", "two", "three"]}}),
    "a choice less": (
        {"x": X, "a": A | {"values": ["one", "two", "three"]}},
        {"x": X, "a": A | {"values": ["one", "three"]}},
    ),
    "a parameter more": ({"x": X}, {"x": X, "y": X}),
    "a parameter less": ({"x": X, "a": A}, {"x": X}),
    "a condition": (
        {"x": X, "a": A, "size": small(5)},
        {"x": X, "a": A, "size": small(5) | {"when": {"a": ["one", "two"]}}},
    ),
    "a fixed setting": ({"x": X, "a": A}, {"x": X, "a": A}),
}


def counts(change, params):
    """Whether a trial counts after a change, said by hand."""
    x, a = params.get("x", 0.5), params.get("a", "one")
    return {
        "a range narrower": x <= 0.6,
        "a range wider": True,
        "a range shifted": x >= 0.3,
        "a scale": x >= 0.1,
        "a choice more": True,
        "a choice less": a != "two",
        "a parameter more": True,
        "a parameter less": a == "one",
        "a condition": True,
        "a fixed setting": False,
    }[change]


def added(change, params):
    """Return a configuration as the new stage has it."""
    if change == "a parameter more":
        return {**params, "y": 0.5}
    if change == "a parameter less":
        return {"x": params["x"]}
    if change == "a condition" and params["a"] == "one":
        return {**params, "size": 3}
    return params


def run(journal, study, *, width=4, extend=False, start=(), checkpoints=None):
    opened = open_study(JournalStorage(journal), study, extend=extend, start=start)
    lanes = ToyLanes(width, study.fixed["train"].epochs, checkpoints=checkpoints or {})
    search(opened, study, lanes, [], clock=SimulatedClock())
    return opened


def rows(study, space, first=0):
    """All that is decided of the trials from a number on."""
    return [
        (
            trial.number,
            trial.params,
            trial.seed,
            trial.state,
            dict(trial.objectives),
            trial.value,
            trial.duplicate_of,
            trial.pauses,
            trial.round,
            trial.ended_round,
        )
        for trial in Store(study, space).trials()
        if trial.number >= first
    ]


def expected(change, journal, study, start, width):
    """Run a study of one stage in the new space that has the trials that count by another road, and
    in place of the others trials that have failed at once.
    """
    old = optuna.load_study(study_name="toy", storage=JournalStorage(journal))
    before = read_state(JournalStorage(journal), "toy").trials
    points = [*({} for _ in before), *start]
    fresh = MemoryJournal()
    opened = open_study(JournalStorage(fresh), replace(study, start=tuple(points)))
    for stored, trial in zip(old.trials, before, strict=True):
        if counts(change, trial.params):
            params = added(change, trial.params)
            own = {
                "params": params,
                "distributions": {name: study.space[name].distribution for name in params},
            }
            made = {"state": stored.state, "values": stored.values, **own}
            made |= {"intermediate_values": stored.intermediate_values}
            opened.add_trial(create_trial(user_attrs=stored.user_attrs, **made))
        else:
            attributes = {"seed": trial.seed, "ended_round": trial.ended_round}
            opened.add_trial(create_trial(state=TrialState.FAIL, user_attrs=attributes))
    for name in ("round_decisions", "elapsed", "late_from"):
        opened.set_user_attr(name, old.user_attrs[name])
    return rows(
        run(fresh, replace(study, start=tuple(points)), width=width), study.space, len(before)
    )


def planned(journal, study):
    storage = JournalStorage(journal)
    return extension(
        record_in(storage, "toy"), study, lambda: read_state(storage, "toy"), extend=True
    )


SEARCHES = [
    ("random", "median"),
    ("qmc", "none"),
    ("tpe", "median"),
    ("tpe", "promotion"),
    ("curves", "promotion"),
    ("gp", "none"),
]


@pytest.mark.parametrize("width", [1, 4, 64])
@pytest.mark.parametrize(("sampler", "pruner"), SEARCHES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_stage_proposes_what_a_study_of_its_space_proposes(change, sampler, pruner, width):
    before, after = CHANGES[change]
    if sampler == "gp" and change == "a condition":
        return  # it models no conditions
    how = {"sampler": sampler, "pruner": pruner}
    first = study_of(before, **how)
    fixed = Fixed(size=4) if change == "a fixed setting" else None
    then = study_of(after, trials=18, fixed=fixed, **how)
    journal = MemoryJournal()
    with decided_by(16):
        run(journal, first, width=width)
        start = planned(journal, then).start
        reference = expected(change, journal, then, start, width)
        opened = run(journal, then, width=width, extend=True, start=start)
    found = rows(opened, then.space, 10)
    assert found == reference
    assert len([row for row in found if row[0] >= 10]) >= 8
    for row in found:
        assert {*then.space.active(row[1])} == {*row[1]}


def test_a_changed_fixed_setting_begins_with_the_three_best():
    journal, first = MemoryJournal(), study_of({"x": X, "a": A}, sampler="tpe")
    run(journal, first)
    best = sorted(read_state(JournalStorage(journal), "toy").trials, key=lambda t: t.value)[:3]
    then = study_of({"x": X}, fixed=Fixed(size=4), trials=16, sampler="tpe")
    start = planned(journal, then).start
    assert start == tuple({"x": trial.params["x"]} for trial in best)
    stored = run(journal, then, extend=True, start=start)
    assert [row[1] for row in rows(stored, then.space, 10)[:3]] == list(start)
    narrower = replace(then, space=Space.from_dict({"x": X | {"high": 0.7}}))
    with pytest.raises(UserError, match="stage 3 has no trial to begin: 16 of 16 are used"):
        planned(journal, narrower)
    narrower = replace(narrower, budget=Budget(trials=17))
    assert planned(journal, narrower).start == ()


@pytest.mark.parametrize("pruner", ["none", "promotion"])
@pytest.mark.parametrize("change", ["a choice more", "a fixed setting", "a parameter more"])
def test_a_study_killed_around_the_record_of_its_stage_ends_in_the_same_table(change, pruner):
    before, after = CHANGES[change]
    how = {"sampler": "tpe", "pruner": pruner}
    fixed = Fixed(size=4) if change == "a fixed setting" else None
    then = study_of(after, trials=16, fixed=fixed, **how)
    journal = MemoryJournal()
    run(journal, study_of(before, **how))
    begun = len(journal.lines)
    start = planned(journal, then).start
    whole = rows(run(journal, then, extend=True, start=start), then.space)
    record = next(n for n, line in enumerate(journal.lines) if '"stages"' in line)
    for end in (*range(begun, record + 14), *range(record + 14, len(journal.lines), 9)):
        killed = MemoryJournal(journal.lines[:end])
        again = planned(killed, then).start
        assert again == (start if end <= record else ())
        assert rows(run(killed, then, extend=True, start=again), then.space) == whole, end


def test_the_first_file_makes_the_first_trials_count_again():
    first = study_of({"x": X, "a": A})
    other = study_of({"x": X | {"high": 0.3}, "a": A | {"values": ["one"]}}, trials=16)
    journal = MemoryJournal()
    run(journal, first)
    second = run(journal, other, extend=True)
    here = Store(second, other.space).trials()
    assert [trial.counts for trial in here[:10]] == [
        trial.params["a"] == "one" and trial.params["x"] <= 0.3 for trial in here[:10]
    ]
    back = replace(first, budget=Budget(trials=22))
    run(journal, back, extend=True)
    state = read_state(JournalStorage(journal), "toy")
    assert [trial.counts for trial in state.trials] == [True] * 22
    assert [trial.stage for trial in state.trials] == [1] * 10 + [2] * 6 + [3] * 6
    assert [trial.number for trial in state.trials] == list(range(22))
    names = sorted(study.study_name for study in JournalStorage(journal).get_all_studies())
    assert names == ["toy", "toy.stage2", "toy.stage3"]
    assert record_in(JournalStorage(journal), "toy").stages[0].spec == state.study.spec


def test_a_grid_visits_what_is_new():
    values = lambda *own: {"kind": "choice", "values": list(own)}  # noqa: E731
    first = study_of({"size": values(1, 2), "a": A}, sampler="grid", trials=99)
    wider = study_of({"size": values(1, 2, 3), "a": A}, sampler="grid", trials=99)
    journal = MemoryJournal()
    run(journal, first)
    stored = run(journal, wider, extend=True)
    found = [row[1] for row in rows(stored, wider.space)]
    assert len(found) == 6
    every = [{"size": size, "a": a} for size, a in itertools.product((1, 2, 3), ("one", "two"))]
    assert all(point in found for point in every)
    assert all(point["size"] == 3 for point in found[4:])
    fixed = replace(wider, fixed={"train": Fixed(epochs=2)})
    stored = run(journal, fixed, extend=True)
    assert len(rows(stored, wider.space)) == 12, "none counts, so all are new"


def test_no_result_is_copied_from_a_trial_that_does_not_count():
    space = {"size": {"kind": "choice", "values": [1, 2]}}
    journal = MemoryJournal()
    run(journal, study_of(space, trials=6))
    then = study_of(space, fixed=Fixed(y=0.7), trials=12)
    stored = run(journal, then, extend=True)
    trained = [row for row in rows(stored, then.space, 6) if row[6] is None]
    assert [row[1] for row in trained] == [{"size": 1}, {"size": 2}] or len(trained) == 2
    assert all(row[6] is None or row[6] >= 6 for row in rows(stored, then.space, 6))


def interrupted(journal, study, after, checkpoints):
    """Stop a search in the middle of its rounds."""
    opened = open_study(JournalStorage(journal), study)
    lanes = ToyLanes(3, 4, checkpoints=checkpoints, checkpoint_every=1)

    def stop(event):
        if event.startswith("advance") and sum("advance" in e for e in lanes.events) == after:
            raise KeyboardInterrupt

    lanes.before = stop
    with pytest.raises(KeyboardInterrupt):
        search(opened, study, lanes, [], clock=SimulatedClock())


@pytest.mark.parametrize("change", ["a fixed setting", "a range narrower", "a choice more"])
def test_a_trial_in_its_course_goes_on_if_it_counts_and_else_ends_pruned(change, caplog):
    before, after = CHANGES[change]
    journal, checkpoints = MemoryJournal(), {}
    interrupted(journal, study_of(before), 2, checkpoints)
    running = [t for t in read_state(JournalStorage(journal), "toy").trials if not t.finished]
    assert len(running) == 3
    fixed = Fixed(size=4) if change == "a fixed setting" else None
    then = study_of(after, fixed=fixed)
    stored = run(journal, then, extend=True, checkpoints=checkpoints)
    trials = {trial.number: trial for trial in Store(stored, then.space).trials()}
    for trial in running:
        now = trials[trial.number]
        if counts(change, trial.params):
            assert (now.state, len(now.objectives)) == ("complete", 4)
            assert dict(now.objectives).items() >= dict(trial.objectives).items()
        else:
            assert (now.state, now.objectives) == ("pruned", trial.objectives)
            assert now.value == trial.newest_objective
            assert f"toy/{trial.number}: ended as pruned after epoch 2" in caplog.text


def test_a_paused_trial_that_does_not_count_is_never_promoted():
    how = {"sampler": "random", "pruner": "promotion"}
    journal, checkpoints = MemoryJournal(), {}
    run(journal, study_of({"x": X}, **how), checkpoints=checkpoints)
    ended = read_state(JournalStorage(journal), "toy").trials
    assert sum(trial.resumable for trial in ended) > 2
    then = study_of({"x": X | {"high": 0.5}}, trials=40, **how)
    stored = run(journal, then, extend=True, checkpoints=checkpoints)
    for trial in Store(stored, then.space).trials():
        if trial.before is not None:
            assert trial.counts
            assert trial.params["x"] <= 0.5


def test_cmaes_stays_in_its_space():
    journal = MemoryJournal()
    run(journal, study_of({"x": X, "y": X}, sampler="cmaes"))
    wider = study_of({"x": X | {"high": 2.0}, "y": X}, sampler="cmaes", trials=20)
    with pytest.raises(UserError, match=r"search.x has changed. --set sampler.name=tpe --extend"):
        planned(journal, wider)
    fixed = study_of({"x": X, "y": X}, sampler="cmaes", trials=20, fixed=Fixed(size=4))
    assert len(rows(run(journal, fixed, extend=True), fixed.space)) == 20


def test_gp_keeps_a_changed_range_in_its_model(monkeypatch):
    """Optuna draws a parameter alone where its distributions differ between trials."""
    journal, then = (
        MemoryJournal(),
        study_of({"x": X | {"high": 0.9}, "y": X}, sampler="gp", trials=16),
    )
    run(journal, study_of({"x": X, "y": X}, sampler="gp"))
    drawn = []
    monkeypatch.setattr(
        "optuna.samplers.GPSampler.sample_independent",
        lambda self, study, trial, name, distribution: drawn.append(name),
    )
    run(journal, then, extend=True)
    assert drawn == []


def test_the_rule_and_the_record_agree():
    journal = MemoryJournal()
    first, then = study_of({"x": X}), study_of({"x": X, "a": A}, trials=14)
    run(journal, first)
    run(journal, then, extend=True)
    state = read_state(JournalStorage(journal), "toy")
    one, two = state.study.stages
    assert (one.trial, two.trial, two.suffix) == (0, 10, "")
    for trial in state.trials[:10]:
        assert trial.params == configuration_in(two, one, {"x": trial.params["x"]})
        assert trial.params["a"] == "one"
