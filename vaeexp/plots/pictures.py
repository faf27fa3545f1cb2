"""Pictures that the models drew: reconstructions and samples along β, and those of the best model."""

import textwrap
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sweeps.results.rankings import Results, ranked
from vaeexp.plots.style import INK, MUTED, Plot
from vaeexp.plots.tiles import drawing_rows, labelled, tiles, words
from vaeexp.results.frames import (
    best_number,
    confirm_runs,
    confirmations,
    label,
    params,
    search_trials,
    space,
    value_of,
)
from vaeexp.words import format_configuration, format_number, format_value

FILE, EVALUATION = "pictures.npz", "evaluation.npz"
STRIP_ROWS = 6
LOOKED_AT = 500
"""Trials of the search, the best ones, whose pictures may stand for those of the best model."""
STRIP = frozenset({"originals", "reconstructions", "samples"})
"""Arrays of `pictures.npz` that a row of reconstructions beside samples needs."""


def read_pictures(folder: str | Path | None) -> Mapping[str, np.ndarray]:
    """Arrays of a trial's `pictures.npz`, uint8 [..., H, W, C]; empty where the trial left none or the file is damaged."""
    return _arrays(folder, FILE)


def read_evaluation(folder: str | Path | None) -> Mapping[str, np.ndarray]:
    """Arrays of a run's `evaluation.npz`, numbers about its latent space on test images; empty as with `read_pictures`."""
    return _arrays(folder, EVALUATION)


def _arrays(folder: str | Path | None, name: str, needed: str | None = None) -> Mapping[str, np.ndarray]:
    """Empty, too, where the file lacks the array that is needed."""
    if not isinstance(folder, str | Path):
        return {}
    try:
        with np.load(Path(folder) / name, allow_pickle=False) as file:
            return {key: file[key] for key in file.files} if needed is None or needed in file.files else {}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}


def left_pictures(trials: pd.DataFrame) -> np.ndarray:
    """Which of these trials have a file of pictures, as booleans."""
    there = [isinstance(folder, str) and (Path(folder) / FILE).exists() for folder in trials["folder"]]
    return np.array(there, dtype=bool)


def strip_trials(results: Results, rows: int = STRIP_ROWS) -> pd.DataFrame:
    """Trials for the strip, from low to high β: of each of `rows` equal bins of log β the best trial that has pictures."""
    trials = search_trials(results)
    parameter = space(results).get("beta")
    if not parameter or parameter["kind"] == "choice":
        return trials.iloc[:0]
    usable = trials[trials["objective"].notna() & (trials["params.beta"].astype(float) > 0)]
    usable = usable[left_pictures(usable)]
    if usable.empty:
        return usable
    logs = np.log(usable["params.beta"].astype(float))
    span = logs.max() - logs.min()
    bins = ((logs - logs.min()) / (span or 1.0) * rows).astype(int).clip(upper=rows - 1)
    best = usable.loc[usable.groupby(bins)["objective"].idxmin()]
    return best.sort_values("params.beta")


def beta_strip(results: Results) -> Figure | None:
    """One row per β, low to high: reconstructions beside samples; the originals on top. None without pictures or without β."""
    trials = strip_trials(results)
    if trials.empty:
        return None
    drawn = [(row, read_pictures(row["folder"])) for _, row in trials.iterrows()]
    drawn = [(row, files) for row, files in drawn if files.keys() >= STRIP]
    if not drawn:
        return None
    axes, tile, middles = drawing_rows([files for _, files in drawn], margin=1.75)
    for (row, _), middle in zip(drawn, middles, strict=True):
        beta = f"{label('beta')} = {format_value(row['params.beta'])}"
        axes.text(-6, middle - 0.2 * tile, beta, **words(INK, "right", 12))
        axes.text(-6, middle + 0.24 * tile, _row_words(results, row), **words(MUTED, "right"))
    return axes.figure


def _row_words(results: Results, row: pd.Series) -> str:
    size = value_of(results, row, "latent_size")
    return f"L = {format_value(size)}, −ELBO {format_number(row['objective'], 1)}"


def best_pictured(results: Results, needed: str) -> tuple[pd.Series, Mapping[str, np.ndarray]] | None:
    """The best model that left an array of this name in `pictures.npz`, with that file's arrays.

    Confirmed runs come first, those of the best configuration before others; then the trials of the search.
    """
    return _best(results, needed, FILE)


def best_evaluated(results: Results, needed: str) -> tuple[pd.Series, Mapping[str, np.ndarray]] | None:
    """The same for `evaluation.npz`."""
    return _best(results, needed, EVALUATION)


def _best(results: Results, needed: str, name: str) -> tuple[pd.Series, Mapping[str, np.ndarray]] | None:
    runs = confirm_runs(results)
    order = {number: index for index, number in enumerate(confirmations(results)["source_trial"])}
    runs = runs.assign(order=runs["source_trial"].map(order)).sort_values(["order", "objective", "number"])
    for group in (runs, ranked(results).head(LOOKED_AT)):
        for place, folder in enumerate(group["folder"]):
            arrays = _arrays(folder, name, needed)
            if needed in arrays:
                return group.iloc[place], arrays
    return None


