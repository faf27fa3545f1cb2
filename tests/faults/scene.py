"""One fault in a folder of its own: what is drawn, what was done, what was seen, and the remedies
that messages name.
"""

import random
import signal
import subprocess
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from place import NAME, Facts, command, run, start
from postgres import sql

JOURNAL = Path("mlruns", "journal", f"{NAME}.log")
TRIES = 4
LIMIT = 300.0
"""Seconds within which a command must end."""


@dataclass(frozen=True)
class Undisturbed:
    """The study without a fault."""

    folder: Path
    facts: Facts
    seconds: float
    records: int
    """Lines of its journal."""


@dataclass
class Scene:
    """A folder, what is drawn in it, and what was seen."""

    folder: Path
    sweep: list[str]
    environment: dict[str, str]
    """Variables of every command."""
    draw: random.Random
    wanted: Undisturbed
    servers: ExitStack
    """Stopped when the folder has been compared."""
    storage: str | None = None
    """Address of a database instead of a journal."""
    done: str = ""
    """The harm, in words."""
    remedies: list[str] = field(default_factory=list)
    believed: list[str] = field(default_factory=list)
    """Commands that took a damaged file for a whole one."""
    recovery: float = 0.0
    """Seconds of all commands after the harm."""


class NotDone(Exception):
    """The fault found nothing to harm at its moment, or the machine does not allow it; the message
    says which.
    """


class NotRecovered(Exception):
    """The remedies did not bring the study to its end; the message has what the last command
    said.
    """


def begin(scene: Scene) -> subprocess.Popen[str]:
    """Start the sweep."""
    return start(scene.folder, scene.sweep, scene.environment)


def end(process: subprocess.Popen[str], limit: float = LIMIT) -> str:
    """Wait for the end of a process and return what it said."""
    try:
        said, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        raise NotRecovered(f"it did not end within {limit:.0f} s: {said[-1000:]}") from None
    return said


def vaeexp(scene: Scene, *arguments: str) -> tuple[int, str]:
    """Run a command after the harm, and count its seconds."""
    begun = time.monotonic()
    ended = run(scene.folder, command(*arguments), scene.environment)
    scene.recovery += time.monotonic() - begun
    return ended


def continue_to_end(scene: Scene) -> None:
    """Give the same command again until the study is complete; where it refuses, do what its
    message says.
    """
    for _ in range(TRIES):
        begun = time.monotonic()
        status, said = run(scene.folder, scene.sweep, scene.environment)
        scene.recovery += time.monotonic() - begun
        if status == 0:
            break
        if "doctor" in said:
            repair(scene)
    else:
        raise NotRecovered(said[-2000:])
    status, said = vaeexp(scene, "sync", NAME)
    if status:
        raise NotRecovered(said[-2000:])


def repair(scene: Scene) -> None:
    scene.remedies.append("doctor --repair")
    vaeexp(scene, "doctor", NAME, "--repair")


def wait_for_moment(scene: Scene, process: subprocess.Popen[str]) -> str:
    """Wait for a time, or for a line of the journal, because training takes few of the seconds; the
    moment in words.

    Raises:
        NotDone: the study has ended before.
    """
    if scene.draw.random() < 0.4:
        seconds = scene.draw.uniform(0, scene.wanted.seconds)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        moment = f"after {seconds:.2f} s"
    else:
        lines = scene.draw.randrange(scene.wanted.records)
        wait_for_line(scene, process, lines)
        time.sleep(scene.draw.uniform(0, 0.05))
        moment = f"after record {lines} of the journal"
    if process.poll() is not None:
        raise NotDone(f"the study had ended {moment}")
    return moment


def wait_for_line(scene: Scene, process: subprocess.Popen[str], lines: int) -> None:
    """Wait until the journal has more than so many records, or the process has ended."""
    while process.poll() is None and _records(scene) <= lines:
        time.sleep(0.02 if scene.storage else 0.002)


def _records(scene: Scene) -> int:
    """Count the records that the journal has by now, in its file or in PostgreSQL."""
    if scene.storage:
        with suppress(psycopg.Error):  # the table is not there yet
            return sql(scene.storage, "select count(*) from sweeps_journal")[0][0]
        return 0
    journal = scene.folder / JOURNAL
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def stop_half_way(scene: Scene) -> None:
    """Sweep to about the half, and stop as Ctrl-C does."""
    process = begin(scene)
    records = scene.wanted.records
    wait_for_line(scene, process, scene.draw.randrange(records // 4, records * 2 // 3))
    process.send_signal(signal.SIGINT)
    end(process)
