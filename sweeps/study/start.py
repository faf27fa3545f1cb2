"""The first trials of a study, which its file names: values of parameters for each; the sampler
chooses the others.

An entry may also name another study, whose best configurations come first.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from sweeps.errors import did_you_mean
from sweeps.study.space import Space
from sweeps.study.yaml_file import Mistakes, Part, shown


class BestOf(Part):
    """The best configurations of another study, each for one of the first trials."""

    study: str = Field(min_length=1, description="Study of the same storage, by name.")
    top: int = Field(
        default=5, ge=1, description="Configurations, the best that its search trained to the end."
    )


def read_start(
    entries: Iterable[Mapping[str, Any] | None],
    space: Space,
    mistakes: Mistakes,
) -> tuple[dict[str, Any] | BestOf, ...]:
    """Return values of searched parameters for each entry of `start:`, or the study that it names.

    Args:
        entries: the list as it stands in the file, of the right form.
        mistakes: takes parameters that are not searched, and values that the space does not hold.
    """
    points: list[dict[str, Any] | BestOf] = []
    for index, entry in enumerate(entries):
        if entry and "study" in entry:
            points.append(BestOf(**entry))
            continue
        point: dict[str, Any] = {}
        points.append(point)
        for name, value in (entry or {}).items():
            path = ("start", index, name)
            if name not in space.names:
                mistakes.add(path, f"is not searched. {did_you_mean(name, space.names)}")
                continue
            if not space[name].allows(value):
                mistakes.add(path, f"got {shown(value)}; must be {space[name].domain()}.")
            whole = isinstance(value, int) and space[name].kind == "float"
            point[name] = float(value) if whole else value
    return tuple(points)
