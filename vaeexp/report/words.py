"""Measured figures and lists as the report writes them: intervals, durations, shares."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from sweeps.results.statistics import Interval, mean_interval
from vaeexp.results.frames import column, number


def finite(values: pd.Series) -> np.ndarray:
    """The values that are numbers, float64: neither missing nor infinite."""
    numbers = values.to_numpy(dtype=float, na_value=math.nan)
    return numbers[np.isfinite(numbers)]


def test_interval(runs: pd.DataFrame, metric: str) -> Interval:
    """95 % interval (Student's t) of a test figure over the seeds of one configuration; NaN where no run has it."""
    return mean_interval(finite(column(runs, f"result.{metric}")))


def interval_text(interval: Interval, digits: int = 2) -> str:
    """`98.12 ± 0.31`, or the mean alone where one value gives no interval; with this many decimals."""
    width = f" ± {number(interval.half_width, digits)}" if math.isfinite(interval.low) else ""
    return f"{number(interval.mean, digits)}{width}"


def reach_text(interval: Interval) -> str:
    """`−0.31 to 1.55`, for intervals that need not be symmetric; an en dash where there is none."""
    return f"{number(interval.low)} to {number(interval.high)}" if math.isfinite(interval.low) else "–"


def percent(share: float) -> str:
    """`84 %`; a share above nothing that would round to it is `under 1 %`."""
    return "under 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def duration(seconds: float) -> str:
    """`41 s`, `5 min 12 s`, `2 h 03 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s" if whole else "under 1 s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"
