"""Faults of processes: they are killed, told to end, or get too little memory."""

import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
from control_group import NoControlGroups, memory_group
from place import NAME, SHELL, SWEEP, run
from scene import (
    JOURNAL,
    NotDone,
    NotRecovered,
    Scene,
    begin,
    continue_to_end,
    end,
    vaeexp,
    wait_for_moment,
)


def children(process: subprocess.Popen[str]) -> dict[str, list[psutil.Process]]:
    """Return the processes of a sweep by kind: those that train, and the one that writes to
    MLflow.
    """
    found: dict[str, list[psutil.Process]] = {"worker": [], "mirror": []}
    with suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                words = " ".join(child.cmdline())
                kind = (
                    "mirror"
                    if "sweeps.tracking" in words
                    else "worker"
                    if "forkserver" in words
                    else None
                )
                if kind is not None:
                    found[kind].append(child)
    return found


def send_to_driver(number: signal.Signals) -> Callable[[Scene], None]:
    """Send a signal to the process that the user started; what it leaves behind must end, too."""

    def harm(scene: Scene) -> None:
        process = begin(scene)
        moment = wait_for_moment(scene, process)
        left = [child for kind in children(process).values() for child in kind]
        process.send_signal(number)
        end(process)
        scene.done = f"{number.name} {moment}"
        _, alive = psutil.wait_procs(left, timeout=60)
        if alive:
            raise NotRecovered(f"{len(alive)} processes outlive their driver")
        continue_to_end(scene)

    return harm


def kill_child(kind: str) -> Callable[[Scene], None]:
    """Kill a worker, or the process that writes to MLflow; the driver goes on."""

    def harm(scene: Scene) -> None:
        process = begin(scene)
        moment = wait_for_moment(scene, process)
        found = children(process)[kind]
        if found:
            with suppress(psutil.Error):
                scene.draw.choice(found).kill()
        begun = time.monotonic()
        end(process)
        if not found:
            raise NotDone(f"no {kind} was there {moment}")
        scene.done = f"SIGKILL of a {kind} {moment}"
        scene.recovery += time.monotonic() - begun
        continue_to_end(scene)

    return harm


def kill_all(scene: Scene) -> None:
    """Kill driver, workers and mirror at once, as when the power fails, but for what the disk had
    not written.
    """
    process = begin(scene)
    moment = wait_for_moment(scene, process)
    for child in [*(child for kind in children(process).values() for child in kind), process]:
        with suppress(psutil.Error, ProcessLookupError):
            child.kill()
    end(process)
    scene.done = f"SIGKILL of all processes {moment}"
    continue_to_end(scene)


JUMP = """
import sys, time
from pathlib import Path
days, line, journal = float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
right = time.time
time.time = lambda: right() + 86400 * days * (journal.exists() and journal.read_bytes().count(b"\\n") > line)
from vaeexp.commands import main
main(sys.argv[4:])
"""  # noqa: E501
"""A driver whose clock jumps when the journal has so many lines."""


def jump_clock(scene: Scene) -> None:
    """Set the driver's clock a day forward or back in the middle of a study; report and sweep again
    with the right clock.
    """
    days, line = scene.draw.choice([-1, 1]), scene.draw.randrange(scene.wanted.records)
    words = [*SWEEP[SWEEP.index("sweep") :]]
    jumping = [SWEEP[0], "-P", "-c", JUMP, str(days), str(line), str(JOURNAL), *words]
    scene.done = f"clock {days:+} day after line {line} of the journal"
    status, said = run(scene.folder, jumping, scene.environment)
    for command in (["report", NAME], words):
        if status == 0:
            status, said = vaeexp(scene, *command)
    if status:
        raise NotRecovered(said[-2000:])
    continue_to_end(scene)


def limit_memory(scene: Scene) -> None:
    """Sweep in a control group with too little memory, as in a small container; then give the
    command without the limit.
    """
    megabytes = scene.draw.randrange(500, 1800)
    try:
        with memory_group(megabytes) as group:
            joined = [*SHELL, f'echo $$ > {group}/cgroup.procs && exec "$@"', "sweep", *scene.sweep]
            begun = time.monotonic()
            ended = subprocess.run(
                joined,
                cwd=scene.folder,
                env=scene.environment,
                capture_output=True,
                text=True,
                check=False,
            )
    except NoControlGroups as error:
        raise NotDone(str(error)) from None
    said = ended.stdout + ended.stderr
    scene.done = f"{megabytes} MB of memory: exit status {ended.returncode}"
    if ended.returncode not in (0, 1, 2) or (ended.returncode and "memory" not in said):
        raise NotRecovered(
            f"the command did not say that memory ran out ({ended.returncode}): {said[-1500:]}"
        )
    scene.recovery += time.monotonic() - begun
    continue_to_end(scene)
