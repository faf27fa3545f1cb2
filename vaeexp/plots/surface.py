"""What a forest of randomised trees predicts along one searched parameter, and over two of them.

Extremely randomised trees (Geurts, Ernst and Wehenkel 2006), in small bags of which each saw its own bootstrap resample
of the trials: the spread over bags is the sampling error of the whole (Sexton and Laake 2009).
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from sweeps.results.rankings import Results, ranked
from vaeexp.plots.axis import ParameterAxis, dress_parameter, parameter_axis, parameter_panels
from vaeexp.plots.parameters import LEAST_TRIALS, importances
from vaeexp.plots.style import (
    BEST,
    INK,
    MUTED,
    STATE_COLOURS,
    Plot,
    crowding,
    dress,
    new_figure,
    note,
    robust_limits,
    spread,
)
from vaeexp.results.frames import label, space, study_seed
from vaeexp.words import NATS, format_number, format_value

_MOST_TRIALS = 2000
_BAGS = 24
_TREES = 4
_NOT_ACTIVE = -1.0


@dataclass(frozen=True)
class Forest:
    """A fitted model of validation −ELBO."""

    axes: Mapping[str, ParameterAxis]
    """The parameters, the most important first."""
    places: pd.DataFrame
    """The trials that it learned from, best first: where they stand on each axis."""
    values: np.ndarray
    """Their validation −ELBO, those above `ceiling` set to it: [N]."""
    ceiling: float
    """Tukey's outer fence; without one, the diverged trials would be all that a tree learns."""
    capped: int
    """Trials above it."""
    r2: float
    """Share of the variance that it explains in trials which its trees have not seen."""
    bags: Sequence
    """Fitted models, each of its own resample."""
    conditions: Mapping[str, Mapping[str, list[float]]]
    """Parameter → parent → places of the parent under which it is active."""


def grow_forest(results: Results) -> Forest | None:
    """The model of this study; None where `importances` has none.

    Learned from the complete trials, from 2,000 of them drawn at random where there are more.
    """
    axes = {name: parameter_axis(results, name) for name in importances(results)}
    if not axes:
        return None
    complete = ranked(results)
    ceiling = robust_limits(complete["objective"], reach=3, margin=0)[1]
    seed = study_seed(results)
    if len(complete) > _MOST_TRIALS:
        chosen = np.random.default_rng(seed).choice(len(complete), _MOST_TRIALS, replace=False)
        complete = complete.iloc[np.sort(chosen)].reset_index(drop=True)
    places = pd.DataFrame({name: axis.places(complete) for name, axis in axes.items()})
    capped = int((complete["objective"] > ceiling).sum())
    values = complete["objective"].clip(upper=ceiling).to_numpy(float)
    design = np.ascontiguousarray(places.fillna(_NOT_ACTIVE).to_numpy(float))
    bags, r2 = _bags(design.tobytes(), len(axes), values.tobytes(), seed)
    return Forest(axes, places, values, ceiling, capped, r2, bags, _conditions(results, axes))


@functools.lru_cache(maxsize=1)
def _bags(design: bytes, width: int, values: bytes, seed: int) -> tuple[tuple, float]:
    """The bags and their R² on trials out of the bag. The last is kept: several figures and captions ask for it in turn."""
    from sklearn.ensemble import ExtraTreesRegressor

    x, y = np.frombuffer(design).reshape(-1, width), np.frombuffer(values)
    random = np.random.default_rng(seed)
    bags, sums, counts = [], np.zeros(len(y)), np.zeros(len(y))
    for bag in range(_BAGS):
        drawn = random.integers(len(y), size=len(y))
        model = ExtraTreesRegressor(_TREES, min_samples_leaf=2, random_state=(seed + bag) % 2**32)
        bags.append(model.fit(x[drawn], y[drawn]))
        out = np.setdiff1d(np.arange(len(y)), drawn)
        if len(out):
            sums[out] += model.predict(x[out])
            counts[out] += 1
    known = counts > 0
    error = np.mean((sums[known] / counts[known] - y[known]) ** 2)
    return tuple(bags), float(1 - error / y[known].var()) if y[known].var() else 0.0


def _conditions(results: Results, axes: Mapping[str, ParameterAxis]) -> dict[str, dict[str, list[float]]]:
    """Of the parameters that are searched under a condition, with the parents that the model knows; parents come first."""
    found = {}
    for name in (name for name in space(results) if name in axes):
        when = space(results)[name].get("when") or {}
        wanted = {parent: pd.DataFrame({f"params.{parent}": list(values)}) for parent, values in when.items()}
        parents = {
            parent: axes[parent].places(frame).dropna().tolist() for parent, frame in wanted.items() if parent in axes
        }
        found |= {name: parents} if parents else {}
    return found


