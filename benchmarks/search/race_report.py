"""The report of a race: a table of trial-epochs to both targets, and pictures of regret against
trial-epochs.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from grading import (
    DEVIATIONS,
    FORMER,
    Result,
    above_least,
    influences,
    mean_of,
    median_regret,
    paired_epochs,
    ratio,
    ratio_of,
    restricted_mean,
    seed_share,
)
from methods import DEFAULT, METHODS, OURS, REFERENCE
from surrogate import SURROGATES
from table import markdown

from vaeexp.plots.style import (
    BOX,
    DASHED,
    annotate,
    framed,
    line_style,
    log_axis,
    log_ticks,
    new_figure,
    note,
    save,
    side_legend,
    style_axes,
)

__all__ = ["draw_regrets", "report", "write_report"]

_POINTS = 60
"""Numbers of trial-epochs at which a curve is drawn."""
Groups = Mapping[str, Mapping[int, Mapping[str, Sequence[Result]]]]
"""Space → lanes → method → its results."""
Influences = tuple[np.ndarray, list[int]]
"""Of each repeat, and the half-sample that it saw."""
SECTIONS = {"process": "Gaussian process", "trees": "Extra trees", FORMER: "Former referee"}
"""Surrogate → title of its results."""


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Parts of the variance between repeats that are the luck of the table's seeds
    (`grading.seed_share`).
    """

    mean: float = 0.0
    """Of means of trial-epochs."""
    ratio: float = 0.0
    """Of ratios to the default search."""

    @classmethod
    def of(cls, results: Sequence[Result]) -> "Shares":
        """Return the shares of all searches to both targets, all spaces and surrogates alike."""
        means, ratios = [], []
        for surrogate in SURROGATES:
            own = grouped([result for result in results if result.surrogate == surrogate])
            for methods in (methods for by_lanes in own.values() for methods in by_lanes.values()):
                for method, target in itertools.product(methods, DEVIATIONS):
                    means.append(_influences_of_mean(methods[method], target))
                    if method != DEFAULT and _of_both(methods.get(DEFAULT, ()), methods[method])[0]:
                        ratios.append(
                            _influences_of_ratio(methods[DEFAULT], methods[method], target)
                        )
        return cls(mean=seed_share(means), ratio=seed_share(ratios))


def write_report(results: Sequence[Result], out: Path) -> None:
    """Write `search-tables.md`, and `search-A.png` for each space that has results of the present
    referee.
    """
    out.mkdir(parents=True, exist_ok=True)
    page = report(results)
    (out / "search-tables.md").write_text(page, encoding="utf-8")
    print(page)
    raced = {result.method for result in results if result.surrogate != FORMER}
    styles = {
        method: line_style(place)
        for place, method in enumerate(name for name in METHODS if name in raced)
    }
    for space, panels in _panels(above_least(results)).items():
        draw_regrets(space, panels, styles, out)


def grouped(results: Sequence[Result]) -> Groups:
    """Return results by space, by lanes and by method, spaces and lanes in rising order, methods in
    the order of `METHODS`.
    """
    place = {method: number for number, method in enumerate(METHODS)}
    groups: dict[str, dict[int, dict[str, list[Result]]]] = {}
    for result in sorted(results, key=lambda r: (r.space, r.lanes, place[r.method], r.repeat)):
        by_lanes = groups.setdefault(result.space, {})
        by_lanes.setdefault(result.lanes, {}).setdefault(result.method, []).append(result)
    return groups


def report(results: Sequence[Result]) -> str:
    """Return the page: for each surrogate all spaces side by side and every table of a space, then
    the pictures, then the same of the former referee.
    """
    results = above_least(results)
    of_surrogate = {
        name: [result for result in results if result.surrogate == name] for name in SECTIONS
    }
    present = [result for name in SURROGATES for result in of_surrogate[name]]
    shares = Shares.of(present)
    parts = ["# Search: every table", _RULES]
    for name in SURROGATES:
        if own := of_surrogate[name]:
            parts += [
                f"## {SECTIONS[name]}",
                *_section(SECTIONS[name], grouped(own), DEVIATIONS, shares),
            ]
    if present:
        parts += [
            "## Regret",
            *(f"![Space {space}: {_PICTURE}](search-{space}.png)" for space in _panels(present)),
        ]
        parts.append(_SHARES.format(mean=100 * shares.mean, ratio=100 * shares.ratio))
    if former := of_surrogate[FORMER]:
        title = SECTIONS[FORMER]
        parts += [
            f"## {title}",
            _FORMER_RULES,
            *_section(title, grouped(former), DEVIATIONS[:1], Shares()),
        ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, groups: Groups, targets: Sequence[int], shares: Shares) -> list[str]:
    """Return all spaces side by side to some targets, then two tables for each space and number of
    lanes.
    """
    parts = []
    if len(groups) > 1:
        for lanes in sorted({lanes for by_lanes in groups.values() for lanes in by_lanes}):
            raced = {
                space: by_lanes[lanes] for space, by_lanes in groups.items() if lanes in by_lanes
            }
            parts.append(f"### {title}: all spaces with {_lanes_in_words(lanes)}")
            parts += [line for target in targets for line in _overview(raced, target, shares)]
    for space, by_lanes in groups.items():
        for lanes, methods in by_lanes.items():
            any_result = next(iter(methods.values()))[0]
            nats = " and ".join(
                f"{deviations * any_result.spread:,.2f}" for deviations in DEVIATIONS
            )
            parts += [
                f"### {title}: {space} with {_lanes_in_words(lanes)}",
                f"Targets {nats} nats above the best; n repeats of {any_result.budget:,} "
                "trial-epochs.",
                _markdown(methods, shares),
                *([_beside_default(methods, shares)] if DEFAULT in methods else []),
            ]
    return parts


