"""Samplers that follow a sequence of points known from the start: trial n gets point n."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from sweeps.space import Space

__all__ = ["NumberedPoints", "grid_points", "quasi_random_points", "shuffled_grid"]


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
    """Every valid combination once, then from the start again; `sweeps.samplers.exhausted` says when to end.

    Not `optuna.samplers.GridSampler`: with conditions it visits a setting once for each value of what is inactive, and
    it calls `Study.stop`, which raises outside `Study.optimize`.
    """
    configurations = shuffled_grid(space, seed)
    return NumberedPoints(lambda number: configurations[number % len(configurations)], space)
