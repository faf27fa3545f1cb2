"""Each benchmark imports names that are there: most run for hours, and no test runs them whole."""

import ast
import importlib
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent
SCRIPTS = [*BENCHMARKS.glob("*.py"), *BENCHMARKS.glob("search/*.py")]


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_what_a_benchmark_imports_is_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(path.parent)])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and find_spec(node.module.partition(".")[0])
        ):
            module = importlib.import_module(node.module)
            for name in (alias.name for alias in node.names):
                assert hasattr(module, name) or find_spec(f"{node.module}.{name}"), (
                    f"{node.module} has no {name}"
                )
