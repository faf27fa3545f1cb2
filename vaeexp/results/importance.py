"""How much each searched parameter mattered: PED-ANOVA of the complete trials and of many resamples of them at once.

Watanabe, Bansal and Hutter (2023; with conditions: 2026). Optuna's `PedAnovaImportanceEvaluator` gives the same shares, but
reads one trial after the other, which takes seconds for 10,000 trials. Here all resamples share everything but the counts in
the cells of a grid.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vaeexp.results.parameters import SearchedParameter

LEAST_TRIALS = 10
"""Complete trials below which an importance would be noise."""
RESAMPLES = 200
_CELLS = 50
"""Of the grid over a range of numbers."""
_TINY = 1e-12


@dataclass(frozen=True)
class Cells:
    """The cell of one parameter's value in each trial."""

    places: np.ndarray
    """Cell of each trial, −1 where the parameter is not active: [N]."""
    count: int
    ordered: bool
    """Whether neighbouring cells are alike, as those of numbers are and those of choices are not."""


def importance_table(parameters: Mapping[str, SearchedParameter], ranked: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return share, low and high by parameter, the most important first; the shares sum to 1.

    A share says how far the values of a parameter among the best trials (a tenth, and at least 5) differ from those among
    all complete trials (`ranked`). The interval is ± 1.96 standard deviations of the share among 200 bootstrap resamples of
    the trials (Efron and Tibshirani 1993, chapter 13), within 0 and 1. Percentiles of the resamples would not do: a resample
    repeats trials, which makes every parameter look more important than it is, so that a share near 0 lies below all of them.

    The table has no rows with fewer than `LEAST_TRIALS` trials, or when all have one value. A parameter that never varied is
    left out: it cannot have mattered, but PED-ANOVA sees that the trials fill little of its range.
    """
    cells = _varied(parameters, ranked)
    if not cells:
        return pd.DataFrame(columns=["share", "low", "high"], dtype=float)
    values, count = ranked["objective"].to_numpy(float), len(ranked)
    random = np.random.default_rng(seed)
    weights = np.stack([np.bincount(random.integers(count, size=count), minlength=count) for _ in range(RESAMPLES)])
    drawn = importance_shares(list(cells.values()), values, weights.astype(float))
    half = 1.96 * drawn.std(axis=0, ddof=1)
    share = importance_shares(list(cells.values()), values, np.ones((1, count)))[0]
    order = sorted(range(len(cells)), key=lambda place: (-share[place], list(cells)[place]))
    table = pd.DataFrame({"share": share, "low": share - half, "high": share + half}, index=list(cells)).iloc[order]
    return table.assign(low=table["low"].clip(lower=0), high=table["high"].clip(upper=1))


def _varied(parameters: Mapping[str, SearchedParameter], ranked: pd.DataFrame) -> dict[str, Cells]:
    """Return the cells of the parameters that varied; empty where the trials are too few or all have one value."""
    if len(ranked) < LEAST_TRIALS or ranked["objective"].nunique() == 1:
        return {}
    cells = {name: parameter_cells(parameter, ranked) for name, parameter in parameters.items()}
    return {name: own for name, own in cells.items() if len(np.unique(own.places[own.places >= 0])) > 1}


def parameter_cells(parameter: SearchedParameter, trials: pd.DataFrame) -> Cells:
    """Divide the range of a parameter: a cell per choice, or at most 50 over a range of numbers."""
    places, ordered, count = parameter.places(trials).to_numpy(), not parameter.is_choice, len(parameter.texts)
    if ordered:
        width = parameter.last - parameter.first
        whole = math.ceil(math.log2(width + 1)) + 1 if parameter.log else round(width) + 1
        count = min(_CELLS, whole) if parameter.kind == "int" else _CELLS
        places = np.clip(np.ceil(places * (count - 1) - 0.5), 0, count - 1)
    return Cells(np.where(np.isnan(places), -1, places).astype(int), count, ordered)


def importance_shares(columns: Sequence[Cells], values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of each parameter in each resample, [R, P], summing to 1.

    Args:
        columns: the parameters, P of them.
        values: what is minimised, [N], in ascending order.
        weights: how often each trial stands in each resample, [R, N].
    """
    top = _best(values, weights)
    raw = np.stack([_importance(column, weights, top) for column in columns], axis=1)
    total = raw.sum(axis=1, keepdims=True)
    return np.where(total > 0, raw / np.where(total > 0, total, 1), 1 / len(columns))


def _best(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weights of the best tenth, and at least 5 trials, 0 for others; trials as good as the last of them are in."""
    total = weights.sum(axis=1)
    wanted = np.ceil(np.maximum(0.1, 5 / total) * total - 1e-9)
    last = (np.cumsum(weights, axis=1) < wanted[:, None]).sum(axis=1)
    return weights * (values <= values[last][:, None])


def _importance(column: Cells, weights: np.ndarray, top: np.ndarray) -> np.ndarray:
    """Pearson divergence of the best from all trials where the parameter is active, by how often it is in each: [R]."""
    cells = (column.places[:, None] == np.arange(column.count)).astype(float)
    among_all, among_top = weights @ cells, top @ cells
    active, active_top = among_all.sum(axis=1), among_top.sum(axis=1)
    density = _smooth if column.ordered else _smooth_choices
    pdf, pdf_top = density(among_all) + _TINY, density(among_top) + _TINY
    divergence = (pdf * (pdf_top / pdf - 1) ** 2).sum(axis=1)
    share, share_top = active / weights.sum(axis=1), active_top / top.sum(axis=1)
    known = (active >= 2) & (active_top > 0)
    return np.where(known, share_top**2 / np.where(known, share, 1) * divergence, 0.0)


def _smooth(counts: np.ndarray) -> np.ndarray:
    """Parzen estimate on the grid from counts [R, G], with the bandwidth of Scott (1992) and one wide prior kernel: [R, G]."""
    from scipy.special import ndtr

    cells = counts.shape[1]
    middle = np.append(np.arange(cells), (cells - 1) / 2)
    sigma = np.concatenate([np.repeat(_bandwidth(counts)[:, None], cells, axis=1), np.full((len(counts), 1), cells)], 1)
    edges = ndtr((np.arange(cells + 1) - 0.5 - middle[:, None]) / sigma[:, :, None])
    kernels = np.diff(edges, axis=2) / (edges[:, :, -1:] - edges[:, :, :1])
    heights = np.append(counts, np.ones((len(counts), 1)), axis=1)
    return np.einsum("rk,rkg->rg", heights / heights.sum(axis=1, keepdims=True), kernels)


def _bandwidth(counts: np.ndarray) -> np.ndarray:
    """Scott's rule in cells, from the standard deviation or the quartiles, whichever is less; at least 0.3: [R]."""
    cells, total = np.arange(counts.shape[1]), counts.sum(axis=1)
    known = np.maximum(total, 1)
    mean = counts @ cells / known
    deviation = np.sqrt((counts * (cells - mean[:, None]) ** 2).sum(axis=1) / np.maximum(1, total - 1))
    cumulated = np.cumsum(counts, axis=1)
    first = (cumulated < np.maximum(total // 4, 1)[:, None]).sum(axis=1)
    third = (cumulated <= (3 * total // 4)[:, None]).sum(axis=1)
    quartiles = (third - first) / 1.34
    return np.maximum(1.059 * np.minimum(quartiles, deviation) * known**-0.2, 0.5 / 1.64)


def _smooth_choices(counts: np.ndarray) -> np.ndarray:
    """Frequencies [R, G] drawn towards the even distribution, as if one more trial had been spread over all values."""
    choices = counts.shape[1]
    lift = 1 / ((counts > 0).sum(axis=1, keepdims=True) + 1)
    heights = counts.sum(axis=1, keepdims=True)
    kernels = (lift * heights + counts) / (choices * lift + 1)
    return (kernels + 1 / choices) / (heights + 1)
