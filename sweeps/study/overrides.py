"""Changes to a study before it is checked: `extends`, settings named without their section, and
`--set key=value`.
"""

import copy
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from sweeps.errors import UserError, did_you_mean
from sweeps.study.study_model import PARTS, Sections
from sweeps.study.yaml_file import (
    EntryPath,
    Mistakes,
    check_blanks,
    check_question,
    find_study,
    is_path,
    mapping,
    parse_yaml,
    read_text,
    shown,
    shown_path,
)


def section_of(name: str, sections: Sections) -> str | None:
    """Return the section that has a setting of this name."""
    return next(
        (section for section, model in sections.items() if name in model.model_fields), None
    )


def read_study_file(
    path: Path,
    sections: Sections | None,
    shipped: Path | None,
    data: str | None,
    above: tuple[Path, ...] = (),
    *,
    text: str | None = None,
) -> tuple[dict[str, Any], Mistakes, str]:
    """Read a study and return its content, its mistakes so far and its text; with `extends`, it and
    its parents as one file.

    Without `sections` the entries stay where they stand. `text` is the study where it lies in no
    file; `path` is then its name.
    """
    file = shown_path(path)
    in_file = text is None
    text = read_text(path) if text is None else text
    content, places = parse_yaml(text, file)
    if not in_file:  # its user has seen no lines
        places = dict.fromkeys(places, file)
    if not isinstance(content, dict):
        check_blanks(text, file)
        got = "nothing" if content is None else f"a {type(content).__name__}"
        raise UserError(
            file, f"got {got}; must hold `name: value` lines such as `question:` and `search:`."
        )
    if in_file:
        check_question(text, places.get(("question",), file), content.get("question"))
    mistakes = Mistakes(file, places, text)
    if sections is not None:
        _give_sections(content, sections, mistakes)
    parent = content.pop("extends", None)
    if parent is None:
        return content, mistakes, text
    if not isinstance(parent, str):
        mistakes.add(("extends",), f"got {shown(parent)}; must be the name or path of a study.")
        mistakes.raise_if_any()
    place = mistakes.place(("extends",))[1]
    base_path = path.parent / parent if is_path(parent) else find_study(parent, shipped, place)
    if not base_path.is_file():
        raise UserError(place, f"there is no file {shown_path(base_path)}.")
    files = (*above, path.resolve())
    if base_path.resolve() in files:
        circle = " → ".join(shown_path(link) for link in (*files, base_path.resolve()))
        raise UserError(place, f"got '{parent}', but no study can extend itself: {circle}.")
    base, wrong, _ = read_study_file(base_path, sections, shipped, data, files)
    wrong.raise_if_any()
    content = _extended(base, content, sections or {}, data)
    mistakes.places = wrong.places | places
    whole = yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=120)
    return content, mistakes, f"# {file}, which extends '{parent}', as one file.\n{whole}"


def _give_sections(content: dict[str, Any], sections: Sections, mistakes: Mistakes) -> None:
    """Move each setting that stands at the top level of a file into its section.

    `mistakes` takes names that are unknown or ambiguous, and settings that stand in a section of
    others.
    """
    places = mistakes.places
    for section in sections:
        for key in list(mapping(content.get(section))):
            if (owner := section_of(key, sections)) not in (None, section):
                mistakes.add((section, key), f"unknown setting; '{key}' belongs under '{owner}'.")
                content[section].pop(key)
    for key in [key for key in content if key not in {*sections, *PARTS, "search", "extends"}]:
        value = content.pop(key)
        try:
            path = _bare_path(key, sections)
        except UserError as error:
            mistakes.add((key,), error.problem)
            continue
        if content.get(path[0]) is None:
            content[path[0]] = {}
            places.setdefault(path[:1], places[(key,)])
        section = content[path[0]]
        if isinstance(section, dict) and key in section:
            mistakes.add((key,), f"stands here and under '{path[0]}'; must stand once.")
        elif isinstance(section, dict):
            section[key] = value
            places |= {
                (*path, *old[1:]): place for old, place in places.items() if old[:1] == (key,)
            }


