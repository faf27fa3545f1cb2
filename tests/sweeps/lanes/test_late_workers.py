"""Workers that come late: trials move to them, and whoever computes otherwise than the study is
refused.
"""

import re
import time

import counting
import pytest
from counting import CountingLanes
from stopped_study import STUDY, notes, stopped_study
from toy_lanes import ToyLanes
from toy_study import in_memory, search, table, toy_study

from sweeps.engine import open_sweep
from sweeps.errors import UserError
from sweeps.lanes import Outcome, TrialSpec, WorkerState, advance_all
from sweeps.lanes.worker_pool import WorkerPool
from sweeps.lanes.worker_process import Child
from sweeps.ray.worker import RayEngine
from sweeps.state.record import Description
from sweeps.storage.optuna_internals import storage_of
from sweeps.storage.study_record import read_state

SIX = list(range(6))


class Visitor(Child):
    """A process that a study can begin without, and that answers nothing before the file `sign` is
    there.
    """

    patience = 0.2
    machine = False
    """Whether it is lost with its machine."""

    def __init__(self, sign, *given):
        super().__init__(*given)
        self.sign, self.waited = sign, 0.0

    @classmethod
    def ready(cls, workers, seconds):
        if here := [
            worker for worker in workers if worker.up or worker.sign is None or worker.sign.exists()
        ]:
            return super().ready(here, seconds)
        for worker in workers:
            worker.waited += seconds
        time.sleep(seconds)
        return set()

    def _death(self):
        lost = super()._death()
        lost.machine = self.machine
        return lost


class CutOff(Child):
    """A process that may live on for an hour when it seems to have died."""

    patience = 0.2

    def kill(self):
        if self.process is not None and not self.process.is_alive():
            self.gone_at = time.monotonic() + 3600
        super().kill()


@pytest.fixture
def pool(tmp_path):
    """Starts workers, number `late` of which builds its lanes only once the file `come` is
    there.
    """
    opened = []

    def start(count=3, *, late=(), kinds=None, kind=None):
        recipes = [{"folder": tmp_path, "kind": kinds and kinds[index]} for index in range(count)]

        def worker(name, *given):
            return Visitor(tmp_path / "come" if int(name[-1]) in late else None, name, *given)

        opened.append(WorkerPool(counting.build, recipes, worker=worker, lanes=6, kind=kind))
        return opened[-1]

    yield start
    for lanes in opened:
        lanes.close()


def trial(number, **params):
    return TrialSpec(number=number, params=params, seed=number + 100)


def values(progress):
    return [(each.number, each.epoch, each.objective) for each in progress]


def alone(folder, rounds, count=6):
    (folder / "alone").mkdir()
    lanes = CountingLanes(folder / "alone", count)
    for number in range(count):
        lanes.add(trial(number))
    return [values(advance_all(lanes, range(count))) for _ in range(rounds)]


def wait_for(lanes, count):
    deadline = time.monotonic() + 120
    while len(lanes._worker_set.up) < count and time.monotonic() < deadline:
        lanes._worker_set.join(0.1)
    assert len(lanes._worker_set.up) == count


@pytest.mark.parametrize(
    "bad", [{}, {"bad": "kill", "at": "release", "times": 1}], ids=["", "killed meanwhile"]
)
def test_running_trials_move_to_a_worker_that_comes_late(pool, tmp_path, bad):
    lanes = pool(late=[2])
    wait_for(lanes, 2)
    for number in SIX:
        lanes.add(trial(number, **(bad if number == 4 else {})))
    rounds = [values(advance_all(lanes, SIX)) for _ in range(3)]
    assert [len(worker.trials) for worker in lanes.workers] == [3, 3]
    (tmp_path / "come").touch()
    wait_for(lanes, 3)
    for worker in lanes._children:
        worker.patience = 60.0
    rounds += [values(advance_all(lanes, SIX)) for _ in range(2)]
    assert [len(worker.trials) for worker in lanes.workers] == [2, 2, 2]
    assert sorted(number for worker in lanes.workers for number in worker.trials) == SIX
    if not bad:
        moved = lanes.workers[2].trials
        assert {(tmp_path / f"{number}.json").read_text()[1] for number in moved} == {"4"}, (
            "saved at 3, and then at 4"
        )
        assert not list(tmp_path.glob("replayed-*")), (
            "they go on from a checkpoint of the moment they moved"
        )
    assert rounds == alone(tmp_path, 5)


