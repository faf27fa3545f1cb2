"""The checks of a study: each part against the model, then the parts against each other and the workload."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from sweeps.errors import UserError
from sweeps.study.baselines import Baseline, read_start
from sweeps.study.mistakes import Mistakes, problems_of, shown
from sweeps.study.overrides import section_of
from sweeps.study.pruners import PrunerSettings
from sweeps.study.samplers import check_sampler
from sweeps.study.space import Parameter, Space
from sweeps.study.study_model import Budget, Sections, StudyFile, number_kind, study_model
from sweeps.study.yaml_file import EntryPath

Check = Callable[[dict[str, dict[str, Any]]], None]


def mapping(value: Any) -> dict[str, Any]:
    """The value where it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


class Reading:
    """The content of a study while it is checked: its valid entries, and the entries that have a mistake."""

    def __init__(self, raw: dict[str, Any], sections: Sections, mistakes: Mistakes) -> None:
        self._raw, self._sections, self._mistakes = raw, sections, mistakes
        self.broken: set[EntryPath] = set()
        """Entries that were left out because they have a mistake."""
        self.file = self._validated()
        """The form of the study, of valid entries alone."""
        self._refuse_missing()
        self._unusable: set[str] = set()
        """Searched parameters that have a mistake, or depend on one that has."""

    def _validated(self) -> StudyFile:
        model = study_model(self._sections)
        try:
            return model.model_validate(self._raw)
        except ValidationError as error:
            problems = problems_of(error, model, self._raw)
        valid = {key: dict(value) if isinstance(value, dict) else value for key, value in self._raw.items()}
        for path, problem in problems:
            self._mistakes.add(path, problem)
            if path[0] in (*self._sections, "search", "baselines") and len(path) > 1:
                valid[str(path[0])].pop(path[1], None)
                self.broken.add(path[:2])
            else:
                valid.pop(str(path[0]), None)
                self.broken.add(path[:1])
        try:
            return model.model_validate(valid)
        except ValidationError:
            self._mistakes.raise_if_any()
            raise

    def _refuse_missing(self) -> None:
        missing = {
            "question": "is missing.",
            "search": "nothing is searched. Add, for example, `beta: {low: 0.1, high: 10, log: true}`.",
            "budget": f"nothing limits the search; give at least one of {', '.join(Budget.model_fields)}.",
        }
        for part, problem in missing.items():
            if self._raw.get(part) in (None, {}) and (part,) not in self.broken:
                self._mistakes.add((part,), problem)

    def fixed(self) -> dict[str, BaseModel]:
        """Section → its settings, as the workload's own models."""
        parts = {section: getattr(self.file, section) for section in self._sections}
        return {
            name: self._sections[name].model_validate(part.model_dump(exclude_unset=True))
            for name, part in parts.items()
        }

    def space(self, unsearchable: Collection[str]) -> Space:
        """The searched parameters that have no mistake."""
        parameters: list[Parameter] = []
        search = mapping(self._raw.get("search"))
        for name in search:
            form = getattr(self.file.search, name, None)
            if form is None:
                continue
            section = section_of(name, self._sections) or ""
            fixed = mapping(self._raw.get(section))
            if name in fixed:
                problem = f"is searched, and fixed to {shown(fixed[name])} under '{section}'. Drop one of the two."
                self._mistakes.add(("search", name), problem)
            if name in unsearchable:
                problem = f"trials of different {name} are measured on different scales and cannot be compared"
                self._mistakes.add(("search", name), f"{problem}. Fix it; `baselines:` holds rows with other values.")
            with self._mistakes.collected():
                parameters.append(_parameter(name, form, self._sections[section].model_fields[name]))
        forms = {parameter.name: parameter for parameter in parameters}
        self._unusable = {*search} - {*forms}
        parameters = [replace(p, when=_conditions(self.file.search, p.name, forms)) for p in parameters]
        while True:
            while dependent := {p.name for p in parameters if self._unusable & {*p.when}}:
                self._unusable |= dependent
                parameters = [p for p in parameters if p.name not in dependent]
            try:
                return Space(tuple(parameters))
            except UserError as error:
                self._mistakes.add(error.place, error.problem)
                self._unusable.add(error.place.split(".")[1])
                parameters = [p for p in parameters if p.name not in self._unusable]

    def refuse_shared(self, shared: Collection[str]) -> None:
        """Note baselines that change a setting of the whole study."""
        for name, row in mapping(self._raw.get("baselines")).items():
            for setting in mapping(mapping(row).get("settings")):
                if setting in shared:
                    problem = "belongs to the whole study, so no baseline can change it."
                    self._mistakes.add(("baselines", name, "settings", setting), problem)

    def check_search(self, space: Space) -> None:
        """Note what the sampler cannot search, and a comparison of what is no choice."""
        if ("sampler",) not in self.broken and not self._unusable and space.parameters:
            with self._mistakes.collected():
                check_sampler(self.file.sampler, space)
        if self.file.compare is None or self.file.compare.parameter in self._unusable:
            return
        name = self.file.compare.parameter
        choices = [p.name for p in space.parameters if p.kind == "choice" and len(p.values) > 1]
        if name in choices:
            return
        if name not in space.names:
            reason = "is not searched"
        else:
            reason = "has one value only" if space[name].kind == "choice" else "is a range, not a choice of values"
        known = f"Searched choices: {', '.join(choices) or 'none'}."
        problem = f"'{name}' {reason}, so there is nothing to pair. {known} `compare: null` switches it off."
        self._mistakes.add(("compare", "parameter"), problem)

    def pruner(self, space: Space, fixed: Mapping[str, BaseModel], epochs: str | None) -> PrunerSettings:
        """The pruner, with the epochs of a full trial where it needs them."""
        section = section_of(epochs, self._sections) if epochs else None
        pruner = self.file.pruner
        if epochs is None or section is None:
            longest = None
        elif epochs in self._unusable or (section, epochs) in self.broken or (section,) in self.broken:
            return pruner
        else:
            longest = space.maximum(epochs) if epochs in space.names else getattr(fixed[section], epochs)
        try:
            return pruner.for_epochs(longest)
        except UserError as error:
            self._mistakes.add(f"pruner.{error.place}", error.problem)
            return pruner

    def start(self, space: Space) -> tuple[dict[str, Any], ...]:
        """The values of the first trials."""
        given = self._raw.get("start") if ("start",) not in self.broken else None
        return read_start([point or {} for point in given or ()], space, self._unusable, self._mistakes)


