"""Pruners: when a trial is given up. A row of `PRUNERS` is all that one needs."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, model_validator

from sweeps.study.yaml_file import Source, read_mapping, read_named

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

Startup = Annotated[int, Field(ge=0, description="Trials that must complete before any is pruned.")]
Warmup = Annotated[int, Field(ge=0, description="Epochs that every trial may train before it can be pruned.")]
MinEpochs = Annotated[int, Field(ge=1, description="Epochs before a trial can first be pruned.")]
Factor = Annotated[int, Field(ge=2, description="One in this many goes on at each rung.")]


class PrunerSettings(BaseModel):
    """When a trial is given up."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Annotated[str, Field(description="Name of the pruner.")]


class MedianSettings(PrunerSettings):
    """Gives up a trial whose best value is worse than the median of the completed trials at the same epoch."""

    name: Annotated[Literal["median"], Field(description="Name of the pruner.")] = "median"
    startup_trials: Startup = 5
    warmup_epochs: Warmup = 0


class PercentileSettings(PrunerSettings):
    """As median, with another share of trials kept."""

    name: Annotated[Literal["percentile"], Field(description="Name of the pruner.")] = "percentile"
    percentile: Annotated[
        float,
        Field(
            gt=0, lt=100, description="Percent of the completed trials, the best at the same epoch, to keep up with."
        ),
    ] = 25.0
    startup_trials: Startup = 5
    warmup_epochs: Warmup = 0


class SuccessiveHalvingSettings(PrunerSettings):
    """At epochs that grow by a factor, only the best 1/factor of the trials go on (Li et al. 2020)."""

    name: Annotated[Literal["successive_halving"], Field(description="Name of the pruner.")] = "successive_halving"
    min_epochs: MinEpochs = 1
    factor: Factor = 4


class HyperbandSettings(PrunerSettings):
    """Successive halving in several brackets, from eager to patient (Li et al. 2018)."""

    name: Annotated[Literal["hyperband"], Field(description="Name of the pruner.")] = "hyperband"
    min_epochs: MinEpochs = 1
    max_epochs: Annotated[
        int | None, Field(ge=1, description="Epochs of a full trial; the study's `epochs` when empty.")
    ] = None
    factor: Factor = 3

    @model_validator(mode="after")
    def _ordered(self) -> "HyperbandSettings":
        if self.max_epochs is not None and self.max_epochs < self.min_epochs:
            raise ValueError(f"max_epochs is {self.max_epochs}; should be at least min_epochs, {self.min_epochs}.")
        return self


class PatientSettings(PrunerSettings):
    """Lets another pruner act only on a trial that has stopped improving; without one, stopping is enough."""

    name: Annotated[Literal["patient"], Field(description="Name of the pruner.")] = "patient"
    patience: Annotated[int, Field(ge=0, description="Epochs without improvement that are let pass.")] = 3
    min_delta: Annotated[
        float, Field(ge=0, description="Nats per image by which a value must fall to count as better.")
    ] = 0.0
    inner: Annotated[
        SerializeAsAny[PrunerSettings] | None, Field(description="The pruner that then decides; none when empty.")
    ] = None


class ThresholdSettings(PrunerSettings):
    """Gives up a trial whose value leaves fixed bounds."""

    name: Annotated[Literal["threshold"], Field(description="Name of the pruner.")] = "threshold"
    lower: Annotated[float | None, Field(description="Smallest value that is believed, in nats per image.")] = None
    upper: Annotated[float | None, Field(description="Largest value that is let pass, in nats per image.")] = None
    warmup_epochs: Warmup = 0

    @model_validator(mode="after")
    def _bounded(self) -> "ThresholdSettings":
        if self.lower is None and self.upper is None:
            raise ValueError("the threshold is missing; give `upper`, `lower` or both.")
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise ValueError(f"lower is {self.lower:g}; should be smaller than upper, {self.upper:g}.")
        return self


class NoneSettings(PrunerSettings):
    """Every trial runs to its end."""

    name: Annotated[Literal["none"], Field(description="Name of the pruner.")] = "none"


@dataclass(frozen=True)
class Pruner:
    """A row of the table."""

    settings: type[PrunerSettings]
    build: "Callable[[Any], BasePruner]"


