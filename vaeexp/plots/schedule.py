"""What the search took: how fast it got where it is, when trials were pruned, how full the device was, what trials cost."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from sweeps.results.rankings import Results
from vaeexp.plots.progress import draw_best
from vaeexp.plots.style import (
    INK,
    MUTED,
    STATE_COLOURS,
    Plot,
    crowding,
    dress,
    key,
    new_figure,
    note,
    off_scale,
    robust_limits,
    scatter,
)
from vaeexp.results.frames import search_trials
from vaeexp.words import NATS, format_duration, format_number


def lane_times(results: Results, trials: pd.DataFrame) -> pd.DataFrame:
    """These trials with `entered` and `left`, in seconds since the first of them entered a lane.

    Stretches of time in which none was in a lane take no time here. A study that was killed keeps the trials it held
    through the pause, so what remains is cut down to the seconds that search and repeats are recorded to have taken: of
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
    lengths, since = _worked(results, known["repeat"].to_numpy(bool), np.diff(moments), first, last, running)
    clock = np.concatenate([[0.0], np.cumsum(lengths)])
    return known.assign(entered=clock[first], left=clock[last] + np.where(running, since, 0.0))


def _worked(
    results: Results, repeat: np.ndarray, lengths: np.ndarray, first: np.ndarray, last: np.ndarray, running: np.ndarray
) -> tuple[np.ndarray, float]:
    """Lengths of the stretches without pauses, and for how long trials have been running since the last of them.

    `first` and `last` are the indices of the moments at which a trial entered and left.
    """
    held = [_held(first[own], last[own], len(lengths)) > 0 for own in (~repeat, repeat)]
    phases = (held[0], held[1] & ~held[0])
    lengths = np.where(phases[0] | phases[1], lengths, 0.0)
    since = 0.0
    for name, phase, own in zip(("elapsed", "repeats_elapsed"), phases, (~repeat, repeat), strict=True):
        elapsed = getattr(results.study, name)
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


SLICES = 300
"""Slices of time over which the lanes in use are averaged: wider than the moment between two trials in one lane."""
REPLICAS = "#CC79A7"
"""From the palette of Okabe and Ito (2008)."""
CLOSE = 1.0
"""Nats per image within which a value is as good as the best for most purposes."""
SEPARATE = 150
"""Trials of a state whose bars stand apart; the bars of more are one area."""
MEDIANS = 5
"""Times the largest median of an outcome up to which costs are shown."""
LABELS = 12
"""Bars that get their number written above them."""
PAUSES = (
    "Pauses between sessions are left out: time in which no trial was in a lane, and what the recorded duration of search and "
    "repeats shows beyond that."
)


