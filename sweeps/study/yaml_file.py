"""A study file as text: found, read as strict YAML 1.2 with the line of every entry, its mistakes
listed with their lines.

The base of the pydantic models of its parts stands here, too, because all of them share it.
"""

import copy
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Tag,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError
from yaml import events

from sweeps.errors import UserError, did_you_mean
from sweeps.names import check_name

EntryPath = tuple[str | int, ...]
"""Keys and indices that lead to an entry: `("search", "beta", "low")`."""

MOST_BYTES = 1_000_000
MOST_ENTRIES = 100_000
DEEPEST = 20
MOST_DIGITS = 40


def known_studies(shipped: Path | None) -> dict[str, Path]:
    """Return name → file: those of `./studies`, then the shipped ones that these do not hide, each
    by name.
    """
    files: dict[str, Path] = {}
    for folder in filter(None, (Path("studies"), shipped)):
        for path in sorted(folder.glob("*.y*ml")):
            if path.suffix in (".yaml", ".yml"):
                files.setdefault(path.stem, path)
    return files


def is_path(text: str) -> bool:
    """Tell whether a study is given by path: the text ends in .yaml or .yml, or has a separator."""
    return text.endswith((".yaml", ".yml")) or any(
        mark and mark in text for mark in (os.sep, os.altsep)
    )


def find_study(name: str, shipped: Path | None, option: str = "--study") -> Path:
    """Return the file of a study given by path or by name.

    Raises:
        UserError: no file has this path or name. The message names the nearest known study and the
            folders searched.
    """
    files = known_studies(shipped)
    if is_path(name):
        path = Path(name)
        # Not `Path.is_file`, which raises for a name that no file system takes.
        if not os.path.isfile(path):
            kind = "a folder" if os.path.isdir(path) else "no such file"
            raise UserError(name, f"{kind}; must be a study file. {did_you_mean(path.stem, files)}")
    elif name in files:
        path = files[name]
    else:
        folders = [
            shown_path(folder) for folder in (Path("studies"), shipped) if folder is not None
        ]
        looked = " and ".join(dict.fromkeys(folders))
        here = f"{name}.yaml"
        hint = f"Did you mean './{here}'?" if os.path.isfile(here) else did_you_mean(name, files)
        raise UserError(option, f"unknown study '{name}', looked in {looked}. {hint}")
    check_name(path.stem, shown_path(path))
    return path


