"""PED-ANOVA of many resamples of the same trials at once (Watanabe, Bansal and Hutter 2023; with conditions: 2026).

Optuna's `PedAnovaImportanceEvaluator` is the baseline, and gives the same shares. It reads one trial after the other,
which takes seconds for 10,000 trials; here everything but the counts in the cells of a grid is shared by all resamples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vaeexp.plots.axis import ParameterAxis

_CELLS = 50
"""Of the grid over a range of numbers."""
_TINY = 1e-12


@dataclass(frozen=True)
class Cells:
    """Where the value of one parameter lies in each trial."""

    places: np.ndarray
    """Cell of each trial, −1 where the parameter is not active: [N]."""
    count: int
    ordered: bool
    """Whether neighbouring cells are alike: numbers, not choices."""


def parameter_cells(axis: ParameterAxis, places: np.ndarray) -> Cells:
    """A cell per choice, or at most 50 over a range of numbers; `places` on the axis are NaN where it is not active."""
    ordered, count = axis.kind != "choice", len(axis.texts)
    if ordered:
        whole = math.ceil(math.log2(axis.high - axis.low + 1)) + 1 if axis.log else round(axis.high - axis.low) + 1
        count = min(_CELLS, whole) if axis.kind == "int" else _CELLS
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
