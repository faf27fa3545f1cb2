"""The example of a workload that is no VAE: as long as it says, and the same when it is killed and
continued.
"""

import ast
import importlib
import os
import pkgutil
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import sweeps

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "any_workload.py"
DOORS = ("sweeps", "sweeps.results", "sweeps.testing")


def start(place: Path, empty_store: Path) -> subprocess.Popen[bytes]:
    if not place.exists():
        (place / "mlruns").mkdir(parents=True)
        shutil.copy(empty_store, place / "mlruns")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(place / "said", "w", encoding="utf-8") as said:
        outputs = {"stdout": subprocess.DEVNULL, "stderr": said}
        return subprocess.Popen(
            [sys.executable, str(EXAMPLE)], cwd=place, env=environment, **outputs
        )


def run_to_the_end(place: Path, empty_store: Path) -> None:
    """Run the example, and once more where the example says that MLflow is behind, because a busy
    machine gives the mirror no time.
    """
    for _ in range(2):
        status = start(place, empty_store).wait()
        said = (place / "said").read_text(encoding="utf-8")
        assert status == 0, said
        if "the same command brings the rest" not in said:
            break


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """The folder of an undisturbed run."""
    place = tmp_path_factory.mktemp("any") / "whole"
    run_to_the_end(place, empty_store)
    return place


def tables(place: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    results = sweeps.read_results(place / "mlruns", "digits")
    return results.trials.drop(columns=["started", "ended"]), results.epochs


def in_mlflow(place: Path) -> dict[str, str]:
    """Name of each run in MLflow → its status."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    return {
        run.info.run_name: run.info.status for run in client.search_runs([experiment.experiment_id])
    }


def test_it_is_short() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 60


def names_of_sweeps(source: str) -> set[str]:
    """Everything of `sweeps` that a program names: what it imports, and the attributes of what it
    imports.
    """
    tree = ast.parse(source)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            found.add(ast.unparse(node))
    return {name for name in found if re.fullmatch(r"sweeps(\.\w+)*", name)}


def is_public(name: str) -> bool:
    """Whether a name is a door, or begins with what a door offers."""
    door = max((door for door in DOORS if f"{name}.".startswith(f"{door}.")), key=len)
    offered = name.removeprefix(door).strip(".").partition(".")[0]
    return offered == "" or offered in importlib.import_module(door).__all__


@pytest.mark.parametrize("file", ["any_workload.py", "any_workload.md"])
def test_the_example_and_its_page_use_nothing_but_the_doors(file: str) -> None:
    text = (EXAMPLE.parent / file).read_text(encoding="utf-8")
    blocks = (
        [text]
        if file.endswith(".py")
        else re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    )
    used = {name for block in blocks for name in names_of_sweeps(block)}
    used |= {
        name for name in re.findall(r"`[^`\n]*?(sweeps(?:\.\w+)+)", text) if file.endswith(".md")
    }
    assert len(used) > 3
    assert [name for name in sorted(used) if not is_public(name)] == []


@pytest.mark.parametrize(
    "line",
    [
        "import sweeps.engine",
        "from sweeps.lanes import Lanes",
        "from sweeps.results.racing import Race",
        "sweeps.lanes.Trial",
    ],
)
def test_what_is_behind_the_doors_is_found(line: str) -> None:
    assert not all(map(is_public, names_of_sweeps(line)))


@pytest.mark.parametrize("door", ["sweeps", "sweeps.results"])
def test_each_name_of_a_door_is_there_and_hides_no_module(door: str) -> None:
    module = importlib.import_module(door)
    modules = {found.name for found in pkgutil.iter_modules(module.__path__)}
    assert len(module.__all__) > 10
    for name in module.__all__:
        assert hasattr(module, name)
        assert name not in modules, (
            f"{door}.{name} is a module, so whoever imports that module first hides the name"
        )


def test_the_test_on_the_page_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (EXAMPLE.parent / "any_workload.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    names: dict = {}
    exec(compile(block, "any_workload.md", "exec"), names)
    names["test_digits"]()


def check_mlflow(place: Path) -> None:
    statuses = in_mlflow(place)
    assert statuses.pop("digits") == "FINISHED"
    trials = tables(place)[0].set_index("name")
    assert statuses == trials["state"].map({"complete": "FINISHED", "pruned": "KILLED"}).to_dict()


def test_it_learns_prunes_and_is_in_mlflow(whole: Path) -> None:
    trials, _ = tables(whole)
    assert set(trials["state"]) == {"complete", "pruned"}
    assert trials["result.accuracy"].max() > 0.9
    check_mlflow(whole)


@pytest.mark.slow
def test_it_ends_in_the_same_table_when_it_is_killed_and_continued(
    whole: Path, tmp_path: Path, empty_store: Path
) -> None:
    killed = tmp_path / "killed"
    journal = killed / "mlruns" / "journal" / "digits.log"
    for reports in (30, 90):
        process = start(killed, empty_store)
        while not journal.exists() or journal.read_bytes().count(b'"intermediate_value"') < reports:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert "running" in set(tables(killed)[0]["state"])
    run_to_the_end(killed, empty_store)
    for one, other in zip(tables(whole), tables(killed), strict=True):
        pd.testing.assert_frame_equal(one, other)
    check_mlflow(killed)
