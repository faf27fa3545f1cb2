"""The plan of the repeats of a study whose confirmation is a race: it grows with the runs that have ended.

The race looks at complete seeds alone: all configurations in it have ended their run with a seed before any begins with the next. So
neither the order in which runs end nor a kill changes the plan. Meanwhile free lanes train comparisons and baselines, but for runs
that the race may still ask for, because those are to look at the test images, too.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial, TrialState

from sweeps.engine.repeats import identity_of, plan_repeats
from sweeps.results.racing import Ending, Race, run_race
from sweeps.storage.study_record import StoredStudy
from sweeps.storage.trial_record import Repeat, newest_of_each, stored_repeat

if TYPE_CHECKING:
    from sweeps.study import Study


class GrowingPlan:
    """The repeats so far → the plan by now, and whether it is the last (`sweeps.engine.repeats.Replan`)."""

    def __init__(self, stored: StoredStudy, study: "Study") -> None:
        assert study.confirm is not None
        self._stored, self._study, self._seeds = stored, study, study.confirm.seeds
        self._runs = {
            identity_of(run): (run.source_trial, run.seed_index)
            for run in plan_repeats(stored, study)
            if "confirm" in run.purposes and run.source_trial is not None
        }
        """Runs that the race may ask for: identity → trial of the search and place of the seed."""
        self._plans: dict[tuple[tuple[tuple[int, int], ...], Ending], list[Repeat]] = {}

    def __call__(self, trials: Sequence[FrozenTrial]) -> tuple[Sequence[Repeat], bool]:
        race = self._race(trials)
        key = tuple(race.seeds.items()), race.ended
        if key not in self._plans:
            self._plans[key] = self._plan(race)
        return self._plans[key], bool(race.ended)

    def _race(self, trials: Sequence[FrozenTrial]) -> Race:
        values: dict[int, list[float | None]] = {trial: [None] * self._seeds for trial, _ in self._runs.values()}
        for stored in newest_of_each(trials):
            run = stored_repeat(stored)
            if run.test and stored.state.is_finished() and (place := self._runs.get(identity_of(run))):
                trial, index = place
                values[trial][index] = stored.value if stored.state == TrialState.COMPLETE else math.nan
        return run_race(values, self._seeds)

    def _plan(self, race: Race) -> list[Repeat]:
        plan = plan_repeats(self._stored, self._study, race.seeds)
        if race.ended:
            return plan
        return [run for run in plan if "confirm" in run.purposes or identity_of(run) not in self._runs]
