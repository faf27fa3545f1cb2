"""Samplers: how the next setting is chosen. A row of `SAMPLERS` is all that one needs."""

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sweeps.errors import UserError
from sweeps.seeds import seed_of
from sweeps.study.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class SamplerSettings(BaseModel):
    """How settings are chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Annotated[str, Field(description="Name of the sampler.")]


class TPESettings(SamplerSettings):
    """Tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023): models good and bad trials."""

    name: Annotated[Literal["tpe"], Field(description="Name of the sampler.")] = "tpe"
    startup_trials: Annotated[int, Field(ge=1, description="Random trials to end before the model is used.")] = 10
    multivariate: Annotated[bool, Field(description="Model parameters together rather than one by one.")] = True


class RandomSettings(SamplerSettings):
    """Independent draws."""

    name: Annotated[Literal["random"], Field(description="Name of the sampler.")] = "random"


class QuasiRandomSettings(SamplerSettings):
    """A scrambled low-discrepancy sequence: covers the space more evenly than independent draws."""

    name: Annotated[Literal["qmc"], Field(description="Name of the sampler.")] = "qmc"
    sequence: Annotated[Literal["sobol", "halton"], Field(description="Which sequence.")] = "sobol"


class GridSettings(SamplerSettings):
    """Every combination once, in a random order."""

    name: Annotated[Literal["grid"], Field(description="Name of the sampler.")] = "grid"


class CMAESSettings(SamplerSettings):
    """Covariance matrix adaptation (Hansen 2016): a population of numbers that moves and changes its shape."""

    name: Annotated[Literal["cmaes"], Field(description="Name of the sampler.")] = "cmaes"
    startup_trials: Annotated[
        int, Field(ge=1, description="Random trials to complete before the first generation.")
    ] = 1
    population: Annotated[
        int | None, Field(ge=2, description="Trials per generation; 4 + 3 ln(number of parameters) when empty.")
    ] = None


class GPSettings(SamplerSettings):
    """Gaussian process with expected improvement: few trials, each chosen with care (a second or so)."""

    name: Annotated[Literal["gp"], Field(description="Name of the sampler.")] = "gp"
    startup_trials: Annotated[int, Field(ge=1, description="Random trials to complete before the model is used.")] = 10


@dataclass(frozen=True)
class Sampler:
    """A row of the table."""

    settings: type[SamplerSettings]
    build: "Callable[[Any, Space, int], BaseSampler]"
    """(settings, space, seed) → sampler."""
    needs: tuple[str, ...] = ()
    """Packages that it imports on first use."""
    choices: bool = True
    """Whether it can model a choice."""
    conditions: bool = True
    """Whether it can model a parameter that is searched only under a condition."""
    numbered: bool = False
    """Trial n gets point n of a sequence that the seed fixes: the seed is the same for all trials of a study."""


def _tpe(settings: TPESettings, space: Space, seed: int) -> "BaseSampler":
    """Conditional parameters are modelled in groups (`group`): those that are active together."""
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import TPESampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of `group`
        return TPESampler(
            n_startup_trials=settings.startup_trials,
            multivariate=settings.multivariate,
            group=settings.multivariate and bool(space.conditional),
            constant_liar=True,
            seed=seed,
        )


def _random(settings: RandomSettings, space: Space, seed: int) -> "BaseSampler":
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


def _quasi_random(settings: QuasiRandomSettings, space: Space, seed: int) -> "BaseSampler":
    from sweeps.study.optuna_classes import quasi_random_points

    return quasi_random_points(space, seed, settings.sequence)


def _grid(settings: GridSettings, space: Space, seed: int) -> "BaseSampler":
    from sweeps.study.optuna_classes import grid_points

    return grid_points(space, seed)


def _cmaes(settings: CMAESSettings, space: Space, seed: int) -> "BaseSampler":
    """Optuna draws choices and conditional parameters at random for ever; such spaces are refused (`check_sampler`).
    Pruned trials tell it nothing.
    """
    from optuna.samplers import CmaEsSampler

    return CmaEsSampler(
        n_startup_trials=settings.startup_trials,
        popsize=settings.population,
        warn_independent_sampling=False,
        seed=seed,
    )


def _gp(settings: GPSettings, space: Space, seed: int) -> "BaseSampler":
    """Models choices. Optuna draws conditional parameters at random for ever, so they are refused (`check_sampler`).
    Pruned trials tell it nothing.
    """
    from optuna.samplers import GPSampler

    return GPSampler(n_startup_trials=settings.startup_trials, warn_independent_sampling=False, seed=seed)


SAMPLERS: dict[str, Sampler] = {
    "tpe": Sampler(TPESettings, _tpe),
    "random": Sampler(RandomSettings, _random),
    "qmc": Sampler(QuasiRandomSettings, _quasi_random, needs=("scipy",), numbered=True),
    "grid": Sampler(GridSettings, _grid, numbered=True),
    "cmaes": Sampler(CMAESSettings, _cmaes, needs=("cmaes",), choices=False, conditions=False),
    "gp": Sampler(GPSettings, _gp, needs=("torch", "scipy"), conditions=False),
}


def check_sampler(settings: SamplerSettings, space: Space) -> None:
    """Find out before the first trial whether the sampler can work on this space.

    Raises:
        UserError: a package is missing, the sampler cannot model a parameter, or a grid is not finite.
    """
    name, sampler = settings.name, SAMPLERS[settings.name]
    missing = [package for package in sampler.needs if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError("sampler.name", f"'{name}' needs the package {missing[0]}: pip install {missing[0]}.")
    choices = [parameter.name for parameter in space.parameters if parameter.kind == "choice"]
    for able, kind, names in (
        (sampler.choices, "a choice", choices),
        (sampler.conditions, "searched under a condition", space.conditional),
    ):
        if names and not able:
            raise UserError(
                "sampler.name",
                f"'{name}' cannot model '{names[0]}', which is {kind}, and would draw it at random for ever. "
                f"Fix it (--set {names[0]}=…) or take tpe.",
            )
    if name == "grid":
        _grid_size(space)


def make_sampler(settings: SamplerSettings, space: Space, seed: int) -> "BaseSampler":
    """The Optuna sampler for one `ask`, with `seed` from `ask_seed`. Raises what `check_sampler` raises."""
    check_sampler(settings, space)
    return SAMPLERS[settings.name].build(settings, space, seed)


def starting_from(sampler: "BaseSampler", values: dict[str, Any]) -> "BaseSampler":
    """The sampler for an `ask` in which these parameters, as Optuna stores them, are given."""
    if not values:
        return sampler
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import PartialFixedSampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PartialFixedSampler(values, sampler)


def ask_seed(settings: SamplerSettings, seed: int, number: int) -> int:
    """Seed of the sampler, 32 bits, for the `ask` of trial `number` in a study with this seed.

    A sampler that is made again with the same seed repeats its random trials, so each trial gets its own. Grid and
    quasi-random points are one sequence, whose seed must stay.
    """
    text = f"sampler {seed}" if SAMPLERS[settings.name].numbered else f"sampler {seed} {number}"
    return seed_of(text) >> 31


def exhausted(settings: SamplerSettings, space: Space, trials_so_far: int) -> bool:
    """Whether a grid has no further point once this many trials exist, in any state; False for other samplers."""
    return settings.name == "grid" and trials_so_far >= _grid_size(space)


@cache
def _grid_size(space: Space) -> int:
    return len(space.configurations())
