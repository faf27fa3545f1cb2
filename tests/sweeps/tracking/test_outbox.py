"""The outbox: what is appended is delivered once, in order, whatever stops in between."""

import json
import os
import threading
import time
from queue import Queue

import pytest

from sweeps.errors import UserError
from sweeps.tracking import outbox as module
from sweeps.tracking.outbox import Outbox, Refused, Writer


def _number(events):
    return [event["n"] for event in events]


def _read(box, limit=100):
    return _number(event for event, _ in box.read(limit))


def test_what_is_not_acknowledged_is_read_again(tmp_path):
    box = Outbox(tmp_path, "s")
    for n in range(5):
        box.append({"n": n}, durable=n == 4)
    assert _read(box, 3) == [0, 1, 2]
    box.acknowledge(box.read(3)[1][1], 2)
    assert _read(box) == [2, 3, 4]
    identity = box.identity
    box.close()

    again = Outbox(tmp_path, "s")
    assert (_read(again), again.pending, again.identity) == ([2, 3, 4], 3, identity)
    again.close()


def test_a_delivered_file_is_emptied_when_opened_and_keeps_its_identity(tmp_path):
    box = Outbox(tmp_path, "s")
    box.append({"n": 1}, durable=False)
    box.acknowledge(box.read(10)[-1][1], 1)
    identity = box.identity
    box.close()
    again = Outbox(tmp_path, "s")
    assert again.path.stat().st_size == 0
    again.append({"n": 2}, durable=True)
    assert (_read(again), again.identity) == ([2], identity)
    again.close()


@pytest.mark.parametrize("cut", [1, 4, 7])
def test_an_unfinished_last_line_is_cut(tmp_path, cut):
    box = Outbox(tmp_path, "s")
    for n in (1, 2):
        box.append({"n": n}, durable=True)
    box.close()
    os.truncate(box.path, box.path.stat().st_size - cut)
    again = Outbox(tmp_path, "s")
    again.append({"n": 3}, durable=True)
    assert _read(again) == [1, 3]
    assert again.pending == 2
    assert [json.loads(line)["n"] for line in again.path.read_text().splitlines()] == [1, 3]
    again.close()


def test_a_second_holder_is_refused(tmp_path):
    box = Outbox(tmp_path, "s")
    with pytest.raises(UserError, match="another process is recording this study"):
        Outbox(tmp_path, "s")
    box.close()
    Outbox(tmp_path, "s").close()


def test_no_room_is_a_clear_error_and_leaves_no_half_line(tmp_path):
    resource = pytest.importorskip("resource", reason="limits on file sizes are a matter of Unix")
    box = Outbox(tmp_path, "s")
    box.append({"n": 1}, durable=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (box.path.stat().st_size + 4, hard))
    try:
        with pytest.raises(UserError, match=r"s\.jsonl: cannot be written \(File too large\). Make room"):
            box.append({"n": 2}, durable=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert box.path.read_text() == '{"n":1}\n'
    box.append({"n": 3}, durable=True)
    assert _read(box) == [1, 3]
    box.close()


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        Outbox(tmp_path / "file", "s")


def test_the_writer_delivers_in_order_while_events_come_in(tmp_path):
    box, got = Outbox(tmp_path, "s"), []
    writer = Writer(box, lambda events: got.extend(_number(events)))
    for n in range(500):
        box.append({"n": n}, durable=False)
        writer.wake()
    assert writer.drain(10)
    assert got == list(range(500))
    assert box.pending == 0
    assert writer.stop()
    box.close()


def test_a_first_delivery_may_wait_for_what_matters(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 60.0)
    box, got = Outbox(tmp_path, "study"), []
    writer = Writer(box, lambda events: got.extend(_number(events)))
    for number in range(3):
        box.append({"n": number}, durable=False)
        writer.wake(patient=True)
    time.sleep(0.3)
    assert got == []
    box.append({"n": 3}, durable=False)
    writer.wake()
    assert writer.drain(10)
    assert got == [0, 1, 2, 3]
    assert writer.stop()


def test_what_may_wait_is_delivered_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    box, got = Outbox(tmp_path, "study"), Queue()
    writer = Writer(box, lambda events: got.put(_number(events)))
    box.append({"n": 0}, durable=False)
    writer.wake(patient=True)
    assert list(got.get(timeout=10)) == [0]
    assert writer.stop()


def test_who_waits_for_delivery_does_not_wait_for_more_events(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "GATHER", 60.0)
    box, got = Outbox(tmp_path, "study"), []
    writer = Writer(box, lambda events: got.extend(_number(events)))
    writer.wake()
    time.sleep(0.2)  # the writer has nothing to do
    box.append({"n": 0}, durable=False)
    writer.wake()
    time.sleep(0.2)
    assert got == [], "more may come"
    assert writer.drain(10)
    assert got == [0]
    assert writer.stop()
    box.close()


def test_a_failing_receiver_is_tried_again_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DELAYS", (0.01, 0.02))
    box, got, failures = Outbox(tmp_path, "s"), [], iter(range(5))

    def deliver(events):
        if next(failures, None) is not None:
            raise ConnectionError("no answer")
        got.extend(_number(events))

    writer = Writer(box, deliver)
    for n in range(3):
        box.append({"n": n}, durable=False)
    assert not writer.drain(10)  # gives up after three failures ...
    assert box.pending == 3
    assert isinstance(writer.problem, ConnectionError)
    deadline = time.monotonic() + 10
    while box.pending and time.monotonic() < deadline:  # ... while the thread goes on trying
        time.sleep(0.01)
    assert (got, box.pending, writer.problem) == ([0, 1, 2], 0, None)
    assert writer.stop()
    box.close()


def test_a_refused_event_is_set_aside_and_the_others_arrive(tmp_path):
    box, got = Outbox(tmp_path, "s"), []

    def deliver(events):
        if 2 in _number(events):
            raise Refused("number 2 is not wanted")
        got.extend(_number(events))

    writer = Writer(box, deliver)
    for n in range(4):
        box.append({"n": n}, durable=False)
    assert writer.drain(10)
    assert got == [0, 1, 3]
    assert writer.refused == ["number 2 is not wanted"]
    assert json.loads(box.refused_path.read_text()) == {"reason": "number 2 is not wanted", "event": {"n": 2}}
    assert writer.stop()
    box.close()


def test_drain_keeps_to_its_timeout_when_the_receiver_hangs(tmp_path):
    box, released = Outbox(tmp_path, "s"), threading.Event()
    writer = Writer(box, lambda events: released.wait(10))
    box.append({"n": 1}, durable=False)
    start = time.monotonic()
    assert not writer.drain(0.2)
    assert not writer.stop(0.1)
    assert time.monotonic() - start < 2
    released.set()
    assert writer.stop(5)
    box.close()
