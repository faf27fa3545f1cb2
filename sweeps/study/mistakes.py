"""The mistakes of a study file, all of them, each with its place: what pydantic found in the words of a user."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from sweeps.errors import UserError, did_you_mean
from sweeps.study.yaml_file import EntryPath

SHOWN = 20
"""Mistakes that one message lists."""


@dataclass
class Mistakes:
    """Collects what is wrong with a study file and its overrides."""

    file: str
    """The study file, as shown to the user."""
    places: Mapping[EntryPath, str]
    """Path → `studies/x.yaml:12`."""
    overrides: frozenset[EntryPath] = frozenset()
    """Paths, as `("train", "epochs")`, that came from `--set`."""
    _lines: dict[str, str] = field(default_factory=dict)
    """What is wrong → the place without the path, by which lines are sorted."""

    def place(self, path: EntryPath) -> tuple[str, str]:
        """Where the entry stands (`studies/x.yaml:12` or `--set`), and its full name for the user."""
        name = ".".join(str(part + 1) if isinstance(part, int) else part[:80] for part in path)
        if any(path[: len(override)] == override for override in self.overrides):
            return "--set", f"--set {name}"
        known = (path[:length] for length in range(len(path), 0, -1))
        file = next((self.places[prefix] for prefix in known if prefix in self.places), self.file)
        return file, f"{file}: {name}" if name else file

    def add(self, path: EntryPath | str, problem: str) -> None:
        """Note a mistake. The path is a tuple, or text such as `search.beta.low`."""
        if isinstance(path, str):
            path = tuple(path.split(".")) if path else ()
        where, place = self.place(path)
        self._lines.setdefault(str(UserError(place, problem)), where)

    def add_error(self, error: UserError) -> None:
        """Note a mistake whose place is complete."""
        self._lines.setdefault(str(error), "")

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Note the `UserError` that is raised inside; its place is a path."""
        try:
            yield
        except UserError as error:
            self.add(error.place, error.problem)

    def raise_if_any(self) -> None:
        """Raise one `UserError` for all mistakes, in the order of the file: a line each, below their number."""
        lines = sorted(self._lines, key=lambda text: _order(self._lines[text]))
        if len(lines) > 1:
            more = [f"and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
            raise UserError(self.file, "\n".join([f"{len(lines):,} mistakes", *lines[:SHOWN], *more]))
        if lines:
            raise UserError("", lines[0])


def _order(place: str) -> tuple[str, int]:
    file, _, line = place.rpartition(":")
    return (file, int(line)) if line.isdigit() else (place, 0)


class Part(BaseModel):
    """A part of a study file: frozen, without unknown keys, and `true` is no number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        # Pydantic would take `true` for 1.
        types = _types_of(cls.model_fields[str(info.field_name)].annotation)
        if bool not in types and Any not in types:
            truths = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, bool)]
            if truths:
                kind = "a whole number" if int in types else "a number" if float in types else "text"
                raise PydanticCustomError("truth", "must be {kind}", {"kind": kind})
        return value


def named(table: Mapping[str, type[BaseModel]]) -> Any:
    """Make the type of an entry of a table: its `name` and options, or its name alone."""

    def name_of(value: Any) -> str:
        name = value.get("name") if isinstance(value, dict) else getattr(value, "name", "")
        return name if isinstance(name, str) else ""

    def read(value: Any) -> Any:
        return {} if value is None else {"name": value} if isinstance(value, str) else value

    members: Any = reduce(or_, [Annotated[model, Tag(name)] for name, model in table.items()])
    union: Any = Annotated[members, Discriminator(name_of)]
    written: Any = Literal[tuple(table)] | union
    return Annotated[union, BeforeValidator(read, json_schema_input_type=written)]


def _types_of(annotation: Any) -> set[Any]:
    """Every plain type within an annotation."""
    inner = [part for part in get_args(annotation) if isinstance(part, type) or get_args(part) or part is Any]
    return {annotation}.union(*(_types_of(part) for part in inner))


def problems_of(
    error: ValidationError, model: type[BaseModel], content: Mapping[str, Any]
) -> list[tuple[EntryPath, str]]:
    """List path and problem of each mistake that pydantic found in `content`.

    Where each member of a union failed, the member that went deepest speaks for all.
    """
    found = [(details, *_path_of(details, content)) for details in error.errors(include_url=False)]
    deepest: dict[EntryPath, tuple[int, str]] = {}
    for _, path, union, member in found:
        if len(path) > deepest.get(union, (-1, ""))[0]:
            deepest[union] = (len(path), member)
    return [
        (path, _problem(details, model)) for details, path, union, member in found if deepest[union][1] in ("", member)
    ]


def _path_of(details: ErrorDetails, content: Any) -> tuple[EntryPath, EntryPath, str]:
    """Find the entry that a mistake is about, the entry that is of a union of types, and the member of the union."""
    path: EntryPath = ()
    union: EntryPath = ()
    member, inner = "", content
    for depth, part in enumerate(details["loc"], start=1):
        inside = isinstance(inner, list) and isinstance(part, int) and part < len(inner)
        if inside or (isinstance(inner, dict) and part in inner):
            path, inner = (*path, part), inner[part]
        elif details["type"] == "missing" and depth == len(details["loc"]):
            path = (*path, part)
        elif not member:
            union, member = path, str(part)
    if details["type"] == "union_tag_invalid":
        path = (*path, "name")
    return path, union if member else path, member


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
"""What pydantic says → what a user reads."""


def _problem(details: ErrorDetails, model: type[BaseModel]) -> str:
    kind, message, got = details["type"], details["msg"], details["input"]
    if kind == "extra_forbidden":
        return f"unknown setting. {did_you_mean(str(details['loc'][-1]), _names_beside(details['loc'], model))}"
    if kind == "missing":
        return "is missing."
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind == "union_tag_invalid":
        name = got.get("name") if isinstance(got, dict) else got
        known = re.findall(r"'([^']*)'", details["ctx"]["expected_tags"])
        return f"got {shown(name)}; must be a name. {did_you_mean(str(name), known)}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"got {shown(got)}; must be `name: value` lines."
    for pattern, words in _WORDS.items():
        message = re.sub(pattern, words, message)
    hint = ""
    if kind == "literal_error":
        hint = did_you_mean(str(got), re.findall(r"'([^']*)'", details["ctx"]["expected"]))
    return f"got {shown(got)}; {message}." + (f" {hint}" if hint.startswith("Did") else "")


def _names_beside(loc: Sequence[int | str], model: type[BaseModel]) -> set[str]:
    """Names that the model which refused the last part of a location knows."""
    models = [model]
    for part in loc[:-1]:
        fields = [each.model_fields[str(part)] for each in models if part in each.model_fields]
        types = set().union(*(_types_of(field.annotation) for field in fields))
        inner = [each for each in types if isinstance(each, type) and issubclass(each, BaseModel)]
        tagged = [
            each for each in models if part in (each.__name__, getattr(each.model_fields.get("name"), "default", ""))
        ]
        models = inner or tagged or models
    return {name for each in models for name in each.model_fields}


def shown(value: Any) -> str:
    """A value for a message: as YAML would have it, cut where it is long."""
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
