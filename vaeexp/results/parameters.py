"""The searched parameters of a study: what each may be, how text calls it, and where its values stand on an axis."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from vaeexp.results.columns import column, for_baseline_alone, search_trials
from vaeexp.words import format_value, parameter_label


@dataclass(frozen=True, kw_only=True)
class SearchedParameter:
    """One parameter of the search space, with the axis on which plots show it.

    A place is a number from 0 (low end) to 1 (high end), even in the logarithm where the search is; the places of a choice
    are 0, 1, 2 …
    """

    name: str
    kind: Literal["float", "int", "choice"]
    label: str
    """How an axis calls it, with its condition: `components (if prior is mixture)`."""
    texts: tuple[str, ...] = ()
    """Values of a choice as text: those of the study file, then others that earlier trials had."""
    values: tuple[Any, ...] = ()
    """Values of a choice in the study file."""
    low: float = 0.0
    """Ends of a range of numbers in the study file."""
    high: float = 1.0
    first: float = 0.0
    """Ends of its axis: the same range, wider where an earlier trial had a value outside it."""
    last: float = 1.0
    log: bool = False
    step: float | None = None
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Parent parameter → values under which this parameter is active."""

    @property
    def is_choice(self) -> bool:
        return self.kind == "choice"

    def of(self, trials: pd.DataFrame) -> pd.Series:
        """Return its value in each trial, missing where it is not active."""
        return column(trials, f"params.{self.name}")

    def places(self, trials: pd.DataFrame) -> pd.Series:
        """Return the place of each trial, NaN where the parameter is not active."""
        given = self.of(trials)
        if self.is_choice:
            index = {text: float(place) for place, text in enumerate(self.texts)}
            return given.map(format_value, na_action="ignore").map(index).astype(float)
        return self.places_of(given.astype("Float64").astype(float))

    def places_of(self, numbers: pd.Series) -> pd.Series:
        """Return the places of these numbers, NaN where a logarithmic axis has none."""
        if self.log:
            return pd.Series(np.log(numbers.where(numbers > 0) / self.first) / np.log(self.last / self.first))
        return (numbers - self.first) / (self.last - self.first)

    def numbers(self, places: np.ndarray | pd.Series) -> np.ndarray:
        """Return the numbers at these places, not rounded; of a choice the places themselves."""
        places = np.asarray(places, dtype=float)
        if self.is_choice:
            return places
        if self.log:
            return np.asarray(self.first * (self.last / self.first) ** places)
        return self.first + (self.last - self.first) * places

    def grid(self, places: pd.Series, count: int) -> np.ndarray:
        """Return at most `count` places over the range of these: choices and whole numbers as they are, other numbers evenly spaced."""
        if self.is_choice:
            return np.unique(places.dropna())
        even = np.linspace(places.min(), places.max(), count)
        if self.kind == "float":
            return even
        return self.places_of(pd.Series(np.unique(np.round(self.numbers(even))))).to_numpy()


def searched_parameters(search: Mapping[str, Mapping[str, Any]], trials: pd.DataFrame) -> dict[str, SearchedParameter]:
    """Return the parameters of a search space in its order; `trials` widen an axis and add earlier choices."""
    return {name: _parameter(name, section, trials) for name, section in search.items()}


def _parameter(name: str, section: Mapping[str, Any], trials: pd.DataFrame) -> SearchedParameter:
    when = {
        parent: tuple(wanted) if isinstance(wanted, list | tuple) else (wanted,)
        for parent, wanted in (section.get("when") or {}).items()
    }
    label = parameter_label(name) + (f" (if {_condition(when)})" if when else "")
    if section["kind"] == "choice":
        listed = [format_value(value) for value in section["values"]]
        tried = set(column(trials[~for_baseline_alone(trials)], f"params.{name}").dropna().map(format_value))
        texts = tuple(dict.fromkeys([*listed, *sorted(tried)]))
        return SearchedParameter(
            name=name, kind="choice", label=label, texts=texts, values=tuple(section["values"]), when=when
        )
    log = bool(section.get("log"))
    given = column(search_trials(trials), f"params.{name}").dropna().astype(float)
    used = given[given > 0] if log else given
    return SearchedParameter(
        name=name,
        kind=section["kind"],
        label=label,
        low=section["low"],
        high=section["high"],
        first=float(min([section["low"], *used])),
        last=float(max([section["high"], *used])),
        log=log,
        step=section.get("step"),
        when=when,
    )


def _condition(when: Mapping[str, tuple[Any, ...]]) -> str:
    """`prior is mixture`."""
    return " and ".join(
        f"{parameter_label(parent)} is {' or '.join(map(format_value, wanted))}" for parent, wanted in when.items()
    )
