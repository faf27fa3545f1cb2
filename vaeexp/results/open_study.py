"""A study of the runs folder, read back."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.results.rankings import Results


def recorded_results(study: str, runs: Path, storage: str | None) -> "Results":
    """What a study has recorded; `study` is its name, or the path of its file. Raises UserError where there is nothing."""
    from sweeps.results.rankings import read_results
    from sweeps.storage.database import open_storage

    name = Path(study).stem if study.endswith((".yaml", ".yml")) else study
    return read_results(open_storage(storage, runs, name, must_exist=True), name)
