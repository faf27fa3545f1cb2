"""The searched parameters of a study: their values and axes, and how much each mattered.

Importance is PED-ANOVA (Watanabe, Bansal and Hutter 2023; with conditions: 2026). Optuna's
`PedAnovaImportanceEvaluator` gives the same shares, but takes seconds for 10,000 trials. Here all
resamples share everything but the counts in cells.

It learns from complete and pruned trials, in the order of `learned_trials`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from vaeexp.results.tables import column, for_baseline_alone, search_trials
from vaeexp.words import format_value, is_missing, parameter_label

LEAST_TRIALS = 10
"""Trials that are complete, or were promoted, below which an importance would be noise."""
RESAMPLES = 200
_CELLS = 50
"""Of the grid over a range of numbers."""
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class SearchedParameter:
    """One parameter of the search space, with the axis on which plots show it.

    A place is a number from 0 (low end) to 1 (high end), even in the logarithm where the search is;
    the places of a choice are 0, 1, 2 …
    """

    name: str
    kind: Literal["float", "int", "choice"]
    label: str
    """Its label on an axis, with its condition: `components (if prior is mixture)`."""
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
        values = self.of(trials)
        if self.is_choice:
            index = {text: float(place) for place, text in enumerate(self.texts)}
            places = [
                math.nan if is_missing(value) else index.get(format_value(value), math.nan)
                for value in values
            ]
            return pd.Series(places, index=values.index, name=values.name, dtype=float)
        # Whole numbers may be missing, and then are no numbers of numpy.
        return self.places_of(
            values if values.dtype == float else values.astype("Float64").astype(float)
        )

    def places_of(self, numbers: pd.Series) -> pd.Series:
        """Return the places of these numbers, NaN where a logarithmic axis has none."""
        values = numbers.to_numpy(float)
        # A range of one value has no axis: its places are NaN.
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.log:
                places = np.log(np.where(values > 0, values, np.nan) / self.first) / np.log(
                    self.last / self.first
                )
            else:
                places = (values - self.first) / (self.last - self.first)
        return pd.Series(places, index=numbers.index, name=numbers.name)

    def has(self, trials: pd.DataFrame, texts: Sequence[str]) -> np.ndarray:
        """Tell which trials have one of these values of a choice."""
        return np.isin(self.places(trials), [self.texts.index(text) for text in texts])

    def among(self, places: np.ndarray, good: np.ndarray) -> np.ndarray:
        """Tell which places lie where these good ones do: between the ends of numbers, at the same
        values of a choice.
        """
        if self.is_choice:
            return np.isin(places, good)
        # Places are computed from numbers; the slack is that of rounding.
        return (places >= good.min() - 1e-9) & (places <= good.max() + 1e-9)

    def numbers(self, places: np.ndarray | pd.Series) -> np.ndarray:
        """Return the numbers at these places, not rounded; of a choice the places themselves."""
        places = np.asarray(places, dtype=float)
        if self.is_choice:
            return places
        if self.log:
            return np.asarray(self.first * (self.last / self.first) ** places)
        return self.first + (self.last - self.first) * places


def searched_parameter(
    name: str, section: Mapping[str, Any], trials: pd.DataFrame
) -> SearchedParameter:
    """Return a parameter from its section of the search space; `trials` widen its axis and add
    earlier choices.
    """
    when = {
        parent: tuple(wanted) if isinstance(wanted, list | tuple) else (wanted,)
        for parent, wanted in (section.get("when") or {}).items()
    }
    label = parameter_label(name)
    if when:
        parents = (
            f"{parameter_label(parent)} is {' or '.join(map(format_value, of))}"
            for parent, of in when.items()
        )
        label += f" (if {' and '.join(parents)})"
    common: dict[str, Any] = {"name": name, "kind": section["kind"], "label": label, "when": when}
    if section["kind"] == "choice":
        listed = [format_value(value) for value in section["values"]]
        tried = set(
            column(trials[~for_baseline_alone(trials)], f"params.{name}").dropna().map(format_value)
        )
        texts = tuple(dict.fromkeys([*listed, *sorted(tried)]))
        return SearchedParameter(**common, texts=texts, values=tuple(section["values"]))
    low = section["low"]
    high = section["high"]
    log = bool(section.get("log"))
    values = column(search_trials(trials), f"params.{name}").dropna().astype(float)
    used = values[values > 0] if log else values
    first = float(min([low, *used]))
    last = float(max([high, *used]))
    common |= {"low": low, "high": high, "first": first, "last": last}
    return SearchedParameter(**common, log=log, step=section.get("step"))


Parameters = Mapping[str, SearchedParameter]
"""Searched parameters by name, in the order of the study file."""


def configuration_of(
    parameters: Iterable[str], trial: Mapping[Any, Any] | pd.Series
) -> dict[str, Any]:
    """Return the values that a trial has of these parameters, without inactive ones."""
    values = {name: trial.get(f"params.{name}") for name in parameters}
    return {name: value for name, value in values.items() if not is_missing(value)}


@dataclass(frozen=True)
class Cells:
    """The cell of one parameter's value in each trial."""

    places: np.ndarray
    """Cell of each trial, −1 where the parameter is not active: [N]."""
    count: int
    ordered: bool
    """Whether neighbouring cells are alike, as those of numbers are and those of choices are
    not.
    """


