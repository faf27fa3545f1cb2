"""The study's pruner, run again over the recorded curves of its complete trials: which would it
have stopped, and when?
"""

import math
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
    recommended: int | None
    """The smallest value that was tried with which no winner is stopped; None where each stops
    one.
    """
    saved: float
    """Share of the complete trials' epochs that it would have spared with the recommended value;
    NaN without one.
    """


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


def rank_correlations(curves: Sequence[np.ndarray], warmup: int = 0) -> pd.Series:
    """Return Spearman's rank correlation, over trials, of the best value by each epoch with the
    best of all, by epoch after the warm-up.

    Only trials of the greatest length count. Empty with fewer than five of them, or where all end
    with one value.
    """
    longest = max(map(len, curves), default=0)
    table = np.array(
        [np.minimum.accumulate(curve[warmup:]) for curve in curves if len(curve) == longest]
    )
    if len(table) < 5 or longest < warmup + 2 or len(np.unique(table[:, -1])) == 1:
        return pd.Series(dtype=float)
    ranks = pd.DataFrame(table).rank().to_numpy()
    centred = ranks - ranks.mean(axis=0)
    squares = (centred**2).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        # One root of the product: where no ranks tie, the fraction is exact, so that reports round
        # a half alike on all processors.
        correlations = (centred * centred[:, -1:]).sum(axis=0) / np.sqrt(squares * squares[-1])
    return pd.Series(np.nan_to_num(correlations), index=np.arange(warmup + 1, longest + 1))


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
    setting = next((name for name in _WAITS if pruner is not None and hasattr(pruner, name)), None)
    if pruner is None or setting is None or len(curves) < LEAST:
        return None
    present, longest = int(getattr(pruner, setting)), max(map(len, curves))
    stops = _stops(pruner, setting, sorted({*_candidates(longest), present}), curves, warmup)
    winners = min(WINNERS, len(curves) // 4)
    recommended = next((value for value in stops if not any(stops[value][:winners])), None)
    total, saved = sum(map(len, curves)), math.nan
    if recommended is not None:
        pairs = zip(stops[recommended], curves, strict=True)
        saved = sum(len(curve) - stop for stop, curve in pairs if stop) / total
    return Replay(
        winners=winners,
        stopped=sum(map(bool, stops[present][:winners])),
        setting=setting,
        present=present,
        recommended=recommended,
        saved=saved,
    )


def _candidates(longest: int) -> list[int]:
    """Return what a pruner may wait, in epochs: every number of few, of many ever fewer."""
    return sorted({round(1.2**power) for power in range(60) if 1.2**power < longest})


Stops = Sequence[int | None]
"""Epochs after which each trial was stopped; None where it never was."""


def _stops(
    pruner: PrunerSettings,
    setting: str,
    candidates: Sequence[int],
    curves: Sequence[np.ndarray],
    warmup: int,
) -> dict[int, Stops]:
    """Return the stops by value of the setting."""
    if setting == "warmup_epochs":
        # Warm-up only silences a decision, so that the decisions of one replay without it serve
        # every value.
        decisions = _decisions(pruner.model_copy(update={setting: 0}), curves, warmup)
        return {value: [_first(decision, value) for decision in decisions] for value in candidates}
    return {
        value: [
            _first(each, 0)
            for each in _decisions(pruner.model_copy(update={setting: value}), curves, warmup)
        ]
        for value in candidates
    }


def _first(decisions: np.ndarray, warmup: int) -> int | None:
    """Return the first epoch from the warm-up on at which the decision is to stop, but for the last
    epoch, which costs nothing.
    """
    epochs = np.flatnonzero(decisions[:-1]) + 1
    return next((int(epoch) for epoch in epochs if epoch >= warmup), None)


def _decisions(
    pruner: PrunerSettings, curves: Sequence[np.ndarray], warmup: int
) -> list[np.ndarray]:
    """Ask the pruner after each epoch of each trial whether to prune it, among all trials,
    complete: booleans [E] each.

    A trial goes on whatever the decision is. All trials pass once before any decision counts,
    because successive halving compares a trial with what the others left at its rungs; Hyperband's
    brackets are drawn again.
    """
    rule, storage = pruner.build_after(warmup), optuna.storages.InMemoryStorage()
    direction = optuna.study.StudyDirection.MINIMIZE
    replay = storage.create_new_study([direction], "replay")
    study = optuna.load_study(study_name="replay", storage=storage)
    for curve in curves:
        values = dict(enumerate(map(float, curve), start=1))
        done = optuna.trial.create_trial(value=min(values.values()), intermediate_values=values)
        storage.create_new_trial(replay, template_trial=done)
    decisions = []
    for _ in range(2 if hasattr(pruner, "min_epochs") else 1):
        decisions = [_ask(rule, study, curve) for curve in curves]
    return decisions


def _ask(rule: optuna.pruners.BasePruner, study: optuna.Study, curve: np.ndarray) -> np.ndarray:
    """Return the decision on a trial after each of its epochs: [E]."""
    storage = storage_of(study)
    trial = storage.get_trial(storage.create_new_trial(study_id(study)))
    decisions = np.zeros(len(curve), dtype=bool)
    for epoch, value in enumerate(map(float, curve), start=1):
        trial.intermediate_values[epoch] = value
        decisions[epoch - 1] = rule.prune(study, trial)
    return decisions
