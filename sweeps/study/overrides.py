"""Changes to a study before it is checked: `extends`, settings named without their section, and `--set key=value`."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from sweeps.errors import UserError, did_you_mean
from sweeps.study.mistakes import Mistakes
from sweeps.study.study_model import PARTS
from sweeps.study.yaml_file import Document, EntryPath, parse_yaml

Sections = Mapping[str, type[BaseModel]]


def section_of(name: str, sections: Sections) -> str | None:
    """The section that has a setting of this name."""
    return next((section for section, model in sections.items() if name in model.model_fields), None)


def setting_names(sections: Iterable[type[BaseModel]]) -> list[str]:
    """The names of all settings."""
    return [field for model in sections for field in model.model_fields]


def give_sections(document: Document, sections: Sections, mistakes: Mistakes) -> None:
    """Move each setting that stands at the top level of a file into its section.

    `mistakes` takes names that are unknown or ambiguous, and settings that stand in a section of others.
    """
    content = document.content
    for section in sections:
        given = content.get(section)
        for key in list(given) if isinstance(given, dict) else ():
            if (owner := section_of(key, sections)) not in (None, section):
                mistakes.add((section, key), f"unknown setting; '{key}' belongs under '{owner}'.")
                given.pop(key)
    for key in [key for key in content if key not in {*sections, *PARTS, "search", "extends"}]:
        value = content.pop(key)
        try:
            path = _bare_path(key, sections)
        except UserError as error:
            mistakes.add((key,), error.problem)
            continue
        if content.get(path[0]) is None:
            content[path[0]] = {}
            document.places.setdefault(path[:1], document.places[(key,)])
        section = content[path[0]]
        if isinstance(section, dict) and key in section:
            mistakes.add((key,), f"stands here and under '{path[0]}'; must stand once.")
        elif isinstance(section, dict):
            section[key] = value
            for old in [old for old in document.places if old[:1] == (key,)]:
                document.places[(*path, *old[1:])] = document.places[old]


def extended(parent: Document, child: Document, sections: Sections, data: str | None = None) -> Document:
    """The parent study with the child's changes.

    Mappings are merged entry by entry; everything else, and another form of a searched parameter, sampler or pruner,
    replaces the parent's. `null` removes an entry. As with `--set`, a setting that the child fixes leaves the parent's
    search, and a setting that the child searches is no longer fixed. Where the child changes the section `data`, the
    published results of the parent's baselines go, because they hold for the parent's data.
    """
    content = copy.deepcopy(parent.content)
    rows = content.get("baselines")
    for row in rows.values() if child.content.get(data or "") and isinstance(rows, dict) else ():
        if isinstance(row, dict):
            row.pop("published", None)
    for section in sections:
        fixed = child.content.get(section)
        for name, value in (fixed if isinstance(fixed, dict) else {}).items():
            if value is not None:
                _leave_search(content, name, value)
    searched = child.content.get("search")
    for name in searched if isinstance(searched, dict) else ():
        _unfix(content, name, sections)
    content.pop("extends", None)
    return Document(_merged(content, child.content, ()), {**parent.places, **child.places})


def _merged(old: Any, new: Any, path: EntryPath) -> Any:
    if path and path[0] in ("sampler", "pruner"):
        old, new = ({"name": each} if isinstance(each, str) else each for each in (old, new))
        if isinstance(old, dict) and isinstance(new, dict) and new.get("name", old.get("name")) != old.get("name"):
            return new
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    if path[:1] == ("search",) and len(path) == 2 and "values" in {*old} ^ {*new} and {*new} - {"when"}:
        return new
    merged = {key: value for key, value in old.items() if key not in new or new[key] is not None}
    for key, value in new.items():
        if value is not None or key not in old:
            merged[key] = _merged(old[key], value, (*path, key)) if key in old else value
    return merged


def apply_overrides(
    raw: Mapping[str, Any], overrides: Sequence[str], sections: Sections, mistakes: Mistakes
) -> tuple[dict[str, Any], frozenset[EntryPath]]:
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
        mistakes: takes keys that do not exist or are not unique, and values that are no YAML.
    """
    changed, paths = copy.deepcopy(dict(raw)), set()
    for override in overrides:
        try:
            paths.add(_apply(changed, override, sections))
        except UserError as error:
            mistakes.add_error(error)
    return changed, frozenset(paths)


def _apply(changed: dict[str, Any], override: str, sections: Sections) -> EntryPath:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UserError(f"--set {override[:80]}", "must be key=value, as in --set train.epochs=5.")
    path = _resolve(key, sections)
    value = parse_yaml(text, f"--set {key}", lines=False).content
    if path[0] in sections:
        _leave_search(changed, path[-1], value)
    elif path[0] == "search":
        _unfix(changed, path[1], sections)
    if path[0] in ("sampler", "pruner") and path[-1] == "name":
        _put(changed, path[:-1], {"name": value}, f"--set {key}")
    else:
        _put(changed, path, value, f"--set {key}")
    return path


def _resolve(key: str, sections: Sections) -> tuple[str, ...]:
    path = tuple(key.split("."))
    place = f"--set {key}"
    if len(path) == 1:
        if key in PARTS:
            return path
        try:
            return _bare_path(key, sections)
        except UserError as error:
            raise UserError(place, error.problem) from None
    head, name = path[0], path[1]
    if head in sections:
        fields = sections[head].model_fields
        if name not in fields or len(path) > 2:
            raise UserError(place, f"unknown setting. {did_you_mean('.'.join(path[1:]), fields)}")
    elif head == "search":
        if section_of(name, sections) is None:
            raise UserError(place, f"'{name}' is no setting. {did_you_mean(name, setting_names(sections.values()))}")
    elif head not in PARTS:
        raise UserError(place, f"unknown section '{head}'. {did_you_mean(head, [*sections, *PARTS, 'search'])}")
    return path


def _bare_path(key: str, sections: Sections) -> tuple[str, ...]:
    """Section and name of a setting that is given without its section. Raises `UserError` without a place."""
    if section := section_of(key, sections):
        return (section, key)
    if key in sections:
        field = next(iter(sections[key].model_fields))
        raise UserError("", f"'{key}' is a section; name one of its settings, as in --set {key}.{field}=….")
    if key == "search":
        raise UserError("", "names no parameter; give one, as in --set search.beta.low=0.1.")
    owners = [part for part, fields in PARTS.items() if key in fields]
    if len(owners) > 1:
        raise UserError("", f"could be {' or '.join(f'{owner}.{key}' for owner in owners)}; give it in full.")
    if not owners:
        known = [*setting_names(sections.values()), *(name for fields in PARTS.values() for name in fields)]
        raise UserError("", f"unknown setting. {did_you_mean(key, [*known, *sections, *PARTS, 'search'])}")
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


def _unfix(raw: dict[str, Any], name: str, sections: Sections) -> None:
    fixed = raw.get(section_of(name, sections) or "")
    if isinstance(fixed, dict):
        fixed.pop(name, None)


def _put(raw: dict[str, Any], path: tuple[str, ...], value: Any, place: str) -> None:
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
