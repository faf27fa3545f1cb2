"""What new rows are compared with when they are scored: scores, hashes and ranges of the run's own
rows, kept as `calibration.npz` in the folder of the run.

Shapes: n validation rows, m new rows, F columns of vectors.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sweeps import UserError
from vaeexp.data import Dataset
from vaeexp.data.scaling import statistics
from vaeexp.data.values import is_vector
from vaeexp.evaluation.detection import p_values
from vaeexp.run_files import check_run_file
from vaeexp.runs.codes import Measured
from vaeexp.runs.preparation import Batch

SPLITS = ("train", "validation", "test")
RARE = 0.01
"""Share of the run's own rows below which what they have in common is rare."""
TREND = 0.5
"""Rank correlation of scores and row sums from which rows are judged without the trend."""
_DEGREE = 2


class Trend:
    """The trend of scores [n] on log(1 + row sum) [n]: a parabola by least squares, beyond the
    validation rows its tangent. A few coefficients, so that one odd row hardly bends it.
    """

    def __init__(self, sums: np.ndarray, scores: np.ndarray) -> None:
        from scipy.stats import spearmanr

        fine = np.isfinite(scores)
        logs = np.log1p(sums)
        self._ends = logs.min(), logs.max()
        known = len(np.unique(logs[fine]))
        powers = np.vander(self._standard(logs), 1 + min(_DEGREE, max(0, known - 2)))
        self._line = np.poly1d(np.linalg.lstsq(powers[fine], scores[fine], rcond=None)[0])
        spread = known > 1 and np.ptp(scores[fine]) > 0
        self.correlation = float(spearmanr(logs, scores).statistic) if spread else 0.0
        # Each validation row as if it were new: without its own part in the trend.
        ortho = np.linalg.qr(powers[fine])[0]
        leverage = np.ones(len(scores))
        leverage[fine] = np.square(ortho).sum(1).clip(max=0.999)
        residuals = self.residuals(sums, scores)
        self.residuals_of_validation = np.where(fine, residuals / (1 - leverage), residuals)

    def _standard(self, logs: np.ndarray) -> np.ndarray:
        low, high = self._ends
        return (logs - low) / max(high - low, 1e-9)

    def residuals(self, sums: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return the scores [m] without the trend."""
        places = self._standard(np.log1p(sums))
        inside = places.clip(0, 1)
        slope = self._line.deriv()(inside)
        found: np.ndarray = scores - self._line(inside) - slope * (places - inside)
        return found


class Calibration:
    """What new rows are compared with.

    by: the column that is the score.
    scores: finite or infinite, of the n validation rows that have one.
    own: columns of numbers of these rows.
    test: scores of the test rows.
    lost: validation rows without a score.
    trend: of the scores of counts; None for others.
    ranges: of the targets of vectors in training, the least, largest, mean and deviation, [4, F];
        None for others.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], by: str) -> None:
        known: dict[str, Measured] = {split: {} for split in SPLITS}
        for key, values in arrays.items():
            split, _, name = key.partition("_")
            known.setdefault(split, {})[name] = values
        self.by = by
        fine = ~np.isnan(known["validation"][by])
        self.lost = int((~fine).sum())
        self.own = {name: values[fine] for name, values in known["validation"].items()}
        self.scores = self.own[by]
        test = known["test"][by]
        self.test = test[~np.isnan(test)]
        self._keys = {split: np.sort(known[split]["keys"]) for split in SPLITS}
        changed, rows = arrays["unseen"].tolist()
        self.unseen_share = changed / max(1, rows)
        self.trend = None
        if "sums" in self.own and np.isfinite(self.scores).any():
            self.trend = Trend(self.own["sums"], self.scores)
        self.ranges = arrays.get("ranges")

    @property
    def least(self) -> float:
        """The least p there is."""
        return 1 / (len(self.scores) + 1)

    @property
    def judged_by(self) -> str:
        """The column by which rows are strange: residual where scores follow the row sum."""
        followed = self.trend is not None and abs(self.trend.correlation) > TREND
        return "residual" if followed else self.by

    @property
    def copies(self) -> float:
        """Share of the validation rows that are training rows, too."""
        return float(self._are_of("train", self._keys["validation"]).mean())

    def _are_of(self, split: str, keys: np.ndarray) -> np.ndarray:
        """Return which rows with these hashes, [m], are in a split, bool [m]; 0 hashes no row."""
        known = self._keys[split]
        places = np.searchsorted(known, keys).clip(max=len(known) - 1)
        return (known[places] == keys) & (keys > 0)

    def compare(self, batch: Batch, measured: Measured) -> None:
        """Add p to the columns of a batch, of counts residual and its p, and split: that of the
        run's own rows with the same numbers.
        """
        last: Measured = {
            name: measured.pop(name) for name in ("unseen", "problem") if name in measured
        }
        scores = measured[self.by]
        measured["p"] = p_values(scores, self.scores)
        if self.trend is not None:
            sums = row_sums(batch.x.numpy())
            measured["residual"] = self.trend.residuals(sums, scores)
            known = self.trend.residuals_of_validation
            measured["p_residual"] = p_values(measured["residual"], known)
        if batch.unseen is not None and self.unseen_share < RARE:
            left = np.array([bool(names) for names in batch.unseen])
            for name in ("p", "p_residual"):
                if name in measured:
                    measured[name][left & ~np.isnan(scores)] = self.least
        split = np.full(len(scores), "", object)
        for name in reversed(SPLITS):
            split[self._are_of(name, batch.keys)] = name
        split[np.isnan(scores)] = ""
        measured["split"] = split
        measured |= last


def row_sums(x: np.ndarray) -> np.ndarray:
    """Return the sum of each row of targets [N, C, H, W]."""
    sums: np.ndarray = x.reshape(len(x), -1).sum(1, dtype=np.float64)
    return sums


def facts_of(dataset: Dataset) -> dict[str, np.ndarray]:
    """Return hashes of all rows, the ranges of vectors, and how many rows of the other splits have
    a column changed that was constant in training.
    """
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    facts = {f"{name}_keys": part.keys for name, part in parts.items()}
    marks = list[str]()
    for part in (dataset.validation, dataset.test):
        marks += part.marks(np.arange(len(part)))
    facts["unseen"] = np.array([sum(map(bool, marks)), len(marks)])
    if is_vector(dataset.image_shape) and not dataset.scaling.bytes:
        free = np.full((1, 1, 1), np.inf)
        images = dataset.train.images
        known = statistics(images, np.arange(len(images)), (-free, free), "feature")
        found = known.low, known.high, known.mean, known.deviation
        facts["ranges"] = np.concatenate(found).reshape(4, -1)
    return facts


def kept(file: Path, key: str) -> Mapping[str, np.ndarray] | None:
    """Return the arrays of the file; None where there is none, it is damaged or has another key."""
    try:
        content = file.read_bytes()
        check_run_file(content, file)
        with np.load(io.BytesIO(content)) as packed:
            arrays = dict(packed)
    except (OSError, ValueError, UserError):
        return None
    return arrays if arrays["key"].item() == key else None
