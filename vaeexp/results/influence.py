"""What the search shows of each parameter: importance, holes, cost at equal epochs,
ends of ranges, failures.
"""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from sweeps import Bound, BoundHit, end_at, hits_of
from sweeps.results import promotes
from vaeexp.results.divergence import Divergence, divergences
from vaeexp.results.effects import ParameterEffect, parameter_effects
from vaeexp.results.equal_epochs import EqualEpochEffect, at_common_epoch, equal_epoch_effects
from vaeexp.results.holes import ChoiceHole, Holes, choice_holes, find_holes
from vaeexp.results.parameters import configuration_of, importance_table
from vaeexp.results.plan import StudyPlan
from vaeexp.results.tables import learned_trials


@dataclass(frozen=True, eq=False)
class Influence:
    """What the search of a study shows of its parameters."""

    plan: StudyPlan
    search: pd.DataFrame
    """As `StudyView.search`."""
    found: pd.DataFrame
    """As `StudyView.found`."""
    epochs: pd.DataFrame
    """As `StudyView.epochs`."""
    winner: pd.Series | None
    """As `StudyView.best_trial`."""

    @cached_property
    def learned(self) -> pd.DataFrame:
        """The trials from which the report learns what mattered, the best first (`learned_trials`);
        none with two objectives.
        """
        study = self.plan.study
        search = self.search.iloc[:0] if study.objectives else self.search
        return learned_trials(search, self.found, promotes=promotes(study))

    @cached_property
    def judged(self) -> frozenset[int]:
        """The numbers of those that are complete, or were promoted; `LEAST_TRIALS` of them say
        which parameters mattered.
        """
        return frozenset(self.learned.loc[self.learned["judged"], "number"])

    @cached_property
    def importances(self) -> pd.DataFrame:
        """Share of each searched parameter with its interval (share, low, high), the most important
        first.
        """
        return importance_table(self.plan.parameters, self.learned, self.plan.seed, self.left_out)

    # ---- where values were tried ----

    @cached_property
    def choice_holes(self) -> dict[str, list[ChoiceHole]]:
        """Searched choice → its values that were never tried where other values do well, of those
        that have any.
        """
        return choice_holes(self.plan.parameters, self.search, self.found)

    @cached_property
    def left_out(self) -> dict[str, list[str]]:
        """The same values as text; marginals leave them out."""
        return {name: [hole.text for hole in own] for name, own in self.choice_holes.items()}

    def uncovered(self, name: str) -> list[str]:
        """Return the values of a parameter that are left out; none of a range of numbers."""
        return self.left_out.get(name, [])

    def covered(self, trials: pd.DataFrame, name: str) -> pd.DataFrame:
        """Return the trials whose value of a parameter is covered; all of them for a range of
        numbers.
        """
        return trials[~self.plan.parameters[name].has(trials, self.uncovered(name))]

    @cached_property
    def holes(self) -> Holes:
        """What a test finds to be tried only with bad values of other parameters."""
        return find_holes(self.plan.parameters, self.learned)

    @cached_property
    def hits(self) -> list[BoundHit]:
        """The ends of what was searched at which the best trials lie (`hits_of`)."""
        rows = self.found.filter(like="params.").to_dict("records")
        parameters = self.plan.parameters
        return hits_of([*parameters.values()], [configuration_of(parameters, row) for row in rows])

    @cached_property
    def winner_ends(self) -> dict[str, Bound]:
        """Parameter → the end of what was searched at which the best configuration lies (`end_at`),
        of those that lie at one.
        """
        values = {} if self.winner is None else self.plan.params(self.winner)
        ends = {name: end_at(self.plan.parameters[name], value) for name, value in values.items()}
        return {name: end for name, end in ends.items() if end is not None}

    # ---- what a value costs ----

    @cached_property
    def effects(self) -> list[ParameterEffect]:
        """What the search shows of each searched parameter, in the order of the study file."""
        return parameter_effects(
            self.plan.parameters, self.importances, self.hits, self.winner_ends
        )

    @cached_property
    def equal_epochs(self) -> list[EqualEpochEffect]:
        """What each searched parameter costs at equal epochs, in the order of the study file; none
        with two objectives.
        """
        if self.plan.study.objectives:
            return []
        return equal_epoch_effects(
            self.plan.parameters,
            self.learned,
            self.found,
            self._searched_epochs,
            self.holes,
            first=None if self.winner is None else int(self.winner["number"]),
            least_epoch=self._least_epoch,
            seed=self.plan.seed,
        )

    @cached_property
    def at_equal_epochs(self) -> tuple[int, pd.DataFrame]:
        """The epoch at which `equal_epochs` compares, 0 where there is none; and the rows of
        `learned` that reached it, with their `value` there.
        """
        return at_common_epoch(self.learned, self._searched_epochs, self._least_epoch)

    @property
    def _searched_epochs(self) -> pd.DataFrame:
        return self.epochs.loc[~self.epochs["repeat"], ["number", "epoch", "objective"]]

    @property
    def _least_epoch(self) -> int:
        """The first epoch at which trials may be compared: that of the first rung, and after every
        warm-up.
        """
        return max([self.plan.warmup + 1, *self.plan.rungs[:1]])

    @cached_property
    def divergences(self) -> list[Divergence]:
        """The trials of the search that failed, by kind, and the parameter that separates them from
        the others.
        """
        return divergences(self.search, self.plan.parameters, self.winner)
