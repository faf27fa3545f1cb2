"""The program that runs the studies, as messages name it: its name, and what its users type.

A program calls `use_program` when it is imported. The processes that it starts inherit the words
through their environment.
"""

import json
import os
import shlex
from dataclasses import asdict, dataclass

_VARIABLE = "SWEEPS_PROGRAM"


@dataclass(frozen=True, kw_only=True)
class Program:
    """The words for a program. `{study}` is a space and the name of the study, or nothing."""

    name: str = "sweeps"
    install: str = "pip install {package}"
    """Installs a package that is not always needed; `{extra}` is its short name."""
    run: str = "`run_study`"
    """Continues a study."""
    take_over: str = "`run_study` with `take_over`"
    """Continues a study that another process has claimed."""
    sync: str = "`sweeps.sync`"
    """Brings MLflow up to the storage."""
    repair: str = "`Finding.repair`"
    """Repairs a damaged study."""


def use_program(program: Program) -> None:
    """Let the messages of this process, and of those that it starts, speak of this program."""
    os.environ[_VARIABLE] = json.dumps(asdict(program))


def program() -> Program:
    """Return the program that `use_program` has named, else the words for callers of this
    package.
    """
    return Program(**json.loads(os.environ.get(_VARIABLE, "{}")))


def how_to(name: str, study: str = "") -> str:
    """Return what users of the program type: the field `name` of `Program`, for a study or for
    all.
    """
    words: str = getattr(program(), name)
    return words.format(study=f" {study}" if study else "")


def how_to_install(package: str, extra: str) -> str:
    """Return the command that installs a package that is not always needed."""
    return program().install.format(package=shlex.quote(package), extra=extra)
