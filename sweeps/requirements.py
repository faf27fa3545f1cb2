"""The version of Optuna that this package needs."""

import importlib.metadata

from packaging.requirements import Requirement

from sweeps.errors import UserError


def check_optuna(project: str) -> None:
    """Raise UserError where the installed Optuna is none that serves, because studies rest on parts
    that each Optuna changes. A project that is run from its folder needs none.
    """
    try:
        needed = map(Requirement, importlib.metadata.requires(project) or [])
    except importlib.metadata.PackageNotFoundError:
        return
    version = importlib.metadata.version("optuna")
    for each in needed:
        if each.name == "optuna" and not each.specifier.contains(version, prereleases=True):
            problem = f"optuna {version} is not {each.specifier}"
            raise UserError("optuna", f"{problem}. Try `pip install 'optuna{each.specifier}'`.")
