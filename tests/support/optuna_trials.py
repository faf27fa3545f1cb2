"""Facts about the trials of an Optuna study, as its storage holds them: what tests of the records
look at.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.search import proposals
from sweeps.state.trial import Trial
from sweeps.storage.store import Store
from sweeps.storage.trial_record import decoder, read_trial
from sweeps.study.space import Space


def revives(trial: FrozenTrial) -> int | None:
    """Number of the ended trial that goes on as this one."""
    return trial.user_attrs.get("revives")


def may_revive(trial: FrozenTrial) -> bool:
    """Whether it was pruned while it was paused."""
    pauses = trial.user_attrs.get("pauses") or []
    return trial.state == TrialState.PRUNED and bool(pauses) and pauses[-1]["until"] is None


def is_paused(trial: FrozenTrial) -> bool:
    pauses = trial.user_attrs.get("pauses") or []
    return trial.state == TrialState.RUNNING and bool(pauses) and pauses[-1]["until"] is None


def duplicate_of(trial: FrozenTrial) -> int | None:
    return trial.user_attrs.get("duplicate_of")


def newest_of_each(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those that no other one revives."""
    revived = {revives(trial) for trial in trials}
    return [trial for trial in trials if trial.number not in revived]


def reported_epochs(trials: Sequence[FrozenTrial]) -> int:
    return sum(len(trial.intermediate_values) for trial in newest_of_each(trials))


def propose(
    optuna_study: optuna.Study, sampler: Any, space: Space, *, number: int, seed: int, **shown: Any
) -> Any:
    """`sweeps.search.proposals.propose` of an Optuna study."""
    store = Store(optuna_study, space, Path("mlruns"))
    return proposals.propose(
        store, sampler, space, proposals.Shown(**shown), number=number, seed=seed
    )


def as_read(trials: Sequence[FrozenTrial], space: Space | None = None) -> list[Trial]:
    """These trials of a search as the storage reads them."""
    return [read_trial(trial, decoder(space or Space(())), repeat=False) for trial in trials]


def trials_of(optuna_study: optuna.Study, space: Space | None = None) -> Sequence[Trial]:
    """All trials of a study as the driver sees them."""
    return Store(optuna_study, space or Space(())).trials()
