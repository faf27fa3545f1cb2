"""Rules of the code that are kept by tests: who imports whom, what is imported when, sizes,
names.
"""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(
    path for package in ("sweeps", "vaeexp") for path in (ROOT / package).rglob("*.py")
)
TESTS = sorted(path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))

LEVELS = (
    "sweeps.errors",
    "sweeps.program",
    "sweeps.requirements",
    "sweeps.checksums",
    "sweeps.schema",
    "sweeps.seeds",
    "sweeps.names",
    "sweeps.files",
    "sweeps.locks",
    "sweeps.source",
    "sweeps.fast_exit",
    "sweeps.memory",
    "sweeps.study.yaml_file",
    "sweeps.study.ranges",
    "sweeps.study.space",
    "sweeps.search.pruners",
    "sweeps.search.samplers",
    "sweeps.study",
    "sweeps.lanes",
    "sweeps.testing",
    "sweeps.state",
    "sweeps.storage",
    "sweeps.postgres",
    "sweeps.archive",
    "sweeps.results",
    "sweeps.search",
    "sweeps.engine",
    "sweeps.doctor",
    "sweeps.tracking",
    "sweeps.ray",
    "sweeps",
    "vaeexp.evaluation.metrics",
    "vaeexp.settings",
    "vaeexp.schedules",
    "vaeexp.console",
    "vaeexp.machine",
    "vaeexp.cache",
    "vaeexp.import_paths",
    "vaeexp.own_code",
    "vaeexp.run_files",
    "vaeexp.words",
    "vaeexp.data.formats",
    "vaeexp.data",
    "vaeexp.compiler",
    "vaeexp.models.parts",
    "vaeexp.models.networks",
    "vaeexp.models.likelihoods",
    "vaeexp.models",
    "vaeexp.training.losses",
    "vaeexp.evaluation",
    "vaeexp.study",
    "vaeexp.training",
    "vaeexp.training.steps",
    "vaeexp.training.groups",
    "vaeexp.results",
    "vaeexp.plots",
    "vaeexp.report",
    "vaeexp.runs",
    "vaeexp.machine_checks",
    "vaeexp.launch",
    "vaeexp.api",
    "vaeexp.commands",
    "vaeexp",
)
"""Folders, and modules that lie beside them, from the lowest level up. A module imports from its
own level and from those before it.
"""

ENGINE = ("models", "evaluation", "training")
TOP_LEVEL = {
    *(".ci", "benchmarks", "docs", "studies", "sweeps", "tests", "vaeexp", "mlruns", "reports"),
    *(
        ".gitignore",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "SECURITY.md",
        "hatch_build.py",
        "pyproject.toml",
    ),
}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path, *, at_import_only: bool = False) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a module imports; `from a import b` gives `a.b`."""

    def visit(node: ast.AST) -> Iterator[tuple[int, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((child.lineno, alias.name) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}:{child.lineno}: imports are written in full"
                yield from ((child.lineno, f"{child.module}.{alias.name}") for alias in child.names)
            elif at_import_only and (
                isinstance(child, ast.FunctionDef | ast.Lambda) or _is_type_checking(child)
            ):
                continue
            else:
                yield from visit(child)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")))


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def level(module: str) -> str:
    """The entry of LEVELS that a module belongs to: itself, or the nearest folder around it."""
    names = module.split(".")
    return next(
        name for end in range(len(names), 0, -1) if (name := ".".join(names[:end])) in LEVELS
    )


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_imports_point_one_way(path: Path) -> None:
    module = name_of(path)
    names = {name_of(other) for other in MODULES}
    for line, imported in imports(path):
        place = f"{label(path)}:{line} imports {imported}"
        top = imported.split(".")[0]
        if module.startswith("sweeps"):
            assert top not in ("torch", "torchvision", "vaeexp"), place
        if top not in ("sweeps", "vaeexp") or module == "vaeexp.__main__":
            continue
        target = imported if imported in names else imported.rpartition(".")[0]
        if target != "vaeexp":  # the package itself, which has a folder and a version
            assert LEVELS.index(level(target)) <= LEVELS.index(level(module)), place


OPTUNA_TRIALS = re.compile(r"\b(FrozenTrial|(set_)?(user|system)_attrs?)\b|optuna\S*\._")
KNOW_OPTUNA_TRIALS = ("sweeps.storage", "sweeps.search")


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_trials_of_optuna_are_known_where_they_are_stored_or_shown_to_samplers(path: Path) -> None:
    if not name_of(path).startswith(KNOW_OPTUNA_TRIALS):
        found = OPTUNA_TRIALS.search(path.read_text(encoding="utf-8"))
        assert found is None, (
            f"{label(path)} says {found[0]}; `Trial` and `State` of sweeps.state are the model "
            "of a study"
        )


@pytest.mark.parametrize(
    "path", [path for path in MODULES if name_of(path).startswith("vaeexp")], ids=label
)
def test_vaeexp_imports_from_the_doors_of_sweeps_alone(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("sweeps."):
            assert node.module in DOORS, (
                f"{label(path)}:{node.lineno} imports from {node.module}; "
                f"{DOORS[0]}/__init__.pyi lists names"
            )


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports for type checkers and those within functions count, too; only a package may name its
    own modules late, for its lazy names.

    With a module, the packages around it are imported, so each module can be the first that is
    imported.
    """
    names = {name_of(path) for path in MODULES}
    graph = {}
    for path in MODULES:
        module, early = name_of(path), {name for _, name in imports(path, at_import_only=True)}
        needed = {
            (name if name in names else name.rpartition(".")[0], name in early)
            for _, name in imports(path)
        }
        graph[module] = {
            target
            for target, is_early in needed
            if target in names - {module} and (is_early or not target.startswith(f"{module}."))
        }
    for module, targets in graph.items():
        packages = set().union(*(packages_of(target) for target in targets))
        graph[module] = targets | (packages - packages_of(module) - {module})
    # Raises CycleError, which names the modules of a circle.
    assert tuple(TopologicalSorter(graph).static_order())


