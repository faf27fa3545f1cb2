"""The user's own code that a study names: modules by their import path, and what they import from
the same folder, or from packages that are installed from a folder.

A study that goes on under changed code would put two networks, or two losses, into one table. The
code is compared definition by definition; comments, docstrings and formatting do not count. What is
imported by a computed name is not seen.

To open a run with `network: module:Class` or another import path is to run that module. A study
that began in this folder of runs, by this user, names the user's own module. A run that came from
elsewhere may name any module that Python finds, so its user has to allow it, each time. Where
studies began is noted in the user's cache folder, where no archive and no copied folder of runs can
note it.
"""

import ast
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from sweeps import UserError, run_name, search_working_directory, write_whole
from vaeexp.cache import cache_folder
from vaeexp.import_paths import own_paths

if TYPE_CHECKING:
    from sweeps import State

OwnCode = Mapping[str, Mapping[str, str]]
"""File, relative to its folder of modules → name of a class or function, or "top-level code" →
hash.
"""
_OTHER = "top-level code"
_INSTALLED = ("site-packages", "dist-packages")


def own_code(paths: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the code of what these import paths name."""
    code: dict[str, dict[str, str]] = {}
    for module in sorted({path.partition(":")[0] for path in paths}):
        if root := _folder_of(module):
            _add(
                code,
                root,
                module,
                only=module.partition(".")[0] if root.name in _INSTALLED else None,
            )
    return code


def code_changes(before: OwnCode, now: OwnCode) -> list[str]:
    """Name what differs in each file, as "my_networks.py: Pooled changed"; a definition may be new
    or gone, too. A file that is new counts by the file that imports it, because earlier records
    have fewer files.
    """
    lines = []
    for file, old in sorted(before.items()):
        new = now.get(file, {})
        names = sorted(name for name in old.keys() | new if old.get(name) != new.get(name))
        if names:
            lines.append(f"{file}: {', '.join(names)} changed")
    return lines


_seen: dict[str, tuple[Any, dict[str, dict[str, str]]]] = {}
"""Import path → the import of its module, which a reload replaces, and the code at that time."""


def code_in_process(paths: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the code of import paths as this process first saw it since their import, which is the
    code that it runs.
    """
    code: dict[str, dict[str, str]] = {}
    for path in paths:
        imported = getattr(sys.modules.get(path.partition(":")[0]), "__spec__", None)
        if path not in _seen or _seen[path][0] is not imported:
            _seen[path] = imported, own_code([path])
        code |= _seen[path][1]
    return code


def check_loaded(paths: Iterable[str]) -> None:
    """Check that the user's files are as this process imported them, as in a notebook.

    Raises:
        UserError: a file has changed. The classes in memory are the old ones, and worker processes
            would import the new ones.
    """
    for path in paths:
        before = code_in_process([path])
        changes = code_changes(before, own_code([path])) or [
            f"{file} changed"
            for file in before
            if (loaded := sys.modules.get(_module_of(file))) and _is_stale(loaded)
        ]
        if changes:
            raise UserError(
                f"'{path}'",
                f"was imported before its code changed ({'; '.join(changes)}). Restart the kernel "
                "or process, or call importlib.reload on each changed module, this one last.",
            )


def _module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _is_stale(module: ModuleType) -> bool:
    """Tell whether a function of a loaded module, or a constant in capitals, is another one than in
    its file.
    """
    file = getattr(module, "__file__", None)
    try:
        source = Path(file or "").read_bytes()
        tree = ast.parse(source)
        compiled = compile(source, file or "", "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError):
        return False
    there: dict[str, list[Any]] = {}
    for code in _codes(compiled):
        there.setdefault(code.co_qualname, []).append(_essence(code))
    here = [code for code in _functions(module) if code.co_filename == file]
    if any(_essence(code) not in there.get(code.co_qualname, []) for code in here):
        return True
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value)) if (
                name.isupper()
            ):
                if getattr(module, name, None) != value:
                    return True
    return False


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of each function and class that is defined in a code, and in those."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _functions(owner: Any) -> Iterator[CodeType]:
    """Yield the code of each function of a module, and of its classes."""
    for value in vars(owner).values():
        if isinstance(value, type) and value.__module__ == getattr(
            owner, "__module__", owner.__name__
        ):
            yield from _functions(value)
        for part in (
            (value.fget, value.fset)
            if isinstance(value, property)
            else (getattr(value, "__func__", value),)
        ):
            if isinstance(part, FunctionType):
                yield inspect.unwrap(part).__code__


def _essence(code: CodeType) -> tuple[Any, ...]:
    """Return what a code does, without its docstring and its lines."""
    constants = [
        _essence(each) if isinstance(each, CodeType) else (type(each), each)
        for each in code.co_consts
    ]
    if code.co_consts and isinstance(code.co_consts[0], str | None):
        del constants[0]
    return code.co_code, tuple(constants), code.co_names, code.co_varnames


def code_progress(stored: "State") -> dict[str, Any]:
    """Return how far a study is, where it goes on under changed code, JSON-able: numbers of trials
    and repeats, names of those that have not ended."""
    unfinished = [run.name_in("") for run in stored.runs if run.outcome is None]
    return {"trials": len(stored.trials), "repeats": len(stored.repeats), "unfinished": unfinished}


def code_version(changes: Sequence[Mapping[str, Any]], number: int, *, repeat: bool) -> int:
    """Return under which code a run ended: 1 is that of the study's beginning, and each change adds
    one.
    """
    name = run_name("", number, repeat=repeat)
    count = "repeats" if repeat else "trials"
    return 1 + sum(number >= change[count] or name in change["unfinished"] for change in changes)


