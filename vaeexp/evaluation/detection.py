"""Measures how well scores tell anomalies from usual rows: p-values, AUROC, AUPRC, FPR at 95 % TPR.

The higher a score, the stranger its row; an infinite one is the strangest, and NaN is no score.
Anomalies are the positive class. Shapes: n usual scores, m scores of anomalies.
"""

import io
import math
import zlib
from typing import NamedTuple

import numpy as np

from vaeexp.data.showing import kind_of
from vaeexp.data.values import Values

TPR = 0.95
EVEN = 0.5
"""AUROC of scores that tell nothing."""
LEVEL = 0.05
_RESAMPLES = 1_000
_FEWER = 200
"""Resamples of the bootstrap, and those of more than `_MANY` scores."""
_MANY = 100_000
_FEW = 10
"""Rows of a kind, or rows of it that are ranked wrongly, below which a variance is no estimate."""


class Estimate(NamedTuple):
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


class Detection(NamedTuple):
    """How well scores tell anomalies from usual rows.

    auroc: with the interval of `auroc`.
    auprc: average precision; auprc and fpr have percentile intervals of a bootstrap, and [0, 1]
        where fewer than `_FEW` rows of a kind make it meaningless.
    fpr: share of usual rows above the highest threshold that 95 % of the anomalies reach.
    """

    auroc: Estimate
    auprc: Estimate
    fpr: Estimate


