"""Signals that wait for the end of a block."""

import os
import signal

import pytest

from sweeps.lanes.interrupts import uninterrupted


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before, (
        "the handlers are back"
    )
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_comes_at_the_end_of_the_block(number):
    done, before = [], signal.signal(number, signal.default_int_handler)

    @uninterrupted()
    def block():
        os.kill(os.getpid(), number)
        done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == ["all of it"]
    signal.signal(number, before)


def test_a_second_signal_does_not_wait():
    done = []

    @uninterrupted()
    def block():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("first")
        os.kill(os.getpid(), signal.SIGINT)
        done.append("second")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == ["first"]


def test_it_returns_what_a_function_returns_and_can_stand_in_another():
    @uninterrupted()
    def inner():
        os.kill(os.getpid(), signal.SIGINT)
        return 7

    @uninterrupted()
    def outer():
        found.append(inner())
        found.append("outer")

    found = []
    with pytest.raises(KeyboardInterrupt):
        outer()
    assert found == [7, "outer"], "the signal waits for the end of the outer block"
