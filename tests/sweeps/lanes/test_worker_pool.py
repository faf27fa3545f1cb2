"""Real child processes, really killed: what the driver sees must not change."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import counting
import psutil
import pytest

from sweeps.errors import UserError
from sweeps.lanes import Outcome, TrialSpec, advance_all
from sweeps.lanes.worker_pool import WorkerPool
from sweeps.lanes.worker_process import Child
from sweeps.lanes.worker_restarts import WorkerError
from sweeps.testing import check_lanes

COMPLETE = Outcome(state="complete", epoch=6, objective=0.0)
FAILED = Outcome(state="failed", epoch=0, objective=None)


@pytest.fixture
def workers(tmp_path):
    opened = []

    def start(processes=2, width=2):
        lanes = WorkerPool(counting.build, [{"folder": tmp_path, "width": width}] * processes)
        opened.append(lanes)
        return lanes

    yield start
    for lanes in opened:
        lanes.close()


def trial(number, epoch=0, **params):
    return TrialSpec(number=number, params=params, seed=number + 100, epoch=epoch)


def with_trials(lanes, *trials, rounds=0):
    """The lanes, filled with these trials and trained for some epochs."""
    for each in trials:
        lanes.add(each)
    for _ in range(rounds):
        advance_all(lanes, [each.number for each in trials])
    return lanes


def values(progress):
    return [(each.number, each.epoch, each.objective) for each in progress]


def alone(folder, numbers, epochs):
    """The rounds of the same trials in one process without accidents."""
    (folder / "alone").mkdir(exist_ok=True)
    lanes = with_trials(
        counting.CountingLanes(folder / "alone", len(numbers)), *map(trial, numbers)
    )
    return [values(advance_all(lanes, numbers)) for _ in range(epochs)]


def process_ids(lanes):
    return [child.process.pid for child in lanes._children if child.process]


def gone(pids, seconds=4.0):
    """Whether all these processes end within some seconds (a zombie has ended)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(folder, pattern, count=1, seconds=20.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if len(found := list(folder.glob(pattern))) >= count:
            return found
        time.sleep(0.02)
    raise AssertionError(f"no {pattern} in {folder}")


def test_many_processes_give_the_rounds_of_one(workers, tmp_path, monkeypatch):
    monkeypatch.setenv("VAEEXP_TEST_VARIABLE", "3")
    before = dict(os.environ)
    lanes = workers()
    assert lanes.width == 4
    for number in range(4):
        lanes.add(trial(number))
    lanes.replay()
    first = advance_all(lanes, [3, 0, 2, 1])
    assert [each.number for each in first] == [3, 0, 2, 1]
    pids = {each.number: each.metrics["pid"] for each in first}
    assert pids[0] == pids[2] != pids[1] == pids[3], "each trial goes where most lanes are free"
    assert {each.metrics["variable"] for each in first} == {3.0}
    assert dict(os.environ) == before
    later = [values(advance_all(lanes, [0, 1, 2, 3])) for _ in range(3)]
    assert [sorted(values(first)), *later] == alone(tmp_path, [0, 1, 2, 3], 4)
    with pytest.raises(ValueError, match="no lane is free for trial-0009"):
        lanes.add(trial(9))
    [result] = lanes.finish({1: COMPLETE})
    assert (result.number, result.metrics, result.folder) == (1, {"epochs": 4}, "complete")
    lanes.add(trial(9))
    assert advance_all(lanes, [9])[0].metrics["pid"] == pids[1], (
        "into the lane that has become free"
    )


def test_an_epoch_is_handed_over_while_its_neighbours_train(workers, tmp_path):
    lanes = with_trials(workers(processes=1), trial(0), trial(1, bad="sleep", at=1))
    advancing = lanes.advance([0, 1])
    assert next(advancing) == [], "they have begun"
    assert values(next(advancing)) == alone(tmp_path, [0], 1)[0]


def test_a_child_killed_during_an_epoch_is_replaced_unnoticed(workers, tmp_path):
    lanes = with_trials(workers(), *map(trial, range(3)), trial(3, bad="sleep", at=4, times=1))
    seen = [advance_all(lanes, [0, 1, 2, 3]) for _ in range(3)]
    before = {each.number: each.metrics["pid"] for each in seen[-1]}

    def kill():
        wait_for(tmp_path, "bad-3-*")
        os.kill(before[3], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    seen.append(advance_all(lanes, [0, 1, 2, 3]))
    killer.join()
    seen.append(advance_all(lanes, [0, 1, 2, 3]))
    after = {each.number: each.metrics["pid"] for each in seen[-1]}
    assert [values(each) for each in seen] == alone(tmp_path, [0, 1, 2, 3], 5)
    assert after[0] == before[0]
    assert after[1] == after[3] != before[3]
    assert gone([before[3]])


@pytest.mark.parametrize("command", ["advance", "add", "replay", "finish", "discard_checkpoints"])
def test_a_child_that_died_between_rounds_is_replaced_at_the_next_command(
    workers, tmp_path, command
):
    lanes = with_trials(workers(processes=1), trial(0), rounds=3)
    os.kill(process_ids(lanes)[0], signal.SIGKILL)
    assert gone(process_ids(lanes))
    if command == "add":
        lanes.add(trial(1))
    if command == "replay":
        lanes.replay()
    if command == "discard_checkpoints":
        lanes.discard_checkpoints([trial(1)])
    if command == "finish":
        assert lanes.finish({0: COMPLETE})[0].metrics == {"epochs": 3}
    else:
        assert values(advance_all(lanes, [0])) == alone(tmp_path, [0], 4)[3]


@pytest.fixture
def limited(tmp_path):
    """A pool of one worker in which nothing may stand still for longer than two seconds."""
    lanes = WorkerPool(counting.build, [{"folder": tmp_path, "width": 3}], timeout=2.0)
    yield lanes
    lanes.close()


RAISED = "ValueError: the loss has no gradient in epoch"
KILLED = "its process was killed by"
SILENT = "no batch and no answer for 2 seconds in epoch"


@pytest.mark.parametrize(
    ("bad", "at", "kind", "message"),
    [
        ("raise", "add", "error", f"{RAISED} 2"),
        ("raise", "replay", "error", f"{RAISED} 2"),
        ("raise", 2, "error", f"{RAISED} 2"),
        ("raise", "finish", "error", f"{RAISED} 3"),
        ("leave", 2, "error", "SystemExit: the loss has no gradient in epoch 2"),
        ("interrupt", 2, "error", "KeyboardInterrupt: the loss has no gradient in epoch 2"),
        (
            "lines",
            2,
            "error",
            "RuntimeError: Error(s) in loading: size mismatch… in epoch 2",
        ),
        ("kill", 2, "out_of_memory", f"{KILLED} SIGKILL in epoch 2, 3 times"),
        ("exit", 2, "crashed", "its process ended with exit status 3 in epoch 2, 3 times"),
        ("segfault", "add", "crashed", f"{KILLED} SIGSEGV in epoch 2, 3 times"),
        ("segfault", 2, "crashed", f"{KILLED} SIGSEGV in epoch 2, 3 times"),
        ("segfault", "finish", "crashed", f"{KILLED} SIGSEGV in epoch 3, 3 times"),
        ("sleep", "add", "timed_out", f"{SILENT} 2"),
        ("sleep", "replay", "timed_out", f"{SILENT} 2"),
        ("sleep", 2, "timed_out", "its epoch was not done after 2 seconds in epoch 2"),
        ("sleep", "finish", "timed_out", f"{SILENT} 3"),
    ],
)
def test_a_trial_that_raises_dies_or_hangs_fails_alone(limited, tmp_path, bad, at, kind, message):
    """Trial 1 of three does so while it is placed, catches up, trains or is finished. Its
    neighbours keep their numbers; where memory ran out, all that train may be the cause.
    """
    others = [] if bad == "kill" else [0, 2]
    wrong = {"bad": bad, "at": at}
    with_trials(limited, *(trial(n, epoch=1, **(wrong if n == 1 else {})) for n in [1, *others]))
    limited.replay()
    done = {each.number: each for each in advance_all(limited, [1, *others])}
    failure = done.pop(1).failure
    results = limited.finish({1: COMPLETE if at == "finish" else FAILED})
    if at == "finish":
        failure = results[0].failure
    assert results[0].metrics == {}
    start, _, end = message.partition("…")
    assert failure.kind == kind
    assert failure.message.startswith(start)
    assert failure.message.endswith(end)
    assert len(failure.message) < 550
    expected = alone(tmp_path, [0, 2], 3)[1:]
    assert values(done.values()) == (expected[0] if others else [])
    assert values(advance_all(limited, others)) == (expected[1] if others else [])


@pytest.mark.parametrize("bad", ["raise", "sleep"])
def test_a_trial_of_a_fused_program_fails_alone(tmp_path, bad):
    """The group's process ends, then its lanes train one by one."""
    lanes = WorkerPool(counting.build_fused, [{"folder": tmp_path, "width": 3}], timeout=2.0)
    try:
        with_trials(lanes, trial(0), trial(1, bad=bad, at=2), trial(2), rounds=1)
        first, failed, last = advance_all(lanes, [0, 1, 2])
        assert values([first, last]) == alone(tmp_path, [0, 2], 2)[1]
        assert failed.failure
    finally:
        lanes.close()


@pytest.mark.parametrize("at", ["add", 1, 2, 3])
def test_two_deaths_in_an_epoch_go_unnoticed(workers, tmp_path, at):
    lanes = with_trials(workers(processes=1), trial(0), trial(1, bad="kill", at=at, times=2))
    assert [values(advance_all(lanes, [0, 1])) for _ in range(3)] == alone(tmp_path, [0, 1], 3)


def test_a_replay_may_be_long_as_long_as_it_trains(limited, tmp_path):
    limited.add(trial(0, epoch=4, bad="nod", at="replay"))
    begun = time.monotonic()
    limited.replay()
    assert time.monotonic() - begun > 2.0
    assert values(advance_all(limited, [0])) == alone(tmp_path, [0], 5)[4]


@pytest.mark.slow
def test_what_is_long_and_no_training_is_not_ended(limited, tmp_path):
    limited.add(trial(0, bad="compile", at="add"))
    assert values(advance_all(limited, [0])) == alone(tmp_path, [0], 1)[0]


def test_a_warning_of_all_workers_is_logged_once_here(tmp_path, caplog, capfd):
    lanes = WorkerPool(counting.build, [{"folder": tmp_path, "problem": "warning"}] * 2)
    try:
        assert lanes.width == 4
    finally:
        lanes.close()
    assert caplog.messages == [f"The lanes of {tmp_path.name} train slowly."]
    assert capfd.readouterr().err == ""


def test_more_trials_than_pipes_hold_are_placed(workers, tmp_path):
    lanes = with_trials(workers(processes=1, width=2000), *map(trial, range(2000)))
    assert values(advance_all(lanes, [1999])) == alone(tmp_path, [1999], 1)[0]


def test_many_are_finished_in_the_order_asked_for_and_a_death_meanwhile_goes_unnoticed(workers):
    trials = *map(trial, range(3)), trial(3, bad="kill", at="finish", times=2)
    lanes = with_trials(workers(), *trials, rounds=3)
    results = lanes.finish({3: COMPLETE, 0: FAILED, 2: COMPLETE})
    assert [(each.number, each.metrics, each.folder) for each in results] == [
        (3, {"epochs": 3}, "complete"),
        (0, {"epochs": 3}, "failed"),
        (2, {"epochs": 3}, "complete"),
    ]
    with_trials(lanes, *map(trial, (4, 5, 6)))
    assert [each.epoch for each in advance_all(lanes, [1, 4, 5, 6])] == [4, 1, 1, 1]


def test_a_finished_trial_can_be_trained_again_until_its_checkpoints_are_discarded(
    workers, tmp_path
):
    lanes = with_trials(workers(), trial(0), rounds=3)
    lanes.finish({0: COMPLETE})
    assert (tmp_path / "0.json").exists()
    lanes.discard_checkpoints([trial(0)])
    assert not (tmp_path / "0.json").exists()


def test_trials_are_continued_from_their_checkpoints(workers, tmp_path):
    lanes = with_trials(workers(), trial(0), trial(1), rounds=3)
    children = process_ids(lanes)
    lanes.close()
    assert gone(children)
    assert len(list(tmp_path.glob("closed-*"))) == len(children)
    assert (tmp_path / "0.json").read_text().startswith("[2,"), "never ahead of what is reported"
    again = with_trials(workers(), trial(0, epoch=3), trial(1, epoch=3))
    again.replay()
    assert values(advance_all(again, [0, 1])) == alone(tmp_path, [0, 1], 4)[3]


def test_what_a_factory_raises(tmp_path):
    def start(*problems):
        WorkerPool(
            counting.build, [{"folder": tmp_path, "problem": problem} for problem in problems]
        )

    with pytest.raises(UserError, match=r"^study.yaml: device: got 'abacus'; known: cpu.$"):
        start(None, "user")
    with pytest.raises(
        WorkerError,
        match=r"(?s)worker-0 could not start.*counting.py.*ZeroDivisionError: no such device",
    ):
        start("bug", None)
    with pytest.raises(WorkerError, match="worker-0 could not start: ended with exit status 7"):
        start("exit")


def test_a_user_error_stays_one(workers):
    lanes = with_trials(workers(processes=1), trial(0, bad="user", at=1))
    with pytest.raises(UserError, match=r"^study.yaml: beta: got -1; must be at least 0.$"):
        advance_all(lanes, [0])


def test_a_full_disk_stops_the_study_and_fails_no_trial(workers):
    lanes = with_trials(workers(processes=1), trial(0, bad="full", at=1))
    with pytest.raises(
        UserError, match=r"^the disk is full. What is finished is kept: free some space"
    ):
        advance_all(lanes, [0])


def test_the_protocol_of_lanes(workers):
    check_lanes(workers, [{}, {"a": 1}, {"b": 2}])


SUPPORT = os.pathsep.join(
    [str(Path(__file__).parents[2] / "support"), str(Path(__file__).parents[3])]
)
"""What a script needs to find our modules."""

PARENT = """
import os, sys, time
from pathlib import Path
import counting
from sweeps.lanes import TrialSpec, advance_all
from sweeps.lanes.worker_pool import WorkerPool

folder, bad = Path(sys.argv[1]), sys.argv[2]
def build(**given):  # lanes of this script's own: a child imports the script before anything of ours runs in it
    return counting.build(**given)

if __name__ != "__main__" and bad == "boot":
    (folder / f"starting-{os.getpid()}").touch()
    time.sleep(0.5)
if __name__ == "__main__":
    lanes = None
    try:
        problem = "slow" if bad == "slow" else None
        factory = build if bad == "boot" else counting.build
        lanes = WorkerPool(factory, [{"folder": folder, "problem": problem}] * 2)
        for number in (0, 1):
            lanes.add(TrialSpec(number=number, params={"bad": bad, "at": 2}, seed=number))
        advance_all(lanes, [0, 1])
        if bad == "boot":
            sys.exit("children are well")
        advance_all(lanes, [0, 1])
    except KeyboardInterrupt:
        started = time.monotonic()
        if lanes:
            lanes.close()
        print(f"closed in {time.monotonic() - started:.2f}")
"""  # noqa: E501


PRELOADING = """
import os, sys
from sweeps.lanes.worker_process import preload
from sweeps.lanes.worker_pool import WorkerPool

if __name__ == "__main__":
    preload("imported")
    import imported
    lanes = WorkerPool(imported.build, [{}] * 3)
    lanes.close()
    preload("imported")
"""

IMPORTED = """
import os
from pathlib import Path
from counting import CountingLanes

(Path(__file__).parent / f"imported-{os.getpid()}").touch()

def build():
    (Path(__file__).parent / f"child-{os.getpid()}").touch()
    return CountingLanes(Path(__file__).parent, 1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each child imports for itself")
def test_what_children_need_is_imported_once(tmp_path):
    (tmp_path / "imported.py").write_text(IMPORTED)
    (tmp_path / "parent.py").write_text(PRELOADING)
    path = os.pathsep.join([str(tmp_path), SUPPORT])
    subprocess.run(
        [sys.executable, tmp_path / "parent.py"], env={**os.environ, "PYTHONPATH": path}, check=True
    )
    assert len(list(tmp_path.glob("child-*"))) == 3
    assert len(list(tmp_path.glob("imported-*"))) == 2, (
        "by the parent and by the process that children are forks of"
    )


UNGUARDED = """
import sys
from pathlib import Path
import counting
from sweeps.lanes.worker_pool import WorkerPool

print("the script runs")
WorkerPool(counting.build, [{"folder": Path(sys.argv[1])}] * 2).close()
"""


def test_a_script_without_a_guard_starts_its_children_and_runs_once(tmp_path):
    (tmp_path / "script.py").write_text(UNGUARDED)
    command = [sys.executable, tmp_path / "script.py", tmp_path]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": SUPPORT},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("the script runs\n", "")


@pytest.fixture
def parent(tmp_path):
    """Starts a program that holds two children in a process group of its own, as a shell does."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    started = []

    def start(bad):
        process = subprocess.Popen(
            [sys.executable, script, tmp_path, bad],
            env={**os.environ, "PYTHONPATH": SUPPORT},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        signs = wait_for(tmp_path, "starting-*" if bad in ("slow", "boot") else "bad-*", 2)
        return process, [int(sign.name.rsplit("-", 1)[1]) for sign in signs]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("bad", ["spin", "slow"])
def test_no_child_outlives_a_parent_that_is_killed(parent, bad):
    process, children = parent(bad)
    assert all(alive(pid) for pid in children)
    process.kill()
    assert gone(children)


@pytest.mark.parametrize("bad", ["spin", "slow"])
def test_ctrl_c_ends_all_within_seconds_and_quietly(parent, tmp_path, bad):
    process, children = parent(bad)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert float(out.split()[-1]) < 5
    assert gone(children, seconds=0.1)
    assert not list(tmp_path.glob("closed-*")), "in the midst of an epoch there is nothing to close"


def test_a_child_whose_parent_hangs_up_without_listening_ends_in_order(tmp_path):
    child = Child("worker-0", counting.build, {"folder": tmp_path, "width": 2})
    child.start()
    try:
        assert child.connection.poll(60), "it is up, and its answer lies unread"
        child.connection.close()
        child.process.join(60)
        assert child.process.exitcode == 0
    finally:
        child.kill()


def test_ctrl_c_does_not_reach_a_child_that_is_not_yet_up(parent):
    process, children = parent("boot")
    for pid in children:
        os.kill(pid, signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "children are well\n")
    assert gone(children)


def test_a_process_on_its_way_out_searches_nothing_for_cycles():
    script = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count(), "
        "gc.get_count()[0])); import sweeps.fast_exit"
    )
    frozen, tracked = map(
        int, subprocess.check_output([sys.executable, "-c", script], text=True).split()
    )
    assert frozen > 1000 > tracked
