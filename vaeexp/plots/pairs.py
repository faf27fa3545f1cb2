"""Matched pairs: runs that share configuration and seed and differ in one parameter."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sweeps.results.rankings import Results, levels, pairs
from sweeps.results.statistics import Interval, interval_of_mean, wilcoxon_p
from vaeexp.plots.style import INK, MUTED, STATE_COLOURS, Plot, dress, new_figure
from vaeexp.results.frames import label, study_seed
from vaeexp.words import format_number, format_value


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two values of a parameter, set against each other."""

    parameter: str
    first: Any
    second: Any
    pairs: pd.DataFrame
    """Complete pairs: of, seed_index, value.<first>, value.<second>, difference (second − first, validation −ELBO)."""
    incomplete: int
    """Pairs that lack a run."""
    interval: Interval
    """Of the mean difference. Over configurations, whose seeds are averaged first; over seeds if there is only one."""
    p: float
    """Of Wilcoxon's signed-rank test on what the interval is over; NaN without pairs."""

    @property
    def configurations(self) -> int:
        return self.pairs["source_trial"].nunique()

    @property
    def settled(self) -> bool:
        """Whether the interval excludes 0."""
        return bool(self.interval.low > 0 or self.interval.high < 0)


def comparisons(results: Results) -> list[Comparison]:
    """The comparison that the study asked for, one for each two values of its parameter; empty without matched pairs."""
    asked = results.study.spec.get("compare") or {}
    if not asked:
        return []
    parameter = asked["parameter"]
    return [_compare(results, parameter, two) for two in itertools.combinations(levels(results, parameter), 2)]


def _compare(results: Results, parameter: str, two: tuple[Any, Any]) -> Comparison:
    table = pairs(results, parameter, two)
    complete = table.dropna(subset=["difference"])
    grouped = complete.groupby("source_trial")["difference"].mean()
    differences = (grouped if len(grouped) > 1 else complete["difference"]).to_numpy(float)
    return Comparison(
        parameter=parameter,
        first=two[0],
        second=two[1],
        pairs=complete,
        incomplete=len(table) - len(complete),
        interval=interval_of_mean(differences, seed=study_seed(results)),
        p=wilcoxon_p(differences),
    )


def paired_differences(results: Results) -> Figure | None:
    """The difference within each matched pair, a row per configuration, and their mean with its interval; 0 is no difference.

    One panel per two values that are compared, at most three. None without a complete pair.
    """
    shown = [comparison for comparison in comparisons(results) if len(comparison.pairs)][:3]
    if not shown:
        return None
    rows = [comparison.configurations + 1 for comparison in shown]
    figure = new_figure(sum(0.95 + 0.36 * count for count in rows))
    panels = figure.subplots(len(shown), 1, squeeze=False, height_ratios=rows)
    for axes, comparison in zip(panels[:, 0], shown, strict=True):
        _draw_differences(axes, comparison)
    return figure


def _draw_differences(axes, comparison: Comparison) -> None:
    first, second = format_value(comparison.first), format_value(comparison.second)
    dress(axes, x=f"validation −ELBO, {second} − {first} (nats per image)")
    axes.axvline(0, color=MUTED, linewidth=1.2)
    names = []
    for row, (of, group) in enumerate(comparison.pairs.groupby("source_trial")):
        axes.scatter(
            group["difference"], np.full(len(group), row), s=42, color=STATE_COLOURS["complete"], linewidths=0, zorder=3
        )
        names.append(f"trial {of}")
    interval, last = comparison.interval, len(names)
    if np.isfinite(interval.low):
        axes.plot([interval.low, interval.high], [last, last], color=INK, linewidth=2.4, zorder=3)
    axes.scatter([interval.mean], [last], s=70, marker="D", color=INK, zorder=4)
    axes.set_yticks(range(last + 1), [*names, "mean"])
    axes.set_ylim(last + 0.6, -0.6)
    reach = (
        max(np.abs([*comparison.pairs["difference"], interval.mean, *np.nan_to_num([interval.low, interval.high])]))
        or 1.0
    )
    axes.set_xlim(-1.15 * reach, 1.15 * reach)
    for place, side, better in ((0.0, "left", second), (1.0, "right", first)):
        axes.text(
            place, 1.02, f"{better} better", transform=axes.transAxes, fontsize=11, color=INK, ha=side, va="bottom"
        )
    axes.text(
        0.5,
        1.02,
        f"{label(comparison.parameter)}, mean {format_number(interval.mean)}",
        transform=axes.transAxes,
        fontsize=10,
        color=MUTED,
        ha="center",
        va="bottom",
    )


PLOTS: dict[str, Plot] = {
    "paired_differences": Plot(
        "Differences within pairs",
        paired_differences,
        "Each point is a pair of runs with the same configuration and seed, a row per configuration; the diamond is the mean "
        "with its 95 % interval.",
        "There is no complete matched pair.",
    ),
}
