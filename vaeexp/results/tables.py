"""The tables of a study, small operations on them, and the files that trained trials left in their
folders.
"""

import io
import json
import math
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sweeps import Damaged, State, check_file, warn_once
from sweeps.results import Interval, Results, mean_interval, tables_of
from vaeexp.evaluation.metrics import METRICS, Place, epoch_columns, result_columns
from vaeexp.import_paths import paths_in
from vaeexp.run_files import EVALUATION, PICTURES
from vaeexp.words import is_missing

PER_IMAGE = tuple(name for name, metric in METRICS.items() if metric.error)
"""Metrics that a tested run leaves for each test image."""
COMPONENTS = 20
"""Components of a mixture that are shown, the heaviest ones."""

Arrays = Mapping[str, np.ndarray]


def study_tables(stored: State, runs: Path) -> Results:
    """Return the tables of a study that was read, with every column that plots and report look
    at.
    """
    return tables_of(
        stored, runs=runs, epoch_metrics=epoch_columns(), result_metrics=result_columns()
    )


def own_metrics(spec: Mapping[str, Any]) -> list[str]:
    """Return the import paths of metrics of the user's own in a study's record (`Study.spec`),
    those of the search first.
    """
    settings = [row.get("settings") or {} for row in (spec.get("baselines") or {}).values()]
    sections = [spec.get("evaluation") or {}, *settings]
    paths = chain.from_iterable(paths_in(section.get("metrics")) for section in sections)
    return list(dict.fromkeys(paths))