def p_values(scores: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    """Return (1 + #{calibration scores ≥ s}) / (n + 1) of scores s [m], from n calibration scores;
    NaN for NaN.

    Where s and the calibration scores are exchangeable, P(p ≤ α) ≤ α for every α (Vovk et al.
    2005).
    """
    ordered = np.sort(calibration)
    above = len(ordered) - np.searchsorted(ordered, scores, side="left")
    return np.where(np.isnan(scores), np.nan, (1 + above) / (len(ordered) + 1))


def auroc(usual: np.ndarray, strange: np.ndarray) -> Estimate:
    """Return A = P(strange > usual) + P(equal) / 2 and its interval.

    The interval is DeLong's (1988), within [0, 1]. Where few rows decide, k · min(A, 1 − A) < 10 of
    k = min(n, m), their variance says little and is 0 at A = 1: then it is Wilson's (1927) of k
    draws, because no AUROC has a larger variance than A (1 − A) / k (Birnbaum & Klose 1957).
    """
    placements = _placements(usual, strange)
    value = float(placements[1].mean())
    rarer = min(len(usual), len(strange))
    if rarer * min(value, 1 - value) < _FEW:
        return _wilson(value, rarer)
    return _with_interval(*placements)


def _wilson(share: float, count: int) -> Estimate:
    """Return the share and Wilson's 95 % interval (1927) of a share of `count` draws."""
    from scipy.stats import norm

    weight = float(norm.ppf(0.975)) ** 2 / count
    middle = (share + weight / 2) / (1 + weight)
    reach = math.sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    return Estimate(share, max(0.0, middle - reach), min(1.0, middle + reach))


def auroc_gain(
    usual: np.ndarray, strange: np.ndarray, others: tuple[np.ndarray, np.ndarray]
) -> Estimate:
    """Return by how much the AUROC of these scores, [n] and [m], is above that of other scores of
    the same rows, with DeLong's interval (1988) for pairs; [−1, 1] with fewer than `_FEW` rows of
    a kind.
    """
    if min(len(usual), len(strange)) < _FEW:
        gain = auroc(usual, strange).value - auroc(*others).value
        return Estimate(gain, -1.0, 1.0)
    ours, theirs = _placements(usual, strange), _placements(*others)
    return _with_interval(ours[0] - theirs[0], ours[1] - theirs[1])


def _placements(usual: np.ndarray, strange: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of anomalies above each usual row [n], and of usual rows below each anomaly
    [m]; equal scores count half. The mean of each is the AUROC.
    """
    from scipy.stats import rankdata

    n, m = len(usual), len(strange)
    ranks = rankdata(np.concatenate([usual, strange]))
    return 1 - (ranks[:n] - rankdata(usual)) / m, (ranks[n:] - rankdata(strange)) / n


def _with_interval(of_usual: np.ndarray, of_strange: np.ndarray) -> Estimate:
    """Return the mean of placements, [n] and [m], and DeLong's interval."""
    from scipy.stats import norm

    value = float(of_strange.mean())
    error = np.sqrt(of_usual.var(ddof=1) / len(of_usual) + of_strange.var(ddof=1) / len(of_strange))
    reach = float(norm.ppf(0.975) * error)
    return Estimate(value, value - reach, value + reach)


def detection(usual: np.ndarray, strange: np.ndarray, *, seed: int = 0) -> Detection:
    """Return AUROC, AUPRC and FPR at 95 % TPR of scores of usual rows [n] and of anomalies [m].

    The bootstrap draws usual rows and anomalies apart, with the seed.
    """
    scores = np.concatenate([usual, strange])
    order = np.argsort(-scores, kind="stable")
    is_strange = np.repeat([False, True], [len(usual), len(strange)])[order]
    falling = scores[order]
    # Not the differences: those of infinite scores are NaN.
    ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(scores) - 1)
    values = _precision_and_rate(is_strange, ends, np.ones(len(scores)))
    random = np.random.default_rng(seed)
    count = _RESAMPLES if len(scores) <= _MANY else _FEWER
    drawn = np.empty((count, 2))
    weights = np.empty(len(scores))
    for resample in drawn:
        for part in (is_strange, ~is_strange):
            size = int(part.sum())
            weights[part] = np.bincount(random.integers(size, size=size), minlength=size)
        resample[:] = _precision_and_rate(is_strange, ends, weights)
    lows, highs = np.percentile(drawn, [2.5, 97.5], axis=0)
    if min(len(usual), len(strange)) < _FEW:
        lows, highs = np.zeros(2), np.ones(2)
    estimates = [
        Estimate(float(value), float(low), float(high))
        for value, low, high in zip(values, lows, highs, strict=True)
    ]
    return Detection(auroc(usual, strange), *estimates)


def _precision_and_rate(
    is_strange: np.ndarray, ends: np.ndarray, weights: np.ndarray
) -> tuple[float, float]:
    """Return average precision and FPR at 95 % TPR of rows by falling score, with weights.

    ends: the last place of each group of equal scores.
    """
    hits = np.cumsum(weights * is_strange)[ends]
    alarms = np.cumsum(weights * ~is_strange)[ends]
    shares = np.diff(hits, prepend=0.0) / hits[-1]
    precision = hits / np.maximum(hits + alarms, 1e-300)
    reached = int(np.argmax(hits >= TPR * hits[-1]))
    return float((shares * precision).sum()), float(alarms[reached] / alarms[-1])


class Low(NamedTuple):
    """Values that lie below those of calibration.

    rows: values below all but `spared` calibration values.
    p: chance of so many where new and calibration values are exchangeable.
    """

    rows: int
    spared: int
    p: float


def lower(values: np.ndarray, calibration: np.ndarray) -> Low:
    """Count the values [m] that lie below all calibration values [n]; of many, one in 1,000 is
    spared, so that a single odd one hides nothing.

    Of exchangeable values without ties, the smallest k + j − 1 of all hold fewer than j calibration
    values where k values lie below the j-th of these; ties make the count smaller.
    """
    from scipy.stats import hypergeom

    n, m = len(calibration), len(values)
    spared = n // 1_000
    edge = np.partition(calibration, spared)[spared]
    count = int((values < edge).sum())
    chance = hypergeom.cdf(spared, n + m, n, count + spared)
    return Low(count, spared, float(chance))


class Shift(NamedTuple):
    """How scores of test images differ from those of validation images.

    auroc: above 0.5 where test images score higher.
    p: of Kolmogorov and Smirnov's two-sample test.
    """

    auroc: Estimate
    p: float

    @property
    def kind(self) -> str:
        """Return what is seen at the level of 5 %: higher, lower, spread where the scores differ
        and are not seen to be higher or lower; empty for none.
        """
        if self.auroc.low > EVEN:
            return "higher"
        if self.auroc.high < EVEN:
            return "lower"
        return "spread" if self.p < LEVEL else ""


def shift(validation: np.ndarray, test: np.ndarray) -> Shift:
    """Compare scores of test images with those of validation images."""
    from scipy.stats import ks_2samp

    return Shift(auroc(validation, test), float(ks_2samp(validation, test).pvalue))


def sizes(targets: np.ndarray, values: Values) -> np.ndarray:
    """Return the bytes [N] of targets [N, C, H, W] when they are packed: of images of levels with
    one or three channels as PNG, else of 256 levels over the range that pictures show, by zlib.
    """
    png = kind_of(values) == "image" and values.unit and values.levels == 256
    pack = _png if png else _deflated
    black, white = (0.0, 1.0) if png else values.shown
    shares = (targets - black) / (white - black)
    levels = np.rint(shares.clip(0, 1) * 255).astype(np.uint8)
    return np.array([pack(each) for each in levels], np.float64)


def size_words(values: Values) -> str:
    """Say which size `sizes` measures."""
    png = kind_of(values) == "image" and values.unit and values.levels == 256
    return "bytes as PNG" if png else "bytes of 256 levels, packed by zlib"


def _png(levels: np.ndarray) -> int:
    from PIL import Image

    pixels = levels[0] if len(levels) == 1 else np.moveaxis(levels, 0, -1)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    return file.tell()


def _deflated(levels: np.ndarray) -> int:
    return len(zlib.compress(levels.tobytes(), 9))
