"""What the sweep tells people to type."""

import io
import os
import subprocess
import sys

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from rich.console import Console

from vaeexp.console import in_notebook, print_table, program


def test_the_program_is_named_so_that_it_can_be_typed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    monkeypatch.chdir(tmp_path)
    assert program() == "vaeexp"
    installed = tmp_path / "venv" / "bin" / "vaeexp"
    installed.parent.mkdir(parents=True)
    installed.write_text("#!/bin/sh\n")
    assert program() == "venv/bin/vaeexp"
    monkeypatch.setenv("PATH", str(installed.parent))
    installed.chmod(0o755)
    assert program() == "vaeexp"


def test_a_process_that_starts_kernels_is_no_notebook():
    """As papermill and nbclient: finding the kernel imports parts of ipykernel."""
    KernelSpecManager().get_kernel_spec("python3")
    assert "ipykernel" in sys.modules
    assert not in_notebook()


ROWS = [
    (
        "12",
        "complete",
        "30",
        "98.31",
        "4 min 10 s",
        "beta=0.31 latent_size=12 learning_rate=0.00312 prior=mixture",
    ),
    (
        "r0",
        "pruned",
        "3",
        "1,204.55",
        "12 s",
        "[normal prior] beta=1 latent_size=2 learning_rate=1.25e-05",
    ),
]


@pytest.mark.parametrize("width", [25, 40, 60, 80, 200])
def test_no_width_of_a_terminal_breaks_a_number(width):
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width)
    print_table(console, ("run", "state", "epochs", "−ELBO", "time", "configuration"), ROWS)
    words = console.file.getvalue().split()
    for row in ROWS:
        for word in " ".join(row).split():
            assert word in words


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_output_is_no_error_and_its_place_goes_to_no_file(closed, tmp_path):
    program = (
        "import os, sys\n"
        "from vaeexp.console import open_closed_output\n"
        "open_closed_output()\n"
        "print('lost'); print('lost', file=sys.stderr)\n"
        "file = open('file', 'w')\n"
        "assert file.fileno() > 2\n"
        "file.write('kept')\n"
    )
    command = f'"$0" -c "$1" {closed}'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, program],
        cwd=tmp_path,
        env={**os.environ},
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == "kept"
