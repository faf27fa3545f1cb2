"""One trial as its storage holds it: its configuration, its epochs, its end. Written by `sweeps.storage.running_trial`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from optuna.trial import TrialState

from sweeps.study.space import Space
from sweeps.workload.protocol import Failure, Outcome, Trial, run_name

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

ENDED = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
"""`Outcome.state` → state of the Optuna trial."""
STATE_NAMES: dict[TrialState, Any] = {
    **{state: name for name, state in ENDED.items()},
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """One epoch that a trial reported."""

    epoch: int
    """Counted from 1."""
    objective: float
    metrics: Mapping[str, float]
    at: float | None
    """When it was reported, in unix seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A PNG file that shows a trial after an epoch."""

    epoch: int
    name: str
    path: str
    """Relative to the runs folder where it lies below."""


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """One run of a known configuration with a fresh seed: for confirm, compare or a baseline, or for several of them."""

    source_trial: int | None
    """Number of the search trial whose configuration it repeats or changes; None for a baseline at the fixed settings."""
    params: Mapping[str, Any]
    """Values of all searched parameters that are active, and what a baseline sets besides."""
    seed: int
    """63 bits; never one that the search has used."""
    seed_index: int
    """Place of the seed in the configuration's list, from 0."""
    purposes: tuple[str, ...]
    """Of `confirm`, `compare` and `baseline`, in this order."""
    pair_id: str | None
    """`<source trial>/<seed index>`, shared by the runs of one comparison; None without the purpose `compare`."""
    test: bool
    """Whether the test set is evaluated: for `confirm` and baselines."""
    baseline: str | None = None
    """Name of the baseline whose run it is."""

    def to_attributes(self) -> dict[str, Any]:
        """What the storage keeps of it besides the seed."""
        return {
            "source_trial": self.source_trial,
            "purposes": list(self.purposes),
            "seed_index": self.seed_index,
            "pair_id": self.pair_id,
            "params": dict(self.params),
            "test": self.test,
            "baseline": self.baseline,
        }


def stored_repeat(stored: "FrozenTrial") -> Repeat:
    """The repeat that a stored trial was made for."""
    attributes = stored.user_attrs
    return Repeat(
        source_trial=attributes["source_trial"],
        params=attributes["params"],
        seed=attributes["seed"],
        seed_index=attributes["seed_index"],
        purposes=tuple(attributes["purposes"]),
        pair_id=attributes["pair_id"],
        test=attributes["test"],
        baseline=attributes["baseline"],
    )


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """All that the storage says of one trial of the search, or of one repeat."""

    number: int
    repeat: bool
    state: Literal["running", "waiting", "complete", "pruned", "failed"]
    params: Mapping[str, Any]
    """Values of the searched parameters and, of a baseline, what it sets besides."""
    seed: int | None
    """None where another program made the trial."""
    started: float | None
    ended: float | None
    """Unix seconds."""
    epochs: tuple[EpochRecord, ...]
    """In order."""
    pictures: tuple[Picture, ...]
    """In the order of their epochs."""
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

    @property
    def best(self) -> EpochRecord | None:
        """The epoch with the smallest finite objective, the earliest of equals; None where there is none."""
        finite = [epoch for epoch in self.epochs if math.isfinite(epoch.objective)]
        return min(finite, key=lambda epoch: (epoch.objective, epoch.epoch), default=None)

    @property
    def objective(self) -> float | None:
        """The best objective that it reported, else the one of its outcome (of a duplicate)."""
        if best := self.best:
            return best.objective
        return self.outcome.objective if self.outcome else None

    @property
    def trial(self) -> Trial:
        """The trial as the workload got it when it began. Raises ValueError where another program made it."""
        if self.seed is None:
            raise ValueError(f"{self.name} was made by another program and has no seed")
        return Trial(
            number=self.number,
            params=self.params,
            seed=self.seed,
            repeat=self.repeat,
            test=self.test,
            baseline=self.baseline,
        )

    @classmethod
    def from_attributes(
        cls, stored: "FrozenTrial", space: Space, *, repeat: bool, reassigned: Mapping[str, Any] | None = None
    ) -> "TrialRecord":
        """Read a stored trial; attributes that an interrupted process left out are None or empty.

        Args:
            space: the search space, which names the parameters' kinds.
            reassigned: purposes, pair and baseline of a repeat in the newest plan, where they changed.
        """
        attributes = stored.user_attrs
        purposes, pair_id, baseline = (
            attributes.get("purposes") or (),
            attributes.get("pair_id"),
            attributes.get("baseline"),
        )
        if reassigned is not None:
            purposes, pair_id, baseline = (reassigned[name] for name in ("purposes", "pair_id", "baseline"))
        return cls(
            number=stored.number,
            repeat=repeat,
            state=STATE_NAMES[stored.state],
            params=attributes.get("params") or _decoded(stored.params, space),
            seed=attributes.get("seed"),
            started=attributes.get("started", _unix(stored.datetime_start)),
            ended=attributes.get("ended", _unix(stored.datetime_complete)),
            epochs=_epochs(stored),
            pictures=pictures_of(attributes),
            outcome=outcome_of(stored) if stored.state.is_finished() else None,
            results=attributes.get("results") or {},
            folder=attributes.get("folder"),
            duplicate_of=attributes.get("duplicate_of"),
            source_trial=attributes.get("source_trial"),
            purposes=tuple(purposes),
            seed_index=attributes.get("seed_index"),
            pair_id=pair_id,
            baseline=baseline,
            test=bool(attributes.get("test", False)),
        )


def outcome_of(stored: "FrozenTrial") -> Outcome:
    """How a trial ended, as the driver decided it; from its epochs alone where another program ended it."""
    ending = stored.user_attrs.get("outcome")
    if ending is not None:
        failure = Failure(**ending["failure"]) if ending["failure"] else None
        return Outcome(
            state=STATE_NAMES[stored.state], epoch=ending["epoch"], objective=ending["objective"], failure=failure
        )
    reported = [value for value in stored.intermediate_values.values() if math.isfinite(value)]
    value = stored.values[0] if stored.values else None
    return Outcome(
        state=STATE_NAMES[stored.state], epoch=len(stored.intermediate_values), objective=min(reported, default=value)
    )


def _epochs(stored: "FrozenTrial") -> tuple[EpochRecord, ...]:
    attributes, records = stored.user_attrs, []
    for epoch, objective in sorted(stored.intermediate_values.items()):
        written = attributes.get(f"epoch/{epoch}") or {}
        records.append(
            EpochRecord(epoch=epoch, objective=objective, metrics=written.get("metrics") or {}, at=written.get("at"))
        )
    return tuple(records)


def pictures_of(attributes: Mapping[str, Any]) -> tuple[Picture, ...]:
    """The pictures among the attributes of a trial."""
    found = [
        Picture(epoch=int(key.removeprefix("pictures/")), name=name, path=path)
        for key, named in attributes.items()
        if key.startswith("pictures/")
        for name, path in named.items()
    ]
    return tuple(sorted(found, key=lambda picture: picture.epoch))


def _decoded(stored: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """The configuration of a trial; values that the space does not know (it was changed since) stay as they are stored."""
    known = {
        parameter.name: parameter.decode(stored[parameter.name])
        for parameter in space.parameters
        if parameter.name in stored
        and (parameter.kind != "choice" or stored[parameter.name] in map(parameter.encode, parameter.values))
    }
    return {**stored, **known}


def _unix(moment: Any) -> float | None:
    return None if moment is None else moment.timestamp()
