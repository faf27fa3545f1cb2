"""The rate–distortion plane (Alemi et al. 2018, "Fixing a Broken ELBO"): what β really chooses; and the latent units in use."""

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweeps.results.front import front
from vaeexp.evaluation.metrics import METRICS
from vaeexp.plots import style
from vaeexp.plots.confirmed import comparable
from vaeexp.plots.parameters import counts_below, jittered
from vaeexp.results.parameters import SearchedParameter
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import column, row_names
from vaeexp.results.tested_settings import TestedSetting
from vaeexp.words import format_number, parameter_label

GROUPS = 10
"""Numbers whose median is drawn for each by itself; of more the medians of parts of their range, at most so many."""
IN_EACH = 5
"""Trials that such a part has on average, because a median of fewer lies between two marks and shows neither."""
UNITS = "units"
"""Column of what is drawn: a number of latent dimensions, or their share in percent."""

SCORED_AT_ONE = (
    "Models are scored by the −ELBO at β = 1, which is what training at β = 1 minimises. So a best β near 1 follows from the score, "
    "and says nothing of samples or reconstructions."
)
"""Stands once in a report whose study searches β."""
FONT = 11
"""Of the words beside the best trial."""
LONGEST = 34
"""Characters of a line of a name in a legend."""
CONDITIONS = ("generated", "images")
"""What two values of FID must share to be compared."""
NEAR = 6
"""Room around these words, in 1/72 inch."""
ASIDE = 26
"""From the best trial to the words beside this trial, in 1/72 inch."""


def rate_distortion(view: StudyView) -> Figure | None:
    """Draw each trial's rate and distortion at its last epoch (large: complete), coloured by β, with lines of equal −ELBO and the frontier; lower left is better.

    None when no trial has finished an epoch.
    """
    trials = view.points
    if trials.empty:
        return None
    figure = style.new_figure(5.4)
    axes = style.style_axes(
        figure.add_subplot(),
        x="rate: KL(q(z|x) ‖ p(z)) (nats per image)",
        y="distortion: −E log p(x|z) (nats per image)",
    )
    rate, distortion = trials["val/rate"].to_numpy(float), trials["val/distortion"].to_numpy(float)
    # A wide reach: that a small β buys distortion at a rate of hundreds of nats is what the plane is there to show.
    bottom, top = style.robust_limits(distortion[trials["state"] == "complete"], distortion, reach=6)
    _, right = style.robust_limits(rate[distortion <= top], rate[distortion <= top], reach=6)
    left = min(0.0, float(rate.min()))
    axes.set(xlim=(left - 0.02 * (right - left), right + 0.04 * (right - left)), ylim=(bottom, top))
    draw_equal_lines(axes)
    # A pruned trial would not have stayed where it was stopped.
    complete = (trials["state"] == "complete").to_numpy()
    best = front(np.stack([rate, distortion], axis=1)[complete])
    axes.plot(rate[complete][best], distortion[complete][best], color=style.MUTED, linewidth=1.4, zorder=2)
    _draw_trials(figure, axes, view)
    _name_best(axes, trials)
    hidden = int(((rate > right) | (distortion > top)).sum())
    if hidden:
        style.note(axes, f"{hidden} {'trial lies' if hidden == 1 else 'trials lie'} outside these axes")
    return figure


def fid_against_elbo(view: StudyView) -> Figure | None:
    """Draw FID against −ELBO on test, a point for each run of the confirmed configurations and comparable baselines.

    Only runs whose FID is of as many samples and test images as that of the first. None without two such runs.
    """
    drawn = _with_fid(view)
    if sum(len(runs) for _, runs in drawn) < 2:
        return None
    figure = style.new_figure(4.8)
    fid = METRICS["fid"]
    axes = style.style_axes(figure.add_subplot(), x="test −ELBO (nats per image)", y=f"test {fid.label}, {fid.unit}")
    for index, (setting, runs) in enumerate(drawn):
        colour, marker = style.COLOURS[index % len(style.COLOURS)], "osD^vP*"[index % 7]
        look: dict[str, Any] = {"color": colour, "marker": marker, "s": 56, "linewidths": 0, "zorder": 3, "alpha": 0.9}
        label = f"{style.two_lines(setting.title, LONGEST)} (n = {len(runs)})"
        points = axes.scatter(
            runs["result.test/neg_elbo"].astype(float), runs["result.test/fid"].astype(float), label=label, **look
        )
        style.mark_trials(points, row_names(runs))
    axes.margins(0.08)
    style.legend(axes, columns=3)
    return figure


