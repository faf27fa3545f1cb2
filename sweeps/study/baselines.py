"""Settings of a study file beside its search space: rows that are trained in any case, and where the search begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sweeps.errors import UserError, did_you_mean
from sweeps.study.search_section import section_of
from sweeps.study.space import Space
from sweeps.study.yaml_file import Source, read_mapping, read_model

Sections = Mapping[str, type[BaseModel]]


class BaselineRow(BaseModel):
    """A row that is trained whatever the search finds, under the protocol that its settings make."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    title: Annotated[str | None, Field(min_length=1, description="Its name in the report; the key when empty.")] = None
    at: Annotated[
        Literal["fixed", "best"],
        Field(description="What `settings` is put on: what the file fixes, or the best setting of the search."),
    ] = "fixed"
    seeds: Annotated[int, Field(ge=1, description="Fresh seeds.")] = 1
    published: Annotated[
        str | None,
        Field(min_length=1, description="What its source printed for it, in words; the report shows it below the row."),
    ] = None
    settings: Annotated[dict[str, Any], Field(description="Settings by name, from any section.")] = {}


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A row of the report that is trained whatever the search finds."""

    name: str
    title: str
    at: Literal["fixed", "best"]
    seeds: int
    settings: Mapping[str, Any]
    """Name → value, JSON-able, on top of the base."""
    published: str | None = None
    """What its source printed for it."""

    def as_dict(self) -> dict[str, Any]:
        """Without its name, for a record."""
        return {
            "title": self.title,
            "at": self.at,
            "seeds": self.seeds,
            "published": self.published,
            "settings": dict(self.settings),
        }


def read_baselines(content: Any, raw: Mapping[str, Any], sections: Sections, source: Source) -> tuple[Baseline, ...]:
    """The `baselines:` part: name → title, base, seeds and settings, each setting checked by its section.

    Raises:
        UserError: for the first setting that does not exist or has a value that it cannot have, and for a row that
            repeats an earlier one.
    """
    baselines: list[Baseline] = []
    for name, given in read_mapping(content, "baselines", source).items():
        path = f"baselines.{name}"
        row = read_model(BaselineRow, given, path, source, noun="key of a baseline")
        settings = _checked(row.settings, raw, sections, f"{path}.settings", source)
        if twin := next((known for known in baselines if (known.at, known.settings) == (row.at, settings)), None):
            raise source.error(path, f"is the same as baselines.{twin.name}; should differ in settings or base.")
        baselines.append(
            Baseline(
                name=str(name),
                title=row.title or str(name),
                at=row.at,
                seeds=row.seeds,
                settings=settings,
                # It holds for the data of the file, and not for what `--set dataset=…` puts in their place.
                published=None if any(path[0] == "data" for path in source.overrides) else row.published,
            )
        )
    return tuple(baselines)


def _checked(
    settings: Mapping[str, Any], raw: Mapping[str, Any], sections: Sections, path: str, source: Source
) -> dict[str, Any]:
    """The settings as their sections hold them."""
    fields = [field for model in sections.values() for field in model.model_fields]
    values: dict[str, Any] = {}
    for name in settings:
        section = section_of(name, sections)
        if section is None:
            raise source.error(f"{path}.{name}", f"unknown setting. {did_you_mean(str(name), fields)}")
        own = {key: value for key, value in settings.items() if key in sections[section].model_fields}
        try:
            model = read_model(sections[section], {**(raw.get(section) or {}), **own}, "", Source(""))
        except UserError as error:
            raise source.error(f"{path}.{error.place.removeprefix(': ')}", error.problem) from None
        values[name] = model.model_dump(mode="json")[name]
    return values


def read_start(content: Any, space: Space, source: Source) -> tuple[dict[str, Any], ...]:
    """The `start:` part: values of some searched parameters for each of the first trials; the others are sampled.

    Raises:
        UserError: for a parameter that is not searched, or a value outside its range.
    """
    if content is None:
        return ()
    if not isinstance(content, list):
        raise source.error("start", f"got {content!r}; should be a list, as [{{beta: 1}}, {{beta: 4}}].")
    points = []
    for place, point in enumerate(content, start=1):
        path = f"start.{place}"
        given = read_mapping(point, path, source)
        for name, value in given.items():
            if name not in space.names:
                raise source.error(f"{path}.{name}", f"is not searched. {did_you_mean(str(name), space.names)}")
            if not space[name].allows(value):
                raise source.error(f"{path}.{name}", f"got {value!r}; should be {space[name].domain()}.")
        points.append(_converted(given, space))
    return tuple(points)


def _converted(given: Mapping[str, Any], space: Space) -> dict[str, Any]:
    return {name: float(value) if space[name].kind == "float" else value for name, value in given.items()}


def starting_values(start: Sequence[Mapping[str, Any]], space: Space, number: int) -> dict[str, Any]:
    """What trial `number` is given, as Optuna stores it; empty once the list is done."""
    return {name: space[name].encode(value) for name, value in start[number].items()} if number < len(start) else {}
