"""A study: read from its file, changed by `--set`, and checked whole before anything runs."""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from sweeps.errors import UserError
from sweeps.search.pruners import PrunerSettings
from sweeps.search.samplers import CurvesSettings, SamplerSettings, check_sampler
from sweeps.study.mistakes import problems_of
from sweeps.study.objectives import read_objectives
from sweeps.study.overrides import apply_overrides, read_study_file, section_of
from sweeps.study.ranges import limits_of
from sweeps.study.space import Kind, Parameter, Space, frozen, read_conditions
from sweeps.study.start import BestOf, read_start
from sweeps.study.study_model import (
    NO_BUDGET,
    Baseline,
    Budget,
    Compare,
    Confirm,
    Keep,
    Sections,
    StudyFile,
    default_search,
    number_type,
    study_model,
)
from sweeps.study.yaml_file import (
    EntryPath,
    Mistakes,
    find_study,
    known_studies,
    mapping,
    parse_yaml,
    shown,
)

Check = Callable[[dict[str, dict[str, Any]]], None]


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
    start: tuple[Mapping[str, Any] | BestOf, ...] = ()
    """Values that the search tries first: a mapping for a trial, or a study whose best
    configurations it tries.
    """
    learn_from: str | None = None
    """Study whose trials also teach the sampler."""
    keep: Keep = field(default_factory=Keep)
    """Files that trials leave on disk."""
    subset: tuple[str, ...] = ()
    """Overrides of the file for a small part of the data."""
    overrides: tuple[str, ...] = ()
    """Overrides of the command, as they were given."""
    objectives: Mapping[str, str] = field(default_factory=dict)
    """The two objectives: name → metric of an epoch; empty where the workload's one objective is
    searched for.
    """
    warmup: str | None = None
    """Setting that says how many epochs at the beginning of a trial do not count; None where all
    epochs of all trials do.

    Such an epoch is trained and recorded. It is no trial's best, and no trial is pruned or paused
    by it."""

    epochs: str | None = None
    """Setting that says how many epochs a trial has; None where it is not known."""
    figures: frozenset[str] = frozenset()
    """Fixed settings that decide how runs are measured and shown, and no value that they are ranked
    by. They never keep a study from going on.
    """

    @property
    def unlike_lengths(self) -> bool:
        """Whether trials of the search have different numbers of epochs to train."""
        return self.epochs in self.space.names

    def warmup_of(self, params: Mapping[str, Any]) -> int:
        """Return how many epochs at the beginning of a trial with these parameters do not count:
        those in which the warm-up ends, too.
        """
        return (
            0
            if self.warmup is None
            else math.ceil(params.get(self.warmup, self._fixed(self.warmup)))
        )

    @property
    def longest_warmup(self) -> int:
        """The longest warm-up of a trial of the search. Trials are compared with each other by the
        epochs after it.
        """
        if self.warmup is None:
            return 0
        return math.ceil(self.space.maximum(self.warmup) or self._fixed(self.warmup))

    def _fixed(self, name: str) -> Any:
        return next(
            getattr(section, name) for section in self.fixed.values() if hasattr(section, name)
        )

    def spec(self) -> dict[str, Any]:
        """Return all that defines the study, JSON-able, overrides included. Not the budget, which
        may be extended, and not `keep`.
        """
        searched = set(self.space.names)
        sections = {
            section: settings.model_dump(mode="json", exclude=searched)
            for section, settings in self.fixed.items()
        }
        return {
            "name": self.name,
            "question": self.question,
            **sections,
            "search": self.space.as_dict(),
            "seed": self.seed,
            "sampler": self.sampler.model_dump(mode="json"),
            "pruner": self.pruner.model_dump(mode="json"),
            "confirm": self.confirm and self.confirm.model_dump(mode="json", exclude_defaults=True),
            "compare": self.compare and self.compare.model_dump(mode="json"),
            "baselines": {row.name: row.model_dump(exclude={"name"}) for row in self.baselines}
            or None,
            "start": [dict(point) for point in self.start] or None,
            **({"learn_from": self.learn_from} if self.learn_from else {}),
            **({"objectives": dict(self.objectives)} if self.objectives else {}),
            **({"longest_warmup": self.longest_warmup} if self.longest_warmup else {}),
        }


