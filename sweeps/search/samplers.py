"""Samplers: how the next configuration is chosen. A class here is all that a sampler needs."""

import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    PartialFixedSampler,
    RandomSampler,
    TPESampler,
)
from pydantic import Field

from sweeps.errors import UserError, one_of
from sweeps.search.pruners import known_epochs
from sweeps.seeds import seed_of
from sweeps.study.space import Space
from sweeps.study.yaml_file import Part, named

Name = Field(description="Name of the sampler.")


class SamplerSettings(Part):
    """Chooses configurations."""

    choices: ClassVar[bool] = True
    """Whether the sampler can model a choice."""
    conditions: ClassVar[bool] = True
    """Whether the sampler can model a parameter that is searched only under a condition."""
    numbered: ClassVar[bool] = False
    """Whether the sampler has a `point`; its seed is then the same for all trials of a study."""
    fixed_ranges: ClassVar[str] = ""
    """Why the sampler cannot search a range that grows; empty where it can."""
    one_space: ClassVar[bool] = False
    """Whether it can search in the space of its first trials alone."""
    learns: ClassVar[bool] = False
    """Whether the sampler can learn from trials of another study."""
    two_objectives: ClassVar[bool] = True
    """Whether the sampler can search for two objectives at once."""

    name: str

    def for_epochs(self, epochs: int | None) -> Self:
        """Return the sampler for trials of so many epochs (None: unknown). Raises `UserError`, with
        a setting as place.
        """
        return self

    def build(self, space: Space, seed: int) -> BaseSampler:
        """Make the Optuna sampler for one `ask`, with a seed from `ask_seed`; by default each value
        is drawn at random.
        """
        return RandomSampler(seed=seed)

    def point(self, space: Space, seed: int, number: int) -> dict[str, Any]:
        """Return parameter → value for trial `number`, whatever other trials got; by default none
        is fixed.
        """
        return {}


