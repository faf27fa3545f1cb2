"""Optuna's percentile pruner for many trials at once."""

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

__all__ = ["RoundPercentilePruner"]


class RoundPercentilePruner(BasePruner):
    """Decides as `optuna.pruners.PercentilePruner` does for values to be minimised, which are finite and reported in each step.

    That one works the percentile out again for each trial, 130 µs each: with 64 trials side by side, a quarter of what the
    driver does between two rounds. Here it is known until another trial completes.
    """

    def __init__(self, percentile: float, *, startup_trials: int, warmup_epochs: int) -> None:
        """As `percentile`, `n_startup_trials` and `n_warmup_steps` of Optuna's."""
        self._percentile, self._startup_trials, self._warmup_epochs = percentile, startup_trials, warmup_epochs
        self._known: dict[int, float] = {}
        """Step → percentile over the completed trials that reported it; NaN where none did."""
        self._of = 0
        """How many had completed. Their number only grows."""

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        step = trial.last_step
        if len(completed) < max(1, self._startup_trials) or step is None or step < self._warmup_epochs:
            return False
        if self._of != len(completed):
            self._known, self._of = {}, len(completed)
        if step not in self._known:
            values = [each.intermediate_values[step] for each in completed if step in each.intermediate_values]
            self._known[step] = float(np.percentile(values, self._percentile)) if values else np.nan
        return min(trial.intermediate_values.values()) > self._known[step]
