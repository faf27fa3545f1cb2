"""Find a study file, parse its YAML strictly, and check each part against a pydantic model."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from sweeps.errors import UserError, did_you_mean

PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]+")


def known_studies(shipped: Path | None) -> dict[str, Path]:
    """Name → file: those of `./studies`, then the shipped ones that these do not hide, each by name."""
    folders = [Path("studies")] + ([shipped] if shipped is not None else [])
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.y*ml")):
            if path.suffix in (".yaml", ".yml"):
                found.setdefault(path.stem, path)
    return found


def find_study(given: str, shipped: Path | None) -> Path:
    """The file of a study given by path (ends in .yaml or .yml, or has a separator) or by name.

    Raises:
        UserError: there is none; names the nearest known study and where it looked.
    """
    if given.endswith((".yaml", ".yml")) or any(mark and mark in given for mark in (os.sep, os.altsep)):
        path = Path(given)
        if not path.is_file():
            near = did_you_mean(path.stem, known_studies(shipped))
            raise UserError(given, f"{'a folder' if path.is_dir() else 'no such file'}; should be a study file. {near}")
    else:
        known = known_studies(shipped)
        if given not in known:
            folders = [shown_path(folder) for folder in (Path("studies"), shipped) if folder is not None]
            looked = " and ".join(dict.fromkeys(folders))
            raise UserError("--study", f"unknown study '{given}', looked in {looked}. {did_you_mean(given, known)}")
        path = known[given]
    if not PLAIN_NAME.fullmatch(path.stem):
        raise UserError(shown_path(path), f"got '{path.stem}' as name; should be letters, digits, '_' and '-' only.")
    return path


def shown_path(path: Path) -> str:
    """The path as a user knows it: relative to the current folder where it is inside."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


def read_text(path: Path, shown: str) -> str:
    """The text of a UTF-8 file. Raises `UserError` with the reason why not."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(shown, f"cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(shown, f"is not UTF-8 text (byte {error.start}).") from None


Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Source:
    """Where settings come from, to name the place of a mistake."""

    file: str
    """The study file, as shown to the user."""
    overrides: frozenset[tuple[str, ...]] = field(default_factory=frozenset)
    """Paths, as `("train", "epochs")`, that came from `--set`."""

    def place(self, path: str) -> str:
        """`train.epochs` → `studies/x.yaml: train.epochs`, or `--set train.epochs` where that is what was given."""
        parts = tuple(path.split("."))
        if any(parts[: len(override)] == override for override in self.overrides):
            return f"--set {path}"
        return f"{self.file}: {path}" if path else self.file

    def error(self, path: str, problem: str) -> UserError:
        """The error to raise for something wrong at `path`."""
        return UserError(self.place(path), problem)

    @contextmanager
    def located(self) -> Iterator[None]:
        """Errors raised inside name a path only (`search.beta`); add where it is."""
        try:
            yield
        except UserError as error:
            raise self.error(error.place, error.problem) from None


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars and no duplicate keys.

    PyYAML reads YAML 1.1, in which `1e-4` is a string, `no` is false, `010` is 8 and `1:30` is 90.
    """

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a plain word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' stands there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(~|null|)$"), ["~", "n", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))
_Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(loader.construct_scalar(node)))


def parse_yaml(text: str, place: str) -> Any:
    """Read YAML safely.

    Raises:
        UserError: when it is no YAML or a key stands twice; names line and column.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(place, f"{where}{problem}") from None


def refuse_unknown(given: Mapping[Any, Any], known: Iterable[str], path: str, source: Source, *, noun: str) -> None:
    """Raise `UserError` for the first key that is not known, with the nearest one that is."""
    known = list(known)
    for key in given:
        if key not in known:
            raise source.error(_joined(path, key), f"unknown {noun}. {did_you_mean(str(key), known)}")


def read_mapping(content: Any, path: str, source: Source) -> dict[str, Any]:
    """The section at `path` as a dict; nothing at all is an empty one."""
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise source.error(path, f"got {_shown(content)}; a section holds `name: value` lines.")
    return content


def read_model(model: type[Model], content: Any, path: str, source: Source, *, noun: str = "setting") -> Model:
    """Validate a section.

    Raises:
        UserError: for the first thing that is wrong: its place, the value got and what is allowed.
    """
    content = read_mapping(content, path, source)
    refuse_unknown(content, model.model_fields, path, source, noun=noun)
    for name, value in content.items():
        # pydantic would take `true` for 1
        if isinstance(value, bool) and bool not in _types(model.model_fields[name].annotation):
            raise source.error(_joined(path, name), f"got {_shown(value)}; should be {_wanted(model, name)}.")
    try:
        return model.model_validate(content)
    except ValidationError as errors:
        error = errors.errors(include_url=False)[0]
        location = ".".join(str(part) for part in error["loc"] if isinstance(part, int) or part in model.model_fields)
        raise source.error(_joined(path, location), _sentence(error)) from None


def read_named(table: Mapping[str, type[Model]], content: Any, path: str, source: Source, *, noun: str) -> Model:
    """A section that picks an entry of a table by `name` and gives its options; a bare name will do."""
    content = {"name": content} if isinstance(content, str) else read_mapping(content, path, source)
    name = content.get("name")
    if name is None:
        raise source.error(f"{path}.name", f"the name of the {noun} is missing. Known: {', '.join(table)}.")
    if name not in table:
        raise source.error(f"{path}.name", f"unknown {noun} {_shown(name)}. {did_you_mean(str(name), table)}")
    return read_model(table[name], content, path, source, noun=f"option of {noun} '{name}'")


def _joined(*parts: Any) -> str:
    return ".".join(str(part) for part in parts if part != "")


def _sentence(error: Mapping[str, Any]) -> str:
    message, got = error["msg"], _shown(error["input"])
    if error["type"] == "value_error":
        return message.removeprefix("Value error, ")
    if error["type"] == "missing":
        return "is missing."
    message = message.split(", unable")[0].split(", got")[0].replace("Input should", "should", 1)
    message = message.replace("valid integer", "whole number").replace("valid number", "number")
    sentence = f"got {got}; {message[:1].lower()}{message[1:]}."
    if error["type"] == "literal_error":
        known = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        hint = did_you_mean(str(error["input"]), known)
        return f"{sentence} {hint}" if hint.startswith("Did") else sentence
    return sentence


def _types(annotation: Any) -> set[Any]:
    return {annotation}.union(
        *(_types(inner) for inner in get_args(annotation) if isinstance(inner, type) or get_args(inner))
    )


def _wanted(model: type[BaseModel], name: str) -> str:
    types = _types(model.model_fields[name].annotation)
    return "a whole number" if int in types else "a number" if float in types else "text"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else repr(value)
