"""From the `search:` section of a study file to a `Space`, each bound and choice tried on the settings it stands for."""

import types
import typing
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel

from sweeps.errors import UserError, did_you_mean
from sweeps.study.space import Parameter, Space
from sweeps.study.yaml_file import Source, read_mapping, read_model, refuse_unknown

Sections = Mapping[str, type[BaseModel]]
KEYS = ("low", "high", "log", "step", "values", "when")
FORMS = "a range {low: …, high: …} or a choice {values: […]}"


def section_of(field: str, sections: Sections) -> str | None:
    """The section that has a setting of this name."""
    return next((name for name, model in sections.items() if field in model.model_fields), None)


def field_kind(model: type[BaseModel], field: str) -> Literal["int", "float", "choice"]:
    """What a range over this setting would be of: whole numbers, floats, or nothing (`choice`)."""
    annotation = model.model_fields[field].annotation
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    kinds = set(typing.get_args(annotation)) if union else {annotation}
    return "int" if int in kinds else "float" if float in kinds else "choice"


def read_space(content: Any, raw: Mapping[str, Any], sections: Sections, source: Source) -> Space:
    """The `search:` section.

    Args:
        content: what stands under `search:`.
        raw: the whole file; its sections are known to be valid.
        sections: section → settings model.
        source: names the place of a mistake.

    Raises:
        UserError: for anything that is not a range or a choice of values that the settings accept.
    """
    content = read_mapping(content, "search", source)
    fields = [field for model in sections.values() for field in model.model_fields]
    refuse_unknown(content, fields, "search", source, noun="setting")
    if not content:
        raise source.error("search", "nothing is searched. Add, for example, `beta: {low: 0.1, high: 10, log: true}`.")
    parameters: dict[str, Parameter] = {}
    for name, given in content.items():
        section = section_of(name, sections)
        fixed = read_mapping(raw.get(section), section, source)
        if name in fixed:
            raise source.error(
                f"search.{name}", f"is searched, and fixed to {fixed[name]!r} under '{section}'. Drop one of the two."
            )
        with source.located():
            parameters[name] = _read_parameter(name, _known_keys(name, given), sections[section], fixed)
    with source.located():
        return Space(
            tuple(
                replace(parameter, when=_read_when(name, content[name].get("when"), parameters))
                for name, parameter in parameters.items()
            )
        )


# Below, errors name the path alone; `read_space` adds the file.


def _known_keys(name: str, given: Any) -> dict[str, Any]:
    path = f"search.{name}"
    if not isinstance(given, dict):
        raise UserError(path, f"got {given!r}; should be {FORMS}.")
    for key in given:
        if key not in KEYS:
            raise UserError(f"{path}.{key}", f"unknown key of a searched parameter. {did_you_mean(str(key), KEYS)}")
    return given


def _read_parameter(name: str, given: dict[str, Any], model: type[BaseModel], fixed: dict[str, Any]) -> Parameter:
    path = f"search.{name}"
    if "values" in given:
        both = [key for key in ("low", "high", "log", "step") if key in given]
        if both:
            raise UserError(path, f"got `values` together with `{both[0]}`; should be {FORMS}.")
        if not isinstance(given["values"], list):
            raise UserError(f"{path}.values", f"got {given['values']!r}; should be a list in brackets.")
        values = [_tried(value, name, model, fixed, f"{path}.values") for value in given["values"]]
        return Parameter(name=name, kind="choice", values=tuple(values))
    missing = [key for key in ("low", "high") if given.get(key) is None]
    if missing:
        raise UserError(path, f"`{missing[0]}` is missing; should be {FORMS}.")
    kind = field_kind(model, name)
    if kind == "choice":
        raise UserError(path, f"a range needs numbers, and '{name}' takes none. Write `{name}: {{values: […]}}`.")
    low, high = (_tried(given[key], name, model, fixed, f"{path}.{key}") for key in ("low", "high"))
    if not isinstance(given.get("log", False), bool):
        raise UserError(f"{path}.log", f"got {given['log']!r}; should be true or false.")
    step = _read_step(given.get("step"), kind, f"{path}.step")
    return Parameter(name=name, kind=kind, low=low, high=high, log=given.get("log", False), step=step)


def _tried(value: Any, name: str, model: type[BaseModel], fixed: dict[str, Any], path: str) -> Any:
    """The value as the settings hold it."""
    try:
        return getattr(read_model(model, {**fixed, name: value}, "", Source("")), name)
    except UserError as error:
        raise UserError(path, error.problem) from None


def _read_step(step: Any, kind: str, path: str) -> float | None:
    if step is None:
        return None
    if isinstance(step, bool) or not isinstance(step, int | float):
        raise UserError(path, f"got {step!r}; should be a number.")
    if kind == "int" and step != int(step):
        raise UserError(path, f"got {step!r}; should be a whole number.")
    return int(step) if kind == "int" else float(step)


def _read_when(name: str, content: Any, parameters: Mapping[str, Parameter]) -> dict[str, tuple[Any, ...]]:
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"search.{name}.when", f"got {content!r}; should be as {{prior: mixture}}.")
    conditions = {}
    for parent, value in content.items():
        # a list is one value where the parent's choices are lists, and alternatives otherwise
        single = not isinstance(value, list) or (parent in parameters and parameters[parent].allows(value))
        conditions[parent] = (value,) if single else tuple(value)
    return conditions
