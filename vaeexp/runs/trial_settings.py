"""What is known of how a trial was trained: from the study's storage, and from what lies in the run's folder."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sweeps.errors import UserError
from sweeps.storage.database import open_storage
from sweeps.storage.trial_record import RecordedTrial, read_trial
from vaeexp.results.open_study import recorded_results
from vaeexp.runs.names import RunName
from vaeexp.settings import SECTIONS, Settings
from vaeexp.study import recorded_parts, settings_of
from vaeexp.training.checkpoint import SETTINGS


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """How a trial was trained, and what came of it.

    parts: what the study fixes, searches and refers to (`vaeexp.study.recorded_parts`). attributes: all others of the study.
    study_seed: of the noise and the targets that all its runs share.
    folder: of the run, which need not be there. fingerprint: of its images. arithmetic: `vaeexp.runs.provenance.arithmetic` where
    it was trained. contradictions: where the folder says something else than the storage, in words.
    """

    study: str
    trial: RecordedTrial
    settings: Settings
    parts: SimpleNamespace
    attributes: Mapping[str, Any]
    study_seed: int
    folder: Path
    fingerprint: str
    arithmetic: Mapping[str, Any]
    contradictions: tuple[str, ...]

    @property
    def name(self) -> str:
        """What people call it."""
        trial = self.trial.trial
        return str(RunName(self.study, number=trial.number, repeat=trial.repeat))


def read_record(name: RunName, runs: Path, storage: str | None) -> TrialRecord:
    """The record of a trial that has ended; of a duplicate, that of the trial whose result it took.

    What the study fixes is taken from the run's folder, where there is one: the study may have been extended since.

    Raises:
        UserError: there is no such trial, it has not ended, or its record is incomplete or of another version.
    """
    results = recorded_results(name.study, runs, storage)
    opened = open_storage(storage, runs, results.name, must_exist=True)
    trial = read_trial(opened, results.name, name.number, repeat=name.repeat)
    if trial.duplicate_of is not None:
        trial = read_trial(opened, results.name, trial.duplicate_of, repeat=name.repeat)
    attributes = results.study
    place = str(RunName(results.name, number=trial.trial.number, repeat=trial.trial.repeat))
    if trial.outcome is None:
        raise UserError(place, "has not ended yet; reproduce it when it has.")
    if missing := [part for part in ("spec", "execution", "record", "seed") if part not in attributes]:
        raise UserError(f"study '{results.name}'", f"does not say how it was run: its record has no {missing[0]}.")
    folder = runs / "trials" / results.name / trial.trial.name
    if not folder.is_dir() and trial.folder:
        folder = Path(trial.folder)
    try:
        left = json.loads((folder / SETTINGS).read_text(encoding="utf-8")) if (folder / SETTINGS).is_file() else {}
        parts = recorded_parts(attributes["spec"])
        ran = Settings(**{section: left[section] for section in SECTIONS}) if left else settings_of(parts)
        settings = ran.with_params(dict(trial.trial.params))
    except (ValueError, KeyError, TypeError) as error:
        problem = " ".join(str(error).split())
        raise UserError(place, f"does not have the settings of a run of this version of vaeexp: {problem}") from error
    return TrialRecord(
        study=results.name,
        trial=trial,
        settings=settings,
        parts=parts,
        attributes=attributes,
        study_seed=left.get("study_seed", attributes["seed"]),
        folder=folder,
        fingerprint=_fingerprint(attributes["record"], trial, left),
        arithmetic=left.get("arithmetic") or _arithmetic_of_study(attributes),
        contradictions=tuple(_contradictions(trial, ran, settings, left)) if left else (),
    )


def _fingerprint(record: Mapping[str, Any], trial: RecordedTrial, left: Mapping[str, Any]) -> str:
    """Of the images that it was trained on: a baseline may have its own."""
    protocol = (record.get("protocols") or {}).get(trial.trial.baseline) or {}
    return left.get("fingerprint") or protocol.get("fingerprint") or record["data"]["fingerprint"]


def _arithmetic_of_study(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What a run does not say itself (it left no folder, or is of an earlier version) as its study was run last."""
    execution, record = attributes["execution"], attributes["record"]
    hardware = record["hardware"]
    processors = {"cuda": (hardware.get("accelerators") or [None])[0]}
    return {
        **{name: execution.get(name) for name in ("device", "precision", "group", "threads")},
        "processor": processors.get(execution["device"], hardware.get("processor")),
        "torch": record["versions"].get("torch"),
    }


def _contradictions(trial: RecordedTrial, ran: Settings, settings: Settings, left: Mapping[str, Any]) -> Iterator[str]:
    """Where what lies in the run's folder is not what the study's storage has; it was trained as the storage has it."""
    if left.get("seed") != trial.trial.seed:
        yield f"seed {left.get('seed')} in the run's folder, {trial.trial.seed} in the storage"
    before, after = ran.flat(), settings.flat()
    for name in before:
        if before[name] != after[name]:
            yield f"{name} {before[name]} in the run's folder, {after[name]} in the storage"
