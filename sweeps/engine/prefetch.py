"""The trials that begin next: in a free lane now, or, where a study is decided late, in the next
round.

In a study that is decided late they are chosen before the present round is over. A worker that has
done its part of a round needs them for the lanes that become free in it, while other workers still
train. So they are chosen from what was known before the present round began, as soon as it has
begun, so that no worker waits for the sampler (`look_ahead`). The first free lane gets the first of
them: which worker has that lane decides nothing but where the trial is trained.

First come trials that lost their lanes, then paused ones that deserve it, then new ones. A process
that died while it wrote them has left the first of them on record; from there the others follow in
the same way.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sweeps.engine.events import Source
from sweeps.state.decisions import known_before
from sweeps.state.trial import Trial
from sweeps.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is chosen for one more free lane."""

    trial: Trial | str
    """Who begins or goes on there; or why nobody does, in a sentence."""
    waited: bool = False
    """Whether the trial lost its lane before."""
    promoted: int | None = None
    """Number of the paused trial that goes on."""
    proposals: Sequence[Trial] = ()
    """New trials: the duplicates that were proposed first, which need no lane, and the trial."""
    equals: Mapping[int, Trial] = field(default_factory=dict)
    """Number of a duplicate → the earlier trial with the same parameters."""


class NextTrials:
    """Chooses the trials of one round after the other."""

    def __init__(self, source: Source, store: Store) -> None:
        self._source, self._store = source, store
        self.round = -1
        """The round in which the chosen trials begin."""
        self.before: Sequence[Trial] = ()
        """All trials as they stood before the round before."""
        self.chosen: list[Choice] = []
        """Who was asked for."""
        self._ahead: list[Choice] = []
        """Who was not asked for yet. They leave no trace where nobody does."""
        self._wanted = 0
        """How many may be asked for: as many as in the round before, or half as many as in the one
        before that, and so on.
        """
        self._choices: Iterator[Choice] = iter(())

    @property
    def waiting(self) -> list[Trial]:
        """Trials that waited outside the lanes, for whom there is a lane now."""
        return [
            choice.trial
            for choice in self.chosen
            if choice.waited and not isinstance(choice.trial, str)
        ]

    @property
    def promoted(self) -> list[int]:
        """Numbers of the paused trials that go on."""
        return [choice.promoted for choice in self.chosen if choice.promoted is not None]

    @property
    def proposals(self) -> list[Trial]:
        """New trials, duplicates among them, in order."""
        return [proposal for choice in self.chosen for proposal in choice.proposals]

    @property
    def equals(self) -> dict[int, Trial]:
        """Number of a duplicate → the earlier trial with the same parameters."""
        return {number: equal for choice in self.chosen for number, equal in choice.equals.items()}

    @property
    def lanes(self) -> int:
        """Number of lanes that the chosen trials take."""
        return sum(not isinstance(choice.trial, str) for choice in self.chosen)

    def turn_to(self, round_: int, trials: Sequence[Trial], elapsed: float) -> None:
        """Choose for this round from now on.

        Args:
            trials: all in the storage.
            elapsed: the seconds spent when the round before the last one was over.
        """
        if self.round != round_:
            self.round, self.before = round_, known_before(trials, round_ - 1)
            self.chosen, self._ahead = [], []
            self._choices = _choices(self._source, self._store, [*self.before], elapsed, round_)

    def written(self) -> None:
        """Hear that the chosen trials are in the storage. Whoever asks for more in the same round
        gets others.
        """
        self.round, self._wanted = -1, max(self.lanes, self._wanted // 2)

    def choose(self) -> Trial | str:
        """Choose a trial for one more lane that is free in the round; return the trial, or why
        there is none, in a sentence.
        """
        if not self.chosen or not isinstance(self.chosen[-1].trial, str):
            self.chosen.append(self._ahead.pop(0) if self._ahead else next(self._choices))
        return self.chosen[-1].trial

    def look_ahead(self, seconds: float) -> None:
        """Work for about `seconds` on whom somebody may ask for."""
        end = time.monotonic() + seconds
        while len(self.chosen) + len(self._ahead) < self._wanted and time.monotonic() < end:
            newest = [*self.chosen[-1:], *self._ahead[-1:]]
            if newest and isinstance(newest[-1].trial, str):
                return
            self._ahead.append(next(self._choices))


def _choices(
    source: Source, store: Store, known: list[Trial], elapsed: float, round_: int
) -> Iterator[Choice]:
    """Yield one choice after the other, the last of them a sentence. `known`: all trials as they
    are known to be in the round; it is changed.
    """
    for place, trial in enumerate([*known]):
        if trial.waits and source.duplicate_of(trial, known) is None:
            known[place] = trial.placed_in(round_)
            yield Choice(trial=trial, waited=True)
    while paused := source.promoted(known, 1, elapsed, round_, last=False):
        place = next(place for place, trial in enumerate(known) if trial.number == paused.number)
        if paused.finished:
            trial = store.revived(paused, round_, known[-1].number + 1)
            del known[place]
            known.append(trial)
        else:
            trial = known[place] = paused.resumed_in(round_)
        yield Choice(trial=trial, promoted=paused.number)
    settled, new = tuple(known), list[Trial]()
    while True:
        begun = len(new)
        equals: dict[int, Trial] = {}
        while not isinstance(proposal := source.propose(settled, new, elapsed, round_), str):
            equal = source.duplicate_of(proposal, settled, new)
            if equal is None:
                new.append(proposal)
                break
            equals[proposal.number] = equal
            new.append(replace(proposal, duplicate_of=equal.number))
        yield Choice(trial=proposal, proposals=new[begun:], equals=equals)


def propose_some(
    source: Source, trials: Sequence[Trial], lanes: int, elapsed: float, round_: int
) -> tuple[list[Trial], Trial | None, str]:
    """Propose trials that begin together in so many free lanes, up to the first duplicate, which
    needs none.

    Returns the proposals; the trial that the last of them equals, which may itself be a proposal;
    and why there are no more, where the source has no more.
    """
    proposals: list[Trial] = []
    known = [*trials]  # a new object, so that the source looks at the trials again
    while len(proposals) < lanes:
        proposal = source.propose(known, proposals, elapsed, round_)
        if isinstance(proposal, str):
            return proposals, None, proposal
        equal = source.duplicate_of(proposal, known, proposals)
        proposals.append(proposal)
        if equal:
            return proposals, equal, ""
    return proposals, None, ""