def shown_path(path: Path) -> str:
    """Return the path as a user knows it: relative to the current folder if it lies inside."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file. Raises `UserError` with the reason why not."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(
                shown_path(path), f"is too large; a study file has at most {MOST_BYTES:,} bytes."
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(shown_path(path), f"cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(shown_path(path), f"is not UTF-8 text (byte {error.start}).") from None


def parse_yaml(text: str, file: str) -> tuple[Any, dict[EntryPath, str]]:
    """Return the content of a YAML text, and the place of each entry: path → `studies/x.yaml:12`,
    where `file` is before `:`.

    No tag is followed, so no text can make an object or run code.

    Raises:
        UserError: the text is no YAML, a key stands twice, or a limit of this module is passed;
            names the line.
    """
    reader = _Reader(text, file)
    try:
        return reader.document(), reader.places
    except (yaml.YAMLError, UnicodeError) as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = str(
            getattr(error, "problem", None)
            or getattr(error, "reason", None)
            or "holds a control character"
        )
        column = f"column {mark.column + 1}: " if mark else ""
        raise UserError(reader.place(mark), f"{column}{problem}.") from None


_CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


class _Reader:
    """Builds plain Python values from the parser's events.

    The scalars are those of YAML 1.2: PyYAML's own constructor reads YAML 1.1, in which `1e-4` is a
    string and `no` is false. ruamel.yaml, the usual alternative, reads `1_000` as a number and
    `2001-01-01` as a date in its 1.2 mode.
    """

    def __init__(self, text: str, file: str) -> None:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._events: Iterator[events.Event] = yaml.parse(text, Loader=loader)
        self._file = file
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._entries = 0
        self.places: dict[EntryPath, str] = {}

    def document(self) -> Any:
        """Read the one document of the text."""
        next(self._events)  # the start of the stream
        if isinstance(next(self._events), events.StreamEndEvent):
            return None
        content = self._value(next(self._events), ())
        next(self._events)  # the end of the document
        if not isinstance(event := next(self._events), events.StreamEndEvent):
            raise self._error(event, "a second document begins; a study file is one document")
        return content

    def place(self, mark: Any) -> str:
        """Return the line of a mark, as `studies/x.yaml:12`."""
        return f"{self._file}:{mark.line + 1}" if mark else self._file

    def _error(self, event: events.Event, problem: str) -> UserError:
        return UserError(self.place(event.start_mark), f"{problem}.")

    def _value(self, event: events.Event, path: EntryPath) -> Any:
        self.places.setdefault(path, self.place(event.start_mark))
        before = self._entries
        self._entries += 1
        if isinstance(event, events.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._error(
                    event, f"'*{event.anchor}' repeats an entry that is not complete above"
                )
            anchored, size = self._anchors[event.anchor]
            self._entries += size
            value = copy.deepcopy(anchored) if self._entries <= MOST_ENTRIES else None
        elif len(path) > DEEPEST:
            raise self._error(event, f"nested deeper than {DEEPEST} levels")
        elif isinstance(event, events.ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, events.SequenceStartEvent):
            self._check_tag(event, "seq")
            value = []
            while not isinstance(item := next(self._events), events.SequenceEndEvent):
                value.append(self._value(item, (*path, len(value))))
        else:
            value = self._mapping(event, path)
        if self._entries > MOST_ENTRIES:
            raise self._error(event, f"more than {MOST_ENTRIES:,} entries")
        if not isinstance(event, events.AliasEvent) and (anchor := getattr(event, "anchor", None)):
            self._anchors[anchor] = (value, self._entries - before)
        return value

    def _mapping(self, event: events.Event, path: EntryPath) -> dict[str, Any]:
        assert isinstance(event, events.MappingStartEvent)
        self._check_tag(event, "map")
        value: dict[str, Any] = {}
        while not isinstance(key := next(self._events), events.MappingEndEvent):
            if not isinstance(key, events.ScalarEvent):
                raise self._error(key, "a key must be a plain word")
            if key.value in value:
                raise self._error(key, f"'{key.value}' stands there twice")
            self.places[(*path, key.value)] = self.place(key.start_mark)
            value[key.value] = self._value(next(self._events), (*path, key.value))
        return value

    def _check_tag(self, event: Any, plain: str) -> None:
        if event.tag not in (None, "!", f"tag:yaml.org,2002:{plain}"):
            raise self._error(
                event,
                f"the tag {event.tag.removeprefix('tag:yaml.org,2002:')} is not read; drop it",
            )

    def _scalar(self, event: events.ScalarEvent) -> Any:
        self._check_tag(event, "str")
        text = event.value
        if not event.implicit[0] or event.tag is not None:
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _INT.fullmatch(text):
            if len(text) > MOST_DIGITS:
                raise self._error(
                    event, f"a whole number of {len(text):,} digits; at most {MOST_DIGITS} are read"
                )
            return int(text)
        return float(text) if _FLOAT.fullmatch(text) else text


# ---- mistakes ----

SHOWN = 20
"""Mistakes that one message lists."""


@dataclass
class Mistakes:
    """Collects the mistakes of a study file and of its overrides."""

    file: str
    """The study file, as shown to the user."""
    places: dict[EntryPath, str]
    """Path → `studies/x.yaml:12`."""
    overrides: frozenset[EntryPath] = frozenset()
    """Paths, as `("train", "epochs")`, that came from `--set`."""
    _lines: dict[str, str] = field(default_factory=dict)
    """Text of a mistake → its place without the path, for sorting."""

    def place(self, path: EntryPath) -> tuple[str, str]:
        """Return where the entry stands (`studies/x.yaml:12` or `--set`), and its full name for the
        user.
        """
        name = ".".join(str(part + 1) if isinstance(part, int) else part[:80] for part in path)
        if any(path[: len(override)] == override for override in self.overrides):
            return "--set", f"--set {name}"
        prefixes = (path[:length] for length in range(len(path), 0, -1))
        file = next(
            (self.places[prefix] for prefix in prefixes if prefix in self.places), self.file
        )
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
    def collected(self, part: str = "") -> Iterator[None]:
        """Note the `UserError` that is raised inside; its place, after `part`, is a path."""
        try:
            yield
        except UserError as error:
            self.add(f"{part}{error.place}", error.problem)

    def raise_if_any(self) -> None:
        """Raise one `UserError` for all mistakes, in the order of the file: a line each, below
        their number.
        """
        lines = sorted(self._lines, key=lambda text: _order(self._lines[text]))
        if len(lines) > 1:
            more = [f"and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
            raise UserError(
                self.file, "\n".join([f"{len(lines):,} mistakes", *lines[:SHOWN], *more])
            )
        if lines:
            raise UserError("", lines[0])


def _order(place: str) -> tuple[str, int]:
    file, _, line = place.rpartition(":")
    return (file, int(line)) if line.isdigit() else (place, 0)


def mapping(value: Any) -> dict[str, Any]:
    """Return the value where it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def shown(value: Any) -> str:
    """Return a value for a message: as YAML would have it, cut where it is long."""
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


# ---- parts of a study ----


class Part(BaseModel):
    """A part of a study file: frozen, without unknown keys, and `true` is no number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        # Pydantic would take `true` for 1.
        types = types_of(cls.model_fields[str(info.field_name)].annotation)
        items = value if isinstance(value, list) else [value]
        if types.isdisjoint({bool, Any}) and any(isinstance(item, bool) for item in items):
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


def types_of(annotation: Any) -> set[Any]:
    """Return every plain type within an annotation."""
    inner = [
        part
        for part in get_args(annotation)
        if isinstance(part, type) or get_args(part) or part is Any
    ]
    return {annotation}.union(*(types_of(part) for part in inner))
