"""What fails when, on a real Ray cluster of three machines: the table is that of one process, and
no epoch with a checkpoint is trained twice.
"""

import json
import os
import signal
import time
from contextlib import suppress

import psutil
import pytest
import traced_study as traced
from ray_machines import actors, three_machines

pytest.importorskip("ray", reason="needs vaeexp[ray]")
# A cluster of three machines takes half a minute to start, and minutes where the machine is busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
PATIENT, SHORT = 120.0, 10.0
IN_STEP, PIPELINED = 1000, 1
"""From how many lanes on decisions lag one round."""
LONGER_THAN_RAY = 45.0
"""Limit of an actor, within which Ray itself finds on a busy machine that a machine has gone."""


@pytest.fixture(scope="module")
def cluster():
    with three_machines(PYTHONPATH=traced.PATH) as machines:
        yield machines


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """The table of the study in one process: late → table."""
    return {
        late: traced.undisturbed(tmp_path_factory.mktemp("undisturbed"), late)
        for late in (IN_STEP, PIPELINED)
    }


@pytest.fixture
def study(cluster, tmp_path, wanted, record_property):
    """Starts a driver; `study.end` waits for its end and compares."""
    return Study(cluster, tmp_path, wanted, record_property)


class Study:
    """A study in a folder of its own, on all machines of the cluster."""

    def __init__(self, cluster, folder, wanted, record_property):
        self.cluster = cluster
        self.folder = folder
        self.wanted = wanted
        self.record = record_property
        self.harmed = None
        (folder / "toy_lanes.py").write_text("raise ImportError('no part of what workers run')")

    def begin(self, limit=PATIENT, moments=12, late=IN_STEP):
        """Start a driver and let it train so many moments; the process that trains now, and the
        time.
        """
        before, self.late = len(traced.trace(self.folder)), late
        command = traced.command(self.folder, self.cluster.address, 3, limit, late)
        self.driver = traced.start(command, self.folder)
        last = traced.wait_for(self.folder, self.driver, before + moments)
        self.harmed = self.harmed or time.monotonic()
        return last.pid

    def end(self):
        """Wait for the end of the study, compare it with one without accidents, and return what was
        trained.
        """
        assert self.driver.wait() == 0, traced.said(self.folder)
        self.record("seconds after the fault", round(time.monotonic() - self.harmed, 1))
        assert traced.stored_table(self.folder) == self.wanted[self.late]
        moments = traced.trace(self.folder)
        traced.check_order(moments)
        assert traced.ended(actors(self.cluster))
        return moments

    def repeated(self):
        """The number of epochs that were trained again."""
        return len(moments := traced.trace(self.folder)) - len(
            {(each.number, each.epoch) for each in moments}
        )


def stopped_for_a_moment(study, pid):
    os.kill(pid, signal.SIGSTOP)
    time.sleep(3)
    os.kill(pid, signal.SIGCONT)


def ten_times_slower(study, pid):
    while study.driver.poll() is None and psutil.pid_exists(pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.45)
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.05)


@pytest.mark.parametrize("harm", [lambda study, pid: None, stopped_for_a_moment, ten_times_slower])
def test_an_actor_that_answers_in_time_is_not_replaced_and_no_epoch_is_trained_twice(study, harm):
    harm(study, study.begin())
    study.end()
    assert study.repeated() == 0


@pytest.mark.parametrize(
    ("fault", "when", "late"),
    [
        *(
            ("SIGKILL", when, late)
            for when in ("add", "train", "finish")
            for late in (IN_STEP, PIPELINED)
        ),
        ("SIGSTOP", "train", IN_STEP),
        ("SIGSTOP", "finish", PIPELINED),
    ],
)
def test_an_actor_that_fails_is_replaced(study, fault, when, late):
    limit = {"SIGKILL": PATIENT, "SIGSTOP": SHORT}[fault]
    said = {"SIGKILL": " died: ", "SIGSTOP": f"gave no sign of life for {SHORT:g} seconds"}[fault]
    study.begin(limit, late=late)
    sign = study.folder / f"{fault} in {when}"
    sign.touch()
    study.end()
    assert not sign.exists(), "it has failed"
    assert said in traced.said(study.folder)


def test_a_machine_that_goes_leaves_its_trials_to_the_others_and_its_successor_takes_some(study):
    hold = study.folder / f"hold-{os.uname().nodename}"
    hold.touch()  # the study takes less time than to look for a machine and remove it
    study.begin(LONGER_THAN_RAY)
    homes = actors(study.cluster)
    lost = next(machine for machine in homes.values() if machine in study.cluster.worker_nodes)
    study.cluster.remove_node(lost, allow_graceful=False)
    assert traced.ended(
        [pid for pid, home in homes.items() if home is lost]
    )  # an actor outlives its raylet by a moment
    machine = study.cluster.add_node(num_cpus=1)
    while not (
        successor := [pid for pid, home in actors(study.cluster).items() if home is machine]
    ):
        assert study.driver.poll() is None, traced.said(study.folder)
        time.sleep(0.1)
    hold.unlink()
    assert {moment.pid for moment in study.end()} >= set(successor), "running trials move to it"
    assert "is lost with its machine" in traced.said(study.folder)


def test_a_driver_that_is_killed_and_started_again_trains_nothing_twice_that_had_a_checkpoint(
    study,
):
    study.begin(moments=20)
    begun = actors(study.cluster)
    study.driver.kill()
    study.driver.wait()
    assert traced.ended(begun)
    saved = {
        int(path.stem): json.loads(path.read_text())[0] for path in study.folder.glob("[0-9]*.json")
    }
    done = traced.trace(study.folder)
    ended = {
        row["number"] for row in traced.stored_table(study.folder) if row["state"] != "RUNNING"
    }
    unfinished = {number: epoch for number, epoch in saved.items() if number not in ended}
    assert unfinished, "too early"
    study.begin(moments=1)
    again = study.end()[len(done) :]
    assert not ended & {moment.number for moment in again}
    first = {
        number: min(moment.epoch for moment in again if moment.number == number)
        for number in unfinished
    }
    assert first == {number: epoch + 1 for number, epoch in unfinished.items()}
