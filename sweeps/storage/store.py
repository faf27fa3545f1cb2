"""One phase of a study, open to be driven: its trials as frozen values, and each step of the driver
as a durable write.

A trial that goes on after its end is a new trial in Optuna, which lets no ended trial change. Here
it is one trial. Numbers go on over all Optuna studies of a search (`parts_of`).
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.lanes import Progress
from sweeps.state.decisions import RoundDecisions
from sweeps.state.record import StudyRecord
from sweeps.state.stages import Stage, placed
from sweeps.state.trial import Repeat, Trial
from sweeps.storage.optuna_internals import (
    batched_writes,
    handle_of,
    set_trial_id,
    storage_of,
    trial_id,
    write_trial,
)
from sweeps.storage.running_trial import RunningTrial, with_divergence
from sweeps.storage.study_record import (
    REPEATS,
    parts_of,
    record_in,
    stored_trials,
    study_record,
    write_stages,
    write_study,
)
from sweeps.storage.trial_record import as_stored, decoder, numbered, read_trial, revives
from sweeps.study.ranges import Growth
from sweeps.study.space import Space

_KEPT = {"warmup", *(field.name for field in fields(Repeat))}
"""What the trial that stands for a failed one has of it; a trial of the search has the seed alone
of the fields of a repeat.
"""
PROPOSED_ID = -1
"""Identity of a trial that is not in the storage."""


class Store:
    """The trials of a search, or the repeats of a study.

    Args:
        study: the Optuna study of the phase.
        space: the search space of the study file.
        runs: folder of the runs; paths below it are written relative to it.
    """

    def __init__(self, study: optuna.Study, space: Space, runs: Path = Path("mlruns")) -> None:
        self.study = study
        self.runs = runs
        self.phase: Literal["search", "repeats"] = (
            "repeats" if study.study_name.endswith(REPEATS) else "search"
        )
        self.stages = record_in(storage_of(study), self.name).stages
        """Those of the study; empty where there is one."""
        self._decode = decoder(space, *(stage.space for stage in self.stages))
        search = parts_of(self.stages)
        self._parts = search if self.phase == "search" else [(REPEATS, 0)]
        """Suffix of each Optuna study of the phase, and the number of its first trial."""
        newest = self.name + self._parts[-1][0]
        self._newest = study
        if newest != study.study_name:
            self._newest = optuna.Study(newest, storage_of(study), study.sampler, study.pruner)
        self._stored: list[FrozenTrial] = []
        self._read: list[Trial] = []
        """All trials of the Optuna study as they were read last, by number."""
        self._open: list[int] = []
        """Numbers of those that may change."""
        self._went_on: set[int] = set()
        """Numbers of those that stand under another number now."""
        self._trials: tuple[Trial, ...] = ()

    # ---- what is there ----

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.study.study_name.removesuffix(REPEATS)

    @property
    def record(self) -> StudyRecord:
        """The record of the phase."""
        return study_record(self.study)

    def trials(self) -> tuple[Trial, ...]:
        """Return all trials as the storage has them now, by number; the same object while nothing
        changes.
        """
        stored = stored_trials(storage_of(self.study), self.name, self._parts)
        changed = [number for number in self._open if stored[number] is not self._stored[number]]
        new = range(len(self._read), len(stored))
        if not changed and not new:
            return self._trials
        self._stored = stored
        for number in changed:
            self._read[number] = self._trial(number)
        for number in new:
            self._read.append(self._trial(number))
        self._open = [number for number in (*self._open, *new) if not self._read[number].finished]
        self._trials = tuple(trial for trial in self._read if trial.number not in self._went_on)
        return self._trials

    def _trial(self, number: int) -> Trial:
        stored = numbered(self._stored[number], number)
        before = None if (ended := revives(stored)) is None else self._read[ended]
        if before is not None:
            self._went_on.add(before.number)
        trial = read_trial(stored, self._decode, repeat=self.phase == "repeats", before=before)
        return placed(trial, self.stages)

    def trial(self, number: int) -> Trial:
        """Return the trial that has this number now."""
        self.trials()
        return self._read[number]

    @property
    def next_number(self) -> int:
        """The number of the trial that is written next."""
        self.trials()
        return len(self._read)

    # ---- the record ----

    def write_pruner_notes(self, decisions: RoundDecisions) -> None:
        """Write what the pruner keeps with the trials (the rungs of successive halving); a second
        time changes nothing.
        """
        storage = storage_of(self.study)
        with self.batched():
            for number, content in decisions.pruner_state.items():
                identity = trial_id(self.trial(int(number)).origin)
                with suppress(UpdateFinishedTrialError):
                    for key, value in content.items():
                        storage.set_trial_system_attr(identity, key, value)

    def batched(self) -> Any:
        """Make all writes within durable at the end, in one write, in the same order."""
        return batched_writes(self.study)

    def write(self, **fields: Any) -> None:
        """Write fields of the record; fields that are not named keep their values."""
        write_study(self.study, **fields)

    def write_grown(self, steps: Sequence[Growth]) -> None:
        """Write all steps that ranges have taken beyond those of the file: the newest begin a stage
        with their trial.
        """
        record = self.record
        stages = record.stages or (Stage(spec=record.spec, text=record.text),)
        first = max(step.trial for step in steps)
        begun = replace(stages[-1], trial=first, at=time.time(), grown=tuple(steps))
        self.stages = (*stages, begun)
        write_stages(self.study, self.stages)

    @property
    def decisions(self) -> RoundDecisions | None:
        """The decisions of the newest round; None before the first."""
        stored = self.study.user_attrs.get("round_decisions")
        if not stored:
            return None
        pruned, to_prune, paused = (
            tuple(stored.get(name, ())) for name in ("pruned", "condemned", "paused")
        )
        return RoundDecisions(
            stored["round"], pruned, stored["pruner_state"], to_prune=to_prune, paused=paused
        )

    def write_decisions(self, decisions: RoundDecisions, elapsed: float) -> None:
        """Write the decisions of a round, and the seconds spent on the phase so far."""
        self.write(elapsed=elapsed)
        content = asdict(decisions)
        content["condemned"] = content.pop("to_prune")
        self.study.set_user_attr("round_decisions", content)

    @property
    def epochs_ahead(self) -> dict[int, Progress]:
        """Epochs of rounds to come that lanes had trained when the study was last stopped, by
        number of their trial.
        """
        ahead = {}
        trials = {trial.number: trial for trial in self.trials()}
        for stored in self.study.user_attrs.get("epochs_ahead") or ():
            number = stored["number"]
            images = {int(epoch): named for epoch, named in stored["images"].items()}
            if number in trials and stored["epoch"] == len(trials[number].objectives) + 1:
                ahead[number] = Progress(**stored | {"images": images})
        return ahead

    def write_epochs_ahead(self, ahead: Sequence[Progress]) -> None:
        """Write epochs of rounds to come, but for those in which training failed: an epoch is the
        same whenever it is trained.
        """
        content = [asdict(progress) for progress in ahead if not with_divergence(progress).failure]
        self.study.set_user_attr("epochs_ahead", content)

    # ---- trials ----

    def running(self, trial: Trial) -> RunningTrial:
        """Return what writes the steps of a trial that is in the storage."""
        return RunningTrial(trial.spec, handle_of(self.study, trial.origin), self.runs)

    def begin(self, proposal: Trial, *, round_: int, started: float) -> None:
        """Write a proposed trial, in one piece.

        It began at `started` (unix seconds); its first epoch is trained in this round, unless it
        is to take the result of an equal trial.
        """
        begun: dict[str, Any] = {"started": started, "round": round_}
        if proposal.duplicate_of is not None:
            begun |= {"round": None, "duplicate_of": proposal.duplicate_of}
        write_trial(self._newest, as_stored(proposal, begun))

    def revive(self, ended: Trial, round_: int) -> None:
        """Write that a trial that ended while it was paused resumes in this round, in one piece."""
        write_trial(self._newest, self.revived(ended, round_, self.next_number).origin)

    def revived(self, ended: Trial, round_: int, number: int) -> Trial:
        """Return the trial of this number that resumes in this round from where one stood when it
        ended; writes nothing.
        """
        stored: FrozenTrial = ended.origin
        attributes = stored.user_attrs
        *before, newest = attributes["pauses"]
        lasting = ("seed", "started", "round", "paused_with", "warmup")
        kept = {
            key: value
            for key, value in attributes.items()
            if key in lasting or key.startswith("epoch/")
        }
        trial = create_trial(
            state=TrialState.RUNNING,
            **self._configuration(ended),
            user_attrs=kept
            | {"pauses": [*before, newest | {"until": round_}]}
            | {
                "revives": ended.number,
                "resumes_from": attributes.get("resumes_from", ended.number),
            },
            intermediate_values=stored.intermediate_values,
        )
        trial.number = number
        set_trial_id(trial, PROPOSED_ID)
        return self.proposed(trial, before=ended)

    def proposed(self, stored: FrozenTrial, *, before: Trial | None = None) -> Trial:
        """Return the trial that this one will be once it is written. `before`: the ended trial that
        it goes on from.
        """
        trial = read_trial(
            stored, self._decode, repeat=self.phase == "repeats", before=before, proposed=True
        )
        return placed(trial, self.stages)

    def _configuration(self, ended: Trial) -> dict[str, Any]:
        """Return parameters and distributions of a trial that goes on from an ended one: those of
        the present stage, where its Optuna study may hold no others.
        """
        stored: FrozenTrial = ended.origin
        own = self.stages[ended.stage - 1].suffix if self.stages else ""
        if ended.repeat or own == self._parts[-1][0]:
            return {"params": stored.params, "distributions": stored.distributions}
        return self.stages[-1].space.stored(ended.params)

    def retry(self, started: float, wanted: Callable[[Trial], bool] = lambda trial: True) -> int:
        """Write a trial for each one that failed and is wanted, to be trained in its place; return
        how many there are.

        The new trial has the configuration, the seed and, of a repeat, the purposes of the failed
        one, whose record stays. It waits for a lane like one that has lost its lane.
        """
        failed = [
            trial
            for trial in self.trials()
            if trial.state == "failed" and trial.seed is not None and trial.counts and wanted(trial)
        ]
        for ended in failed:
            stored: FrozenTrial = ended.origin
            kept = {key: value for key, value in stored.user_attrs.items() if key in _KEPT}
            trial = create_trial(
                state=TrialState.RUNNING,
                **self._configuration(ended),
                user_attrs=kept | {"started": started, "round": None, "revives": ended.number},
            )
            write_trial(self._newest, trial)
        return len(failed)
