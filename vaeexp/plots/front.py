"""The front of a study with two objectives: the plane with all complete trials, and the area that the front covered as the search went on."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vaeexp.evaluation.metrics import METRICS
from vaeexp.plots import style
from vaeexp.plots.tradeoff import draw_equal_lines
from vaeexp.results.front_view import FrontView
from vaeexp.results.statements import Caption, Statement
from vaeexp.results.statements import Figure as StatedFigure
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import row_names
from vaeexp.words import format_value, is_missing

FONT = 10
LINE = 1.4
"""Height of a line of words, in font sizes."""
OFFSET = (-7, -4)
"""From a trial to the upper right corner of its name, in points."""
CLEARER = 3.0
"""By how many points a trial is nearer to the end of its name than any other trial of the front."""


def front(view: StudyView) -> Figure | None:
    """Draw the complete trials in the plane of the two objectives, the front as steps, and its trials by name.

    None with one objective, or where no trial is complete.
    """
    found = view.front
    if found is None or found.complete.empty:
        return None
    figure = style.new_figure(5.4)
    axes = style.style_axes(figure.add_subplot(), x=_axis(found.names[0]), y=_axis(found.names[1]))
    hidden = _set_limits(axes, found)
    if {*found.names} == {"rate", "distortion"}:
        draw_equal_lines(axes)
    members = found.members[[*found.metrics]].to_numpy(float)
    blue = style.STATE_COLOURS["complete"]
    size = 40 * style.marker_scale(len(found.values))
    axes.step(members[:, 0], members[:, 1], where="post", color=blue, linewidth=1.8, zorder=4)
    points = axes.scatter(members[:, 0], members[:, 1], color=blue, s=60, zorder=5, label=f"front ({len(members):,})")
    style.mark_trials(points, row_names(found.members))
    behind = ~found.complete["number"].isin(found.members["number"]).to_numpy()
    label = f"complete, behind it ({int(behind.sum()):,})"
    shown = behind & style.within(axes, found.values)
    rest = found.values[shown]
    points = axes.scatter(rest[:, 0], rest[:, 1], color="#9a9a9a", s=size, zorder=3, label=label)
    style.mark_trials(points, row_names(found.complete[shown]))
    unnamed = _name(axes, view, found)
    notes = [f"{hidden:,} of the complete trials outside these axes"] if hidden else []
    notes += [f"{unnamed:,} of the front without a name here"] if unnamed else []
    for index, text in enumerate(notes):
        style.note(axes, text, y=1.0 - 0.05 * index)
    style.legend(axes)
    return figure


def _axis(name: str) -> str:
    """Return the words of an objective's axis."""
    metric = METRICS[name]
    return f"validation {metric.words} ({metric.unit})"


def _set_limits(axes: Axes, found: FrontView) -> int:
    """Set axes that show the whole front and most trials, with room for names at its left; return how many trials they leave out."""
    members, ends = found.members[[*found.metrics]].to_numpy(float), []
    for index in (0, 1):
        values = found.values[:, index]
        low, high = style.robust_limits(values, values, reach=6)
        low, high = min(low, members[:, index].min()), max(high, members[:, index].max())
        ends.append((low, high, (high - low) or 1.0))
    (left, right, across), (bottom, top, up) = ends
    axes.set(xlim=(left - 0.2 * across, right + 0.04 * across), ylim=(bottom - 0.08 * up, top + 0.04 * up))
    axes.set_xticks([tick for tick in MaxNLocator(7).tick_values(left, right) if left <= tick <= right])
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    outside = (found.values < (left, bottom)) | (found.values > (right, top))
    return int(outside.any(axis=1).sum())


def _name(axes: Axes, view: StudyView, found: FrontView) -> int:
    """Write the names of trials below and left of the front, where no trial can be: its ends first, others where there is room.

    A name has no room where it would lie over another name, or would seem to be the name of another trial of the front because this trial is
    nearer to its end. The size of words is estimated from their number. Returns how many trials have no room.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    wide, high = (72 * size * 0.88 for size in figure.get_size_inches())
    boxes: list[tuple[float, float]] = []
    rows = [row for _, row in found.members.iterrows()]
    values = found.members[[*found.metrics]].to_numpy(float)
    places = (values - (left, bottom)) / (right - left, top - bottom) * (wide, high)
    order = [*dict.fromkeys([0, len(rows) - 1, *range(len(rows))])]
    unnamed = 0
    for index in order:
        text, (x, y) = _named(view, rows[index]), places[index]
        width = 0.55 * FONT * len(text)
        from_end = np.hypot(*(places - (x + OFFSET[0], y + OFFSET[1] - FONT / 2)).T)
        nearer = (from_end < from_end[index] + CLEARER).sum() > 1
        if nearer or any(abs(y - other) < LINE * FONT and x - width < end and end - width < x for end, other in boxes):
            unnamed += 1
            continue
        boxes.append((x, y))
        style.annotate(axes, text, tuple(values[index]), OFFSET, ha="right", va="top", fontsize=FONT)
    return unnamed


def _named(view: StudyView, row: Any) -> str:
    """Return `3: β = 0.52`, the number alone where the study does not search β."""
    beta = row.get("params.beta") if "beta" in view.parameters else None
    return f"{row['number']}" if is_missing(beta) else f"{row['number']}: β = {format_value(float(f'{beta:.2g}'))}"


def hypervolume(view: StudyView) -> Figure | None:
    """Draw the area that the front covered against the trial-epochs spent. None with one objective, or with fewer than two complete trials."""
    found = view.front
    if found is None or len(found.complete) < 2:
        return None
    figure = style.new_figure(3.4)
    axes = style.style_axes(figure.add_subplot(), x="trial-epochs of the search", y=f"hypervolume ({found.unit})")
    course = found.course
    axes.step(course["spent"], course["volume"], where="post", color=style.STATE_COLOURS["complete"], linewidth=1.8)
    points = axes.scatter(course["spent"], course["volume"], color=style.STATE_COLOURS["complete"], s=18)
    style.mark_trials(points, row_names(found.complete))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.set_ylim(0, 1.08 * found.volume or 1.0)
    axes.set_xlim(0, 1.03 * float(course["spent"].iloc[-1]))
    return figure


def front_caption(view: StudyView) -> str:
    """Say how to read the front, and what it does not show."""
    found = view.front
    if found is None:
        return ""
    first, second = found.labels
    text = (
        f"Each complete trial at its last epoch; lower left is better. The steps join the trials that no other equals or beats in both "
        f"{first} and {second}, named by their numbers and β where it was searched."
    )
    text += " Along a dashed line the −ELBO is the same." if {*found.names} == {"rate", "distortion"} else ""
    return f"{text} Every point is one seed, and the front takes the luckiest of them."


def volume_caption(view: StudyView) -> Caption:
    """Say what the hypervolume is measured from."""
    found = view.front
    if found is None or found.complete.empty:
        return ""
    values: dict[str, Any] = dict(zip(("first", "second"), found.labels, strict=True))
    worst = zip(("first_worst", "second_worst"), found.reference, strict=True)
    values |= {name: StatedFigure(value=float(value)) for name, value in worst}
    return [
        Statement(id="plot.volume", values=values),
        "It cannot fall, so that it rises says nothing of the next trials; where it stays level the search has found little more.",
    ]