def _panels(results: Sequence[Result]) -> dict[str, dict[str, Mapping[str, Sequence[Result]]]]:
    """Return the panels of each picture: space → title → method → results of the present
    referee.
    """
    panels: dict[str, dict[str, Mapping[str, Sequence[Result]]]] = {}
    for surrogate in SURROGATES:
        own = [result for result in results if result.surrogate == surrogate]
        for space, by_lanes in grouped(own).items():
            for lanes, methods in by_lanes.items():
                panels.setdefault(space, {})[f"{SECTIONS[surrogate]}, {_lanes_in_words(lanes)}"] = (
                    methods
                )
    return dict(sorted(panels.items()))


_PICTURE = "regret against trial-epochs, a panel for each surrogate and number of lanes"
_RULES = (
    "Written by `make search-race ARGS=--report`. Mean trial-epochs from which on the incumbent "
    "is within a target, with 95 % bootstrap intervals; a repeat that is outside the target in "
    "the end counts as the whole budget (`never`). `×` is by how much fewer epochs than "
    f"`{REFERENCE}`. `clock` is the median time to the nearer target with the seconds that the "
    "epochs of the table took, `own` the processor time of the search itself. Searches of "
    "vaeexp are in bold. Pictures show the median regret over repeats, ours with 95 % "
    "intervals; a regret below a quarter of a deviation is drawn as a quarter."
)
_SHARES = (
    "Intervals are over repeats and over the seeds of the table. Of the variance between "
    "repeats, {mean:.0f} % of a mean's and {ratio:.0f} % of a ratio's lie between half-samples "
    "of these seeds, over all spaces, searches and targets; each interval has this part "
    "undivided."
)
_FORMER_RULES = (
    "These results have the referee before the present one, and do not compare with those above: "
    "a configuration between those of the table had no noise of a seed, targets lay above the "
    "best of the table, repeats saw seed 0 or seed 1 of all configurations, intervals are over "
    "repeats alone, and our searches are of an earlier version."
)


def _lanes_in_words(lanes: int) -> str:
    return f"{lanes} {'lane' if lanes == 1 else 'lanes'}"


def _overview(
    by_space: Mapping[str, Mapping[str, Sequence[Result]]], target: int, shares: Shares
) -> list[str]:
    """Return the spaces side by side: trial-epochs to a target, and by how much fewer the default
    search needs.
    """
    groups = by_space.values()
    repeats = max(len(results) for group in groups for results in group.values())
    rows, rows_beside = [], []
    for method in (name for name in METHODS if any(name in group for group in groups)):
        results = [group.get(method, ()) for group in groups]
        cells = [
            restricted_mean(r, target, shares.mean).in_words(".0f") + _fewer(r, repeats)
            if r
            else "–"
            for r in results
        ]
        rows.append([_label(method), *cells])
        if method != DEFAULT:
            beside = [
                _times(group.get(DEFAULT, ()), group.get(method), target, shares)
                for group in groups
            ]
            rows_beside.append([_label(method), *beside])
    said = [
        f"Trial-epochs to {target} sd; {repeats} repeats unless n says otherwise.",
        markdown(["search", *by_space], rows, texts=1),
    ]
    if any(DEFAULT in group for group in groups):
        said.append(f"By how much fewer trial-epochs `{DEFAULT}` needs to {target} sd.")
        said.append(markdown([f"× of {DEFAULT} to", *by_space], rows_beside, texts=1))
    return said


def _fewer(results: Sequence[Result], repeats: int) -> str:
    """Return the number of results as a suffix where a search has fewer than the others, else
    nothing.
    """
    return f", n {len(results)}" if len(results) < repeats else ""


def _label(method: str) -> str:
    return f"**{method}**" if method in OURS else method


def _markdown(methods: Mapping[str, Sequence[Result]], shares: Shares) -> str:
    head = ["search", "n"]
    for deviations in DEVIATIONS:
        head += [f"to {deviations} sd", "never", f"× {deviations} sd"]
    rows = [
        _row(method, results, methods.get(REFERENCE), shares) for method, results in methods.items()
    ]
    return markdown([*head, "clock, s", "own, s"], rows, texts=1)


