"""The recipes of the guide: what their Python prints, and the commands that change a study.
`test_docs_commands.py` runs the other commands.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from command_line import Forks, Swept, without_mnist

PAGE = Path(__file__).resolve().parent.parent / "docs" / "guide" / "recipes.md"
TEXT = PAGE.read_text(encoding="utf-8")


def blocks(section: str, kind: str) -> list[str]:
    """The fenced blocks of a kind below a heading."""
    [text] = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, swept_smoke: Swept) -> Path:
    """A folder that holds a finished study."""
    folder = tmp_path_factory.mktemp("recipes")
    swept_smoke.copy_to(folder)
    return folder


@pytest.fixture(scope="module")
def vaeexp(folder: Path) -> Iterator[Forks]:
    with closing(Forks(folder)) as forks:
        yield forks


def printed(folder: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=without_mnist(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_table_for_a_paper_has_the_rows_of_the_report(folder: Path) -> None:
    [code] = blocks("A table for a paper", "python")
    latex = printed(folder, code)
    report = (folder / "reports" / "beta_mnist" / "README.md").read_text(encoding="utf-8")
    head, *rows = re.findall(r"^(.*&.*) \\\\$", latex, re.MULTILINE)
    assert [cell.strip() for cell in head.split("&")][:3] == ["row", "n", "test −ELBO"]
    assert rows
    for row in rows:
        cells = " | ".join(cell.strip() for cell in row.split("&")[:5])
        assert f"| {cells} |" in report


def test_the_codes_of_a_batch_have_a_mean(folder: Path, vaeexp: Forks) -> None:
    [command] = blocks("Batch effects and labels", "sh")
    done = vaeexp.run(*shlex.split(command)[1:])
    assert done.returncode == 0, done.stderr
    [code] = blocks("Batch effects and labels", "python")
    assert "mean_0" in printed(folder, code)


def test_own_parts_are_found_in_the_folders_of_pythonpath(tmp_path: Path) -> None:
    [command] = blocks("Where own parts are looked for", "sh")
    assert command.startswith("PYTHONPATH=$HOME/code vaeexp sweep ")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "far_losses.py").write_text(
        "def far(step):\n    return (step.distortion + step.rate).mean()\n"
    )
    environment = without_mnist(tmp_path)
    sweep = "sweep smoke --set loss=far_losses:far --set confirm=null --compile off --dry-run"
    codes = {}
    for place in ("", f":{tmp_path / 'code'}"):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "vaeexp", *sweep.split()],
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": f"{environment['PYTHONPATH']}{place}"},
            capture_output=True,
            text=True,
            check=False,
        )
        codes[bool(place)] = done.returncode
    assert codes == {False: 2, True: 0}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_best_is_trained_for_longer(tmp_path: Path, swept_smoke: Swept) -> None:
    swept_smoke.copy_to(tmp_path)
    [command] = blocks("Train the best for longer", "sh")
    # The study `beta_mnist` of this folder is `smoke` under that name.
    command = command.replace("epochs: 30", "epochs: 8").replace("sweep", "sweep smoke --name")
    words = [*shlex.split(command)[1:], "--compile", "off"]
    with closing(Forks(tmp_path)) as forks:
        done = forks.run(*words)
        assert done.returncode == 0, done.stderr
        shown = forks.run("trials", "beta_mnist", "--json")
    longer = re.findall(r'"epochs": 8,', shown.stdout)
    assert len(longer) == 3, shown.stdout