def best_over_time(results: Results) -> Figure | None:
    """Complete trials of the search at the time they ended, and the best value so far. None before one has ended."""
    times = lane_times(results, search_trials(results))
    course = times[(times["state"] == "complete") & times["objective"].notna()].sort_values(["left", "number"])
    if course.empty or not times["left"].max() > 0:
        return None
    size, unit = time_unit(times["left"].max())
    course = course.assign(best=course["objective"].cummin(), time=course["left"] / size)
    figure = new_figure()
    axes = dress(figure.add_subplot(), x=f"time since the first trial started ({unit})", y=NATS)
    low, high = robust_limits(course["objective"])
    axes.set_ylim(low, high)
    end = times["left"].max() / size
    axes.set_xlim(0, 1.01 * end)
    scatter(axes, course["time"], course["objective"], "complete", size=30 * crowding(len(course)))
    best = course.loc[course["objective"].idxmin()]
    close = course[course["best"] <= best["objective"] + CLOSE].iloc[0]
    draw_best(axes, course, "time", end, f" after {_duration(best['left'])}")
    off_scale(axes, int((course["objective"] > high).sum()))
    if close["number"] != best["number"]:
        axes.axvline(close["time"], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        late = close["time"] > 0.6 * end
        axes.annotate(
            f"within {CLOSE:.0f} nat of the best\nafter {_duration(close['left'])}",
            (close["time"], 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(-6 if late else 6, 0),
            textcoords="offset points",
            ha="right" if late else "left",
            va="top",
            fontsize=10,
            color=MUTED,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )
    return figure


def _duration(seconds: float) -> str:
    return format_duration(seconds) if seconds >= 10 else f"{format_number(seconds, 1)} s"


def pruning_timeline(results: Results) -> Figure | None:
    """Share of ended trials of the search still training after each epoch; below, how many were pruned after it.

    None where no trial was pruned after an epoch.
    """
    trials = search_trials(results)
    ended = trials[trials["state"].isin(["complete", "pruned", "failed"])]
    epochs = ended["epochs"].to_numpy(int)
    pruned = ended.loc[(ended["state"] == "pruned") & (ended["epochs"] > 0), "epochs"].to_numpy(int)
    if not len(pruned):
        return None
    last = int(epochs.max())
    counts = np.bincount(epochs, minlength=last + 1)
    left = len(epochs) - np.cumsum(counts)[:-1]
    figure = new_figure(5.4)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    _draw_survivors(dress(above, y="trials still training"), left / len(epochs), counts[-1])
    _draw_pruned(dress(below, x="epoch", y="trials pruned"), np.bincount(pruned, minlength=last + 1))
    below.set_xlim(0, last + max(0.5, last / 200))
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    note(above, f"{len(pruned):,} of {len(ended):,} trials pruned")
    return figure


def _draw_survivors(axes: Axes, share: np.ndarray, longest: int) -> None:
    """Steps of the share of trials in training during each epoch: [E]; `longest` trained through the last."""
    last = len(share)
    edges = np.arange(last + 1)
    axes.stairs(100 * share, edges, baseline=100, fill=True, color=STATE_COLOURS["pruned"], alpha=0.16, linewidth=0)
    axes.stairs(100 * share, edges, baseline=None, color=STATE_COLOURS["complete"], linewidth=2.2)
    axes.yaxis.set_major_formatter(PercentFormatter(symbol=" %"))
    axes.set_ylim(0, 104)
    axes.annotate(
        f"{longest:,} ({100 * share[-1]:.0f} %)\nto the end",
        (last, 100 * share[-1]),
        xytext=(6, 0),
        textcoords="offset points",
        ha="left",
        va="center",
        fontsize=10,
        color=STATE_COLOURS["complete"],
        annotation_clip=False,
    )


def _draw_pruned(axes: Axes, counts: np.ndarray) -> None:
    """A bar for each epoch after which trials were pruned, the highest ones with their number."""
    places = np.flatnonzero(counts)
    axes.bar(places, counts[places], width=max(0.7, len(counts) / 220), color=STATE_COLOURS["pruned"], linewidth=0)
    axes.set_ylim(0, 1.22 * counts.max())
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    named: list[int] = []
    for place in sorted(places, key=lambda place: (-counts[place], place)):
        apart = len(counts) * (0.008 + 0.009 * len(f"{counts[place]:,}"))
        if len(named) < LABELS and all(abs(place - other) >= apart for other in named):
            named.append(place)
            axes.annotate(
                f"{counts[place]:,}",
                (place, counts[place]),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=10,
                color=INK,
            )


def lanes_in_use(results: Results) -> Figure | None:
    """Trials in training over time, of the search and of its repeats, below the number of lanes. None without times."""
    times = lane_times(results, results.trials)
    if times.empty or not times["left"].max() > 0:
        return None
    end = float(times["left"].max())
    size, unit = time_unit(end)
    edges = np.linspace(0, end, SLICES + 1)
    search, repeats = (mean_in_lanes(times[times["repeat"] == own], edges) for own in (False, True))
    figure = new_figure(4.0)
    axes = dress(figure.add_subplot(), x=f"time since the first trial started ({unit})", y="trials in training")
    both = search + repeats
    _draw_in_lanes(axes, search, edges / size, 0.0, STATE_COLOURS["complete"], "search")
    if repeats.any():
        _draw_in_lanes(axes, both, edges / size, search, REPLICAS, "confirm, compare and baselines")
        key(axes)
    lanes = _lanes(results)
    _name_lanes(axes, lanes, float(both.mean()), float(both.max()))
    axes.set_xlim(0, end / size)
    axes.set_ylim(0, 1.16 * max(lanes[0], both.max()))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    return figure


def _draw_in_lanes(
    axes: Axes, upper: np.ndarray, edges: np.ndarray, lower: np.ndarray | float, colour: str, label: str
) -> None:
    """The area between two courses, where there is any, with its upper edge."""
    axes.stairs(upper, edges, baseline=lower, fill=True, color=colour, alpha=0.4, linewidth=0, label=label)
    axes.stairs(np.where(upper > lower, upper, np.nan), edges, baseline=None, color=colour, linewidth=1.6)


def _lanes(results: Results) -> tuple[int, str]:
    """How many trials can be in training at once, and that in words; (0, "") where it was not recorded."""
    execution = results.study.execution
    lanes, workers = execution.get("lanes"), execution.get("workers")
    if not isinstance(lanes, int):
        return 0, ""
    words = f"{lanes:,} lane{'' if lanes == 1 else 's'}"
    return lanes, words if workers in (None, 1) else f"{words} of {workers:,} workers"


def _name_lanes(axes: Axes, lanes: tuple[int, str], mean: float, most: float) -> None:
    """A line at the number of lanes, and how many were in use on average; in percent of lanes that were never exceeded."""
    count, words = lanes
    if count:
        axes.axhline(count, color=INK, linewidth=1.4, linestyle=(0, (5, 3)))
        axes.annotate(
            words,
            (0.995, count),
            xycoords=("axes fraction", "data"),
            xytext=(0, 4),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=10,
            color=INK,
        )
    if count and most <= 1.001 * count:
        note(axes, f"mean: {format_number(mean, 1)} of {count:,} lanes, {100 * mean / count:.3g} %")
    else:
        note(axes, f"mean: {format_number(mean, 1)} in training")


def trial_costs(results: Results) -> Figure | None:
    """Seconds of training of each trial of the search, by state and in falling order. None before any has trained."""
    trials = search_trials(results)
    trained = trials[trials["seconds"] > 0]
    if trained.empty:
        return None
    seconds = trained["seconds"]
    total, many = float(seconds.sum()), float(seconds.max())
    top = min(many, MEDIANS * float(seconds.groupby(trained["state"]).median().max()))
    size, unit = time_unit(top)
    figure = new_figure(4.4)
    axes = dress(figure.add_subplot(), x="trials, dearest first within each outcome", y=f"training ({unit})")
    start = 0
    for state in ("complete", "pruned", "failed", "running"):
        own = np.sort(seconds[trained["state"] == state].to_numpy(float))[::-1]
        if len(own):
            _draw_costs(axes, own, state, start, size, total)
            start += len(own)
    axes.set_xlim(0, start)
    axes.set_ylim(0, 1.04 * top / size)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if many > 1.04 * top:
        note(axes, f"the dearest took {_duration(many)}")
    key(axes, columns=2)
    return figure


def _draw_costs(axes: Axes, seconds: np.ndarray, state: str, start: int, size: float, total: float) -> None:
    """One block of bars, the trials of a state, with a line at their median; its area is what they took together."""
    median = float(np.median(seconds))
    words = f"{'median ' if len(seconds) > 1 else ''}{_duration(median)}"
    share = 100 * seconds.sum() / total
    label = f"{state} ({len(seconds):,}): {words}, {'under 1' if share < 0.5 else f'{share:.0f}'} % of the time"
    edges = start + np.arange(len(seconds) + 1)
    axes.stairs(seconds / size, edges, fill=True, color=STATE_COLOURS[state], alpha=0.9, linewidth=0, label=label)
    if len(seconds) <= SEPARATE:
        axes.vlines(edges[1:-1], 0, seconds[:-1] / size, color="white", linewidth=0.8)
    if len(seconds) > 1:
        axes.plot([edges[0], edges[-1]], [median / size] * 2, color=INK, linewidth=1.8, solid_capstyle="butt")


PLOTS: dict[str, Plot] = {
    "best_over_time": Plot(
        "Best value over time",
        best_over_time,
        f"The line is the best complete trial so far, a dot a complete trial at the time it ended. {PAUSES}",
        "No trial has completed.",
    ),
    "pruning_timeline": Plot(
        "Pruning",
        pruning_timeline,
        "Of the trials of the search that have ended, the share in training during each epoch, and how many were pruned after "
        "it. The line also falls where trials failed or stopped by themselves; the shaded area is training that was not done.",
        "No trial was pruned.",
    ),
    "lanes_in_use": Plot(
        "Lanes in use",
        lanes_in_use,
        f"Trials in training at once, averaged over slices of 1/{SLICES} of the time, below the dashed line of the lanes that "
        f"there are. {PAUSES} A trial that a stop interrupted counts until its end, also while it waits for its "
        "turn.",
        "No trial has spent time in a lane.",
    ),
    "trial_costs": Plot(
        "Cost of the trials",
        trial_costs,
        "Each bar is a trial of the search, its height the time that it was trained; of an epoch in which trials share a device, "
        "each is charged an equal part. A coloured area is what trials of that outcome took together, a black line their median.",
        "No trial has finished an epoch.",
    ),
}