def importance_table(
    parameters: Parameters,
    learned: pd.DataFrame,
    seed: int,
    left_out: Mapping[str, Sequence[str]],
) -> pd.DataFrame:
    """Return share, low and high by parameter, the most important first; the shares sum to 1.

    A share says how far the values of a parameter among the best trials (a tenth, and at least 5)
    differ from those among all complete and pruned trials (`learned_trials`). Values of a choice
    that are left out (as text) count as if the choice were not active with them: where they were
    never tried near the best, being rare among the best says nothing. The interval is ± 1.96
    standard deviations of the share among 200 bootstrap resamples of the trials (Efron and
    Tibshirani 1993, chapter 13), within 0 and 1. Percentiles of the resamples would be biased: a
    resample repeats trials, which makes every parameter look more important.

    Without rows below `LEAST_TRIALS` trials that are complete or were promoted, or when all have
    one value. A parameter that never varied is left out: it cannot have mattered, but PED-ANOVA
    sees that the trials fill little of its range.
    """
    cells = {
        name: parameter_cells(item, learned, left_out.get(name, ()))
        for name, item in parameters.items()
    }
    cells = {
        name: item
        for name, item in cells.items()
        if len(np.unique(item.places[item.places >= 0])) > 1
    }
    if not cells or learned["judged"].sum() < LEAST_TRIALS or learned["objective"].nunique() == 1:
        return pd.DataFrame(columns=["share", "low", "high"], dtype=float)
    values = learned["standing"].to_numpy(float)
    count = len(learned)
    random = np.random.default_rng(seed)
    weights = np.stack(
        [np.bincount(random.integers(count, size=count), minlength=count) for _ in range(RESAMPLES)]
    )
    drawn = importance_shares(list(cells.values()), values, weights.astype(float))
    half = 1.96 * drawn.std(axis=0, ddof=1)
    share = importance_shares(list(cells.values()), values, np.ones((1, count)))[0]
    ends = {"low": np.maximum(share - half, 0), "high": np.minimum(share + half, 1)}
    table = pd.DataFrame({"share": share} | ends, index=list(cells))
    return table.sort_index().sort_values("share", ascending=False, kind="stable")


def parameter_cells(
    parameter: SearchedParameter, trials: pd.DataFrame, left_out: Sequence[str]
) -> Cells:
    """Divide the range of a parameter: a cell per choice that is not left out, or at most 50 over a
    range of numbers.
    """
    places = parameter.places(trials).to_numpy()
    ordered = not parameter.is_choice
    count = len(parameter.texts)
    places = np.where(parameter.has(trials, left_out), np.nan, places)
    if ordered:
        width = parameter.last - parameter.first
        whole = math.ceil(math.log2(width + 1)) + 1 if parameter.log else round(width) + 1
        count = min(_CELLS, whole) if parameter.kind == "int" else _CELLS
        places = np.clip(np.ceil(places * (count - 1) - 0.5), 0, count - 1)
    return Cells(np.where(np.isnan(places), -1, places).astype(int), count, ordered)


