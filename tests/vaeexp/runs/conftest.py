"""Where commands on runs are called: an empty folder, no data but those that are given, and runs
that may be changed.
"""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def empty_folder(tmp_path: Path, keep_signals: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, no network, and no data but those that are given."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    for name in ("VAEEXP_DATA", "VAEEXP_RUNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same lanes without the process around them, which takes seconds to start."""
    monkeypatch.setattr(
        "vaeexp.runs.reproduce.WorkerPool", lambda factory, given: factory(**given[0])
    )


@pytest.fixture
def runs(tiny_study: Path, tmp_path: Path, in_this_process: None) -> Path:
    """A copy of the runs, to be changed."""
    return Path(shutil.copytree(tiny_study / "mlruns", tmp_path / "copied"))
