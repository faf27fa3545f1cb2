"""Plots of the searched parameters: the importance of each, and along each the value of each trial,
the value to expect, and the units in use.
"""

import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweeps.results import promotes
from vaeexp.plots import style
from vaeexp.results.coverage import left_out
from vaeexp.results.effects import group_of
from vaeexp.results.forest import Forest, expected
from vaeexp.results.holes import hole_statement
from vaeexp.results.parameters import RESAMPLES, SearchedParameter
from vaeexp.results.statements import NATS as NATS_PER_IMAGE
from vaeexp.results.statements import Caption, Statement
from vaeexp.results.statements import Figure as StatedFigure
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import column, jitter, row_names
from vaeexp.words import NATS, format_number, format_value, plural

MOST_PANELS = 9
LOW_R2 = 0.5
"""Share of the variance below which a reader is told not to trust the numbers of the model."""
_RING: dict[str, Any] = {
    "facecolors": "none",
    "edgecolors": style.TEXT_COLOUR,
    "linewidths": 1.5,
    "zorder": 6,
}
"""Around the best trial."""
NEAR = 0.1
"""Share of an axis within which trials speak for a point on it."""
GROUPS = 10
"""Numbers whose median is drawn for each by itself; of more the medians of parts of their range, at
most so many.
"""
IN_EACH = 5
"""Trials that such a part has on average, because a median of fewer lies between two marks and
shows neither.
"""


def importance(view: StudyView) -> Figure | None:
    """Draw bars of each parameter's share with its 95 % interval, the largest on top.

    None with too few trials (`importance_table`) or one parameter.
    """
    table = 100 * view.importances.iloc[::-1]
    if len(table) < 2:
        return None
    figure, axes = style.one_plot(0.9 + 0.42 * len(table), x="share of the importance (%)")
    share, low, high = (table[name] for name in ("share", "low", "high"))
    positions = range(len(table))
    axes.barh(positions, share, color=style.STATE_COLOURS["complete"], height=0.62)
    axes.set_yticks(
        positions, [style.wrapped(view.plan.parameters[name].label, 34) for name in table.index]
    )
    whiskers = [share - low, high - share]
    axes.errorbar(
        share,
        positions,
        xerr=whiskers,
        fmt="none",
        ecolor=style.TEXT_COLOUR,
        elinewidth=1.6,
        capsize=4,
    )
    for y, (own, least, most) in enumerate(table[["share", "low", "high"]].to_numpy()):
        style.annotate(axes, f"{own:.0f} % ({least:.0f}–{most:.0f})", (most, y), (8, 0), ha="left")
    top = float(high.max())
    axes.set_xticks([tick for tick in MaxNLocator(6).tick_values(0, top) if tick <= 100])
    axes.set_xlim(0, 1.2 * top)
    axes.grid(visible=False, axis="y")
    return figure


def importance_caption(view: StudyView) -> Caption:
    """Say how the importance is estimated, from how many trials."""
    count = len(view.influence.learned)
    few = " With so few trials it is a rough guide." if count < 100 else ""
    return [
        Statement(
            id="plot.importance", values={"best": max(5, math.ceil(count / 10)), "trials": count}
        ),
        f"Whiskers are 95 % intervals: ± 1.96 standard deviations over {RESAMPLES} resamples of "
        f"the trials.{few} {_order(view)} Values of a choice that were never tried where the "
        "others are good are left out. It counts what sets the best apart from the rest, not "
        "how many nats a value costs: a choice that is worse at every setting, by less than "
        "another parameter moves the trials, has a small share. Matched pairs (`compare`) "
        "measure that difference.",
    ]


def _order(view: StudyView) -> str:
    if promotes(view.study):
        return (
            "Complete trials are the best, then paused ones by the epochs to which they were "
            "promoted, of equally many by their value: what learns slowly at first counts as bad."
        )
    return "A pruned trial counts with what it had reached."


def equal_epochs(view: StudyView) -> Figure | None:
    """Draw a panel per searched parameter: the value of each trial at the last epoch that all
    ranked trials reached, against it.

    Under promotion this is the first rung. Choices have the median of their trials. None without
    two such trials.
    """
    epoch, trials = view.influence.at_equal_epochs
    parameters = [
        parameter
        for parameter in view.plan.parameters.values()
        if parameter.of(trials).notna().any()
    ]
    if len(trials) < 2 or not parameters:
        return None
    figure, panels = style.parameter_panels(
        len(parameters), f"{NATS}, epoch {epoch:,}", same_values=True
    )
    complete = trials["state"] == "complete"
    low, high = style.robust_limits(trials.loc[complete, "value"], trials["value"])
    for panel, parameter in zip(panels, parameters, strict=True):
        panel.set_ylim(low, high)
        _draw_at_epoch(panel, view, view.influence.covered(trials, parameter.name), parameter)
        if view.influence.uncovered(parameter.name):
            style.note(panel, "“left out”: not covered by the search", y=1.03)
    panels[0].scatter([], [], s=40, **_RING, label=f"best: trial {view.best_number}")
    style.figure_legend(figure, panels[0])
    if above := int((trials["value"] > high).sum()):
        figure.text(
            0.995,
            0.985,
            f"▲ {above} above the scale",
            ha="right",
            va="top",
            fontsize=10,
            color=style.MUTED,
        )
    return figure