def load_study(
    name_or_path: str | Path,
    *,
    sections: Sections,
    shipped: Path | None = None,
    overrides: Sequence[str] = (),
    check: Check | None = None,
    epochs: str | None = None,
    warmup: str | None = None,
    unsearchable: Collection[str] = (),
    shared: Collection[str] = (),
    without_default: Collection[str] = (),
    data: str | None = None,
    metrics: Mapping[str, str] | None = None,
    figures: Collection[str] = (),
    text: str | None = None,
) -> Study:
    """Find, read and check a study.

    Args:
        name_or_path: a path (ends in .yaml or .yml, or has a separator), else a name that is looked
            up as `./studies/NAME.yaml` and then among the shipped studies.
        sections: section → settings model; field names are unique over all of them.
        shipped: folder of the shipped studies.
        overrides: `section.key=value` or `key=value`, see `sweeps.study.overrides.apply_overrides`.
        check: called with section → settings as dicts: once as fixed, once for each baseline, and
            once for each bound and each choice of each searched parameter (with values of other
            parameters under which it is searched). It raises `UserError` (its place is a path such
            as `model.prior`) or `ValueError` (`prior: what is wrong`) for what the models alone
            cannot see.
        epochs: setting that says how many epochs a trial has; the sampler curves and the pruners
            hyperband and promotion need it.
        warmup: setting that says how many epochs at the beginning of a trial do not count
            (`Study.warmup`).
        unsearchable: settings that make results incomparable; they are never searched.
        shared: settings that belong to the whole study; no baseline changes them.
        without_default: choices whose default fits few data; where one is searched, the others are
            tried with its first value.
        data: section that says what is trained on; published results of baselines hold for the
            file's alone.
        metrics: name → metric of an epoch of all that `objectives` may name.
        figures: as `Study.figures`.
        text: the study itself, where it lies in no file; the first argument is then its name.

    Raises:
        UserError: a line for each mistake of the file and the overrides: of its form, else of the
            search space, else all others.
    """
    path = find_study(str(name_or_path), shipped) if text is None else Path(name_or_path)
    written, mistakes, text = read_study_file(path, sections, shipped, data, text=text)
    # By name, so that `--set sampler.startup_trials=3` finds the sampler.
    content = default_search(written, overrides, epochs) | written
    reading = _Reading(apply_overrides(content, overrides, sections, mistakes), sections, mistakes)
    file = reading.file
    space = reading.space(unsearchable)
    published = not any(entry[0] == data for entry in mistakes.overrides)
    baselines = reading.baselines(shared, published=published)
    fixed = {
        section: model.model_validate(getattr(file, section).model_dump(exclude_unset=True))
        for section, model in sections.items()
    }
    first = {name: space[name].values[0] for name in without_default if name in space.names}
    _SettingsCheck(check, fixed, mistakes, first).try_all(space, baselines)
    reading.check_search(space)
    reading.check_baselines(baselines, space)
    sampler, pruner = reading.for_epochs(space, fixed, epochs, warmup)
    reading.check_late(pruner)
    start = read_start(reading.raw.get("start") or (), space, mistakes)
    objectives = read_objectives(file, space, baselines, metrics or {}, mistakes)
    mistakes.raise_if_any()
    assert file.budget is not None
    return Study(
        name=path.stem,
        path=path,
        text=text,
        question=str(file.question).strip(),
        fixed=fixed,
        space=space,
        sampler=sampler,
        pruner=pruner,
        budget=file.budget,
        baselines=baselines,
        start=start,
        objectives=objectives,
        warmup=warmup,
        epochs=epochs,
        figures=frozenset(figures),
        overrides=tuple(overrides),
        **{name: getattr(file, name) for name in _AS_WRITTEN},
    )


_AS_WRITTEN = ("seed", "confirm", "compare", "learn_from", "keep", "subset")
"""Entries of a study file that a study has as they stand there."""


