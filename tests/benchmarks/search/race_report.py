"""The report of a race: a table of trial-epochs to both targets, and pictures of regret against trial-epochs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from grading import DEVIATIONS, Result, median_regret, ratio, restricted_mean
from methods import DEFAULT, METHODS, OURS, REFERENCE
from table import markdown

from vaeexp.plots.style import (
    DASHED,
    annotate,
    framed,
    line_style,
    log_axis,
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


def write_report(results: Sequence[Result], out: Path) -> None:
    """Write `search-tables.md`, and `search-A.png` for each space that has results."""
    out.mkdir(parents=True, exist_ok=True)
    groups = grouped(results)
    page = report(groups)
    (out / "search-tables.md").write_text(page, encoding="utf-8")
    print(page)
    raced = {result.method for result in results}
    styles = {method: line_style(place) for place, method in enumerate(name for name in METHODS if name in raced)}
    for space, by_lanes in groups.items():
        draw_regrets(space, by_lanes, styles, out)


def grouped(results: Sequence[Result]) -> Groups:
    """Return results by space, by lanes and by method, spaces and lanes in rising order, methods in the order of `METHODS`."""
    place = {method: number for number, method in enumerate(METHODS)}
    groups: dict[str, dict[int, dict[str, list[Result]]]] = {}
    for result in sorted(results, key=lambda r: (r.space, r.lanes, place[r.method], r.repeat)):
        by_lanes = groups.setdefault(result.space, {})
        by_lanes.setdefault(result.lanes, {}).setdefault(result.method, []).append(result)
    return groups


def report(groups: Groups) -> str:
    """Return the page: all spaces side by side, then every table of a space with its picture."""
    parts = ["# Search: every table", _RULES]
    if len(groups) > 1:
        for lanes in sorted({lanes for by_lanes in groups.values() for lanes in by_lanes}):
            raced = {space: by_lanes[lanes] for space, by_lanes in groups.items() if lanes in by_lanes}
            parts += [f"## All spaces with {_lanes_in_words(lanes)}", *_overview(raced)]
    for space, by_lanes in groups.items():
        parts.append(f"## {space}")
        for lanes, methods in by_lanes.items():
            any_result = next(iter(methods.values()))[0]
            nats = " and ".join(f"{deviations * any_result.spread:,.2f}" for deviations in DEVIATIONS)
            parts += [
                f"### {space} with {_lanes_in_words(lanes)}",
                f"Targets {nats} nats above the best; n repeats of {any_result.budget:,} trial-epochs.",
                _markdown(methods),
                *([_beside_default(methods)] if DEFAULT in methods else []),
            ]
        parts.append(
            f"![Space {space}: regret against trial-epochs, a panel for each number of lanes](search-{space}.png)"
        )
    return "\n\n".join(parts) + "\n"


_RULES = (
    f"Written by `make search-race ARGS=--report`. Mean trial-epochs from which on the incumbent "
    f"is within a target, with 95 % bootstrap intervals; a repeat that is outside the target in the end counts as the whole budget (`never`). `×` is by how much "
    f"fewer epochs than `{REFERENCE}`. `clock` is the median time to the nearer target with the seconds that the epochs of the table took, `own` the "
    f"processor time of the search itself. Searches of vaeexp are in bold. Pictures show the median regret over repeats, ours with 95 % intervals; a "
    f"regret below a quarter of a deviation is drawn as a quarter."
)


def _lanes_in_words(lanes: int) -> str:
    return f"{lanes} {'lane' if lanes == 1 else 'lanes'}"


def _overview(by_space: Mapping[str, Mapping[str, Sequence[Result]]]) -> list[str]:
    """Return the spaces side by side: trial-epochs to the nearer target, and by how much fewer the default search needs."""
    nearer, groups = DEVIATIONS[0], by_space.values()
    repeats = max(len(results) for group in groups for results in group.values())
    rows, rows_beside = [], []
    for method in (name for name in METHODS if any(name in group for group in groups)):
        results = [group.get(method, ()) for group in groups]
        cells = [restricted_mean(r, nearer).in_words(".0f") + _fewer(r, repeats) if r else "–" for r in results]
        rows.append([_label(method), *cells])
        if method != DEFAULT:
            beside = [_times(group.get(DEFAULT, ()), group.get(method), nearer) for group in groups]
            rows_beside.append([_label(method), *beside])
    said = [
        f"Trial-epochs to {nearer} sd; {repeats} repeats unless n says otherwise.",
        markdown(["search", *by_space], rows, texts=1),
    ]
    if any(DEFAULT in group for group in groups):
        said.append(f"By how much fewer trial-epochs `{DEFAULT}` needs to {nearer} sd.")
        said.append(markdown([f"× of {DEFAULT} to", *by_space], rows_beside, texts=1))
    return said


def _fewer(results: Sequence[Result], repeats: int) -> str:
    """Return the number of results as a suffix where a search has fewer than the others, else nothing."""
    return f", n {len(results)}" if len(results) < repeats else ""


def _label(method: str) -> str:
    return f"**{method}**" if method in OURS else method


def _markdown(methods: Mapping[str, Sequence[Result]]) -> str:
    head = ["search", "n"]
    for deviations in DEVIATIONS:
        head += [f"to {deviations} sd", "never", f"× {deviations} sd"]
    rows = [_row(method, results, methods.get(REFERENCE)) for method, results in methods.items()]
    return markdown([*head, "clock, s", "own, s"], rows, texts=1)


def _row(method: str, results: Sequence[Result], reference: Sequence[Result] | None) -> list[str]:
    cells = [_label(method), f"{len(results)}"]
    for deviations in DEVIATIONS:
        never = sum(result.reached(deviations) is None for result in results)
        cells += [restricted_mean(results, deviations).in_words(".0f"), f"{never}"]
        cells.append(_times(results, reference, deviations))
    reached = [change.seconds for result in results if (change := result.reached(DEVIATIONS[0]))]
    clock = f"{np.median(reached):.0f}" if 2 * len(reached) > len(results) else "–"
    return [*cells, clock, f"{np.median([result.own_seconds for result in results]):.1f}"]


def _beside_default(methods: Mapping[str, Sequence[Result]]) -> str:
    """Return by how much fewer epochs the default search needs than each other one, to each target."""
    others = [method for method in methods if method not in (DEFAULT, REFERENCE)]
    rows = [[other, *(_times(methods[DEFAULT], methods[other], d) for d in DEVIATIONS)] for other in others]
    return markdown([f"× of {DEFAULT} to", *(f"{d} sd" for d in DEVIATIONS)], rows, texts=1)


def _times(results: Sequence[Result], reference: Sequence[Result] | None, deviations: float) -> str:
    """Return by how much fewer epochs a search needs than a reference, over the repeats that both have."""
    shared = {r.repeat for r in results} & {r.repeat for r in reference or ()}
    if not shared or results is reference:
        return "–"
    mine, theirs = ([r for r in some if r.repeat in shared] for some in (results, reference or ()))
    return ratio(mine, theirs, deviations).in_words(".2f")


def draw_regrets(
    space: str,
    by_lanes: Mapping[int, Mapping[str, Sequence[Result]]],
    styles: Mapping[str, Mapping[str, Any]],
    out: Path,
) -> None:
    """Draw the median regret of each search against trial-epochs, a panel for each number of lanes, ours with their intervals.

    Args:
        styles: colour and dash of each method, the same in the pictures of all spaces.
    """
    figure = new_figure(height=3.6 * len(by_lanes))
    panels = figure.subplots(len(by_lanes), squeeze=False)[:, 0]
    for axes, (lanes, methods) in zip(panels, by_lanes.items(), strict=True):
        budget, spread = (getattr(next(iter(methods.values()))[0], name) for name in ("budget", "spread"))
        style_axes(axes, x="trial-epochs", y="regret, nats")
        grid = np.unique(np.geomspace(max(1, budget // 100), budget, _POINTS).astype(int))
        least, most = min(DEVIATIONS) * spread / 4, max(DEVIATIONS) * spread
        repeats = max(map(len, methods.values()))
        for method, results in methods.items():
            style = {**styles[method], "linewidth": 2.2 if method in OURS else 1.2}
            estimates = median_regret(results, [int(count) for count in grid])
            middle, low, high = (
                np.asarray(
                    [max(getattr(e, name), least) if math.isfinite(getattr(e, name)) else math.nan for e in estimates]
                )
                for name in ("value", "low", "high")
            )
            axes.plot(grid, middle, label=method + _fewer(results, repeats), **style)
            if method in OURS:
                axes.fill_between(grid, low, high, color=style["color"], alpha=0.12, linewidth=0)
            shown = high if method in OURS else middle
            most = max(most, *shown[np.isfinite(shown)])
        log_axis(axes, float(grid[0]), float(budget))
        log_axis(axes, least, most, y=True)
        for deviations in DEVIATIONS:
            axes.axhline(deviations * spread, **DASHED)
            annotate(
                axes, f"{deviations} sd", (grid[0], deviations * spread), (0, 7), ha="left", fontsize=9, boxed=True
            )
        side_legend(axes)
        note(axes, _lanes_in_words(lanes))
    save(framed(figure, f"Space {space}: regret of the incumbent, median over repeats"), out / f"search-{space}.png")
