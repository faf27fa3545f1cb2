"""A study killed at any point and continued ends in the same table as one that ran through."""

import json
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import counting
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killed_search import continued, killed_process
from optuna.storages import JournalStorage
from optuna_trials import may_revive, newest_of_each
from toy_lanes import EagerLanes, SimulatedClock, ToyLanes
from toy_study import (
    CONDITIONAL,
    MemoryJournal,
    Watcher,
    X,
    decided_by,
    in_memory,
    run_repeats,
    search,
    table,
    toy_study,
)

from sweeps.engine.races import GrowingPlan
from sweeps.engine.repeats import plan_repeats
from sweeps.engine.trial_loop import PIPELINED_FROM
from sweeps.lanes import Failure, run_folder
from sweeps.lanes.worker_pool import WorkerPool
from sweeps.seeds import seed_of
from sweeps.state.trial import Repeat
from sweeps.storage import open_storage, open_study, repeat_study
from sweeps.storage.study_record import read_state, study_record
from sweeps.study.study_model import Budget, Compare, Confirm

FAILURES = {
    2: (1, Failure(kind="crashed", message="it died")),
    4: (3, Failure(kind="diverged", message="NaN")),
}
TWO = {"b": {"kind": "choice", "values": [0, 1]}}
SMALL = {"a": {"kind": "choice", "values": ["p", "q", "r"]}}


class Killed(BaseException):
    """The process is gone."""


@dataclass
class World:
    """What outlives a process (the journal and the workload's checkpoints), and a bomb in
    everything that happens.
    """

    lanes: dict[str, Any]
    work: Callable[["World", ToyLanes], Any]
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    checkpoints: dict[str, tuple[int, float]] = field(default_factory=dict)
    happened: int = 0
    bomb: int | None = None
    kind: type[ToyLanes] = ToyLanes
    left: list[tuple[int, dict[str, tuple[int, float]]]] = field(default_factory=list)
    """Lines in the journal and checkpoints before each thing that happened: what a process leaves
    that is killed there.
    """

    def tick(self, event: str = "") -> None:
        if self.happened == self.bomb:
            raise Killed
        self.happened += 1
        self.left.append(self.leaves())

    def leaves(self) -> tuple[int, dict[str, tuple[int, float]]]:
        return len(self.journal.lines), dict(self.checkpoints)

    def process(self, bomb: int | None = None, width: int | None = None) -> bool:
        """One process, from start to end or until the `bomb`-th thing happens; True when it came to
        its end.
        """
        self.happened, self.bomb, self.journal.before = 0, bomb, self.tick
        lanes = {**self.lanes, **({"width": width} if width else {})}
        try:
            self.work(self, self.kind(**lanes, checkpoints=self.checkpoints, before=self.tick))
        except Killed:
            return False
        return True


def _tables(journal: MemoryJournal) -> list[Any]:
    storage = JournalStorage(journal)
    names = sorted(optuna.get_all_study_names(storage))
    return [(name, table(optuna.load_study(study_name=name, storage=storage))) for name in names]


def _kept(journal: MemoryJournal) -> set[str]:
    """Return the names of the checkpoints that a larger budget may need."""
    storage = JournalStorage(journal)
    if "toy" not in optuna.get_all_study_names(storage):
        return set()
    stored = optuna.load_study(study_name="toy", storage=storage).get_trials(deepcopy=False)
    may = [trial for trial in newest_of_each(stored) if may_revive(trial)]
    return {
        run_folder(trial.user_attrs.get("resumes_from", trial.number), repeat=False)
        for trial in may
    }


def searching(study) -> Callable[[World, ToyLanes], None]:
    def work(world: World, lanes: ToyLanes) -> None:
        watcher = Watcher()
        watcher.before = world.tick
        search(in_memory(study, world.journal), study, lanes, [watcher], clock=SimulatedClock())

    return work


def repeating(world: World, lanes: ToyLanes) -> None:
    plan = [
        Repeat(
            source_trial=source,
            params={"x": 0.1 * source},
            seed=seed,
            seed_index=seed,
            purposes=("confirm",),
            test=True,
        )
        for source in (1, 2)
        for seed in (0, 1)
    ]
    watcher = Watcher()
    watcher.before = world.tick
    run_repeats(
        repeat_study(JournalStorage(world.journal), "toy"),
        plan,
        lanes,
        [watcher],
        clock=SimulatedClock(),
    )