def _draw_at_epoch(
    axes: Axes, view: StudyView, trials: pd.DataFrame, parameter: SearchedParameter
) -> None:
    """Draw the `value` of trials along a parameter, with a ring around the best one; choices side
    by side, each with its median and its count.
    """
    active = trials[parameter.places(trials).notna()]
    places, values, names = parameter.places(active), active["value"], row_names(active)
    left_out, counts = view.influence.uncovered(parameter.name), Counter(places)
    remarks = {text: plural(counts[place], "trial") for place, text in enumerate(parameter.texts)}
    below = ["left out" if text in left_out else remark for text, remark in remarks.items()]
    style.style_parameter_axis(axes, parameter, below)
    if parameter.is_choice:
        style.draw_medians(axes, values, places, least=2)
    x, size = jittered(parameter, active), 30 * style.marker_scale(len(trials))
    complete = active["state"] == "complete"
    for state, chosen, words in (
        ("pruned", ~complete, "stopped there or later"),
        ("complete", complete, "trained to the end"),
    ):
        if count := int(chosen.sum()):
            label = f"{words} ({count:,})"
            style.scatter(
                axes, x[chosen], values[chosen], names[chosen], state, size=size, label=label
            )
    best = active["number"] == view.best_number
    if best.any():
        at, ring = values[best].clip(upper=axes.get_ylim()[1]), max(2.6 * size, 40)
        style.draw_points(axes, names[best], x[best], at, s=ring, clip_on=False, **_RING)


def equal_epochs_caption(view: StudyView) -> Caption:
    """Say at which epoch the trials are compared, which are left out, and what the plot does not
    show.
    """
    epoch, trials = view.influence.at_equal_epochs
    failed, short = (
        int((view.search["state"] == "failed").sum()),
        len(view.influence.learned) - len(trials),
    )
    text = (
        "A black bar is the median of two trials or more, where it lies on the scale. The plot "
        "shows which trials lead early: one that learns slowly stands high here and may win at "
        "the end. The other parameters differ between the points, so a trend is not the effect "
        "of one parameter alone."
    )
    counts = {"failed": failed, "short": short}
    not_drawn = [
        Statement(f"plot.{name}", {name: count}) for name, count in counts.items() if count
    ]
    return [
        Statement(id="plot.epoch", values={"epoch": epoch}),
        text,
        *not_drawn,
        *untold(view),
    ]


def counts_below(trials: pd.DataFrame, parameter: SearchedParameter) -> list[str]:
    """Return for each choice of a parameter how many of these trials are complete and how many were
    pruned: `5 + 9 pruned`.
    """
    places = parameter.places(trials)
    groups = [group_of(trials[places == place]) for place in range(len(parameter.texts))]
    return [f"{group.complete:,} + {group.pruned:,} pruned" for group in groups]


def jittered(parameter: SearchedParameter, trials: pd.DataFrame) -> pd.Series:
    """Return the numbers of trials along a parameter; choices are spread a little, so that trials
    can be told apart.
    """
    places = parameter.places(trials)
    if parameter.is_choice:
        return places + jitter(len(places))
    return pd.Series(parameter.numbers(places), index=places.index)


def partial_dependence(view: StudyView) -> Figure | None:
    """Draw a panel per searched parameter, the most important first: the expected value along it,
    averaged over the others.

    Values of a choice that the search did not cover are left out. None without a forest, or when
    they have one value.
    """
    forest = view.influence.forest
    if forest is None:
        return None
    names = [
        name for name in forest.parameters if _covered_places(view, forest, name).nunique() > 1
    ][:MOST_PANELS]
    if not names:
        return None
    figure, panels = style.parameter_panels(len(names), f"expected {NATS}", same_values=False)
    for panel, name in zip(panels, names, strict=True):
        _draw_dependence(panel, view, forest, forest.parameters[name])
    return figure


def _covered_places(view: StudyView, forest: Forest, name: str) -> pd.Series:
    """Return the places of the complete trials along a parameter, without those of values that are
    not covered, by trial.
    """
    return _places(forest.parameters[name], view.influence.covered(view.ranked, name))


