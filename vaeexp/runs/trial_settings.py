"""What is known of how a trial was trained: from the study's storage, and from what lies in the run's folder."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.errors import UserError
from sweeps.storage.study_record import StudyRecord
from sweeps.storage.trial_record import TrialRecord
from sweeps.workload.protocol import Outcome
from vaeexp.results.open_study import stored_study
from vaeexp.runs.names import RunName
from vaeexp.settings import SECTIONS, Settings
from vaeexp.study import StudyParts, recorded_parts, settings_of
from vaeexp.training.checkpoint import SETTINGS


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """How a trial was trained, and what came of it.

    parts: what the study fixes, searches and refers to (`vaeexp.study.recorded_parts`). stored: the record of the study.
    study_seed: of the noise and the targets that all its runs share.
    folder: of the run, which need not be there. fingerprint: of its images. arithmetic: `vaeexp.runs.provenance.arithmetic` where
    it was trained. contradictions: where the folder says something else than the storage, in words.
    """

    study: str
    trial: TrialRecord
    outcome: Outcome
    settings: Settings
    parts: StudyParts
    stored: StudyRecord
    study_seed: int
    folder: Path
    fingerprint: str
    arithmetic: Mapping[str, Any]
    contradictions: tuple[str, ...]

    @property
    def name(self) -> str:
        """What people call it."""
        return str(RunName(self.study, number=self.trial.number, repeat=self.trial.repeat))


def read_record(name: RunName, runs: Path, storage: str | None) -> RunRecord:
    """The record of a trial that has ended; of a duplicate, that of the trial whose result it took.

    What the study fixes is taken from the run's folder, where there is one: the study may have been extended since.

    Raises:
        UserError: there is no such trial, it has not ended, or its record is incomplete or of another version.
    """
    whole = stored_study(name.study, runs, storage)
    trial, stored, study = name.record(whole), whole.study, whole.study.name
    if trial.duplicate_of is not None:
        trial = whole.run(trial.duplicate_of, repeat=name.repeat)
    place = str(RunName(study, number=trial.number, repeat=trial.repeat))
    if trial.seed is None:  # anybody can put a trial into an Optuna storage
        raise UserError(place, "was not made by `vaeexp sweep`; nothing says how it was trained.")
    if trial.outcome is None:
        raise UserError(place, "has not ended yet; reproduce it when it has.")
    if missing := [part for part in ("spec", "execution", "provenance") if not getattr(stored, part)]:
        raise UserError(f"study '{study}'", f"does not say how it was run: its record has no {missing[0]}.")
    folder = runs / "trials" / study / trial.name
    if not folder.is_dir() and trial.folder:
        folder = runs / trial.folder
    try:
        left = json.loads((folder / SETTINGS).read_text(encoding="utf-8")) if (folder / SETTINGS).is_file() else {}
        parts = recorded_parts(stored.spec)
        ran = Settings(**{section: left[section] for section in SECTIONS}) if left else settings_of(parts)
        settings = ran.with_params(dict(trial.params))
    except (ValueError, KeyError, TypeError) as error:
        problem = " ".join(str(error).split())
        raise UserError(place, f"does not have the settings of a run of this version of vaeexp: {problem}") from error
    return RunRecord(
        study=study,
        trial=trial,
        settings=settings,
        parts=parts,
        stored=stored,
        study_seed=int(left.get("study_seed", stored.seed) or 0),
        outcome=trial.outcome,
        folder=folder,
        fingerprint=_fingerprint(stored.provenance, trial, left),
        arithmetic=left.get("arithmetic") or _arithmetic_of_study(stored),
        contradictions=tuple(_contradictions(trial, ran, settings, left)) if left else (),
    )


def _fingerprint(record: Mapping[str, Any], trial: TrialRecord, left: Mapping[str, Any]) -> str:
    """Of the images that it was trained on: a baseline may have its own."""
    protocol = (record.get("protocols") or {}).get(trial.baseline or "") or {}
    return left.get("fingerprint") or protocol.get("fingerprint") or record["data"]["fingerprint"]


def _arithmetic_of_study(stored: StudyRecord) -> dict[str, Any]:
    """What a run does not say itself (it left no folder, or is of an earlier version) as its study was run last."""
    execution, record = stored.execution, stored.provenance
    hardware = record["hardware"]
    processors = {"cuda": (hardware.get("accelerators") or [None])[0]}
    return {
        **{name: execution.get(name) for name in ("device", "precision", "fuse", "compile", "threads")},
        "processor": processors.get(execution["device"], hardware.get("processor")),
        "torch": record["versions"].get("torch"),
    }


def _contradictions(trial: TrialRecord, ran: Settings, settings: Settings, left: Mapping[str, Any]) -> Iterator[str]:
    """Where what lies in the run's folder is not what the study's storage has; it was trained as the storage has it."""
    if left.get("seed") != trial.seed:
        yield f"seed {left.get('seed')} in the run's folder, {trial.seed} in the storage"
    before, after = ran.flat(), settings.flat()
    for name in before:
        if before[name] != after[name]:
            yield f"{name} {before[name]} in the run's folder, {after[name]} in the storage"
