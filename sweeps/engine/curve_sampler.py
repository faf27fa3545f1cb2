"""Who pauses, who goes on and which configuration begins, by where curves are expected to end: freeze–thaw (Swersky, Snoek and Adams 2014).

After its epochs of a rung a trial may pause. Then trials at rungs, paused trials and new configurations compete for the lanes (`outlook`).

**All follows from the records**, so a study that is killed and continued decides the same. The parameters of the process are those for
rounds 1 to 8, 10, 12, 15 and so on, ever a quarter more; each time they follow from what was known before that round alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from optuna.trial import FrozenTrial
from threadpoolctl import threadpool_limits

from sweeps.engine.events import reported_epochs
from sweeps.engine.outlook import Option, Outlook, curves_of, unfinished
from sweeps.results.curve_process import most_probable, prior
from sweeps.results.seen_curves import Scale, seen_epochs
from sweeps.storage.rounds import known_before
from sweeps.storage.trial_record import is_diverged, is_paused, may_revive, newest_of_each, newest_round
from sweeps.study.pruners import FreezeThawSettings
from sweeps.study.space import Space

EPOCHS_FITTED = 200
"""Trial-epochs from which the parameters of the process follow, at the most."""
DESERVES = 0.1
"""A trial goes on only where it is expected to improve by more than this share of the deviation of an epoch about its curve."""

Begins = Callable[[Sequence[FrozenTrial]], bool]


class FreezeThaw:
    """The rule of a study.

    Args:
        settings: with the epochs of a full trial.
        seed: of the study.
        begins: whether the budget allows a new trial after these.
        revives_from: number of the first trial that may be revived.
    """

    def __init__(
        self, settings: FreezeThawSettings, space: Space, seed: int, *, begins: Begins, revives_from: int = 0
    ) -> None:
        self._settings, self._space, self._seed, self._begins = settings, space, seed, begins
        self._revives_from = revives_from
        self._last = settings.max_epochs or 1
        self._fitted: tuple[int, np.ndarray] | None = None
        """A round, and the parameters of the process for it."""
        self._newest: tuple[tuple[int, int], Outlook] | None = None
        """How many epochs were reported and trials diverged, and what is expected then."""

    def pausing(self, candidates: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> list[int]:
        """Return the numbers of those candidates, which have just done an epoch, that pause now. `trials`: all, by number."""
        at_rung = [trial for trial in candidates if len(trial.intermediate_values) in (self._settings.rungs or ())]
        if not at_rung or self._starting(trials):
            return [trial.number for trial in at_rung if self._begins(trials)]
        paused = self._waiting(trials)
        others = _apart(unfinished(trials), [*at_rung, *paused])
        staying = self._best(trials, others, [*at_rung, *paused], len(at_rung))
        return [trial.number for trial in at_rung if trial.number not in {option.number for option in staying}]

    def promoted(self, trials: Sequence[FrozenTrial], lanes: int) -> FrozenTrial | None:
        """Return the paused trial that goes on next in one of so many free lanes; None where new configurations are worth more.

        It may have ended while it was paused: then another trial is to revive it.
        """
        paused = self._waiting(trials)
        if not paused or self._starting(trials):
            return None
        going = _apart(unfinished(trials), paused)
        numbers = [option.number for option in self._best(trials, going, paused, lanes)]
        return next((trials[number] for number in numbers if number is not None), None)

    def ranked(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return the trials that `promoted` chooses from, the one that is expected to end lowest first."""
        paused = self._waiting(trials)
        if not reported_epochs(paused):
            return paused
        outlook = self._outlook(trials)
        return sorted(paused, key=lambda trial: (outlook.expected(self._space.decode(trial.params)), trial.number))

    def configuration(self, trials: Sequence[FrozenTrial]) -> dict[str, object]:
        """Return the configuration that begins after these trials; empty where the sampler chooses."""
        if self._starting(trials):
            return {}
        going = [trial for trial in unfinished(trials) if not is_paused(trial)]
        return next((dict(option.params) for option in self._best(trials, going, [], 1)), {})

    def _waiting(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return the trials that are paused, or were when they ended, by number."""
        return [
            trial
            for trial in newest_of_each(trials)
            if is_paused(trial) or (may_revive(trial) and trial.number >= self._revives_from)
        ]

    def _starting(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether too few trials have reported an epoch for a decision. It stays so while lanes are filled."""
        return sum(bool(trial.intermediate_values) for trial in newest_of_each(trials)) < self._settings.startup_trials

    def _best(
        self, trials: Sequence[FrozenTrial], going: Sequence[FrozenTrial], may_go_on: Sequence[FrozenTrial], count: int
    ) -> list[Option]:
        """Return the best of the trials that may go on and, where the budget allows, of new configurations."""
        outlook, decode = self._outlook(trials), self._space.decode
        options = [Option(params=decode(trial.params), number=trial.number) for trial in may_go_on]
        if self._begins(trials):
            new = outlook.new(decode(trial.params) for trial in trials)
            options += [Option(params=params, number=None) for params in new]
        with threadpool_limits(1, "blas"):  # their number decides the last bits
            return outlook.best([decode(trial.params) for trial in going], options, count, DESERVES)

    def _outlook(self, trials: Sequence[FrozenTrial]) -> Outlook:
        known = reported_epochs(trials), sum(map(is_diverged, trials))
        if self._newest is None or self._newest[0] != known:
            with threadpool_limits(1, "blas"):
                parameters = self._parameters(trials)
                self._newest = (
                    known,
                    Outlook(self._space, trials, last=self._last, seed=self._seed, log_parameters=parameters),
                )
        return self._newest[1]

    def _parameters(self, trials: Sequence[FrozenTrial]) -> np.ndarray:
        now = 1 + max(map(newest_round, trials))
        round_ = fitted_for(now)
        if self._fitted is None or self._fitted[0] != round_:
            # How a trial of the round before failed may be on record already, or not yet.
            curves = [replace(c, diverged=False) for c in curves_of(self._space, known_before(trials, round_))]
            if not curves:  # those that trained then were the driver's of an earlier version
                return prior(len(self._space.parameters))[0]
            seen, _ = seen_epochs(self._space, curves, Scale.of(curves), self._last, EPOCHS_FITTED)
            self._fitted = round_, most_probable(seen)
        return self._fitted[1]


def _apart(trials: Sequence[FrozenTrial], others: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    numbers = {trial.number for trial in others}
    return [trial for trial in trials if trial.number not in numbers]


def fitted_for(round_: int) -> int:
    """Return the newest round, up to this one, for which the parameters of the process are found: 1 to 8, 10, 12, 15 and so on."""
    newest = 1
    while (following := max(newest + 1, newest * 5 // 4)) <= round_:
        newest = following
    return newest