def _median(settings: MedianSettings) -> "BasePruner":
    from sweeps.study.optuna_classes import RoundPercentilePruner

    return RoundPercentilePruner(50.0, startup_trials=settings.startup_trials, warmup_epochs=settings.warmup_epochs)


def _percentile(settings: PercentileSettings) -> "BasePruner":
    from sweeps.study.optuna_classes import RoundPercentilePruner

    return RoundPercentilePruner(
        settings.percentile, startup_trials=settings.startup_trials, warmup_epochs=settings.warmup_epochs
    )


def _successive_halving(settings: SuccessiveHalvingSettings) -> "BasePruner":
    from optuna.pruners import SuccessiveHalvingPruner

    return SuccessiveHalvingPruner(min_resource=settings.min_epochs, reduction_factor=settings.factor)


def _hyperband(settings: HyperbandSettings) -> "BasePruner":
    """Optuna puts trials in brackets by a hash of the study's name and the trial's number."""
    from optuna.pruners import HyperbandPruner

    return HyperbandPruner(
        min_resource=settings.min_epochs,
        # known, for with Optuna's "auto" nothing is pruned until the first trial completes
        max_resource="auto" if settings.max_epochs is None else settings.max_epochs,
        reduction_factor=settings.factor,
    )


def _patient(settings: PatientSettings) -> "BasePruner":
    from optuna.exceptions import ExperimentalWarning
    from optuna.pruners import PatientPruner

    inner = None if settings.inner is None else make_pruner(settings.inner)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PatientPruner(inner, patience=settings.patience, min_delta=settings.min_delta)


def _threshold(settings: ThresholdSettings) -> "BasePruner":
    from optuna.pruners import ThresholdPruner

    return ThresholdPruner(lower=settings.lower, upper=settings.upper, n_warmup_steps=settings.warmup_epochs)


def _none(settings: NoneSettings) -> "BasePruner":
    from optuna.pruners import NopPruner

    return NopPruner()


PRUNERS: dict[str, Pruner] = {
    "median": Pruner(MedianSettings, _median),
    "percentile": Pruner(PercentileSettings, _percentile),
    "successive_halving": Pruner(SuccessiveHalvingSettings, _successive_halving),
    "hyperband": Pruner(HyperbandSettings, _hyperband),
    "patient": Pruner(PatientSettings, _patient),
    "threshold": Pruner(ThresholdSettings, _threshold),
    "none": Pruner(NoneSettings, _none),
}


def make_pruner(settings: PrunerSettings) -> "BasePruner":
    """The Optuna pruner; its steps are epochs counted from 1."""
    return PRUNERS[settings.name].build(settings)


def read_pruner(content: Any, path: str, source: Source) -> PrunerSettings:
    """The settings of a pruner and of those it wraps. Raises `UserError`."""
    table: Mapping[str, type[PrunerSettings]] = {name: pruner.settings for name, pruner in PRUNERS.items()}
    if not isinstance(content, str):
        content = read_mapping(content, path, source)
        if content.get("name") == "patient" and content.get("inner") is not None:
            content = content | {"inner": read_pruner(content["inner"], f"{path}.inner", source)}
    return read_named(table, content, path, source, noun="pruner")


def with_max_epochs(settings: PrunerSettings, epochs: int | None, path: str, source: Source) -> PrunerSettings:
    """The settings with an empty `max_epochs` filled in. Raises `UserError` when `epochs` is not known either."""
    if isinstance(settings, PatientSettings) and settings.inner is not None:
        return settings.model_copy(update={"inner": with_max_epochs(settings.inner, epochs, f"{path}.inner", source)})
    if not isinstance(settings, HyperbandSettings) or settings.max_epochs is not None:
        return settings
    if epochs is None:
        raise source.error(f"{path}.max_epochs", "is missing, and the study has no `epochs` to take it from.")
    if epochs < settings.min_epochs:
        raise source.error(
            f"{path}.min_epochs", f"got {settings.min_epochs}; should be at most the {epochs} epochs of a trial."
        )
    return settings.model_copy(update={"max_epochs": epochs})