def _extended(
    content: dict[str, Any], changes: dict[str, Any], sections: Sections, data: str | None
) -> dict[str, Any]:
    """Return the parent study's content with the child's changes.

    Mappings are merged entry by entry; everything else, and another form of a searched parameter,
    sampler or pruner, replaces the parent's. `null` removes an entry. As with `--set`, a setting
    that the child fixes leaves the parent's search, and a setting that the child searches is no
    longer fixed. A parameter that the child takes out of the search has its default. Where the
    child changes the section `data`, the published results of the parent's baselines go, because
    they hold for the parent's data.
    """
    if changes.get(data or ""):
        for row in mapping(content.get("baselines")).values():
            mapping(row).pop("published", None)
    searched = {*mapping(content.get("search"))}
    search = mapping(changes.get("search"))
    for section in sections:
        for name, value in mapping(changes.get(section)).items():
            if value is not None:
                _leave_search(content, name, value)
    for name, form in list(search.items()):
        if form is not None:
            _unfix(content, name, sections)
        elif name in searched:
            search.pop(name)
            owner = section_of(name, sections)
            default = sections[owner].model_fields[name].default if owner else None
            _leave_search(content, name, default)
    return _merged(content, changes, ())


def _merged(old: Any, new: Any, path: EntryPath) -> Any:
    if path in (("sampler",), ("pruner",)):
        old, new = ({"name": part} if isinstance(part, str) else part for part in (old, new))
        if (
            isinstance(old, dict)
            and isinstance(new, dict)
            and new.get("name", old.get("name")) != old.get("name")
        ):
            return new
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    if (
        path[:1] == ("search",)
        and len(path) == 2
        and "values" in {*old} ^ {*new}
        and {*new} - {"when"}
    ):
        return new
    merged = {key: value for key, value in old.items() if key not in new or new[key] is not None}
    for key, value in new.items():
        if value is not None or key not in old:
            merged[key] = _merged(old[key], value, (*path, key)) if key in old else value
    return merged


def apply_overrides(
    content: Mapping[str, Any], overrides: Sequence[str], sections: Sections, mistakes: Mistakes
) -> dict[str, Any]:
    """Return a study file's content with the overrides made, in their order.

    - Fixing a setting that is searched takes it out of the search. Conditions on it are settled:
      what depends on another value of it leaves the search too, what depends on this value is
      searched unconditionally.
    - Searching a setting that is fixed takes the fixed value away.
    - A new `sampler.name` or `pruner.name` starts from that one's defaults: options of the old one
      do not carry over.
    - `confirm=null` or `compare=null` switches the part off.

    Args:
        content: the file; not changed.
        overrides: each `section.key=value` or, where the name is unique, `key=value`; the value is
            YAML.
        sections: section → settings model.
        mistakes: takes keys that do not exist or are not unique, and values that are no YAML;
            learns what was changed.
    """
    changed = copy.deepcopy(dict(content))
    paths = set()
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        try:
            if not equals or not key:
                key = override[:80]
                raise UserError("", "must be key=value, as in --set train.epochs=5.")
            path = _path_of(key, sections)
            _apply(changed, path, parse_yaml(text, "")[0], sections)
            paths.add(path)
        except UserError as error:
            mistakes.add_error(UserError(f"--set {key}", error.problem))
    mistakes.overrides = frozenset(paths)
    return changed