def _row(
    method: str, results: Sequence[Result], reference: Sequence[Result] | None, shares: Shares
) -> list[str]:
    cells = [_label(method), f"{len(results)}"]
    for deviations in DEVIATIONS:
        never = sum(result.reached(deviations) is None for result in results)
        cells += [restricted_mean(results, deviations, shares.mean).in_words(".0f"), f"{never}"]
        cells.append(_times(results, reference, deviations, shares))
    reached = [change.seconds for result in results if (change := result.reached(DEVIATIONS[0]))]
    clock = f"{np.median(reached):.0f}" if 2 * len(reached) > len(results) else "–"
    return [*cells, clock, f"{np.median([result.own_seconds for result in results]):.1f}"]


def _beside_default(methods: Mapping[str, Sequence[Result]], shares: Shares) -> str:
    """Return by how much fewer epochs the default search needs than each other one, to each
    target.
    """
    others = [method for method in methods if method not in (DEFAULT, REFERENCE)]
    rows = [
        [other, *(_times(methods[DEFAULT], methods[other], d, shares) for d in DEVIATIONS)]
        for other in others
    ]
    return markdown([f"× of {DEFAULT} to", *(f"{d} sd" for d in DEVIATIONS)], rows, texts=1)


def _times(
    results: Sequence[Result], reference: Sequence[Result] | None, deviations: float, shares: Shares
) -> str:
    """Return by how much fewer epochs a search needs than a reference, over the repeats that both
    have.
    """
    mine, theirs = _of_both(results, reference or ())
    if not mine or results is reference:
        return "–"
    return ratio(mine, theirs, deviations, shares.ratio).in_words(".2f")


def _of_both(one: Sequence[Result], other: Sequence[Result]) -> tuple[list[Result], list[Result]]:
    """Return the results of two searches in the repeats that both have."""
    shared = {result.repeat for result in one} & {result.repeat for result in other}
    mine, theirs = ([result for result in some if result.repeat in shared] for some in (one, other))
    return mine, theirs


def _influences_of_mean(results: Sequence[Result], target: int) -> Influences:
    return influences(mean_of, [r.epochs_to(target) for r in results]), [r.world for r in results]


def _influences_of_ratio(
    results: Sequence[Result], reference: Sequence[Result], target: int
) -> Influences:
    mine, theirs = _of_both(results, reference)
    worlds = [result.world for result in sorted(mine, key=lambda result: result.repeat)]
    return influences(ratio_of, *paired_epochs(mine, theirs, target)), worlds


def draw_regrets(
    space: str,
    by_title: Mapping[str, Mapping[str, Sequence[Result]]],
    styles: Mapping[str, Mapping[str, Any]],
    out: Path,
) -> None:
    """Draw the median regret of each search against trial-epochs, a panel for each title, ours with
    their intervals.

    Args:
        styles: colour and dash of each method, the same in the pictures of all spaces.
    """
    figure = new_figure(height=3.6 * len(by_title))
    panels = figure.subplots(len(by_title), squeeze=False)[:, 0]
    for axes, (title, methods) in zip(panels, by_title.items(), strict=True):
        budget, spread = (
            getattr(next(iter(methods.values()))[0], name) for name in ("budget", "spread")
        )
        style_axes(axes, x="trial-epochs", y="regret, nats")
        grid = np.unique(np.geomspace(max(1, budget // 100), budget, _POINTS).astype(int))
        least, most = min(DEVIATIONS) * spread / 4, max(DEVIATIONS) * spread
        repeats = max(map(len, methods.values()))
        for method, results in methods.items():
            style = {**styles[method], "linewidth": 2.2 if method in OURS else 1.2}
            estimates = median_regret(results, [int(count) for count in grid])
            middle, low, high = (
                np.asarray(
                    [
                        max(getattr(e, name), least)
                        if math.isfinite(getattr(e, name))
                        else math.nan
                        for e in estimates
                    ]
                )
                for name in ("value", "low", "high")
            )
            axes.plot(grid, middle, label=method + _fewer(results, repeats), **style)
            if method in OURS:
                axes.fill_between(grid, low, high, color=style["color"], alpha=0.12, linewidth=0)
            shown = high if method in OURS else middle
            most = max(most, *shown[np.isfinite(shown)])
        log_axis(axes, float(grid[0]), float(budget))
        axes.set_yscale("log")
        log_ticks(axes.yaxis, least, most)
        edge = 10 ** (0.04 * np.log10(most / least))
        axes.set_ylim(least / edge, most * edge)
        for deviations in DEVIATIONS:
            axes.axhline(deviations * spread, **DASHED)
            annotate(
                axes,
                f"{deviations} sd",
                (grid[0], deviations * spread),
                (0, 7),
                ha="left",
                fontsize=9,
                bbox=BOX,
            )
        side_legend(axes)
        note(axes, title)
    save(
        framed(figure, f"Space {space}: regret of the incumbent, median over repeats"),
        out / f"search-{space}.png",
    )
