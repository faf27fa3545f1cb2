"""Times of images in an order that is sure: numbers, times of numpy, and dates of ISO 8601.

Dates as text are read, because 2024-1-9 comes after 2024-1-10 in the order of texts. A date such as
10/2/2024 is refused: it is the second of October or the tenth of February.
"""

import re
from collections.abc import Callable, Sequence
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


def ranks_of(times: np.ndarray, root: str, where: Callable[[int], str]) -> np.ndarray:
    """Return numbers [N] in the order of the times [N], equal where these are; none is missing.

    where: row → its name in the file, for an error. Raises UserError, which names `root`, for texts
    whose order is not sure.
    """
    if times.dtype.kind != "U":
        return times
    texts, places = np.unique(times, return_inverse=True)
    places = places.reshape(-1)
    given = [text.strip() for text in texts.tolist()]
    numbers = _as_numbers(given)
    if numbers is not None:
        return numbers[places]
    read = [_read(text) for text in given]
    for row, place in enumerate(places.tolist()):
        if read[place] is None:
            problem = f"got the time '{printable(given[place])[:60]}' in {where(row)}; must be"
            remedy = "Save pandas.to_datetime(times, format=…) in its place"
            raise UserError(root, f"{problem} {_WANTED}, for data.split: time. {remedy}.")
    found = [time for time in read if time is not None]
    if len({with_zone for with_zone, _ in found}) > 1:
        problem = "got times with a time zone and times without one; must be one kind"
        raise UserError(root, f"{problem} for data.split: time. Save all of them in UTC.")
    moments = [moment for _, moment in found]
    order = {moment: rank for rank, moment in enumerate(sorted(set(moments)))}
    return np.array([order[moment] for moment in moments], np.int64)[places]


def _as_numbers(texts: Sequence[str]) -> np.ndarray | None:
    """Return the numbers that all of the texts are; None where one is none."""
    try:
        return np.array([int(text) for text in texts], np.int64)
    except (ValueError, OverflowError):
        pass
    try:
        return np.array([float(text) for text in texts])
    except ValueError:
        return None


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
