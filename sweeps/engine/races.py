"""The plan of the repeats where it grows with the runs that have ended: the confirmation is a race,
or decides which configuration baselines change.

A race looks at complete seeds alone: all configurations in it have ended their run with a seed
before any begins with the next. Baselines on the best setting are trained on the winner, too, once
every confirming run has ended. So neither the order in which runs end nor a kill changes the plan.
Meanwhile free lanes train comparisons and baselines, but for runs that the race may still ask for,
because those are to look at the test images, too.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sweeps.engine.repeats import Replan, identity_of, plan_repeats
from sweeps.results.racing import Ending, Race, run_race
from sweeps.results.rankings import confirmed_winner
from sweeps.state.state import State
from sweeps.state.trial import Repeat, Trial

if TYPE_CHECKING:
    from sweeps.study.study import Study

_Values = Mapping[int, Sequence[float | None]]
"""Trial → objective of its configuration for each seed index: None where the run has not ended, NaN
where it failed.
"""


class GrowingPlan:
    """The repeats so far → the plan by now, and whether it is the last
    (`sweeps.engine.repeats.Replan`).
    """

    def __init__(self, stored: State, study: "Study") -> None:
        assert study.confirm is not None
        self._stored = stored
        self._study = study
        self._confirm = study.confirm
        self._runs = {
            identity_of(run): (run.source_trial, run.seed_index)
            for run in plan_repeats(stored, study)
            if "confirm" in run.purposes and run.source_trial is not None
        }
        """Runs that the confirmation may ask for: identity → trial of the search and place of the
        seed.
        """
        self._plans: dict[tuple[tuple[tuple[int, int], ...], Ending, int | None], list[Repeat]] = {}

    def __call__(self, trials: Sequence[Trial]) -> tuple[Sequence[Repeat], bool]:
        values = self._values(trials)
        race = run_race(values, self._confirm.seeds) if self._confirm.race else None
        ended = bool(race.ended) if race else all(None not in own for own in values.values())
        complete = {
            trial: [value for value in own if value is not None and not math.isnan(value)]
            for trial, own in values.items()
        }
        winner = confirmed_winner(complete, race) if ended else None
        key = (tuple(race.seeds.items()), race.ended, winner) if race else ((), "", winner)
        if key not in self._plans:
            self._plans[key] = self._plan(race, winner)
        return self._plans[key], ended

    def _values(self, trials: Sequence[Trial]) -> _Values:
        values: dict[int, list[float | None]] = {
            trial: [None] * self._confirm.seeds for trial, _ in self._runs.values()
        }
        for run in trials:
            if run.test and run.finished and (place := self._runs.get(identity_of(run))):
                trial, index = place
                values[trial][index] = run.value if run.state == "complete" else math.nan
        return values

    def _plan(self, race: Race | None, winner: int | None) -> list[Repeat]:
        plan = plan_repeats(self._stored, self._study, race.seeds if race else None, winner)
        if race is None or race.ended:
            return plan
        return [
            run for run in plan if "confirm" in run.purposes or identity_of(run) not in self._runs
        ]


def plan_of(stored: State, study: "Study") -> Sequence[Repeat] | Replan:
    """Return the plan of the repeats of a study, in the form that `run_repeats` takes; it grows
    where it depends on the confirmation.
    """
    confirm = study.confirm
    if confirm is None:
        return plan_repeats(stored, study)
    chooses = confirm.top > 1 and any(row.at == "best" for row in study.baselines)
    return GrowingPlan(stored, study) if confirm.race or chooses else plan_repeats(stored, study)
