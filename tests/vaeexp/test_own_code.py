"""The user's own code of a network: which files it is made of, and what counts as a change."""

import importlib
import sys

import pytest

from sweeps.errors import UserError
from vaeexp.own_code import (
    _installed_from_folder,
    check_loaded,
    code_changes,
    code_in_process,
    code_version,
    code_warnings,
    own_code,
)

NETWORK = '''
"""Networks."""
import math
from torch import nn
from helper import width{more}

class Net:
    """Doc."""
    def encoder(self):
        return width  # wide

SIZE = 3
'''


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_net.py").write_text(NETWORK.format(more=""))
    (tmp_path / "helper.py").write_text("import deep.parts\nwidth = 3\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "__init__.py").write_text("")
    (tmp_path / "deep" / "parts.py").write_text(
        "from . import more\nfrom .more import x\n\ndef f():\n    return x\n"
    )
    (tmp_path / "deep" / "more.py").write_text("x = 1\n")
    (tmp_path / "unused.py").write_text("y = 1\n")
    return tmp_path


def test_the_code_is_the_module_and_all_that_it_imports_from_its_folder(place):
    files = {"own_net.py", "helper.py", "deep/__init__.py", "deep/parts.py", "deep/more.py"}
    assert own_code(["own_net:Net", "mlp"]).keys() == files
    assert own_code(["deep.parts:f"]).keys() == {name for name in files if name.startswith("deep")}
    assert own_code(["mlp", "conv"]) == {}
    assert own_code(["no_such_module:Net"]) == {}


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("own_net.py", "return width", "return 2 * width", ["own_net.py: Net changed"]),
        ("own_net.py", "SIZE = 3", "SIZE = 4", ["own_net.py: top-level code changed"]),
        ("own_net.py", "SIZE = 3", "SIZE = 3\n\ndef g():\n    pass", ["own_net.py: g changed"]),
        ("helper.py", "width = 3", "width = 4", ["helper.py: top-level code changed"]),
        ("helper.py", "import deep.parts\n", "", None),
        ("deep/more.py", "x = 1", "x = 2", ["deep/more.py: top-level code changed"]),
        ("deep/parts.py", "def f", "def h", ["deep/parts.py: f, h changed"]),
        ("own_net.py", "# wide", "# very wide", []),
        ("own_net.py", '"""Doc."""', '"""A network."""', []),
        ("helper.py", "width = 3", "width  =  3\n\n", []),
        ("unused.py", "y = 1", "y = 2", []),
    ],
)
def test_a_change_is_named_and_what_changes_nothing_is_none(place, file, old, new, said):
    before = own_code(["own_net:Net"])
    text = (place / file).read_text()
    assert old in text
    (place / file).write_text(text.replace(old, new))
    changes = code_changes(before, own_code(["own_net:Net"]))
    if said is None:  # the whole package is no longer imported
        said = [
            "deep/more.py: top-level code changed",
            "deep/parts.py: f, top-level code changed",
            "helper.py: top-level code changed",
        ]
    assert changes == said


@pytest.mark.parametrize(
    ("network", "edited"),
    [
        ("mine.nets:Net", "mine/layers.py"),  # in the package that is named
        ("single:Net", "layers/more.py"),  # a package that an installed module imports
        ("local:Net", "layers/more.py"),  # a package that a file of the folder imports
        ("local:Net", "other.py"),  # a module that lies in another folder of the path
    ],
)
def test_code_of_installed_modules_counts_where_they_are_the_users_own(
    tmp_path, monkeypatch, network, edited
):
    installed, other, here = (tmp_path / name for name in ("site-packages", "other", "here"))
    texts = {
        installed / "mine" / "__init__.py": "",
        installed / "mine" / "nets.py": "from mine.layers import x\n",
        installed / "mine" / "layers.py": "x = 1\n",
        installed / "single.py": "import layers.more\nimport published\n",
        installed / "layers" / "__init__.py": "",
        installed / "layers" / "more.py": "x = 1\n",
        installed / "published.py": "x = 1\n",
        other / "other.py": "x = 1\n",
        here / "local.py": "import other, layers.more, json, torch, published\n",
    }
    for name, origin in (
        ("layers", '{"url": "file:///layers", "dir_info": {}}'),
        ("published", None),
    ):
        folder = installed / f"{name}-1.0.dist-info"
        texts[folder / "METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        texts[folder / "top_level.txt"] = name
        if origin:
            texts[folder / "direct_url.json"] = origin
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [str(installed), str(other), *sys.path])
    _installed_from_folder.cache_clear()
    before = own_code([network])
    assert not any("published" in file or "torch" in file for file in before)
    for path in (installed / edited, other / edited):
        if path.exists():
            path.write_text("x = 2\n")
    assert code_changes(before, own_code([network])) == [f"{edited}: top-level code changed"]
    earlier = {file: code for file, code in before.items() if file != edited}
    assert code_changes(earlier, own_code([network])) == []
    _installed_from_folder.cache_clear()


