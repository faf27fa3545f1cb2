"""Signals that come in a finalizer."""

import os
import signal
import time

import pytest

from vaeexp.commands import main


class Finalized:
    """Sends a signal to this process as it is deleted."""

    def __init__(self, number: int, did: list[str]) -> None:
        self.number, self.did = number, did

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        os.kill(os.getpid(), self.number)
        self.did.append("all of the finalizer")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_ends_by_a_signal_in_a_finalizer(number, status, keep_signals, monkeypatch):
    did: list[str] = []

    def wait(options: object, log: object) -> None:
        Finalized(number, did)
        time.sleep(10)
        did.append("no interrupt")

    monkeypatch.setattr("vaeexp.launch.run.run_sweep", wait)
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "smoke"])
    assert ended.value.code == status
    assert did == ["all of the finalizer"]


def test_an_ignored_interrupt_stays_ignored(keep_signals):
    # As a shell sets it for a command in the background.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
