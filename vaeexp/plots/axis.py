"""The axis of a searched parameter: numbers from 0 to 1 on the scale of the search space, choices side by side."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from sweeps.results.rankings import Results
from vaeexp.plots.style import decade_labels, log_axis, new_figure
from vaeexp.results.frames import categories, column, search_trials, space
from vaeexp.words import format_value


@dataclass(frozen=True)
class ParameterAxis:
    """What a parameter may be, and where its values stand."""

    name: str
    kind: str
    """float, int or choice."""
    texts: tuple[str, ...] = ()
    """The values of a choice, those of the study file first."""
    low: float = 0.0
    """Ends of a range of numbers: those of the search space, wider where a trial had a value outside it."""
    high: float = 1.0
    log: bool = False

    def places(self, trials: pd.DataFrame) -> pd.Series:
        """Where each trial stands, NaN where the parameter is not active.

        Numbers: from 0 (low) to 1 (high), even in the logarithm where the search space is. Choices: 0, 1, 2 …
        """
        given = column(trials, f"params.{self.name}")
        if self.kind == "choice":
            index = {text: float(place) for place, text in enumerate(self.texts)}
            return given.map(format_value, na_action="ignore").map(index).astype(float)
        values = given.astype("Float64").astype(float)
        if self.log:
            return np.log(values.where(values > 0) / self.low) / np.log(self.high / self.low)
        return (values - self.low) / (self.high - self.low)

    def values(self, places: np.ndarray | pd.Series) -> np.ndarray | pd.Series:
        """The numbers at these places, not rounded; of choices the places themselves."""
        if self.kind == "choice":
            return places
        if self.log:
            return self.low * (self.high / self.low) ** places
        return self.low + (self.high - self.low) * places

    def grid(self, places: pd.Series, count: int) -> np.ndarray:
        """At most `count` places over the range of these: choices and whole numbers as they are, other numbers evenly spaced."""
        if self.kind == "choice":
            return np.unique(places.dropna())
        even = np.linspace(places.min(), places.max(), count)
        if self.kind == "float":
            return even
        whole = np.unique(np.round(self.values(even)))
        return self.places(pd.DataFrame({f"params.{self.name}": whole})).to_numpy()

    def ticks(self) -> pd.Series:
        """Values worth a label as text → place: every choice, or both ends of a range and round numbers between them."""
        if self.kind == "choice":
            return pd.Series(np.arange(len(self.texts), dtype=float), index=list(self.texts))
        locator = LogLocator(numticks=6) if self.log else MaxNLocator(4, integer=self.kind == "int")
        inner = [value for value in locator.tick_values(self.low, self.high) if self.low < value < self.high]
        found = pd.DataFrame({f"params.{self.name}": [self.low, *inner, self.high]})
        places = self.places(found).set_axis([format_value(value) for value in found.iloc[:, 0]])
        return places[(places == 0) | (places == 1) | places.between(0.12, 0.88)]


def parameter_axis(results: Results, name: str) -> ParameterAxis:
    """The axis of a parameter of this study."""
    parameter = space(results)[name]
    if parameter["kind"] == "choice":
        return ParameterAxis(name, "choice", texts=tuple(categories(results, name)))
    log = bool(parameter.get("log"))
    given = column(search_trials(results), f"params.{name}").dropna().astype(float)
    used = given[given > 0] if log else given
    low, high = min([parameter["low"], *used]), max([parameter["high"], *used])
    return ParameterAxis(name, parameter["kind"], low=float(low), high=float(high), log=log)


def dress_parameter(side: Axis, parameter: ParameterAxis, text: str) -> None:
    """Make an x or y axis of a plot that of a parameter, called `text`: its scale, its range and the names of its choices."""
    name = side.axis_name
    side.set_label_text(wrapped(text, 36))
    if parameter.log:
        log_axis(side, parameter.low, parameter.high)
        return
    if parameter.kind == "choice":
        _name_choices(side, parameter.texts)
        low, high = -0.5, len(parameter.texts) - 0.5
    else:
        side.set_major_locator(MaxNLocator(integer=parameter.kind == "int", nbins=6 if parameter.high < 1000 else 4))
        side.set_major_formatter(FuncFormatter(decade_labels))
        margin = 0.04 * (parameter.high - parameter.low)
        low, high = parameter.low - margin, parameter.high + margin
    (side.axes.set_xlim if name == "x" else side.axes.set_ylim)(low, high)


def _name_choices(side: Axis, texts: Sequence[str]) -> None:
    """Names of choices as ticks: in lines where they fit side by side, else aslant."""
    room = 90 // side.axes.get_subplotspec().get_gridspec().ncols // len(texts)
    lines = [wrapped(text, max(6, room)) for text in texts]
    if max(len(line) for text in lines for line in text.split("\n")) <= room:
        side.set_ticks(range(len(texts)), lines)
        return
    side.set_ticks(range(len(texts)), [wrapped(text, 20) for text in texts])
    for tick in side.get_ticklabels():
        tick.set(rotation=30, ha="right", va="top", rotation_mode="anchor")


def parameter_panels(count: int, *, same_values: bool) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each of so many parameters, two or three side by side, with one scale of values or with its own."""
    across = 2 if count in (2, 4) else min(3, count)
    down = math.ceil(count / across)
    figure = new_figure(0.6 + 2.75 * down, width=9.0 if across > 1 else 6.5)
    panels = figure.subplots(down, across, sharey=same_values, squeeze=False).ravel()
    for panel in panels[count:]:
        panel.set_visible(False)
    return figure, list(panels[:count])


def wrapped(text: str, width: int) -> str:
    """The text in lines of at most this many characters, broken after spaces and other marks where there are any."""
    lines = [""]
    for part in re.split(r"(?<=[ _–.:])", text):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)
