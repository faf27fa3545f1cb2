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
from sweeps.state.stages import Stage, configuration_in
from sweeps.state.state import State
from sweeps.state.trial import Trial
from sweeps.storage.definition import (
    check_definition,
    difference_lines,
    next_stages,
    recorded_stages,
    stage_changes,
)
from sweeps.study.space import Parameter, as_lists, frozen

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
    trials = read().trials if changes else ()
    if not trials:
        check_definition(before, study, extend=extend)
        return Extension()
    change = _Change(before, study, read())
    place = f"study '{study.name}'"
    used = f"{len(trials)} of {study.budget.trials} are used"
    if not extend:
        raise UserError(place, "\n".join(change.lines()))
    if study.budget.trials is not None and len(trials) >= study.budget.trials:
        more = f"give --trials {2 * len(trials)}"
        raise UserError(place, f"stage {change.number} has no trial to begin: {used}; {more}.")
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
        searched = {*then.space.names, *self._now.space.names}
        here = self._now.fixed or {}
        old = then.fixed or here
        if all(
            frozen(old.get(name, here[name])) == frozen(here[name])
            for name in here.keys() - searched
        ):
            return ()
        points: list[dict[str, Any]] = []
        for _, params in distinct_configurations(self._held, then.space)[:BEST]:
            point, _ = fitted(params, old, self.study)
            if point not in points:
                points.append(point)
        return tuple(points)

    # ---- in words ----

    def lines(self) -> list[str]:
        """Return what has changed, which trials count, and how to go on."""
        name = self.study.name
        rows = list(self._rows())
        width = max(len(left) for left, right in rows if right)
        table = [f"  {left:<{width}}    {right}".rstrip() for left, right in rows]
        head = f"the file has changed since its {_plural(len(self._trials))} (stored → file):"
        how = f"--extend begins stage {self.number} with this file; --name NEW begins a new study."
        return [head, *table, self._counts(name), *self._forgotten(), how]

    def _rows(self) -> Iterator[tuple[str, str]]:
        """Yield a line for each difference, and how many trials it leaves inside."""
        told = set[str]()
        for path, line in difference_lines(self._before, self.study):
            setting = self._setting(path)
            if setting is None:
                yield line, ""
            elif setting not in told:
                told.add(setting)
                yield self._change_of(setting) or line, self._inside(setting)
            elif self._change_of(setting) is None:
                yield line, ""

    def _setting(self, path: str) -> str | None:
        """Return the setting of a trial that a difference is about."""
        part, _, rest = path.partition(".")
        return rest.partition(".")[0] if part in {"search", *self.study.fixed} else None

    def _change_of(self, setting: str) -> str | None:
        """Say that a setting is searched only now, or no longer; None where that has not
        changed.
        """
        spaces = self._recorded[-1].space, self._now.space
        searched = [setting in space.names for space in spaces]
        if searched[0] == searched[1]:
            return None
        fixed = self._recorded[-1].fixed or {}, self._now.fixed or {}
        words = [
            f"searched, {_domain(space[setting])}"
            if setting in space.names
            else _value(known.get(setting))
            for space, known in zip(spaces, fixed, strict=True)
        ]
        sections = (s for s, own in self.study.fixed.items() if setting in type(own).model_fields)
        return f"{next(sections, 'search')}.{setting}: {' → '.join(words)}"

    def _inside(self, setting: str) -> str:
        count = sum(self._fits(trial, setting) for trial in self._trials)
        total = len(self._trials)
        searched = setting in self._now.space.names
        one, many = ("lies", "lie") if searched else ("has", "have")
        what = "inside" if searched else "this value"
        if not count:
            return f"none of {total} {one} {what}" if total > 1 else f"it {one} not {what}"
        number = f"all {total}" if count == total else f"{count} of {total} trials"
        if searched and setting not in self._recorded[-1].space.names and count == total:
            value = (self._recorded[-1].fixed or {}).get(setting)
            return f"{number}, at {setting} = {_value(value)}"
        return f"{number} {one if count == 1 else many} {what}"

    def _fits(self, trial: Trial, setting: str) -> bool:
        """Whether a trial has a value of one setting that it could have in the new stage, or no
        use for it.
        """
        then = self._then(trial)
        if setting in then.space.names and setting not in trial.params:
            return True
        own = {**(then.fixed or {}), **trial.params}
        if setting not in own:
            return False
        if setting in self._now.space.names:
            return self._now.space[setting].allows(own[setting])
        here = self._now.fixed or {}
        return setting in here and frozen(here[setting]) == frozen(own[setting])

    def _counts(self, name: str) -> str:
        counting = sum(trial.counts for trial in self._after.trials)
        rest = len(self._trials) - counting
        if not rest:
            return f"All {_plural(counting)} count." if counting > 1 else "The trial counts."
        words = f"{_plural(counting)} count{'s' if counting == 1 else ''}, {rest} "
        words += "does not" if rest == 1 else "do not"
        if not counting:
            words = (
                f"None of the {_plural(rest)} counts" if rest > 1 else "The trial does not count"
            )
        best = next(iter(ranked_trials(self._held)), None)
        after = {trial.number: trial for trial in self._after.trials}
        if best is None or after[best.number].counts:
            return f"{words}."
        outside = [
            f"{key} = {_value(value)}"
            for key, value in best.params.items()
            if not self._fits(best, key)
        ]
        shown = ", ".join([f"{best.objective:.6g}", *outside])
        return f"{words}, among them {best.name_in(name)}, the best so far ({shown})."

    def _forgotten(self) -> Iterator[str]:
        """Yield a line for each `--set` of the last command that this one lacks."""
        words = shlex.split(str(self._before.provenance.get("command", "")))
        last = [text for word, text in pairwise(words) if word == "--set"]
        now = {text.partition("=")[0] for text in self.study.overrides}
        changes = stage_changes(self._before.spec, self.study)
        for text in last:
            key = text.partition("=")[0]
            found = [path for path in changes if path == key or path.endswith(f".{key}")]
            if found and key not in now:
                yield (
                    f"The last command had `--set {text}`: repeat it, or --extend returns to "
                    f"{_value(changes[found[0]][1])} as stage {self.number}."
                )


def _plural(count: int) -> str:
    return f"{count} trial" if count == 1 else f"{count} trials"


def _domain(parameter: Parameter) -> str:
    if parameter.kind == "choice":
        return ", ".join(_value(as_lists(value)) for value in parameter.values)
    return f"{parameter.low:g} to {parameter.high:g}"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "absent" if value is None else str(value)
