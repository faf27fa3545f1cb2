"""What a study takes over from other studies of its storage when it begins: its first trials, and
trials that teach its sampler.

Both are looked up once and recorded with the study, so that it repeats exactly when the other
studies have changed or are gone.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.engine.repeats import distinct_configurations
from sweeps.errors import UserError, did_you_mean
from sweeps.state.record import LearnedTrial, StudyRecord
from sweeps.state.state import State
from sweeps.state.trial import Trial
from sweeps.storage import open_storage, study_names
from sweeps.storage.study_record import json_able, read_state
from sweeps.study.space import frozen
from sweeps.study.start import BestOf
from sweeps.study.yaml_file import shown_path

if TYPE_CHECKING:
    from sweeps.study.study import Study

Protocol = Mapping[str, Any]
"""Facts that two values of the objective must share to be compared, by name, JSON-able. `objective`
names what is minimised.
"""
Read = Callable[[str, str], State]
"""(name of another study, entry of the study file that names it) → that study."""


def study_reader(url: str | None, runs: Path, study: "Study") -> Read:
    """Return what reads other studies of a storage. It raises UserError where there is none of a
    name.
    """

    def read(name: str, place: str) -> State:
        others = [other for other in study_names(runs, url) if other != study.name]
        if name not in others:
            problem = (
                "is this study itself" if name == study.name else "is no study of this storage"
            )
            hint = did_you_mean(name, others) if others else "It holds no other study."
            raise UserError(place, f"got '{name}', which {problem}. {hint}")
        return read_state(open_storage(url, runs, name, must_exist=True), name)

    return read


def warm_start(
    study: "Study", before: StudyRecord, protocol: Protocol, read: Read
) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of the record for what a study takes over, and lines for the user.

    Entries with which the study has begun are not looked up again.

    Args:
        before: the record of the study so far.

    Raises:
        UserError: a study that is named does not exist, has too few configurations, or another
            objective or protocol.
    """
    spec = json_able(study.spec())
    lines = list[str]()
    fields: dict[str, Any] = {}
    if spec.get("start") != before.spec.get("start"):
        fields["start"] = _first_points(study, protocol, read, lines)
    if spec.get("learn_from") != before.spec.get("learn_from"):
        fields["learned"] = _learned_trials(study, protocol, read, lines)
    return {name: value for name, value in fields.items() if value or getattr(before, name)}, lines


# ---- first trials ----


def _first_points(
    study: "Study", protocol: Protocol, read: Read, lines: list[str]
) -> list[dict[str, Any]]:
    """Return the values of each of the first trials; none where `start:` names no study, because
    the file says it all.
    """
    if not any(isinstance(entry, BestOf) for entry in study.start):
        return []
    points: list[dict[str, Any]] = []
    for index, entry in enumerate(study.start, start=1):
        if not isinstance(entry, BestOf):
            points.append(dict(entry))
            continue
        place = f"{shown_path(study.path)}: start.{index}"
        other = read(entry.study, f"{place}.study")
        there = other.study.protocol.get("objective")
        here = protocol.get("objective")
        if there is not None and there != here:
            problem = f"got '{entry.study}', whose objective is {there}; must be {here}, as here."
            raise UserError(f"{place}.study", problem)
        best = distinct_configurations(other, other.study.space)
        if len(best) < entry.top:
            problem = (
                f"got {entry.top}; must be at most {len(best)}, the configurations that "
                f"'{entry.study}' has found."
            )
            raise UserError(f"{place}.top", problem)
        for number, params in best[: entry.top]:
            point, without = fitted(params, other.study.constants, study)
            name = f"start.{index}: the configuration of {entry.study}/{number}"
            if without:
                lines.append(f"{name} goes without {'; and without '.join(without)}.")
            if point in points:
                lines.append(f"{name} is left out, because an earlier entry is equal.")
            else:
                points.append(point)
    return points


