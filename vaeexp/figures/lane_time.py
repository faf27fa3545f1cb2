"""When each trial was in a lane, on a clock that stands still while a study is interrupted."""

import math

import numpy as np
import pandas as pd

from sweeps.results import Results

__all__ = ["lane_times", "mean_in_lanes", "time_unit"]


def lane_times(results: Results, trials: pd.DataFrame) -> pd.DataFrame:
    """These trials with `entered` and `left`, in seconds since the first of them entered a lane.

    Stretches of time in which none was in a lane take no time here. A study that was killed keeps the trials it held
    through the pause, so what remains is cut down to the seconds that search and replicas are recorded to have taken: of
    the stretches between a start or an end of a trial and the next one, the longest, all to one length. A trial that is
    still running is in its lane until now. Left out are duplicates, which were never in a lane, and trials without times.
    """
    started, ended = trials["started"].to_numpy(float), trials["ended"].to_numpy(float)
    running = ~np.isfinite(ended) & (trials["state"] == "running").to_numpy(bool)
    used = trials["duplicate_of"].isna().to_numpy(bool) & np.isfinite(started) & (np.isfinite(ended) | running)
    if not used.any():
        return trials.iloc[:0].assign(entered=math.nan, left=math.nan)
    known, started, ended, running = trials[used], started[used], ended[used], running[used]
    ended = np.where(running, max(started.max(), ended[~running].max(initial=-math.inf)), np.fmax(started, ended))
    moments = np.unique(np.concatenate([started, ended]))
    first, last = np.searchsorted(moments, started), np.searchsorted(moments, ended)
    lengths, since = _worked(results, known["replica"].to_numpy(bool), np.diff(moments), first, last, running)
    clock = np.concatenate([[0.0], np.cumsum(lengths)])
    return known.assign(entered=clock[first], left=clock[last] + np.where(running, since, 0.0))


def _worked(
    results: Results, replica: np.ndarray, lengths: np.ndarray, first: np.ndarray, last: np.ndarray, running: np.ndarray
) -> tuple[np.ndarray, float]:
    """Lengths of the stretches without pauses, and for how long trials have been running since the last of them.

    `first` and `last` are the indices of the moments at which a trial entered and left.
    """
    held = [_held(first[own], last[own], len(lengths)) > 0 for own in (~replica, replica)]
    phases = (held[0], held[1] & ~held[0])
    lengths = np.where(phases[0] | phases[1], lengths, 0.0)
    since = 0.0
    for name, phase, own in zip(("elapsed", "replicas_elapsed"), phases, (~replica, replica), strict=True):
        elapsed = results.study.get(name)
        if elapsed and math.isfinite(elapsed):
            lengths[phase] = _cut(lengths[phase], elapsed)
            if running[own].any():
                since = max(0.0, elapsed - float(lengths[phase].sum()))
    return lengths, since


def _held(first: np.ndarray, last: np.ndarray, stretches: int) -> np.ndarray:
    """Trials in lanes during each stretch."""
    size = stretches + 1
    return np.cumsum(np.bincount(first, minlength=size) - np.bincount(last, minlength=size))[:-1]


def _cut(lengths: np.ndarray, total: float) -> np.ndarray:
    """The same lengths, those above a level cut to it, so that they add up to `total`; unchanged where they are less."""
    ordered = np.sort(lengths)
    below = np.concatenate([[0.0], np.cumsum(ordered)])
    if below[-1] <= total:
        return lengths
    others = np.arange(len(ordered), 0, -1)
    place = int(np.searchsorted(below[:-1] + ordered * others, total))
    return np.minimum(lengths, (total - below[place]) / others[place])


def mean_in_lanes(times: pd.DataFrame, edges: np.ndarray) -> np.ndarray:
    """Mean number of trials in lanes in each slice of time between two edges, of `lane_times`: [len(edges) − 1]."""
    lane_seconds = _seconds_past(times["entered"], edges) - _seconds_past(times["left"], edges)
    return np.diff(lane_seconds) / np.diff(edges)


def _seconds_past(moments: pd.Series, edges: np.ndarray) -> np.ndarray:
    """Σ max(0, edge − moment) over the moments, for each edge."""
    ordered = np.sort(moments.to_numpy(float))
    count = np.searchsorted(ordered, edges)
    return count * edges - np.concatenate([[0.0], np.cumsum(ordered)])[count]


def time_unit(seconds: float) -> tuple[float, str]:
    """Seconds in the unit in which so long a time reads best, and its symbol."""
    if seconds < 180:
        return 1.0, "s"
    return (60.0, "min") if seconds < 3 * 3600 else (3600.0, "h")