def code_warnings(study: str, changes: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Say for each change of the code which runs are of the new code."""
    sentences = []
    for version, change in enumerate(changes, 2):
        firsts = [
            run_name(study, change["trials"], repeat=False),
            run_name(study, change["repeats"], repeat=True),
        ]
        unfinished = "".join(f", {study}{name}" for name in change["unfinished"])
        sentences.append(
            f"its code changed ({'; '.join(change['changes'])}): runs from "
            f"{firsts[0]} and {firsts[1]} on{unfinished} ended under code {version} (column "
            "`code` of the tables). Compare no run of one code with a run of another; --name "
            "NEW begins a study under one code."
        )
    return tuple(sentences)


def _folder_of(module: str) -> Path | None:
    """Return the folder in which Python finds the top-level module; None where it is no file, as in
    a notebook.
    """
    search_working_directory()
    top = module.partition(".")[0]
    loaded = sys.modules.get(top)
    spec = getattr(loaded, "__spec__", None) if loaded else importlib.util.find_spec(top)
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve().parent
    return (
        Path(spec.origin).resolve().parent if spec.origin and Path(spec.origin).is_file() else None
    )


def _add(code: dict[str, dict[str, str]], root: Path, module: str, *, only: str | None) -> None:
    """Add the file of a module below `root`, those of its packages, and what they import from
    there. `only`: from this package alone.
    """
    names = module.split(".")
    for depth in range(1, len(names) + 1):
        name = ".".join(names[:depth])
        path = root.joinpath(*names[:depth])
        package = path.joinpath("__init__.py")
        file = package if package.is_file() else path.with_suffix(".py")
        key = file.relative_to(root).as_posix()
        if not file.is_file() or key in code or (only and names[0] != only):
            continue
        tree = ast.parse(file.read_bytes())
        imported = list(_imports(tree, name if file == package else name.rpartition(".")[0]))
        code[key] = _definitions(tree)
        for each in imported:
            top = each.partition(".")[0]
            beside = [root / top, root / f"{top}.py"]
            if only is None and any(path.exists() for path in beside):
                _add(code, root, each, only=None)
            elif elsewhere := root if top == only else _own_folder(top):
                _add(code, elsewhere, each, only=top)


def _own_folder(top: str) -> Path | None:
    """Return the folder of a top-level module that the user may have written: one outside
    site-packages, or that pip installed from a folder. None for others.
    """
    if top in sys.stdlib_module_names or top in ("sweeps", "vaeexp"):
        return None
    try:
        folder = _folder_of(top)
    except (ImportError, ValueError):
        return None
    installed = folder is not None and folder.name in _INSTALLED
    return None if installed and not _installed_from_folder(top) else folder


@cache
def _installed_from_folder(top: str) -> bool:
    names = importlib.metadata.packages_distributions().get(top, [])
    origins = [importlib.metadata.distribution(name).read_text("direct_url.json") for name in names]
    return any("dir_info" in (origin or "") for origin in origins)


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield the absolute names that a module of `package` imports; of `from a import b` both a and
    a.b, which may be a module.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".") if package else []
            base = above[: len(above) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}".strip(".") for alias in node.names)


def _definitions(tree: ast.Module) -> dict[str, str]:
    for node in ast.walk(tree):
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    texts: dict[str, list[str]] = {}
    for statement in tree.body:
        texts.setdefault(getattr(statement, "name", _OTHER), []).append(ast.unparse(statement))
    return {
        name: sha256("\n".join(parts).encode()).hexdigest()[:16] for name, parts in texts.items()
    }


def note_beginning(runs: Path, study: str) -> None:
    """Note that a study begins in this folder of runs: a random mark in the folder, and the
    folder's path under that mark here.

    A copy of the folder has the mark and another path, so the note does not hold for the copy.
    """
    mark = uuid.uuid4().hex
    origin = _origin(runs, study)
    # The study runs without the note; opening its runs then needs --allow-code.
    with suppress(OSError):
        write_whole(origin, lambda path: path.write_text(mark))
        write_whole(_beginnings() / mark, lambda path: path.write_text(str(origin.resolve())))


def forget_beginning(runs: Path, study: str) -> None:
    """Forget that a study began in this folder of runs, because a study from elsewhere takes its
    name.
    """
    _origin(runs, study).unlink(missing_ok=True)


def check_code(run: str, settings: Mapping[str, Any], folder: Path, *, allow: bool) -> None:
    """Refuse to run the modules that a run from elsewhere names in its settings.

    Args:
        run: name of the run, for the message.
        settings: those of the run, by name; names without a colon are vaeexp's own and pass.
        folder: that of the run, `RUNS/trials/STUDY/trial-0000` where it lies in a folder of runs.
        allow: whether the user allows the modules.

    Raises:
        UserError: the study did not begin in this folder of runs, and the modules are not allowed.
    """
    paths = own_paths(settings)
    if allow or not paths or _began_here(folder):
        return
    named = " and ".join(f"the {field} '{path}'" for path, field in paths.items())
    raise UserError(
        run,
        f"names {named}, and its study did not begin in this folder of runs. To open the run is "
        "to run that code. Read the code; --allow-code (allow_code=True in Python) runs it.",
    )


def _began_here(folder: Path) -> bool:
    study = folder.resolve().parent
    origin = _origin(study.parent.parent, study.name)
    try:
        mark = origin.read_text()
        return bool(re.fullmatch("[0-9a-f]{32}", mark)) and (
            _beginnings() / mark
        ).read_text() == str(origin.resolve())
    except (OSError, ValueError):
        return False


def _origin(runs: Path, study: str) -> Path:
    return runs / "journal" / f"{study}.origin"


def _beginnings() -> Path:
    return cache_folder() / "code" / "studies"