def fitted(
    params: Mapping[str, Any], constants: Mapping[str, Any], study: "Study"
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of a configuration of another study that this study can search, and in
    words the values that it cannot.

    Args:
        params: searched there.
        constants: settings that all trials share there. They count where this study searches them.
    """
    point: dict[str, Any] = {}
    without = []
    for parameter in study.space.parameters:
        if parameter.name in params:
            value = params[parameter.name]
        elif parameter.name in constants and parameter.name in study.space.active(point):
            value = constants[parameter.name]
        else:
            continue
        if parameter.allows(value):
            types = {"float": float, "int": int}
            point[parameter.name] = types.get(parameter.kind, lambda choice: choice)(value)
        else:
            reason = f"here it takes {parameter.domain()}; the sampler chooses another"
            without.append(f"{parameter.name} = {value}, because {reason}")
    here = _fixed(study)
    for name, value in params.items():
        if name not in study.space.names and frozen(here.get(name)) != frozen(value):
            fixed = f"is fixed at {here[name]}" if name in here else "does not exist"
            without.append(f"{name} = {value}, because here it {fixed}")
    return point, without


def _fixed(study: "Study") -> dict[str, Any]:
    """Return the settings that the study does not search, by name."""
    settings: dict[str, Any] = {}
    for section in study.fixed.values():
        settings |= section.model_dump(mode="json")
    return {name: value for name, value in settings.items() if name not in study.space.names}


# ---- trials that teach the sampler ----


def _learned_trials(
    study: "Study", protocol: Protocol, read: Read, lines: list[str]
) -> list[LearnedTrial]:
    """Return the finished trials of the study that `learn_from` names that lie in this study's
    space, in their order.
    """
    if study.learn_from is None:
        return []
    place = f"{shown_path(study.path)}: learn_from"
    other = read(study.learn_from, place)
    _check_protocol(place, study.learn_from, other.study.protocol, protocol)
    ended = [
        trial
        for trial in other.trials
        if trial.state in ("complete", "pruned") and trial.duplicate_of is None and trial.counts
    ]
    lessons = [
        lesson for trial in ended if (lesson := _lesson(trial, other.study, study)) is not None
    ]
    if not lessons:
        problem = (
            f"got '{study.learn_from}', of whose {len(ended)} finished trials none lies in the "
            "space that is searched here."
        )
        raise UserError(place, f"{problem} Drop the entry, or search the same ranges.")
    rest = len(ended) - len(lessons)
    more = f"; {rest} more do not lie in the space that is searched here" if rest else ""
    lines.append(
        f"The sampler also learns from {len(lessons)} trials of '{study.learn_from}'{more}."
    )
    return lessons


def _check_protocol(place: str, name: str, there: Protocol, here: Protocol) -> None:
    """Raise UserError where the values of two studies cannot be compared, or where that is not
    known.
    """
    if here and here == there:
        return
    facts = [fact for fact in {**here, **there} if here.get(fact) != there.get(fact)]
    differences = [
        f"{fact} is {there.get(fact, 'not recorded')} there and {here.get(fact, 'not recorded')} "
        "here"
        for fact in facts
    ]
    known = "; ".join(differences) or "neither study records one"
    problem = f"got '{name}', whose protocol differs: {known}."
    remedy = f"Its best configurations can still be tried first: `start: [{{study: {name}}}]`."
    raise UserError(place, f"{problem} {remedy}")


def _lesson(trial: Trial, theirs: StudyRecord, study: "Study") -> LearnedTrial | None:
    """Return a trial of another study as the sampler is to see it; None where it does not lie in
    the space of this study.

    It lies there if it has a value for each parameter that is active, its own or one that its study
    fixes, and if each choice that it drew and that is fixed here has the same value. Other settings
    may differ.
    """
    point, _ = fitted(trial.params, theirs.constants, study)
    active = study.space.active(point)
    if any(name not in point for name in active):
        return None
    params = {name: point[name] for name in active}
    here = _fixed(study)
    their_space = theirs.space
    for name, value in trial.params.items():
        drawn = (
            name not in study.space.names
            and name in their_space.names
            and their_space[name].kind == "choice"
        )
        if drawn and frozen(here.get(name)) != frozen(value):
            return None
    if trial.state == "complete" and trial.objective is not None:
        return LearnedTrial(params=params, objective=trial.objective)
    newest = trial.newest_objective if trial.counted else None
    if trial.state == "complete" or newest is None or not math.isfinite(newest):
        return None
    return LearnedTrial(params=params, objective=newest, pruned_after=max(trial.objectives))
