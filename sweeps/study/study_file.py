"""A study file: the question, what is fixed, what is searched, and how far. Checked whole before anything runs."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sweeps.errors import UserError
from sweeps.study.baselines import Baseline, read_baselines, read_start
from sweeps.study.overrides import apply_overrides
from sweeps.study.pruners import PrunerSettings, read_pruner, with_max_epochs
from sweeps.study.samplers import SAMPLERS, SamplerSettings, check_sampler
from sweeps.study.search_section import read_space, section_of
from sweeps.study.space import Space
from sweeps.study.yaml_file import (
    Source,
    find_study,
    known_studies,
    parse_yaml,
    read_mapping,
    read_model,
    read_named,
    read_text,
    refuse_unknown,
    shown_path,
)

Sections = Mapping[str, type[BaseModel]]
Check = Callable[[dict[str, dict[str, Any]]], None]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Budget(_Part):
    """When the search ends: at the first of the limits that are given. It is of the study, not of one command."""

    trials: Annotated[int | None, Field(ge=1, description="Trials started, in whatever state they end.")] = None
    seconds: Annotated[float | None, Field(gt=0, description="Seconds spent searching.")] = None
    epochs: Annotated[int | None, Field(ge=1, description="Trial-epochs trained, over all trials.")] = None
    stale_trials: Annotated[
        int | None, Field(ge=1, description="Trials that end one after the other without a better value.")
    ] = None

    @model_validator(mode="after")
    def _limited(self) -> "Budget":
        if all(value is None for value in self.model_dump().values()):
            raise ValueError(f"nothing limits the search; give at least one of {', '.join(type(self).model_fields)}.")
        return self


class Confirm(_Part):
    """The best configurations, trained again with fresh seeds and only then evaluated on test images."""

    top: Annotated[int, Field(ge=1, description="Configurations, the best of the search.")]
    seeds: Annotated[int, Field(ge=1, description="Fresh seeds for each.")]


class Compare(_Part):
    """Matched pairs: the same configuration and seed with each value of one parameter."""

    parameter: Annotated[str, Field(description="A searched choice whose values are compared.")]
    top: Annotated[int, Field(ge=1, description="Configurations, the best of the search.")]
    seeds: Annotated[int, Field(ge=1, description="Seeds for each.")]


class _Head(_Part):
    question: Annotated[str, Field(min_length=1, description="What the study is to find out.")]
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Seed of the sampler and of all trials.")] = 0


PARTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_Head.model_fields, ()),
    "sampler": (),
    "pruner": (),
    "budget": tuple(Budget.model_fields),
    "confirm": tuple(Confirm.model_fields),
    "compare": tuple(Compare.model_fields),
    "baselines": (),
    "start": (),
}
"""Top-level keys besides the sections and `search` → fields that `--set` takes without the prefix."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A checked study."""

    name: str
    path: Path
    text: str
    """The file as it stands, before overrides."""
    question: str
    fixed: Mapping[str, BaseModel]
    """Section → its settings; a searched setting stands at its default."""
    space: Space
    seed: int
    sampler: SamplerSettings
    pruner: PrunerSettings
    budget: Budget
    confirm: Confirm | None
    compare: Compare | None
    baselines: tuple[Baseline, ...] = ()
    start: tuple[Mapping[str, Any], ...] = ()
    """Values that the search tries first, one mapping per trial."""

    def spec(self) -> dict[str, Any]:
        """All that defines the study, JSON-able, overrides included. Not the budget, which may be extended."""
        searched = set(self.space.names)
        sections = {
            section: settings.model_dump(mode="json", exclude=searched) for section, settings in self.fixed.items()
        }
        return {
            "name": self.name,
            "question": self.question,
            **sections,
            "search": self.space.as_dict(),
            "seed": self.seed,
            "sampler": self.sampler.model_dump(mode="json"),
            "pruner": self.pruner.model_dump(mode="json"),
            "confirm": self.confirm and self.confirm.model_dump(mode="json"),
            "compare": self.compare and self.compare.model_dump(mode="json"),
            "baselines": {row.name: row.as_dict() for row in self.baselines} or None,
            "start": [dict(point) for point in self.start] or None,
        }


@dataclass(frozen=True, kw_only=True)
class StudySummary:
    """A line of the list of studies."""

    name: str
    question: str
    """What the study asks; for a broken file, what is wrong with it."""
    path: Path


