"""What holds for all tests.

One thread for each process: several at once, on a busy machine, only get into each other's way. No deadline for the
examples that hypothesis draws: how long one takes says how busy the machine is. And compiled modules are kept, even where the
environment forbids it: the tests start hundreds of processes, and each would compile all its packages for seconds.
"""

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Swept, sweep_once
from filelock import FileLock
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A script's job in the background ignores Ctrl-C, and all processes that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("vaeexp", deadline=None)
settings.load_profile("vaeexp")

LONGEST = (
    "test_whole.py",
    "test_mirror.py",
    "test_any_workload.py",
    "test_compiled.py",
    "test_secrets.py",
    "test_known_truth.py",
    "test_report.py",
    "test_docs_commands.py",
    "test_api.py",
    "test_benchmarks.py",
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
"""Files that take from twenty seconds to minutes, longest first. A run begins with them, because a long file that began last would
leave all cores but one idle at the end. The first file sweeps `smoke`; a second file would only wait for it."""


MAKE_STORE = """
from pathlib import Path
from sweeps.tracking.mlflow_store import Store
Store(None, Path("."), lambda: None).close()
"""


def _shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all testers of this run have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An `mlflow.db` with MLflow's tables and nothing in them, made once for all testers: the tables take seconds."""
    folder = _shared(tmp_path_factory) / "empty_store"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "made").exists():
            environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
            subprocess.run([sys.executable, "-c", MAKE_STORE], cwd=folder, env=environment, check=True)
            (folder / "made").touch()
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def swept_smoke(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Swept:
    """The study `smoke`, as the `beta_mnist` of the docs, swept once for all testers: copy what you change."""
    folder = _shared(tmp_path_factory) / "swept_smoke"
    with FileLock(folder.with_suffix(".lock")):
        return sweep_once(folder, empty_store)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Take back the threads that an earlier command gave PyTorch in this process, because they would wait for each other."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def pytest_collection_finish() -> None:
    """Leave all that was imported out of the search for garbage, which goes through millions of objects each time."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
