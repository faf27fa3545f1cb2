"""The study after a round, as observers see it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from optuna.trial import FrozenTrial

from sweeps.budget import best_trial, reported_epochs
from sweeps.held import Held
from sweeps.lanes import Trial
from sweeps.observer import Running, Snapshot
from sweeps.outcome import STATES
from sweeps.source import Source

__all__ = ["snapshot_of"]


def snapshot_of(
    phase: str, trials: Sequence[FrozenTrial], held: Mapping[int, Held], source: Source, elapsed: float
) -> Snapshot:
    """From the trials in the storage and, by number, those that are in lanes."""
    best = best_trial(trials)
    return Snapshot(
        phase=phase,
        running=tuple(_running(held[t.number].trial, t) for t in trials if t.number in held),
        **{name: sum(trial.state == state for trial in trials) for name, state in STATES.items()},
        planned=source.planned,
        best_value=best and best.value,
        best_number=best and best.number,
        best_params=best and source.params(best),
        epochs=reported_epochs(trials),
        elapsed=elapsed,
    )


def _running(trial: Trial, stored: FrozenTrial) -> Running:
    epoch = len(stored.intermediate_values)
    value = stored.intermediate_values[stored.last_step] if epoch else None
    return Running(trial=replace(trial, epoch=epoch), epoch=epoch, value=value)
