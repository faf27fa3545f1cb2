"""Samplers: how the next configuration is chosen. A class here, listed in `SAMPLERS`, is all that a sampler needs."""

import importlib.util
import warnings
from abc import abstractmethod
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from sweeps.errors import UserError
from sweeps.seeds import seed_of
from sweeps.study.mistakes import Part, named
from sweeps.study.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

Name = Field(description="Name of the sampler.")


class SamplerSettings(Part):
    """Chooses configurations."""

    needs: ClassVar[tuple[str, ...]] = ()
    """Packages that the sampler imports on first use."""
    choices: ClassVar[bool] = True
    """Whether the sampler can model a choice."""
    conditions: ClassVar[bool] = True
    """Whether the sampler can model a parameter that is searched only under a condition."""
    numbered: ClassVar[bool] = False
    """Trial n gets point n of a sequence that the seed fixes: the seed is the same for all trials of a study."""

    name: str

    @abstractmethod
    def build(self, space: Space, seed: int) -> "BaseSampler":
        """Make the Optuna sampler for one `ask`, with a seed from `ask_seed`."""


class TPESettings(SamplerSettings):
    """Models good and bad trials: the tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023)."""

    name: Annotated[Literal["tpe"], Name] = "tpe"
    startup_trials: Annotated[int, Field(ge=1, description="Random trials to end before the model is used.")] = 10
    multivariate: Annotated[bool, Field(description="Model parameters together rather than one by one.")] = True

    def build(self, space: Space, seed: int) -> "BaseSampler":
        """Make the sampler. It models conditional parameters in groups (`group`): those that are active together."""
        from optuna.exceptions import ExperimentalWarning
        from optuna.samplers import TPESampler

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # of `group`
            return TPESampler(
                n_startup_trials=self.startup_trials,
                multivariate=self.multivariate,
                group=self.multivariate and bool(space.conditional),
                constant_liar=True,
                seed=seed,
            )


class RandomSettings(SamplerSettings):
    """Draws each configuration independently."""

    name: Annotated[Literal["random"], Name] = "random"

    def build(self, space: Space, seed: int) -> "BaseSampler":
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=seed)


class QuasiRandomSettings(SamplerSettings):
    """Covers the space more evenly than independent draws: a scrambled low-discrepancy sequence."""

    needs = ("scipy",)
    numbered = True
    name: Annotated[Literal["qmc"], Name] = "qmc"
    sequence: Annotated[Literal["sobol", "halton"], Field(description="Which sequence.")] = "sobol"

    def build(self, space: Space, seed: int) -> "BaseSampler":
        from sweeps.study.optuna_classes import quasi_random_points

        return quasi_random_points(space, seed, self.sequence)


class GridSettings(SamplerSettings):
    """Visits every combination once, in a random order."""

    numbered = True
    name: Annotated[Literal["grid"], Name] = "grid"

    def build(self, space: Space, seed: int) -> "BaseSampler":
        from sweeps.study.optuna_classes import grid_points

        return grid_points(space, seed)


class CMAESSettings(SamplerSettings):
    """Moves and reshapes a population of numbers: covariance matrix adaptation (Hansen 2016)."""

    # Optuna draws choices and conditional parameters at random for ever. Pruned trials tell the sampler nothing.
    needs = ("cmaes",)
    choices = False
    conditions = False
    name: Annotated[Literal["cmaes"], Name] = "cmaes"
    startup_trials: Annotated[
        int, Field(ge=1, description="Random trials to complete before the first generation.")
    ] = 1
    population: Annotated[
        int | None, Field(ge=2, description="Trials per generation; 4 + 3 ln(number of parameters) when empty.")
    ] = None

    def build(self, space: Space, seed: int) -> "BaseSampler":
        from optuna.samplers import CmaEsSampler

        return CmaEsSampler(
            n_startup_trials=self.startup_trials,
            popsize=self.population,
            warn_independent_sampling=False,
            seed=seed,
        )


class GPSettings(SamplerSettings):
    """Chooses few trials with care (a second or so each): a Gaussian process with expected improvement."""

    # Optuna draws conditional parameters at random for ever. Pruned trials tell the sampler nothing.
    needs = ("torch", "scipy")
    conditions = False
    name: Annotated[Literal["gp"], Name] = "gp"
    startup_trials: Annotated[int, Field(ge=1, description="Random trials to complete before the model is used.")] = 10

    def build(self, space: Space, seed: int) -> "BaseSampler":
        from optuna.samplers import GPSampler

        return GPSampler(n_startup_trials=self.startup_trials, warn_independent_sampling=False, seed=seed)


SAMPLERS: dict[str, type[SamplerSettings]] = {
    model.model_fields["name"].default: model
    for model in (TPESettings, RandomSettings, QuasiRandomSettings, GridSettings, CMAESSettings, GPSettings)
}
if TYPE_CHECKING:
    AnySampler = SamplerSettings
else:
    AnySampler = named(SAMPLERS)
    """A sampler by its name and options, or by its name alone."""


def check_sampler(settings: SamplerSettings, space: Space) -> None:
    """Find out before the first trial whether the sampler can work on this space.

    Raises:
        UserError: a package is missing, the sampler cannot model a parameter, or a grid is not finite.
    """
    name = settings.name
    missing = [package for package in settings.needs if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError("sampler.name", f"'{name}' needs the package {missing[0]}: pip install {missing[0]}.")
    choices = [parameter.name for parameter in space.parameters if parameter.kind == "choice"]
    for able, kind, names in (
        (settings.choices, "a choice", choices),
        (settings.conditions, "searched under a condition", space.conditional),
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
    """Make the Optuna sampler for one `ask`, with `seed` from `ask_seed`. Raises what `check_sampler` raises."""
    check_sampler(settings, space)
    return settings.build(space, seed)


def starting_from(sampler: "BaseSampler", values: dict[str, Any]) -> "BaseSampler":
    """Make the sampler for an `ask` in which these parameters, as Optuna stores them, are given."""
    if not values:
        return sampler
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import PartialFixedSampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PartialFixedSampler(values, sampler)


def ask_seed(settings: SamplerSettings, seed: int, number: int) -> int:
    """Derive the seed of the sampler, 32 bits, for the `ask` of trial `number` in a study with this seed.

    A sampler that is made again with the same seed repeats its random trials, so each trial gets its own. Grid and
    quasi-random points are one sequence, whose seed must stay.
    """
    text = f"sampler {seed}" if settings.numbered else f"sampler {seed} {number}"
    return seed_of(text) >> 31


def exhausted(settings: SamplerSettings, space: Space, trials_so_far: int) -> bool:
    """Whether a grid has no further point once this many trials exist, in any state; False for other samplers."""
    return settings.name == "grid" and trials_so_far >= _grid_size(space)


@cache
def _grid_size(space: Space) -> int:
    return len(space.configurations())
