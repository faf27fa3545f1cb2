"""What samplers and pruners are shown: each call of each class in use is noted, ours and Optuna's.

Calls that read nothing and change nothing are left out: those of NopPruner, and of the empty
methods of BaseSampler. A call is noted with the trial, the trials of the study that it is given as
it would list them, and its answer. Attributes of trials are not: their names may change, and no
sampler or pruner of Optuna reads them.
"""

import functools
import hashlib
import json
from typing import Any

from masks import unmasked
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

IDLE = ("NopPruner", "BaseSampler")
ASKED = (
    "before_trial",
    "infer_relative_search_space",
    "sample_relative",
    "sample_independent",
    "after_trial",
)


class Seen(dict):
    """`calls`: each call with digests of the trials it shows; `trials`: digest → that trial."""

    def __init__(self) -> None:
        super().__init__(calls=[], trials={})

    def digest(self, trial: FrozenTrial) -> str:
        text = json.dumps(_shown(trial), sort_keys=True)
        short = hashlib.sha256(text.encode()).hexdigest()[:12]
        self["trials"].setdefault(short, text)
        return short


def watch() -> Seen:
    """Note from now on, in this process, every call of every sampler and pruner."""
    seen = Seen()
    for base, methods in ((BaseSampler, ASKED), (BasePruner, ("prune",))):
        for owner in _subclasses(base):
            for method in methods:
                if method in vars(owner) and owner.__name__ not in IDLE:
                    setattr(owner, method, _noting(seen, owner, method))
    return seen


def _subclasses(base: type) -> list[type]:
    return [found for child in base.__subclasses__() for found in (child, *_subclasses(child))]


def _noting(seen: Seen, owner: type, method: str) -> Any:
    inner = vars(owner)[method]
    name = owner.__name__ if owner.__module__.startswith("optuna.") else "ours"

    @functools.wraps(inner)
    def noted(self: Any, study: Any, trial: FrozenTrial, *args: Any) -> Any:
        call = {
            "asked": f"{name}.{method}",
            "trial": seen.digest(trial),
            "trials": _listed(seen, study.get_trials(deepcopy=False)),
            "directions": [direction.name for direction in study.directions],
            "given": [_plain(arg) for arg in args],
        }
        seen["calls"].append(call)
        answer = inner(self, study, trial, *args)
        call["answer"] = _plain(answer)
        return answer

    return noted


def _listed(seen: Seen, trials: list[FrozenTrial]) -> str:
    """Return a digest of the whole list, whose detail is kept like that of a trial."""
    text = json.dumps([seen.digest(trial) for trial in trials])
    short = hashlib.sha256(text.encode()).hexdigest()[:12]
    seen["trials"].setdefault(short, text)
    return short


def _shown(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name,
        "params": trial.params,
        "distributions": {
            name: repr(distribution) for name, distribution in trial.distributions.items()
        },
        "values": trial.values,
        "intermediate": trial.intermediate_values,
        "system": unmasked(dict(trial.system_attrs)),
    }


def _plain(value: Any) -> Any:
    """Return an argument or answer as JSON holds it; distributions and states as text."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value.item() if hasattr(value, "item") else value
    return value.item() if hasattr(value, "item") else repr(value)