def _places(parameter: SearchedParameter, trials: pd.DataFrame) -> pd.Series:
    return parameter.places(trials).set_axis(row_names(trials)).dropna()


def _draw_dependence(
    axes: Axes, view: StudyView, forest: Forest, parameter: SearchedParameter
) -> None:
    """Draw the mean over the bags with its 95 % interval, the trials along the lower edge, and the
    lowest point.
    """
    places = _covered_places(view, forest, parameter.name)
    pruned = _places(parameter, view.search[view.search["state"] == "pruned"])
    grid = parameter.grid(places, 25)
    bags = expected(forest, parameter.name, grid)
    mean = bags.mean(axis=0)
    # The bags differ most in their height, which says nothing about this parameter.
    half = 1.96 * (bags - bags.mean(axis=1, keepdims=True)).std(axis=0, ddof=1)
    x, colour = parameter.numbers(grid), style.STATE_COLOURS["complete"]
    style.style_parameter_axis(axes, parameter, counts_below(view.search, parameter))
    if parameter.is_choice:
        axes.errorbar(x, mean, half, fmt="o", color=colour, markersize=8, elinewidth=2)
        axes.margins(y=0.2)
    else:
        axes.fill_between(x, mean - half, mean + half, color=colour, alpha=0.18, linewidth=0)
        axes.plot(x, mean, color=colour, linewidth=2.2)
        axes.margins(y=0.1)
        _draw_edge(axes, parameter, places, 0.02, style.TEXT_COLOUR)
        _draw_edge(axes, parameter, pruned, 0.06, style.STATE_COLOURS["pruned"])
    low, high = int(mean.argmin()), int(mean.argmax())
    left_out = ", some values left out" if view.influence.uncovered(parameter.name) else ""
    style.note(axes, f"spans {format_number(mean[high] - mean[low], 1)} nats{left_out}")
    differences = bags[:, high] - bags[:, low]
    near = 0.5 if parameter.is_choice else NEAR
    survivors, losses = (int((abs(marked - grid[low]) < near).sum()) for marked in (places, pruned))
    if differences.mean() > 1.96 * differences.std(ddof=1) and survivors > max(1, losses):
        axes.plot(x[low], mean[low], marker="o", markersize=8, color=style.BEST, zorder=5)
        if not parameter.is_choice:
            best = format_value(
                float(f"{x[low]:.2g}") if parameter.kind == "float" else round(x[low])
            )
            style.annotate(axes, best, (x[low], mean[low]), (0, 8), colour=style.BEST, va="bottom")


def _draw_edge(
    axes: Axes, parameter: SearchedParameter, places: pd.Series, height: float, colour: str
) -> None:
    """Draw a tick for each trial along the lower edge: where there are few, or mostly pruned ones,
    the line is a guess.
    """
    faint = 0.8 * style.marker_scale(len(places)) ** 0.7
    heights, edge = np.full(len(places), height), axes.get_xaxis_transform()
    style.draw_points(
        axes,
        places.index,
        parameter.numbers(places),
        heights,
        alpha=faint,
        transform=edge,
        marker="|",
        s=40,
        color=colour,
        linewidths=0.9,
    )


def untold(view: StudyView) -> list[Statement]:
    """Say which values are left out because the search did not cover them, and which numbers were
    tried only with bad values of others.
    """
    left = left_out(view.influence.left_out, view.plan.parameters)
    said = Statement(id="left_out", values={"left": left})
    return [*([said] if left else []), *map(hole_statement, view.influence.holes.numbers.values())]


def dependence_caption(view: StudyView) -> Caption:
    """Say how to read the model's predictions, from how many trials they are, and how far to trust
    them.
    """
    text = (
        "The value to expect along each parameter, the others averaged over the trials that have "
        "it; the most important first, each on its own scale. Bands are 95 % intervals of the "
        "shape, its mean height held fixed. Along the lower edge are the trials (orange: "
        "pruned), for choices their number; a green point is the lowest, where the bands tell it "
        "from the highest and where at least two trials, and more than were pruned, are complete."
    )
    parts: list[str | Statement] = [text, *untold(view)]
    forest = view.influence.forest
    if forest is None:
        return parts
    values: dict[str, Any] = {
        "complete": forest.complete,
        "pruned": forest.pruned,
        "above": forest.capped or None,
    }
    values["ceiling"] = (
        StatedFigure(value=forest.ceiling, unit=NATS_PER_IMAGE, digits=0) if forest.capped else None
    )
    parts.append(Statement(id="plot.forest", values=values))
    if forest.r2 < LOW_R2:
        parts.append(
            Statement(id="plot.forest_explains", values={"r2": StatedFigure(value=forest.r2)})
        )
    return parts


