"""The command slurm: every value is checked, and what the script runs is what was asked;
tests/vaeexp/launch/test_slurm.py runs it on a real Slurm.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.errors import UserError
from vaeexp.commands import cli
from vaeexp.commands.slurm import batch_script

SUBMIT = ("slurm", "smoke", "--time", "1:00:00")


def further(*options: str) -> list[str]:
    return [word for option in options for word in ("--sbatch", option)]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments])


def written(*arguments: str) -> str:
    """The script of the study smoke with these arguments; it replaces the one before."""
    Path("smoke.sbatch").unlink(missing_ok=True)
    done = run("slurm", "smoke", *arguments)
    assert done.exit_code == 0, done.output
    return Path("smoke.sbatch").read_text()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("VAEEXP_STORAGE", "VAEEXP_TRACKING", "VAEEXP_RUNS", "VAEEXP_DATA"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def asked(script: str) -> dict[str, str]:
    """The options of the lines `#SBATCH`."""
    options = (
        line.partition("=") for line in re.findall(r"^#SBATCH --(.*)$", script, re.MULTILINE)
    )
    return {name: value for name, _, value in options}


def test_the_script_asks_for_a_signal_and_for_its_return_to_the_queue():
    script = written(
        "--time", "8:00:00", *further("partition=gpu,long", "account=lab.1", "mem=64G")
    )
    options = asked(script)
    assert options["signal"] == "B:USR1@180"
    assert "--stop-seconds=120" in script, (
        "so that checkpoints are written before Slurm ends the job"
    )
    assert {"requeue", "open-mode"} <= options.keys()
    assert [options[name] for name in ("time", "partition", "account", "mem", "nodes")] == [
        *("8:00:00", "gpu,long", "lab.1", "64G", "1")
    ]
    assert "exclusive" not in options, "one node needs no Ray"


@pytest.mark.skipif(not Path(sys.executable).with_name("ray").exists(), reason="needs vaeexp[ray]")
def test_several_nodes_are_a_cluster_with_a_token_of_its_own():
    script = written(
        "--time", "1:00:00", "--nodes", "4", *further("gpus-per-node=a100:8"), "--lanes", "64"
    )
    options = asked(script)
    assert "exclusive" in options
    assert (options["nodes"], options["gpus-per-node"]) == ("4", "a100:8")
    assert "smoke --lanes 64" in script


def test_several_nodes_without_ray_are_refused_before_the_queue(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    problem = run(*SUBMIT, "--nodes", "2").exception
    assert isinstance(problem, UserError)
    assert "pip install 'vaeexp[ray]'" in str(problem)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--nodes", "0"], "is not in the range"),
        (["--lanes", "0"], "is not in the range"),
        (["--lane", "4"], "No such option '--lane'"),
        (["--name", "../x"], "must be letters, digits"),
        (["--set", "epochs=many"], "epochs"),
    ],
)
def test_what_would_fail_in_the_queue_is_refused(arguments, problem, folder):
    done = run(*SUBMIT, *arguments)
    assert done.exit_code != 0
    assert problem in f"{done.output}{done.exception}"
    assert list(folder.iterdir()) == []


def test_an_address_of_the_environment_stays_out_of_the_script_and_is_missed(monkeypatch):
    monkeypatch.setenv("VAEEXP_STORAGE", "postgresql+psycopg://me:hunter2@host/x")
    script = written("--time", "1:00:00")
    assert "hunter2" not in script
    monkeypatch.delenv("VAEEXP_STORAGE")
    done = subprocess.run(["bash", "smoke.sbatch"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "VAEEXP_STORAGE: was set when this script was written" in done.stderr


def said_by(script: str, **variables: str) -> list[str]:
    """The words of the sweep that the script would run."""
    begin, _, _ = script.partition("stopped=\n")
    environment = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", **variables}
    text = f"{begin}printf '%s\\0' \"${{study[@]}}\"".encode()
    done = subprocess.run(
        ["bash", "-s"], input=text, stdout=subprocess.PIPE, check=True, env=environment
    )
    shown = done.stdout.decode().split("\0")[:-1]
    assert shown[:4] == [sys.executable, "-P", "-m", "vaeexp"]
    return shown[shown.index("sweep") + 1 :]


@settings(max_examples=8)
@given(
    st.lists(
        st.text(st.characters(blacklist_characters="\0", codec="utf-8"), max_size=12), max_size=9
    )
)
def test_every_word_reaches_the_sweep_as_it_was_given(words: list[str]) -> None:
    assert said_by(batch_script("smoke", ["nodes=1"], ["smoke", *words])) == [
        "--stop-seconds=120",
        "smoke",
        *words,
    ]


def test_a_job_that_starts_again_takes_the_study_from_its_former_run():
    script = batch_script("smoke", ["nodes=1"], ["smoke"])
    assert said_by(script)[-1] == "smoke"
    assert said_by(script, SLURM_RESTART_COUNT="2")[-2:] == ["smoke", "--take-over"]


@pytest.mark.parametrize(("gpus", "words"), [(False, []), (True, []), (True, ["--device", "cpu"])])
def test_a_job_with_gpus_trains_on_them_unless_the_sweep_names_a_device(gpus, words):
    script = batch_script("smoke", ["nodes=1"], ["smoke", *words])
    said = said_by(script, **({"SLURM_GPUS_ON_NODE": "8"} if gpus else {}))
    wanted = ["--device=cuda"] if gpus else []
    assert said == ["--stop-seconds=120", *wanted, "smoke", *words], "the last --device wins"


def test_a_script_that_somebody_changed_is_kept():
    path = Path("smoke.sbatch")
    first = written("--time", "1:00:00")
    assert run(*SUBMIT).exit_code == 0, "the same script may be written twice"
    path.write_text(first + "# mine\n")
    done = run(*SUBMIT)
    assert "exists with other content" in str(done.exception)
    assert path.read_text().endswith("# mine\n")
    assert run(*SUBMIT, "--script", "other.sh").exit_code == 0


def test_without_slurm_the_script_is_kept_for_a_login_node(monkeypatch):
    monkeypatch.setenv("PATH", "")
    done = run(*SUBMIT, "--submit")
    assert "sbatch cannot be run here" in str(done.exception)
    assert Path("smoke.sbatch").exists()
