"""A study: read from its file, changed by `--set`, and checked whole before anything runs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from sweeps.errors import UserError
from sweeps.study.baselines import Baseline, read_baselines
from sweeps.study.checks import Check, Reading, check_settings, mapping
from sweeps.study.mistakes import Mistakes, shown
from sweeps.study.overrides import apply_overrides, extended, give_sections
from sweeps.study.pruners import PrunerSettings
from sweeps.study.samplers import SamplerSettings
from sweeps.study.space import Space
from sweeps.study.study_model import Budget, Compare, Confirm, Sections
from sweeps.study.yaml_file import Document, find_study, is_path, known_studies, parse_yaml, read_text, shown_path


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
    shipped: Path | None = None,
    overrides: Sequence[str] = (),
    check: Check | None = None,
    epochs: str | None = None,
    unsearchable: Collection[str] = (),
    shared: Collection[str] = (),
    data: str | None = None,
) -> Study:
    """Find, read and check a study.

    Args:
        name_or_path: a path (ends in .yaml or .yml, or has a separator), else a name that is looked up as
            `./studies/NAME.yaml` and then among the shipped studies.
        sections: section → settings model; field names are unique over all of them.
        shipped: folder of the shipped studies.
        overrides: `section.key=value` or `key=value`, see `sweeps.study.overrides.apply_overrides`.
        check: called with section → settings as dicts: once as fixed, once for each baseline, and once for each bound
            and each choice of each searched parameter (with values of other parameters under which it is searched).
            It raises `UserError` (its place is a path such as `model.prior`) or `ValueError` (`prior: what is wrong`)
            for what the models alone cannot see.
        epochs: setting that says how many epochs a trial has; the pruner hyperband needs it.
        unsearchable: settings that make results incomparable; they are never searched.
        shared: settings that belong to the whole study; no baseline changes them.
        data: section that says what is trained on; published results of baselines hold for the file's alone.

    Raises:
        UserError: for all mistakes of the file and the overrides, a line each.
    """
    path = find_study(str(name_or_path), shipped)
    document, mistakes, text = _read(path, sections, shipped, data)
    # By name, so that `--set sampler.startup_trials=3` finds the sampler.
    raw = {"sampler": "tpe", "pruner": "median"} | document.content
    raw, mistakes.overrides = apply_overrides(raw, overrides, sections, mistakes)
    reading = Reading(raw, sections, mistakes)
    space = reading.space(unsearchable)
    reading.refuse_shared(shared)
    rows = reading.file.baselines or {}
    published = not any(changed[0] == data for changed in mistakes.overrides)
    baselines = read_baselines(rows, mapping(raw.get("baselines")), mistakes, published=published)
    fixed = reading.fixed()
    if not any(entry[0] in sections for entry in reading.broken):
        check_settings(check, fixed, space, baselines, mistakes)
    reading.check_search(space)
    pruner = reading.pruner(space, fixed, epochs)
    start = reading.start(space)
    mistakes.raise_if_any()
    file = reading.file
    assert file.budget is not None
    return Study(
        name=path.stem,
        path=path,
        text=text,
        question=str(file.question).strip(),
        fixed=fixed,
        space=space,
        seed=file.seed,
        sampler=file.sampler,
        pruner=pruner,
        budget=file.budget,
        confirm=file.confirm,
        compare=file.compare,
        baselines=baselines,
        start=start,
    )


def list_studies(*, shipped: Path | None) -> list[StudySummary]:
    """Studies of `./studies`, then the shipped ones that these do not hide, by name. A broken file has its error for a question."""
    summaries: dict[str, StudySummary] = {}
    for name, path in known_studies(shipped).items():
        try:
            document, mistakes, _ = _read(path, None, shipped, None)
            question = document.content.get("question")
            if not question or not isinstance(question, str):
                mistakes = Mistakes(shown_path(path), document.places)
                mistakes.add(
                    ("question",), "is missing." if question is None else f"got {shown(question)}; must be text."
                )
                mistakes.raise_if_any()
            summaries[name] = StudySummary(name=name, question=str(question).strip(), path=path)
        except UserError as error:
            summaries[name] = StudySummary(name=name, question=str(error).splitlines()[0], path=path)
    return list(summaries.values())


def _read(
    path: Path, sections: Sections | None, shipped: Path | None, data: str | None, above: tuple[Path, ...] = ()
) -> tuple[Document, Mistakes, str]:
    """Content, mistakes so far and text of a study; with `extends`, of the study and its parents as one file.

    Without `sections` the entries stay where they stand.
    """
    file = shown_path(path)
    text = read_text(path)
    document = parse_yaml(text, file)
    if not isinstance(document.content, dict):
        got = "nothing" if document.content is None else f"a {type(document.content).__name__}"
        raise UserError(file, f"got {got}; must hold `name: value` lines such as `question:` and `search:`.")
    mistakes = Mistakes(file, document.places)
    if sections is not None:
        give_sections(document, sections, mistakes)
    parent = document.content.pop("extends", None)
    if parent is None:
        return document, mistakes, text
    files = (*above, path.resolve())
    if not isinstance(parent, str):
        mistakes.add(("extends",), f"got {shown(parent)}; must be the name or path of a study.")
        mistakes.raise_if_any()
    place = mistakes.place(("extends",))[1]
    if is_path(parent):
        found = path.parent / parent
        if not found.is_file():
            raise UserError(place, f"there is no file {shown_path(found)}.")
    else:
        found = find_study(parent, shipped, place)
    if found.resolve() in files:
        circle = " → ".join(shown_path(each) for each in (*files, found.resolve()))
        raise UserError(place, f"got '{parent}', but no study can extend itself: {circle}.")
    base, wrong, _ = _read(found, sections, shipped, data, files)
    wrong.raise_if_any()
    document = extended(base, document, sections or {}, data)
    mistakes.places = document.places
    content = yaml.safe_dump(document.content, allow_unicode=True, sort_keys=False, width=120)
    return document, mistakes, f"# {file}, which extends '{parent}', as one file.\n{content}"