def load_study(
    name_or_path: str | Path,
    *,
    sections: Sections,
    shipped: Path | None,
    overrides: Sequence[str] = (),
    check: Check | None = None,
    apart: Collection[str] = (),
) -> Study:
    """Find, read and check a study.

    Args:
        name_or_path: a path (ends in .yaml or .yml, or has a separator), else looked up as `./studies/NAME.yaml` and
            then among the shipped ones.
        sections: section → settings model; field names are unique over all of them.
        shipped: folder of the shipped studies.
        overrides: `section.key=value` or `key=value`, see `sweeps.study.overrides.apply_overrides`.
        check: called with section → settings as dicts: once as fixed, and once for each bound and each choice of each
            searched parameter (with values of other parameters under which it is searched). It raises `UserError`
            (its place is a path such as `model.prior`) or `ValueError` (`prior: what is wrong`) for what the models
            alone cannot see.
        apart: settings that make results incomparable; they are never searched.

    Raises:
        UserError: for the first thing that is wrong with the file or an override.
    """
    path = find_study(str(name_or_path), shipped)
    shown = shown_path(path)
    text = read_text(path, shown)
    raw = {"sampler": "tpe", "pruner": "median"} | _top_level(parse_yaml(text, shown), shown)
    raw, changed = apply_overrides(raw, overrides, sections, PARTS)
    source = Source(shown, changed)
    refuse_unknown(raw, [*sections, *PARTS, "search"], "", source, noun="section")
    head = read_model(_Head, {key: raw[key] for key in _Head.model_fields if key in raw}, "", source)
    fixed = {section: _read_section(section, raw.get(section), sections, source) for section in sections}
    space = read_space(raw.get("search"), raw, sections, source)
    for name in space.names:
        if name in apart:
            problem = f"trials of different {name} are measured on different scales and cannot be compared"
            raise source.error(f"search.{name}", f"{problem}. Fix it; `baselines:` holds rows with other values.")
    baselines = read_baselines(raw.get("baselines"), raw, sections, source)
    if check is not None:
        _check_settings(check, fixed, space, baselines, source)
    sampler = read_named(
        {name: row.settings for name, row in SAMPLERS.items()},
        raw["sampler"],
        "sampler",
        source,
        noun="sampler",
    )
    with source.located():
        check_sampler(sampler, space)
    pruner = with_max_epochs(read_pruner(raw["pruner"], "pruner", source), _epochs(fixed, space), "pruner", source)
    return Study(
        name=path.stem,
        path=path,
        text=text,
        question=head.question.strip(),
        fixed=fixed,
        space=space,
        seed=head.seed,
        sampler=sampler,
        pruner=pruner,
        budget=read_model(Budget, raw.get("budget"), "budget", source),
        confirm=None if raw.get("confirm") is None else read_model(Confirm, raw["confirm"], "confirm", source),
        compare=_read_compare(raw.get("compare"), space, source),
        baselines=baselines,
        start=read_start(raw.get("start"), space, source),
    )


def list_studies(*, shipped: Path | None) -> list[StudySummary]:
    """Studies of `./studies`, then the shipped ones that these do not hide, by name. A broken file has its error for a question."""
    summaries: dict[str, StudySummary] = {}
    for name, path in known_studies(shipped).items():
        shown = shown_path(path)
        try:
            raw = _top_level(parse_yaml(read_text(path, shown), shown), shown)
            head = read_model(_Head, {"question": raw.get("question")}, "", Source(shown))
            summaries[name] = StudySummary(name=name, question=head.question.strip(), path=path)
        except UserError as error:
            summaries[name] = StudySummary(name=name, question=str(error), path=path)
    return list(summaries.values())


def _top_level(content: Any, shown: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        got = "nothing" if content is None else f"a {type(content).__name__}"
        raise UserError(shown, f"got {got}; a study file holds `name: value` lines such as `question:` and `search:`.")
    return content


def _read_section(section: str, content: Any, sections: Sections, source: Source) -> BaseModel:
    content = read_mapping(content, section, source)
    for key in content:
        owner = section_of(key, sections)
        if owner not in (None, section):
            raise source.error(f"{section}.{key}", f"unknown setting; '{key}' belongs under '{owner}'.")
    return read_model(sections[section], content, section, source)


def _check_settings(
    check: Check,
    fixed: Mapping[str, BaseModel],
    space: Space,
    baselines: Sequence[Baseline],
    source: Source,
) -> None:
    plain = {section: settings.model_dump() for section, settings in fixed.items()}

    def run(params: Mapping[str, Any], path: str | None) -> None:
        settings = {
            section: values | {name: value for name, value in params.items() if name in values}
            for section, values in plain.items()
        }
        try:
            check(settings)
        except UserError as error:
            raise source.error(path or error.place, error.problem) from None
        except ValueError as error:
            name, _, problem = str(error).partition(": ")
            section = next((section for section, values in plain.items() if name in values), None)
            if section is None:
                raise source.error(path or "", str(error)) from None
            raise source.error(path or f"{section}.{name}", problem) from None

    run({}, None)
    for row in baselines:
        run(row.settings, f"baselines.{row.name}.settings")
    for parameter in space.parameters:
        context = space.context(parameter.name)
        if parameter.kind == "choice":
            probes = [("values", value) for value in parameter.values]
        else:
            probes = [("low", parameter.low), ("high", parameter.high)]
        for key, value in probes:
            run(context | {parameter.name: value}, f"search.{parameter.name}.{key}")


def _epochs(fixed: Mapping[str, BaseModel], space: Space) -> int | None:
    if "epochs" in space.names:
        return space.maximum("epochs")
    return next((settings.epochs for settings in fixed.values() if hasattr(settings, "epochs")), None)


def _read_compare(content: Any, space: Space, source: Source) -> Compare | None:
    if content is None:
        return None
    compare = read_model(Compare, content, "compare", source)
    name, place = compare.parameter, "compare.parameter"
    choices = [p.name for p in space.parameters if p.kind == "choice" and len(p.values) > 1]
    if name not in choices:
        if name not in space.names:
            reason = "is not searched"
        else:
            reason = "has one value only" if space[name].kind == "choice" else "is a range, not a choice of values"
        known = f"Searched choices: {', '.join(choices) or 'none'}."
        raise source.error(
            place, f"'{name}' {reason}, so there is nothing to pair. {known} `compare: null` switches it off."
        )
    return compare
