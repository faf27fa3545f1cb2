"""What defines a study: how its file differs from its record, and the stage that begins with it."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optuna.distributions import check_distribution_compatibility

from sweeps.errors import UserError
from sweeps.program import program
from sweeps.schema import VERSION
from sweeps.state.record import StudyRecord
from sweeps.state.stages import Stage
from sweeps.storage.study_record import json_able
from sweeps.study.space import Space

if TYPE_CHECKING:
    from sweeps.study.study import Study

_EXTENDABLE = (
    "search",
    "sampler",
    "pruner",
    "confirm",
    "compare",
    "baselines",
    "start",
    "learn_from",
    "longest_warmup",
)
"""Entries of `Study.spec` that `extend` may change, besides the fixed settings."""


def check_definition(stored: StudyRecord, study: "Study", *, extend: bool) -> None:
    """Raise UserError where a study is stored with another definition, and `extend` is not given or
    cannot work. `study`: as `keep_figures` returns it.
    """
    old = with_new_settings(stored.spec, study)
    new = json_able(study.spec())
    if not old or not (differences := spec_differences(old, new)):
        return
    shown = "".join(f"\n  {line}" for _, line in difference_lines(stored, study))
    broken = ""
    unlike = [
        path for path in differences if path.partition(".")[0] not in {*_EXTENDABLE, *study.fixed}
    ]
    if unlike:
        broken = f"{unlike[0]} differs, and trials of one ranking share it"
    elif extend:
        _check_goes_on(old.get("search") or {}, study)
    if extend and not broken:
        return
    problem = "exists with another definition (stored → file)"
    remedy = "Use `--name NEW` for a new study"
    if extend:
        problem = f"cannot be extended, for {broken}; its trials would no longer fit"
    elif not broken:
        remedy += ", or `--extend` to continue this one with the new file"
    raise UserError(f"study '{study.name}'", f"{problem}:{shown}\n{remedy}.")


def _check_goes_on(old: Mapping[str, Any], study: "Study") -> None:
    """Raise UserError where the sampler, or a range that grows, cannot go on in the space of a
    file, which has changed from the `old` one.
    """
    changed = [name for name, own in study.space.as_dict().items() if own != old.get(name)]
    changed += old.keys() - {*study.space.names}
    growing = [name for name in changed if name in study.space.names and study.space[name].grow]
    growing = [name for name in growing if old.get(name, {}).get("grow")]
    if changed and study.sampler.one_space:
        problem = (
            f"sampler '{study.sampler.name}' stays in the space of its first generation, and "
            f"search.{changed[0]} has changed. --set sampler.name=tpe --extend goes on with the "
            "new file; --name NEW begins a new study."
        )
        raise UserError(f"study '{study.name}'", problem)
    if growing:
        problem = (
            f"search.{growing[0]} is a range that grows from the ends with which it began, and "
            f"these have changed. --set search.{growing[0]}.grow=false --extend goes on with the "
            "new range; --name NEW begins a new study."
        )
        raise UserError(f"study '{study.name}'", problem)


def difference_lines(stored: StudyRecord, study: "Study") -> Iterator[tuple[str, str]]:
    """Yield path and line of each difference between a record and a study file; one of a default
    says so, and how to keep its old value.

    It is of a default if neither the present study file nor the stored one, nor its command, names
    the setting.
    """
    old = with_new_settings(stored.spec, study)
    differences = spec_differences(old, json_able(study.spec()))
    command = stored.provenance.get("command", "")
    named = {*re.findall(r"[\w.]+", f"{stored.text} {command}")}
    before = stored.provenance.get("versions", {}).get(program().name, "an earlier version")
    for path, (old_value, new_value) in differences.items():
        line = f"{path}: {_json_text(old_value)} → {_json_text(new_value)}"
        section, _, name = path.partition(".")
        searched = name in study.space.names
        named |= study.fixed[section].model_fields_set if section in study.fixed else set()
        if section in study.fixed and not searched and name not in named:
            keep = shlex.quote(f"{path}={json.dumps(old_value, ensure_ascii=False)}")
            line += (
                f", the default of {program().name} {before} → {VERSION}. Keep it with --set {keep}"
            )
        yield path, line


def keep_figures(
    stored: StudyRecord, study: "Study", *, extend: bool
) -> tuple["Study", tuple[str, ...]]:
    """Return the study with the settings of figures (`Study.figures`) that its record has, so that
    all its runs are measured alike, and a line for each that changes thereby. With `extend`, those
    that the study file names are taken from it.
    """
    lines = []
    fixed = dict(study.fixed)
    for section, settings in study.fixed.items():
        before = stored.spec.get(section) or {}
        now = settings.model_dump(mode="json")
        named = settings.model_fields_set if extend else set()
        kept = {
            name: before[name]
            for name in sorted(study.figures & before.keys() & now.keys() - named)
            if before[name] != now[name]
        }
        for name, value in kept.items():
            other = f"{_json_text(now[name])} of the file; --extend takes that for new runs"
            if name not in settings.model_fields_set:
                other = f"{_json_text(now[name])}, the default of {program().name} {VERSION}"
            lines.append(f"{section}.{name} stays {_json_text(value)}, as on record, not {other}.")
        if kept:
            written = settings.model_dump(exclude_unset=True)
            fixed[section] = type(settings).model_validate(written | kept)
    return replace(study, fixed=fixed), tuple(lines)


def with_new_settings(spec: Mapping[str, Any], study: "Study") -> dict[str, Any]:
    """Return a stored definition with the settings that the version of its workload did not have
    yet, at their defaults.
    """
    completed = dict(spec)
    searched = {*study.space.names, *(spec.get("search") or {})}
    for section, settings in study.fixed.items():
        if section in spec:
            model = type(settings)
            optional = {
                name for name, field in model.model_fields.items() if not field.is_required()
            }
            defaults = model.model_construct().model_dump(mode="json", include=optional - searched)
            completed[section] = defaults | spec[section]
    return completed


def spec_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what differs between two results of `Study.spec`, as `search.beta.high` → (10, 5);
    wording apart.
    """
    return dict(_differences(_without_wording(old), _without_wording(new), ""))


