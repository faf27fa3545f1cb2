"""A study read back from its storage, with the folders of its trials where they lie now."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.storage.database import open_storage
from sweeps.storage.study_record import StoredStudy, read_study

if TYPE_CHECKING:
    from sweeps.results.rankings import Results
    from vaeexp.results.study_view import StudyView


def open_study(study: str, runs: Path, storage: str | None) -> "StudyView":
    """Return the view of a study; `study` is its name, or the path of its file. Raises UserError where there is nothing."""
    return view_study(recorded_results(study, runs, storage), runs)


def recorded_results(study: str, runs: Path, storage: str | None) -> "Results":
    """Return the tables of a study; `study` is its name, or the path of its file. Raises UserError where there is nothing."""
    from sweeps.results.rankings import read_results

    name = study_name(study)
    return read_results(open_storage(storage, runs, name, must_exist=True), name, runs=runs)


def stored_study(study: str, runs: Path, storage: str | None) -> StoredStudy:
    """Return the records of a study, which take no pandas to read; else as `recorded_results`."""
    name = study_name(study)
    return read_study(open_storage(storage, runs, name, must_exist=True), name)


def study_name(study: str) -> str:
    """The name of a study that is given by its name, or by the path of its file."""
    return Path(study).stem if study.endswith((".yaml", ".yml")) else study


def view_study(results: "Results", runs: Path) -> "StudyView":
    """Return the view of these results; `folder` of each trial is the one below `runs` where it lies there.

    The runs folder may have stood somewhere else when the trial was trained.
    """
    import pandas as pd

    from vaeexp.results.study_view import StudyView

    here, trials = runs / "trials" / results.name, results.trials
    folders = [
        str(here / name) if (here / name).is_dir() else folder
        for name, folder in zip(trials["name"], trials["folder"], strict=True)
    ]
    found = trials.assign(folder=pd.Series(folders, index=trials.index, dtype="object"))
    return StudyView(replace(results, trials=found))