def packages_of(module: str) -> set[str]:
    """The packages around a module, each of which is imported before it."""
    parts = module.split(".")
    return {".".join(parts[:end]) for end in range(1, len(parts))}


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_mlflow_stays_in_its_corner_and_is_imported_late(path: Path) -> None:
    allowed = label(path).startswith("sweeps/tracking/")
    assert allowed or not [line for line, name in imports(path) if name.split(".")[0] == "mlflow"]
    assert not [
        line for line, name in imports(path, at_import_only=True) if name.split(".")[0] == "mlflow"
    ]


def test_the_driver_does_not_know_who_calls_it() -> None:
    """What users type comes from the caller: `sweeps.program`."""
    files = [
        path
        for path in (ROOT / "sweeps").rglob("*")
        if path.suffix not in (".pyc", "") and path.is_file()
    ]
    assert len(files) > 60
    for path in files:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if "vaeexp" in line.lower()], label(path)


DOORS = ("sweeps", "sweeps.results", "sweeps.testing")
"""What vaeexp may import of sweeps, and whoever else uses it."""

LATE_OURS = {
    "vaeexp": "the package's lazy names",
    "vaeexp.commands": "the table of commands",
    "sweeps.tracking.mlflow_store": "the loader of a registered model, by the name in its record",
    "vaeexp.import_paths": "an object of the user's own, by the name in the study",
    "vaeexp.study": "the training objectives and metrics of the user's own, where a study names "
    "them",
    "vaeexp.data.formats.image_pixels": "plugins of Pillow, where they are installed",
}
"""Module → why it imports modules of ours within functions. No other module does."""

LATE_THEIRS = {
    "torchmetrics": 5.4,
    "torchvision": 3.2,
    "safetensors": 1.7,
    "torch": 1.6,
    "mlflow": 1.6,
    "sklearn": 1.4,
    "scipy": 1.0,
    "pandas": 0.5,
    "openTSNE": 0.6,
    "zarr": 0.3,
    "h5py": 0.25,
    "pyarrow": 0.2,
    "optuna": 0.2,
    "sqlalchemy": 0.2,
    "joblib": 0.2,
    "onnxruntime": 0.1,
    "psycopg": 0.1,
    "numpy": 0.1,
    "IPython": 0.1,
    "filelock": 0.1,
    "tifffile": 0.03,
    "PIL": 0.03,
    "rich": 0.04,
    "platformdirs": 0.02,
    "threadpoolctl": 0.02,
    "http": 0.05,
    "requests": 0.1,
    "resource": 0.0,
    "ray": 2.0,
}
"""Package that is imported within functions → seconds of processor time that its import takes at
start (`resource` is not on Windows, `psycopg` not in every installation)."""


def late_imports(path: Path) -> set[str]:
    """Full names of what a module imports within its functions only."""
    early = {name for _, name in imports(path, at_import_only=True)}
    typed = {
        name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if _is_type_checking(node)
        for child in ast.walk(node)
        if isinstance(child, ast.ImportFrom)
        for name in (f"{child.module}.{alias.name}" for alias in child.names)
    }
    return {name for _, name in imports(path)} - early - typed


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_imports_within_functions_have_a_reason(path: Path) -> None:
    for name in late_imports(path):
        top = name.split(".")[0]
        if top in ("sweeps", "vaeexp"):
            assert name_of(path) in LATE_OURS, f"{label(path)} imports {name} within a function"
        else:
            assert top in LATE_THEIRS, (
                f"{label(path)} imports {name} within a function; import it at the top"
            )


