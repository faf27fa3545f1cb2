"""The report of a study: `reports/<study>/README.md` with its figures, `trials.csv` and `summary.json`, readable on any git host."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from sweeps.results.rankings import Results
from vaeexp.report.chapters import compose
from vaeexp.report.folder import png, write_folder
from vaeexp.report.summary import summary_json
from vaeexp.results.frames import at_best_epoch

__all__ = ["located", "trials_csv", "write_report"]


def write_report(results: Results, *, runs: Path, reports: Path, html: bool = False) -> Path:
    """Write the report of a study and return the path of its README.md. The same results give the same bytes.

    Args:
        results: the study as read from its storage, in any state.
        runs: folder in which the trials left their pictures, as `trials/<study>/<trial>/pictures.npz`.
        reports: folder that gets `<study>/`.
        html: whether to write `report.html`, too: the report as one file, pictures and tables inside.

    Raises:
        UserError: the folder cannot be written.
    """
    results = located(results, runs)
    text, figures = compose(results)
    files = {name: png(figure) for name, figure in figures.items()}
    files |= {"trials.csv": trials_csv(results).encode(), "summary.json": summary_json(results).encode()}
    return write_folder(reports / results.name, text, files, html=html)


def trials_csv(results: Results) -> str:
    """All trials of search, confirmation and comparison, with the metrics of their best epoch; no path of a machine."""
    trials = results.trials
    epochs = at_best_epoch(results, trials)
    metrics = [name for name in epochs.columns if name.startswith(("train/", "val/"))]
    keys = ["repeat", "number"]
    table = trials.drop(columns=["folder"]).merge(epochs[[*keys, *metrics]], on=keys, how="left")
    table["purposes"] = table["purposes"].map("+".join)
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