class TPESettings(SamplerSettings):
    """Models good and bad trials: the tree-structured Parzen estimator (Bergstra et al. 2011;
    Watanabe 2023).
    """

    learns = True
    name: Annotated[Literal["tpe"], Name] = "tpe"
    startup_trials: int = Field(
        default=10, ge=1, description="Random trials to end before the model is used."
    )
    multivariate: bool = Field(
        default=True, description="Model parameters together rather than one by one."
    )

    def build(self, space: Space, seed: int) -> BaseSampler:
        """Make the sampler. It models conditional parameters in groups (`group`): those that are
        active together.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # of `group`
            return TPESampler(
                n_startup_trials=self.startup_trials,
                multivariate=self.multivariate,
                group=self.multivariate and any(parameter.when for parameter in space.parameters),
                constant_liar=True,
                seed=seed,
            )


class RandomSettings(SamplerSettings):
    """Draws each configuration independently."""

    name: Annotated[Literal["random"], Name] = "random"


class QuasiRandomSettings(SamplerSettings):
    """Covers the space more evenly than independent draws: a scrambled low-discrepancy sequence."""

    numbered = True
    name: Annotated[Literal["qmc"], Name] = "qmc"
    sequence: Literal["sobol", "halton"] = Field(default="sobol", description="Which sequence.")

    def point(self, space: Space, seed: int, number: int) -> dict[str, Any]:
        """Return a value for all parameters, active or not.

        `optuna.samplers.QMCSampler` takes its parameters from the first finished trial: the first
        trials, and parameters that are inactive in that trial, stay purely random.
        """
        from scipy.stats import qmc

        # In any order of the file.
        parameters = sorted(space.parameters, key=lambda parameter: parameter.name)
        kind = {"sobol": qmc.Sobol, "halton": qmc.Halton}[self.sequence]
        engine = kind(len(parameters), scramble=True, seed=seed)
        if number > 0:
            engine.fast_forward(number)
        quantiles = engine.random(1)[0]
        return {
            p.name: p.at(float(quantile)) for p, quantile in zip(parameters, quantiles, strict=True)
        }


class CurvesSettings(SamplerSettings):
    """Predicts where learning curves will end: a Gaussian process over configurations and epochs,
    with expected improvement at the last epoch (after Klein et al. 2020).
    """

    # `sweeps.search.curves.sampler` proposes, because Optuna's samplers are not shown the epochs of
    # a trial.
    fixed_ranges = "it predicts in the range of the file"
    two_objectives = False
    name: Annotated[Literal["curves"], Name] = "curves"
    startup_trials: int = Field(
        default=8, ge=2, description="Random trials to report an epoch before the process proposes."
    )
    max_epochs: int | None = Field(
        default=None, ge=1, description="Epochs of a full trial; the study's `epochs` when empty."
    )

    def for_epochs(self, epochs: int | None) -> Self:
        epochs = known_epochs("max_epochs", self.max_epochs or epochs)
        return self.model_copy(update={"max_epochs": epochs})


class GridSettings(SamplerSettings):
    """Visits every combination once, in a random order."""

    numbered = True
    fixed_ranges = "its list of combinations is fixed"
    name: Annotated[Literal["grid"], Name] = "grid"

    def points(self, space: Space, seed: int) -> list[dict[str, Any]]:
        """Return all combinations in the order of the visits.

        `optuna.samplers.GridSampler` visits a configuration once for each value of an inactive
        parameter, and it calls `Study.stop`, which raises outside `Study.optimize`.
        """
        configurations = _configurations(space)
        order = np.random.default_rng(seed).permutation(len(configurations))
        return [configurations[place] for place in order]

    def point(self, space: Space, seed: int, number: int) -> dict[str, Any]:
        """Return a combination, after the last the first again; `exhausted` says when to end."""
        points = self.points(space, seed)
        return points[number % len(points)]


class CMAESSettings(SamplerSettings):
    """Moves and reshapes a population of numbers: covariance matrix adaptation (Hansen 2016)."""

    # Optuna draws choices and conditional parameters at random for ever. Pruned trials tell the
    # sampler nothing.
    choices = False
    conditions = False
    fixed_ranges = "its population keeps the bounds of its first generation"
    one_space = True
    two_objectives = False
    name: Annotated[Literal["cmaes"], Name] = "cmaes"
    startup_trials: int = Field(
        default=1, ge=1, description="Random trials to complete before the first generation."
    )
    population: int | None = Field(
        default=None,
        ge=2,
        description="Trials per generation; 4 + 3 ln(number of parameters) when empty.",
    )

    def build(self, space: Space, seed: int) -> BaseSampler:
        return CmaEsSampler(
            n_startup_trials=self.startup_trials,
            popsize=self.population,
            warn_independent_sampling=False,
            seed=seed,
        )


class GPSettings(SamplerSettings):
    """Chooses few trials with care (a second or so each): a Gaussian process with expected
    improvement.
    """

    # Optuna draws conditional parameters at random for ever. Pruned trials tell the sampler
    # nothing.
    conditions = False
    learns = True
    two_objectives = False
    name: Annotated[Literal["gp"], Name] = "gp"
    startup_trials: int = Field(
        default=10, ge=1, description="Random trials to complete before the model is used."
    )

    def build(self, space: Space, seed: int) -> BaseSampler:
        return GPSampler(
            n_startup_trials=self.startup_trials, warn_independent_sampling=False, seed=seed
        )


SAMPLERS: dict[str, type[SamplerSettings]] = {
    model.model_fields["name"].default: model for model in SamplerSettings.__subclasses__()
}
if TYPE_CHECKING:
    AnySampler = SamplerSettings
else:
    AnySampler = named(SAMPLERS)
    """A sampler by its name and options, or by its name alone."""


def check_sampler(settings: SamplerSettings, space: Space, *, learns: bool = False) -> None:
    """Find out before the first trial whether the sampler can work on this space, and learn from
    another study where it `learns`.

    Raises:
        UserError: the sampler cannot model a parameter or widen its range, cannot learn, or a grid
            is not finite.
    """
    if learns and not settings.learns:
        able = _names(lambda sampler: sampler.learns)
        problem = f"sampler '{settings.name}' cannot learn from trials of another study."
        raise UserError("learn_from", f"{problem} Drop the entry, or take {able}.")
    for parameter in space.parameters:
        kind = ""
        if parameter.kind == "choice" and not settings.choices:
            kind = "a choice"
        elif parameter.when and not settings.conditions:
            kind = "searched under a condition"
        if kind:
            problem = (
                f"'{settings.name}' cannot model '{parameter.name}', which is {kind}, and would "
                f"draw it at random for ever. Fix it (--set {parameter.name}=…) or take tpe."
            )
            raise UserError("sampler.name", problem)
        if parameter.grow and settings.fixed_ranges:
            able = _names(lambda sampler: not sampler.fixed_ranges)
            problem = (
                f"sampler '{settings.name}' cannot search a range that grows, because "
                f"{settings.fixed_ranges}. Drop `grow`, or take {able}."
            )
            raise UserError(f"search.{parameter.name}.grow", problem)
    if settings.name == "grid":
        _configurations(space)


def _names(able: Callable[[type[SamplerSettings]], bool]) -> str:
    return one_of(name for name, sampler in SAMPLERS.items() if able(sampler))


def make_sampler(
    settings: SamplerSettings, space: Space, seed: int, number: int, decided: Mapping[str, Any]
) -> BaseSampler:
    """Make the Optuna sampler for the `ask` of one trial. It needs no earlier sampler, so any
    process can go on.

    Args:
        settings: of a sampler that `check_sampler` accepts for this space.
        space: the searched parameters.
        seed: of the study.
        number: of the trial.
        decided: parameters that have a value already.
    """
    seed = ask_seed(settings, seed, number)
    sampler = settings.build(space, seed)
    values = {**settings.point(space, seed, number), **decided}
    if not values:
        return sampler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PartialFixedSampler(
            {name: space[name].encode(value) for name, value in values.items()}, sampler
        )


def ask_seed(settings: SamplerSettings, seed: int, number: int) -> int:
    """Derive the seed of the sampler, 32 bits, for the `ask` of trial `number` in a study with this
    seed.

    A sampler that is made again with the same seed repeats its random trials, so each trial gets
    its own. Grid and quasi-random points are one sequence, whose seed must stay.
    """
    text = f"sampler {seed}" if settings.numbered else f"sampler {seed} {number}"
    return seed_of(text) >> 31


GRID_DONE = "Every setting of the grid is done."
"""Why a search over a grid ends."""


def grid_points(settings: SamplerSettings, space: Space, seed: int) -> list[dict[str, Any]] | None:
    """Return the settings of a grid in the order of the visits; None for other samplers."""
    if not isinstance(settings, GridSettings):
        return None
    return settings.points(space, ask_seed(settings, seed, 0))


def grid_size(settings: SamplerSettings, space: Space) -> int | None:
    """Return the number of settings of a grid; None for other samplers."""
    return len(_configurations(space)) if settings.name == "grid" else None


def exhausted(settings: SamplerSettings, space: Space, trials_so_far: int) -> bool:
    """Tell whether a grid has no further point once this many trials exist, in any state; False for
    other samplers.
    """
    size = grid_size(settings, space)
    return size is not None and trials_so_far >= size


@cache
def _configurations(space: Space) -> list[dict[str, Any]]:
    return space.configurations()
