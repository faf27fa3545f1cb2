"""The far side of a worker on a Ray cluster, without a cluster."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import counting
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.errors import UserError
from sweeps.lanes import Outcome, TrialSpec, advance_all
from sweeps.ray.actor import CarriedLanes, Lease
from sweeps.ray.worker import join_cluster
from sweeps.testing import check_lanes

COMPLETE = Outcome(state="complete", epoch=2, objective=0.0)
PATH = os.pathsep.join(sys.path)

ALONE = """
import sys, time
from sweeps.ray.actor import LanesActor
actor = LanesActor(limit=float(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    time.sleep(0.25)
    actor.pulse()
print("hears no more", flush=True)
time.sleep(60)
"""


def test_an_actor_without_a_pulse_leaves_before_its_driver_gives_it_up():
    """Otherwise an actor that is cut off would write beside its successor."""
    process = subprocess.Popen(
        [sys.executable, "-c", ALONE, "1.5", "8"],
        env={**os.environ, "PYTHONPATH": PATH},
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"hears no more\n", (
        "pulses kept it for longer than the limit"
    )
    begun = time.monotonic()
    assert process.wait(30) == 1
    process.stdout.close()
    assert time.monotonic() - begun >= 0.5


LIMIT = 60.0


def driven(delays):
    """The lease of an actor, and when its driver gave it up (None: never), if pulses and answers
    take so many seconds.
    """
    lease, heard = Lease(LIMIT, 0.0), 0.0
    lease.renew(0.0)
    for there, back in delays:
        arrived = heard + LIMIT / 6 + there
        if arrived >= heard + LIMIT or lease.is_over(arrived):
            return lease, heard + LIMIT
        lease.renew(arrived)
        if arrived + back >= heard + LIMIT:
            return lease, heard + LIMIT
        heard = arrived + back
    return lease, None


@given(delays=st.lists(st.tuples(st.floats(0, 2 * LIMIT), st.floats(0, 2 * LIMIT)), max_size=8))
def test_an_actor_is_gone_when_its_driver_gives_it_up_whatever_is_late_or_lost(delays):
    """A pulse that arrives late, and its answer never, used to keep an actor for most of another
    limit.
    """
    lease, over = driven(delays)
    assert over is None or lease.is_over(over)


def carried(tmp_path):
    own, theirs = tmp_path / "own", tmp_path / "theirs"
    own.mkdir()
    return CarriedLanes(counting.build_writing(own), own, theirs), own, theirs


def test_what_lanes_write_out_of_the_drivers_sight_goes_along_with_their_answers(tmp_path):
    lanes, own, theirs = carried(tmp_path)
    for number in (0, 1):
        lanes.add(TrialSpec(number=number, params={}, seed=number))
    first, _ = advance_all(lanes, [0, 1])
    assert first.images == {1: {"state": str(theirs / "trial-0000" / "epoch-1.png")}}
    assert set(lanes.files) == {"trial-0000/epoch-1.png", "trial-0001/epoch-1.png"}
    for _ in range(2):
        advance_all(lanes, [0, 1])
    assert (own / "0.json").exists(), "a checkpoint"
    lanes.files.clear()
    [result] = lanes.finish({0: COMPLETE})
    assert result.folder == str(theirs / "trial-0000")
    assert set(lanes.files) == {
        f"trial-0000/{name}" for name in ("epoch-1.png", "epoch-2.png", "epoch-3.png", "weights")
    }
    assert lanes.files["trial-0000/weights"].startswith(b"weights ")
    assert sorted(path.name for path in own.iterdir()) == ["1.json", "trial-0001"], (
        "nothing is kept twice"
    )


def test_a_trial_that_leaves_lanes_out_of_sight_begins_again_with_the_same_values(tmp_path):
    def out_of_sight(name):
        (tmp_path / name).mkdir()
        return CarriedLanes(
            counting.PausingLanes(tmp_path / name, 2, tmp_path),
            tmp_path / name,
            tmp_path / "theirs",
        )

    first, second, third = map(out_of_sight, ("first", "second", "third"))
    trial = TrialSpec(number=0, params={}, seed=0)
    first.add(trial)
    values = [progress.objective for _ in range(4) for progress in advance_all(first, [0])]
    first.finish({0: Outcome(state="paused", epoch=4, objective=0.0)})
    assert set(first.files) == {"trial-0000/weights"}
    second.add(replace(trial, epoch=2))
    second.replay()
    assert [progress.objective for progress in advance_all(second, [0])] == values[2:3]
    second.release([0])
    third.add(replace(trial, epoch=3))
    third.replay()
    assert [progress.objective for progress in advance_all(third, [0])] == values[3:]
    third.finish({0: COMPLETE})
    for name in ("first", "second", "third"):
        assert not list((tmp_path / name).rglob("checkpoint*")), "checkpoints go with the trial"


def test_a_client_outside_the_cluster_is_refused(monkeypatch):
    with (
        pytest.raises(
            UserError, match=r"^--address: got ray://head:10001; must be `auto` or HOST:PORT"
        ),
        join_cluster("ray://head:10001", []),
    ):
        pass
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with (
        pytest.raises(UserError, match=r"^--address: got ray://head:10001"),
        join_cluster("auto", []),
    ):
        pass


def test_the_protocol_of_lanes_out_of_sight(tmp_path):
    """Without a shared folder a trial begins at its start again, which `check_lanes` sees as a lane
    like any other.
    """
    own = tmp_path / "own"
    own.mkdir()
    check_lanes(lambda: CarriedLanes(counting.build(own), own, tmp_path), [{}, {"a": 1}, {"b": 2}])


def test_ray_is_named_where_it_is_missing():
    code = (
        "import sys; sys.modules['ray'] = None\nfrom sweeps.ray.worker import join_cluster\nwith "
        "join_cluster('auto', []): pass"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1].endswith(
        "--engine: got ray, which is not installed. Try: pip install ray."
    )