def noisy(params: Mapping[str, Any], seed: int, epoch: int, state: float) -> float:
    """A level that x sets, and luck of the seed that is as large."""
    return 1 + abs(params["x"] - 0.3) + 0.5 * seed_of(f"{params}:{seed}") / 2**63 + 0.1 / epoch


RACED = replace(
    toy_study(X | TWO, trials=3),
    confirm=Confirm(top=3, seeds=4, race=True),
    compare=Compare(parameters=["b"], top=1, seeds=1),
)


LATE = replace(
    toy_study(trials=7, pruner="promotion", pruner_options={"rungs": [2], "factor": 3}),
    confirm=Confirm(top=1, seeds=1, late=2),
)


@cache
def searched(study: str, epochs: int) -> tuple[str, ...]:
    """Lines of a journal in which the search is over and the repeats have not begun."""
    journal, study_ = MemoryJournal(), {"raced": RACED, "late": LATE}[study]
    search(
        in_memory(study_, journal),
        study_,
        ToyLanes(epochs=epochs, curve=noisy),
        [],
        clock=SimulatedClock(),
    )
    return tuple(journal.lines)


def training_late(world: World, lanes: ToyLanes) -> None:
    watcher = Watcher()
    watcher.before = world.tick
    storage = JournalStorage(world.journal)
    plan = plan_repeats(read_state(storage, "toy"), LATE)
    assert [run.purposes for run in plan] == [("confirm",), ("late",), ("late",)]
    run_repeats(repeat_study(storage, "toy"), plan, lanes, [watcher], clock=SimulatedClock())


def racing(world: World, lanes: ToyLanes) -> None:
    watcher = Watcher()
    watcher.before = world.tick
    storage = JournalStorage(world.journal)
    plan = GrowingPlan(read_state(storage, "toy"), RACED)
    run_repeats(repeat_study(storage, "toy"), plan, lanes, [watcher], clock=SimulatedClock())


def falling(params: Mapping[str, Any], seed: int, epoch: int, state: float) -> float:
    """A level that x sets, and a trace of each epoch before."""
    return params["x"] + 1 / epoch + 0.01 * state


TPE = {"sampler": "tpe", "sampler_options": {"startup_trials": 3}}
MEDIAN = {"pruner": "median", "pruner_options": {"startup_trials": 2}}
HALVING = {"pruner": "successive_halving", "pruner_options": {"factor": 2}}
HYPERBAND = {"pruner": "hyperband", "pruner_options": {"factor": 2, "max_epochs": 4}}
PROMOTION = {"pruner": "promotion", "pruner_options": {"rungs": [1, 2], "factor": 2}}
CURVES = {"sampler": "curves", "sampler_options": {"startup_trials": 3, "max_epochs": 4}}
HALVES = {"width": 2, "epochs": 4, "curve": falling}


def reviving(trials: int, top: int = 1, **options: Any) -> World:
    """A search that goes on with a larger budget, and revives trials that the end of a smaller one
    has pruned.
    """
    study = toy_study(trials=7, keep={"paused": 3}, **{**TPE, **PROMOTION, **options})
    study = replace(study, start=tuple({"x": x / 20} for x in range(14)))
    journal, lanes = MemoryJournal(), ToyLanes(**HALVES)
    search(in_memory(study, journal), study, lanes, [], clock=SimulatedClock())
    larger = replace(study, budget=Budget(trials=trials), confirm=Confirm(top=top, seeds=1))
    open_study(JournalStorage(journal), larger, extend=True)
    return World(
        HALVES, searching(larger), MemoryJournal(tuple(journal.lines)), dict(lanes.checkpoints)
    )


