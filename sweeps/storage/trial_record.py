"""One trial as its storage holds it: how it is read. `running_trial` is how it is written."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sweeps.lanes import Failure, Outcome
from sweeps.state.trial import Assignment, Closing, Epoch, Pause, Picture, Recorded, Trial
from sweeps.storage.optuna_internals import brief_attributes
from sweeps.study.space import Space, as_lists

ENDED = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
"""`Outcome.state` → state of the Optuna trial."""
STATE_NAMES: dict[TrialState, Any] = {
    **{state: name for name, state in ENDED.items()},
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


Decode = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Stored parameters of a trial → its configuration."""


def read_trial(
    stored: FrozenTrial,
    decode: Decode,
    *,
    repeat: bool,
    reassigned: Mapping[str, Any] | None = None,
    before: Trial | None = None,
    proposed: bool = False,
) -> Trial:
    """Read a stored trial; attributes that an interrupted process left out are None or empty.

    Args:
        decode: of the search space (`decoder`).
        reassigned: source trial, purposes, pairs and baseline of a repeat in the newest plan, where
            it was made by an older one.
        before: the trial that it goes on from, as that one ended.
        proposed: whether it is not in the storage yet.
    """
    brief = brief_attributes(stored)
    reading = _Reading(stored)
    return Trial(
        number=stored.number,
        repeat=repeat,
        state="paused" if _is_paused(stored) else STATE_NAMES[stored.state],
        params=(stored.user_attrs.get("params") if repeat else None) or decode(stored.params),
        objectives=stored.intermediate_values,
        value=stored.values[0] if stored.values else None,
        warmup=int(brief.get("warmup") or 0),
        pauses=tuple(Pause(**pause) for pause in brief.get("pauses") or ()),
        ended_round=brief.get("ended_round"),
        duplicate_of=brief.get("duplicate_of"),
        before=before,
        proposed=proposed,
        assigned=reading.assignment,
        read=reading.recorded,
        origin=stored,
        **(_role_of(stored, reassigned) if repeat else {}),
    )


