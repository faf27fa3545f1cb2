"""A study read back from its storage, by its name or the path of its file."""

from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.storage.database import open_storage
from sweeps.storage.study_record import StoredStudy, read_study

if TYPE_CHECKING:
    from sweeps.results.rankings import Results
    from vaeexp.results.study_view import StudyView


_MEASURES = ("loss", "neg_elbo", "distortion", "rate", "active_units")
EPOCH_METRICS = (
    *(f"train/{measure}" for measure in _MEASURES),
    *(f"val/{measure}" for measure in _MEASURES),
    *("train/learning_rate", "train/beta", "seconds", "images_per_second", "memory_mb"),
)
"""Metrics that the table of epochs has as columns in any case."""

RESULT_METRICS = (
    *("parameters", "best_epoch"),
    *("test/neg_elbo", "test/neg_elbo_se", "test/iw_nll", "test/iw_nll_se", "test/distortion", "test/rate"),
    *("test/active_units", "test/images", "test/importance_samples"),
)
"""Metrics that the table of trials has as columns `result.<metric>` in any case."""


def open_study(study: str, runs: Path, storage: str | None) -> "StudyView":
    """Return the view of a study; `study` is its name, or the path of its file. Raises UserError where there is nothing."""
    from vaeexp.results.study_view import StudyView

    return StudyView(recorded_results(study, runs, storage))


def recorded_results(study: str, runs: Path, storage: str | None) -> "Results":
    """Return the tables of a study; `study` is its name, or the path of its file. Raises UserError where there is nothing."""
    return study_tables(stored_study(study, runs, storage), runs)


def study_tables(stored: StoredStudy, runs: Path) -> "Results":
    """Return the tables of a study that was read, with every column that plots and report look at."""
    from sweeps.results.rankings import tables_of

    return tables_of(stored, runs=runs, epoch_metrics=EPOCH_METRICS, result_metrics=RESULT_METRICS)


def stored_study(study: str, runs: Path, storage: str | None) -> StoredStudy:
    """Return the records of a study, which take no pandas to read; else as `recorded_results`."""
    name = study_name(study)
    return read_study(open_storage(storage, runs, name, must_exist=True), name)


def study_name(study: str) -> str:
    """Return the name of a study that is given by its name, or by the path of its file."""
    return Path(study).stem if study.endswith((".yaml", ".yml")) else study
