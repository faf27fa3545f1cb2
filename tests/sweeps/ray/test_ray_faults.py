"""What happens to a study on a real Ray cluster of three machines: its table is that of one process, and no epoch with a checkpoint is trained twice."""

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
LONGER_THAN_RAY = 45.0
"""Limit of an actor, within which Ray itself finds on a busy machine that a machine has gone."""


@pytest.fixture(scope="module")
def cluster():
    with three_machines(PYTHONPATH=traced.PATH) as machines:
        yield machines


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """The table of the study in one process."""
    return traced.undisturbed(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def study(cluster, tmp_path, wanted, record_property):
    """Starts a driver; `study.end` waits for its end and compares."""
    return Study(cluster, tmp_path, wanted, record_property)


class Study:
    """A study in a folder of its own, on all machines of the cluster."""

    def __init__(self, cluster, folder, wanted, record_property):
        self.cluster, self.folder, self.wanted, self.record = cluster, folder, wanted, record_property
        self.harmed = None

    def begin(self, limit=PATIENT, moments=12):
        """Start a driver and let it train so many moments; the process that trains now, and the time."""
        before = len(traced.trace(self.folder))
        self.driver = traced.start(traced.command(self.folder, self.cluster.address, 3, limit), self.folder)
        last = traced.wait_for(self.folder, self.driver, before + moments)
        self.harmed = self.harmed or time.monotonic()
        return last.pid

    def end(self):
        """Wait for the end of the study, compare it with one without accidents, and return what was trained."""
        assert self.driver.wait() == 0, traced.said(self.folder)
        self.record("seconds after the fault", round(time.monotonic() - self.harmed, 1))
        assert traced.stored_table(self.folder) == self.wanted
        moments = traced.trace(self.folder)
        traced.check_order(moments)
        assert traced.ended(actors(self.cluster))
        return moments

    def repeated(self):
        """The number of epochs that were trained again."""
        return len(moments := traced.trace(self.folder)) - len({(each.number, each.epoch) for each in moments})


def test_without_a_fault_no_epoch_is_trained_twice(study):
    study.begin()
    study.end()
    assert study.repeated() == 0


def test_an_actor_that_is_killed(study):
    os.kill(study.begin(), signal.SIGKILL)
    study.end()
    assert " died: " in traced.said(study.folder)


def test_an_actor_that_is_stopped_for_good(study):
    stopped = study.begin(SHORT)
    os.kill(stopped, signal.SIGSTOP)
    study.end()
    assert f"gave no sign of life for {SHORT:g} seconds" in traced.said(study.folder)


def test_an_actor_that_is_stopped_and_goes_on_in_time_is_not_replaced(study):
    stopped = study.begin()
    os.kill(stopped, signal.SIGSTOP)
    time.sleep(3)
    os.kill(stopped, signal.SIGCONT)
    study.end()
    assert study.repeated() == 0


def test_an_actor_that_is_ten_times_slower_is_not_replaced(study):
    slow = study.begin()
    while study.driver.poll() is None and psutil.pid_exists(slow):
        with suppress(ProcessLookupError):
            os.kill(slow, signal.SIGSTOP)
            time.sleep(0.45)
            os.kill(slow, signal.SIGCONT)
        time.sleep(0.05)
    study.end()
    assert study.repeated() == 0


def test_a_machine_that_goes(study):
    hold = study.folder / f"hold-{os.uname().nodename}"
    hold.touch()  # the study takes less time than to look for a machine and remove it
    study.begin(LONGER_THAN_RAY)
    homes = actors(study.cluster)
    lost = next(machine for machine in homes.values() if machine in study.cluster.worker_nodes)
    study.cluster.remove_node(lost, allow_graceful=False)
    assert traced.ended(
        [pid for pid, home in homes.items() if home is lost]
    )  # an actor outlives its raylet by a moment
    hold.unlink()
    study.end()
    study.cluster.add_node(num_cpus=1)
    assert "is lost with its machine" in traced.said(study.folder)


def test_a_driver_that_is_killed_and_started_again_trains_nothing_twice_that_had_a_checkpoint(study):
    study.begin(moments=20)
    begun = actors(study.cluster)
    study.driver.kill()
    study.driver.wait()
    assert traced.ended(begun)
    saved = {int(path.stem): json.loads(path.read_text())[0] for path in study.folder.glob("[0-9]*.json")}
    done = traced.trace(study.folder)
    ended = {row["number"] for row in traced.stored_table(study.folder) if row["state"] != "RUNNING"}
    unfinished = {number: epoch for number, epoch in saved.items() if number not in ended}
    assert unfinished, "too early"
    study.begin(moments=1)
    again = study.end()[len(done) :]
    assert not ended & {moment.number for moment in again}
    first = {number: min(moment.epoch for moment in again if moment.number == number) for number in unfinished}
    assert first == {number: epoch + 1 for number, epoch in unfinished.items()}