def _with_fid(view: StudyView) -> list[tuple[TestedSetting, pd.DataFrame]]:
    """Return comparable configurations with their runs that have both figures, under the conditions of the first such run."""
    drawn: list[tuple[TestedSetting, pd.DataFrame]] = []
    conditions = None
    for setting, *_ in comparable(view):
        figures = pd.DataFrame(
            {name: column(setting.runs, f"result.test/{name}") for name in ("neg_elbo", "fid", *CONDITIONS)}
        )
        runs, figures = setting.runs[figures.notna().all(axis=1)], figures.dropna()
        if conditions is None and len(figures):
            conditions = figures[[*CONDITIONS]].iloc[0]
        if conditions is not None and (alike := (figures[[*CONDITIONS]] == conditions).all(axis=1)).any():
            drawn.append((setting, runs[alike]))
    return drawn


def rate_distortion_caption(view: StudyView) -> str:
    """Say how to read the plane; where β was searched, what the score of the models prefers."""
    text = (
        "Each trial at its last epoch (large: complete), because that is the model which its β trained; lower left is better, "
        "along a dashed line the −ELBO is the same. The grey line joins the complete trials that no other beats in both rate and distortion. "
        "Small open marks trained fewer epochs, so their places do not compare with those of complete trials."
    )
    return f"{text} {SCORED_AT_ONE}" if "beta" in view.parameters else text


def _draw_trials(figure: Figure, axes: Axes, view: StudyView) -> None:
    """Draw complete trials as large points, all others as small open ones; the colour is β where the study searched it."""
    trials, beta = view.points, view.parameters.get("beta")
    betas = pd.to_numeric(column(trials, "params.beta"), errors="coerce").fillna(view.fixed("beta") or math.nan)
    scale = None
    if beta is not None and (betas > 0).all() and betas.nunique() > 1:
        # Over the searched range, so that reports of one study share their colours; wider where a trial lies outside.
        ends = [] if beta.is_choice else [end for end in (beta.low, beta.high) if end]
        scale = LogNorm(min(betas.min(), *ends, math.inf), max(betas.max(), *ends, 0.0))
    small = style.marker_scale(len(trials))
    for complete, size in ((False, 26), (True, 74)):
        chosen = trials[(trials["state"] == "complete") == complete]
        seen = chosen[style.within(axes, chosen[["val/rate", "val/distortion"]].to_numpy(float))]
        x, y = seen["val/rate"], seen["val/distortion"]
        colours: dict[str, Any] = {"c": betas[seen.index], "norm": scale, "cmap": "viridis"}
        if scale is None:
            colours = {"color": style.STATE_COLOURS["complete"]}
        if len(chosen):
            points = axes.scatter(x, y, s=size * small, zorder=4 if complete else 3, **colours)
            style.mark_trials(points, row_names(seen))
            if complete:
                points.set(edgecolor=style.TEXT_COLOUR, linewidth=0.5 * small)
            else:
                edge = None if scale is not None else style.STATE_COLOURS["complete"]
                points.set(facecolor="none", edgecolor=edge, linewidth=1.4 * small**0.5)
            label = "complete" if complete else "not complete, value reached"
            shape: dict[str, Any] = {"s": 40, "edgecolor": style.MUTED, "label": f"{label} ({len(chosen):,})"}
            axes.scatter([], [], facecolor=style.MUTED if complete else "none", **shape)
    style.legend(axes)
    if scale is not None:
        bar = style.colour_bar(figure, axes, ScalarMappable(norm=scale, cmap="viridis"))
        bar.set_ylabel(parameter_label("beta"), fontsize=12, color=style.TEXT_COLOUR, rotation=0, labelpad=8)
        style.log_ticks(bar.yaxis, *bar.get_ylim())


