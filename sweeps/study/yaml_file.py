"""Find a study file and read its YAML strictly: YAML 1.2 scalars, no duplicate keys, the line of every entry."""

import copy
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml import events

from sweeps.errors import UserError, did_you_mean

EntryPath = tuple[str | int, ...]
"""Keys and indices that lead to an entry: `("search", "beta", "low")`."""

PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+")
MOST_BYTES = 1_000_000
MOST_ENTRIES = 100_000
DEEPEST = 20
MOST_DIGITS = 40


def known_studies(shipped: Path | None) -> dict[str, Path]:
    """Name → file: those of `./studies`, then the shipped ones that these do not hide, each by name."""
    files: dict[str, Path] = {}
    for folder in filter(None, (Path("studies"), shipped)):
        for path in sorted(folder.glob("*.y*ml")):
            if path.suffix in (".yaml", ".yml"):
                files.setdefault(path.stem, path)
    return files


def is_path(given: str) -> bool:
    """Whether a study is given by path: the text ends in .yaml or .yml, or has a separator."""
    return given.endswith((".yaml", ".yml")) or any(mark and mark in given for mark in (os.sep, os.altsep))


def find_study(given: str, shipped: Path | None, place: str = "--study") -> Path:
    """The file of a study given by path or by name.

    Raises:
        UserError: no file has this path or name. The message names the nearest known study and the folders searched.
    """
    known = known_studies(shipped)
    if is_path(given):
        path = Path(given)
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "no such file"
            raise UserError(given, f"{kind}; must be a study file. {did_you_mean(path.stem, known)}")
    elif given in known:
        path = known[given]
    else:
        folders = [shown_path(folder) for folder in (Path("studies"), shipped) if folder is not None]
        looked = " and ".join(dict.fromkeys(folders))
        raise UserError(place, f"unknown study '{given}', looked in {looked}. {did_you_mean(given, known)}")
    if not PLAIN_NAME.fullmatch(path.stem):
        raise UserError(shown_path(path), f"got '{path.stem}' as name; must be letters, digits, '_' and '-' only.")
    return path


def shown_path(path: Path) -> str:
    """The path as a user knows it: relative to the current folder if it lies inside."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file. Raises `UserError` with the reason why not."""
    shown = shown_path(path)
    try:
        content = path.read_bytes() if path.stat().st_size <= MOST_BYTES else None
        if content is None:
            raise UserError(shown, f"is too large; a study file has at most {MOST_BYTES:,} bytes.")
        return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise UserError(shown, f"cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(shown, f"is not UTF-8 text (byte {error.start}).") from None


@dataclass
class Document:
    """The content of a YAML text, and the place of each entry."""

    content: Any
    places: dict[EntryPath, str] = field(default_factory=dict)
    """Path → `studies/x.yaml:12`."""


def parse_yaml(text: str, place: str, *, lines: bool = True) -> Document:
    """Read YAML. No tag is followed, so no text can make an object or run code. `lines`: places have line numbers.

    Raises:
        UserError: the text is no YAML, a key stands twice, or a limit of this module is passed; names the line.
    """
    escaped = place.replace("{", "{{").replace("}", "}}")
    reader = _Reader(text, f"{escaped}:{{}}" if lines else escaped)
    try:
        return Document(reader.document(), reader.places)
    except (yaml.YAMLError, UnicodeError) as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "holds a control character")
        column = f"column {mark.column + 1}: " if mark else ""
        raise UserError(reader.at(mark.line) if mark else place, f"{column}{problem}.") from None


_NULL = re.compile(r"~|null|")
_BOOL = re.compile(r"true|false")
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


class _Reader:
    """Builds plain Python values from the parser's events.

    The scalars are those of YAML 1.2: PyYAML's own constructor reads YAML 1.1, in which `1e-4` is a string and `no`
    is false. ruamel.yaml, the usual alternative, reads `1_000` as a number and `2001-01-01` as a date in its 1.2 mode.
    """

    def __init__(self, text: str, place: str) -> None:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._events: Iterator[events.Event] = yaml.parse(text, Loader=loader)
        self._place = place  # {} stands for the line
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

    def at(self, line: int) -> str:
        """The place of a line, counted from 0."""
        return self._place.format(line + 1)

    def _place_of(self, event: events.Event) -> str:
        return self.at(event.start_mark.line if event.start_mark else 0)

    def _error(self, event: events.Event, problem: str) -> UserError:
        return UserError(self._place_of(event), f"{problem}.")

    def _value(self, event: events.Event, path: EntryPath) -> Any:
        self.places.setdefault(path, self._place_of(event))
        before = self._entries
        self._entries += 1
        if isinstance(event, events.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._error(event, f"'*{event.anchor}' repeats an entry that is not complete above")
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
            self.places[(*path, key.value)] = self._place_of(key)
            value[key.value] = self._value(next(self._events), (*path, key.value))
        return value

    def _check_tag(self, event: Any, plain: str) -> None:
        if event.tag not in (None, "!", f"tag:yaml.org,2002:{plain}"):
            raise self._error(event, f"the tag {event.tag.removeprefix('tag:yaml.org,2002:')} is not read; drop it")

    def _scalar(self, event: events.ScalarEvent) -> Any:
        self._check_tag(event, "str")
        text = event.value
        if not event.implicit[0] or event.tag is not None:
            return text
        if _NULL.fullmatch(text):
            return None
        if _BOOL.fullmatch(text):
            return text == "true"
        if _INT.fullmatch(text):
            if len(text) > MOST_DIGITS:
                raise self._error(event, f"a whole number of {len(text):,} digits; at most {MOST_DIGITS} are read")
            return int(text)
        return float(text) if _FLOAT.fullmatch(text) else text
