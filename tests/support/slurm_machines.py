"""A real Slurm of three machines on this machine: a controller and three slurmd, each with a network, processes and a name of its own.

The networks are namespaces of Linux, joined by a bridge in the controller's, so that nothing outside them changes.
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

NODES = ("n1", "n2", "n3")
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "ip", "nsenter", "unshare")
_CONFIGURATION = """\
ClusterName=vaeexp
SlurmctldHost=ctl(10.0.0.1)
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
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
MpiDefault=none
ReturnToService=2
KillWait=10
SlurmdTimeout=3600
NodeName=n1 NodeAddr=10.0.0.2 NodeHostname=n1 CPUs=2
NodeName=n2 NodeAddr=10.0.0.3 NodeHostname=n2 CPUs=2
NodeName=n3 NodeAddr=10.0.0.4 NodeHostname=n3 CPUs=2
PartitionName=all Nodes=n1,n2,n3 Default=YES MaxTime=INFINITE State=UP
"""
_HOSTS = "127.0.0.1 localhost\n10.0.0.1 ctl\n10.0.0.2 n1\n10.0.0.3 n2\n10.0.0.4 n3\n"
# The shell is the first process of the machine, and the first process must reap those whose parents are gone.
_MACHINE = """\
mount --bind {folder}/hosts /etc/hosts && hostname {name} && mount -t tmpfs tmpfs /dev/shm
mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray
{daemon}
exit $?
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
        return ["nsenter", f"--net=/run/netns/{_network('ctl')}", *command]

    def run(self, *command: str) -> str:
        """Run a command of Slurm; return its output."""
        return subprocess.run(
            self.inside(command), env={**os.environ, **self.environment}, check=True, capture_output=True, text=True
        ).stdout

    def is_idle(self) -> bool:
        """Whether all machines are up and have nothing to do."""
        return self.run("sinfo", "--noheader", "--format=%D %t").strip() == f"{len(NODES)} idle"

    def log(self) -> str:
        """Return the last lines of the controller and of the first machine, for a test that fails."""
        return "".join(
            (self.folder / f"{name}.log").read_text()[-3000:] for name in ("slurmctld", f"slurmd-{NODES[0]}")
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
    if os.getuid():
        pytest.skip("needs root, for networks of its own and for munged")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            _make_networks(stack)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"networks of its own cannot be made here: {error.stderr}")
        _write_configuration(folder)
        munge = [
            f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "pid-file", "log-file", "seed-file")
        ]
        _start(stack, ["munged", "--foreground", "--force", f"--key-file={folder}/munge.key", *munge])
        slurm = Slurm(folder)
        _start(stack, _machine(folder, "ctl", f"slurmctld -D -f {folder}/slurm.conf"))
        for name in NODES:
            (folder / f"spool-{name}").mkdir()
            _start(stack, _machine(folder, name, f"slurmd -D -N {name} -f {folder}/slurm.conf"))
        while not slurm.is_idle():
            time.sleep(0.5)
        yield slurm


def _network(name: str) -> str:
    return f"vaeexp-{os.getpid()}-{name}"


def _make_networks(stack: ExitStack) -> None:
    for name in ("ctl", *NODES):
        _ip("netns", "add", _network(name))
        stack.callback(_ip, "netns", "del", _network(name))
        _ip("-n", _network(name), "link", "set", "lo", "up")
    hub = _network("ctl")
    _ip("-n", hub, "link", "add", "hub", "type", "bridge")
    _ip("-n", hub, "addr", "add", "10.0.0.1/24", "dev", "hub")
    _ip("-n", hub, "link", "set", "hub", "up")
    for number, name in enumerate(NODES, start=2):
        _ip("link", "add", f"to-{name}", "netns", hub, "type", "veth", "peer", "name", "eth0", "netns", _network(name))
        _ip("-n", hub, "link", "set", f"to-{name}", "master", "hub", "up")
        _ip("-n", _network(name), "addr", "add", f"10.0.0.{number}/24", "dev", "eth0")
        _ip("-n", _network(name), "link", "set", "eth0", "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _write_configuration(folder: Path) -> None:
    (folder / "slurm.conf").write_text(_CONFIGURATION.format(folder=folder))
    (folder / "hosts").write_text(_HOSTS)
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    (folder / "state").mkdir()


def _machine(folder: Path, name: str, daemon: str) -> list[str]:
    script = _MACHINE.format(folder=folder, name=name, daemon=daemon)
    # Not `ip netns exec`, which mounts another /sys, without the control groups that slurmd looks for.
    alone = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return ["nsenter", f"--net=/run/netns/{_network(name)}", *alone, "bash", "-c", script]


def _start(stack: ExitStack, command: Sequence[str]) -> None:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