def draw_equal_lines(axes: Axes) -> None:
    """Draw lines rate + distortion = constant, with their −ELBO where they meet the lower or the right edge."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for level in MaxNLocator(nbins=9, steps=[1, 2, 3, 5, 10], integer=True).tick_values(left + bottom, right + top):
        ends = sorted((x, level - x) for x in {left, right, level - bottom, level - top} if left <= x <= right)
        inside = [(x, y) for x, y in ends if bottom - 1e-9 <= y <= top + 1e-9]
        if len(inside) < 2 or inside[0] == inside[-1]:
            continue
        (start_x, start_y), (x, y) = inside[0], inside[-1]
        axes.plot([start_x, x], [start_y, y], color="#c9c9c9", linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        if y <= top - 0.08 * (top - bottom) and x >= left + 0.12 * (right - left):
            look: dict[str, Any] = {"colour": style.MUTED, "ha": "right", "va": "bottom", "boxed": True, "zorder": 1}
            style.annotate(axes, f"−ELBO {level:,.0f}", (x, y), (-4 if x > right - 1e-9 else 2, 4), **look)


def _name_best(axes: Axes, trials: pd.DataFrame) -> None:
    complete = trials[(trials["state"] == "complete") & trials["objective"].notna()]
    if complete.empty:
        return
    best = complete.nsmallest(1, "objective").iloc[0]
    at = best["val/rate"], best["val/distortion"]
    here = format_number(best["val/rate"] + best["val/distortion"])
    text = f"lowest: trial {best['number']}, {here}"
    if best["epoch"] != best["best_epoch"]:
        text += f" ({format_number(best['objective'])} at epoch {best['best_epoch']})"
    line = {"arrowstyle": "-", "color": style.TEXT_COLOUR, "linewidth": 0.9, "shrinkB": 5}
    look: dict[str, Any] = {"va": "baseline", "boxed": True, "fontsize": FONT, "arrowprops": line}
    offset = _free_place(axes, trials[["val/rate", "val/distortion"]].to_numpy(float), at, text)
    style.annotate(axes, text, at, offset, ha="left", **look)


def _free_place(axes: Axes, points: np.ndarray, at: tuple[float, float], text: str) -> tuple[float, float]:
    """Return the offset from `at`, in 1/72 inch, at which words lie within the axes.

    Of nine places, this place has the words and their line cover the fewest of the points [N, 2] and of the words already drawn.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)  # without a layout, the axes have another size
    frame = axes.get_window_extent()
    inch = 72 / figure.dpi
    scaled = (axes.transData.transform(points) - frame.min) * inch
    best = (axes.transData.transform(at) - frame.min) * inch
    others = [(found.get_window_extent().get_points() - frame.min) * inch for found in axes.texts]
    words = axes.text(0, 0, text, fontsize=FONT)
    size = np.array([words.get_window_extent().width * inch, FONT])
    words.remove()
    across, up = np.array(frame.size) * inch

    def cost(offset: tuple[float, float]) -> int:
        corner = best + offset - NEAR
        opposite = corner + size + 2 * NEAR
        covered = ((scaled > corner) & (scaled < opposite)).all(axis=1)
        line = (corner + opposite) / 2 - best
        foot = best + np.clip((scaled - best) @ line / (line @ line), 0, 1)[:, None] * line
        crossed = (np.hypot(*(scaled - foot).T) < NEAR) & (np.hypot(*(scaled - best).T) > NEAR)
        overlaps = sum(bool((low < opposite).all() and (high > corner).all()) for low, high in others)
        outside = corner[1] < 0 or opposite[1] > up
        return int((covered | crossed).sum()) + overlaps + (len(points) + len(others)) * int(outside)

    ends = NEAR - best[0], max(NEAR, across - size[0] - NEAR) - best[0]
    sides = [float(np.clip(side, *ends)) for side in (ASIDE, -ASIDE - size[0], -size[0] / 2)]
    return min(itertools.product(sides, (30, -36, 60)), key=cost)