WORLDS = {
    "tpe and median, with failures": lambda: World(
        {"width": 3, "epochs": 4, "failures": FAILURES, "last_epochs": {1: 2, 5: 3}},
        searching(toy_study({**X, **CONDITIONAL}, trials=8, **TPE, **MEDIAN)),
    ),
    "hyperband": lambda: World(
        {"width": 3, "epochs": 4},
        searching(toy_study({**X, **CONDITIONAL}, trials=8, **TPE, **HYPERBAND)),
    ),
    "random and successive halving": lambda: World(
        {"width": 4, "epochs": 4, "failures": {1: FAILURES[2]}},
        searching(toy_study(trials=9, **HALVING)),
    ),
    "tpe and promotion, with failures": lambda: World(
        {"width": 3, "epochs": 4, "failures": FAILURES, "last_epochs": {3: 1, 5: 2}},
        searching(toy_study({**X, **CONDITIONAL}, trials=11, **TPE, **PROMOTION)),
    ),
    "promotion of few, of whom the search keeps no checkpoint": lambda: World(
        {"width": 2, "epochs": 4},
        searching(
            toy_study(
                trials=7,
                keep={"paused": 0},
                pruner="promotion",
                pruner_options={"rungs": [1, 3], "factor": 4},
            )
        ),
    ),
    "promotion of as many as are confirmed": lambda: World(
        {"width": 3, "epochs": 4},
        searching(replace(toy_study(trials=7, **PROMOTION), confirm=Confirm(top=5, seeds=1))),
    ),
    "promotion of those whom a larger budget revives": lambda: reviving(12),
    "curves and promotion of those whom a larger budget revives": lambda: reviving(
        20, top=5, **CURVES
    ),
    "curves and promotion, with failures": lambda: World(
        {"width": 3, "epochs": 4, "failures": FAILURES, "last_epochs": {3: 1, 5: 2}},
        searching(toy_study({**X, **CONDITIONAL}, trials=11, **CURVES, **PROMOTION)),
    ),
    "curves and median, of few configurations": lambda: World(
        {"width": 2, "epochs": 4, "failures": {1: FAILURES[4]}},
        searching(toy_study({**SMALL, **TWO}, trials=9, **CURVES, **MEDIAN)),
    ),
    "promotion of duplicates": lambda: World(
        {"width": 2, "epochs": 3, "failures": {0: FAILURES[4]}},
        searching(toy_study(SMALL, trials=9, **PROMOTION)),
    ),
    "duplicates": lambda: World(
        {"width": 2, "epochs": 3, "failures": {0: FAILURES[4], 3: FAILURES[2]}},
        searching(toy_study(SMALL, trials=9, **MEDIAN)),
    ),
    "a grid": lambda: World(
        {"width": 2, "epochs": 2},
        searching(toy_study({**CONDITIONAL, **TWO}, trials=50, sampler="grid")),
    ),
    "stale trials": lambda: World(
        {"width": 2, "epochs": 2}, searching(toy_study(stale_trials=3, **TPE))
    ),
    "epochs": lambda: World({"width": 2, "epochs": 3}, searching(toy_study(epochs=13, **TPE))),
    "repeats": lambda: World({"width": 3, "epochs": 3, "failures": FAILURES}, repeating),
    "a race": lambda: World(
        {"width": 3, "epochs": 1, "curve": noisy}, racing, MemoryJournal(searched("raced", 1))
    ),
    "paused trials to their end": lambda: World(
        {"width": 2, "epochs": 4, "curve": noisy}, training_late, MemoryJournal(searched("late", 4))
    ),
}


def undisturbed(name: str, kind: type[ToyLanes] = ToyLanes) -> tuple[World, int, list[Any]]:
    world = WORLDS[name]()
    world.kind = kind
    assert world.process()
    return world, world.happened, _tables(world.journal)


QUICK = ["tpe and median, with failures", "duplicates", "curves and promotion, with failures"]
"""Worlds that are also killed anywhere while decisions lag one round, in a quick run."""
LONG = (
    "promotion of those whom a larger budget revives",
    "curves and promotion of those whom a larger budget revives",
)


def cases():
    for name in WORLDS:
        yield pytest.param(
            name, 1000, id=f"{name}, in step", marks=pytest.mark.slow if name in LONG else ()
        )
        yield pytest.param(
            name, 1, id=f"{name}, pipelined", marks=() if name in QUICK else pytest.mark.slow
        )


@pytest.mark.parametrize(("name", "late"), [*cases()])
def test_killed_anywhere_and_continued_is_the_same_study(name, late):
    """Where two kills leave the same, the study is continued once, because it would go on in the
    same way.
    """
    with decided_by(late):
        kill_anywhere(name, EagerLanes if late == 1 else ToyLanes)


