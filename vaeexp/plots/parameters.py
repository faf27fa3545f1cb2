"""What the searched parameters did: how much each mattered, and the value of every trial along each."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweeps.results.rankings import Results, ranked
from vaeexp.plots.axis import ParameterAxis, dress_parameter, parameter_axis, parameter_panels, wrapped
from vaeexp.plots.ped_anova import Cells, importance_shares, parameter_cells
from vaeexp.plots.style import (
    INK,
    STATE_COLOURS,
    Plot,
    crowding,
    dress,
    key_of_panels,
    new_figure,
    off_scale,
    robust_limits,
    scatter,
    spread,
)
from vaeexp.results.frames import column, label, search_trials, space, study_seed
from vaeexp.words import NATS

LEAST_TRIALS = 10
"""Complete trials below which an importance would be noise."""
RESAMPLES = 200


def importances(results: Results) -> dict[str, float]:
    """Share of each searched parameter, most important first, summing to 1.

    Empty with fewer than `LEAST_TRIALS` trials, or when all have one value. A parameter that never varied is left out: it
    cannot have mattered, but PED-ANOVA sees that the trials fill little of its range.

    PED-ANOVA (`vaeexp.plots.ped_anova`) on the complete trials: how far the values of a parameter among the best trials
    differ from those among all. The best are a tenth, and at least 5.
    """
    complete = ranked(results)
    return _ranked_shares(_columns(results, complete), complete)


def importance_intervals(results: Results) -> pd.DataFrame:
    """`importances` with 95 % intervals: share, low and high by parameter, most important first; no rows without them.

    The share ± 1.96 standard deviations of the share among 200 bootstrap resamples of the complete trials (Efron and
    Tibshirani 1993, chapter 13), within 0 and 1. Percentiles of the resamples would not do: a resample repeats trials,
    which makes every parameter look more important than it is, so that a share near 0 lies below all of them.
    """
    complete = ranked(results)
    columns = _columns(results, complete)
    if not columns:
        return pd.DataFrame(columns=["share", "low", "high"], dtype=float)
    random = np.random.default_rng(study_seed(results))
    count = len(complete)
    weights = np.stack([np.bincount(random.integers(count, size=count), minlength=count) for _ in range(RESAMPLES)])
    drawn = importance_shares(list(columns.values()), complete["objective"].to_numpy(float), weights.astype(float))
    table = pd.DataFrame({"share": _ranked_shares(columns, complete)})
    half = pd.Series(1.96 * drawn.std(axis=0, ddof=1), index=list(columns))[table.index]
    return table.assign(low=(table["share"] - half).clip(lower=0), high=(table["share"] + half).clip(upper=1))


def _ranked_shares(columns: dict[str, Cells], complete: pd.DataFrame) -> dict[str, float]:
    if not columns:
        return {}
    once = np.ones((1, len(complete)))
    shares = importance_shares(list(columns.values()), complete["objective"].to_numpy(float), once)[0]
    return dict(sorted(zip(columns, shares.tolist(), strict=True), key=lambda item: (-item[1], item[0])))


def _columns(results: Results, complete: pd.DataFrame) -> dict[str, Cells]:
    """The parameters that varied among these trials; empty where the trials are too few or all have one value."""
    if len(complete) < LEAST_TRIALS or complete["objective"].nunique() == 1:
        return {}
    axes = [parameter_axis(results, name) for name in space(results)]
    cells = {axis.name: parameter_cells(axis, axis.places(complete).to_numpy()) for axis in axes}
    return {name: column for name, column in cells.items() if len(np.unique(column.places[column.places >= 0])) > 1}


def importance(results: Results) -> Figure | None:
    """Bars of each parameter's share with its 95 % interval, the largest on top.

    None with fewer than `LEAST_TRIALS` complete trials or one parameter.
    """
    table = 100 * importance_intervals(results).iloc[::-1]
    if len(table) < 2:
        return None
    figure = new_figure(0.9 + 0.42 * len(table))
    axes = dress(figure.add_subplot(), x="share of the importance (%)")
    places = range(len(table))
    axes.barh(places, table["share"], color=STATE_COLOURS["complete"], height=0.62)
    axes.set_yticks(places, [wrapped(label(name, results), 34) for name in table.index])
    axes.hlines(places, table["low"], table["high"], color=INK, linewidth=1.6)
    for ends in (table["low"], table["high"]):
        axes.scatter(ends, places, s=70, marker="|", color=INK, linewidths=1.6, clip_on=False, zorder=3)
    for place, (share, low, high) in enumerate(table[["share", "low", "high"]].to_numpy()):
        text = f"{share:.0f} % ({low:.0f}–{high:.0f})"
        axes.annotate(text, (high, place), (8, 0), textcoords="offset points", fontsize=10, color=INK, va="center")
    top = table["high"].max()
    axes.set_xticks([tick for tick in MaxNLocator(6).tick_values(0, top) if tick <= 100])
    axes.set_xlim(0, 1.2 * top)
    axes.grid(visible=False, axis="y")
    return figure


def effects(results: Results) -> Figure | None:
    """One panel per searched parameter: the value of each trial against it, coloured by state. None without a value."""
    trials = search_trials(results)
    scored = trials[trials["objective"].notna()]
    names = [name for name in space(results) if column(scored, f"params.{name}").notna().any()]
    if not names:
        return None
    figure, panels = parameter_panels(len(names), same_values=True)
    low, high = robust_limits(scored.loc[scored["state"] == "complete", "objective"], scored["objective"])
    for panel, name in zip(panels, names, strict=True):
        panel.set_ylim(low, high)
        _draw_effect(panel, scored, parameter_axis(results, name), label(name, results))
    figure.supylabel(NATS, fontsize=11, color=INK)
    key_of_panels(figure, panels[0])
    off_scale(figure, int((scored["objective"] > high).sum()))
    return figure


def _draw_effect(axes: Axes, trials: pd.DataFrame, parameter: ParameterAxis, text: str) -> None:
    """One parameter: trials as points, on the scale of its search space; choices side by side with their median."""
    dress_parameter(dress(axes).xaxis, parameter, text)
    places = parameter.values(parameter.places(trials)).dropna()
    known = trials.loc[places.index]
    if parameter.kind == "choice":
        _draw_medians(axes, known, places)
        places = places + np.array(spread(len(known)))
    for state in STATE_COLOURS:
        chosen = known[known["state"] == state]
        shown = state if (trials["state"] == state).any() else None
        scatter(axes, places[chosen.index], chosen["objective"], state, size=30 * crowding(len(trials)), label=shown)


def _draw_medians(axes: Axes, known: pd.DataFrame, places: pd.Series) -> None:
    complete = known["state"] == "complete"
    for place, value in known["objective"][complete].groupby(places[complete]).median().items():
        axes.plot([place - 0.3, place + 0.3], [value, value], color=INK, linewidth=2, zorder=5)


def _importance_caption(results: Results) -> str:
    count = len(ranked(results))
    best = max(5, math.ceil(count / 10))
    few = " With so few trials it is a rough guide." if count < 100 else ""
    return (
        f"How far the values of a parameter among the best {best:,} differ from those among all {count:,} complete trials "
        "(PED-ANOVA, Watanabe et al. 2023), as shares of the sum. Whiskers are 95 % intervals: ± 1.96 standard deviations "
        f"over {RESAMPLES} resamples of the trials.{few} Pruned trials are not counted: a parameter whose bad values were "
        "pruned early looks less important than it is."
    )


PLOTS: dict[str, Plot] = {
    "importance": Plot(
        "Importance of the parameters",
        importance,
        _importance_caption,
        f"It takes {LEAST_TRIALS} complete trials of different value and two searched parameters to say anything.",
    ),
    "effects": Plot(
        "Effect of each parameter",
        effects,
        "Every trial in every panel, at its best epoch; pruned trials had fewer epochs, so they stand higher than they would "
        "have ended. A black bar is the median of the complete trials.",
        "No trial has finished an epoch.",
    ),
}
