"""How trials get into lanes: those that wait, paused ones that are promoted, and new ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import methodcaller

from sweeps.engine.prefetch import NextTrials, propose_some
from sweeps.engine.trial_ends import Phase, TrialEnds
from sweeps.lanes import Progress
from sweeps.state.decisions import all_resumed, left_since
from sweeps.state.trial import Trial
from sweeps.storage.running_trial import RunningTrial


@dataclass(eq=False)
class TrialStarts(Phase):
    """Starts and resumes the trials of a phase."""

    spent: Callable[[], float]
    """Gives the seconds spent in this phase."""
    ends: TrialEnds
    pipelined: bool

    def __post_init__(self) -> None:
        self.round = 0
        self.next = NextTrials(self.source, self.store)
        self.ahead: dict[int, Progress] = {}
        """Number of a trial → its epoch of a round to come, which a process that was stopped had
        trained.
        """

    def _settle(self) -> None:
        """Look again at the trials that wait, for an equal one to end or for a lane."""
        for number in [trial.number for trial in self.store.trials() if trial.waits]:
            trial = self.store.trial(number)
            equal = self.source.find_equal(trial, self.store.trials())
            if equal is None and len(self.running) < self.lanes.width and not self.pipelined:
                self._give_lane(trial)
            elif equal is not None and equal.finished:
                self.ends.end_duplicate(self.store.running(trial), equal, self.round)

    def _give_lane(self, trial: Trial) -> None:
        """Put a trial that waited into a free lane."""
        running = self.store.running(trial)
        running.assign_round(self.round - running.trial.epoch)
        self.add(running)
        self.lanes.replay()

    def _promote(self, *, last: bool = False) -> None:
        """Let paused trials that deserve it go on in free lanes, as new ones where they have ended
        since.
        """
        before = len(self.running)
        while len(self.running) < self.lanes.width:
            stored = self.source.choose_promoted(
                self.store.trials(), self.spent(), self.round, last=last
            )
            if stored is None:
                break
            self._resume_trial(stored)
        # Workers answer a replay, so a round without promotions asks for none.
        if len(self.running) > before:
            self.lanes.replay()

    def _resume_trial(self, trial: Trial) -> None:
        """Let a paused trial go on; from where one that has ended stood, a new one goes on."""
        self.ends.evicted.discard(trial.number)
        if not trial.finished:
            self.store.running(trial).go_on(self.round)
            self.add(self.store.running(self.store.trial(trial.number)))
            return
        self._unstop()
        self.store.revive(trial, self.round)
        running = self.store.running(self.store.trials()[-1])
        self.notifications.later(
            methodcaller("trial_started", running.trial, resumed=False), running.trial.number
        )
        self.add(running)

    def _unstop(self) -> None:
        """Record that the study goes on, before a trial begins."""
        if self.store.record.stopped:
            self.store.write(stopped=None, finished=False)

    def fill(self, round_: int, elapsed_before: float) -> str:
        """Start trials in the lanes that are free in this round; returns why there is none for a
        lane that stays free.

        `elapsed_before`: seconds spent when the round before the last one was over.
        """
        self.round = round_
        self._settle()
        if self.pipelined:
            return self._fill_pipelined(elapsed_before)
        reason = ""
        self._promote()
        while len(self.running) < self.lanes.width and not reason:
            free = self.lanes.width - len(self.running)
            so_far = self.store.trials()
            proposals, reason = propose_some(self.source, so_far, free, self.spent(), self.round)
            if proposals:
                self._start(proposals)
                self._settle()
            self._promote()  # as a process would that takes up the round here
        # A process that died among these promotions left some of them.
        if all_resumed(self.in_lanes(), self.round):
            self._promote(last=True)
        return reason

    def _fill_pipelined(self, elapsed_before: float) -> str:
        """Start the trials that were chosen for this round; choose more, in the same way, while
        lanes stay free.
        """
        reason = ""
        self.next.turn_to(self.round, elapsed_before)
        while self.next.lanes + len(self.running) < self.lanes.width and not reason:
            reason = chosen if isinstance(chosen := self.next.choose(), str) else ""
        for trial in self.next.waiting:
            self._give_lane(self.store.trial(trial.number))
        for number in self.next.promoted:
            self._resume_trial(self.store.trial(number))
        if self.next.promoted:
            self.lanes.replay()
        self.ends.resuming = set()
        if self.next.proposals:
            self._start(self.next.proposals)
        self.next.written()
        self._settle()
        if (
            reason
            and not left_since(self.store.trials(), self.round - 1)
            and all_resumed(self.in_lanes(), self.round)
        ):
            self._promote(last=True)
        return reason

    def _start(self, proposals: Sequence[Trial]) -> None:
        """Begin these trials, written at once."""
        self._unstop()
        self.source.note_beginning(proposals[0].number, self.round)
        first = self.store.next_number
        with self.store.batched():
            for proposal in proposals:
                self.store.begin(proposal, started=self.clock(), round_=self.round)
        for trial in self.store.trials():
            if trial.number >= first and trial.unfinished:
                running = self.store.running(trial)
                self.notifications.later(
                    methodcaller("trial_started", running.trial, resumed=False), trial.number
                )
                if trial.lane_round is not None:
                    self.add(running)

    def add(self, trial: RunningTrial) -> None:
        ahead = self.ahead.get(trial.trial.number)
        self.lanes.add(replace(trial.trial, epoch=ahead.epoch) if ahead else trial.trial)
        self.running[trial.trial.number] = trial

    def in_lanes(self) -> list[Trial]:
        """Return the trials in lanes, as the storage has them, by number."""
        return [trial for trial in self.store.trials() if trial.number in self.running]