def _role_of(stored: FrozenTrial, reassigned: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fields of a `Trial` that say what a repeat is for."""
    values = {name: stored.user_attrs.get(name) for name in _ROLE} | dict(reassigned or {})
    values |= {name: tuple(values[name] or ()) for name in ("purposes", "pair_ids")}
    return values | {"test": bool(values["test"])}


_ROLE = ("source_trial", "purposes", "seed_index", "pair_ids", "baseline", "test")


@dataclass(slots=True)
class _Reading:
    """Reads what a stored trial has on record. Of an ended trial it is packed, and unpacked once
    where `recorded` comes first.
    """

    stored: FrozenTrial
    known: Assignment | None = None

    def recorded(self) -> Recorded:
        attributes = _attributes(self.stored)
        if self.stored.state.is_finished():
            self.known = _assignment(attributes)
        return _recorded(self.stored, attributes)

    def assignment(self) -> Assignment:
        return self.known or _assignment(_attributes(self.stored))


def _assignment(attributes: Mapping[str, Any]) -> Assignment:
    closing = None
    if left := attributes.get("closing"):
        closing = Closing(round=left["round"], epoch=left["epoch"], failure=failure_of(left))
    return Assignment(
        seed=attributes.get("seed"),
        round=attributes.get("round"),
        closing=closing,
        resumes_from=attributes.get("resumes_from"),
        checkpoint_bytes=(attributes.get("paused_with") or {}).get("bytes", 0),
    )


def _recorded(stored: FrozenTrial, attributes: Mapping[str, Any]) -> Recorded:
    return Recorded(
        epochs=_epochs(stored, attributes),
        pictures=_pictures(attributes),
        outcome=_outcome(stored, attributes) if stored.state.is_finished() else None,
        results=attributes.get("results") or {},
        started=attributes.get(
            "started", stored.datetime_start and stored.datetime_start.timestamp()
        ),
        ended=attributes.get(
            "ended", stored.datetime_complete and stored.datetime_complete.timestamp()
        ),
        folder=attributes.get("folder"),
        files=attributes.get("files") or {},
    )


def _attributes(stored: FrozenTrial) -> Mapping[str, Any]:
    """Return the attributes of a stored trial. The storage keeps the packed form of an ended one, a
    tenth of the size.
    """
    return copy.copy(stored).user_attrs


def _epochs(stored: FrozenTrial, attributes: Mapping[str, Any]) -> tuple[Epoch, ...]:
    records = []
    for epoch, objective in sorted(stored.intermediate_values.items()):
        written = {"at": None, "metrics": {}} | attributes.get(f"epoch/{epoch}", {})
        records.append(Epoch(epoch=epoch, objective=objective, **written))
    return tuple(records)


def _pictures(attributes: Mapping[str, Any]) -> tuple[Picture, ...]:
    pictures = list[Picture]()
    for key, paths in attributes.items():
        if key.startswith("pictures/"):
            epoch = int(key.removeprefix("pictures/"))
            pictures += [Picture(epoch=epoch, name=name, path=path) for name, path in paths.items()]
    return tuple(sorted(pictures, key=lambda picture: picture.epoch))


def decoder(*spaces: Space) -> Decode:
    """Return what decodes the parameters of trials; values that no space knows stay as they are
    stored.

    Args:
        spaces: the present one, then those of earlier stages.
    """
    choices: dict[str, dict[Any, Any]] = {}
    for parameter in chain.from_iterable(space.parameters for space in spaces):
        values = choices.setdefault(parameter.name, {})
        for value in parameter.values:
            values.setdefault(parameter.encode(value), as_lists(value))
    names = spaces[0].names

    def decode(stored: Mapping[str, Any]) -> dict[str, Any]:
        ordered = {name: stored[name] for name in names if name in stored} | dict(stored)
        return {name: choices.get(name, {}).get(value, value) for name, value in ordered.items()}

    return decode


def numbered(stored: FrozenTrial, number: int) -> FrozenTrial:
    """Return a stored trial under its number in the study, which goes on over all its Optuna
    studies.
    """
    if stored.number != number:
        stored = copy.copy(stored)
        stored.number = number
    return stored


def as_stored(proposal: Trial, attributes: Mapping[str, Any]) -> FrozenTrial:
    """Return a proposed trial as it is to be written, with these attributes."""
    stored: FrozenTrial = copy.copy(proposal.origin)
    stored.user_attrs = {**stored.user_attrs, **attributes}
    return stored


def revives(stored: FrozenTrial) -> int | None:
    """Return the number of the ended trial that goes on as this one; None for a trial that began
    anew.
    """
    return brief_attributes(stored).get("revives")


def _is_paused(stored: FrozenTrial) -> bool:
    """Whether the trial waits to be promoted. In Optuna it runs."""
    if stored.state != TrialState.RUNNING or "seed" not in stored.user_attrs:
        return False
    pauses: Sequence[Mapping[str, Any]] = stored.user_attrs.get("pauses") or ()
    return bool(pauses) and pauses[-1]["until"] is None


def _outcome(stored: FrozenTrial, attributes: Mapping[str, Any]) -> Outcome:
    """Return how a trial ended, as the driver decided it; from its epochs alone where another
    program ended it.
    """
    state = STATE_NAMES[stored.state]
    ending = attributes.get("outcome")
    if ending is not None:
        return Outcome(
            state=state,
            epoch=ending["epoch"],
            objective=ending["objective"],
            failure=failure_of(ending),
        )
    warmup = int(attributes.get("warmup") or 0)
    reported = stored.intermediate_values
    finite = [value for epoch, value in reported.items() if epoch > warmup and math.isfinite(value)]
    value = stored.values[0] if stored.values else None
    return Outcome(state=state, epoch=len(reported), objective=min(finite, default=value))


def failure_of(stored: Mapping[str, Any]) -> Failure | None:
    """Return the failure with which a trial closes or ended, from its record; None without a
    failure.
    """
    return Failure(**stored["failure"]) if stored["failure"] else None