def test_runs_are_told_apart_by_the_code_under_which_they_ended():
    changes = [
        {"changes": ["a.py: Net changed"], "trials": 3, "repeats": 1, "unfinished": ["/1"]},
        {"changes": ["b.py is new"], "trials": 5, "repeats": 1, "unfinished": []},
    ]
    assert [code_version(changes, number, repeat=False) for number in range(6)] == [
        1,
        2,
        1,
        2,
        2,
        3,
    ]
    assert [code_version(changes, number, repeat=True) for number in range(2)] == [1, 3]
    first, second = code_warnings("s", changes)
    assert "a.py: Net changed" in first
    assert "s/3 and s/r1 on, s/1 ended under code 2" in first
    assert "s/5" in second


STALE = """
from dataclasses import dataclass
from functools import wraps
from helper import width

SIZE = 3

def named(f):
    @wraps(f)
    def inner(*args):
        return f(*args)
    return inner

class Net:
    width: int = 8
    @property
    def wide(self):
        return self.width > 3
    @wide.setter
    def wide(self, value):
        self.width = 4 if value else 2
    @named
    def encoder(self):
        return [n for n in range(width)]
    @classmethod
    def decoder(cls):
        "A docstring."
        return lambda z: z + 1

@dataclass
class Part:
    x: int = 0
"""


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        ("own_net.py", "range(width)", "range(width + 1)", True),
        ("own_net.py", "self.width > 3", "self.width > 4", True),
        ("own_net.py", "SIZE = 3", "SIZE = 5", True),
        ("helper.py", "def f():\n    return 1", "def f():\n    return 2", True),
        ("own_net.py", "width: int = 8", "width: int = 9", None),
        ("own_net.py", "x: int = 0", "x: float = 0", None),
        ("own_net.py", "SIZE = 3\n", "\n\nSIZE  =  3  # pixels\n", False),
        ("own_net.py", '"A docstring."', '"""Another docstring."""', False),
    ],
)
def test_a_file_that_changed_since_it_was_imported_is_refused_until_it_is_reloaded(
    place, monkeypatch, seen, file, old, new, stale
):
    """None: it shows where this process has seen the code before, as of an earlier study of a
    notebook.
    """
    (place / "own_net.py").write_text(STALE)
    (place / "helper.py").write_text("width = 3\n\ndef f():\n    return 1\n")
    for name in ("own_net", "helper"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(place))
    importlib.invalidate_caches()
    importlib.import_module("own_net")
    if seen:
        check_loaded(["mlp", "own_net:Net"])
    path = place / file
    path.write_text(path.read_text().replace(old, new))
    if stale or (stale is None and seen):
        with pytest.raises(UserError, match=f"(?s)own_net:Net.*{file}.*Restart .*importlib.reload"):
            check_loaded(["own_net:Net"])
        for name in ("helper", "own_net"):
            importlib.reload(sys.modules[name])
    check_loaded(["own_net:Net"])
    assert code_in_process(["own_net:Net"]) == own_code(["own_net:Net"])
    for name in ("own_net", "helper"):
        del sys.modules[name]
