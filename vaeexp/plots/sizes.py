"""How large a model should be: its value and its active units against latent size, mixture components and β."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from sweeps.results.rankings import Results
from vaeexp.plots.style import (
    BEST,
    INK,
    MUTED,
    Plot,
    crowding,
    dress,
    key_of_panels,
    log_axis,
    new_figure,
    off_scale,
    robust_limits,
    scatter,
)
from vaeexp.results.frames import at_best_epoch, column, fixed, label, search_trials, space
from vaeexp.words import NATS, format_number, format_value

GROUPS = 10
"""Sizes that are summed up each by itself; more of them by parts of their range, at most so many."""
IN_EACH = 5
"""Trials that such a part should have on average."""
FAR_APART = 8
"""By how much the largest of listed values exceeds the smallest for a logarithmic axis."""
DASHED = {"color": MUTED, "linewidth": 1.3, "linestyle": (0, (4, 3)), "zorder": 2}


def value_by_size(results: Results) -> Figure | None:
    """Validation −ELBO of each trial against latent size and against components, with the best complete trial of each size.

    One panel for each of the two that was searched. None where neither was, or no trial has a value.
    """
    trials = search_trials(results)
    scored = trials[trials["objective"].notna()]
    panels = _searched(results, scored, ("latent_size", "components"))
    if not panels:
        return None
    figure, axes = _panels(len(panels))
    complete = scored["state"] == "complete"
    low, high = robust_limits(scored.loc[complete, "objective"], scored["objective"])
    low -= 0.07 * (high - low)  # for the words below the best
    for panel, (name, sizes) in zip(axes, panels.items(), strict=True):
        panel.set_ylim(low, high)
        _draw_points(panel, results, scored, scored["objective"], name, sizes)
        _draw_best(panel, scored["objective"], sizes, _groups(results, name, sizes[complete]))
        if name == "components":
            _draw_without(panel, scored[complete & sizes.isna()]["objective"])
    figure.supylabel(NATS, fontsize=11, color=INK)
    key_of_panels(figure, axes[-1])
    off_scale(figure, int((scored["objective"] > high).sum()))
    return figure


def active_units(results: Results) -> Figure | None:
    """Active units of each trial at its best epoch against β and against latent size, one panel for each that was searched.

    A line shows where all units would be active. None where neither was searched, or no trial has such a figure.
    """
    trials = at_best_epoch(results, search_trials(results))
    units = column(trials, "val/active_units").astype(float)
    scored = trials[np.isfinite(units)]
    units = units[scored.index]
    panels = _searched(results, scored, ("beta", "latent_size"))
    if not panels:
        return None
    figure, axes = _panels(len(panels))
    for panel, (name, sizes) in zip(axes, panels.items(), strict=True):
        panel.set_ylim(-0.03 * units.max(), 1.1 * max(units.max(), 1))
        panel.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        _draw_points(panel, results, scored, units, name, sizes)
        _draw_medians(panel, units, sizes, _groups(results, name, sizes[scored["state"] == "complete"]))
        _draw_all_active(panel, results, name, sizes)
    figure.supylabel("active units at the best epoch", fontsize=11, color=INK)
    key_of_panels(figure, axes[-1])
    return figure


def _searched(results: Results, trials: pd.DataFrame, names: tuple[str, ...]) -> dict[str, pd.Series]:
    """Values of those of these parameters that were searched over numbers, by name; NaN in trials that did not have one."""
    found = {}
    for name in names:
        values = column(trials, f"params.{name}")
        sizes = pd.to_numeric(values, errors="coerce").astype(float)
        if name in space(results) and sizes.notna().any() and sizes.notna().sum() == values.notna().sum():
            found[name] = sizes
    return found


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    figure = new_figure(4.6, width=9.0 if count > 1 else 6.5)
    return figure, list(figure.subplots(1, count, sharey=True, squeeze=False)[0])


def _is_log(results: Results, name: str, sizes: pd.Series) -> bool:
    """Whether this parameter was searched on a logarithmic scale; of listed values, whether they lie far apart."""
    parameter = space(results)[name]
    if parameter["kind"] != "choice":
        return bool(parameter.get("log")) and sizes.min() > 0
    return sizes.min() > 0 and sizes.max() >= FAR_APART * sizes.min()


def _groups(results: Results, name: str, sizes: pd.Series) -> pd.Series:
    return bins(sizes, log=_is_log(results, name, sizes), listed=space(results)[name]["kind"] == "choice")


def _draw_points(
    axes: Axes, results: Results, trials: pd.DataFrame, values: pd.Series, name: str, sizes: pd.Series
) -> None:
    """Complete trials large, others small, on the scale of the search space."""
    dress(axes, x=label(name, results))
    parameter = space(results)[name]
    listed = parameter["kind"] == "choice"
    ends = (sizes.min(), sizes.max()) if listed else (parameter["low"], parameter["high"])
    low, high = min(ends[0], sizes.min()), max(ends[1], sizes.max())
    if _is_log(results, name, sizes) and high > low:
        log_axis(axes.xaxis, low, high)
    else:
        axes.set_xlim(low - 0.04 * (high - low or 1), high + 0.04 * (high - low or 1))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=name != "beta"))
    if listed and sizes.nunique() <= GROUPS:
        places = sorted(sizes.dropna().unique())
        axes.set_xticks(places, [format_value(place) for place in places])
        axes.xaxis.set_minor_locator(NullLocator())
    for state in ("pruned", "failed", "running", "complete"):
        own = trials["state"] == state
        large, small = (44, 8) if state == "complete" else (16, 3)
        size = max(small, large * crowding(len(trials)))
        chosen = own & sizes.notna()
        if own.any():
            scatter(axes, sizes[chosen], values[chosen], state, size=size, label=state)


def bins(sizes: pd.Series, *, log: bool, listed: bool = False) -> pd.Series:
    """To which group each size belongs, NaN left out.

    That is the size itself where there are few, as there are of `listed` ones; else the part of their range, from 0.
    """
    known = sizes.dropna()
    if listed or known.nunique() <= min(GROUPS, len(known) / 2):
        return known
    parts = min(GROUPS, max(3, len(known) // IN_EACH))
    scaled = np.log(known) if log else known
    share = (scaled - scaled.min()) / ((scaled.max() - scaled.min()) or 1.0)
    return (share * parts).astype(int).clip(upper=parts - 1)


def _draw_best(axes: Axes, values: pd.Series, sizes: pd.Series, groups: pd.Series) -> None:
    """The best trial of each of these groups of sizes, joined; the best of all is named."""
    if groups.empty:
        return
    values = values[groups.index]
    best = values.groupby(groups).idxmin()
    line = pd.DataFrame({"size": sizes[best], "objective": values[best]}).sort_values("size")
    look = {"color": BEST, "linewidth": 2, "marker": "o", "markersize": 4, "zorder": 5}
    axes.plot(line["size"], line["objective"], **look)
    winner = values.idxmin()
    share = axes.transAxes.inverted().transform(axes.transData.transform((sizes[winner], 0.0)))[0]
    axes.annotate(
        f"best at {format_value(sizes[winner])}: {format_number(values[winner])}",
        (sizes[winner], values[winner]),
        xytext=(0, -8),
        textcoords="offset points",
        ha="left" if share < 0.25 else "right" if share > 0.75 else "center",
        va="top",
        fontsize=10,
        color=BEST,
    )


def _draw_without(axes: Axes, values: pd.Series) -> None:
    """A line at the best of the complete trials that have no mixture."""
    if len(values):
        axes.axhline(values.min(), label="best without components", **DASHED)


def _draw_medians(axes: Axes, units: pd.Series, sizes: pd.Series, groups: pd.Series) -> None:
    """The median of each of these groups of sizes, joined."""
    if groups.empty:
        return
    middle = pd.DataFrame({"size": sizes[groups.index], "units": units[groups.index]}).groupby(groups).median()
    axes.plot(middle["size"], middle["units"], color=INK, linewidth=1.8, zorder=5, label="median of complete trials")


def _draw_all_active(axes: Axes, results: Results, name: str, sizes: pd.Series) -> None:
    """Where all units are active: units = latent size, or the latent size that the study fixes."""
    latent = fixed(results, "latent_size")
    if name == "latent_size":
        ends = np.linspace(max(axes.get_xlim()[0], 0), axes.get_xlim()[1], 200)
        axes.plot(ends, ends, label="all units active", **DASHED)
    elif "latent_size" not in space(results) and isinstance(latent, int):
        axes.set_ylim(top=max(axes.get_ylim()[1], 1.12 * latent))
        axes.axhline(latent, label="all units active", **DASHED)


PLOTS: dict[str, Plot] = {
    "value_by_size": Plot(
        "Value by size of the model",
        value_by_size,
        "Every trial at its best epoch (large: complete). The line joins the best complete trial of each size, or of each "
        f"of {GROUPS} parts of the range where there are more sizes; sizes that were tried more often have had more chances.",
        "Neither the latent size nor the number of components was searched, or no trial has finished an epoch.",
    ),
    "active_units": Plot(
        "Active units",
        active_units,
        "Latent units that carry information on validation images, of each trial at its best epoch (large: complete). At the "
        "dashed line all units would be active; units that a trial leaves idle cost nothing and bring nothing.",
        "Neither β nor the latent size was searched, or no trial has finished an epoch.",
    ),
}