def mentioned(
    setting: str,
    name_or_path: str | Path,
    *,
    shipped: Path | None = None,
    overrides: Sequence[str] = (),
    text: str | None = None,
) -> list[str]:
    """Return every text that a study's file, the studies that it extends, and the overrides give a
    setting, unchecked, each once.

    For a workload whose settings depend on such a text: fixed, searched, in a baseline, in a first
    trial or in a condition.

    Raises:
        UserError: the file cannot be read.
    """
    path = find_study(str(name_or_path), shipped) if text is None else Path(name_or_path)
    content, _, _ = read_study_file(path, None, shipped, None, text=text)
    nodes: list[Any] = [content]
    for override in overrides:
        key, _, given = override.partition("=")
        with suppress(UserError):  # it is reported when the study is read
            value: Any = parse_yaml(given, "")[0]
            for part in reversed(key.strip().split(".")):
                value = {part: value}
            nodes.append(value)
    texts = chain.from_iterable(_texts_of(setting, node, inside=False) for node in nodes)
    return list(dict.fromkeys(texts))


def _texts_of(setting: str, node: Any, *, inside: bool) -> Iterator[str]:
    """Yield every text in what stands under a key of this name, at any depth."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _texts_of(setting, value, inside=inside or key == setting)
    elif isinstance(node, list):
        for value in node:
            yield from _texts_of(setting, value, inside=inside)
    elif inside and isinstance(node, str):
        yield node


def list_studies(*, shipped: Path | None) -> dict[str, str]:
    """Return name → question of the studies of `./studies`, then of the shipped ones that these do
    not hide, by name.

    A broken file has its first mistake for a question.
    """
    questions: dict[str, str] = {}
    for name, path in known_studies(shipped).items():
        try:
            content, _, _ = read_study_file(path, None, shipped, None)
            questions[name] = str(content.get("question") or "").strip()
        except UserError as error:
            questions[name] = str(error).splitlines()[0]
    return questions


class _Reading:
    """The content of a study while it is checked.

    Raises:
        UserError: the content has not the form of a study.
    """

    def __init__(self, raw: dict[str, Any], sections: Sections, mistakes: Mistakes) -> None:
        self.raw = raw
        self._sections = sections
        self._mistakes = mistakes
        missing = {
            "question": "is missing.",
            "search": "nothing is searched. Add, for example, `beta: "
            "{low: 0.1, high: 10, log: true}`.",
            "budget": NO_BUDGET,
        }
        for part, problem in missing.items():
            if raw.get(part) in (None, {}):
                mistakes.add((part,), problem)
        model = study_model(tuple(sections.items()))
        try:
            self.file: StudyFile = model.model_validate(raw)
        except ValidationError as error:
            for path, problem in problems_of(error, model, raw):
                mistakes.add(path, problem)
            mistakes.raise_if_any()
            raise
        mistakes.raise_if_any()

    def space(self, unsearchable: Collection[str]) -> Space:
        """Return the searched parameters. Raises UserError for all of their mistakes."""
        forms: dict[str, Parameter] = {}
        for name in mapping(self.raw.get("search")):
            form = getattr(self.file.search, name)
            if form is None:
                continue
            section = section_of(name, self._sections) or ""
            fixed = mapping(self.raw.get(section))
            if name in fixed:
                problem = (
                    f"is searched, and fixed to {shown(fixed[name])} under '{section}'. Drop one "
                    "of the two."
                )
                self._mistakes.add(("search", name), problem)
            if name in unsearchable:
                problem = (
                    f"trials of different {name} are measured on different scales and cannot be "
                    "compared. Fix it; `baselines:` holds rows with other values."
                )
                self._mistakes.add(("search", name), problem)
            content = form.model_dump(exclude={"when"})
            if content.get("grow"):
                number = number_type(self._sections[section].model_fields[name])
                content["limits"] = limits_of(number)
            with self._mistakes.collected():
                forms[name] = Parameter(name=name, kind=_kind_of(form), **content)
        self._mistakes.raise_if_any()
        conditions = {name: getattr(self.file.search, name).when for name in forms}
        parameters = [
            replace(parameter, when=read_conditions(conditions[name], forms))
            for name, parameter in forms.items()
        ]
        try:
            return Space(tuple(parameters))
        except UserError as error:
            self._mistakes.add(error.place, error.problem)
            self._mistakes.raise_if_any()
            raise

    def baselines(self, shared: Collection[str], *, published: bool) -> tuple[Baseline, ...]:
        """Return the valid baselines, in the order of the file, each with its settings in this
        order.

        Args:
            shared: settings that no baseline changes.
            published: False drops the published results: they do not hold for other data.
        """
        baselines: list[Baseline] = []
        names: dict[str, str] = {}
        for name, section in mapping(self.raw.get("baselines")).items():
            order = mapping(mapping(section).get("settings"))
            for setting in order:
                if setting in shared:
                    problem = "belongs to the whole study, so no baseline can change it."
                    self._mistakes.add(("baselines", name, "settings", setting), problem)
            row = mapping(self.file.baselines)[name]
            if "+" in name:
                self._mistakes.add(
                    ("baselines", name),
                    "must have no +, which joins baselines that share their runs.",
                )
            values = row.settings.model_dump(mode="json", exclude_unset=True) if order else {}
            settings = {key: values[key] for key in order}
            key = json.dumps([row.at, settings], sort_keys=True)
            if (same := names.setdefault(key, name)) != name:
                problem = f"is the same as baselines.{same}; must differ in `settings` or `at`."
                self._mistakes.add(("baselines", name), problem)
                continue
            reported = row.published if published else None
            changes = {
                "name": name,
                "title": row.title or name,
                "published": reported,
                "settings": settings,
            }
            baselines.append(Baseline(**dict(row) | changes))
        return tuple(baselines)

    def check_search(self, space: Space) -> None:
        """Note parameters that the sampler cannot search, and a comparison over a parameter that is
        no choice.
        """
        with self._mistakes.collected():
            check_sampler(self.file.sampler, space, learns=self.file.learn_from is not None)
        compared = self.file.compare.parameters if self.file.compare else []
        choices = [p.name for p in space.parameters if p.kind == "choice" and len(p.values) > 1]
        choices_known = (
            f"Searched choices: {', '.join(choices) or 'none'}. `compare: null` switches it off."
        )
        for index, name in enumerate(compared):
            path = ("compare", "parameters", index)
            if name in compared[:index]:
                self._mistakes.add(path, f"'{name}' stands there twice; name each parameter once.")
            elif name not in choices:
                problem = f"'{name}' is no searched choice of two values or more. {choices_known}"
                self._mistakes.add(path, problem)

    def check_baselines(self, baselines: Sequence[Baseline], space: Space) -> None:
        """Note rows on the best setting that make a parameter active for which that setting may
        have no value.
        """
        for row in baselines:
            if row.at != "best":
                continue
            for child in space.parameters:
                needed = {
                    parent: row.settings[parent] for parent in child.when if parent in row.settings
                }
                holds = all(frozen(value) in child.when[parent] for parent, value in needed.items())
                changed = child.name in row.settings
                if changed or not holds or all(_always(space[parent], child) for parent in needed):
                    continue
                change = ", ".join(f"{parent}: {value}" for parent, value in needed.items())
                problem = (
                    f"needs `{child.name}`, which the best setting lacks where it has another "
                    f"value. Give it beside `{change}`."
                )
                self._mistakes.add(("baselines", row.name, "settings"), problem)

    def for_epochs(
        self, space: Space, fixed: Mapping[str, BaseModel], epochs: str | None, warmup: str | None
    ) -> tuple[SamplerSettings, PrunerSettings]:
        """Return sampler and pruner, with the epochs and the warm-up of the longest trials where
        they need them.
        """
        sampler = self.file.sampler
        pruner = self.file.pruner
        most: dict[str | None, Any] = {None: None}
        for name in filter(None, (epochs, warmup)):
            if section := section_of(name, self._sections):
                most[name] = (
                    space.maximum(name) if name in space.names else getattr(fixed[section], name)
                )
        longest = None if most.get(epochs) is None else int(most[epochs])
        if epochs in space.names and isinstance(sampler, CurvesSettings):
            problem = (
                "got curves, which predicts where all trials end after as many epochs, and "
                f"`{epochs}` is searched; must be another sampler, such as tpe."
            )
            self._mistakes.add(("sampler", "name"), problem)
        with self._mistakes.collected("sampler."):
            sampler = sampler.for_epochs(longest)
        with self._mistakes.collected("pruner."):
            pruner = pruner.for_epochs(longest)
            if most.get(warmup):
                pruner = pruner.after_warmup(math.ceil(most[warmup]), longest)
        return sampler, pruner

    def check_late(self, pruner: PrunerSettings) -> None:
        """Refuse to train paused trials to their end where none is paused. `pruner`: that of the
        study, as `for_epochs` gives it.
        """
        late = 0 if self.file.confirm is None else self.file.confirm.late
        if not late or pruner.pauses:
            return
        problem = f"got {late}; must be 0, because no trial is paused. Try pruner: promotion"
        self._mistakes.add(("confirm", "late"), f"{problem}, with enough epochs for a rung.")


def _always(parent: Parameter, child: Parameter) -> bool:
    """Whether a parameter has a value under which the child is searched in every configuration."""
    return (
        not parent.when
        and {*parent.values} <= {*child.when[parent.name]}
        and parent.kind == "choice"
    )


def _kind_of(form: Any) -> Kind:
    if hasattr(form, "values"):
        return "choice"
    return "int" if isinstance(form.low, int) else "float"


class _SettingsCheck:
    """Tries settings on their models and on the workload's check, and notes what these refuse."""

    def __init__(
        self,
        check: Check | None,
        fixed: Mapping[str, BaseModel],
        mistakes: Mistakes,
        first: Mapping[str, Any],
    ) -> None:
        """`first`: values that stand for searched settings unless others are tried."""
        self._check = check
        self._fixed = fixed
        self._first = first
        self._mistakes = mistakes
        self._plain = {section: settings.model_dump() for section, settings in fixed.items()}

    def try_all(self, space: Space, baselines: Sequence[Baseline]) -> None:
        """Try the fixed settings, each baseline, and each bound and choice of the search."""
        before = len(self._mistakes)
        self._try({}, ())
        if len(self._mistakes) > before:
            return  # all others would fail with it
        for row in baselines:
            self._try(row.settings, ("baselines", row.name, "settings"))
        for parameter in space.parameters:
            context = space.context(parameter.name)
            for key, value in _probes(parameter, space):
                path = ("search", parameter.name, *key)
                self._try(context | {parameter.name: value}, path)

    def _try(self, params: Mapping[str, Any], path: EntryPath) -> None:
        """Try the fixed settings with these changes. `path`: the entry that makes them."""
        params = {**self._first, **params}
        settings = {
            section: values | {name: value for name, value in params.items() if name in values}
            for section, values in self._plain.items()
        }
        try:
            for section, values in settings.items():
                if values != self._plain[section]:
                    type(self._fixed[section]).model_validate(values)
            if self._check is not None:
                self._check(settings)
        except ValidationError as error:
            message = str(error.errors(include_url=False)[0]["msg"])
            self._mistakes.add(path, message.removeprefix("Value error, "))
        except UserError as error:
            self._mistakes.add(path or error.place, error.problem)
        except ValueError as error:
            name, _, problem = str(error).partition(": ")
            owner = next((section for section, own in self._plain.items() if name in own), None)
            if owner is None:
                self._mistakes.add(path, str(error))
            else:
                self._mistakes.add(path or (owner, name), problem)


def _probes(parameter: Parameter, space: Space) -> list[tuple[EntryPath, Any]]:
    """Return the ends of a range, also of one that has grown, or the values of a choice, each with
    its key.
    """
    if parameter.kind == "choice":
        return [(("values", index), value) for index, value in enumerate(parameter.values)]
    probes: list[tuple[EntryPath, Any]] = [(("low",), parameter.low), (("high",), parameter.high)]
    if parameter.grow:
        wide = space.widest()[parameter.name]
        probes += [(("grow",), wide.low), (("grow",), wide.high)]
    return probes
