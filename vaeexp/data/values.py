"""What a model is given and describes: the shape of the targets and the numbers that they can be.

A data set has its values, a run records them, and a model is built from its settings and them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

ImageShape = tuple[int, int, int]
"""(C, H, W). Vectors and signals of F numbers are (1, 1, F)."""
LEAST_SIGMA = math.exp(-6)
"""Lower bound of a learned σ (Rybkin et al. 2021): 0.6 of a grey level."""


def is_vector(shape: Sequence[int]) -> bool:
    """Return whether images of this shape, [C, H, W] or [N, C, H, W], are vectors: rows of a table,
    or signals.
    """
    return shape[-3] * shape[-2] == 1


@dataclass(frozen=True, kw_only=True)
class Values:
    """The targets of a model, as far as its parts depend on them.

    shape: C, H, W of a target.
    unit: whether all targets lie in [0, 1], so that the mean of a density is a sigmoid.
    levels: how many levels k / (levels − 1) the targets have; None where they are no levels.
    counts: whether the targets are whole numbers from 0.
    least_sigma: lower bound of a learned σ in the scale of the targets; a number, or one for each
        sub-pixel, C · H · W.
    row_sum: mean over the training images of the sum of an image, for size factors.
    scale: how much of the unit of the report a target of 1 is; a number, or one for each sub-pixel.
    shown: targets that are black and white in pictures.
    table: whether a target is a row of a table, whose columns have names.
    constant: runs of sub-pixels that never change in training, which some densities leave out;
        three numbers each: place of the first, how many, their target.
    """

    shape: ImageShape
    unit: bool = True
    levels: int | None = 256
    counts: bool = False
    least_sigma: float | tuple[float, ...] = LEAST_SIGMA
    row_sum: float = 1.0
    scale: float | tuple[float, ...] = 1.0
    shown: tuple[float, float] = (0.0, 1.0)
    table: bool = False
    constant: tuple[float, ...] = ()

    @property
    def log_scale(self) -> float:
        """Return Σ log scale over the sub-pixels that change: with it, −log p of a target under a
        density is −log p in the unit of the report.
        """
        if not isinstance(self.scale, tuple):
            return (math.prod(self.shape) - self.left_out) * math.log(self.scale)
        scale = [*self.scale]
        for places, _ in self.runs():
            scale[places] = [1.0] * (places.stop - places.start)
        return math.fsum(map(math.log, scale))

    @property
    def left_out(self) -> int:
        """Return how many sub-pixels never change in training."""
        return int(sum(self.constant[1::3]))

    def runs(self) -> Iterator[tuple[slice, float]]:
        """Yield the runs of `constant`: places among C · H · W, and their target."""
        numbers = iter(self.constant)
        for start, count, target in zip(numbers, numbers, numbers, strict=True):
            yield slice(int(start), int(start + count)), target

    def record(self) -> dict[str, Any]:
        """Return the fields for JSON, of which `from_record` makes the values again."""
        return asdict(self)


def changes_left_out(values: Values, x: np.ndarray, problems: Sequence[str]) -> list[str] | None:
    """Return `sub-pixels` for each image of targets [N, C, H, W] without a problem that differs
    from the training images where these never change, else empty text; None where no sub-pixel is
    left out.
    """
    if not values.constant:
        return None
    flat = x.reshape(len(x), -1)
    changed = np.zeros(len(x), bool)
    fine = np.array([not problem for problem in problems])
    for places, target in values.runs():
        # Files of other types round the last digits.
        changed |= ~np.isclose(flat[:, places], target, rtol=1e-5, atol=1e-6).all(axis=1)
    return ["sub-pixels" if each else "" for each in changed & fine]


def from_record(record: Mapping[str, Any]) -> Values:
    """Return the values of a record. Raises KeyError, TypeError or ValueError for anything else."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
    }
    return Values(**fields)


def values_of_run(content: Mapping[str, Any]) -> Values:
    """Return the values in the content of a run's settings file; the first runs recorded the shape
    alone. Raises as `from_record`.
    """
    if "values" not in content and "image_shape" in content:
        return from_record({"shape": content["image_shape"]})
    return from_record(content["values"])


def as_values(given: Values | ImageShape) -> Values:
    """Return the values; those of a bare shape are 256 levels in [0, 1]."""
    return given if isinstance(given, Values) else Values(shape=given)
