"""The study's pruner, run again over the recorded curves of its complete trials: which would it
have stopped?
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pandas as pd

from sweeps import PRUNERS, PrunerSettings, storage_of, study_id

WINNERS = 10
"""The best trials, which no pruner should stop; fewer where these are more than a quarter of the
complete ones.
"""
LEAST = 8
"""Complete trials with a curve below which a replay says nothing."""
MOST = 200
"""Trials that are replayed; where there are more, the winners and others evenly from the whole
ranking.
"""
_WAITS = ("warmup_epochs", "min_epochs", "patience")
"""Settings that say how long a pruner waits before it stops a trial; a pruner has one of them at
most.
"""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The decisions of a pruner on complete trials, each compared with all of them."""

    winners: int
    """The best trials that were looked at."""
    stopped: int
    """Those of them that it would have stopped."""
    setting: str
    """The setting that says how long it waits: `warmup_epochs`, `min_epochs` or `patience`."""
    present: int
    """Its value in the study."""


def recorded_curves(epochs: pd.DataFrame, ranked: pd.DataFrame) -> list[np.ndarray]:
    """Return the objective after each epoch of at most `MOST` complete trials, the best first: [E]
    each.

    Trials that recorded none, or a value that is not finite, are left out.
    """
    chosen = ranked["number"].to_numpy()
    if len(chosen) > MOST:
        rest = np.linspace(WINNERS, len(chosen) - 1, MOST - WINNERS).round().astype(int)
        chosen = chosen[np.unique(np.concatenate([np.arange(WINNERS), rest]))]
    rows = epochs[~epochs["repeat"] & epochs["number"].isin(chosen)].sort_values(
        ["number", "epoch"]
    )
    curves = {
        number: curve.to_numpy(float) for number, curve in rows.groupby("number")["objective"]
    }
    return [
        curves[number]
        for number in chosen
        if number in curves and np.isfinite(curves[number]).all()
    ]


def replay_pruner(
    section: Mapping[str, Any] | None,
    curves: Sequence[np.ndarray],
    epochs: int | None,
    warmup: int = 0,
) -> Replay | None:
    """Replay the pruner of a study; None without a rule, or with fewer than `LEAST` curves.

    Args:
        section: the pruner in the study file.
        curves: the objective after each epoch of complete trials, the best first.
        epochs: epochs of a full trial.
        warmup: the longest warm-up of a trial, in epochs; no trial is stopped within it.
    """
    pruner = (
        PRUNERS[section["name"]].model_validate(dict(section)).for_epochs(epochs)
        if section
        else None
    )
    setting = next((name for name in _WAITS if hasattr(pruner, name)), None)
    if pruner is None or setting is None or len(curves) < LEAST:
        return None
    stops = _stops(pruner, curves, warmup)[: min(WINNERS, len(curves) // 4)]
    return Replay(
        winners=len(stops),
        stopped=sum(stops),
        setting=setting,
        present=int(getattr(pruner, setting)),
    )


def _stops(pruner: PrunerSettings, curves: Sequence[np.ndarray], warmup: int) -> list[bool]:
    """Tell which trials the pruner would stop before their last epoch, among all trials, complete.

    All trials pass once before any decision counts, because successive halving compares a trial
    with what the others left at its rungs; Hyperband's brackets are drawn again.
    """
    rule = pruner.build_after(warmup)
    storage = optuna.storages.InMemoryStorage()
    direction = optuna.study.StudyDirection.MINIMIZE
    replay = storage.create_new_study([direction], "replay")
    study = optuna.load_study(study_name="replay", storage=storage)
    for curve in curves:
        values = dict(enumerate(map(float, curve), start=1))
        done = optuna.trial.create_trial(value=min(values.values()), intermediate_values=values)
        storage.create_new_trial(replay, template_trial=done)
    stops = []
    for _ in range(2 if hasattr(pruner, "min_epochs") else 1):
        stops = [_is_stopped(rule, study, curve) for curve in curves]
    return stops


def _is_stopped(rule: optuna.pruners.BasePruner, study: optuna.Study, curve: np.ndarray) -> bool:
    """Ask the pruner after each epoch of a trial, which goes on whatever the decision is."""
    storage = storage_of(study)
    stopped = False
    trial = storage.get_trial(storage.create_new_trial(study_id(study)))
    for epoch, value in enumerate(map(float, curve), start=1):
        trial.intermediate_values[epoch] = value
        stopped |= rule.prune(study, trial) and epoch < len(curve)
    return stopped
