"""Pruners: when a trial ends early. A class here is all that a pruner needs."""

import copy
import warnings
from abc import abstractmethod
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from optuna import Study
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    NopPruner,
    PatientPruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
)
from optuna.trial import FrozenTrial, TrialState
from pydantic import AfterValidator, Field, SerializeAsAny, model_validator

from sweeps.errors import UserError
from sweeps.study.yaml_file import Part, named

Name = Field(description="Name of the pruner.")
Startup = Annotated[int, Field(ge=0, description="Trials that must complete before any is pruned.")]
Warmup = Annotated[
    int, Field(ge=0, description="Epochs that every trial may train before it can be pruned.")
]
MinEpochs = Annotated[int, Field(ge=1, description="Epochs before a trial can first be pruned.")]
Factor = Annotated[int, Field(ge=2, description="One in this many goes on at each rung.")]


def _ascending(rungs: list[int] | None) -> list[int] | None:
    if rungs and any(low >= high for low, high in pairwise(rungs)):
        raise ValueError(f"got rungs {rungs}; must be in ascending order, each once.")
    return rungs


RungEpochs = Annotated[list[Annotated[int, Field(ge=1)]] | None, AfterValidator(_ascending)]


def known_epochs(setting: str, epochs: int | None) -> int:
    """Return the epochs of a trial. Raises `UserError` at this setting where they are unknown."""
    if epochs is None:
        problem = "is missing, and the study does not say how many epochs a trial has."
        raise UserError(setting, problem)
    return epochs


class RoundPercentilePruner(BasePruner):
    """Decides as `optuna.pruners.PercentilePruner` does for finite values to be minimised, reported
    in each step.

    Optuna's pruner computes the percentile again for each trial, 130 µs each: with 64 trials side
    by side, a quarter of the driver's time between two rounds. This pruner keeps it until another
    trial completes.
    """

    def __init__(self, percentile: float, *, startup_trials: int, warmup_epochs: int) -> None:
        self.percentile = percentile
        self.startup_trials = startup_trials
        self.warmup_epochs = warmup_epochs
        self._percentiles: dict[int, float] = {}
        """Step → percentile over the completed trials that reported it; NaN where none did."""
        self._completed = 0
        """The number of trials that had completed. It only grows."""

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        step = trial.last_step
        if (
            len(completed) < max(1, self.startup_trials)
            or step is None
            or step < self.warmup_epochs
        ):
            return False
        if self._completed != len(completed):
            self._percentiles = {}
            self._completed = len(completed)
        if step not in self._percentiles:
            values = [
                other.intermediate_values[step]
                for other in completed
                if step in other.intermediate_values
            ]
            self._percentiles[step] = (
                float(np.percentile(values, self.percentile)) if values else np.nan
            )
        return min(trial.intermediate_values.values()) > self._percentiles[step]


class PrunerAfterWarmup(BasePruner):
    """Asks another pruner about the epochs after the longest warm-up of a study, as if trials had
    reported no others.
    """

    def __init__(self, pruner: BasePruner, warmup: int) -> None:
        self._pruner = pruner
        self._warmup = warmup

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        compared = {
            epoch: value
            for epoch, value in trial.intermediate_values.items()
            if epoch > self._warmup
        }
        if not compared:
            return False
        trial = copy.copy(trial)
        trial.intermediate_values = compared
        return self._pruner.prune(study, trial)


class PrunerSettings(Part):
    """Ends trials early."""

    two_objectives: ClassVar[bool] = False
    """Whether it can rank trials by how far they are behind the front of two objectives, which
    moves with every trial.
    """
    pauses: ClassVar[bool] = False
    """Whether it pauses trials, which may go on later, in place of ending them."""

    name: str

    @property
    def compares(self) -> bool:
        """Whether it ends or pauses a trial because others are better after as many epochs."""
        return True

    @abstractmethod
    def build(self) -> BasePruner:
        """Make the Optuna pruner; its steps are epochs counted from 1."""

    def build_after(self, warmup: int) -> BasePruner:
        """Make the pruner of a study whose longest warm-up has so many epochs."""
        return PrunerAfterWarmup(self.build(), warmup) if warmup else self.build()

    def for_epochs(self, epochs: int | None) -> "PrunerSettings":
        """Return the pruner for trials of so many epochs (None: unknown). Raises `UserError`, with
        a setting as place.
        """
        return self

    def after_warmup(self, warmup: int, epochs: int | None) -> "PrunerSettings":
        """Return the pruner of a study whose longest warm-up has so many epochs, for trials as of
        `for_epochs`.
        """
        return self