def test_trials_move_to_a_late_worker_from_workers_that_ran_ahead(pool, tmp_path):
    """Nobody runs ahead of the round before which they move."""
    lanes, held, rounds = pool(late=[2]), [], []
    wait_for(lanes, 2)
    for number in SIX:
        lanes.add(trial(number))
    for round_ in range(5):
        if round_ == 2:
            (tmp_path / "come").touch()
            wait_for(lanes, 3)
        lanes.prefetch(lambda numbers: ({}, []))
        rounds.append(values(advance_all(lanes, SIX)))
        held.append([len(worker.trials) for worker in lanes.workers])
    assert held == [[3, 3], [3, 3], [3, 3, 0], [2, 2, 2], [2, 2, 2]]
    assert rounds == alone(tmp_path, 5)
    assert not list(tmp_path.glob("replayed-*"))


@pytest.mark.parametrize(
    "ended", [False, True], ids=["at the end of a round", "in the midst of the next one"]
)
def test_what_a_worker_that_is_gone_was_to_do_ahead_is_done_by_the_others(pool, tmp_path, ended):
    """Its trials move, one of them ends and another one begins in a worker that holds more than its
    lanes.
    """
    lanes, fresh = pool(), [trial(6)]
    wait_for(lanes, 3)
    for number in SIX:
        lanes.add(trial(number))
    lanes.prefetch(lambda numbers: ({}, []))
    rounds = [values(advance_all(lanes, SIX))]
    [goes] = [worker for worker in lanes._children if 2 in worker.trials]
    goes.sign = tmp_path / "never"

    def plan(numbers):
        if 2 not in numbers:
            return {}, []
        if not ended:
            goes.process.kill()
        return {2: Outcome(state="pruned", epoch=2, objective=None)}, [fresh.pop()]

    lanes.prefetch(plan)
    rounds.append(values(advance_all(lanes, SIX)))
    if ended:
        goes.process.kill()
    assert lanes.finish({2: Outcome(state="pruned", epoch=2, objective=None)})[0].metrics == {
        "epochs": 2
    }
    lanes.add(trial(6))
    left = [0, 1, 3, 4, 5, 6]
    for _ in range(2):
        lanes.prefetch(lambda numbers: ({}, []))
        rounds.append(values(advance_all(lanes, left)))
    assert [len(worker.trials) for worker in lanes.workers] == [3, 3]
    expected = alone(tmp_path, 4, 7)
    assert rounds[:2] == [each[:6] for each in expected[:2]]
    for round_ in (2, 3):
        *others, begun = rounds[round_]
        assert others == [each for each in expected[round_] if each[0] not in (2, 6)]
        assert begun == expected[round_ - 2][6]


@pytest.mark.parametrize("ending", [[], [2], SIX], ids=["none", "one of its own", "all"])
def test_a_worker_that_is_gone_once_it_has_told_of_all_its_epochs(pool, tmp_path, ending):
    """Nothing of its round is left to do; its trials go on, or end, in others."""
    lanes = pool()
    wait_for(lanes, 3)
    for number in SIX:
        lanes.add(
            trial(
                number,
                **({"bad": "kill", "at": "end of advance", "times": 1} if number == 2 else {}),
            )
        )
    [goes] = [worker for worker in lanes._children if 2 in worker.trials]
    goes.sign = tmp_path / "never"
    rounds = [values(advance_all(lanes, SIX))]
    assert not goes.up
    ended = lanes.finish(
        {number: Outcome(state="pruned", epoch=1, objective=None) for number in ending}
    )
    assert [(result.number, result.metrics) for result in ended] == [
        (number, {"epochs": 1}) for number in ending
    ]
    left = [number for number in SIX if number not in ending]
    rounds.append(values(advance_all(lanes, left)))
    assert sorted(number for worker in lanes.workers for number in worker.trials) == left
    first, second = alone(tmp_path, 2)
    assert rounds == [first, [each for each in second if each[0] in left]]


