"""A real Slurm of three machines on this machine: a controller and three slurmd, each with a
network, processes and a name of its own.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from machines import HUB, inside, machine, made_networks, started

NODES = ("n1", "n2", "n3")
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
_CONFIGURATION = """\
ClusterName=vaeexp
SlurmctldHost=ctl(10.0.0.1)
SlurmUser=root
AuthInfo=socket={folder}/munge.socket,cred_expire=30
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=5
MpiDefault=none
ReturnToService=2
KillWait=10
SlurmdTimeout=3600
NodeName=n1 NodeAddr=10.0.0.2 NodeHostname=n1 CPUs=2
NodeName=n2 NodeAddr=10.0.0.3 NodeHostname=n2 CPUs=2
NodeName=n3 NodeAddr=10.0.0.4 NodeHostname=n3 CPUs=2
PartitionName=all Nodes=n1,n2,n3 Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """Commands of Slurm."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a command of Slurm needs."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command in the network of the controller."""
        return inside(HUB, command)

    def run(self, *command: str) -> str:
        """Run a command of Slurm; return its output."""
        return subprocess.run(
            self.inside(command),
            env={**os.environ, **self.environment},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def is_idle(self) -> bool:
        """Whether all machines are up and have nothing to do."""
        return self.run("sinfo", "--noheader", "--format=%D %t").strip() == f"{len(NODES)} idle"

    def log(self) -> str:
        """Return the last lines of the controller and of the first machine, for a test that
        fails.
        """
        return "".join(
            (self.folder / f"{name}.log").read_text()[-3000:]
            for name in ("slurmctld", f"slurmd-{NODES[0]}")
        )

    def state(self, job: str) -> Mapping[str, str]:
        """Return what Slurm says about a job."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)


@contextmanager
def three_machines() -> Iterator[Slurm]:
    """Start Slurm; the test is skipped where that is not possible."""
    if missing := [program for program in _PROGRAMS if shutil.which(program) is None]:
        pytest.skip(f"needs {', '.join(missing)} (Debian: apt install slurm-wlm munge iproute2)")
    with ExitStack() as stack:
        stack.enter_context(made_networks(NODES))
        folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        folder.chmod(0o755)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _write_configuration(folder)
        munge = [
            f"--{name}={folder}/munge.{name.split('-')[0]}"
            for name in ("socket", "pid-file", "log-file", "seed-file")
        ]
        stack.enter_context(
            started(["munged", "--foreground", "--force", f"--key-file={folder}/munge.key", *munge])
        )
        slurm = Slurm(folder)
        stack.enter_context(started(machine(HUB, f"slurmctld -D -f {folder}/slurm.conf")))
        for name in NODES:
            (folder / f"spool-{name}").mkdir()
            stack.enter_context(
                started(machine(name, f"slurmd -D -N {name} -f {folder}/slurm.conf"))
            )
        while not slurm.is_idle():
            time.sleep(0.5)
        yield slurm


def _write_configuration(folder: Path) -> None:
    (folder / "slurm.conf").write_text(_CONFIGURATION.format(folder=folder))
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    (folder / "state").mkdir()