class MedianSettings(PrunerSettings):
    """Prunes a trial whose best value is worse than the median of the completed trials at the same
    epoch.
    """

    two_objectives = True
    name: Annotated[Literal["median"], Name] = "median"
    startup_trials: Startup = 5
    warmup_epochs: Warmup = 0

    def build(self) -> BasePruner:
        return RoundPercentilePruner(
            50.0, startup_trials=self.startup_trials, warmup_epochs=self.warmup_epochs
        )


class PercentileSettings(PrunerSettings):
    """Prunes as median does, with another share of trials kept."""

    two_objectives = True
    name: Annotated[Literal["percentile"], Name] = "percentile"
    percentile: float = Field(
        default=25.0,
        gt=0,
        lt=100,
        description="Percent of the completed trials, the best at the same epoch, to keep up with.",
    )
    startup_trials: Startup = 5
    warmup_epochs: Warmup = 0

    def build(self) -> BasePruner:
        return RoundPercentilePruner(
            self.percentile, startup_trials=self.startup_trials, warmup_epochs=self.warmup_epochs
        )


class SuccessiveHalvingSettings(PrunerSettings):
    """Lets only the best 1/factor of the trials go on, at epochs that grow by this factor (Li et
    al. 2020).
    """

    name: Annotated[Literal["successive_halving"], Name] = "successive_halving"
    min_epochs: MinEpochs = 1
    factor: Factor = 4

    def build(self) -> BasePruner:
        return SuccessiveHalvingPruner(min_resource=self.min_epochs, reduction_factor=self.factor)


class HyperbandSettings(PrunerSettings):
    """Runs successive halving in several brackets, from eager to patient (Li et al. 2018)."""

    name: Annotated[Literal["hyperband"], Name] = "hyperband"
    min_epochs: MinEpochs = 1
    max_epochs: int | None = Field(
        default=None, ge=1, description="Epochs of a full trial; the study's `epochs` when empty."
    )
    factor: Factor = 3

    def for_epochs(self, epochs: int | None) -> Self:
        epochs = known_epochs("max_epochs", self.max_epochs or epochs)
        if epochs < self.min_epochs:
            raise UserError(
                "min_epochs",
                f"got {self.min_epochs}; must be at most the {epochs} epochs of a trial.",
            )
        return self.model_copy(update={"max_epochs": epochs})

    def build(self) -> BasePruner:
        """Make the Optuna pruner. It puts trials in brackets by a hash of the study's name and the
        trial's number.
        """
        return HyperbandPruner(
            min_resource=self.min_epochs,
            # With Optuna's "auto" nothing is pruned until the first trial completes.
            max_resource="auto" if self.max_epochs is None else self.max_epochs,
            reduction_factor=self.factor,
        )


_FIRST_RUNG = 3
"""Epochs before which no default rung is."""


