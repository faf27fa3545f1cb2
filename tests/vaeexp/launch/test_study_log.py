"""Limits of the system around a sweep: an output that nobody reads, a full device, few processes,
little memory, no git.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from command_line import without_mnist
from mnist_files import write_files
from rich.console import Console

from vaeexp.launch.progress import LiveProgress
from vaeexp.launch.study_log import StudyLog, log_path
from vaeexp.runs import provenance

STUDY = """
question: Where do the lines go?
data: {dataset: mnist, validation_size: 40}
model: {hidden: [8], latent_size: 2}
train: {epochs: 1, batch_size: 20}
search: {beta: {low: 0.5, high: 2.0}}
budget: {trials: 2}
"""
USER = 54321
"""A user with no other process. Limits on processes do not count for root."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A folder with a study of a second and its images."""
    root = tmp_path_factory.mktemp("place")
    make_study(root)
    (root / "mlruns").mkdir()
    shutil.copy(empty_store, root / "mlruns")
    return root


def make_study(root: Path) -> None:
    (root / "lines.yaml").write_text(STUDY, encoding="utf-8")
    write_files(root / "data" / "MNIST" / "raw", training=160, test=30)


def start(
    place: Path, *arguments: str, before: tuple[str, ...] = (), **options: object
) -> subprocess.Popen[str]:
    command = [*before, sys.executable, "-P", "-m", "vaeexp", *arguments]
    options = {
        "cwd": place,
        "env": without_mnist(place),
        "text": True,
        "stderr": subprocess.PIPE,
    } | options
    return subprocess.Popen(command, **options)


SWEEP = ("sweep", "lines.yaml", "--data", "data", "--workers", "1", "--lanes", "2")


@pytest.fixture(scope="module")
def unread(place: Path) -> tuple[int, str]:
    """The exit status and the errors of a sweep whose reader goes away at once, on a machine
    without git.
    """
    environment = without_mnist(place) | {"PATH": str(place / "nothing")}
    process = start(place, *SWEEP, stdout=subprocess.PIPE, env=environment)
    process.stdout.close()
    return process.wait(), process.stderr.read()


def log_of(place: Path) -> str:
    return (place / "mlruns" / "logs" / "lines.txt").read_text(encoding="utf-8")


def test_a_closed_pipe_does_not_end_the_training(place, unread):
    status, errors = unread
    assert (status, errors) == (
        0,
        "The output is closed. The study goes on; its lines are in mlruns/logs/lines.txt.\n",
    )
    assert (place / "reports" / "lines" / "README.md").exists()
    lines = log_of(place)
    assert "vaeexp sweep lines.yaml" in lines.splitlines()[1]
    assert "lines: Where do the lines go?" in lines
    assert lines.count("complete  epoch 1") == 2
    assert "Report: reports/lines/report.html" in lines
    assert "joblib" not in lines


def test_a_full_device_is_said_in_one_line_and_the_log_holds_every_sweep(place, unread):
    with open("/dev/full", "w", encoding="utf-8") as full:
        process = start(place, *SWEEP, stdout=full)
        errors = process.communicate()[1]
    assert process.returncode == 0
    assert errors.splitlines() == [
        "The output is lost (No space left on device). The study goes on; its lines are in "
        "mlruns/logs/lines.txt."
    ]
    assert len(re.findall(r"(?m)^\d{4}-\S+ .*  vaeexp sweep lines.yaml", log_of(place))) == 2
    assert "is complete" in log_of(place)


def test_other_commands_end_in_one_line_or_without_a_word(place, unread):
    with open("/dev/full", "w", encoding="utf-8") as full:
        process = start(place, "trials", "lines", "--json", stdout=full)
        assert (
            process.communicate()[1]
            == "vaeexp: standard output cannot be written: No space left on device.\n"
        )
        assert process.returncode == 2
    process = start(place, "trials", "lines", stdout=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1


def test_a_machine_without_git_has_no_commit_on_record(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance._git() == {}


def test_too_little_address_space_for_the_libraries_is_one_line(place):
    process = start(
        place,
        *SWEEP,
        "--name",
        "narrow",
        before=("prlimit", f"--as={2**30}"),
        stdout=subprocess.DEVNULL,
    )
    errors = process.communicate()[1].splitlines()
    assert process.returncode == 2
    assert len(errors) == 1
    assert errors[0].startswith("vaeexp: memory: too little for a library (libtorch")
    assert errors[0].endswith("Raise the limit (`ulimit -v`, or that of the container).")


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"),
    reason="needs root, to become a user of its own",
)
def test_a_limit_on_processes_is_one_line():
    may_read = "+dac_override,+dac_read_search"
    become = (
        "setpriv",
        f"--reuid={USER}",
        "--clear-groups",
        f"--inh-caps={may_read}",
        f"--ambient-caps={may_read}",
    )
    with tempfile.TemporaryDirectory() as folder:  # that of pytest is closed to other users
        root = Path(folder)
        make_study(root)
        for path in (root, *root.rglob("*")):
            path.chmod(0o777)
        process = start(
            root, *SWEEP, before=(*become, "prlimit", "--nproc=4"), stdout=subprocess.DEVNULL
        )
        errors = process.communicate()[1].splitlines()
    assert process.returncode == 2
    assert errors[-1].startswith(
        "vaeexp: processes: the system allows no further process or thread."
    )
    assert not [line for line in errors if "Traceback" in line or "bug" in line or "joblib" in line]


def test_in_a_notebook_the_lines_go_to_the_file(monkeypatch, tmp_path):
    """Rich takes `get_ipython` as the sign of a notebook, and shows each line there instead of
    writing it to a file.
    """

    class ZMQInteractiveShell:
        pass

    monkeypatch.setattr("builtins.get_ipython", ZMQInteractiveShell, raising=False)
    said = io.StringIO()
    log = StudyLog(Console(file=said, force_jupyter=False))
    log.say("before")
    with log.keep(tmp_path, "s", "vaeexp sweep s") as begin:
        log.say("within")
        assert not log_path(tmp_path, "s").exists(), "the command may still be refused"
        begin()
        with LiveProgress(log.file_console, study="s") as progress:
            progress.warn("look")
    lines = log_path(tmp_path, "s").read_text().splitlines()
    assert [line.split("  ")[-1] for line in lines[1:]] == [
        "vaeexp sweep s",
        "before",
        "within",
        "warning: look",
    ]
    assert said.getvalue() == "before\nwithin\n"
