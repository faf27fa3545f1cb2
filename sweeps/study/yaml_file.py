"""A study file as text: found, read as strict YAML 1.2 with the line of every entry, its mistakes
listed with their lines.

The base of the pydantic models of its parts stands here, too, because all of them share it.
"""

import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

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

from sweeps.errors import UserError, did_you_mean
from sweeps.names import check_name

EntryPath = tuple[str | int, ...]
"""Keys and indices that lead to an entry: `("search", "beta", "low")`."""

MOST_ENTRIES = 100_000
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
        folders = map(shown_path, filter(None, (Path("studies"), shipped)))
        looked = " and ".join(dict.fromkeys(folders))
        here = f"{name}.yaml"
        hint = f"Did you mean './{here}'?" if os.path.isfile(here) else did_you_mean(name, files)
        raise UserError(option, f"unknown study '{name}', looked in {looked}. {hint}")
    check_name(path.stem, shown_path(path))
    return path


def shown_path(path: Path) -> str:
    """Return the path as a user knows it: relative to the current folder if it lies inside."""
    absolute = path.absolute()
    here = Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file. Raises `UserError` with the reason why not."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(shown_path(path), f"cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(shown_path(path), f"is not UTF-8 text (byte {error.start}).") from None


class _Loader(yaml.SafeLoader):
    """Reads the scalars of YAML 1.2. PyYAML alone reads YAML 1.1, in which `1e-4` is a text and
    `no` is false.
    """

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {}  # type: ignore[misc]


_TAG = "tag:yaml.org,2002:"
for _kind, _pattern in {
    "null": r"~|null|",
    "bool": r"true|false",
    "int": r"[-+]?[0-9]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
}.items():
    _Loader.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(f"^(?:{_pattern})$"), None)

_SCALARS: Mapping[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: text == "true",
    "int": int,
    "float": float,
    "str": str,
}
"""Kind of a scalar → the function that makes its value of its text."""


def parse_yaml(text: str, file: str) -> tuple[Any, dict[EntryPath, str]]:
    """Return the content of a YAML text, and the place of each entry: path → `studies/x.yaml:12`,
    where `file` is before `:`.

    No tag is followed, so no text can make an object or run code.

    Raises:
        UserError: the text is no YAML, or a key stands twice; names the line.
    """
    places: dict[EntryPath, str] = {}
    try:
        node = yaml.compose(text, Loader=_Loader)
        return (None if node is None else _value_of(node, (), file, places)), places
    except yaml.YAMLError as error:
        check_blanks(text, file)
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or "holds a control character"
        if "'\\t'" in problem:
            problem = "got a tab; must be spaces. Replace the tab by spaces"
        if "mapping values" in problem or "expected ':'" in problem:
            problem += ". Write `name: value` with a space, and texts with a colon in quotes"
        place, column = (_place(file, mark), f"column {mark.column + 1}: ") if mark else (file, "")
        raise UserError(place, f"{column}{problem}.") from None
    except RecursionError:
        raise UserError(file, "is nested too deep, or an entry repeats itself.") from None


_BLANK = re.compile(
    r"^(?!question: )[^#\n]*?([\u00a0\u1680\u2000-\u200d\u202f\u205f\u2060\u3000])", re.M
)


def check_blanks(text: str, file: str) -> None:
    """Raise `UserError` at the first blank that looks like a space and is none, as web pages and
    word processors have. In comments and in the question it is text.
    """
    if found := _BLANK.search(text):
        column = found.start(1) - found.start() + 1
        line = text.count("\n", 0, found.start()) + 1
        raise UserError(
            f"{file}:{line}",
            f"column {column}: got the blank '{unicodedata.name(found[1]).lower()}', which YAML "
            "reads as a letter; must be a plain space. Replace it by a space, or delete it.",
        )


def check_question(text: str, place: str, question: Any) -> None:
    """Raise `UserError` where a `#` cuts the question short. `question` is what was read.

    A comment after a complete sentence, or after two spaces, is meant as one.
    """
    found = re.search(r"^question: +([^\s\"'|>#](?:(?! #).)*(?<![\s.?!]) )?#", text, re.M)
    if found and (found[1] or not question):
        problem = f"got {shown(question)}, because a space and `#` begin a comment; must be whole"
        raise UserError(f"{place}: question", f"{problem}. Put the question in quotes.")


def _place(file: str, mark: Any) -> str:
    return f"{file}:{mark.line + 1}"


def _value_of(node: yaml.Node, path: EntryPath, file: str, places: dict[EntryPath, str]) -> Any:
    """Return the value of a node of the YAML text; `places` gets the lines of all entries in it."""
    place = _place(file, node.start_mark)
    places.setdefault(path, place)
    if len(places) > MOST_ENTRIES:
        raise UserError(place, f"more than {MOST_ENTRIES:,} entries.")
    kind = node.tag.removeprefix(_TAG)
    if kind not in (*_SCALARS, "seq", "map"):
        raise UserError(place, f"the tag {kind} is not read; drop it.")
    if isinstance(node, yaml.SequenceNode):
        return [
            _value_of(item, (*path, index), file, places) for index, item in enumerate(node.value)
        ]
    if not isinstance(node, yaml.MappingNode):
        if kind == "int" and len(node.value) > MOST_DIGITS:
            raise UserError(place, f"a whole number has at most {MOST_DIGITS} digits.")
        return _SCALARS[kind](node.value)
    value: dict[str, Any] = {}
    for key, item in node.value:
        at = _place(file, key.start_mark)
        if not isinstance(key, yaml.ScalarNode):
            raise UserError(at, "a key must be a plain word.")
        if key.value in value:
            raise UserError(at, f"'{key.value}' is listed twice.")
        places[(*path, key.value)] = at
        value[key.value] = _value_of(item, (*path, key.value), file, places)
    return value


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
    text: str = ""
    """The text of the file."""
    overrides: frozenset[EntryPath] = frozenset()
    """Paths, as `("train", "epochs")`, that came from `--set`."""
    _lines: dict[str, str] = field(default_factory=dict)
    """Text of a mistake → its place without the path, for sorting."""

    def __len__(self) -> int:
        return len(self._lines)

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
        their number; or for a blank that is no space, because it may cause them.
        """
        if self._lines:
            check_blanks(self.text, self.file)
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
            names = {int: "a whole number", float: "a number"}
            kind = next((name for each, name in names.items() if each in types), "text")
            raise PydanticCustomError("truth", "must be {kind}", {"kind": kind})
        return value


def named(table: Mapping[str, type[BaseModel]]) -> Any:
    """Make the type of an entry of a table: its `name` and options, or its name alone."""

    def name_of(value: Any) -> str:
        name = value.get("name") if isinstance(value, dict) else getattr(value, "name", "")
        return name if isinstance(name, str) else ""

    def read(value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        return {} if value is None else value

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
