"""The versions of other packages that this one needs."""

import importlib.metadata

from packaging.requirements import Requirement

from sweeps.errors import UserError


def required_packages(project: str) -> list[Requirement]:
    """Return what a project needs in every installation; nothing where it is run from its
    folder.
    """
    try:
        needed = map(Requirement, importlib.metadata.requires(project) or [])
    except importlib.metadata.PackageNotFoundError:
        return []
    return [each for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]


def problem_of(needed: Requirement) -> str | None:
    """Say that a package is missing, or its version is none that serves; None where all is well."""
    try:
        version = importlib.metadata.version(needed.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{needed.name} is missing"
    if needed.specifier.contains(version, prereleases=True):
        return None
    return f"{needed.name} {version} is not {needed.specifier}"


def check_optuna(project: str) -> None:
    """Raise UserError where the installed Optuna is none that serves, because studies rest on parts
    that each Optuna changes.
    """
    for needed in required_packages(project):
        if needed.name == "optuna" and (problem := problem_of(needed)):
            raise UserError(
                "optuna", f"{problem}. Try `pip install '{needed.name}{needed.specifier}'`."
            )
