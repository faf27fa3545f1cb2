"""What pydantic finds wrong in a study file, in plain words."""

import re
from collections.abc import Container, Mapping, Sequence
from itertools import chain
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sweeps.errors import did_you_mean, one_of
from sweeps.study.yaml_file import EntryPath, shown, types_of


def problems_of(
    error: ValidationError, model: type[BaseModel], content: Mapping[str, Any]
) -> list[tuple[EntryPath, str]]:
    """List path and problem of each mistake that pydantic found in `content`.

    Where each member of a union of types failed, the first of those that went deepest speaks for
    all.
    """
    mistakes: dict[EntryPath, ErrorDetails] = {}
    for details in error.errors(include_url=False):
        mistakes.setdefault(_path_of(details, content), details)
    above = set[EntryPath]()
    for path in mistakes:
        above |= {path[:length] for length in range(len(path))}
    return [
        (path, _problem(details, model)) for path, details in mistakes.items() if path not in above
    ]


def _path_of(details: ErrorDetails, content: Any) -> EntryPath:
    """Return the path of the entry that a mistake is about: its location without the names of a
    union's members.
    """
    path: EntryPath = ()
    for part in details["loc"]:
        keys: Container[Any] = ()
        if isinstance(content, dict):
            keys = content
        elif isinstance(content, list):
            keys = range(len(content))
        if part in keys:
            path = (*path, part)
            content = content[part]
    if details["type"] == "missing":
        return (*path, details["loc"][-1])
    return (*path, "name") if details["type"] == "union_tag_invalid" else path


_WORDS = {
    r"^(Input|String|List|Tuple|Dictionary|Value) should": "must",
    r", (unable|got|not) .*": "",
    r" after validation": "",
    "valid integer": "whole number",
    "valid tuple": "list",
    "a valid boolean": "true or false",
    "a valid string": "text",
    "valid ": "",
}
"""Words of pydantic → words for a user."""


def _problem(details: ErrorDetails, model: type[BaseModel]) -> str:
    kind = details["type"]
    message = details["msg"]
    got = details["input"]
    if kind == "extra_forbidden":
        return (
            "unknown setting. "
            f"{did_you_mean(str(details['loc'][-1]), _names_beside(details['loc'], model))}"
        )
    if kind == "missing":
        return "is missing."
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind == "union_tag_invalid":
        name = got.get("name") if isinstance(got, dict) else got
        known = sorted(re.findall(r"'([^']*)'", details["ctx"]["expected_tags"]))
        return f"got {shown(name)}; must be {one_of(known)}."
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"got {shown(got)}; must be `name: value` lines."
    for pattern, replacement in _WORDS.items():
        message = re.sub(pattern, replacement, message)
    hint = ""
    if kind == "literal_error":
        hint = did_you_mean(str(got), re.findall(r"'([^']*)'", details["ctx"]["expected"]))
    return f"got {shown(got)}; {message}." + (f" {hint}" if hint.startswith("Did") else "")


def _names_beside(loc: Sequence[int | str], model: type[BaseModel]) -> set[str]:
    """Return the field names of the model that refused the last part of a location."""
    models = [model]
    for part in loc[:-1]:
        fields = [
            candidate.model_fields[str(part)]
            for candidate in models
            if part in candidate.model_fields
        ]
        types = set(chain.from_iterable(types_of(field.annotation) for field in fields))
        inner = [
            candidate
            for candidate in types
            if isinstance(candidate, type) and issubclass(candidate, BaseModel)
        ]
        tagged = [
            candidate
            for candidate in models
            if part
            in (candidate.__name__, getattr(candidate.model_fields.get("name"), "default", ""))
        ]
        models = inner or tagged or models
    return set(chain.from_iterable(candidate.model_fields for candidate in models))
