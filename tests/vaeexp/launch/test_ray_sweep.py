"""`vaeexp sweep --engine ray` on a real cluster of three machines: the same numbers as on this
machine.
"""

import csv
import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest
from command_line import without_mnist
from ray_machines import actors, three_machines

pytest.importorskip("ray", reason="needs vaeexp[ray]")
# A cluster of three machines takes half a minute to start, and minutes where the machine is busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TIMES = ("started", "ended", "seconds")


@pytest.fixture(scope="module")
def cluster():
    """A cluster whose machines have neither this code in their path nor the driver's variables."""
    with three_machines(PYTHONPATH=None) as machines:
        yield machines


def numbers(folder):
    with (folder / "reports" / "beta_mnist" / "trials.csv").open() as file:
        rows = [
            {name: value for name, value in row.items() if name not in TIMES}
            for row in csv.DictReader(file)
        ]
    weights = sorted((folder / "mlruns" / "trials").rglob("*.safetensors"))
    return rows, {
        path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in weights
    }


def test_actors_on_three_machines_make_the_study_of_this_machine_though_some_are_killed(
    cluster, swept_smoke, tmp_path
):
    swept_smoke.copy_cache_to(tmp_path)
    recorded = "--workers 3 --lanes 4 --name beta_mnist"
    command = (
        f"-P -m vaeexp sweep smoke {recorded} --engine ray --address {cluster.address}".split()
    )
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=tmp_path,
        env={**os.environ, **without_mnist(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith(("[1/8]", "[1/5]")):
            os.kill(next(iter(actors(cluster))), signal.SIGKILL)
    assert process.wait() == 0, "".join(said)
    assert " died: " in "".join(said)
    assert "does not see the folder" not in "".join(said), "all machines have this folder"
    expected, computed = numbers(swept_smoke.folder), numbers(tmp_path)
    assert computed == expected
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and actors(cluster):
        time.sleep(0.2)
    assert not actors(cluster)
    assert not list((tmp_path / "mlruns" / "trials" / "beta_mnist").glob(".part-*"))