def epochs_of(search: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """Return the epochs of these trials of a search."""
    return epochs[~epochs["repeat"] & epochs["number"].isin(search["number"])]


def with_best_epoch(epochs: pd.DataFrame, trials: pd.DataFrame, *places: Place) -> pd.DataFrame:
    """Return these trials, each of them, with the metrics that their best epoch has at these
    places.
    """
    keys = ["repeat", "number", "best_epoch"]
    names = [name for name in epochs.columns if name.partition("/")[0] in places]
    metrics = epochs.rename(columns={"epoch": "best_epoch"}).astype({"best_epoch": "Int64"})
    return trials.merge(metrics[[*keys, *names]], on=keys, how="left")


def at_last_epoch(epochs: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Return these trials with the metrics of the last epoch that they reported, `epoch`;
    `objective` stays their best.

    Where β is not 1, training moves away from the best −ELBO: a model as it was trained is the one
    of the last epoch.
    """
    metrics = epochs.drop(columns=["objective", "round", "seconds"], errors="ignore")
    last = metrics.sort_values("epoch", kind="stable").drop_duplicates(
        ["repeat", "number"], keep="last"
    )
    return trials.merge(last, on=["repeat", "number"])


def finite_points(last_epochs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a finite rate and distortion."""
    total = last_epochs["val/rate"] + last_epochs["val/distortion"]
    return last_epochs[np.isfinite(total.astype(float))]


def best_up_to(epochs: pd.DataFrame, epoch: float = math.inf) -> pd.Series:
    """Return the lowest objective of each trial up to an epoch, by number; only finite values."""
    values = epochs[epochs["epoch"] <= epoch].groupby("number")["objective"].min()
    return values[np.isfinite(values.astype(float))].sort_index()


def curve_of(epochs: pd.DataFrame, run: pd.Series) -> pd.DataFrame:
    """Return the epochs of a run with a finite rate and distortion, in order."""
    own = epochs[(epochs["repeat"] == run["repeat"]) & (epochs["number"] == run["number"])]
    return own.dropna(subset=["val/rate", "val/distortion"]).sort_values("epoch")


def column(frame: pd.DataFrame, name: str) -> pd.Series:
    """Return a column, or as many missing values where the frame has no column of that name."""
    return (
        frame[name] if name in frame.columns else pd.Series(math.nan, index=frame.index, name=name)
    )


def finite(values: Iterable[float]) -> np.ndarray:
    """Return the values that are neither missing nor infinite, as float64."""
    numbers = np.array([value for value in values if not is_missing(value)], dtype=float)
    return numbers[np.isfinite(numbers)]


def interval_on_test(runs: pd.DataFrame, metric: str) -> Interval:
    """Return the mean of a test figure with its 95 % interval (Student's t) over these runs; NaN
    where no run has it.
    """
    return mean_interval(finite(column(runs, f"result.{metric}")).tolist())


def values_of(run: pd.Series) -> dict[str, Any]:
    """Return what a run has of parameters: those searched, and what a baseline sets."""
    values = run.filter(like="params.").to_dict()
    return {
        str(name).removeprefix("params."): value
        for name, value in values.items()
        if not is_missing(value)
    }


def text_of(configuration: Mapping[str, Any]) -> str:
    """Return a configuration as text that is the same for equal values, whatever their types."""
    values = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in configuration.items()
    }
    return json.dumps(
        {name: float(v) if type(v) is int else v for name, v in values.items()}, sort_keys=True
    )


def with_purpose(trials: pd.DataFrame, *purposes: str) -> pd.DataFrame:
    """Return the trials that were trained for one of these purposes; those of the search have
    none.
    """
    return trials[trials["purposes"].map(lambda own: not {*own}.isdisjoint(purposes)).astype(bool)]


def for_baseline_alone(trials: pd.DataFrame) -> pd.Series:
    """Tell which trials are runs of a baseline that neither confirm nor compare a configuration of
    the search.
    """
    return trials["purposes"].map(lambda purposes: tuple(purposes) == ("baseline",)).astype(bool)


def search_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials of the search by number, without those that repeat an earlier
    configuration.
    """
    return trials[~trials["repeat"] & trials["duplicate_of"].isna()].sort_values("number")


def row_names(trials: pd.DataFrame) -> pd.Series:
    """Return what each row of trials or epochs is called: `45` for a trial of the search, `r3` for
    a repeat.
    """
    return trials["repeat"].map({True: "r", False: ""}).astype(str) + trials["number"].astype(
        int
    ).astype(str)


def jitter(count: int) -> np.ndarray:
    """Return offsets in a repeating, even pattern over [−¼, ¼], without randomness: [count]."""
    step = 0.6180339887498949  # the golden section
    return (np.arange(1, count + 1) * step % 1.0 - 0.5) / 2


def read_arrays(folder: object, needed: str = "originals") -> Arrays:
    """Return what a trial left in its folder: numbers, and pictures (uint8 [..., H, W, C]) where
    `needed` is one of these.

    Empty where the array `needed` is missing. A missing file has no arrays, nor has a damaged file,
    which a warning names. Raises UserError where another version of vaeexp wrote a file in a way
    that this version cannot read.
    """
    arrays: dict[str, np.ndarray] = {}
    for name in (EVALUATION, PICTURES) if isinstance(folder, str | Path) else ():
        own = load_arrays(Path(str(folder)) / name)
        if name == EVALUATION or needed in own:
            arrays |= own
    return arrays if needed in arrays else {}


def load_arrays(path: Path) -> Arrays:
    """Return the arrays of a file that a run left. A missing file has none, nor has a damaged file,
    which a warning names.

    Raises UserError where another version of vaeexp wrote the file in a way that this version
    cannot read.
    """
    try:
        content = path.read_bytes()
        check_file(content, path)
    except Damaged as error:
        warn_once(f"{error} It is left out; `vaeexp reproduce RUN --restore` makes it again.")
        return {}
    except OSError:
        return {}
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def per_image_arrays(runs: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the figures of each test image that these runs left: `r3/neg_elbo` and `r3/iw_nll`,
    float32 [N], nats; r3 is repeat 3.

    N is the number of test images, in the order of the data set. A run without such a file, or
    without one of the two, lacks its keys.
    """
    per_image = {}
    for _, run in (
        runs.drop_duplicates(["repeat", "number"]).sort_values(["repeat", "number"]).iterrows()
    ):
        arrays = read_arrays(run["folder"], "neg_elbo_per_image")
        name = run["name"].rpartition("/")[2]
        for measure in PER_IMAGE:
            if f"{measure}_per_image" in arrays:
                per_image[f"{name}/{measure}"] = arrays[f"{measure}_per_image"]
    return per_image


def left_pictures(trials: pd.DataFrame) -> np.ndarray:
    """Tell which of these trials have a file of pictures, as booleans."""
    there = [
        isinstance(folder, str) and (Path(folder) / PICTURES).exists()
        for folder in trials["folder"]
    ]
    return np.array(there, dtype=bool)


def heaviest(weights: np.ndarray) -> np.ndarray:
    """Return the places of at most `COMPONENTS` components of these weights [K], the heaviest
    first, equal ones in the order of the model.
    """
    return np.argsort(-weights, kind="stable")[:COMPONENTS]


def component_order(weights: np.ndarray) -> str:
    """Return in words how `heaviest` orders components of these weights [K]."""
    if np.allclose(weights, weights[0]):
        return "in the order of the model, because all have the same weight"
    return "the heaviest first"


def learned_trials(search: pd.DataFrame, found: pd.DataFrame, *, promotes: bool) -> pd.DataFrame:
    """Return the trials from which a report learns what mattered, the best first, with two columns
    more.

    A pruned trial is as good as what it had reached: without it, a value whose trials were mostly
    pruned would be judged by its survivors. Under the pruner `promotion` complete trials come
    first, and paused ones follow by the epochs to which they were promoted, because only trials of
    equally many epochs can be compared by their objectives.

    `standing` is what they are ordered by: the objective, or under promotion the place. `judged`
    says whether a trial was let beyond the least that every trial gets: whether it is complete, or
    under promotion, whether it was promoted.

    Args:
        search: trials of the search, without duplicates.
        found: those that `found_rows` gives of them, in its order.
        promotes: whether the pruner is `promotion`.
    """
    if promotes:
        complete = (found["state"] == "complete").to_numpy()
        epochs = found["epochs"].to_numpy(float)
        first = epochs[~complete].min() if not complete.all() else np.inf
        return found.assign(
            standing=np.arange(len(found), dtype=float), judged=complete | (epochs > first)
        )
    learned = search[search["state"].isin(["complete", "pruned"]) & search["objective"].notna()]
    learned = learned.sort_values(["objective", "number"], ignore_index=True)
    return learned.assign(standing=learned["objective"], judged=learned["state"] == "complete")