def kill_anywhere(name: str, kind: type[ToyLanes]) -> None:
    expected = undisturbed(name)[2]
    whole, events, same = undisturbed(name, kind)
    assert same == expected, "who runs ahead ends in the table of who does not"
    assert events > 50
    before = None
    for bomb, (lines, checkpoints) in enumerate(whole.left):
        if bomb % 10 == 0:
            killed = WORLDS[name]()
            killed.kind = kind
            assert not killed.process(bomb=bomb)
            assert killed.leaves() == (lines, checkpoints), f"killed at event {bomb} of {events}"
        if (lines, checkpoints) == before:
            continue
        before = lines, checkpoints
        world = WORLDS[name]()
        world.kind = kind
        world.journal = MemoryJournal(whole.journal.lines[:lines])
        world.checkpoints = dict(checkpoints)
        world.process()
        assert _tables(world.journal) == expected, f"killed at event {bomb} of {events}"
        assert set(world.checkpoints) <= _kept(world.journal), f"killed at event {bomb} of {events}"


@pytest.mark.parametrize("rule", ["promotion", "curves and promotion"])
def test_the_larger_budget_revives_trials_in_the_world_that_is_killed(rule):
    with decided_by(1000):
        ((_, trials),) = undisturbed(f"{rule} of those whom a larger budget revives")[2]
    revived = [trial for trial in trials if trial["attrs"].get("revives") is not None]
    assert len(revived) > 1
    assert "COMPLETE" in {trial["state"] for trial in revived}


def test_stopped_anywhere_epochs_that_were_ahead_are_kept():
    """A stopped process trains nobody again but those whom it had finished ahead of their round."""
    name, ahead, bomb = "tpe and median, with failures", 0, 0
    with decided_by(1):
        expected = undisturbed(name, EagerLanes)[2]
        stopped = True
        while stopped:
            world, events, stopped = WORLDS[name](), [], False

            def tick(event="", events=events, bomb=bomb):
                events.append(event)
                if len(events) == bomb + 1:
                    raise KeyboardInterrupt

            world.journal.before = tick
            first = EagerLanes(**world.lanes, checkpoints=world.checkpoints, before=tick)
            try:
                world.work(world, first)
            except KeyboardInterrupt:
                stopped = True
            world.kind, bomb = EagerLanes, bomb + 9
            ahead += bool(first.held)
            world.journal.before = lambda: None
            second = EagerLanes(**world.lanes, checkpoints=world.checkpoints)
            world.work(world, second)
            assert _tables(world.journal) == expected
            again = {
                event.split("@")[0].split()[1]
                for event in second.events
                if event.startswith("replay")
            }
            assert again <= {
                event.split()[1] for event in first.events if event.startswith("finish")
            }
    assert ahead > 3


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(WORLDS)),
    bombs=st.lists(st.integers(0, 120), min_size=2, max_size=8),
    kinds=st.lists(st.sampled_from([ToyLanes, EagerLanes]), min_size=8, max_size=8),
    late=st.booleans(),
    lost=st.sets(st.integers(0, 7)),
)
def test_killed_again_and_again_is_the_same_study_though_checkpoints_are_lost(
    name, bombs, kinds, late, lost
):
    with decided_by(1 if late else 1000):
        expected = undisturbed(name)[2]
        world = WORLDS[name]()
        for process, (bomb, world.kind) in enumerate(zip(bombs, kinds, strict=False)):
            world.process(bomb=bomb)
            if process in lost:
                world.checkpoints.clear()
        world.process()
        assert _tables(world.journal) == expected


@settings(max_examples=15, deadline=None)
@given(
    lanes=st.fixed_dictionaries(
        {
            "width": st.integers(1, 5),
            "epochs": st.integers(1, 4),
            "failures": st.dictionaries(
                st.integers(0, 12), st.sampled_from(list(FAILURES.values())), max_size=4
            ),
            "last_epochs": st.dictionaries(st.integers(0, 12), st.integers(1, 3), max_size=4),
        }
    ),
    search_space=st.sampled_from([X, SMALL, CONDITIONAL]),
    budget=st.sampled_from([{"trials": 12}, {"epochs": 17}, {"stale_trials": 3}]),
    pruner=st.sampled_from([{}, MEDIAN, HALVING, HYPERBAND, PROMOTION]),
    sampler=st.sampled_from([TPE, CURVES]),
    bomb=st.integers(0, 150),
)
def test_who_runs_ahead_ends_in_the_table_of_who_does_not(
    lanes, search_space, budget, pruner, sampler, bomb
):
    study = toy_study(search_space, **sampler, **pruner, **budget)
    with decided_by(1):
        worlds = [
            World(lanes, searching(study), kind=kind) for kind in (ToyLanes, EagerLanes, EagerLanes)
        ]
        worlds[2].process(bomb=bomb)
        for world in worlds:
            world.process()
    expected, *others = [_tables(world.journal) for world in worlds]
    assert others == [expected] * 2
    [(_, trials)] = expected
    assert all(trial["state"] in ("COMPLETE", "PRUNED", "FAIL") for trial in trials), (
        "none is left over"
    )


