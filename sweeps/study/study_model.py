"""The form of a study file as one pydantic model, made from a workload's own settings; its JSON Schema serves editors."""

import copy
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Self, Union

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, create_model, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from sweeps.study.mistakes import Part
from sweeps.study.pruners import AnyPruner, MedianSettings
from sweeps.study.samplers import AnySampler, TPESettings

Sections = Mapping[str, type[BaseModel]]
FORMS = "must be a range {low: …, high: …} or a choice {values: […]}"


class Budget(Part):
    """When the search ends: at the first limit reached. The budget is of the study, not of one command."""

    trials: Annotated[int | None, Field(ge=1, description="Trials started, in whatever state they end.")] = None
    seconds: Annotated[float | None, Field(gt=0, description="Seconds spent searching.")] = None
    epochs: Annotated[int | None, Field(ge=1, description="Trial-epochs trained, over all trials.")] = None
    stale_trials: Annotated[
        int | None, Field(ge=1, description="Trials that end one after the other without a better value.")
    ] = None

    @model_validator(mode="after")
    def _limited(self) -> Self:
        if all(value is None for value in self.model_dump().values()):
            raise ValueError(f"nothing limits the search; give at least one of {', '.join(type(self).model_fields)}.")
        return self


class Confirm(Part):
    """The best configurations, trained again with fresh seeds and only then evaluated on test data."""

    top: Annotated[int, Field(ge=1, description="Configurations, the best of the search.")]
    seeds: Annotated[int, Field(ge=1, description="Fresh seeds for each configuration.")]


class Compare(Part):
    """Matched pairs: the same configuration and seed with each value of one parameter."""

    parameter: Annotated[str, Field(description="Searched choice whose values are compared.")]
    top: Annotated[int, Field(ge=1, description="Configurations, the best of the search.")]
    seeds: Annotated[int, Field(ge=1, description="Seeds for each configuration.")]


class BaselineRow(Part):
    """A row of the report that is trained whatever the search finds, under the protocol that its settings make."""

    title: Annotated[
        str | None, Field(min_length=1, description="Name of the row in the report; the key when empty.")
    ] = None
    at: Annotated[
        Literal["fixed", "best"],
        Field(description="What `settings` change: the settings that the file fixes, or the best configuration."),
    ] = "fixed"
    seeds: Annotated[int, Field(ge=1, description="Fresh seeds.")] = 1
    published: Annotated[
        str | None,
        Field(min_length=1, description="Published result, in words; the report shows it below the row."),
    ] = None
    settings: Annotated[Any, Field(description="Settings by name, from any section.")] = None


class StudyFile(Part):
    """A study: its question, what is fixed, what is searched, and how far."""

    extends: Annotated[
        str | None,
        Field(description="Study, by name or path, that this file changes; null in this file removes an entry."),
    ] = None
    question: Annotated[str | None, Field(min_length=1, description="What the study is to find out.")] = None
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Seed of the sampler and of all trials.")] = 0
    sampler: Annotated[AnySampler, Field(description="How configurations are chosen.")] = TPESettings()
    pruner: Annotated[AnyPruner, Field(description="When a trial ends early.")] = MedianSettings()
    budget: Annotated[Budget | None, Field(description="When the search ends.")] = None
    confirm: Annotated[Confirm | None, Field(description="What is trained again with fresh seeds.")] = None
    compare: Annotated[Compare | None, Field(description="What is compared in matched pairs.")] = None
    search: Any = None
    baselines: Any = None
    start: Any = None


PARTS: dict[str, tuple[str, ...]] = {
    "question": (),
    "seed": (),
    "sampler": (),
    "pruner": (),
    "budget": tuple(Budget.model_fields),
    "confirm": tuple(Confirm.model_fields),
    "compare": tuple(Compare.model_fields),
    "baselines": (),
    "start": (),
}
"""Top-level keys besides the sections, `search` and `extends` → fields that need no prefix."""


def study_model(sections: Sections) -> type[StudyFile]:
    """Make the model of a workload's study files.

    Args:
        sections: section → settings model. Field names are unique over all sections; each field has a description.
    """
    return _study_model(tuple(sections.items()))


@cache
def _study_model(sections: tuple[tuple[str, type[BaseModel]], ...]) -> type[StudyFile]:
    fields = {name: field for _, model in sections for name, field in model.model_fields.items()}
    settings = _model("Settings", "Values of settings, from any section.", {n: _optional(f) for n, f in fields.items()})
    search = {name: (_parameter(name, field), _absent(field.description)) for name, field in fields.items()}
    parts: dict[str, Any] = {
        name: (_or_empty(_strict(model)), Field(default_factory=model, description=_sentence(model)))
        for name, model in sections
    }
    space = _model("Search", "Searched parameters: a range or a choice for each.", search)
    parts["search"] = (_or_empty(space), _absent("What is searched."))
    row = create_model(
        "Baseline",
        __base__=BaselineRow,
        __doc__=BaselineRow.__doc__,
        settings=(_or_empty(settings), _absent("Settings by name, from any section.")),
    )
    parts["baselines"] = (dict[str, _or_empty(row)] | None, _absent("Rows trained whatever the search finds."))  # type: ignore[misc]
    parts["start"] = (list[_or_empty(settings)] | None, _absent("Values of parameters that the first trials take."))  # type: ignore[misc]
    unique = {"parameter": Compare.model_fields["parameter"], **Budget.model_fields}
    for name, field in {**unique, **fields}.items():
        if name not in parts and name not in StudyFile.model_fields:
            parts[name] = _optional(field)
    return create_model("Study", __base__=StudyFile, __doc__=StudyFile.__doc__, **parts)


