"""Configurations beside the search space: baselines, which are trained in any case, and where the search starts."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sweeps.errors import did_you_mean
from sweeps.study.mistakes import Mistakes, shown
from sweeps.study.space import Space
from sweeps.study.study_model import BaselineRow


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A row of the report that is trained whatever the search finds."""

    name: str
    title: str
    at: Literal["fixed", "best"]
    seeds: int
    settings: Mapping[str, Any]
    """Name → value, JSON-able: changes to the fixed settings or to the best configuration."""
    published: str | None = None
    """Published result, in words."""

    def as_dict(self) -> dict[str, Any]:
        """The row without its name, for a record."""
        return {
            "title": self.title,
            "at": self.at,
            "seeds": self.seeds,
            "published": self.published,
            "settings": dict(self.settings),
        }


def read_baselines(
    rows: Mapping[str, BaselineRow], given: Mapping[str, Any], mistakes: Mistakes, *, published: bool
) -> tuple[Baseline, ...]:
    """The baselines, in the order of the file.

    Args:
        rows: name → checked row.
        given: name → row as the file has it, which says in which order the settings stand.
        mistakes: takes a row that repeats an earlier one.
        published: False drops the published results: they do not hold for other data.
    """
    baselines: list[Baseline] = []
    names: dict[str, str] = {}
    for name, row in rows.items():
        order = (given[name] or {}).get("settings") or {}
        values = row.settings.model_dump(mode="json", exclude_unset=True) if order else {}
        settings = {key: values[key] for key in order}
        key = json.dumps([row.at, settings], sort_keys=True)
        if (same := names.setdefault(key, name)) != name:
            mistakes.add(("baselines", name), f"is the same as baselines.{same}; must differ in `settings` or `at`.")
            continue
        baselines.append(
            Baseline(
                name=name,
                title=row.title or name,
                at=row.at,
                seeds=row.seeds,
                settings=settings,
                published=row.published if published else None,
            )
        )
    return tuple(baselines)


def read_start(
    points: Sequence[Mapping[str, Any]], space: Space, broken: Collection[str], mistakes: Mistakes
) -> tuple[dict[str, Any], ...]:
    """Values of some searched parameters for each of the first trials; the sampler chooses the others.

    Args:
        points: as the file has them.
        space: the searched parameters.
        broken: parameters that `mistakes` holds already.
        mistakes: takes parameters that are not searched and values outside their range.
    """
    for index, point in enumerate(points):
        for name, value in point.items():
            path = ("start", index, name)
            if name in space.names:
                if not space[name].allows(value):
                    mistakes.add(path, f"got {shown(value)}; must be {space[name].domain()}.")
            elif name not in broken:
                mistakes.add(path, f"is not searched. {did_you_mean(name, space.names)}")
    floats = {p.name for p in space.parameters if p.kind == "float"}
    return tuple(
        {name: float(value) if name in floats and isinstance(value, int) else value for name, value in point.items()}
        for point in points
    )


def starting_values(start: Sequence[Mapping[str, Any]], space: Space, number: int) -> dict[str, Any]:
    """What trial `number` is given, as Optuna stores it; empty once the list is done."""
    return {name: space[name].encode(value) for name, value in start[number].items()} if number < len(start) else {}