@pytest.mark.parametrize("width", [1, 2, 7])
@pytest.mark.parametrize("bomb", [17, 40, 61, 83])
def test_continued_with_other_lanes_every_trial_still_ends_once(width, bomb):
    name = "duplicates" if bomb % 2 else "tpe and median, with failures"
    world = WORLDS[name]()
    world.process(bomb=bomb)
    world.process(bomb=30, width=width)
    world.process()
    ((_, trials),) = _tables(world.journal)
    assert len(trials) == (9 if name == "duplicates" else 8)
    for trial in trials:
        assert trial["state"] in ("COMPLETE", "PRUNED", "FAIL")
        assert list(trial["published"]) == list(range(1, len(trial["published"]) + 1))


def test_killed_in_the_middle_of_an_ask_there_is_no_trial_yet():
    """Six parameters are one write: a trial has all of them or does not exist."""
    space = dict.fromkeys("abcdef", X["x"])
    for bomb in range(12):
        world = World({"width": 1, "epochs": 1}, searching(toy_study(space, trials=2)))
        world.process(bomb=bomb)
        for _, trials in _tables(world.journal):
            assert all(len(trial["params"]) == 6 for trial in trials)


def test_orphans_are_taken_up_where_they_were():
    study = toy_study(trials=3)
    journal, checkpoints = MemoryJournal(), {}

    def crash(event):
        if event == "advance 0 1" and journal_epochs() == 2:
            raise Killed

    def journal_epochs():
        return len(in_memory(study, journal).trials[0].intermediate_values)

    lanes = ToyLanes(width=2, epochs=4, checkpoints=checkpoints, before=crash)
    with pytest.raises(Killed):
        search(in_memory(study, journal), study, lanes, [], clock=SimulatedClock())
    watcher, lanes = Watcher(), ToyLanes(width=2, epochs=4, checkpoints=checkpoints)
    search(in_memory(study, journal), study, lanes, [watcher], clock=SimulatedClock())
    assert [event for event in watcher.events if event[0] == "started"][:2] == [
        ("started", 0, True),
        ("started", 1, True),
    ]
    assert lanes.events[:3] == ["add 0@2", "add 1@2", "advance 0 1"]
    told = [event[2] for event in watcher.events if event[:2] == ("epoch", 0)]
    assert told == [2, 3, 4], (
        "the newest epoch before the crash is told again: it may not have been told"
    )


def test_a_round_that_was_cut_off_is_finished_before_the_next_begins():
    """Killed between two reports: the second lane catches up alone, then both are decided on
    together.
    """
    study = toy_study(trials=2, pruner="successive_halving", pruner_options={"factor": 2})
    journal = MemoryJournal()

    def after_the_first_report():
        if any("intermediate_value" in json.loads(line) for line in journal.lines):
            raise Killed

    journal.before = after_the_first_report
    with pytest.raises(Killed):
        search(in_memory(study, journal), study, ToyLanes(), [], clock=SimulatedClock())
    journal.before = lambda: None
    assert [len(trial.intermediate_values) for trial in in_memory(study, journal).trials] == [1, 0]
    lanes = ToyLanes()
    search(in_memory(study, journal), study, lanes, [], clock=SimulatedClock())
    assert lanes.events[:4] == ["add 0@1", "add 1@0", "replay 0@1", "advance 1"]
    whole = in_memory(study)
    search(whole, study, ToyLanes(), [], clock=SimulatedClock())
    assert _tables(journal) == [("toy", table(whole))]


def test_a_failure_that_was_seen_stands():
    """A crash need not happen again; the trial has failed all the same."""
    study = toy_study(trials=2)
    world = World({"width": 2, "epochs": 2, "failures": {1: FAILURES[2]}}, searching(study))
    bomb = 0
    while not any(
        "closing" in trial.user_attrs for trial in in_memory(study, world.journal).trials
    ):
        world = World(world.lanes, world.work)
        world.process(bomb=bomb)
        world.journal.before = lambda: None
        bomb += 1
    world.lanes = {"width": 2, "epochs": 2}
    world.process()
    ((_, trials),) = _tables(world.journal)
    assert [trial["state"] for trial in trials] == ["COMPLETE", "FAIL"]
    assert trials[1]["attrs"]["outcome"]["failure"] == {"kind": "crashed", "message": "it died"}


