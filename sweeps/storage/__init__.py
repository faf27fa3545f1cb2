"""The storage of studies: an Optuna journal per study, in one of the places of
`sweeps.storage.journals`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import BaseStorage

from sweeps.errors import UserError, did_you_mean, full_disk
from sweeps.names import check_name
from sweeps.state.record import StudyRecord
from sweeps.state.stages import Stage
from sweeps.storage.definition import (
    check_definition,
    keep_figures,
    next_stages,
    spec_differences,
    with_new_settings,
)
from sweeps.storage.journals import PATIENCE, driver_in_words, journals_at
from sweeps.storage.optuna_internals import study_ids
from sweeps.storage.study_record import (
    REPEATS,
    json_able,
    parts_of,
    read_state,
    record_in,
    stored_trials,
    study_record,
    write_identity,
    write_stages,
    write_study,
)

if TYPE_CHECKING:
    from sweeps.study.study import Study


def open_storage(
    url: str | None, runs: Path, study: str, *, must_exist: bool = False
) -> BaseStorage:
    """Open the storage of a study to read it: its journal file under `runs`, or its records in the
    place at `url`.

    With `must_exist` nothing is created and the study has to be there: for commands that only look.

    Raises:
        UserError: the folder cannot be written, the place cannot be reached, the study does not
            exist, or its name cannot be one.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journals = journals_at(url, runs)
    if must_exist:
        names = journals.names()
        if study not in names:
            hint = f" {did_you_mean(study, names)}" if names else ""
            raise UserError(journals.address, f"no such study '{study}'; start it first.{hint}")
    check_name(study, "study")  # a database may hold names that are not ours
    return journals.open(study, create=not must_exist)


@contextmanager
def hold_study(
    url: str | None, runs: Path, study: str, *, take_over: bool = False, patience: float = PATIENCE
) -> Iterator[BaseStorage]:
    """Hold a study as its only driver and open its storage to write it; what is missing is created.

    Args:
        take_over: take a study in a database from a driver that gives no sign of life. A journal
            file needs none: a line says so.
        patience: seconds for which a dropped connection to the database is made again.

    Raises:
        UserError: another process holds the study, or as `open_storage`.
        Damaged: the records are not what was written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    check_name(study, "study")
    with journals_at(url, runs).hold(study, take_over=take_over, patience=patience) as storage:
        yield storage


def study_holder(url: str | None, runs: Path, study: str) -> dict[str, Any] | None:
    """Return the process that drives a study, as `Journals.holder` does; None when there is
    none.
    """
    return journals_at(url, runs).holder(study)


def study_names(runs: Path, url: str | None = None) -> list[str]:
    """Return the names of the studies with records under `runs`, or in the place at `url`,
    sorted.
    """
    return journals_at(url, runs).names()


# ---- studies ----


@contextmanager
def storage_errors_as_user_errors(url: str | None, runs: Path) -> Iterator[None]:
    """End a study with one line where its disk is full or its folder is gone.

    Raises:
        UserError: in place of the OSError of the disk or folder.
    """
    try:
        yield
    except UserError as error:
        if error.place:
            raise
        raise UserError(str(runs), error.problem) from error  # a write that failed names no file
    except OSError as error:
        if full := full_disk(error):
            raise UserError(full.place or str(runs), full.problem) from error
        if url is None and isinstance(error, FileNotFoundError) and not (runs / "journal").is_dir():
            problem = (
                "the folder is gone. Put it back and give the same command again; without it, "
                "that starts anew."
            )
            raise UserError(str(runs), problem) from error
        raise


def open_study(
    storage: BaseStorage,
    study: "Study",
    *,
    extend: bool = False,
    fields: Mapping[str, Any] | None = None,
    start: Sequence[Mapping[str, Any]] = (),
) -> optuna.Study:
    """Create the Optuna study of a study file, or continue it; what changes its trials begins a
    stage.

    Args:
        fields: of the record, written before a new definition of the study.
        start: what the first trials of a new stage take.

    Raises:
        UserError: the storage holds the study with another definition, and `extend` is not given or
            cannot work; or another version has stored it.
    """
    optuna_study = create_or_load(
        storage, study.name, study.pruner.build_after(study.longest_warmup)
    )
    stored = record_in(storage, study.name)
    if not stored.identity:
        write_identity(optuna_study)
    check_definition(stored, study, extend=extend)
    if stored.spec != (new := json_able(study.spec())):
        about = {
            "question": study.question,
            "text": study.text,
            "seed": study.seed,
            **(fields or {}),
        }
        trials, repeats = _counts(storage, stored)
        begun = Stage(trial=trials, repeat=repeats, at=time.time(), start=tuple(start))
        stages = next_stages(stored, study, begun)
        write_study(optuna_study, finished=False, **about)
        if stages and stages[-1].suffix:
            create_or_load(storage, study.name + stages[-1].suffix)
        # Last, because this record is the stage.
        if stages or stored.stages:
            write_stages(optuna_study, stages)
        if not stages:
            write_study(optuna_study, spec=new)
    return optuna_study


def _counts(storage: BaseStorage, stored: StudyRecord) -> tuple[int, int]:
    """Return how many numbers the trials and the repeats of a study have used."""
    if not stored.spec:
        return 0, 0
    trials = stored_trials(storage, stored.name, parts_of(stored.stages))
    held = stored.name + REPEATS in study_ids(storage)
    return len(trials), len(stored_trials(storage, stored.name, [(REPEATS, 0)])) if held else 0


def keep_identity(storage: BaseStorage, study: str, identity: str | None) -> None:
    """Give a study that has lost its first records its identity back, by which MLflow's runs are
    known; a new one where it is lost.
    """
    optuna_study = create_or_load(storage, study)
    if not study_record(optuna_study).identity:
        write_identity(optuna_study, identity)


def recorded_study(url: str | None, runs: Path, study: str) -> StudyRecord | None:
    """Read what the storage that a sweep would use holds of a study; None where it holds nothing
    yet.

    Raises:
        UserError: the database cannot be reached.
    """
    if not journals_at(url, runs).has(study):
        return None
    storage = open_storage(url, runs, study)
    return read_state(storage, study).study if study in study_ids(storage) else None


def repeat_study(storage: BaseStorage, name: str) -> optuna.Study:
    """Open the Optuna study that keeps the repeats of study `name`; created when missing."""
    return create_or_load(storage, name + REPEATS)


def create_or_load(
    storage: BaseStorage, name: str, pruner: optuna.pruners.BasePruner | None = None
) -> optuna.Study:
    """Create an Optuna study, or open it where it exists. Without a pruner no trial ends early."""
    return optuna.create_study(
        study_name=name,
        storage=storage,
        direction="minimize",
        load_if_exists=True,
        # Each trial is proposed by a sampler of its own, so the study's sampler only fills Optuna's
        # slot.
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=pruner or optuna.pruners.NopPruner(),
    )


__all__ = [
    "check_definition",
    "driver_in_words",
    "hold_study",
    "keep_figures",
    "keep_identity",
    "open_storage",
    "open_study",
    "recorded_study",
    "repeat_study",
    "spec_differences",
    "study_holder",
    "study_names",
    "with_new_settings",
]
