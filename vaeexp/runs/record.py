"""Read the record of a run's training and outcome from its study."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sweeps import (
    Damaged,
    Outcome,
    State,
    StudyRecord,
    Trial,
    UserError,
    baseline_names,
    run_folder,
)
from sweeps.results import pooled_deviation
from vaeexp.own_code import check_code
from vaeexp.results import FORMS, parse_run, stored_study
from vaeexp.run_files import SETTINGS, unreadable_settings
from vaeexp.runs.run import read_settings
from vaeexp.settings import Settings
from vaeexp.study import StudyParts, recorded_parts, settings_of
from vaeexp.words import format_params


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The training of a trial, and its outcome."""

    asked: str
    """Name of the run that the user asked for: another one than `name` where that run took the
    result of this one.
    """
    name: str
    study: StudyRecord
    parts: StudyParts
    """The parameters that the study fixes, searches and compares with."""
    trial: Trial
    outcome: Outcome
    settings: Settings
    study_seed: int
    """Seed of the noise and the targets that all runs of the study share."""
    folder: Path
    """Folder of the run; it may be missing."""
    fingerprint: str
    """`Dataset.fingerprint` of its images."""
    images: Mapping[str, Any]
    """What the study has on record of its images."""
    arithmetic: Mapping[str, Any]
    """`vaeexp.runs.provenance.arithmetic` where it was trained."""
    spread: float
    """Standard deviation of −ELBO over seeds, pooled over the settings that the study repeated; NaN
    where none has two seeds.
    """
    leaves_out: bool
    """Whether its density may leave out sub-pixels that never change; those of earlier versions
    have all.
    """
    damage: str | None
    """What is damaged in the settings of its folder; those of the study are used then."""


def read_record(
    text: str, runs: Path, storage: str | None, *, allow_code: bool = False
) -> RunRecord:
    """Read the record of a trial that has ended; for a duplicate, the record of the trial whose
    result it took.

    The fixed settings come from the run's folder, where there is one, because the study may have
    been extended since.

    Raises:
        UserError: there is no such trial, it has not ended, its record is incomplete or of another
            version, or it names a module that is not allowed (`open_run`).
    """
    named = parse_run(text)
    if named is None:
        raise UserError(text, f"is not the name of a run. {FORMS}")
    stored = stored_study(named.study, runs, storage)
    asked = trial = named.record(stored)
    if asked.duplicate_of is not None:
        trial = stored.run(asked.duplicate_of, repeat=False)
    study, name = stored.study, trial.name_in(stored.study.name)
    if trial.seed is None:  # another program put this trial into the storage
        raise UserError(name, "was not made by `vaeexp sweep`; nothing says how it was trained.")
    if trial.outcome is None:
        raise UserError(name, "has not ended yet; reproduce it when it has.")
    folder = runs / "trials" / study.name / run_folder(trial.number, repeat=trial.repeat)
    if not folder.is_dir() and trial.folder:
        folder = runs / trial.folder
    try:
        parts = recorded_parts(study.spec)
        left, fixed, damage = _left_settings(folder, parts)
        settings = fixed.with_params(dict(trial.params))
    except (ValueError, KeyError, TypeError) as error:
        raise unreadable_settings(name, folder, error) from error
    # Where it would lie in this store: the records, and not the folder, say which module is run.
    check_code(name, settings.flat(), runs / "trials" / study.name / folder.name, allow=allow_code)
    # A baseline may have images of its own; those that share a run share them.
    protocols = study.provenance.get("protocols") or {}
    data = study.provenance["data"]
    images = next(
        (protocols[name] for name in baseline_names(trial.baseline) if name in protocols), data
    )
    known = left["values"].constant if "values" in left else data.get("constant")
    return RunRecord(
        asked=asked.name_in(study.name),
        name=name,
        study=study,
        parts=parts,
        trial=trial,
        outcome=trial.outcome,
        settings=settings,
        study_seed=int(left.get("study_seed", study.seed) or 0),
        folder=folder,
        fingerprint=left.get("fingerprint") or images["fingerprint"],
        images=data,
        arithmetic=left.get("arithmetic") or _arithmetic_of(study),
        spread=_spread_of(stored),
        leaves_out=bool(known),
        damage=damage,
    )


def _spread_of(stored: State) -> float:
    seeds = defaultdict[str, list[float]](list)
    for run in stored.repeats:
        if run.state == "complete" and run.objective is not None:
            seeds[format_params(run.params)].append(run.objective)
    return pooled_deviation([np.array(values) for values in seeds.values()])[0]


def _left_settings(folder: Path, parts: StudyParts) -> tuple[dict[str, Any], Settings, str | None]:
    """Return where a run comes from and its fixed settings, as its folder has them; where the
    folder has none, or they are damaged (in words), nothing and those of the study.
    """
    damage = None
    if (folder / SETTINGS).is_file():
        try:
            return *read_settings(folder), None
        except Damaged as error:
            damage = error.problem
    return {}, settings_of(parts), damage


def _arithmetic_of(study: StudyRecord) -> dict[str, Any]:
    """Return the arithmetic of the study's last run, for a trial that left no folder."""
    execution = study.execution
    hardware = study.provenance["hardware"]
    accelerators = hardware.get("accelerators") or [None]
    return {
        **{
            name: execution.get(name)
            for name in ("device", "precision", "fuse", "compile", "threads")
        },
        "processor": accelerators[0]
        if execution["device"] == "cuda"
        else hardware.get("processor"),
        "torch": study.provenance["versions"].get("torch"),
    }
