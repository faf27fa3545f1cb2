"""Machines on this machine, each with a network, processes, a name and a /tmp/ray of its own:
namespaces of Linux.

The networks are joined by a bridge in that of the first machine, the hub, so that nothing outside
them changes.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

HUB = "ctl"
"""The first machine, 10.0.0.1; the others follow."""
_PROGRAMS = ("ip", "nsenter", "unshare")
# The shell is the first process of the machine, and the first process must reap those whose parents
# are gone.
_MACHINE = """\
mount -t tmpfs tmpfs /dev/shm && printf %s {hosts} > /dev/shm/hosts && mount --bind /dev/shm/hosts /etc/hosts
hostname {name} && mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray
{script}
exit $?
"""  # noqa: E501
_names: list[str] = []


@contextmanager
def made_networks(names: Sequence[str]) -> Iterator[None]:
    """Make the networks of the hub and of these machines; the test is skipped where that is not
    possible.
    """
    if missing := [program for program in _PROGRAMS if shutil.which(program) is None]:
        pytest.skip(f"needs {', '.join(missing)} (Debian: apt install iproute2)")
    if os.getuid():
        pytest.skip("needs root, for networks of its own")
    with ExitStack() as stack:
        try:
            _make_networks(stack, names)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"networks of its own cannot be made here: {error.stderr}")
        _names[:] = [HUB, *names]
        yield


def address(name: str) -> str:
    """Return the address of a machine."""
    return f"10.0.0.{_names.index(name) + 1}"


def inside(name: str, command: Sequence[str]) -> list[str]:
    """Return the command in the network of a machine."""
    return ["nsenter", f"--net=/run/netns/{_network(name)}", *command]


def machine(name: str, script: str) -> list[str]:
    """Return the command that is a machine while it runs the lines of a shell script."""
    hosts = "127.0.0.1 localhost\n" + "".join(f"{address(each)} {each}\n" for each in _names)
    # Not `ip netns exec`, which mounts another /sys, without the control groups that slurmd looks
    # for.
    alone = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return inside(
        name,
        [*alone, "bash", "-c", _MACHINE.format(hosts=shlex.quote(hosts), name=name, script=script)],
    )


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a daemon, or a machine with all of its processes, until the block ends."""
    quiet = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    process = subprocess.Popen(command, **{**quiet, **options})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def cut(name: str) -> None:
    """Cut a machine off from all others."""
    _ip("-n", _network(HUB), "link", "set", f"to-{name}", "down")


def mend(name: str) -> None:
    """Join a machine to the others again."""
    _ip("-n", _network(HUB), "link", "set", f"to-{name}", "up")


def _network(name: str) -> str:
    return f"vaeexp-{os.getpid()}-{name}"


def _make_networks(stack: ExitStack, names: Sequence[str]) -> None:
    for name in (HUB, *names):
        _ip("netns", "add", _network(name))
        stack.callback(_ip, "netns", "del", _network(name))
        _ip("-n", _network(name), "link", "set", "lo", "up")
    hub = _network(HUB)
    _ip("-n", hub, "link", "add", "hub", "type", "bridge")
    _ip("-n", hub, "addr", "add", "10.0.0.1/24", "dev", "hub")
    _ip("-n", hub, "link", "set", "hub", "up")
    for number, name in enumerate(names, start=2):
        _ip(
            "link",
            "add",
            f"to-{name}",
            "netns",
            hub,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            _network(name),
        )
        _ip("-n", hub, "link", "set", f"to-{name}", "master", "hub", "up")
        _ip("-n", _network(name), "addr", "add", f"10.0.0.{number}/24", "dev", "eth0")
        _ip("-n", _network(name), "link", "set", "eth0", "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
