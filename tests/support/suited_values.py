"""Values of targets that a likelihood describes."""

from typing import Any

from vaeexp.data.values import ImageShape, Values
from vaeexp.models.parts import LIKELIHOOD_SUPPORTS


def suited(likelihood: str, shape: ImageShape, **changes: Any) -> Values:
    """Values of this shape that the likelihood describes: counts for one of counts, real numbers
    for student_t, which so has linear means, and 256 levels in [0, 1] for the others.
    """
    if LIKELIHOOD_SUPPORTS[likelihood] == "counts":
        return Values(shape=shape, **{**COUNTS, **changes})
    real = REAL if likelihood == "student_t" else {}
    return Values(shape=shape, **{**real, **changes})


COUNTS = {"unit": False, "levels": None, "counts": True, "row_sum": 12.0}
REAL = {"unit": False, "levels": None}
