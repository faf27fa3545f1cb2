"""What the searched parameters did: how much each mattered, and the value of every trial along each."""

import logging
import math
import warnings

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweeps.results import Results, ranked
from vaeexp.figures.frames import NATS, categories, column, label, search_trials, space, value_text
from vaeexp.figures.plot import Plot
from vaeexp.figures.style import (
    INK,
    STATE_COLOURS,
    crowding,
    dress,
    key_of_panels,
    log_axis,
    new_figure,
    off_scale,
    robust_limits,
    scatter,
    spread,
)

__all__ = ["LEAST_TRIALS", "PLOTS", "effects", "importance", "importances"]

LEAST_TRIALS = 10
"""Complete trials below which an importance would be noise."""


def importances(results: Results) -> dict[str, float]:
    """Share of each searched parameter, most important first, summing to 1.

    Empty with fewer than `LEAST_TRIALS` trials, or when all have one value. A parameter that never varied is left out: it
    cannot have mattered, but PED-ANOVA sees that the trials fill little of its range.

    PED-ANOVA (Watanabe, Bansal and Hutter 2023; with conditions: 2026) on the complete trials: how far the values of a
    parameter among the best trials differ from those among all. The best are a tenth, and at least 5.
    """
    complete = ranked(results)
    if len(complete) < LEAST_TRIALS or complete["value"].nunique() == 1 or not space(results):
        return {}
    import optuna

    # Optuna announces each study that it creates; this one exists for a millisecond.
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        study = optuna.create_study()
        study.add_trials(_frozen_trials(results, complete))
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.1, 5 / len(complete)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(level)
    return dict(sorted(((name, float(share)) for name, share in shares.items()), key=lambda item: (-item[1], item[0])))


def _frozen_trials(results: Results, complete: pd.DataFrame) -> list:
    """The rows as Optuna trials, over the search space of the study and whatever earlier trials had outside it."""
    import optuna

    read = {"float": float, "int": int, "choice": value_text}
    kinds = {"float": optuna.distributions.FloatDistribution, "int": optuna.distributions.IntDistribution}
    columns, distributions = {}, {}
    for name, parameter in space(results).items():
        values = column(complete, f"params.{name}").dropna().map(read[parameter["kind"]])
        if values.nunique() < 2:
            continue
        columns[name] = values.to_dict()
        if parameter["kind"] == "choice":
            distributions[name] = optuna.distributions.CategoricalDistribution(categories(results, name))
        else:
            low, high = min([parameter["low"], *values]), max([parameter["high"], *values])
            distributions[name] = kinds[parameter["kind"]](low=low, high=high, log=bool(parameter.get("log")))
    frozen = []
    for index, value in complete["value"].items():
        given = {name: values[index] for name, values in columns.items() if index in values}
        used = {name: distributions[name] for name in given}
        frozen.append(optuna.trial.create_trial(params=given, distributions=used, value=float(value)))
    return frozen


def importance(results: Results) -> Figure | None:
    """Bars of each parameter's share, the largest on top. None with fewer than `LEAST_TRIALS` complete trials or one parameter."""
    shares = importances(results)
    if len(shares) < 2:
        return None
    figure = new_figure(0.9 + 0.42 * len(shares))
    axes = dress(figure.add_subplot(), x="share of the importance (%)")
    names = list(shares)[::-1]
    heights = [100 * shares[name] for name in names]
    bars = axes.barh([label(name, results) for name in names], heights, color=STATE_COLOURS["complete"], height=0.62)
    axes.bar_label(bars, [f"{height:.0f} %" for height in heights], padding=4, fontsize=10, color=INK)
    axes.set_xlim(0, max(heights) * 1.1)
    axes.grid(visible=False, axis="y")
    return figure


def effects(results: Results) -> Figure | None:
    """One panel per searched parameter: the value of each trial against it, coloured by state. None without a value."""
    trials = search_trials(results)
    scored = trials[trials["value"].notna()]
    names = [name for name in space(results) if column(scored, f"params.{name}").notna().any()]
    if not names:
        return None
    across = min(3, len(names))
    down = math.ceil(len(names) / across)
    figure = new_figure(0.6 + 2.75 * down, width=9.0 if across > 1 else 6.5)
    panels = figure.subplots(down, across, sharey=True, squeeze=False)
    low, high = robust_limits(scored.loc[scored["state"] == "complete", "value"], scored["value"])
    for index, panel in enumerate(panels.flat):
        if index >= len(names):
            panel.set_visible(False)
            continue
        panel.set_ylim(low, high)
        _draw_effect(panel, scored, names[index], results)
    figure.supylabel(NATS, fontsize=11, color=INK)
    key_of_panels(figure, panels.flat[0])
    off_scale(figure, int((scored["value"] > high).sum()))
    return figure


def _draw_effect(axes: Axes, trials: pd.DataFrame, name: str, results: Results) -> None:
    """One parameter: trials as points, on the scale of its search space; categories side by side with their median."""
    parameter = space(results)[name]
    dress(axes, x=label(name, results))
    known = trials[trials[f"params.{name}"].notna()]
    if parameter["kind"] == "choice":
        names = categories(results, name)
        texts = known[f"params.{name}"].map(value_text)
        offsets = pd.Series(spread(len(known)), index=known.index)
        places = texts.map(lambda text: float(names.index(text))) + offsets
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
        _draw_medians(axes, known, texts, names)
    else:
        places = known[f"params.{name}"].astype(float)
        if parameter.get("log"):
            log_axis(axes.xaxis, min(parameter["low"], places.min()), max(parameter["high"], places.max()))
        elif parameter["kind"] == "int":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    for state in STATE_COLOURS:
        chosen = known[known["state"] == state]
        shown = state if (trials["state"] == state).any() else None
        scatter(axes, places[chosen.index], chosen["value"], state, size=30 * crowding(len(trials)), label=shown)


def _draw_medians(axes: Axes, known: pd.DataFrame, texts: pd.Series, names: list[str]) -> None:
    complete = known["state"] == "complete"
    for place, category in enumerate(names):
        values = known.loc[complete & (texts == category), "value"]
        if len(values):
            axes.plot([place - 0.3, place + 0.3], [values.median()] * 2, color=INK, linewidth=2, zorder=5)


def _importance_caption(results: Results) -> str:
    return (
        f"How far the values of a parameter among the best trials differ from those among all {len(ranked(results))} complete "
        "trials (PED-ANOVA), as shares of the sum. With so few trials it is a rough guide, and pruned trials are left "
        "out: a parameter whose bad values were pruned early looks less important than it is."
        if len(ranked(results)) < 100
        else f"How far the values of a parameter among the best trials differ from those among all {len(ranked(results))} "
        "complete trials (PED-ANOVA), as shares of the sum. Pruned trials are left out: a parameter whose bad values were "
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