def _model(name: str, doc: str, fields: dict[str, Any]) -> Any:
    return create_model(name, __base__=Part, __doc__=doc, **fields)


def _strict(model: type[BaseModel]) -> Any:
    """A section's model with the rules of `Part`."""
    return create_model(model.__name__, __base__=(model, Part), __doc__=model.__doc__)


def _sentence(model: type[BaseModel]) -> str:
    return (model.__doc__ or model.__name__).strip().splitlines()[0]


def _absent(description: str | None) -> Any:
    """A field that need not be given; its schema names no default."""
    return Field(default=None, description=description, json_schema_extra=lambda schema: schema.pop("default", None))


def _optional(field: FieldInfo) -> tuple[Any, FieldInfo]:
    """The field as one that need not be given."""
    optional = copy.copy(field)
    if optional.is_required():
        optional.default = None
    return field.annotation, optional


def _or_empty(model: Any) -> Any:
    """A mapping, or nothing at all for an empty one."""
    return Annotated[model, BeforeValidator(lambda value: {} if value is None else value, json_schema_input_type=model)]


def study_schema(sections: Sections) -> dict[str, Any]:
    """Make the JSON Schema of a workload's study files, for editors that complete and check YAML.

    A setting is described once, in its section; everywhere else the schema refers to that description.
    """
    schema = study_model(sections).model_json_schema()
    definitions = schema["$defs"]
    places = {
        name: f"#/$defs/{model.__name__}/properties/{name}"
        for model in sections.values()
        for name in model.model_fields
    }
    for holder in (schema, definitions["Settings"]):
        for name in places.keys() & holder["properties"].keys():
            holder["properties"][name] = {"$ref": places[name]}
    for name, place in places.items():
        definitions[f"{name}_choice"]["properties"]["values"]["items"] = {"$ref": place}
    for name, definition in definitions.items():
        if not name.endswith("_choice"):
            definition.pop("required", None)  # a study that extends another may give a part of it
    schema["anyOf"] = [{"required": ["extends"]}, {"required": ["question", "search"]}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_without_titles(schema)}


def _without_titles(schema: Any) -> Any:
    """The schema without the titles that pydantic makes of names."""
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key != "title" or not isinstance(value, str)}
    return {key: _without_titles(value) for key, value in kept.items()}


# ---- searched parameters ----


def number_type(field: FieldInfo) -> Any:
    """The type of a range's ends, with the bounds of the setting; None where the setting takes no number."""
    union = typing.get_origin(field.annotation) in (Union, types.UnionType)
    arms = typing.get_args(field.annotation) if union else (field.annotation,)
    for kind in (int, float):
        for arm in arms:
            plain, *rules = (typing.get_args(arm)) if typing.get_origin(arm) is Annotated else (arm,)
            if plain is kind:
                metadata = (*rules, *field.metadata)
                return Annotated[(kind, *metadata)] if metadata else kind
    return None


def number_kind(field: FieldInfo) -> Literal["int", "float"] | None:
    """Whether a range over the setting is of whole numbers or of floats; None where it can be no range."""
    number = number_type(field)
    if number is None:
        return None
    return "int" if number is int or typing.get_args(number)[:1] == (int,) else "float"


def _when() -> Any:
    words = "Searched only where each of these parameters has this value, or one of these values in a list."
    return (dict[str, Any] | None, _absent(words))


def _parameter(name: str, field: FieldInfo) -> Any:
    """The type of a searched parameter: a choice of values, or a range where the setting takes numbers."""
    number, kind = number_type(field), number_kind(field)
    value: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    values = (Annotated[list[value], Field(min_length=1, description="Values to choose from.")], ...)
    choice: Any = _model(f"{name}_choice", "A choice of values.", {"values": values, "when": _when()})

    def check(given: Any) -> Any:
        if not isinstance(given, dict):
            raise PydanticCustomError("form", FORMS)
        ends = [key for key in ("low", "high", "log", "step") if key in given]
        if "values" in given and ends:
            raise PydanticCustomError("value_error", f"got `values` together with `{ends[0]}`; {FORMS}.")
        if kind is None and ends:
            problem = f"got `{ends[0]}`, but this setting takes no numbers; must be a choice {{values: […]}}."
            raise PydanticCustomError("value_error", problem)
        return given

    if number is None:
        return Annotated[choice | None, BeforeValidator(check, json_schema_input_type=choice | None)]
    step = int if kind == "int" else float
    ends = {
        "low": (Annotated[number, Field(description="Smallest value, included.")], ...),
        "high": (Annotated[number, Field(description="Largest value, included.")], ...),
        "log": (Annotated[bool, Field(strict=True, description="Draw evenly in the logarithm.")], False),
        "step": (step | None, _absent("Distance of neighbouring values.")),
        "when": _when(),
    }
    span: Any = _model(f"{name}_range", "A range of numbers.", ends)
    union: Any = Annotated[
        Annotated[span, Tag(span.__name__)] | Annotated[choice, Tag(choice.__name__)],
        Discriminator(lambda given: (choice if "values" in given else span).__name__),
    ]
    return Annotated[union | None, BeforeValidator(check, json_schema_input_type=union | None)]
