"""The report of a study: `reports/<study>/README.md` with its figures and `trials.csv`, readable on any git host."""

import os
from dataclasses import replace
from pathlib import Path

import pandas as pd

from sweeps.errors import UserError
from sweeps.results import Results
from vaeexp.figures import save
from vaeexp.figures.frames import at_best_epoch
from vaeexp.report.document import compose
from vaeexp.report.markdown import references

__all__ = ["located", "trials_csv", "write_report"]


def write_report(results: Results, *, runs: Path, reports: Path) -> Path:
    """Write the report of a study and return the path of its README.md. The same results give the same bytes.

    Args:
        results: the study as read from its storage, in any state.
        runs: folder in which the trials left their pictures, as `trials/<study>/<trial>/pictures.npz`.
        reports: folder that gets `<study>/`.

    Raises:
        UserError: the folder cannot be written.
    """
    results = located(results, runs)
    text, figures = compose(results)
    folder = reports / results.name
    readme = folder / "README.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = references(readme.read_text(encoding="utf-8")) if readme.exists() else set()
        for name, figure in figures.items():
            _replace(folder / name, lambda path, figure=figure: save(figure, path))
        _replace(folder / "trials.csv", lambda path: path.write_bytes(trials_csv(results).encode()))
        # Last, so that a report that can be read has all its files.
        _replace(readme, lambda path: path.write_bytes(text.encode()))
        for name in earlier - references(text):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            str(folder), f"the report cannot be written there ({error}). Name another folder with --reports."
        ) from error
    return readme


def trials_csv(results: Results) -> str:
    """All trials of search, confirmation and comparison, with the metrics of their best epoch; no path of a machine."""
    trials = results.trials
    epochs = at_best_epoch(results, trials)
    metrics = [name for name in epochs.columns if name.startswith(("train/", "val/"))]
    keys = ["replica", "number"]
    table = trials.drop(columns=["folder"]).merge(epochs[[*keys, *metrics]], on=keys, how="left")
    table["roles"] = table["roles"].map("+".join)
    return table.sort_values(keys).to_csv(index=False, lineterminator="\n")


def located(results: Results, runs: Path) -> Results:
    """The results with `folder` of each trial where it is below `runs`, wherever the runs folder stood when the trial was trained."""
    here = runs / "trials" / results.name
    trials = results.trials
    folders = [
        str(here / name) if (here / name).is_dir() else folder
        for name, folder in zip(trials["name"], trials["folder"], strict=True)
    ]
    return replace(results, trials=trials.assign(folder=pd.Series(folders, index=trials.index, dtype="object")))


def _replace(path: Path, write) -> None:
    """Write a file under a temporary name and rename it: nobody reads half of it."""
    part = path.with_name(f".{path.name}.part")
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
