"""Small operations on the tables of a study, each from a table to a table, a column or an interval."""

import math

import numpy as np
import pandas as pd

from sweeps.results.statistics import Interval, mean_interval


def column(frame: pd.DataFrame, name: str) -> pd.Series:
    """Return a column, or as many missing values where the frame has no column of that name."""
    return frame[name] if name in frame.columns else pd.Series(math.nan, index=frame.index, name=name)


def finite(values: pd.Series) -> np.ndarray:
    """Return the values that are neither missing nor infinite, as float64."""
    numbers = values.to_numpy(dtype=float, na_value=math.nan)
    return numbers[np.isfinite(numbers)]


def interval_on_test(runs: pd.DataFrame, metric: str) -> Interval:
    """Return the mean of a test figure with its 95 % interval (Student's t) over these runs; NaN where no run has it."""
    return mean_interval(finite(column(runs, f"result.{metric}")).tolist())


def for_baseline_alone(trials: pd.DataFrame) -> pd.Series:
    """Tell which trials are runs of a baseline that neither confirm nor compare a configuration of the search."""
    return trials["purposes"].map(lambda purposes: tuple(purposes) == ("baseline",)).astype(bool)


def search_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials of the search by number, without those that repeat an earlier configuration."""
    return trials[~trials["repeat"] & trials["duplicate_of"].isna()].sort_values("number")


def at_best_epoch(epochs: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Return these trials with the metrics of their best epoch beside them (`val/rate`, …), without trials that have no epoch."""
    if trials.empty or epochs.empty:
        return trials.iloc[:0]
    metrics = epochs.drop(columns=["objective"], errors="ignore").rename(columns={"epoch": "best_epoch"})
    scored = trials[trials["best_epoch"].notna()]
    return scored.astype({"best_epoch": "int64"}).merge(metrics, on=["repeat", "number", "best_epoch"], how="inner")


def lowest(frame: pd.DataFrame) -> pd.Series:
    """Return the first row with the lowest value."""
    return frame.iloc[int(np.nanargmin(frame["objective"].to_numpy(float)))]


def search_course(search: pd.DataFrame) -> pd.DataFrame:
    """Return the trials of the search as they ended, with `spent` (trial-epochs by then) and `best` (lowest complete value by then).

    Trials that ended before any was complete are left out.
    """
    ended = search[search["ended"].notna()].sort_values(["ended", "number"])
    best = ended["objective"].where(ended["state"] == "complete").cummin().ffill()
    course = ended.assign(spent=ended["epochs"].cumsum(), best=best)
    return course[course["best"].notna()].reset_index(drop=True)


def outer_fence(values: pd.Series) -> float:
    """Return Tukey's outer fence (the upper quartile + 3 interquartile ranges), at least the 0.7 quantile, at most the maximum.

    The fence has room above it: 1 % of the smallest value.
    """
    lower, upper, most = np.quantile(values, [0.25, 0.75, 0.7])
    high = min(float(values.max()), max(float(upper + 3 * (upper - lower)), float(most)))
    return high + max(0.01 * abs(float(values.min())), 1e-3)


def jitter(count: int, width: float = 0.5) -> list[float]:
    """Return offsets in a repeating, even pattern over [−width/2, width/2], without randomness."""
    golden = 0.6180339887498949
    return [(((index + 1) * golden) % 1.0 - 0.5) * width for index in range(count)]