def _parameter(name: str, form: Any, field: FieldInfo) -> Parameter:
    """A searched parameter without its condition. Raises `UserError` with its path as place."""
    if hasattr(form, "values"):
        return Parameter(name=name, kind="choice", values=tuple(form.values))
    return Parameter(
        name=name, kind=number_kind(field) or "choice", low=form.low, high=form.high, log=form.log, step=form.step
    )


def _conditions(search: Any, name: str, parameters: Mapping[str, Parameter]) -> dict[str, tuple[Any, ...]]:
    conditions = {}
    for parent, value in (getattr(search, name).when or {}).items():
        # A list is one value where the parent's choices are lists, and alternatives otherwise.
        single = not isinstance(value, list) or (parent in parameters and parameters[parent].allows(value))
        conditions[parent] = (value,) if single else tuple(value)
    return conditions


def check_settings(
    check: Check | None, fixed: Mapping[str, BaseModel], space: Space, baselines: Sequence[Baseline], mistakes: Mistakes
) -> None:
    """Try the workload's check on the fixed settings, on each baseline, and on each bound and choice of the search."""
    plain = {section: settings.model_dump() for section, settings in fixed.items()}

    def passes(params: Mapping[str, Any], path: EntryPath) -> bool:
        settings = {
            section: values | {name: value for name, value in params.items() if name in values}
            for section, values in plain.items()
        }
        try:
            for section, values in settings.items():
                if values != plain[section]:
                    type(fixed[section]).model_validate(values)
            if check is not None:
                check(settings)
        except ValidationError as error:
            mistakes.add(path, str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, "))
        except UserError as error:
            mistakes.add(path or error.place, error.problem)
        except ValueError as error:
            name, _, problem = str(error).partition(": ")
            owner = next((section for section, values in plain.items() if name in values), None)
            mistakes.add(path or (f"{owner}.{name}" if owner else ""), problem if owner else str(error))
        else:
            return True
        return False

    if not passes({}, ()):
        return  # all others would fail with it
    for row in baselines:
        passes(row.settings, ("baselines", row.name, "settings"))
    for parameter in space.parameters:
        context = space.context(parameter.name)
        probes: Iterable[tuple[EntryPath, Any]] = [(("low",), parameter.low), (("high",), parameter.high)]
        if parameter.kind == "choice":
            probes = ((("values", index), value) for index, value in enumerate(parameter.values))
        for key, value in probes:
            passes(context | {parameter.name: value}, ("search", parameter.name, *key))
