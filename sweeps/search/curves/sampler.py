"""Which configuration begins next, by where learning curves are expected to end: expected
improvement under a process over configurations and epochs.

The first trials are spread over the space. Then a Gaussian process
(`sweeps.search.curves.process`), which knows all epochs of all trials, also of those that are
paused or pruned, proposes (`Acquisition`). The study's pruner decides which trials resume.

**All follows from the records**, so a study that is killed and continued decides the same. Where
decisions are pipelined, these are the epochs that were known before the last round. The parameters
of the process are those for rounds 1 to 8, 10, 12, 15 and so on, ever a quarter more; each time
they follow from what was known before that round alone.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from threadpoolctl import ThreadpoolController

from sweeps.search.curves.acquisition import (
    Acquisition,
    Configuration,
    curves_of,
    key_of,
    unfinished,
)
from sweeps.search.curves.learning_curves import Scale, seen_epochs
from sweeps.search.curves.process import most_probable, prior
from sweeps.search.samplers import CurvesSettings
from sweeps.state.decisions import known_before, running_before
from sweeps.state.trial import Trial
from sweeps.study.space import Space

EPOCHS_FITTED = 200
"""Trial-epochs from which the parameters of the process follow, at the most."""


class CurveSampler:
    """The sampler of a study.

    Args:
        settings: with the epochs of a full trial.
        seed: of the study.
    """

    def __init__(self, settings: CurvesSettings, space: Space, seed: int) -> None:
        self._settings = settings
        self._space = space
        self._seed = seed
        self._last = settings.max_epochs or 1
        self._fitted: tuple[int, np.ndarray] | None = None
        """A round, and the parameters of the process for it."""
        self._known: Sequence[Trial] | None = None
        self._running: list[Configuration] = []
        self._acquisition: Acquisition | None = None
        """The trials after which a configuration was asked for, those of them that train, and what
        is expected then; None after too few.
        """
        self._stored: dict[int, str] = {}
        """Number under which a trial began → key of its configuration, of those that the storage
        has.
        """
        self._tried: set[str] = set()
        """Keys of the configurations of all known trials."""
        # While workers start, because loading them takes most of a second; and before the
        # controller looks for libraries.
        from scipy import linalg, optimize, special, stats  # noqa: F401

        self._threads = ThreadpoolController()

    def configuration(
        self, known: Sequence[Trial], proposals: Sequence[Trial], round_: int
    ) -> Configuration:
        """Return the configuration that begins in this round after these trials; empty where too
        few have reported an epoch, or none is new.

        Too few stay too few while lanes are filled.
        """
        with self._threads.limit(limits=1, user_api="blas"):  # their number decides the last bits
            if self._known is not known:
                self._known = known
                trials = running_before(known, round_)
                self._running, self._acquisition = self._training(trials), self._expected(trials)
                self._look_at(known)
            if self._acquisition is None:
                return {}
            tried = self._tried | {key_of(trial.params) for trial in proposals}
            return self._acquisition.best([*self._running, *self._training(proposals)], tried) or {}

    def _look_at(self, trials: Sequence[Trial]) -> None:
        """Note the configurations of these trials. Those in the storage are remembered, because
        there may be 10,000.
        """
        for trial in trials:
            if not trial.proposed and trial.first not in self._stored:
                self._stored[trial.first] = key_of(trial.params)
        self._tried = {
            *self._stored.values(),
            *(key_of(trial.params) for trial in trials if trial.proposed),
        }

    def _training(self, trials: Sequence[Trial]) -> list[Configuration]:
        return [trial.params for trial in unfinished(trials) if not trial.paused]

    def _expected(self, trials: Sequence[Trial]) -> Acquisition | None:
        if sum(bool(trial.counted) for trial in trials) < self._settings.startup_trials:
            return None
        parameters = self._parameters(trials)
        return Acquisition(
            self._space, trials, last=self._last, seed=self._seed, log_parameters=parameters
        )

    def _parameters(self, trials: Sequence[Trial]) -> np.ndarray:
        now = 1 + max(trial.newest_round for trial in trials)
        round_ = fitted_for(now)
        if self._fitted is None or self._fitted[0] != round_:
            # How a trial of the round before failed may be on record already, or not yet.
            curves = [replace(c, diverged=False) for c in curves_of(known_before(trials, round_))]
            if not curves:  # those that trained then were the driver's of an earlier version
                return prior(len(self._space.parameters))[0]
            seen, _ = seen_epochs(self._space, curves, Scale.of(curves), self._last, EPOCHS_FITTED)
            self._fitted = round_, most_probable(seen)
        return self._fitted[1]


def fitted_for(round_: int) -> int:
    """Return the newest round, up to this one, for which the parameters of the process are found: 1
    to 8, 10, 12, 15 and so on.
    """
    newest = 1
    while (following := max(newest + 1, newest * 5 // 4)) <= round_:
        newest = following
    return newest