def _without_wording(spec: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in spec.items() if key not in ("name", "question")}
    baselines = {
        name: {key: value for key, value in row.items() if key not in ("title", "published")}
        for name, row in (spec.get("baselines") or {}).items()
    }
    return {**rest, "baselines": baselines} if baselines else rest


def _differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        if old != new:
            yield path, (old, new)
        return
    for key in [*old, *(key for key in new if key not in old)]:
        yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))


def _json_text(value: Any) -> str:
    return "absent" if value is None else json.dumps(value, ensure_ascii=False).replace('"', "")


# ---- stages ----


def next_stages(stored: StudyRecord, study: "Study", begun: Stage) -> tuple[Stage, ...]:
    """Return the stages of a study that goes on with this file; none where it has had one
    definition of its trials alone.

    A stage in which no trial began is replaced.

    Args:
        begun: the stage that the file begins, without its definition.
    """
    stages = recorded_stages(stored, study)
    if stages and not stage_changes(stages[-1].spec, study):
        changed = replace(stages[-1], spec=json_able(study.spec()), text=study.text)
        return (*stages[:-1], changed) if stored.stages else ()
    while stages and stages[-1].trial >= begun.trial:
        stages = stages[:-1]
    if not stages:
        return ()
    now = present_stage(study, begun, stages[-1])
    if not stage_changes(stages[-1].spec, study):
        return (*stages[:-1], replace(now, **_place_of(stages[-1])))
    clash = any(_clash(now.space, each.space) for each in stages if each.suffix == now.suffix)
    return (*stages, replace(now, suffix=f".stage{len(stages) + 1}") if clash else now)


def _place_of(stage: Stage) -> dict[str, Any]:
    return {name: getattr(stage, name) for name in ("trial", "repeat", "at", "start")}


def present_stage(study: "Study", begun: Stage, before: Stage) -> Stage:
    """Return the stage that a study file begins after another one. Ranges that the file does not
    change stay as wide as the search has made them.
    """
    spec = json_able(study.spec())
    old = before.spec.get("search") or {}
    grown = tuple(
        step
        for step in before.grown
        if old.get(step.parameter) == spec["search"].get(step.parameter)
    )
    fixed: dict[str, Any] = {}
    for settings in study.fixed.values():
        fixed |= settings.model_dump(mode="json", exclude=set(study.figures))
    return replace(
        begun, spec=spec, text=study.text, fixed=fixed, grown=grown, suffix=before.suffix
    )


def recorded_stages(stored: StudyRecord, study: "Study") -> tuple[Stage, ...]:
    """Return the stages on record, the one of a study of one stage, too, with all settings that
    this version knows; none of a study that has not begun.
    """
    if not stored.spec:
        return ()
    known = _known_settings(stored, study)
    return tuple(
        stage if stage.fixed is None else replace(stage, fixed=known | dict(stage.fixed))
        for stage in stored.stages or (Stage(spec=stored.spec, text=stored.text),)
    )


def _known_settings(stored: StudyRecord, study: "Study") -> dict[str, Any]:
    """Return the fixed settings of a recorded definition; of searched ones, and of those that the
    version which recorded it did not have, the default.
    """
    known: dict[str, Any] = {}
    for section, settings in study.fixed.items():
        fields = type(settings).model_fields
        optional = {name for name, each in fields.items() if not each.is_required()}
        known |= type(settings).model_construct().model_dump(mode="json", include=optional)
        known |= {name: v for name, v in stored.constants.items() if name in fields}
        known |= stored.spec.get(section) or {}
    return {name: value for name, value in known.items() if name not in study.figures}


def stage_changes(spec: Mapping[str, Any], study: "Study") -> dict[str, tuple[Any, Any]]:
    """Return what differs between a recorded definition and a study file in what a trial may be:
    its space and its fixed settings.
    """
    differences = spec_differences(with_new_settings(spec, study), json_able(study.spec()))
    return {
        path: values
        for path, values in differences.items()
        if path.partition(".")[0] in {"search", *study.fixed}
        and path.partition(".")[2] not in study.figures
    }


def _clash(space: Space, other: Space) -> bool:
    """Whether Optuna keeps no trials of both spaces in one study."""
    for parameter in space.parameters:
        if parameter.name in other.names:
            try:
                check_distribution_compatibility(
                    other[parameter.name].distribution, parameter.distribution
                )
            except ValueError:
                return True
    return False
