"""The weights of the best trials alone, while a search goes on: what `keep: {weights: N}` of a
study file asks for.

A trial that ends has its weights in any case, and its record their SHA-256, so that `vaeexp
reproduce RUN --restore` can prove that it has made them again. Weights of trials that fall out of
the best are freed, some at a time. At the end of the sweep the files are those that follow from the
records alone, whenever a process was killed.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from sweeps import Observer, Outcome, TrialResult, TrialSpec
from vaeexp.run_files import WEIGHTS
from vaeexp.runs.tidy import free_of_held_study, free_weights

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from sweeps import Snapshot, Sweep

AT_ONCE = 50
"""Weights beyond the best of this process that are freed at once. Each time, all that were freed go
into one record of the journal. Those of an earlier process wait for the end of the sweep.
"""


class BestWeights(Observer):
    """Frees the weights of trials of the search that fall out of the best, in order of the
    objective, equals by number.
    """

    def __init__(self, runs: Path, storage: "BaseStorage", study: str, best: int) -> None:
        """`best`: trials that keep their weights. This process holds the study."""
        self._runs = runs
        self._study_storage = storage
        self._study = study
        self._best = best
        self._held: dict[int, float] = {}
        """Number of a complete trial of this process that has its weights → its objective."""

    @classmethod
    def of(cls, sweep: "Sweep", weights: int | Literal["all"]) -> list[Self]:
        """Return the observer of a sweep that has begun; none where all trials keep their weights,
        as with two objectives they do.
        """
        if weights == "all" or sweep.study.objectives:
            return []
        return [cls(sweep.runs, sweep.storage, sweep.study.name, weights)]

    def trial_ended(
        self, trial: TrialSpec, outcome: Outcome, result: TrialResult, duplicate_of: int | None
    ) -> None:
        if outcome.state == "complete" and not trial.repeat and WEIGHTS in result.files:
            assert outcome.objective is not None
            self._held[trial.number] = outcome.objective

    def round_finished(self, snapshot: "Snapshot") -> None:
        if len(self._held) < self._best + AT_ONCE:
            return
        order = sorted(self._held, key=lambda number: (self._held[number], number))
        free_weights(self._runs, self._study_storage, self._study, order[self._best :])
        self._held = {number: self._held[number] for number in order[: self._best]}

    def conclude(self) -> None:
        """Free weights and earlier pictures of all trials beyond the best, those that a kill left
        too.
        """
        free_of_held_study(self._runs, self._study_storage, self._study, (), self._best)