def importance_shares(
    columns: Sequence[Cells], values: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the share of each of P parameters in each of R resamples, [R, P], summing to 1.

    `values` [N] are what is minimised, in ascending order; `weights` [R, N] how often each trial
    stands in each resample.
    """
    top = _best(values, weights)
    raw = np.stack([_importance(column, weights, top) for column in columns], axis=1)
    total = raw.sum(axis=1, keepdims=True)
    return np.where(total > 0, raw / np.where(total > 0, total, 1), 1 / len(columns))


def _best(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weights of the best tenth, and at least 5 trials, 0 for others; trials as good as
    the last of them are in.
    """
    total = weights.sum(axis=1)
    wanted = np.ceil(np.maximum(0.1, 5 / total) * total - 1e-9)
    last = (np.cumsum(weights, axis=1) < wanted[:, None]).sum(axis=1)
    return weights * (values <= values[last][:, None])


def _importance(column: Cells, weights: np.ndarray, top: np.ndarray) -> np.ndarray:
    """Return the Pearson divergence of the best from all trials where the parameter is active, by
    how often it is in each: [R].
    """
    cells = (column.places[:, None] == np.arange(column.count)).astype(float)
    among_all = weights @ cells
    among_top = top @ cells
    active = among_all.sum(axis=1)
    active_top = among_top.sum(axis=1)
    density = _smooth if column.ordered else _smooth_choices
    pdf = density(among_all) + _TINY
    pdf_top = density(among_top) + _TINY
    divergence = (pdf * (pdf_top / pdf - 1) ** 2).sum(axis=1)
    share = active / weights.sum(axis=1)
    share_top = active_top / top.sum(axis=1)
    defined = (active >= 2) & (active_top > 0)
    return np.where(defined, share_top**2 / np.where(defined, share, 1) * divergence, 0.0)


def _smooth(counts: np.ndarray) -> np.ndarray:
    """Return the Parzen estimate on the grid from counts [R, G], with the bandwidth of Scott (1992)
    and one wide prior kernel: [R, G].
    """
    from scipy.special import ndtr

    cells = counts.shape[1]
    # The kernel of a cell is that of its neighbour, moved by one: one curve over twice the grid has
    # those of all cells.
    curve = ndtr((np.arange(-cells, cells) + 0.5) / _bandwidth(counts)[:, None])
    wide = ndtr((np.arange(cells + 1) - cells / 2) / cells)
    edges = np.lib.stride_tricks.sliding_window_view(curve, cells + 1, axis=1)[:, ::-1]
    edges = np.concatenate([edges, np.broadcast_to(wide, (len(counts), 1, cells + 1))], axis=1)
    kernels = np.diff(edges, axis=2) / (edges[:, :, -1:] - edges[:, :, :1])
    heights = np.append(counts, np.ones((len(counts), 1)), axis=1)
    return np.einsum("rk,rkg->rg", heights / heights.sum(axis=1, keepdims=True), kernels)


def _bandwidth(counts: np.ndarray) -> np.ndarray:
    """Return the bandwidth by Scott's rule in cells, from the standard deviation or the quartiles,
    whichever is less; at least 0.3: [R].
    """
    cells = np.arange(counts.shape[1])
    total = counts.sum(axis=1)
    count = np.maximum(total, 1)
    mean = counts @ cells / count
    deviation = np.sqrt(
        (counts * (cells - mean[:, None]) ** 2).sum(axis=1) / np.maximum(1, total - 1)
    )
    cumulated = np.cumsum(counts, axis=1)
    first = (cumulated < np.maximum(total // 4, 1)[:, None]).sum(axis=1)
    third = (cumulated <= (3 * total // 4)[:, None]).sum(axis=1)
    quartiles = (third - first) / 1.34
    return np.maximum(1.059 * np.minimum(quartiles, deviation) * count**-0.2, 0.5 / 1.64)


def _smooth_choices(counts: np.ndarray) -> np.ndarray:
    """Return frequencies [R, G] drawn towards the even distribution, as if one more trial had been
    spread over all values.
    """
    choices = counts.shape[1]
    lift = 1 / ((counts > 0).sum(axis=1, keepdims=True) + 1)
    heights = counts.sum(axis=1, keepdims=True)
    kernels = (lift * heights + counts) / (choices * lift + 1)
    return (kernels + 1 / choices) / (heights + 1)
