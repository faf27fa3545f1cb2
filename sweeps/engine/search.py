"""The search of a study: its sampler proposes trials, which run in the rounds of `sweeps.engine.trial_loop`.

A trial's parameters depend on the study's seed, its number and the trials before it, so that a study with the same lanes
repeats exactly.

With many lanes, the parameters depend on the trials that had ended before the last round began, and the sampler works
while that round trains: an accelerator would otherwise wait 10 ms for each trial of TPE, a second for each of a Gaussian
process. With few lanes, each trial that ends teaches the next.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.engine.budget import used_up
from sweeps.engine.events import Observer
from sweeps.engine.trial_loop import Clock, Rounds
from sweeps.seeds import seed_of
from sweeps.storage.proposals import Proposal, propose
from sweeps.storage.running_trial import duplicate_of, ended_round, owned_by_driver
from sweeps.storage.study_record import write_study
from sweeps.study.baselines import starting_values
from sweeps.study.samplers import ask_seed, exhausted, make_sampler, starting_from
from sweeps.workload.protocol import Lanes

if TYPE_CHECKING:
    from sweeps.study.study_file import Study

AHEAD = 16
"""With this many lanes or more, the next trials are proposed while the present ones train."""

KNOWN_IN_A_ROW = 50
"""This many proposals in a row of known configurations end a search, because the sampler has nothing left to find."""


def search(
    optuna_study: optuna.Study,
    study: "Study",
    lanes: Lanes,
    observers: Sequence[Observer],
    *,
    runs: Path = Path("mlruns"),
    clock: Clock = time.time,
) -> str:
    """Search until the study's budget is used up, from wherever the storage stands; returns why it ended.

    An interrupt (KeyboardInterrupt, or an exception of the lanes) leaves its trials RUNNING for the next call.

    Raises:
        UserError: `sweeps.engine.trial_loop.ERRORS_IN_A_ROW` trials failed one after the other with an error.
    """
    source = _Search(optuna_study, study, ahead=lanes.width if lanes.width >= AHEAD else 0)
    reason = Rounds("search", optuna_study, lanes, observers, runs=runs, clock=clock, source=source).run()
    write_study(optuna_study, stopped=reason)
    return reason


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of a trial, 63 bits, from the study's seed and the trial's number."""
    return seed_of(f"{study_seed}:trial:{number}")


class _Search:
    """Trials that the study's sampler asks for, while the budget lasts."""

    def __init__(self, optuna_study: optuna.Study, study: "Study", *, ahead: int) -> None:
        """`ahead`: how many trials to propose, at the most, while others train; 0 to wait for their results."""
        self.optuna_study, self.study, self.ahead = optuna_study, study, ahead
        self.planned = study.budget.trials
        self.prepared: dict[int, Proposal] = {}

    def propose(
        self, trials: Sequence[FrozenTrial], proposals: Sequence[Proposal], elapsed: float, round_: int
    ) -> Proposal | str:
        study, number = self.study, len(trials)
        if reason := used_up(study.budget, trials, elapsed):
            return reason
        if exhausted(study.sampler, study.space, number):
            return "Every setting of the grid is done."
        newest = trials[-KNOWN_IN_A_ROW:]
        if len(newest) == KNOWN_IN_A_ROW and all(duplicate_of(trial) is not None for trial in newest):
            return f"The sampler proposed only known settings, {KNOWN_IN_A_ROW} times in a row."
        return self.prepared.pop(number, None) or self._propose(number, proposals, since=round_ - 1)

    def prepare(self, trials: Sequence[FrozenTrial], round_: int, seconds: float) -> None:
        self.prepared.clear()
        end, first = time.monotonic() + seconds, len(trials)
        last = first + self.ahead if self.planned is None else min(first + self.ahead, self.planned)
        for number in range(first, last):
            if time.monotonic() >= end or exhausted(self.study.sampler, self.study.space, number):
                return
            self.prepared[number] = self._propose(number, list(self.prepared.values()), since=round_)

    def _propose(self, number: int, proposals: Sequence[Proposal], *, since: int) -> Proposal:
        """The trial of this number, after all in the storage and these proposals. With many lanes, what has ended in round
        `since` or later counts as running."""
        study = self.study
        sampler = make_sampler(study.sampler, study.space, ask_seed(study.sampler, study.seed, number))
        sampler = starting_from(sampler, starting_values(study.start, study.space, number))
        return propose(
            self.optuna_study,
            sampler,
            study.space.suggest,
            seed=trial_seed(study.seed, number),
            proposals=proposals,
            unseen=lambda trial: self.ahead and ended_round(trial) >= since,
        )

    def params(self, trial: FrozenTrial) -> dict[str, Any]:
        return self.study.space.decode(trial.params)

    def duplicate_of(self, stored: Mapping[str, Any], earlier: Sequence[FrozenTrial]) -> FrozenTrial | None:
        # A trial that failed says nothing about its setting.
        lasting = (t for t in earlier if t.state in (TrialState.COMPLETE, TrialState.PRUNED) or owned_by_driver(t))
        return next((trial for trial in lasting if trial.params == stored), None)
