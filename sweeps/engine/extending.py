"""A study whose file has changed: which of its trials count in the stage that begins with the file,
and how that stage begins.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sweeps.engine.repeats import distinct_configurations
from sweeps.engine.warm_start import fitted
from sweeps.errors import UserError
from sweeps.results.rankings import ranked_trials
from sweeps.state.record import StudyRecord
from sweeps.state.stages import Stage, configuration_in, fixed_differences
from sweeps.state.state import State
from sweeps.state.trial import Trial
from sweeps.storage.definition import (
    check_definition,
    difference_lines,
    next_stages,
    recorded_stages,
    stage_changes,
)
from sweeps.study.space import frozen

if TYPE_CHECKING:
    from sweeps.study.study import Study

BEST = 3
"""So many configurations of the stage before come first where a fixed setting has changed."""


@dataclass(frozen=True, kw_only=True)
class Extension:
    """What a changed file means for a study."""

    lines: tuple[str, ...] = ()
    """What changes, and which trials count."""
    start: tuple[Mapping[str, Any], ...] = ()
    """What the first trials of the new stage take."""


def extension(
    before: StudyRecord, study: "Study", read: Callable[[], State], *, extend: bool
) -> Extension:
    """Return what a study file changes; nothing where it begins no stage.

    Args:
        before: the record of the study so far.
        read: reads the study.

    Raises:
        UserError: the file has changed, and `extend` is not given or cannot work.
    """
    check_definition(before, study, extend=True)
    changes = stage_changes(before.spec, study) if before.spec else {}
    stored = read() if changes else None
    if stored is None or not stored.trials:
        check_definition(before, study, extend=extend)
        return Extension()
    change = _Change(before, study, stored)
    place = f"study '{study.name}'"
    trials = len(stored.trials)
    if not extend:
        raise UserError(place, "\n".join(change.lines()))
    if study.budget.trials is not None and trials >= study.budget.trials:
        used = f"{trials} of {study.budget.trials} are used; give --trials {2 * trials}"
        raise UserError(place, f"stage {change.number} has no trial to begin: {used}.")
    head, *table, _ = change.lines()
    first = f"Stage {change.number} begins with trial {change.first}."
    return Extension(lines=(f"{place}: {head}", *table, first), start=change.start())


class _Change:
    """A file that differs from the record of a study with trials."""

    def __init__(self, before: StudyRecord, study: "Study", stored: State) -> None:
        self.study = study
        self.first = 1 + max(trial.number for trial in stored.trials)
        self._before = before
        self._recorded = recorded_stages(before, study)
        self._trials = stored.trials
        stages = next_stages(before, study, Stage(trial=self.first))
        self.number = len(stages)
        self._now = stages[-1]
        self._held = self._under(stored, stages[-2] if len(stages) > 1 else stages[-1])
        """The study as it stood in the last stage with trials."""
        self._after = self._under(stored, self._now)

    def _then(self, trial: Trial) -> Stage:
        """Return the stage that has the configuration of a trial as it is read."""
        return self._recorded[-1 if trial.counts else trial.stage - 1]

    def _under(self, stored: State, stage: Stage) -> State:
        """Return the study as if this stage were the present one."""
        trials = []
        for trial in stored.trials:
            point = configuration_in(stage, self._then(trial), trial.params)
            params = trial.params if point is None else point
            trials.append(replace(trial, counts=point is not None, params=params))
        record = replace(stored.study, stages=(stage,), spec=stage.spec)
        return replace(stored, study=record, trials=tuple(trials))

    def start(self) -> tuple[dict[str, Any], ...]:
        """Return the best configurations so far where a fixed setting has changed, as far as the
        new space has them.
        """
        then = self._held.study.stages[0]
        changed = fixed_differences(then, self._now).values()
        points: list[dict[str, Any]] = []
        if any(now is not None for _, now in changed):
            for _, params in distinct_configurations(self._held, then.space)[:BEST]:
                point, _ = fitted(params, then.fixed or {}, self.study)
                points += [] if point in points else [point]
        return tuple(points)

    # ---- in words ----

    def lines(self) -> list[str]:
        """Return what has changed, which trials count, and how to go on."""
        rows = dict(self._rows())
        width = max(len(line) for line, fitting in rows.items() if fitting)
        table = [f"  {line:<{width}}    {fitting}".rstrip() for line, fitting in rows.items()]
        head = f"the file has changed since its {len(self._trials)} trials (stored → file):"
        how = f"--extend begins stage {self.number} with this file; --name NEW begins a new study."
        return [head, *table, self._counts(), *self._forgotten(), how]

    def _rows(self) -> Iterator[tuple[str, str]]:
        """Yield a line for each difference, and how many trials it leaves inside."""
        then, now = self._recorded[-1], self._now
        for path, line in difference_lines(self._before, self.study):
            part, _, rest = path.partition(".")
            name = rest.partition(".")[0]
            if part not in {"search", *self.study.fixed}:
                yield line, ""
            elif (name in then.space.names) == (name in now.space.names):
                yield line, self._inside(name)
            else:  # it stands under its section and under the search, and is told once
                words = (_words(name, stage) for stage in (then, now))
                sections = self.study.fixed.items()
                own = (s for s, settings in sections if name in type(settings).model_fields)
                part = next(own, "search")
                yield f"{part}.{name}: {' → '.join(words)}", self._inside(name)

    def _inside(self, name: str) -> str:
        count = sum(self._fits(trial, name) for trial in self._trials)
        what = "lie inside" if name in self._now.space.names else "have this value"
        return f"{count} of {len(self._trials)} {what}"

    def _fits(self, trial: Trial, name: str) -> bool:
        """Whether a trial has a value of one setting that it could have in the new stage, or no
        use for it.
        """
        then = self._then(trial)
        own = {**(then.fixed or {}), **trial.params}
        if name in then.space.names and name not in trial.params:
            return True
        if name in own and name in self._now.space.names:
            return self._now.space[name].allows(own[name])
        here = self._now.fixed or {}
        return name in own and name in here and frozen(here[name]) == frozen(own[name])

    def _counts(self) -> str:
        after = {trial.number: trial.counts for trial in self._after.trials}
        counting = sum(after.values())
        if counting == len(after):
            return f"All {counting} trials count."
        words = f"{counting} trials count, {len(after) - counting} do not"
        best = next(iter(ranked_trials(self._held)), None)
        if best is None or after[best.number]:
            return f"{words}."
        own = [f"{n} = {v:.4g}" for n, v in best.params.items() if isinstance(v, int | float)]
        shown = ", ".join([f"{best.objective:.6g}", *own])
        name = best.name_in(self.study.name)
        return f"{words}, among them {name}, the best so far ({shown})."

    def _forgotten(self) -> Iterator[str]:
        """Yield a line for each `--set` of the last command that this one lacks."""
        words = shlex.split(str(self._before.provenance.get("command", "")))
        now = {text.partition("=")[0] for text in self.study.overrides}
        changes = stage_changes(self._before.spec, self.study)
        for word, text in pairwise(words):
            key = text.partition("=")[0]
            new = [values[1] for path, values in changes.items() if f".{path}".endswith(f".{key}")]
            if word == "--set" and new and key not in now:
                yield (
                    f"The last command had `--set {text}`: repeat it, or --extend returns to "
                    f"{new[0]} as stage {self.number}."
                )


def _words(name: str, stage: Stage) -> str:
    if name not in stage.space.names:
        return str((stage.fixed or {}).get(name))
    return f"searched, {stage.space[name].domain()}"
