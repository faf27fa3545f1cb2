"""Pruners: when a trial ends early. A class here, listed in `AnyPruner`, is all that a pruner needs."""

import warnings
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from sweeps.errors import UserError
from sweeps.study.mistakes import Part, named

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

Name = Field(description="Name of the pruner.")
Startup = Annotated[int, Field(ge=0, description="Trials that must complete before any is pruned.")]
Warmup = Annotated[int, Field(ge=0, description="Epochs that every trial may train before it can be pruned.")]
MinEpochs = Annotated[int, Field(ge=1, description="Epochs before a trial can first be pruned.")]
Factor = Annotated[int, Field(ge=2, description="One in this many goes on at each rung.")]


class PrunerSettings(Part):
    """Ends trials early."""

    name: str

    @abstractmethod
    def build(self) -> "BasePruner":
        """Make the Optuna pruner; its steps are epochs counted from 1."""

    def for_epochs(self, epochs: int | None) -> Self:
        """Fill in what depends on the epochs of a full trial (None: unknown). Raises `UserError`, with a setting as place."""
        return self


class MedianSettings(PrunerSettings):
    """Prunes a trial whose best value is worse than the median of the completed trials at the same epoch."""

    name: Annotated[Literal["median"], Name] = "median"
    startup_trials: Startup = 5
    warmup_epochs: Warmup = 0

    def build(self) -> "BasePruner":
        from sweeps.study.optuna_classes import RoundPercentilePruner

        return RoundPercentilePruner(50.0, startup_trials=self.startup_trials, warmup_epochs=self.warmup_epochs)


class PercentileSettings(PrunerSettings):
    """Prunes as median does, with another share of trials kept."""

    name: Annotated[Literal["percentile"], Name] = "percentile"
    percentile: Annotated[
        float,
        Field(
            gt=0, lt=100, description="Percent of the completed trials, the best at the same epoch, to keep up with."
        ),
    ] = 25.0
    startup_trials: Startup = 5
    warmup_epochs: Warmup = 0

    def build(self) -> "BasePruner":
        from sweeps.study.optuna_classes import RoundPercentilePruner

        return RoundPercentilePruner(
            self.percentile, startup_trials=self.startup_trials, warmup_epochs=self.warmup_epochs
        )


class SuccessiveHalvingSettings(PrunerSettings):
    """Lets only the best 1/factor of the trials go on, at epochs that grow by this factor (Li et al. 2020)."""

    name: Annotated[Literal["successive_halving"], Name] = "successive_halving"
    min_epochs: MinEpochs = 1
    factor: Factor = 4

    def build(self) -> "BasePruner":
        from optuna.pruners import SuccessiveHalvingPruner

        return SuccessiveHalvingPruner(min_resource=self.min_epochs, reduction_factor=self.factor)


class HyperbandSettings(PrunerSettings):
    """Runs successive halving in several brackets, from eager to patient (Li et al. 2018)."""

    name: Annotated[Literal["hyperband"], Name] = "hyperband"
    min_epochs: MinEpochs = 1
    max_epochs: Annotated[
        int | None, Field(ge=1, description="Epochs of a full trial; the study's `epochs` when empty.")
    ] = None
    factor: Factor = 3

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_epochs is not None and self.max_epochs < self.min_epochs:
            raise ValueError(f"got max_epochs {self.max_epochs}; must be at least min_epochs, {self.min_epochs}.")
        return self

    def for_epochs(self, epochs: int | None) -> Self:
        if self.max_epochs is not None:
            return self
        if epochs is None:
            raise UserError("max_epochs", "is missing, and the study does not say how many epochs a trial has.")
        if epochs < self.min_epochs:
            raise UserError("min_epochs", f"got {self.min_epochs}; must be at most the {epochs} epochs of a trial.")
        return self.model_copy(update={"max_epochs": epochs})

    def build(self) -> "BasePruner":
        """Make the Optuna pruner. It puts trials in brackets by a hash of the study's name and the trial's number."""
        from optuna.pruners import HyperbandPruner

        return HyperbandPruner(
            min_resource=self.min_epochs,
            # With Optuna's "auto" nothing is pruned until the first trial completes.
            max_resource="auto" if self.max_epochs is None else self.max_epochs,
            reduction_factor=self.factor,
        )


class PatientSettings(PrunerSettings):
    """Prunes a trial after `patience` epochs without improvement; with `inner`, only if that pruner agrees."""

    name: Annotated[Literal["patient"], Name] = "patient"
    patience: Annotated[int, Field(ge=0, description="Epochs without improvement before a trial can be pruned.")] = 3
    min_delta: Annotated[
        float, Field(ge=0, description="Smallest fall of the objective that counts as improvement, in its unit.")
    ] = 0.0
    inner: Annotated[
        SerializeAsAny["AnyPruner"] | None, Field(description="Pruner that must agree; none when empty.")
    ] = None

    def for_epochs(self, epochs: int | None) -> Self:
        if self.inner is None:
            return self
        try:
            return self.model_copy(update={"inner": self.inner.for_epochs(epochs)})
        except UserError as error:
            raise UserError(f"inner.{error.place}", error.problem) from None

    def build(self) -> "BasePruner":
        from optuna.exceptions import ExperimentalWarning
        from optuna.pruners import PatientPruner

        inner = None if self.inner is None else self.inner.build()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return PatientPruner(inner, patience=self.patience, min_delta=self.min_delta)


class ThresholdSettings(PrunerSettings):
    """Prunes a trial whose value leaves fixed bounds."""

    name: Annotated[Literal["threshold"], Name] = "threshold"
    lower: Annotated[float | None, Field(description="Smallest value of the objective that is believed.")] = None
    upper: Annotated[float | None, Field(description="Largest value of the objective that may go on.")] = None
    warmup_epochs: Warmup = 0

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.lower is None and self.upper is None:
            raise ValueError("the threshold is missing; give `upper`, `lower` or both.")
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise ValueError(f"got lower {self.lower:g}; must be smaller than upper, {self.upper:g}.")
        return self

    def build(self) -> "BasePruner":
        from optuna.pruners import ThresholdPruner

        return ThresholdPruner(lower=self.lower, upper=self.upper, n_warmup_steps=self.warmup_epochs)


class NoneSettings(PrunerSettings):
    """Lets every trial run to its end."""

    name: Annotated[Literal["none"], Name] = "none"

    def build(self) -> "BasePruner":
        from optuna.pruners import NopPruner

        return NopPruner()


PRUNERS: dict[str, type[PrunerSettings]] = {
    model.model_fields["name"].default: model
    for model in (
        *(MedianSettings, PercentileSettings, SuccessiveHalvingSettings, HyperbandSettings),
        *(PatientSettings, ThresholdSettings, NoneSettings),
    )
}


if TYPE_CHECKING:
    AnyPruner = PrunerSettings
else:
    AnyPruner = named(PRUNERS)
    """A pruner by its name and options, or by its name alone."""
PatientSettings.model_rebuild()