def active_units(view: StudyView) -> Figure | None:
    """Draw the active units of each trial at its last epoch against β and against latent size, one panel for each searched.

    Where the latent size varies they are shares of it. Dimensions whose rate is above the threshold stand beside them for
    tested runs. None where neither was searched, no trial has such a figure, or all units of all complete trials and tested runs are in use.
    """
    searched = [view.parameters[name] for name in ("beta", "latent_size") if name in view.parameters]
    shares = "latent_size" in view.parameters
    trials, tested = _in_use(view, shares=shares), _used_by_rate(view, shares=shares)
    shown = [parameter for parameter in searched if parameter.of(trials).notna().any()]
    if not shown:
        return None
    latent = view.fixed("latent_size")
    full = 100.0 if shares else float(latent) if isinstance(latent, int) else math.nan
    settled = pd.concat([trials.loc[trials["state"] == "complete", UNITS], tested[UNITS]])
    if len(settled) and (settled >= full).all():
        return None
    figure, panels = style.parameter_panels(len(shown), same_values=True)
    figure.set_figheight(4.6)
    most = np.nanmax([full, 1.0, trials[UNITS].max(), tested[UNITS].max()])
    for axes, parameter in zip(panels, shown, strict=True):
        axes.set_ylim(-0.03 * most, 1.12 * most)
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        _draw_units(axes, trials, parameter)
        if not parameter.is_choice:
            _draw_medians(axes, trials[trials["state"] == "complete"], parameter)
        if math.isfinite(full):
            axes.axhline(full, label="all in use", **style.DASHED)
        if len(tested):
            positions = parameter.numbers(parameter.places(tested))
            look: dict[str, Any] = {
                "marker": "D",
                "facecolor": "none",
                "edgecolor": style.COLOURS[3],
                "linewidths": 1.6,
            }
            points = axes.scatter(
                positions, tested[UNITS], s=44, zorder=6, label=f"by rate, tested ({len(tested)})", **look
            )
            style.mark_trials(points, row_names(tested))
    unit = "active units (% of the latent size)" if shares else "active units"
    figure.supylabel(f"{unit}, last epoch", fontsize=11, color=style.TEXT_COLOUR)
    style.figure_legend(figure, panels[-1])
    return figure


def _in_use(view: StudyView, *, shares: bool) -> pd.DataFrame:
    """Return the trials of the search whose active units at the last epoch are known, with these as the column `UNITS`."""
    trials = view.last_epochs
    units = column(trials, "val/active_units").astype(float)
    return _as_shares(trials.assign(**{UNITS: units}), shares=shares)


def _used_by_rate(view: StudyView, *, shares: bool) -> pd.DataFrame:
    """Return the runs that confirm whose dimensions by rate were recorded, at the last epoch where that was tested."""
    runs = view.confirm_runs
    at_best = column(runs, "result.test/used_dimensions").astype(float)
    used = column(runs, "result.test_last/used_dimensions").astype(float).fillna(at_best)
    return _as_shares(runs.assign(**{UNITS: used}), shares=shares)


def _as_shares(trials: pd.DataFrame, *, shares: bool) -> pd.DataFrame:
    """Return the rows with a number of units; as percent of the searched latent size where these are to be shares."""
    if shares:
        sizes = pd.to_numeric(column(trials, "params.latent_size"), errors="coerce").astype(float)
        trials = trials.assign(**{UNITS: 100 * trials[UNITS] / sizes})
    return trials[np.isfinite(trials[UNITS].to_numpy(float))]


def _draw_units(axes: Axes, trials: pd.DataFrame, parameter: SearchedParameter) -> None:
    """Draw the units of trials along a parameter, complete ones large; choices side by side, each with the median of its complete trials."""
    below = counts_below(trials, parameter) if parameter.is_choice else ()
    style.style_parameter_axis(style.style_axes(axes), parameter, below)
    active = trials[parameter.places(trials).notna()]
    if parameter.is_choice:
        complete = active[active["state"] == "complete"]
        medians = complete[UNITS].groupby(parameter.places(complete)).median()
        axes.hlines(medians, medians.index - 0.3, medians.index + 0.3, color=style.TEXT_COLOUR, linewidth=2, zorder=5)
    x, names = jittered(parameter, active), row_names(active)
    for state in style.STATE_COLOURS:
        chosen = active["state"] == state
        shown = state if (trials["state"] == state).any() else None
        size = 30 * style.marker_scale(len(trials)) * (1.0 if state == "complete" else 0.4)
        style.scatter(axes, x[chosen], active.loc[chosen, UNITS], names[chosen], state, size=size, label=shown)


def _draw_medians(axes: Axes, complete: pd.DataFrame, parameter: SearchedParameter) -> None:
    """Draw the median along a parameter: at each number where there are few, else in equal parts of their range, of which it takes two."""
    places = parameter.places(complete).dropna()
    parts = min(GROUPS, len(places) // IN_EACH)
    few = places.nunique() <= min(GROUPS, len(places) / 2)
    if not few and parts < 2:
        return
    groups = places if few else pd.cut(places, parts, labels=False)
    middle = pd.DataFrame({"place": places, "units": complete[UNITS]}).groupby(groups).median()
    look: dict[str, Any] = {"color": style.TEXT_COLOUR, "linewidth": 1.8, "zorder": 5}
    axes.plot(parameter.numbers(middle["place"]), middle["units"], label="median of complete trials", **look)
