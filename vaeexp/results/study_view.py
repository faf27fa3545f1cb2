"""One study as plots and report see it: every selection and every statistic of it, typed and
computed once.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, wraps
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from sweeps import StudyRecord
from sweeps.results import Results, compared_levels, found_rows, ranked
from vaeexp.results import stored_study
from vaeexp.results.front_view import FrontView, front_view
from vaeexp.results.influence import Influence
from vaeexp.results.interactions import Interaction, find_interactions
from vaeexp.results.plan import StudyPlan
from vaeexp.results.retrained import Retrained
from vaeexp.results.tables import (
    Arrays,
    at_last_epoch,
    epochs_of,
    read_arrays,
    search_trials,
    study_tables,
    with_best_epoch,
)
from vaeexp.results.tested_settings import PairComparison, TestedSetting, compare_pairs, corrected
from vaeexp.results.verdict import Verdict, of_rows
from vaeexp.words import naming, noun_of

LOOKED_AT = 500
"""Trials of the search, the best ones, whose files may stand for those of the best model."""


@dataclass(frozen=True, eq=False)
class StudyView:
    """A study in any state. Build it once for a report (`open_study`); nothing in it changes
    afterwards.

    Each part is computed when it is first asked for: `plan` what the study asks for, `verdict`
    whether it learned anything, `retrained` what has fresh seeds, `influence` what the search shows
    of its parameters.
    """

    results: Results
    _opened: dict[str, tuple[pd.Series, Arrays] | None] = field(default_factory=dict, init=False)

    @property
    def study(self) -> StudyRecord:
        return self.results.study

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial of the search and per repeat that counts, as `Results.trials`."""
        trials = self.results.trials
        return trials if trials["counts"].all() else trials[trials["counts"]]

    @property
    def epochs(self) -> pd.DataFrame:
        """One row per reported epoch, as `Results.epochs`."""
        return self.results.epochs

    @cached_property
    def plan(self) -> StudyPlan:
        return StudyPlan(self.study, self.trials)

    @property
    def noun(self) -> str:
        """What one element of its data is called: image, signal or row."""
        shape = self.plan.recorded("data").get("image_shape")
        kind = "signal" if shape and shape[1] == 1 else "image"
        return noun_of("table" if self.study.provenance.get("columns") else kind)

    # ---- the search ----

    @cached_property
    def search(self) -> pd.DataFrame:
        """Trials of the search by number, without those that repeat an earlier configuration."""
        return search_trials(self.trials)

    @cached_property
    def ranked(self) -> pd.DataFrame:
        """Complete trials of the search, the best first; none with two objectives."""
        return ranked(self.results)

    @cached_property
    def found(self) -> pd.DataFrame:
        """The same, then those that `promotion` paused (`found_rows`)."""
        return found_rows(self.results, self.ranked)

    @cached_property
    def last_epochs(self) -> pd.DataFrame:
        """Trials of the search with the metrics of their last epoch (`val/rate`, …), without trials
        that have no epoch.
        """
        return at_last_epoch(self.epochs, self.search)

    @cached_property
    def front(self) -> FrontView | None:
        """The front of the search; None where the study has one objective."""
        return (
            front_view(self.last_epochs, self.study.objectives) if self.study.objectives else None
        )

    @cached_property
    def verdict(self) -> Verdict:
        own = epochs_of(self.search, self.epochs)
        return Verdict(self.study, of_rows(with_best_epoch(own, self.search, "val"), own))

    # ---- the best, and what was trained again ----

    @cached_property
    def retrained(self) -> Retrained:
        return Retrained(self.results, self.plan, self.search, self.ranked, self.found)

    @property
    def confirmed(self) -> list[TestedSetting]:
        """As `Retrained.confirmed`."""
        return self.retrained.confirmed

    @property
    def best(self) -> TestedSetting | None:
        """As `Retrained.best`."""
        return self.retrained.best

    @property
    def best_number(self) -> int | None:
        """The number of the trial of the search that has the best configuration."""
        return None if self.best is None else self.best.source_trial

    @cached_property
    def best_trial(self) -> pd.Series | None:
        """The row of that trial."""
        return (
            None
            if self.best is None
            else self.search[self.search["number"] == self.best_number].iloc[0]
        )

    def best_with(self, needed: str) -> tuple[pd.Series, Arrays] | None:
        """Return the model that stands for the best, with all arrays of its file, of those that
        left the array `needed`.

        Confirmed runs come first, those of the best configuration before others, and of each the
        median; then the trials of the search.
        """
        if needed not in self._opened:
            tables = [
                *(setting.median_first for setting in self.confirmed),
                self.ranked.head(LOOKED_AT),
            ]
            rows = (row for _, row in chain.from_iterable(table.iterrows() for table in tables))
            candidates = ((row, read_arrays(row["folder"], needed)) for row in rows)
            self._opened[needed] = next(
                (candidate for candidate in candidates if candidate[1]), None
            )
        return self._opened[needed]

    # ---- the parameters ----

    @cached_property
    def influence(self) -> Influence:
        return Influence(self.plan, self.search, self.found, self.epochs, self.best_trial)

    @property
    def importances(self) -> pd.DataFrame:
        """As `Influence.importances`."""
        return self.influence.importances

    @cached_property
    def pairs(self) -> list[PairComparison]:
        """The comparisons that the study asks for, one entry for each two values of each parameter,
        corrected for their number.
        """
        compared = []
        for name in self.plan.compared_parameters:
            for two in itertools.combinations(compared_levels(self.results, name), 2):
                compared.append(
                    compare_pairs(self.results, name, two, self.plan.seed, self.found, self.best)
                )
        return corrected(compared)

    @cached_property
    def interactions(self) -> list[Interaction]:
        """The dependence of each comparison on each other parameter."""
        return find_interactions(self.pairs, self.plan.parameters, self.search)


_T = TypeVar("_T")


def in_words_of_data(
    function: Callable[..., _T],
) -> Callable[..., _T]:
    """Let what a function says of a study name its data (`vaeexp.words.of_data`)."""

    @wraps(function)
    def named(view: StudyView, /, *given: Any, **options: Any) -> _T:
        with naming(view.noun):
            return function(view, *given, **options)

    return named


def open_study(study: str, runs: Path, storage: str | None) -> StudyView:
    """Return the view of a study; `study` is its name, or the path of its file. Raises UserError
    where there is nothing.
    """
    return StudyView(study_tables(stored_study(study, runs, storage), runs))