def test_the_reasons_for_late_imports_are_needed() -> None:
    """Names that are imported by `import_module` are in no import statement, so its callers count
    as well.
    """
    late = {name_of(path): late_imports(path) for path in MODULES}
    ours = {
        module
        for module, names in late.items()
        if any(n.split(".")[0] in ("sweeps", "vaeexp") for n in names)
    }
    by_name = {
        name_of(path) for path in MODULES if "import_module(" in path.read_text(encoding="utf-8")
    }
    assert ours | by_name == set(LATE_OURS)
    assert {name.split(".")[0] for names in late.values() for name in names} - {
        "sweeps",
        "vaeexp",
    } == set(LATE_THEIRS)


def blocked(names: tuple[str, ...], statement: str) -> subprocess.CompletedProcess:
    """Run a statement in a new interpreter in which some packages cannot be imported."""
    code = f"import sys\nfor name in {names!r}: sys.modules[name] = None\n{statement}"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_engine_imports_with_torch_and_numpy_alone() -> None:
    modules = [
        name_of(path)
        for path in MODULES
        if name_of(path).startswith("vaeexp.") and name_of(path).split(".")[1] in ENGINE
    ]
    assert len(modules) > len(ENGINE)
    forbidden = (
        "pydantic",
        "yaml",
        "optuna",
        "mlflow",
        "pandas",
        "click",
        "rich",
        "matplotlib",
        "torchvision",
    )
    done = blocked(forbidden, "\n".join(f"import {module}" for module in modules))
    assert done.returncode == 0, done.stderr


def test_the_driver_imports_without_torch_and_mlflow() -> None:
    modules = [name_of(path) for path in MODULES if name_of(path).startswith("sweeps")]
    done = blocked(
        ("torch", "mlflow", "vaeexp"), "\n".join(f"import {module}" for module in modules)
    )
    assert done.returncode == 0, done.stderr


def test_commands_that_look_after_files_import_without_torch() -> None:
    names = "archive", "gc", "status", "tracking"
    done = blocked(("torch",), "\n".join(f"import vaeexp.commands.{name}" for name in names))
    assert done.returncode == 0, done.stderr


def test_help_imports_nothing_heavy() -> None:
    heavy = (
        "torch",
        "mlflow",
        "optuna",
        "pandas",
        "matplotlib",
        "pydantic",
        "numpy",
        "yaml",
        "rich",
    )
    code = (
        "import sys\nfrom vaeexp.commands import main\n"
        "try: main(['--help'])\nexcept SystemExit as end: assert not end.code\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"
    assert "Usage: vaeexp" in done.stdout


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.name == "__init__.py"], ids=label
)
def test_public_names_exist(path: Path) -> None:
    module = importlib.import_module(name_of(path))
    # A package that is only a sentence.
    if len(ast.parse(path.read_text(encoding="utf-8")).body) == 1:
        return
    assert hasattr(module, "__all__"), f"{label(path)} has no __all__"
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert len(set(module.__all__)) == len(module.__all__), "a name stands twice"


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_modules_and_functions_are_short_and_say_what_they_are(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert len(source.splitlines()) <= 600, f"{label(path)} has more than 600 lines"
    assert ast.get_docstring(tree), f"{label(path)} has no docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1 - _lines_of_docstring(node)
            assert length <= 60, f"{label(path)}:{node.lineno}: {node.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_classes_are_small_and_a_statement_is_one_step(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            count = sum(map(_counts, node.body))
            assert count <= 20, f"{label(path)}:{node.lineno}: {node.name} has {count} methods"
        if isinstance(node, ast.IfExp):
            inner = [each for each in ast.walk(node) if isinstance(each, ast.IfExp)]
            assert len(inner) == 1, f"{label(path)}:{node.lineno}: one conditional in another"
        loops = getattr(node, "generators", [])
        assert len(loops) < 2, f"{label(path)}:{node.lineno}: a comprehension with two loops"


def _counts(node: ast.stmt) -> bool:
    """Tell whether part of a class is a method. A plain property is a computed field."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    return "property" not in map(ast.unparse, node.decorator_list)


def _lines_of_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        return first.end_lineno - first.lineno + 1
    return 0


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=label)
def test_nothing_is_left_for_later(path: Path) -> None:
    if path == Path(__file__):
        return
    left = [
        line
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\b(TODO|FIXME|XXX)\b", line)
    ]
    assert left == []


def test_names_of_test_files_are_unique() -> None:
    names = [path.name for path in TESTS if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


def test_the_top_level_is_as_documented() -> None:
    """What git tracks at the top, where there is git; output folders and caches are nobody's
    business.
    """
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {Path(name).parts[0] for name in tracked} <= TOP_LEVEL
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for folder in (
        "studies/",
        "sweeps/",
        "vaeexp/",
        "tests/",
        "benchmarks/",
        "mlruns/",
        "reports/",
    ):
        assert f"`{folder}" in readme, f"README.md does not say what {folder} is for"