def expected(forest: Forest, axes: Mapping[str, np.ndarray], *, over: int = 100) -> np.ndarray:
    """Partial dependence (Friedman 2001) of each bag: [B, G], or [B, G, H] for two parameters.

    The expected validation −ELBO at each place of `axes` (parameter → places), over the other settings of the trials in
    which these parameters are active, `over` of them evenly spread in rank. Parameters whose condition then fails are
    put out of use; those whose condition then holds take values of the trials that have them.
    """
    known = forest.places.dropna(subset=list(axes))
    rows = known.iloc[np.unique(np.linspace(0, len(known) - 1, over).round().astype(int))]
    grid = np.stack([part.ravel() for part in np.meshgrid(*axes.values(), indexing="ij")], axis=1)
    design = pd.DataFrame(np.tile(rows.to_numpy(), (len(grid), 1)), columns=rows.columns)
    for name, places in zip(axes, grid.T, strict=True):
        design[name] = np.repeat(places, len(rows))
    turns = np.array(spread(len(rows), 1.0)) + 0.5
    for name, parents in forest.conditions.items():
        others = forest.places[name].dropna().to_numpy()
        if name not in axes and len(others):
            holds = np.logical_and.reduce([design[parent].isin(wanted) for parent, wanted in parents.items()])
            spare = np.tile(others[(turns * len(others)).astype(int)], len(grid))
            design[name] = np.where(holds, design[name].fillna(pd.Series(spare)), np.nan)
    filled = design.fillna(_NOT_ACTIVE).to_numpy(float)
    means = np.stack([bag.predict(filled).reshape(len(grid), len(rows)).mean(axis=1) for bag in forest.bags])
    return means.reshape(len(forest.bags), *(len(part) for part in axes.values()))


MOST_PANELS = 9
UNTRIED = "#f0f0f0"
LOW_R2 = 0.5
"""Share of the variance below which a reader is told not to trust the numbers."""


def partial_dependence(results: Results) -> Figure | None:
    """One panel per searched parameter, the most important first: the expected value along it, averaged over the others.

    None with fewer than `LEAST_TRIALS` complete trials, or when they have one value.
    """
    forest = grow_forest(results)
    names = [] if forest is None else [name for name in forest.axes if forest.places[name].nunique() > 1][:MOST_PANELS]
    if not names:
        return None
    figure, panels = parameter_panels(len(names), same_values=False)
    for panel, name in zip(panels, names, strict=True):
        _draw_dependence(panel, forest, name, label(name, results))
    figure.supylabel(f"expected {NATS}", fontsize=11, color=INK)
    return figure


def _draw_dependence(axes: Axes, forest: Forest, name: str, text: str) -> None:
    """One parameter: the mean over the bags with its 95 % interval, and where the trials are."""
    parameter, places = forest.axes[name], forest.places[name].dropna()
    grid = parameter.grid(places, 25)
    bags = expected(forest, {name: grid})
    mean = bags.mean(axis=0)
    # The bags differ most in their height, which says nothing about this parameter.
    half = 1.96 * (bags - bags.mean(axis=1, keepdims=True)).std(axis=0, ddof=1)
    x, colour = parameter.values(grid), STATE_COLOURS["complete"]
    dress_parameter(dress(axes).xaxis, parameter, text)
    if parameter.kind == "choice":
        axes.errorbar(x, mean, half, fmt="o", color=colour, markersize=8, elinewidth=2)
        axes.margins(y=0.2)
        below = {"transform": axes.get_xaxis_transform(), "fontsize": 10, "color": MUTED, "ha": "center"}
        for place, count in places.value_counts().items():
            axes.text(place, 0.045, f"{count:,}", bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5}, **below)
    else:
        axes.fill_between(x, mean - half, mean + half, color=colour, alpha=0.18, linewidth=0)
        axes.plot(x, mean, color=colour, linewidth=2.2)
        axes.margins(y=0.1)
        # A tick for each trial along the lower edge: where there are few, the line is a guess.
        style = {"marker": "|", "s": 60, "color": MUTED, "linewidths": 0.8, "alpha": 0.6 * crowding(len(places)) ** 0.7}
        axes.scatter(
            parameter.values(places), np.full(len(places), 0.02), transform=axes.get_xaxis_transform(), **style
        )
    lowest, highest = int(mean.argmin()), int(mean.argmax())
    note(axes, f"spans {format_number(mean[highest] - mean[lowest], 1)} nats")
    differences = bags[:, highest] - bags[:, lowest]
    if differences.mean() > 1.96 * differences.std(ddof=1):
        axes.plot(x[lowest], mean[lowest], marker="o", markersize=8, color=BEST, zorder=5)
        if parameter.kind != "choice":
            text = format_value(float(f"{x[lowest]:.2g}") if parameter.kind == "float" else round(x[lowest]))
            beside = {"textcoords": "offset points", "fontsize": 10, "color": BEST, "ha": "center", "va": "bottom"}
            axes.annotate(text, (x[lowest], mean[lowest]), (0, 8), **beside)


