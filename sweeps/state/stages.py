"""The stages of a study: its space and its fixed settings from one trial on, and which trials of
earlier stages the present one could have proposed.

A study begins a stage where its file changes what a trial may be (`--extend`), and where the search
widens a range by itself. A trial belongs to the stage in which it began. It *counts* if the present
stage could have proposed it: each of its settings, searched or fixed, equals what is fixed now or
lies in what is searched now. Trials that do not count stay on record and decide nothing.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from sweeps.state.trial import Trial
from sweeps.study.ranges import Growth
from sweeps.study.space import Parameter, Space, frozen


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a study searches and fixes from one trial on."""

    trial: int = 0
    """Number of its first trial."""
    repeat: int = 0
    """Number of its first repeat."""
    at: float | None = None
    """Time at which it began, in unix seconds; None of the first."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """`Study.spec()`, with the ranges of the file."""
    fixed: Mapping[str, Any] | None = field(default_factory=dict)
    """Setting → its value where it is not searched; the searched ones stand at their defaults.
    Settings of figures are left out. None where an older version did not record it.
    """
    text: str = ""
    """The study file."""
    start: tuple[Mapping[str, Any], ...] = ()
    """What its first trials take: the best configurations of the stage before."""
    grown: tuple[Growth, ...] = ()
    """All steps beyond the ranges of the file that the search has taken by then."""
    suffix: str = ""
    """Suffix of the name of the Optuna study that holds its trials."""

    @cached_property
    def space(self) -> Space:
        """The search space, with the ranges that the search has widened."""
        return Space.from_dict(self.spec.get("search") or {}).grown(self.grown)

    @property
    def by_search(self) -> bool:
        """Whether the search began it by itself, with a wider range."""
        return any(step.trial == self.trial for step in self.grown)


def stage_at(stages: Sequence[Stage], number: int, *, repeat: bool = False) -> int:
    """Return the place, from 0, of the stage in which the trial or repeat of a number began."""
    name = "repeat" if repeat else "trial"
    later = (getattr(stage, name) <= number for stage in stages[1:])
    return sum(later)


def configuration_in(now: Stage, then: Stage, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a configuration of an earlier stage as the present one would have it; None where it
    could not have proposed it.

    Args:
        params: values of what was searched and active then.
    """
    if then.fixed is None:
        return None
    own = {**then.fixed, **params}
    point: dict[str, Any] = {}
    for parameter in now.space.parameters:
        name = parameter.name
        if name not in now.space.active(point):
            continue
        if name not in own or not parameter.allows(own[name]):
            return None
        point[name] = _typed(parameter, own[name])
    rest = {name: value for name, value in own.items() if name not in point}
    here = now.fixed or {}
    known = all(name in here for name in params if name in rest)
    return point if known and _agree(here, rest) else None


def _typed(parameter: Parameter, value: Any) -> Any:
    types = {"float": float, "int": int}
    return types.get(parameter.kind, lambda choice: choice)(value)


def _agree(settings: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Whether settings that both know are equal; a version may have added or dropped some."""
    return all(frozen(settings[name]) == frozen(others[name]) for name in settings.keys() & others)


def placed(trial: Trial, stages: Sequence[Stage], counting: Container[int] | None = None) -> Trial:
    """Return a trial or repeat with its stage, and whether it counts. The configuration of one that
    counts is as the present stage has it.

    Args:
        counting: numbers of the trials of the search that count; a repeat of another one does not.
            None where that is not asked.
    """
    if len(stages) < 2:
        return trial
    place = stage_at(stages, trial.first, repeat=trial.repeat)
    then, now = stages[place], stages[-1]
    trial = replace(trial, stage=place + 1)
    if then is now:
        return trial
    point = configuration_in(now, then, trial.params)
    if trial.repeat and trial.baseline:  # a baseline may set what the search does not
        own = {name: v for name, v in (then.fixed or {}).items() if name not in trial.params}
        agrees = then.fixed is not None and _agree(now.fixed or {}, own)
        point = dict(trial.params) if agrees else None
    if counting is not None and trial.source_trial is not None:
        point = point if trial.source_trial in counting else None
    if point is not None:
        return replace(trial, params=point)
    return replace(trial, counts=False, purposes=(), pair_ids=(), baseline=None)


def fixed_differences(stage: Stage, other: Stage) -> dict[str, tuple[Any, Any]]:
    """Return the settings that a stage fixes otherwise than another one: name → its value there and
    in the other, None where that searches it.
    """
    theirs = {**(other.fixed or {}), **dict.fromkeys(other.space.names)}
    own = {**(stage.fixed or {}), **dict.fromkeys(stage.space.names)}
    return {
        name: (value, theirs[name])
        for name, value in own.items()
        if value is not None and name in theirs and frozen(theirs[name]) != frozen(value)
    }
