"""The code that a process runs: the sources of a package as a hash, and how children start so that
they run the same code.

Python puts the current folder first in the path of a process that starts with `-c` or `-m`, and
children start that way. A file `socket.py` in that folder, or another checkout, would run in each
child.
"""

import hashlib
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from sweeps.errors import UserError

_SHOWN = 12  # digits of a hash in a message


class Source(NamedTuple):
    """The code of one package in one process."""

    version: str
    """`__version__` of the package, or ""."""
    sha256: str
    """See `hash_of`."""
    folder: str
    """For messages; two folders may hold the same code."""


@cache
def source_of(package: str) -> Source:
    """Return the source of a package or of a module that lies in no package, imported if it is not
    yet.

    The first call reads the files, in some milliseconds; call it when the package is imported,
    because the files may change later.
    """
    module = __import__(package)
    file = getattr(module, "__file__", None)
    if file is None:
        return Source("", "", "")
    version = getattr(module, "__version__", "")
    folder = os.path.dirname(os.path.realpath(file))
    return Source(version, hash_of(file, package=hasattr(module, "__path__")), folder)


def hash_of(file: str, *, package: bool) -> str:
    """Return the SHA-256 of a module's file or, of a package, of the names and contents of its .py
    files.
    """
    digest = hashlib.sha256()
    file = os.path.realpath(file)
    root = os.path.dirname(file)
    for path in _files(root) if package else [file]:
        with open(path, "rb", buffering=0) as source:
            content = source.read()
        digest.update(f"{path.removeprefix(root)}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _files(root: str) -> list[str]:
    files = list[str]()
    for folder, _, names in os.walk(root):
        files += [os.path.join(folder, name) for name in names if name.endswith(".py")]
    return sorted(files)


def sources(packages: Collection[str]) -> dict[str, Source]:
    """Return the source of each of these packages; an empty one where this process cannot import
    the package.
    """
    found = {}
    for package in packages:
        try:
            found[package] = source_of(package)
        except ImportError:
            found[package] = Source("", "", "")
    return found


def named_sources(found: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return package → `version (hash)`, in short, of what `sources` returned here or in another
    process.
    """
    return {
        name: f"{version} ({sha256[:_SHOWN]})".strip()
        for name, (version, sha256, _) in found.items()
    }


def check_sources(
    child: str, theirs: Mapping[str, Collection[str]], packages: Collection[str]
) -> None:
    """Raise UserError unless a child has the same versions and hashes of `packages` as this
    process.

    `theirs` is what `sources` returned in the child, perhaps after a passage through JSON.
    """
    for package, ours in sources(packages).items():
        version, sha256, folder = theirs.get(package) or ("", "", "")
        if (version, sha256) != (ours.version, ours.sha256):
            problem = (
                f"runs other code than this process: {package} {version} of "
                f"{folder or 'no folder'} ({sha256[:_SHOWN] or 'unknown'}), not {package} "
                f"{ours.version} of {ours.folder} ({ours.sha256[:_SHOWN]}). Start again; if this "
                "line comes back, remove the other code from PYTHONPATH."
            )
            raise UserError(child, " ".join(problem.split()))


def search_path() -> list[str]:
    """Return the folders in which children look for modules: those of this process.

    The current folder, which a notebook and `python -c` put first as "", comes last, unless the
    code of this process lies in it.
    """
    if "" not in sys.path:
        return sys.path.copy()
    here = os.getcwd()
    others = [entry for entry in sys.path if entry]
    ours = os.path.samefile(here, Path(__file__).resolve().parents[1])
    return [here, *others] if ours else [*others, here]


def search_working_directory() -> None:
    """Make this process find modules in the working directory, after all others; an installed
    command does not look there.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)


def python_environment() -> dict[str, str]:
    """Return the environment variables that make a Python look for modules where this process does,
    and nowhere before.
    """
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(search_path())}


@contextmanager
def same_code(**variables: str) -> Iterator[None]:
    """Make processes of multiprocessing that start meanwhile look for modules as `search_path`
    says.

    Its fork server and its resource tracker go by the environment, and its children by a copy of
    `sys.path`. Further `variables` of the environment hold as long.
    """
    variables |= python_environment()
    path = sys.path.copy()
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    sys.path[:] = search_path()
    try:
        yield
    finally:
        sys.path[:] = path
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