@pytest.mark.parametrize("machine", [False, True], ids=["died", "lost with their machine"])
def test_workers_that_are_lost_together_are_waited_for_together(pool, tmp_path, machine):
    lanes = pool(4)
    wait_for(lanes, 4)
    for number in SIX:
        lanes.add(trial(number))
    rounds, lost = [values(advance_all(lanes, SIX)) for _ in range(2)], lanes._children[1:]
    for worker in lost:
        worker.machine, worker.sign, worker.patience = machine, tmp_path / "come", 3.0
        worker.process.kill()
    rounds.append(values(advance_all(lanes, SIX)))
    assert [len(worker.trials) for worker in lanes.workers] == [6]
    assert all(bool(worker.losses) is not machine for worker in lost), (
        "a lost machine counts against no trial"
    )
    assert sum(worker.waited for worker in lost) == pytest.approx(3.0)
    (tmp_path / "come").touch()
    wait_for(lanes, 4)
    rounds += [values(advance_all(lanes, SIX)) for _ in range(2)]
    assert sorted(len(worker.trials) for worker in lanes.workers) == [1, 1, 2, 2]
    assert rounds == alone(tmp_path, 5)


def test_nobody_waits_for_workers_that_are_lost_with_their_machine_while_others_have_room(
    pool, tmp_path
):
    lanes, four = pool(4), range(4)
    wait_for(lanes, 4)
    for number in four:
        lanes.add(trial(number))
    rounds, lost = [values(advance_all(lanes, four)) for _ in range(2)], lanes._children[2:]
    for worker in lost:
        worker.machine, worker.sign = True, tmp_path / "come"
        worker.process.kill()
    rounds.append(values(advance_all(lanes, four)))
    assert [len(worker.trials) for worker in lanes.workers] == [2, 2]
    assert [worker.waited for worker in lost] == [0.0, 0.0]
    (tmp_path / "come").touch()
    wait_for(lanes, 4)
    rounds += [values(advance_all(lanes, four)) for _ in range(2)]
    assert [len(worker.trials) for worker in lanes.workers] == [1, 1, 1, 1]
    assert rounds == alone(tmp_path, 5, 4)


def test_workers_that_die_one_after_the_other_are_each_waited_for(pool, tmp_path):
    lanes, rounds = pool(3), []
    wait_for(lanes, 3)
    for number in SIX:
        lanes.add(trial(number))
    for worker in lanes._children:
        worker.patience = 60.0  # the next process takes a moment
        rounds.append(values(advance_all(lanes, SIX)))
        worker.process.kill()
    rounds.append(values(advance_all(lanes, SIX)))
    assert [len(worker.trials) for worker in lanes.workers] == [2, 2, 2]
    assert rounds == alone(tmp_path, 4)


def test_ctrl_c_ends_the_wait_for_the_end_of_a_worker_that_cannot_be_reached(tmp_path, caplog):
    undisturbed, first = in_memory(STUDY), []
    (tmp_path / "alone").mkdir()
    search(undisturbed, STUDY, counting.LastingLanes(tmp_path / "alone", 2), [])

    def start():
        lanes = WorkerPool(
            counting.build_lasting, [{"folder": tmp_path, "width": 1}] * 2, worker=CutOff, lanes=2
        )
        wait_for(lanes, 2)
        first.append(lanes._children[0].process)
        return lanes

    def it_is_waited_for():
        if len(notes(tmp_path)) >= 7:
            first[0].kill()
        return "worker-0 cannot be reached; its trials go on elsewhere once" in caplog.text

    assert stopped_study(start, tmp_path, [it_is_waited_for]) == table(undisturbed)
    assert "in 3600 seconds" in caplog.text


