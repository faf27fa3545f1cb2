"""Trials of a `State`, made by hand."""

from dataclasses import fields, replace
from typing import Any

from sweeps.state.trial import Assignment, Recorded, Trial

_RECORDED = {field.name for field in fields(Recorded)}
_ASSIGNED = {field.name for field in fields(Assignment)}


def make_trial(**given: Any) -> Trial:
    """Return a trial with these fields, of `Trial`, of its `Assignment` and of what is `Recorded`;
    its objectives are those of its `epochs`.
    """
    apart = _RECORDED | _ASSIGNED
    own = {name: value for name, value in given.items() if name not in apart}
    trial = Trial(**{"objectives": {}, "repeat": False, "params": {}, "state": "running"} | own)
    return changed(trial, **{name: value for name, value in given.items() if name in apart})


def changed(trial: Trial, **given: Any) -> Trial:
    """Return the trial with other values of these fields."""
    recorded = replace(
        trial.recorded, **{name: value for name, value in given.items() if name in _RECORDED}
    )
    place = replace(
        trial.assignment, **{name: value for name, value in given.items() if name in _ASSIGNED}
    )
    others = {name: value for name, value in given.items() if name not in _RECORDED | _ASSIGNED}
    if "epochs" in given:
        others["objectives"] = {epoch.epoch: epoch.objective for epoch in recorded.epochs}
    return replace(trial, read=lambda: recorded, assigned=lambda: place, **others)
