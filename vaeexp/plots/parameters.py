"""Plots of the searched parameters: along each the value of each trial and the units in use."""

import math
from collections import Counter
from collections.abc import Collection

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaeexp.plots import style
from vaeexp.results.holes import hole_statement, left_out
from vaeexp.results.parameters import SearchedParameter
from vaeexp.results.statements import Caption, Statement, say
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import column, jitter, row_names
from vaeexp.words import NATS, plural


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
    importances = view.importances
    for panel, parameter in zip(panels, parameters, strict=True):
        panel.set_ylim(low, high)
        _draw_at_epoch(panel, view, view.influence.covered(trials, parameter.name), parameter)
        if parameter.name in importances.index:
            share, least, most = 100 * importances.loc[parameter.name, ["share", "low", "high"]]
            words = f"importance {share:.0f} % ({least:.0f}–{most:.0f})"
            panel.set_xlabel(f"{panel.get_xlabel()}\n{words}")
    panels[0].scatter([], [], **style.STAR, label=winner_words(view))
    style.figure_legend(figure, panels[0])
    style.off_scale(panels[0], trials["value"])
    return figure


def winner_words(view: StudyView) -> str:
    """Return how a legend calls the trial whose configuration won, on fresh seeds where there are
    any.
    """
    role = "winner" if view.confirmed else "best in the search"
    return f"{role}: trial {view.best_number}"


def _draw_at_epoch(
    axes: Axes, view: StudyView, trials: pd.DataFrame, parameter: SearchedParameter
) -> None:
    """Draw the `value` of trials along a parameter, with a star at the winner; choices side
    by side, each with its median and its count.
    """
    active = _along(parameter, trials, trials["value"])
    counts = Counter(active["place"])
    below = [
        plural(counts[place], "trial") if counts[place] else "left out"
        for place in range(len(parameter.texts))
    ]
    style.style_parameter_axis(axes, parameter, below)
    if parameter.is_choice:
        groups = active.groupby("place")["y"]
        medians = groups.median()[groups.size() >= 2]
        ends = medians.index - 0.3, medians.index + 0.3
        axes.hlines(medians, *ends, color=style.TEXT_COLOUR, linewidth=2, zorder=5)
    size = 30 * style.marker_scale(len(trials))
    complete = active["state"] == "complete"
    for state, chosen, words in (
        ("pruned", active[~complete], "stopped there or later"),
        ("complete", active[complete], "trained to the end"),
    ):
        if len(chosen):
            style.scatter(axes, chosen, state, size=size, label=f"{words} ({len(chosen):,})")
    best = active[active["number"] == view.best_number]
    if len(best):
        y = best["y"].clip(upper=axes.get_ylim()[1])
        look = style.STAR | {"s": max(4 * size, 60), "clip_on": False}
        style.draw_points(axes, row_names(best), best["x"], y, **look)


def equal_epochs_caption(view: StudyView) -> Caption:
    """Say at which epoch the trials are compared, which are left out, and what the plot does not
    show.
    """
    epoch, trials = view.influence.at_equal_epochs
    failed = int((view.search["state"] == "failed").sum())
    short = len(view.influence.learned) - len(trials)
    text = (
        "A black bar is the median of two trials or more, where it lies on the scale. The plot "
        "shows which trials lead early: one that learns slowly stands high here and may win at "
        "the end. The other parameters differ between the points, so a trend is not the effect "
        "of one parameter alone."
    )
    counts = {"failed": failed, "short": short}
    not_drawn = [say(f"plot.{name}", **{name: count}) for name, count in counts.items() if count]
    if len(view.importances):
        count = len(view.influence.learned)
        not_drawn.append(say("plot.importance", best=max(5, math.ceil(count / 10)), trials=count))
    return [
        say("plot.epoch", epoch=epoch),
        text,
        *not_drawn,
        *untold(view, view.plan.parameters),
    ]


def _along(parameter: SearchedParameter, trials: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    """Return the trials that have a parameter, with their `place` in it and the point (`x`, `y`) of
    their mark; choices are spread a little, so that trials can be told apart.
    """
    found = trials.assign(place=parameter.places(trials), y=values).dropna(subset="place")
    if parameter.is_choice:
        return found.assign(x=found["place"] + jitter(len(found)))
    return found.assign(x=parameter.numbers(found["place"]))


def untold(view: StudyView, names: Collection[str]) -> list[Statement]:
    """Say which values of these parameters are left out because the search did not cover them, and
    which numbers were tried only with bad values of others.
    """
    left = left_out(view.influence.left_out, names)
    said = [say("left_out", left=left)] if left else []
    holes = view.influence.holes.numbers
    return said + [hole_statement(holes[name]) for name in names if name in holes]


def active_units(view: StudyView) -> Figure | None:
    """Draw the active units of each trial at its last epoch against β and against latent size, one
    panel for each searched; where the latent size varies they are shares of it.

    None where neither was searched, all units of all complete trials are in use, or no trial has
    such a figure.
    """
    trials = view.last_epochs
    units = column(trials, "val/active_units").astype(float)
    y = "active units"
    full = float(view.plan.fixed("latent_size") or math.nan)
    if "latent_size" in view.plan.parameters:
        sizes = pd.to_numeric(column(trials, "params.latent_size"), errors="coerce").astype(float)
        units = 100 * units / sizes
        full = 100.0
        y = "active units (% of the latent size)"
    trials = trials.assign(units=units)[np.isfinite(units)]
    searched = [
        view.plan.parameters[name]
        for name in ("beta", "latent_size")
        if name in view.plan.parameters
    ]
    shown = [parameter for parameter in searched if parameter.of(trials).notna().any()]
    complete = trials.loc[trials["state"] == "complete", "units"]
    if not shown or (len(complete) and (complete >= full).all()):
        return None
    figure, panels = style.parameter_panels(len(shown), f"{y}, last epoch", same_values=True)
    figure.set_figheight(4.6)
    most = np.nanmax([full, 1.0, trials["units"].max()])
    for axes, parameter in zip(panels, shown, strict=True):
        axes.set_ylim(-0.03 * most, 1.12 * most)
        style.whole_ticks(axes.yaxis, 6)
        _draw_units(axes, trials, parameter)
        axes.axhline(full, label="all in use", **style.DASHED)
    style.figure_legend(figure, panels[-1])
    return figure


def _draw_units(axes: Axes, trials: pd.DataFrame, parameter: SearchedParameter) -> None:
    """Draw the units of trials along a parameter, complete ones large."""
    active = _along(parameter, trials, trials["units"])
    style.style_parameter_axis(axes, parameter, [""] * len(parameter.texts))
    for state in style.STATE_COLOURS:
        shown = state if (trials["state"] == state).any() else None
        size = 30 * style.marker_scale(len(trials)) * (1.0 if state == "complete" else 0.4)
        style.scatter(axes, active[active["state"] == state], state, size=size, label=shown)
