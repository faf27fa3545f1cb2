"""The trials that begin next: in a free lane now, or, where a study is decided late, in the next round.

In a study that is decided late they are chosen before the present round is over. A worker that has done its part of a round needs them
for the lanes that become free in it, while other workers still train. So they are chosen from what was known before the present
round began. The first free lane gets the first of them: which worker has that lane decides nothing but where the trial is trained.

First come trials that lost their lanes, then paused ones that deserve it, then new ones. A process that died while it wrote them has left the
first of them on record; from there the others follow in the same way.
"""

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from sweeps.engine.events import Source
from sweeps.storage.proposals import as_duplicate, proposed_revival
from sweeps.storage.rounds import as_going_on, as_taken_in, known_before
from sweeps.storage.trial_record import first_round, is_paused, owned_by_driver


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
        self.promoted: dict[int, FrozenTrial] = {}
        """Number of a paused trial that goes on → the trial as it will be, which is a new one where it has ended and is revived."""
        self._known: list[FrozenTrial] = []
        """All trials as they are known to be in the round, those that wait or are promoted as they will be."""
        self._promotes = True

    @property
    def lanes(self) -> int:
        """Number of lanes that the chosen trials take."""
        return len(self.waiting) + len(self.promoted) + len(self.proposals) - len(self.equals)

    def turn_to(self, round_: int, trials: Sequence[FrozenTrial]) -> None:
        """Choose for this round from now on. `trials`: all in the storage."""
        if self.round != round_:
            self.round, self._known = round_, known_before(trials, round_ - 1)
            self.proposals, self.equals, self.waiting, self.promoted = [], {}, [], {}
            self._promotes = True

    def written(self) -> None:
        """Hear that the chosen trials are in the storage. Whoever asks for more in the same round gets others."""
        self.round = -1

    def choose(self, elapsed: float) -> FrozenTrial | str:
        """Choose a trial for one more lane that is free in the round; return the trial, or why there is none, in a sentence.

        `elapsed`: the seconds spent when the round before the last one was over.
        """
        for trial in self._known:
            waits = owned_by_driver(trial) and first_round(trial) is None and not is_paused(trial)
            if waits and self._source.duplicate_of(trial.params, self._known[: trial.number]) is None:
                self.waiting.append(trial)
                self._known[trial.number] = as_taken_in(trial, self.round)
                return trial
        if (promoted := self._promote(elapsed)) is not None:
            return promoted
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

    def _promote(self, elapsed: float) -> FrozenTrial | None:
        stored = self._source.promoted(self._known, 1, elapsed, self.round, last=False) if self._promotes else None
        if stored is None:  # nor later in this round
            self._promotes = False
            return None
        if stored.state.is_finished():
            trial = proposed_revival(stored, self.round, len(self._known))
            self._known.append(trial)
        else:
            trial = self._known[stored.number] = as_going_on(stored, self.round)
        self.promoted[stored.number] = trial
        return trial


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