def active_units(view: StudyView) -> Figure | None:
    """Draw the active units of each trial at its last epoch against β and against latent size, one
    panel for each searched.

    Where the latent size varies they are shares of it. Dimensions whose rate is above the threshold
    stand beside them for tested runs. None where neither was searched, no trial has such a figure,
    or all units of all complete trials and tested runs are in use.
    """
    at_best = column(view.retrained.confirm_runs, "result.test/used_dimensions")
    by_rate = column(view.retrained.confirm_runs, "result.test_last/used_dimensions").fillna(
        at_best
    )
    trials = _with_units(view, view.last_epochs, column(view.last_epochs, "val/active_units"))
    tested = _with_units(view, view.retrained.confirm_runs, by_rate)
    searched = [
        view.plan.parameters[name]
        for name in ("beta", "latent_size")
        if name in view.plan.parameters
    ]
    shown = [parameter for parameter in searched if parameter.of(trials).notna().any()]
    if not shown:
        return None
    latent, y = view.plan.fixed("latent_size"), "active units"
    full = float(latent) if isinstance(latent, int) else math.nan
    if "latent_size" in view.plan.parameters:
        full, y = 100.0, "active units (% of the latent size)"
    complete = trials[trials["state"] == "complete"]
    settled = np.concatenate([complete["units"], tested["units"]])
    if len(settled) and (settled >= full).all():
        return None
    figure, panels = style.parameter_panels(len(shown), f"{y}, last epoch", same_values=True)
    figure.set_figheight(4.6)
    most = np.nanmax([full, 1.0, trials["units"].max(), tested["units"].max()])
    for axes, parameter in zip(panels, shown, strict=True):
        axes.set_ylim(-0.03 * most, 1.12 * most)
        style.whole_ticks(axes.yaxis, 6)
        _draw_units(axes, trials, parameter)
        if parameter.is_choice:
            style.draw_medians(axes, complete["units"], parameter.places(complete))
        else:
            _draw_middle(axes, complete, parameter)
        if math.isfinite(full):
            axes.axhline(full, label="all in use", **style.DASHED)
        if len(tested):
            x = parameter.numbers(parameter.places(tested))
            label = f"by rate, tested ({len(tested)})"
            style.draw_points(
                axes,
                row_names(tested),
                x,
                tested["units"],
                s=44,
                marker="D",
                label=label,
                facecolor="none",
                edgecolor=style.COLOURS[3],
                linewidths=1.6,
                zorder=6,
            )
    style.figure_legend(figure, panels[-1])
    return figure


def _with_units(view: StudyView, trials: pd.DataFrame, units: pd.Series) -> pd.DataFrame:
    """Return the trials with a number of units, in the column `units`; as percent of the latent
    size where that was searched.
    """
    units = units.astype(float)
    if "latent_size" in view.plan.parameters:
        units = (
            100
            * units
            / pd.to_numeric(column(trials, "params.latent_size"), errors="coerce").astype(float)
        )
    return trials.assign(units=units)[np.isfinite(units)]


def _draw_units(axes: Axes, trials: pd.DataFrame, parameter: SearchedParameter) -> None:
    """Draw the units of trials along a parameter, complete ones large."""
    style.style_parameter_axis(axes, parameter, counts_below(trials, parameter))
    active = trials[parameter.places(trials).notna()]
    x, names = jittered(parameter, active), row_names(active)
    for state in style.STATE_COLOURS:
        chosen = active["state"] == state
        shown = state if (trials["state"] == state).any() else None
        size = 30 * style.marker_scale(len(trials)) * (1.0 if state == "complete" else 0.4)
        style.scatter(
            axes, x[chosen], active["units"][chosen], names[chosen], state, size=size, label=shown
        )


def _draw_middle(axes: Axes, complete: pd.DataFrame, parameter: SearchedParameter) -> None:
    """Draw the median along a parameter: at each number where there are few, else in equal parts of
    their range, of which it takes two.
    """
    places = parameter.places(complete).dropna()
    parts = min(GROUPS, len(places) // IN_EACH)
    few = places.nunique() <= min(GROUPS, len(places) / 2)
    if not few and parts < 2:
        return
    groups = places if few else pd.cut(places, parts, labels=False)
    middle = pd.DataFrame({"place": places, "units": complete["units"]}).groupby(groups).median()
    axes.plot(
        parameter.numbers(middle["place"]),
        middle["units"],
        label="median of complete trials",
        color=style.TEXT_COLOUR,
        linewidth=1.8,
        zorder=5,
    )
