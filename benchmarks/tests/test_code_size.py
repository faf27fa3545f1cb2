"""The rules by which the size of the code is counted, on sources that a reader can count by
hand.
"""

import pytest
from code_size import count_tokens, figures, functions_naming, imported_names

SOURCES = {
    "a statement": ("x = 1\n", 3),
    "comments and empty lines do not count": ("# why\n\nx = 1  # one\n", 3),
    "a docstring does not count": ('"""What it is."""\nx = 1\n', 3),
    "any string of three quotes does not count": ("x = '''a\nb'''\n", 2),
    "a short string counts": ("x = 'a'\n", 3),
    "an f-string is one token": ('x = f"{a} and {b + 1}"\n', 3),
    "an f-string of three quotes does not begin with them": ('x = f"""{a}"""\n', 3),
    "layout does not count": ("if a:\n    f(\n        b,\n    )\n", 8),
    "a function": ('def f(a: int) -> str:\n    """Say it."""\n    return str(a)\n', 15),
}


@pytest.mark.parametrize(("source", "count"), SOURCES.values(), ids=SOURCES)
def test_tokens_are_those_of_the_code(source: str, count: int) -> None:
    assert count_tokens(source) == count


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("def f(t: FrozenTrial) -> None: ...", 1),
        ("def f() -> list[FrozenTrial]: ...", 1),
        ('def f(t: "FrozenTrial") -> None: ...', 1),
        ("def f():\n    return optuna.trial.FrozenTrial()", 1),
        (
            "class A:\n    def f(self):\n        return isinstance(self, FrozenTrial)\n    def "
            "g(self): ...",
            1,
        ),
        ('def f():\n    """Return no FrozenTrial."""', 0),
        ("from optuna.trial import FrozenTrial\nx: FrozenTrial", 0),
    ],
)
def test_a_function_that_names_a_class_counts(source: str, count: int) -> None:
    assert functions_naming(source, "FrozenTrial") == count


def test_imports_are_names_of_modules() -> None:
    source = (
        "import sweeps.files\nfrom sweeps.results import a, b\nfrom sweepsy import c\ndef f():\n  "
        "  from sweeps import d\n"
    )
    found = set(imported_names(source))
    assert found == {("sweeps.results", "a"), ("sweeps.results", "b"), ("sweeps", "d")}


def test_figures_of_a_small_checkout() -> None:
    files = {
        "sweeps/__init__.py": "",
        "sweeps/engine/loop.py": "def f(t: FrozenTrial): ...\n",
        "vaeexp/a.py": "from sweeps import run\nfrom sweeps.engine.loop import f, g\nfrom "
        "sweeps.results import h\n",
        "vaeexp/b.py": "from sweeps import run\n",
        "docs/a.md": "# Two words\n",
        "docs/examples/README.md": "one\n",
        "docs/examples/mnist/README.md": "a report\n",
        "docs/reference/cli.md": "a reference\n",
        "docs/explain/search.md": "tables\n",
        "docs/guide/searching.md": "how to\n",
        "README.md": "not here\n",
        "tests/test_a.py": "a\nb\n",
        "tests/benchmarks/b.py": "a\n",
        "tests/test_curves.py": "a\n",
        "benchmarks/tests/test_b.py": "a\n",
    }
    assert figures(files, apart=["vaeexp/[b-z].py", "sweeps/report/*"]) == {
        "tokens": 9 + 4 + 10 + 6 + 4,
        "tokens, sweeps": 9,
        "tokens, sweeps/engine": 9,
        "tokens, vaeexp": 24,
        "tokens apart": 4,
        "tokens without these": 29,
        "modules": 4,
        "lines of the packages": 5,
        "functions naming FrozenTrial": 1,
        "files naming FrozenTrial": 1,
        "names vaeexp imports from sweeps": 4,
        "… from so many modules": 3,
        "… of these names, not through a door": 2,
        "… of these modules, no door": 1,
        "words of docs": 6,
        "… without guide/search*.md": 4,
        "lines of tests": 2,
    }