def test_with_fewer_lanes_the_others_wait_and_go_on_where_they_were():
    study = toy_study(trials=2)
    journal = MemoryJournal()

    def crash(event):
        if lanes.events[-2:] == ["advance 0 1"] * 2:
            raise Killed

    lanes = ToyLanes(width=2, epochs=4, before=crash)
    with pytest.raises(Killed):
        search(in_memory(study, journal), study, lanes, [], clock=SimulatedClock())
    lanes = ToyLanes(width=1, epochs=4, checkpoints=lanes.checkpoints)
    search(in_memory(study, journal), study, lanes, [], clock=SimulatedClock())
    one_by_one = [
        [f"add {n}@2", f"advance {n}", f"advance {n}", f"finish {n} complete"] for n in (0, 1)
    ]
    assert lanes.events == [*one_by_one[0], *one_by_one[1]]


# ---- real processes ----


@pytest.mark.parametrize(
    ("lanes", "workers", "kills"),
    [
        (2, 2, ["add 3@0", "advance 1", "advance 4", "finish 2 complete", "finish 5 complete"]),
        (16, 1, []),
        (16, 2, ["add 3@0", "advance 1", "finish 2 complete", "add 17@0", "advance 9"]),
        (16, 4, ["add 3@0", "advance 1", "finish 2 complete", "add 17@0", "advance 9"]),
    ],
)
def test_workers_of_any_number_dying_or_not_end_in_the_table_of_one_process(
    tmp_path, lanes, workers, kills
):
    study = toy_study(trials=2 * lanes + 2, **TPE, **MEDIAN)
    plain, parallel = in_memory(study), in_memory(study)
    search(plain, study, ToyLanes(width=lanes, epochs=3), [])
    each = {"folder": tmp_path, "kills": kills, "width": lanes // workers}
    with closing(WorkerPool(counting.build_toy, [each] * workers)) as pool:
        search(parallel, study, pool, [])
    assert table(parallel) == table(plain)
    assert {trial["state"] for trial in table(plain)} == {"COMPLETE", "PRUNED"}
    assert len(list(tmp_path.glob("killed at *"))) >= min(len(kills), 3)
    assert study_record(parallel).late_from == PIPELINED_FROM == 16


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_process_killed_by_a_signal(tmp_path, by):
    journal = tmp_path / "journal" / "toy.log"
    killed_process(
        tmp_path, None, lambda: journal.exists() and journal.read_bytes().count(b"\n") > 60, by
    )
    left = open_storage(None, tmp_path, "toy", must_exist=True).get_all_trials(0)
    assert sum(trial.state.is_finished() for trial in left) < 10
    assert table(continued(tmp_path, None)) == table(continued(tmp_path / "whole", None))


@pytest.mark.parametrize(
    "tail", [b'{"op_code":5,"worker', b"\0" * 4096, b'{"op_code":5,"work\0\0\0']
)
def test_a_journal_whose_last_line_is_broken(tmp_path, tail):
    whole = table(continued(tmp_path / "whole", None))
    lines = (tmp_path / "whole" / "journal" / "toy.log").read_bytes().splitlines(keepends=True)
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "toy.log").write_bytes(b"".join(lines[:70]) + tail)
    # Optuna's lock of a process that died while it wrote.
    (tmp_path / "journal" / "toy.log.lock").touch()
    started = time.monotonic()
    assert table(continued(tmp_path, None)) == whole
    assert time.monotonic() - started < 5
    for line in (tmp_path / "journal" / "toy.log").read_bytes().splitlines():
        json.loads(line)


def test_a_journal_cut_at_any_byte_goes_on(tmp_path):
    """A full disk: whatever part of the last write is there."""
    whole = continued(tmp_path / "whole", None)
    content = (tmp_path / "whole" / "journal" / "toy.log").read_bytes()
    (tmp_path / "journal").mkdir()
    for length in range(0, len(content), len(content) // 12):
        (tmp_path / "journal" / "toy.log").write_bytes(content[:length])
        assert table(continued(tmp_path, None)) == table(whole)
