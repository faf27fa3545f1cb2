"""One trial exactly as its storage holds it: what it was given, what it reported in each epoch, how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sweeps.errors import UserError
from sweeps.storage.running_trial import STATE_NAMES
from sweeps.study.space import Space
from sweeps.workload.protocol import Failure, Outcome, Progress, Trial, run_name

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch that a trial reported."""

    epoch: int
    """Counted from 1."""
    objective: float
    metrics: Mapping[str, float]
    at: float | None
    """When it was reported, in unix seconds."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG file that shows a trial after an epoch."""

    epoch: int
    name: str
    path: str
    """Relative to the runs folder where it lies below."""


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """All that the storage says of one trial of the search, or of one repeat."""

    number: int
    repeat: bool
    state: Literal["running", "waiting", "complete", "pruned", "failed"]
    params: Mapping[str, Any]
    """Values of the searched parameters and, of a baseline, what it sets besides."""
    seed: int | None
    """None where the trial was not made by this driver."""
    started: float | None
    ended: float | None
    """Unix seconds."""
    epochs: tuple[EpochRecord, ...]
    """In order."""
    pictures: tuple[Picture, ...]
    outcome: Outcome | None
    """None while it has not ended."""
    results: Mapping[str, float]
    """Its final figures."""
    folder: str | None
    """Where its files lie, relative to the runs folder where it lies below."""
    duplicate_of: int | None = None
    """Number of the trial whose result it took, without being trained."""
    source_trial: int | None = None
    """Of a repeat: number of the trial whose configuration it has; None for a baseline at the fixed settings."""
    purposes: tuple[str, ...] = ()
    """Of a repeat: `confirm`, `compare`, `baseline`."""
    seed_index: int | None = None
    pair_id: str | None = None
    baseline: str | None = None
    test: bool = False
    """Whether the test set may be looked at once it is complete."""

    @property
    def name(self) -> str:
        """`trial-0007` or `repeat-0007`."""
        return run_name(self.number, repeat=self.repeat)


@dataclass(frozen=True, kw_only=True)
class RecordedTrial:
    """A trial and all that came of it. The tables of `sweeps.results.rankings` hold the same, with other types."""

    trial: Trial
    """Its `epoch` is 0: where it began."""
    outcome: Outcome | None
    """None while it has not ended."""
    progress: tuple[Progress, ...]
    """Its epochs in order, without pictures."""
    metrics: Mapping[str, float]
    """Its final figures."""
    folder: str | None
    duplicate_of: int | None = None
    """Number of the trial whose result it took, without being trained."""


def read_trial(storage: "BaseStorage", study: str, number: int, *, repeat: bool) -> RecordedTrial:
    """Read a trial of the search of a study, or one of its repeats; nothing is written.

    Raises UserError when there is no such study or trial, or it was not made by the driver.
    """
    known = {found.study_name: found._study_id for found in storage.get_all_studies()}
    if study not in known:
        raise UserError(f"study {study}", "there are no trials of it in this storage.")
    place = known.get(f"{study}.repeats") if repeat else known[study]
    trials = [] if place is None else storage.get_all_trials(place, deepcopy=False)
    if number >= len(trials):
        raise no_such_trial("--trial", study, number, len(trials), repeat=repeat)
    spec = storage.get_study_user_attrs(known[study]).get("spec") or {}
    return _recorded(trials[number], Space.from_dict(spec.get("search") or {}), repeat)


def no_such_trial(place: str, study: str, number: int, count: int, *, repeat: bool) -> UserError:
    """The error that says that a study has `count` trials (or repeats), numbered from 0, and none with this number."""
    kind = "repeat" if repeat else "trial"
    known = (
        f"It has {run_name(0, repeat=repeat)} to {run_name(count - 1, repeat=repeat)}."
        if count
        else f"It has no {kind} yet."
    )
    return UserError(place, f"study '{study}' has no {run_name(number, repeat=repeat)}. {known}")


def _recorded(stored: "FrozenTrial", space: Space, repeat: bool) -> RecordedTrial:
    attributes = stored.user_attrs
    if "seed" not in attributes:  # anybody can put a trial into an Optuna storage
        raise UserError(f"trial {stored.number}", "was not made by `vaeexp sweep`; nothing says how it was trained.")
    return RecordedTrial(
        trial=Trial(
            number=stored.number,
            params=attributes["params"] if repeat else space.decode(stored.params),
            seed=attributes["seed"],
            repeat=repeat,
            test=attributes.get("test", False),
            baseline=attributes.get("baseline"),
        ),
        outcome=_outcome(stored) if stored.state.is_finished() else None,
        progress=tuple(
            Progress(number=stored.number, epoch=epoch, value=value, metrics=attributes.get(f"metrics/{epoch}") or {})
            for epoch, value in sorted(stored.intermediate_values.items())
        ),
        metrics=attributes.get("result") or {},
        folder=attributes.get("folder"),
        duplicate_of=attributes.get("duplicate_of"),
    )


def _outcome(stored: "FrozenTrial") -> Outcome:
    """As the driver decided it; from the reports alone where somebody else ended the trial."""
    ending: dict[str, Any] | None = stored.user_attrs.get("ending")
    if ending is None:
        reported = stored.intermediate_values
        return Outcome(state=STATE_NAMES[stored.state], epoch=len(reported), value=min(reported.values(), default=None))
    failure = Failure(**ending["failure"]) if ending["failure"] else None
    return Outcome(state=ending["state"], epoch=ending["epoch"], value=ending["value"], failure=failure)
