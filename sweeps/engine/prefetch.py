"""The trials that begin next: in a free lane now, or, where decisions are pipelined, in the next
round.

Pipelined trials are chosen before the present round is over, because a worker that has done its
part needs them while others still train. They follow from what was known before the present round
began, and are prepared as soon as it has begun (`look_ahead`). The first free lane gets the first
of them; which worker has that lane changes no result.

First come trials that lost their lanes, then paused ones that are promoted, then new ones. A
process that died while it wrote them has left the first of them on record. The others follow from
there in the same way.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from sweeps.engine.events import Source
from sweeps.state.decisions import known_before, placed_in, resumed_in
from sweeps.state.trial import Trial
from sweeps.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is chosen for one more free lane."""

    trial: Trial | str
    """The trial that begins or resumes there; or why none does, in a sentence."""
    waited: bool = False
    """Whether the trial lost its lane before."""
    promoted: int | None = None
    """Number of the paused trial that resumes."""
    proposals: Sequence[Trial] = ()
    """New trials: the duplicates that were proposed first, which need no lane, and the trial."""


class NextTrials:
    """Chooses the trials of one round after the other."""

    def __init__(self, source: Source, store: Store) -> None:
        self._source = source
        self._store = store
        self.round = -1
        """The round in which the chosen trials begin."""
        self.before: Sequence[Trial] = ()
        """All trials as they stood before the round before."""
        self.chosen: list[Choice] = []
        """Choices that were requested."""
        self._ahead: list[Choice] = []
        """Choices prepared in advance; dropped if never requested."""
        self._wanted = 0
        """How many may be requested: as many as in the round before, or half as many as in the one
        before that, and so on.
        """
        self._choices: Iterator[Choice] = iter(())

    @property
    def waiting(self) -> list[Trial]:
        """Trials that waited outside the lanes, and for which there is a lane now."""
        return [
            choice.trial
            for choice in self.chosen
            if choice.waited and not isinstance(choice.trial, str)
        ]

    @property
    def promoted(self) -> list[int]:
        """Numbers of the paused trials that resume."""
        return [choice.promoted for choice in self.chosen if choice.promoted is not None]

    @property
    def proposals(self) -> list[Trial]:
        """New trials, duplicates among them, in order."""
        return list(chain.from_iterable(choice.proposals for choice in self.chosen))

    @property
    def lanes(self) -> int:
        """Number of lanes that the chosen trials take."""
        return sum(not isinstance(choice.trial, str) for choice in self.chosen)

    def turn_to(self, round_: int, elapsed: float) -> None:
        """Choose for this round from now on. `elapsed`: the seconds spent when the round before the
        last one was over.
        """
        if self.round != round_:
            self.round = round_
            self.before = known_before(self._store.trials(), round_ - 1)
            self.chosen = []
            self._ahead = []
            self._choices = _choices(self._source, self._store, [*self.before], elapsed, round_)

    def written(self) -> None:
        """Note that the chosen trials are in the storage. Further requests in the same round get
        others.
        """
        self.round = -1
        self._wanted = max(self.lanes, self._wanted // 2)

    def choose(self) -> Trial | str:
        """Choose a trial for one more lane that is free in the round; return the trial, or why
        there is none, in a sentence.
        """
        if not self.chosen or not isinstance(self.chosen[-1].trial, str):
            self.chosen.append(self._ahead.pop(0) if self._ahead else next(self._choices))
        return self.chosen[-1].trial

    def look_ahead(self, seconds: float) -> None:
        """Prepare choices for about `seconds`."""
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
    yield from _waiting(source, known, round_)
    yield from _promoted(source, store, known, elapsed, round_)
    yield from _new(source, tuple(known), elapsed, round_)


def _waiting(source: Source, known: list[Trial], round_: int) -> Iterator[Choice]:
    """Yield the trials that lost their lanes."""
    for place, trial in enumerate([*known]):
        if trial.waits and source.find_equal(trial, known) is None:
            known[place] = placed_in(trial, round_)
            yield Choice(trial=trial, waited=True)


def _promoted(
    source: Source, store: Store, known: list[Trial], elapsed: float, round_: int
) -> Iterator[Choice]:
    """Yield the paused trials that resume."""
    while paused := source.choose_promoted(known, elapsed, round_, last=False):
        place = next(place for place, trial in enumerate(known) if trial.number == paused.number)
        if paused.finished:
            trial = store.revived(paused, round_, known[-1].number + 1)
            del known[place]
            known.append(trial)
        else:
            trial = known[place] = resumed_in(paused, round_)
        yield Choice(trial=trial, promoted=paused.number)


def _new(source: Source, known: Sequence[Trial], elapsed: float, round_: int) -> Iterator[Choice]:
    """Yield new trials, each with the duplicates that were proposed before it; without end."""
    new = list[Trial]()
    while True:
        begun = len(new)
        while not isinstance(proposal := source.propose(known, new, elapsed, round_), str):
            equal = source.find_equal(proposal, known, new)
            new.append(_noted(proposal, equal))
            if equal is None:
                break
        yield Choice(trial=proposal, proposals=new[begun:])


def propose_some(
    source: Source, trials: Sequence[Trial], lanes: int, elapsed: float, round_: int
) -> tuple[list[Trial], str]:
    """Propose trials that begin together in so many free lanes, up to the first duplicate, which
    needs none.

    Returns the proposals; and why there are no more, where the source has no more.
    """
    proposals: list[Trial] = []
    known = [*trials]  # a new object, so that the source looks at the trials again
    while len(proposals) < lanes:
        proposal = source.propose(known, proposals, elapsed, round_)
        if isinstance(proposal, str):
            return proposals, proposal
        equal = source.find_equal(proposal, known, proposals)
        proposals.append(_noted(proposal, equal))
        if equal:
            break
    return proposals, ""


def _noted(proposal: Trial, equal: Trial | None) -> Trial:
    """Return a proposal that takes the result of an equal trial, if there is one."""
    return proposal if equal is None else replace(proposal, duplicate_of=equal.number)