class PromotionSettings(PrunerSettings):
    """Pauses trials at rungs instead of ending them; a trial that comes to be among the best
    1/factor there goes on (Li et al. 2020).
    """

    two_objectives = pauses = True
    name: Annotated[Literal["promotion"], Name] = "promotion"
    rungs: RungEpochs = Field(
        default=None,
        min_length=1,
        description="Epochs, in order, after which trials pause; when empty, a tenth, a quarter "
        "and a half of the study's `epochs`, the first no earlier than 3, each at least one and "
        "a half times the one before.",
    )
    factor: Factor = 4

    def for_epochs(self, epochs: int | None) -> PrunerSettings:
        candidates = self.rungs or _default_rungs(known_epochs("rungs", epochs))
        # The end of a trial is no rung: a trial that comes there is complete.
        rungs = [rung for rung in candidates if epochs is None or rung < epochs]
        if not rungs and self.rungs is None:
            return NoneSettings()  # no trial pauses within so few epochs
        if not rungs:
            raise UserError(
                "rungs",
                f"got {self.rungs}; the first must be below the {epochs} epochs of a trial.",
            )
        return self.model_copy(update={"rungs": rungs})

    def after_warmup(self, warmup: int, epochs: int | None) -> PrunerSettings:
        """Return the pruner with each rung within the warm-up at the first epoch after it."""
        moved = sorted({max(rung, warmup + 1) for rung in self.rungs or ()})
        rungs = [rung for rung in moved if epochs is None or rung < epochs]
        return self.model_copy(update={"rungs": rungs}) if rungs else NoneSettings()

    def build(self) -> BasePruner:
        """Make a pruner that ends no trial."""
        return NopPruner()


def _default_rungs(epochs: int) -> list[int]:
    """Return the rungs of a study that names none, in ascending order, each at least one and a half
    times the one before; none for 3 epochs.

    An earlier first rung misleads: after one epoch in thirty learning rates that are too low or too
    high look best, and after one in ten models that are too small (docs/explain/search.md).
    """
    rungs: list[int] = []
    for share in (0.1, 0.25, 0.5):
        rung = max(_FIRST_RUNG, round(share * epochs))
        if rung < epochs and (not rungs or rung >= 1.5 * rungs[-1]):
            rungs.append(rung)
    return rungs


class PatientSettings(PrunerSettings):
    """Prunes a trial after `patience` epochs without improvement; with `inner`, only if that pruner
    agrees.
    """

    name: Annotated[Literal["patient"], Name] = "patient"
    patience: int = Field(
        default=3, ge=0, description="Epochs without improvement before a trial can be pruned."
    )
    min_delta: float = Field(
        default=0.0,
        ge=0,
        description="Smallest fall of the objective that counts as improvement, in its unit.",
    )
    inner: SerializeAsAny["AnyPruner"] | None = Field(
        default=None, description="Pruner that must agree; none when empty."
    )

    @property
    def compares(self) -> bool:
        return self.inner is not None and self.inner.compares

    def for_epochs(self, epochs: int | None) -> Self:
        if self.inner is None:
            return self
        try:
            return self.model_copy(update={"inner": self.inner.for_epochs(epochs)})
        except UserError as error:
            raise UserError(f"inner.{error.place}", error.problem) from None

    def build(self) -> BasePruner:
        inner = None if self.inner is None else self.inner.build()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return PatientPruner(inner, patience=self.patience, min_delta=self.min_delta)


class ThresholdSettings(PrunerSettings):
    """Prunes a trial whose value leaves fixed bounds."""

    @property
    def compares(self) -> bool:
        return False

    name: Annotated[Literal["threshold"], Name] = "threshold"
    lower: float | None = Field(
        default=None, description="Smallest value of the objective that is believed."
    )
    upper: float | None = Field(
        default=None, description="Largest value of the objective that may go on."
    )
    warmup_epochs: Warmup = 0

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.lower is None and self.upper is None:
            raise ValueError("the threshold is missing; give `upper`, `lower` or both.")
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise ValueError(
                f"got lower {self.lower:g}; must be smaller than upper, {self.upper:g}."
            )
        return self

    def build(self) -> BasePruner:
        return ThresholdPruner(
            lower=self.lower, upper=self.upper, n_warmup_steps=self.warmup_epochs
        )


class NoneSettings(PrunerSettings):
    """Lets every trial run to its end."""

    @property
    def compares(self) -> bool:
        return False

    two_objectives = True
    name: Annotated[Literal["none"], Name] = "none"

    def build(self) -> BasePruner:
        return NopPruner()


PRUNERS: dict[str, type[PrunerSettings]] = {
    model.model_fields["name"].default: model for model in PrunerSettings.__subclasses__()
}
if TYPE_CHECKING:
    AnyPruner = PrunerSettings
else:
    AnyPruner = named(PRUNERS)
    """A pruner by its name and options, or by its name alone."""
PatientSettings.model_rebuild()