def test_a_driver_begins_once_workers_have_ended_that_the_driver_before_could_not_reach(
    tmp_path, caplog
):
    folder = tmp_path / "toy" / "trials"
    before, after = RayEngine(folder=folder), RayEngine(folder=folder)
    with before.shown():
        before.remember(1.5)
        before.remember(0.5)
        ended = time.time() + 1.4
    with after.shown():
        assert time.time() > ended
        assert [path.name for path in folder.iterdir() if path.name != after.sign] == [
            ".part-cut-off"
        ]
    assert "workers of the driver before this one could not be reached" in caplog.text
    assert not list(tmp_path.iterdir())  # nothing was trained, so nothing is left


def test_a_worker_of_another_kind_than_the_study_is_refused_with_the_difference(pool, caplog):
    begun = {"torch": "2.15", "processor": "EPYC"}
    lanes = pool(2, kinds=[begun, begun | {"torch": "2.16"}], kind=pool(1, kinds=[begun]).kind)
    [worker] = lanes.workers
    assert worker.name == "worker-0"
    assert lanes.kind.items() > begun.items()
    assert "worker-1: it differs from the workers" in caplog.text
    assert "torch 2.16, not 2.15)" in caplog.text
    assert re.fullmatch(r".*\([0-9a-f]{12}\)", lanes.kind["sweeps"])
    with pytest.raises(
        UserError,
        match=r"processor EPYC, not Xeon\), so results .* pass --extend",
    ):
        pool(1, kinds=[begun], kind=dict(lanes.kind) | {"processor": "Xeon"})
    with pytest.raises(UserError, match=r"sweeps .*, not 0\.0\.1 \(abc\)"):
        pool(1, kinds=[begun], kind=dict(lanes.kind) | {"sweeps": "0.0.1 (abc)"})


def test_workers_say_where_they_are_what_they_hold_and_how_fast_they_are(pool, tmp_path):
    before = time.time()
    lanes = pool(1, kinds=[{"device": "cpu", "processor": "EPYC"}])
    for number in (0, 1):
        lanes.add(trial(number))
    [first] = lanes.workers
    assert (first.name, first.trials, first.epochs_per_second) == ("worker-0", (0, 1), None)
    assert first.device == "cpu, EPYC"
    assert before < first.since < time.time()
    begun = time.monotonic()
    for _ in range(3):
        advance_all(lanes, [0, 1])
    [later] = lanes.workers
    assert later.epochs_per_second > 5 / (time.monotonic() - begun)


def test_workers_are_on_record_every_ten_seconds_while_the_study_runs():
    study, now = toy_study(trials=2), [0.0]
    optuna_study, seen = in_memory(study), []

    class Held(ToyLanes):
        rounds = 0

        @property
        def workers(self):
            state = {
                "name": "worker-0",
                "node": "n1",
                "device": "cpu",
                "epochs_per_second": float(self.rounds),
            }
            return (WorkerState(**state, trials=tuple(self._lanes), since=7.0),)

        @workers.setter
        def workers(self, value): ...

        def advance(self, numbers):
            seen.append(read_state(storage_of(optuna_study), study.name).study.workers)
            now[0], self.rounds = now[0] + 4.0, self.rounds + 1
            yield from super().advance(numbers)

    search(optuna_study, study, Held(width=2, epochs=6), [], timer=lambda: now[0])
    assert [workers[0]["epochs_per_second"] for workers in seen] == [0.0, 0.0, 0.0, 3.0, 3.0, 3.0]
    assert seen[0][0] | {"epochs_per_second": None} == {
        "name": "worker-0",
        "node": "n1",
        "device": "cpu",
        "epochs_per_second": None,
        "trials": ["toy/0", "toy/1"],
        "since": 7.0,
    }
    assert read_state(storage_of(optuna_study), study.name).study.workers == ()


def test_the_kind_of_the_first_workers_is_on_record_for_those_that_come_later(tmp_path):
    study = toy_study(trials=1)
    for kind in ({"torch": "2.15"}, {"torch": "2.16"}):
        with open_sweep(study, runs=tmp_path) as sweep:
            sweep.begin(Description())
            sweep.train(ToyLanes(kind=kind), [])
        with open_sweep(study, runs=tmp_path) as sweep:
            assert sweep.before.worker_kind == kind
