"""One study as plots and report see it. The package itself finds studies and runs by their names,
without pandas.

`StudyView`, `study_tables` and `summarise_study` are imported when they are first used, because
they bring pandas.

A run is `beta_mnist/7` (a trial), `beta_mnist/r3` (a repeat) or `beta_mnist/best` (the best run of
the study).
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import lazy_loader

from sweeps import (
    Bound,
    BoundHit,
    Growth,
    Searched,
    State,
    Trial,
    UserError,
    end_of,
    further_number,
    hits_of,
    limits_of,
    named_run,
    number_type,
    open_storage,
    read_state,
    run_folder,
    run_name,
    wider_end,
)
from sweeps.results import best_record, found_trials, front_trials
from vaeexp.results.statements import Figure, Statement, say
from vaeexp.settings import SECTIONS

if TYPE_CHECKING:
    from vaeexp.results.study_summary import summarise_study
    from vaeexp.results.study_view import StudyView
    from vaeexp.results.tables import study_tables

__all__ = ["StudyView", "study_tables", "summarise_study"]
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "tables": ["study_tables"],
        "study_summary": ["summarise_study"],
        "study_view": ["StudyView"],
    },
)

FORMS = "Name a run as STUDY/7 (a trial), STUDY/r3 (a repeat) or STUDY/best."
_RUN = re.compile(r"(?:.*/)?([A-Za-z0-9_-]+)/(best|[a-z]*-?\d+)/?", re.ASCII)


def stored_study(study: str, runs: Path, storage: str | None) -> State:
    """Return the records of a study, by its name or the path of its file. Raises UserError where
    there is nothing.
    """
    name = study_name(study)
    return read_state(open_storage(storage, runs, name, must_exist=True), name)


def study_name(study: str) -> str:
    """Return the name of a study that is given by its name, or by the path of its file."""
    return Path(study).stem if study.endswith((".yaml", ".yml")) else study


@dataclass(frozen=True)
class RunName:
    """A trial or repeat of a study; `number` is None for the best of both."""

    study: str
    number: int | None = None
    repeat: bool = False

    def __str__(self) -> str:
        return (
            f"{self.study}/best"
            if self.number is None
            else run_name(self.study, self.number, repeat=self.repeat)
        )

    @property
    def folder(self) -> str:
        """Name of the run's folder: `trial-0007`, `repeat-0003`."""
        assert self.number is not None
        return run_folder(self.number, repeat=self.repeat)

    def record(self, stored: State) -> Trial:
        """Return what the study has recorded of the run. Raises UserError where there is no such
        run.
        """
        return (
            best_of(stored) if self.number is None else stored.run(self.number, repeat=self.repeat)
        )


def parse_run(text: str) -> RunName | None:
    """Return the run that a text names, None where it names none; `beta_mnist/trial-0007` and the
    path of a run's folder are names, too.
    """
    match = _RUN.fullmatch(text)
    if match is None:
        return None
    if match[2] == "best":
        return RunName(match[1])
    named = named_run(match[2])
    return RunName(match[1], number=named[1], repeat=named[0]) if named else None


def best_of(stored: State) -> Trial:
    """Return the best run of a study, chosen on validation. Raises UserError where no run is
    complete, or none is the best of two objectives.
    """
    if run := best_record(stored):
        return run
    name = stored.study.name
    problem = "none of its runs is complete yet, so none is the best."
    if stored.study.objectives:
        front = ", ".join(trial.name_in(name) for trial in front_trials(stored)) or "no trial yet"
        problem = (
            f"has two objectives, so none of its runs is the best. Name one of its front: {front}."
        )
    raise UserError(f"study '{name}'", problem)


# ---- ranges that are too narrow ----


def wider_ranges(stored: State) -> list[Statement]:
    """Return which ranges a search has widened, and at which ends its best trials pile up, with the
    option that widens the range.
    """
    space = stored.study.space
    steps = [grown(growth, growth.parameter) for growth in stored.study.grown]
    for hit in hits_of(space.parameters, [trial.params for trial in found_trials(stored)]):
        if hit.told:
            parameter = space[hit.parameter]
            option = widening_option(parameter, hit.bound)
            option = option and f"{option} --extend"
            steps.append(piled_up(hit, parameter, parameter.name, option))
    return steps


def piled_up(
    hit: BoundHit, parameter: Searched, label: str, option: str | None = None
) -> Statement:
    """Return how many of the best trials lie at an end of a range or of a list, and the option that
    searches beyond.
    """
    values = {name: getattr(hit, name) for name in ("count", "top", "near", "ranked", "bound")}
    values |= {"parameter": label, "option": option}
    if parameter.kind != "choice":
        return say("check.pile", **values)
    end = Figure(float(end_of(parameter, hit.bound)), digits=None)
    return say(f"check.pile_at_{hit.bound}", **values, end=end)


def grown(growth: Growth, label: str) -> Statement:
    """Return which end the search has widened, and from which trial on."""
    return say(
        "check.grown",
        parameter=label,
        way="up" if growth.bound == "upper" else "down",
        trial=growth.trial,
        end=Figure(float(growth.end), digits=None),
    )


def widening_option(parameter: Searched, bound: Bound) -> str | None:
    """Return the option that widens a range by one step, or a list by one number; None where its
    setting allows no value beyond.
    """
    fields = [
        model.model_fields[parameter.name]
        for model in SECTIONS.values()
        if parameter.name in model.model_fields
    ]
    limits = limits_of(number_type(fields[0])) if fields else {}
    if parameter.kind == "choice":
        number = further_number(parameter, bound, limits)
        longer = [*parameter.values, number] if bound == "upper" else [number, *parameter.values]
        return (
            None
            if number is None
            else f"--set {shlex.quote(f'search.{parameter.name}.values={longer}')}"
        )
    end = wider_end(parameter, bound, limits)
    side = "low" if bound == "lower" else "high"
    return None if end is None else f"--set search.{parameter.name}.{side}={end:.10g}"
