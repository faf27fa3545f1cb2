"""Times of images in an order that is sure: numbers, times of numpy, and dates of ISO 8601.

Dates as text are read, because 2024-1-9 comes after 2024-1-10 in the order of texts. A date such as
10/2/2024 is refused: it is the second of October or the tenth of February. So are numbers that are
such dates, as 01112022, 011122 or 01.11: the number 01112022 is less than 30102022.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import printable

_YEAR_FIRST = re.compile(r"\d{4}[-/.]|\d{8}T")
_ZONE = re.compile(r"[T ].*[Z+-]")
_WANTED = "numbers, or dates with the year first, as 2024-10-02 or 2024-10-02 14:30 (ISO 8601)"
_CLOCKS = (1, 10**4, 10**6)
"""What a number of a date is multiplied by where a clock follows: nothing, HHMM, HHMMSS."""
_DAY_MONTH = re.compile(r"(\d{1,2}|\d{4})\.(\d{1,2})")
_MOST_DAYS = 31 * 12
_YEARS = (1900, 2100)
_FEW = 3
_EVENER = 0.5
_EVEN = 0.8
"""Dates that are half as uneven as the numbers, or nearly as uneven as numbers that are no dates
with the year first, are meant.
"""


def ranks_of(times: np.ndarray, root: str, where: Callable[[int], str]) -> np.ndarray:
    """Return numbers [N] in the order of the times [N], equal where these are; none is missing.

    where: row → its name in the file, for an error. Raises UserError, which names `root`, for texts
    whose order is not sure.
    """
    import pandas

    if times.dtype.kind in "mM":
        return times
    found, places = np.unique(times, return_inverse=True)
    places = places.reshape(-1)
    given = [str(each).strip() for each in found.tolist()]
    numbers = numbers_of(found)
    if found.dtype.kind == "f" and (found.round(2) == found).all():
        given = [f"{each:.2f}" for each in found.tolist()]  # 1.1 may be the tenth of January
    unsure = numbers is not None and _are_dates(given, numbers)
    if numbers is not None and not unsure:
        return numbers[places]
    texts = [" ".join(text.split()).replace(",", ".") for text in given]
    dates = [text if _YEAR_FIRST.match(text) else "" for text in texts]
    moments = pandas.to_datetime(dates, format="ISO8601", utc=True, errors="coerce")
    wrong = np.flatnonzero(moments.isna()[places])
    if len(wrong):
        shown = printable(given[places[wrong[0]]])[:60]
        problem = f"got the time '{shown}' in {where(int(wrong[0]))}"
        problem += ", a date that begins with the day or the month" * unsure + "; must be"
        remedy = "Save pandas.to_datetime(times, format=…) in its place"
        raise UserError(root, f"{problem} {_WANTED}, for data.split: time. {remedy}.")
    if len({bool(_ZONE.search(text)) for text in texts}) > 1:
        problem = "got times with a time zone and times without one; must be one kind"
        raise UserError(root, f"{problem} for data.split: time. Save all of them in UTC.")
    return np.unique(moments, return_inverse=True)[1][places]


def numbers_of(times: np.ndarray) -> np.ndarray | None:
    """Return times [N] that are numbers, or texts of finite numbers; None for other times."""
    if times.dtype.kind != "U":
        return None if times.dtype.kind in "mM" else times
    for kind in (np.int64, np.float64):
        with suppress(ValueError, OverflowError):
            numbers = times.astype(kind)
            return numbers if np.isfinite(numbers).all() else None
    return None


def _are_dates(texts: Sequence[str], numbers: np.ndarray) -> bool:
    """Return whether different numbers are dates in another order: DDMMYYYY, MMDDYYYY, DDMMYY or
    MMDDYY, with a clock or without, or texts of day and month, as 01.11 or 1.10 beside 1.9.
    """
    whole = numbers.astype(np.float64)
    if (whole == np.rint(whole)).all():
        return any(_year_last(whole // clock) for clock in _CLOCKS)
    if len(texts) > _MOST_DAYS or not all(map(_DAY_MONTH.fullmatch, texts)):
        return False
    firsts, seconds = zip(*(text.split(".") for text in texts), strict=True)
    first, second = np.array([firsts, seconds], np.int64)
    # No number is written 1.10 beside 1.9, and years come first in a date.
    lengths = {*map(len, seconds)}
    if len(lengths) > 1 and {"10", "20", "30"} & {*seconds}:
        return bool(_day_month(np.where(first > _YEARS[0], 1, first), second))
    if any(text[0] == "0" for text in firsts):
        return bool(_day_month(first, second))
    regular = _uneven(second * 31 + first) < _EVENER * _uneven(whole)
    several = lengths == {2} and len({*seconds}) > 1 and (regular or len({*firsts}) > _FEW)
    return several and _within(first, 1, 31) and _within(second, 1, 12)


def _year_last(days: np.ndarray) -> bool:
    """Return whether different whole numbers are dates with the year last, of four digits or of
    two.

    Two digits are the year where the dates then follow each other clearly more evenly than the
    numbers do, as YYMMDD where they may be that; where two digits have fewer values than the first
    two, unless the numbers are clearly more even.
    """
    first, second, year = days // 10**6, days // 10**4 % 100, days % 10**4
    if _within(year, *_YEARS) and _day_month(first, second):
        return True
    first, second, year = days // 10**4, days // 100 % 100, days % 100
    pairs = _day_month(first, second)
    if not pairs:
        return False
    year_first = _within(second, 1, 12) and _within(year, 1, 31)
    own = _uneven(_day(first, second, year) if year_first else days)
    century = (year + 50) % 100  # 99 comes before 00
    dated = min(_uneven(_day(century, month, day)) for day, month in pairs)
    few = len(np.unique(year)) < len(np.unique(first))
    return dated < (_EVENER if year_first else _EVEN) * own or (few and _EVENER * dated <= own)


def _day(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> np.ndarray:
    return (12 * year + month) * 31 + day


def _uneven(times: np.ndarray) -> float:
    """Return the standard deviation of the gaps between different times over their mean."""
    gaps = np.diff(np.unique(times))
    return float(gaps.std() / gaps.mean()) if len(gaps) else 0.0


def _day_month(first: np.ndarray, second: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the two numbers as day and month, and as month and day, where all may be that."""
    pairs = ((first, second), (second, first))
    return [each for each in pairs if _within(each[0], 1, 31) and _within(each[1], 1, 12)]


def _within(numbers: np.ndarray, low: int, high: int) -> bool:
    return bool(((low <= numbers) & (numbers <= high)).all())