def best_reconstructions(results: Results) -> Figure | None:
    """Originals above their reconstructions by the best model. None when it left no pictures."""
    found = best_pictured(results, "reconstructions")
    if found is None:
        return None
    files = found[1]
    count = min(len(files["originals"]), len(files["reconstructions"]))
    canvas = tiles(np.stack([files["originals"][:count], files["reconstructions"][:count]]))
    return labelled(canvas, files["originals"].shape[1], ["originals", "reconstructions"])


def best_samples(results: Results) -> Figure | None:
    """Samples of the best model's prior, decoded. None when it left no pictures."""
    found = best_pictured(results, "samples")
    if found is None:
        return None
    samples = found[1]["samples"]
    across = min(8, len(samples))
    rows = samples[: len(samples) // across * across].reshape(-1, across, *samples.shape[1:])
    return labelled(tiles(rows), samples.shape[1], [])


def component_samples(results: Results) -> Figure | None:
    """Samples of each component of the best mixture prior, a row each, heaviest first. None without a mixture."""
    found = best_pictured(results, "component_samples")
    if found is None:
        return None
    samples = found[1]["component_samples"]
    names = [f"component {place}" for place in range(1, len(samples) + 1)]
    return labelled(tiles(samples), samples.shape[2], names)


def drawn_by(needed: str, words: str, find: Callable = best_pictured) -> Callable[[Results], str]:
    """A caption that names the run whose pictures are shown, the one that `find` gives."""

    def caption(results: Results) -> str:
        found = find(results, needed)
        if found is None:
            return words
        row = found[0]
        source = row["source_trial"] if row["repeat"] else row["number"]
        run = f"a confirmation run of trial {source}" if row["repeat"] else f"trial {source}"
        return (
            f"{words} Drawn by {run}{'' if source == best_number(results) else ', the best that left such pictures'}."
        )

    return caption


PLOTS: dict[str, Plot] = {
    "beta_strip": Plot(
        f"From low to high {label('beta')}",
        beta_strip,
        "One model per row, from low to high β: the best trial of each sixth of the range of log β. A low β tends to "
        "buy sharp reconstructions with a prior that fits badly, so that samples suffer; a high β blurs both. L is the latent size.",
        "No trial with pictures is there, or β was not searched.",
    ),
    "best_reconstructions": Plot(
        "Reconstructions by the best model",
        best_reconstructions,
        drawn_by("reconstructions", "Validation images and the means of p(x|z) with z from their posteriors."),
        "No run left pictures.",
    ),
    "best_samples": Plot(
        "Samples of the best model",
        best_samples,
        drawn_by("samples", "Means of p(x|z) with z from the prior."),
        "No run left pictures.",
    ),
    "component_samples": Plot(
        "Samples per mixture component",
        component_samples,
        drawn_by("component_samples", "One component of the prior per row, the heaviest first."),
        "No run with a mixture prior left pictures.",
    ),
}


LONGEST = 33
"""Characters of a setting beside a row."""


def best_median_worst(results: Results) -> Figure | None:
    """Reconstructions and samples of the best, the median and the worst complete trial of the search that left pictures.

    The median is the lower one of an even number. None with fewer than two such trials; of two, no median.
    """
    rows = _three(results)
    if len(rows) < 2:
        return None
    axes, tile, middles = drawing_rows([files for _, _, files in rows], margin=2.6)
    for (rank, row, _), middle in zip(rows, middles, strict=True):
        name = f"{rank}: trial {row['number']}, −ELBO {format_number(row['objective'], 1)}"
        axes.text(-6, middle - 0.2 * tile, name, **words(INK, "right", 11 if len(name) <= 30 else 10))
        axes.text(-6, middle + 0.24 * tile, _main_setting(results, row), **words(MUTED, "right"))
    return axes.figure


def _three(results: Results) -> list[tuple[str, pd.Series, Mapping[str, np.ndarray]]]:
    """Rank in words, trial and pictures; trials whose file is damaged or lacks an array do not count."""
    trials = ranked(results)
    places = list(np.flatnonzero(left_pictures(trials)))
    while places:
        wanted = {"best": places[0], "median": places[(len(places) - 1) // 2], "worst": places[-1]}
        if len(places) == 2:
            del wanted["median"]
        found = [
            (rank, trials.iloc[place], read_pictures(trials["folder"].iloc[place])) for rank, place in wanted.items()
        ]
        damaged = {
            place for place, (_, _, files) in zip(wanted.values(), found, strict=True) if not files.keys() >= STRIP
        }
        if not damaged:
            return found if len(places) > 1 else []
        places = [place for place in places if place not in damaged]
    return []


def _main_setting(results: Results, row: pd.Series) -> str:
    """The searched parameters that come first in the study file, as many as fit."""
    values = params(results, row)
    names = list(values)
    while len(names) > 1 and len(format_configuration({name: values[name] for name in names})) > LONGEST:
        names.pop()
    return textwrap.shorten(format_configuration({name: values[name] for name in names}), LONGEST, placeholder=" …")


CONTRAST: dict[str, Plot] = {
    "best_median_worst": Plot(
        "From the best to the worst trial",
        best_median_worst,
        "Complete trials of the search, ranked by validation −ELBO: the best, the median and the worst of those that left "
        "pictures. Beside each stand the parameters that come first in the study file. Trials that were pruned do not count.",
        "It takes two complete trials that left pictures.",
    ),
}
