"""The first trials of a study, which its file names: values of parameters for each; the sampler chooses the others."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sweeps.errors import did_you_mean
from sweeps.study.space import Space
from sweeps.study.yaml_file import Mistakes, shown


def read_start(
    entries: Iterable[Mapping[str, Any] | None], space: Space, unusable: Collection[str], mistakes: Mistakes
) -> tuple[dict[str, Any], ...]:
    """Return values of searched parameters for each entry of `start:`.

    Args:
        entries: the list as it stands in the file, of the right form.
        unusable: searched parameters that have a mistake of their own.
        mistakes: takes parameters that are not searched, and values that the space does not hold.
    """
    points: list[dict[str, Any]] = []
    for index, entry in enumerate(entries):
        points.append({})
        for name, value in (entry or {}).items():
            path = ("start", index, name)
            if name not in space.names:
                if name not in unusable:
                    mistakes.add(path, f"is not searched. {did_you_mean(name, space.names)}")
                continue
            if not space[name].allows(value):
                mistakes.add(path, f"got {shown(value)}; must be {space[name].domain()}.")
            whole = isinstance(value, int) and space[name].kind == "float"
            points[index][name] = float(value) if whole else value
    return tuple(points)
