"""Times of images in an order that is sure: numbers, times of numpy, and dates of ISO 8601.

Dates as text are read, because 2024-1-9 comes after 2024-1-10 in the order of texts. A date such as
10/2/2024 is refused: it is the second of October or the tenth of February. So are numbers that are
such dates, as 01112022, 011122 or 01.11: the number 01112022 is less than 30102022.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import printable

_CLOCK = r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
_ZONE = r"\s?(?P<zone>Z|[+-]\d\d:?\d\d)?"
_DATE = r"(?P<year>\d{4})(?P<mark>[-/.])(?P<month>\d{1,2})(?:(?P=mark)(?P<day>\d{1,2}))?"
_ISO = re.compile(rf"{_DATE}(?:(?:T|\s+){_CLOCK}{_ZONE})?")
_COMPACT = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)[T_ -]?"
    r"(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)?(?P<fraction>)(?P<zone>Z)?"
)
_WANTED = "numbers, or dates with the year first, as 2024-10-02 or 2024-10-02 14:30 (ISO 8601)"
_NANO = 10**9
_CLOCKS = (1, 10**4, 10**6)
"""What a number of a date is multiplied by where a clock follows: nothing, HHMM, HHMMSS."""
_DAY_MONTH = re.compile(r"(\d{1,2}|\d{4})\.(\d{1,2})")
_MOST_DAYS = 31 * 12
_YEARS = (1900, 2100)
_FEW = 3


def ranks_of(times: np.ndarray, root: str, where: Callable[[int], str]) -> np.ndarray:
    """Return numbers [N] in the order of the times [N], equal where these are; none is missing.

    where: row → its name in the file, for an error. Raises UserError, which names `root`, for texts
    whose order is not sure.
    """
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
    read = [_read(text) for text in given]
    for row, place in enumerate(places.tolist()):
        if read[place] is None:
            problem = f"got the time '{printable(given[place])[:60]}' in {where(row)}"
            problem += ", a date that begins with the day or the month" * unsure + "; must be"
            remedy = "Save pandas.to_datetime(times, format=…) in its place"
            raise UserError(root, f"{problem} {_WANTED}, for data.split: time. {remedy}.")
    dates = [time for time in read if time is not None]
    if len({with_zone for with_zone, _ in dates}) > 1:
        problem = "got times with a time zone and times without one; must be one kind"
        raise UserError(root, f"{problem} for data.split: time. Save all of them in UTC.")
    moments = [moment for _, moment in dates]
    order = {moment: rank for rank, moment in enumerate(sorted(set(moments)))}
    return np.array([order[moment] for moment in moments], np.int64)[places]


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
    pairs = [_DAY_MONTH.fullmatch(text) for text in texts[: _MOST_DAYS + 1]]
    found = [pair.groups() for pair in pairs if pair]
    if len(found) < len(texts):
        return False
    firsts, seconds = ([*side] for side in zip(*found, strict=True))
    first, second = (np.array(side, np.int64) for side in (firsts, seconds))
    # No number is written 1.10 beside 1.9, and years come first in a date.
    lengths = {*map(len, seconds)}
    if len(lengths) > 1 and {"10", "20", "30"} & {*seconds}:
        return _day_month(np.where(first > _YEARS[0], 1, first), second)
    if any(text[0] == "0" for text in firsts):
        return _day_month(first, second)
    several = lengths == {2} and len({*seconds}) > 1 and len({*firsts}) > _FEW
    return several and _within(first, 1, 31) and _within(second, 1, 12)


def _year_last(days: np.ndarray) -> bool:
    """Return whether different whole numbers are dates with the year last, of four digits or of
    two. Two digits are the year where they have fewer values than the first two digits.
    """
    for digits, unit in ((4, 10**4), (2, 100)):
        first, second, year = days // (100 * unit), days // unit % 100, days % unit
        few = len(np.unique(year)) < len(np.unique(first))
        if (_within(year, *_YEARS) if digits == 4 else few) and _day_month(first, second):
            return True
    return False


def _day_month(first: np.ndarray, second: np.ndarray) -> bool:
    """Return whether all pairs of numbers are a day and a month, or all a month and a day."""
    pairs = ((first, second), (second, first))
    return any(_within(day, 1, 31) and _within(month, 1, 12) for day, month in pairs)


def _within(numbers: np.ndarray, low: int, high: int) -> bool:
    return bool(((low <= numbers) & (numbers <= high)).all())


def _read(text: str) -> tuple[bool, int] | None:
    """Return whether a date has a time zone, and its nanoseconds since 1970; None for another
    text.
    """
    found = _ISO.fullmatch(text) or _COMPACT.fullmatch(text)
    if found is None:
        return None
    part = found.groupdict()
    names = ("year", "month", "day", "hour", "minute", "second")
    least = (1, 1, 1, 0, 0, 0)
    numbers = [int(part[name] or low) for name, low in zip(names, least, strict=True)]
    try:
        zone = _zone(part["zone"] or "")
        moment = datetime(*numbers, tzinfo=zone or UTC)  # type: ignore[misc, arg-type]
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    nanos = int(f"{part['fraction'] or 0:0<9}")
    return zone is not None, (since // timedelta(seconds=1)) * _NANO + nanos


def _zone(text: str) -> timezone | None:
    """Return the time zone `Z`, `+02:00` or `-0530`; None for the empty text."""
    if text in ("", "Z"):
        return UTC if text else None
    minutes = 60 * int(text[1:3]) + int(text[-2:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))
