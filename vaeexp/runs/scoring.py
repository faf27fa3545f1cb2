"""Score rows by a finished run, and say how sure a score is: p-values among validation images, and
how well the scores tell anomalies.

Shapes: n rows of a batch, C channels, H × W sub-pixels.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaeexp.data.values import Values, changes_left_out, is_vector
from vaeexp.evaluation.detection import (
    Detection,
    Estimate,
    Low,
    auroc,
    auroc_gain,
    detection,
    lower,
    sizes,
)
from vaeexp.models.vae import VAE
from vaeexp.runs.calibration import Calibration
from vaeexp.runs.codes import Measured, score
from vaeexp.runs.inputs import open_inputs
from vaeexp.runs.preparation import Batch, Preparation, batch_rows
from vaeexp.runs.tally import ALARM, Tally
from vaeexp.words import plural

SAMPLES = 20
"""Samples of the importance-weighted NLL of a row."""
SHOWN = 16
"""Rows on a sheet: so many of the highest scores, and of the lowest."""
_LOW_LEVELS = (0.04, 0.01)
"""Levels of rates and of scores that are too low, 5 % together. The rate tells more: a blank image
may have the score of a simple one.
"""


class Opened(NamedTuple):
    """Rows that can be read.

    total: about how many.
    batches: of all rows; they are read once.
    labels: returns all labels, as `Inputs.labels`.
    """

    total: int
    batches: Iterator[Batch]
    labels: Callable[[], set[str]]


class Score(NamedTuple):
    """by: the column that is the score. importance_samples: of iw_nll; 0 leaves it out."""

    by: str
    importance_samples: int


@contextmanager
def opened(given: Any, preparation: Preparation) -> Iterator[Opened]:
    """Open what is given. Raises UserError."""
    with TemporaryDirectory(prefix="vaeexp-") as scratch:
        inputs = open_inputs(given, preparation, Path(scratch))
        yield Opened(inputs.total, preparation.batches(inputs.read()), inputs.labels)


def split_batches(
    x: Tensor,
    keys: np.ndarray,
    labels: Sequence[str],
    names: Sequence[str],
    unseen: Sequence[str],
    values: Values,
) -> Iterator[Batch]:
    """Yield the targets [N, C, H, W] of a split and what is known of them in batches, as those of
    files; `unseen`: of vectors.
    """
    size = batch_rows(values)
    for start in range(0, len(x), size):
        some = slice(start, start + size)
        count = len(x[some])
        blank = [""] * count
        changes = changes_left_out(values, x[some].numpy(), blank)
        marks = [*unseen[some]] if is_vector(x.shape) else changes
        none = np.zeros(count, np.int64)
        yield Batch([*names[some]], [*labels[some]], x[some], blank, none, marks, keys[some])


def score_rows(
    vae: VAE,
    batches: Iterator[Batch],
    how: Score,
    tally: Tally,
    *,
    seed: int,
    known: Calibration | None,
    usual: bool = True,
) -> Iterator[tuple[Batch, Measured]]:
    """Yield each batch and its scores, compared with what is known of the run's own rows. `usual`:
    they are not known anomalies.
    """
    read = tally.read(batches)
    for batch, measured in score(vae, read, seed=seed, importance_samples=how.importance_samples):
        if known is not None:
            known.compare(batch, measured)
        tally.compare(batch, measured, usual=usual)
        yield batch, measured


class Extremes(NamedTuple):
    """Rows by falling score: scores [K], names, and targets [K, C, H, W]."""

    scores: np.ndarray
    names: list[str]
    x: Tensor


class Seen:
    """What is kept of rows that were scored, for figures: scores, labels, sizes, a few images."""

    def __init__(self, values: Values, by: str, shown: str, *, measure_sizes: bool) -> None:
        """shown: the column whose highest and lowest rows are drawn."""
        self._values = values
        self._by = by
        self._shown = shown
        self._measure = measure_sizes
        self._parts = defaultdict[str, list[np.ndarray]](list)
        self._places = dict[str, int]()
        self.worst: Extremes | None = None
        self.best: Extremes | None = None

    def take(self, batch: Batch, measured: Measured, strange: np.ndarray) -> None:
        """Keep what is known of a batch; `strange`, bool [n], are its anomalies."""
        # A score that is infinite has its place, one that is NaN has none.
        fine = ~np.isnan(measured[self._by])
        if not fine.any():
            return
        codes = [self._places.setdefault(label, len(self._places)) for label in batch.labels]
        kept = {"strange": strange, "code": np.array(codes)}
        kept |= {name: measured[name] for name in (self._by, "p", "rate") if name in measured}
        for name, values in kept.items():
            self._parts[name].append(values[fine])
        x = batch.x[torch.from_numpy(fine)]
        if self._measure:
            self._parts["size"].append(sizes(x.numpy(), self._values))
        names = [name for name, each in zip(batch.names, fine, strict=True) if each]
        here = Extremes(measured[self._shown][fine], names, x)
        self.worst = _extreme(self.worst, here, highest=True)
        self.best = _extreme(self.best, here, highest=False)

    def _all(self, name: str) -> np.ndarray:
        return np.concatenate(self._parts[name])

    def lows(self, calibration: Mapping[str, np.ndarray]) -> list[tuple[str, Low]]:
        """Return the columns, rate and score, in which more rows than by chance lie below the
        calibration values: in at most 5 % of the cases where these are exchangeable.
        """
        found = list[tuple[str, Low]]()
        for column, level in zip(("rate", self._by), _LOW_LEVELS, strict=True):
            if column in self._parts and column in calibration:
                low = lower(self._all(column), calibration[column])
                if low.p < level:
                    found.append((column, low))
        return found

    def detected(self) -> tuple[Detection, Estimate, Estimate] | None:
        """Return how well scores tell the anomalies, the AUROC of sizes alone, and how much higher
        that of the scores is; None without anomalies, or without others.
        """
        if not self._parts:
            return None
        scores, strange, packed = map(self._all, (self._by, "strange", "size"))
        if strange.all() or not strange.any():
            return None
        pair = packed[~strange], packed[strange]
        gain = auroc_gain(scores[~strange], scores[strange], pair)
        return detection(scores[~strange], scores[strange]), auroc(*pair), gain

    def counts(self) -> str:
        """Say how many rows are anomalies, and how many are not."""
        strange = self._all("strange")
        return (
            f"{plural(int(strange.sum()), 'anomaly', 'anomalies')} and {(~strange).sum():,} others"
        )

    def by_class(self) -> list[tuple[str, ...]]:
        """Return a row of words for each label: label, rows, mean score, share of p ≤ 0.05, and the
        AUROC of an anomalous class; none where no label is known.
        """
        if not self._parts or set(self._places) <= {""}:
            return []
        scores, codes, strange = map(self._all, (self._by, "code", "strange"))
        alarms = self._all("p") <= ALARM if "p" in self._parts else None
        rows = list[tuple[str, ...]]()
        for label, code in sorted(self._places.items()):
            own = codes == code
            if not own.any():
                continue
            share = "" if alarms is None else f"{alarms[own].mean():.1%}"
            told = ""
            if strange[own].all() and not strange.all():
                told = f"{auroc(scores[~strange], scores[own]).value:.3f}"
            shown = label or "(none)"
            rows.append((shown, f"{own.sum():,}", f"{scores[own].mean():.2f}", share, told))
        return rows


def _extreme(known: Extremes | None, more: Extremes, *, highest: bool) -> Extremes:
    """Return the `SHOWN` rows with the highest or the lowest scores of both."""
    scores, names, x = more
    if known is not None:
        scores = np.concatenate([known.scores, scores])
        names = [*known.names, *names]
        x = torch.cat([known.x, x])
    order = np.argsort(-scores if highest else scores, kind="stable")[:SHOWN]
    return Extremes(scores[order], [names[row] for row in order], x[torch.from_numpy(order)])