def contour(results: Results) -> Figure | None:
    """The expected value over the two most important numeric parameters, with the complete trials on it.

    None with fewer than two of them, or fewer than `LEAST_TRIALS` complete trials that have both.
    """
    forest = grow_forest(results)
    pair = None if forest is None else _numeric_pair(forest)
    if pair is None:
        return None
    grids = {name: forest.axes[name].grid(forest.places[list(pair)].dropna()[name], 32) for name in pair}
    surface = expected(forest, grids, over=50).mean(axis=0).T
    figure = new_figure(5.6)
    axes = dress(figure.add_subplot())
    for name, side in zip(pair, (axes.xaxis, axes.yaxis), strict=True):
        dress_parameter(side, forest.axes[name], label(name, results))
    for name, limit in zip(pair, (axes.set_xlim, axes.set_ylim), strict=True):
        limit(forest.axes[name].low, forest.axes[name].high)
    axes.grid(visible=False)
    axes.set_facecolor(UNTRIED)
    # Narrower steps towards the best, where the differences matter.
    levels = surface.min() + np.linspace(0, 1, 15) ** 2 * (surface.max() - surface.min())
    shades = {"norm": PowerNorm(0.5, levels[0], levels[-1]), "cmap": "viridis"}
    x, y = (forest.axes[name].values(grids[name]) for name in pair)
    axes.contourf(x, y, surface, levels, **shades)
    axes.contour(x, y, surface, levels, colors="white", linewidths=0.5, alpha=0.5)
    _draw_points(axes, forest, pair, shades)
    _mark_best(axes, forest, pair, results)
    bar = figure.colorbar(ScalarMappable(**shades), ax=axes, pad=0.02, aspect=30, extend="both")
    bar.set_label(f"expected {NATS}", fontsize=11, color=INK)
    bar.set_ticks(
        levels[::2], labels=[format_number(level, 0 if levels[2] - levels[0] > 0.5 else 1) for level in levels[::2]]
    )
    bar.ax.tick_params(labelsize=10, colors=INK)
    bar.outline.set_visible(False)
    return figure


def _numeric_pair(forest: Forest) -> tuple[str, str] | None:
    """The first two numeric parameters by importance that enough trials have together."""
    numeric = [name for name, parameter in forest.axes.items() if parameter.kind != "choice"]
    for pair in itertools.combinations(numeric, 2):
        both = forest.places[list(pair)].dropna()
        if len(both) >= LEAST_TRIALS and (both.nunique() > 1).all():
            return pair
    return None


def _draw_points(axes: Axes, forest: Forest, pair: tuple[str, str], shades: dict) -> None:
    both = forest.places[list(pair)].dropna().iloc[::-1]
    x, y = (forest.axes[name].values(both[name]) for name in pair)
    small = crowding(len(both))
    edge = {"edgecolors": "white", "linewidths": max(0.25, 0.9 * small), "clip_on": False}
    axes.scatter(x, y, c=forest.values[both.index], s=max(9, 55 * small), **shades, **edge, zorder=3)


def _mark_best(axes: Axes, forest: Forest, pair: tuple[str, str], results: Results) -> None:
    best: pd.DataFrame = ranked(results).head(1)
    x, y = (float(forest.axes[name].values(forest.axes[name].places(best).iloc[0])) for name in pair)
    if not np.isfinite([x, y]).all():
        return
    axes.scatter([x], [y], s=190, marker="*", color="white", edgecolors=INK, linewidths=1, zorder=5)
    right = forest.axes[pair[0]].places(best).iloc[0] > 0.7
    axes.annotate(
        f"best: trial {best['number'].iloc[0]}, {format_number(best['objective'].iloc[0])}", (x, y),
        (-12 if right else 12, 0), textcoords="offset points", fontsize=10, color=INK, zorder=6,
        ha="right" if right else "left", va="center",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2},
    )  # fmt: skip


def _model(results: Results) -> str:
    """Which model stands behind these figures, and how far to trust it."""
    forest = grow_forest(results)
    if forest is None:
        return ""
    words = f"The model is a forest of randomised trees on {len(forest.values):,} complete trials (pruned ones are not counted)"
    if forest.capped == 1:
        words += f"; the value above {format_number(forest.ceiling, 0)} counts as that"
    elif forest.capped:
        words += f"; the {forest.capped:,} values above {format_number(forest.ceiling, 0)} count as that"
    if forest.r2 < LOW_R2:
        words += (
            f". It explains little of trials that its trees have not seen (out-of-bag R² {format_number(forest.r2)}): read tendencies "
            "from it, not numbers"
        )
    return words + "."


PLOTS: dict[str, Plot] = {
    "partial_dependence": Plot(
        "Partial dependence",
        partial_dependence,
        lambda results: (
            "The value to expect along each parameter, the others averaged over the trials that have it; the most important "
            "first, each on its own scale. Bands are 95 % intervals of the shape, its mean height held fixed. Along the lower "
            "edge are the trials, for choices their number; a green point is the lowest, where the bands tell it from the "
            f"highest. {_model(results)}"
        ),
        f"It takes {LEAST_TRIALS} complete trials of different value.",
    ),
    "contour": Plot(
        "The two most important numeric parameters",
        contour,
        lambda results: (
            "The value to expect of two parameters together, the others averaged over, in finer steps towards the best. Points "
            "are the complete trials in the same colours; by its other settings a trial may be better than its place. Grey was "
            f"not tried, and far from the points the surface is a guess. {_model(results)}"
        ),
        f"It takes two numeric parameters and {LEAST_TRIALS} complete trials of different value that have both.",
    ),
}
