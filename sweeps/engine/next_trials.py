"""The trials that begin next: in a free lane now, or, where a study is decided late, in the next round.

In a study that is decided late they are chosen before the present round is over. A worker that has done its part of a round needs them
for the lanes that become free in it, while other workers still train. So they are chosen from what was known before the present
round began. The first free lane gets the first of them: which worker has that lane decides nothing but where the trial is trained.
"""

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from sweeps.engine.events import Source
from sweeps.storage.proposals import as_duplicate
from sweeps.storage.rounds import known_before
from sweeps.storage.trial_record import first_round, owned_by_driver


class NextTrials:
    """Chooses the trials of one round after the other."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.round = -1
        """The round in which the chosen trials begin."""
        self.proposals: list[FrozenTrial] = []
        """New trials, duplicates among them, in order."""
        self.equals: dict[int, FrozenTrial] = {}
        """Number of a duplicate → the earlier trial with the same parameters."""
        self.waiting: list[FrozenTrial] = []
        """Trials that waited outside the lanes, for whom there is a lane now."""
        self._known: list[FrozenTrial] = []

    @property
    def lanes(self) -> int:
        """Number of lanes that the chosen trials take."""
        return len(self.waiting) + len(self.proposals) - len(self.equals)

    def turn_to(self, round_: int, trials: Sequence[FrozenTrial]) -> None:
        """Choose for this round from now on. `trials`: all in the storage."""
        if self.round != round_:
            self.round, self._known = round_, known_before(trials, round_ - 1)
            self.proposals, self.equals, self.waiting = [], {}, []

    def choose(self, elapsed: float) -> FrozenTrial | str:
        """Choose a trial for one more lane that is free in the round; return the trial, or why there is none, in a sentence.

        `elapsed`: the seconds spent when the round before the last one was over.
        """
        for trial in self._known:
            waits = owned_by_driver(trial) and first_round(trial) is None and trial not in self.waiting
            if waits and self._source.duplicate_of(trial.params, self._known[: trial.number]) is None:
                self.waiting.append(trial)
                return trial
        while True:
            so_far = [*self._known, *self.proposals]
            proposal = self._source.propose(so_far, self.proposals, elapsed, self.round)
            if isinstance(proposal, str):
                return proposal
            equal = self._source.duplicate_of(proposal.params, so_far)
            if equal is None:
                self.proposals.append(proposal)
                return proposal
            self.proposals.append(as_duplicate(proposal, equal))
            self.equals[proposal.number] = equal


def propose_some(
    source: Source, trials: Sequence[FrozenTrial], lanes: int, elapsed: float, round_: int
) -> tuple[list[FrozenTrial], FrozenTrial | None, str]:
    """Propose trials that begin together in so many free lanes, up to the first duplicate, which needs none.

    Returns the proposals; the trial that the last of them equals, which may itself be a proposal; and why there are
    no more, where the source has no more.
    """
    proposals: list[FrozenTrial] = []
    so_far = [*trials]
    while len(proposals) < lanes:
        proposal = source.propose(so_far, proposals, elapsed, round_)
        if isinstance(proposal, str):
            return proposals, None, proposal
        proposals.append(proposal)
        if equal := source.duplicate_of(proposal.params, so_far):
            return proposals, equal, ""
        so_far.append(proposal)
    return proposals, None, ""
