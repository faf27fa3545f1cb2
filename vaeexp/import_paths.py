"""Imports objects of the user's own, which a study names by their import path: `network:
package.module:Name`.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

from sweeps import UserError, search_working_directory
from vaeexp.console import in_notebook

BY_PATH = ("network", "prior", "likelihood", "loss", "metrics")
"""Settings that take an import path in place of a name; `metrics` takes a list of them."""
_SECTIONS = ("data", "model", "train", "evaluation")
"""Those of `vaeexp.settings.SECTIONS`. Read by name, because what else a file holds must not hide
one of its settings.
"""
_NEVER_GIVEN = "labels|y|num_classes|n_classes|condition|batch"
"""Arguments that other libraries give to a part."""
_CALLED = "__call__|forward|encoder|decoder|vae|encode|decode|log_prob|sample|kl"
"""Methods of parts that vaeexp calls."""


def own_paths(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return import path → the setting that names it, of settings by name."""
    paths: dict[str, str] = {}
    for field in BY_PATH:
        paths |= dict.fromkeys(paths_in(settings.get(field)), field)
    return paths


def paths_in(value: Any) -> list[str]:
    """Return the import paths in the value of a setting: the value itself, or entries of its
    list.
    """
    entries = value if isinstance(value, list | tuple) else [value]
    return [entry for entry in entries if isinstance(entry, str) and ":" in entry]


def flat_settings(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return name → value of the settings in the content of a run's file."""
    settings: dict[str, Any] = {}
    for section in _SECTIONS:
        settings |= content.get(section, {})
    return settings


def import_path(part: Callable[..., Any]) -> str:
    """Return the path `package.module:Name` at which other processes import a class or a function.
    Raises UserError where none can.
    """
    module = part.__module__
    name = part.__qualname__
    if "<locals>" in name:
        problem = (
            "is defined inside a function, where no other process finds it. Define it at the top "
            "level of a file."
        )
        raise UserError(f"'{part.__name__}'", problem)
    script = getattr(sys.modules["__main__"], "__file__", None)
    # A notebook or an interactive session has no name under which it can be imported.
    if module == "__main__" and script is not None and not in_notebook():
        module = Path(script).stem
        if module in {*sys.stdlib_module_names, "test"}:
            raise UserError(
                f"'{name}'",
                f"is in {module}.py; later commands import Python's own. Rename yours.",
            )
    return f"{module}:{name}"


_importing: list[str] = []
"""The user's modules that are being imported."""


def check_not_importing() -> None:
    """Raise UserError while a module of the user is imported: a study that began then would import
    the module again.
    """
    if _importing:
        problem = (
            'starts a study when it is imported. Put the call under `if __name__ == "__main__":`'
        )
        raise UserError(f"module '{_importing[-1]}'", problem)


def imported(path: str, field: str) -> Any:
    """Return the object that `field` of a study names by its import path.

    The module is imported as a program without arguments would be, so that a module that reads them
    gets their defaults. Raises ValueError when the import fails.
    """
    module, _, name = path.partition(":")
    if module == "__main__":
        raise ValueError(
            f"{field}: '{name}' is defined in the script or notebook that runs, which worker "
            "processes and later commands cannot import; write it and its imports to a file (in a "
            f"notebook: `%%writefile nets.py` as the first line of a cell) and give 'nets:{name}'."
        )
    search_working_directory()
    arguments = sys.argv
    sys.argv = sys.argv[:1]
    _importing.append(module)
    try:
        import torch  # late, because a study without such objects is read without it

        # A fork, because a module that seeds or draws when it is imported would change the first
        # model of a process alone.
        with torch.random.fork_rng(devices=[]):
            return attrgetter(name)(importlib.import_module(module))
    except SystemExit as end:
        raise ValueError(
            f"{field}: '{path}' cannot be imported: its module ends the process (exit status "
            f"{end.code}), as a script "
            'does that needs arguments. Read arguments under `if __name__ == "__main__":`, or '
            "move it into a file of its own."
        ) from end
    except UserError as error:
        raise ValueError(f"{field}: '{path}' cannot be imported: {error}") from error
    except Exception as error:
        remedy = f"Give `package.module:Name`, installed or in the working directory ({Path.cwd()})"
        mine = Path(module.partition(".")[0]).absolute()
        other = sys.modules.get(mine.name)
        hidden = other and str(mine) not in repr(other)
        if hidden and (mine.is_dir() or mine.with_suffix(".py").is_file()):
            remedy = f"Python finds {other} before your {mine.name}. Rename yours"
        raise ValueError(
            f"{field}: '{path}' cannot be imported: {one_line(error)}. {remedy}."
        ) from error
    finally:
        sys.argv = arguments
        _importing.pop()


def check_arguments(field: str, *parts: Any) -> None:
    """Raise ValueError where a part, or a method of it, has an argument with a default that asks
    for labels or the like: the default would be taken without a word.

    A setting of the same name, which is an attribute of its class, is given.
    """
    for part in parts:
        whole = hasattr(part, "encode") and hasattr(part, "decode")
        called = "encode|decode" if whole else _CALLED
        for call in (
            part,
            *(getattr(part, name) for name in dir(part) if re.fullmatch(called, name)),
        ):
            try:
                arguments = inspect.signature(call).parameters.values()
            except (TypeError, ValueError):  # nothing to call, or of unknown arguments
                continue
            for each in arguments:
                asked = re.fullmatch(_NEVER_GIVEN, each.name) and each.default is not each.empty
                if asked and not hasattr(part, each.name):
                    name = getattr(call, "__qualname__", type(call).__qualname__)
                    raise ValueError(
                        f"{field}: `{name}` has an argument `{each.name}`, which is never "
                        "given: a part gets no labels, classes, conditions or batches. Take it "
                        "away."
                    )


def one_line(error: BaseException) -> str:
    """Return kind and message of an error as one line without an end."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}".rstrip(".: ")
