"""`--set key=value`: changes to a study file from the command line, made before it is checked."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from sweeps.errors import UserError, did_you_mean
from sweeps.study.search_section import section_of
from sweeps.study.yaml_file import parse_yaml

Path = tuple[str, ...]


def apply_overrides(
    raw: Mapping[str, Any],
    overrides: Sequence[str],
    sections: Mapping[str, type[BaseModel]],
    parts: Mapping[str, Iterable[str]],
) -> tuple[dict[str, Any], frozenset[Path]]:
    """A study file's content with the overrides made, in their order, and the paths that they changed.

    - Fixing a setting that is searched takes it out of the search. Conditions on it are settled: what depends on
      another value of it leaves the search too, what depends on this value is searched unconditionally.
    - Searching a setting that is fixed takes the fixed value away.
    - A new `sampler.name` or `pruner.name` starts from that one's defaults: options of the old one do not carry over.
    - `confirm=null` or `compare=null` switches the part off.

    Args:
        raw: the file; not changed.
        overrides: each `section.key=value` or, where the name is unique, `key=value`; the value is YAML.
        sections: section → settings model.
        parts: the other top-level keys → names of their fields that can be given without the prefix.

    Raises:
        UserError: for a key that does not exist or is not unique, or a value that is no YAML.
    """
    changed, paths = copy.deepcopy(dict(raw)), set()
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UserError(f"--set {override}", "should be key=value, as in --set train.epochs=5.")
        path = _resolve(key, sections, parts)
        value = parse_yaml(text, f"--set {key}")
        if path[0] in sections:
            _leave_search(changed, path[-1], value)
        elif path[0] == "search":
            _unfix(changed, path[1], sections)
        if path[0] in ("sampler", "pruner") and path[-1] == "name":
            path, value = path[:-1], {"name": value}
            paths.add((*path, "name"))
        else:
            paths.add(path)
        _put(changed, path, value, f"--set {key}")
    return changed, frozenset(paths)


def _resolve(key: str, sections: Mapping[str, type[BaseModel]], parts: Mapping[str, Iterable[str]]) -> Path:
    path = tuple(key.split("."))
    place = f"--set {key}"
    if len(path) == 1:
        return _resolve_bare(key, place, sections, parts)
    head, name = path[0], path[1]
    if head in sections:
        fields = sections[head].model_fields
        if name not in fields or len(path) > 2:
            raise UserError(place, f"unknown setting. {did_you_mean('.'.join(path[1:]), fields)}")
    elif head == "search":
        if section_of(name, sections) is None:
            fields = [field for model in sections.values() for field in model.model_fields]
            raise UserError(place, f"'{name}' is no setting. {did_you_mean(name, fields)}")
    elif head not in parts:
        raise UserError(place, f"unknown section '{head}'. {did_you_mean(head, [*sections, *parts, 'search'])}")
    return path


def _resolve_bare(
    key: str, place: str, sections: Mapping[str, type[BaseModel]], parts: Mapping[str, Iterable[str]]
) -> Path:
    section = section_of(key, sections)
    if section is not None:
        return (section, key)
    if key in parts:
        return (key,)
    if key in sections:
        field = next(iter(sections[key].model_fields))
        raise UserError(place, f"'{key}' is a section; name one of its settings, as in --set {key}.{field}=….")
    owners = [part for part, fields in parts.items() if key in fields]
    if len(owners) > 1:
        raise UserError(place, f"could be {' or '.join(f'{owner}.{key}' for owner in owners)}; give it in full.")
    if not owners:
        known = [field for model in sections.values() for field in model.model_fields]
        known += [name for fields in parts.values() for name in fields]
        raise UserError(place, f"unknown setting. {did_you_mean(key, [*known, *parts])}")
    return (owners[0], key)


def _leave_search(raw: dict[str, Any], name: str, value: Any) -> None:
    search = raw.get("search")
    if not isinstance(search, dict) or search.pop(name, None) is None:
        return
    _drop_from_start(raw, name)
    for dependent, given in list(search.items()):
        when = given.get("when") if isinstance(given, dict) else None
        if not isinstance(when, dict) or name not in when:
            continue
        allowed = when.pop(name)
        if value != allowed and not (isinstance(allowed, list) and value in allowed):
            _drop(search, dependent)


def _drop_from_start(raw: dict[str, Any], name: str) -> None:
    """First trials differ no longer in a parameter that is fixed; those that say nothing else go."""
    start = raw.get("start")
    if isinstance(start, list) and all(isinstance(point, dict) for point in start):
        rest = [{key: value for key, value in point.items() if key != name} for point in start]
        raw["start"] = [point for point in rest if point]


def _drop(search: dict[str, Any], name: str) -> None:
    """Take a parameter out that can never be active, and all that depends on it."""
    search.pop(name, None)
    for dependent, given in list(search.items()):
        when = given.get("when") if isinstance(given, dict) else None
        if isinstance(when, dict) and name in when:
            _drop(search, dependent)


def _unfix(raw: dict[str, Any], name: str, sections: Mapping[str, type[BaseModel]]) -> None:
    fixed = raw.get(section_of(name, sections))
    if isinstance(fixed, dict):
        fixed.pop(name, None)


def _put(raw: dict[str, Any], path: Path, value: Any, place: str) -> None:
    inner: Any = raw
    for depth, part in enumerate(path[:-1], start=1):
        if inner.get(part) is None:
            inner[part] = {}
        elif part in ("sampler", "pruner") and isinstance(inner[part], str):
            inner[part] = {"name": inner[part]}
        inner = inner[part]
        if not isinstance(inner, dict):
            raise UserError(place, f"'{'.'.join(path[:depth])}' is {inner!r}, which holds no '{path[depth]}'.")
    inner[path[-1]] = value
