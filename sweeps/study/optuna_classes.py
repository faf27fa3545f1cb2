"""Our own Optuna classes: samplers that follow a fixed sequence of points, and a percentile pruner for many trials at once."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from sweeps.study.space import Space


class NumberedPoints(BaseSampler):
    """Trial n gets point n. Keeps nothing, so that any process can go on with the sequence.

    Args:
        point: n → parameter → value, for all parameters that can be active.
        space: the parameters.
    """

    def __init__(self, point: Callable[[int], Mapping[str, Any]], space: Space) -> None:
        self._point, self._space = point, space

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._space[param_name].encode(self._point(trial.number)[param_name])


def quasi_random_points(space: Space, seed: int, sequence: Literal["sobol", "halton"]) -> NumberedPoints:
    """A scrambled low-discrepancy sequence over all parameters, active or not.

    Not `optuna.samplers.QMCSampler`: that takes its parameters from the first finished trial, so that what this one
    happened not to have stays purely random, and the first trials of a study are purely random too.
    """

    @cache
    def point(number: int) -> dict[str, Any]:
        from scipy.stats import qmc

        kind = {"sobol": qmc.Sobol, "halton": qmc.Halton}[sequence]
        # by name, so that the order of the file does not matter
        parameters = sorted(space.parameters, key=lambda parameter: parameter.name)
        engine = kind(len(parameters), scramble=True, seed=seed)
        if number > 0:
            engine.fast_forward(number)
        quantiles = engine.random(1)[0]
        return {p.name: p.at(float(quantile)) for p, quantile in zip(parameters, quantiles, strict=True)}

    return NumberedPoints(point, space)


@cache
def shuffled_grid(space: Space, seed: int) -> list[dict[str, Any]]:
    """Every valid combination once, in the order in which a study with this seed visits them."""
    configurations = space.configurations()
    order = np.random.default_rng(seed).permutation(len(configurations))
    return [configurations[index] for index in order]


def grid_points(space: Space, seed: int) -> NumberedPoints:
    """Every valid combination once, then from the start again; `sweeps.study.samplers.exhausted` says when to end.

    Not `optuna.samplers.GridSampler`: with conditions it visits a setting once for each value of what is inactive, and
    it calls `Study.stop`, which raises outside `Study.optimize`.
    """
    configurations = shuffled_grid(space, seed)
    return NumberedPoints(lambda number: configurations[number % len(configurations)], space)


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
