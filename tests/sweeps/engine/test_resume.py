"""A study killed at any point and continued ends in the same table as one that ran through."""

import signal
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import counting
import optuna
import pytest
import toy_plane
from hypothesis import given, settings
from hypothesis import strategies as st
from killed_search import continued, killed_process
from optuna.storages import JournalStorage
from optuna_trials import may_revive, newest_of_each
from test_warmup_epochs import PRUNED_BY, rises, studied
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
    workload: type[ToyLanes] | None = None
    """Lanes that report something else than the toy does."""
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
            kind = self.kind
            if self.workload:
                kind = type("Lanes", (self.workload, self.kind), {})
            self.work(self, kind(**lanes, checkpoints=self.checkpoints, before=self.tick))
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
    **{
        f"two objectives and {rule['pruner']}": lambda rule=rule: World(
            {"width": 3, "epochs": 4},
            searching(toy_plane.study_of(trials=10, **rule)),
            workload=toy_plane.Plane,
        )
        for rule in (toy_plane.MEDIAN, toy_plane.PROMOTION)
    },
    **{
        f"a warm-up, curves and {pruner}": lambda pruner=pruner: World(
            {"width": 3, "epochs": 9, "objective": rises},
            searching(
                studied(
                    pruner,
                    PRUNED_BY[pruner],
                    sampler="curves",
                    sampler_options={"startup_trials": 3, "max_epochs": 9},
                    trials=7,
                )
            ),
        )
        for pruner in ("median", "promotion")
    },
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
    "a warm-up, curves and median",
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


@settings(max_examples=30, deadline=None)
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


@pytest.mark.parametrize("width", [1, 7])
@pytest.mark.parametrize("bomb", [17, 40])
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


def test_a_journal_cut_at_any_byte_goes_on(tmp_path):
    """A full disk: whatever part of the last write is there."""
    whole = continued(tmp_path / "whole", None)
    content = (tmp_path / "whole" / "journal" / "toy.log").read_bytes()
    (tmp_path / "journal").mkdir()
    for length in range(0, len(content), len(content) // 12):
        (tmp_path / "journal" / "toy.log").write_bytes(content[:length])
        assert table(continued(tmp_path, None)) == table(whole)
