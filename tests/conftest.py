"""What holds for all tests: which files come first, and what they share."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Swept, sweep_once
from each_process import one_thread, prepare_process
from filelock import FileLock

__all__ = ["one_thread"]

prepare_process()

LONGEST = (
    "test_whole.py",
    "test_walks.py",
    "test_mirror.py",
    "test_any_workload.py",
    "test_compiled.py",
    "test_secrets.py",
    "test_known_truth.py",
    "test_report.py",
    "test_docs_commands.py",
    "test_api.py",
    "test_resume.py",
    "test_notebook_example.py",
    "test_own_network.py",
    "test_fused_step.py",
    "test_export.py",
    "test_recompute.py",
    "test_ui.py",
    "test_ui_browser.py",
    "test_learning.py",
    "test_known_truth_reports.py",
    "test_study_mutants.py",
)
"""Files that take from twenty seconds to minutes, longest first. A run begins with them, because a
long file that began last would leave all cores but one idle at the end. The first file sweeps
`smoke`; a second file would only wait for it."""


MAKE_STORE = """
from pathlib import Path
from sweeps.tracking.mlflow_store import Store
Store(None, Path(".")).close()
"""


def _shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all testers of this run have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An `mlflow.db` with MLflow's tables and nothing in them, made once for all testers: the
    tables take seconds.
    """
    folder = _shared(tmp_path_factory) / "empty_store"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "made").exists():
            environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
            subprocess.run(
                [sys.executable, "-c", MAKE_STORE], cwd=folder, env=environment, check=True
            )
            (folder / "made").touch()
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def swept_smoke(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Swept:
    """The study `smoke`, as the `beta_mnist` of the docs, swept once for all testers: copy what you
    change.
    """
    folder = _shared(tmp_path_factory) / "swept_smoke"
    with FileLock(folder.with_suffix(".lock")):
        return sweep_once(folder, empty_store)


def pytest_collection_finish() -> None:
    """Leave all that was imported out of the search for garbage, which goes through millions of
    objects each time.
    """
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
