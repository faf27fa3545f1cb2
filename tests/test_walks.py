"""Three walks of the guide, from a newcomer's files to odd rows: the blocks of each page run in
their order, and print what the page quotes.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from command_line import Forks

GUIDE = Path(__file__).resolve().parent.parent / "docs" / "guide"


def blocks(page: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: kind and text."""
    text = (GUIDE / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def masked(line: str) -> str:
    """The line without its numbers and the widths of its columns: weights differ in their last bits
    between machines, and so may what is measured with them.
    """
    return " ".join(re.sub(r"[\d.,]+", "#", line.replace("-", "")).split())


def is_exact(line: str) -> bool:
    """Whether a line follows from the data alone."""
    return re.match(r"  \w+: |p = |Report: ", line) is not None


def printed(forks: Forks, folder: Path, kind: str, text: str) -> Iterator[str]:
    """Run a block; yields what it printed."""
    if kind == "python":
        done = subprocess.run(
            [sys.executable, "-c", text], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        yield done.stdout
        return
    for command in text.splitlines():
        program, *arguments = shlex.split(command)
        assert program == "vaeexp"
        said = forks.run(*arguments)
        assert said.returncode == 0, f"{command}\n{said.stdout}{said.stderr}"
        yield said.stdout


def walk(page: str, folder: Path) -> None:
    """Run the blocks of a page in the folder, and compare what they print with the page."""
    said = ""
    with closing(Forks(folder)) as forks:
        for kind, text in blocks(page):
            if kind != "text":
                said = "".join(printed(forks, folder, kind, text))
                continue
            for line in text.splitlines():
                same = str if is_exact(line) else masked
                assert same(line) in map(same, said.splitlines()), f"{line}\nin\n{said}"


def shown(page: str, chosen: str, column: str, scores: pd.DataFrame) -> set[str]:
    """The names of the rows that the page lists."""
    listed = re.search(rf'{chosen}\((\d+), "{column}"\)', (GUIDE / f"{page}.md").read_text("utf-8"))
    assert listed is not None
    return {*getattr(scores, chosen)(int(listed[1]), column)["name"]}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("page", "rows", "odd"),
    [
        ("microscope-images", 60, [f"new/field{row:02}.tif" for row in (0, 1, 2, 6, 7, 8)]),
        ("spectrograms", 200, [f"new_calls.npy[{row}]" for row in range(8)]),
        ("tables", 200, [f"new_markers.csv[{row}]" for row in (0, 1, 2, 3, 4, 5, 7)]),
    ],
)
def test_a_walk_finds_the_planted_rows(page, rows, odd, tmp_path, empty_store):
    (tmp_path / "mlruns").mkdir()
    shutil.copy(empty_store, tmp_path / "mlruns")
    walk(page, tmp_path)
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    assert {*odd} <= shown(page, "nlargest", "iw_nll", scores)
    codes = pd.read_parquet(tmp_path / "codes.parquet")
    means = codes.filter(like="mean_")
    assert len(codes) == len(scores) == rows
    assert means.shape[1] >= 2
    assert means.notna().all(axis=None)
    assert [*codes["name"]] == [*scores["name"]]
    if page == "microscope-images":
        blank = {f"new/field{row:02}.tif" for row in (3, 4, 5)}
        assert blank <= shown(page, "nsmallest", "rate", scores)
        assert scores.set_index("name").loc[[*blank], "p"].min() > 0.5
        assert (tmp_path / "odd.png").is_file()