def _path_of(key: str, sections: Sections) -> tuple[str, ...]:
    """Return the path of the entry that a key names. Raises `UserError` without a place."""
    head, *rest = _parts_of(key, sections)
    if not rest:
        return (head,) if head in PARTS else _bare_path(head, sections)
    if head in sections:
        fields = sections[head].model_fields
        if rest[0] not in fields or len(rest) > 1:
            raise UserError("", f"unknown setting. {did_you_mean('.'.join(rest), fields)}")
    elif head == "search":
        if section_of(rest[0], sections) is None:
            raise UserError(
                "", f"'{rest[0]}' is no setting. {did_you_mean(rest[0], _setting_names(sections))}"
            )
    elif head not in PARTS:
        hint = did_you_mean(key, [name for name in _setting_names(sections) if "." in name])
        if not hint.startswith("Did"):
            hint = did_you_mean(head, [*sections, *PARTS, "search"])
        raise UserError("", f"unknown section '{head}'. {hint}")
    return (head, *rest)


def _parts_of(key: str, sections: Sections) -> list[str]:
    """Return the parts of a key between its dots; a setting with a dot in its name is one part."""
    for name in _setting_names(sections):
        before, found, after = f".{key}.".partition(f".{name}.")
        if "." in name and found:
            return [*before.split(".")[1:], name, *after.split(".")[:-1]]
    return key.split(".")


def _bare_path(key: str, sections: Sections) -> tuple[str, str]:
    """Return section and name of a setting that is given without its section. Raises `UserError`
    without a place.
    """
    if section := section_of(key, sections):
        return (section, key)
    if key in sections:
        field = next(iter(sections[key].model_fields))
        raise UserError(
            "", f"'{key}' is a section; name one of its settings, as in --set {key}.{field}=…."
        )
    if key == "search":
        raise UserError("", "names no parameter; give one, as in --set search.beta.low=0.1.")
    owners = [part for part, fields in PARTS.items() if key in fields]
    if len(owners) > 1:
        raise UserError(
            "", f"could be {' or '.join(f'{owner}.{key}' for owner in owners)}; give it in full."
        )
    if not owners:
        names = [*_setting_names(sections), *chain.from_iterable(PARTS.values())]
        raise UserError(
            "", f"unknown setting. {did_you_mean(key, [*names, *sections, *PARTS, 'search'])}"
        )
    return (owners[0], key)


def _setting_names(sections: Sections) -> list[str]:
    return list(chain.from_iterable(model.model_fields for model in sections.values()))


def _apply(content: dict[str, Any], path: tuple[str, ...], value: Any, sections: Sections) -> None:
    """Put a value at its path. Raises `UserError` without a place where an entry on the way holds
    no others.
    """
    if path[0] in sections:
        _leave_search(content, path[1], value)
    elif path[0] == "search":
        _unfix(content, path[1], sections)
    elif path[0] in ("sampler", "pruner") and path[-1] == "name":
        path = path[:-1]
        value = {"name": value}
    inner: Any = content
    for depth, part in enumerate(path[:-1], start=1):
        if inner.get(part) is None:
            inner[part] = {}
        elif part in ("sampler", "pruner") and isinstance(inner[part], str):
            inner[part] = {"name": inner[part]}
        inner = inner[part]
        if not isinstance(inner, dict):
            raise UserError(
                "", f"'{'.'.join(path[:depth])}' is {inner!r}, which holds no '{path[depth]}'."
            )
    inner[path[-1]] = value


def _unfix(content: dict[str, Any], name: str, sections: Sections) -> None:
    mapping(content.get(section_of(name, sections) or "")).pop(name, None)


_NEVER = object()
"""The value of a parameter that is never active: no condition allows it."""


def _leave_search(content: dict[str, Any], name: str, value: Any) -> None:
    """Take a parameter out of the search, of the conditions and of the first trials, because it is
    fixed at this value.
    """
    search = mapping(content.get("search"))
    if search.pop(name, None) is None:
        return
    start = content.get("start")
    if isinstance(start, list) and all(isinstance(point, dict) for point in start):
        rest = [{key: number for key, number in point.items() if key != name} for point in start]
        content["start"] = [point for point in rest if point]
    for dependent, form in list(search.items()):
        when = mapping(mapping(form).get("when"))
        if name in when:
            allowed = when.pop(name)
            if value != allowed and not (isinstance(allowed, list) and value in allowed):
                _leave_search(content, dependent, _NEVER)
