"""Numbers, values, durations, shares and lists as text: the one place in which a number becomes
words.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.results import Interval

NATS = "validation −ELBO (nats per image)"

LABELS = {"beta": "β", "beta1": "β₁", "beta2": "β₂"}
"""Parameters with a usual symbol; other parameters are called by their name, with spaces."""


def parameter_label(name: str) -> str:
    """Return how text and axes call a parameter."""
    return LABELS.get(name, name.replace("_", " "))


def format_number(value: Any, digits: int = 2) -> str:
    """Format a measured number with so many decimals, or `fitting_digits`, and a real minus sign;
    an en dash stands for a missing number.
    """
    return "–" if is_missing(value) else format_fixed(value, fitting_digits(value, digits))


def format_fixed(value: Any, digits: int) -> str:
    """Format a number as `format_number`, with so many decimals however large it is."""
    if is_missing(value) or not math.isfinite(value):
        return "–"
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")


def format_signed(number: float) -> str:
    """Format a number with five significant digits at most and a real minus sign."""
    return f"{number:,.5g}".replace("-", "−")


def fitting_digits(value: float, digits: int) -> int:
    """Return the decimals of a number: of more than three, fewer by each digit before the point
    after the first. An error in the unit of the data may be of any size.
    """
    if digits <= 3 or not 10 <= abs(value) < math.inf:
        return digits
    return max(0, digits - math.floor(math.log10(abs(value))))


def format_value(value: Any) -> str:
    """Format a parameter's value for a report: three significant digits, whole numbers whole, an en
    dash for none.
    """
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, list | tuple):
        return "–".join(format_value(part) for part in value)
    if is_missing(value):
        return "–"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{int(value):,}" if hasattr(value, "__int__") else str(value)


def format_short(value: Any) -> str:
    """Format a setting or a metric for a terminal: four or five significant digits, nothing for
    none.
    """
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        if abs(value) < 100:
            return f"{value:.4g}"
        return f"{value:.2f}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list | tuple):
        return ", ".join(format_short(item) for item in value)
    return str(value)


def format_tick(value: float, position: int | None = None) -> str:
    """Format a number on an axis: 0.001, 0.1, 10, 1,000; powers outside 1e-4 … 1e6 as 1e-05."""
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return f"{value:,.10g}" if abs(value) >= 1 else f"{value:.10f}".rstrip("0").rstrip(".")
    return f"{value:.3g}"


def format_configuration(values: Mapping[str, Any]) -> str:
    """Format a configuration for a report: `β = 0.98, latent size = 21, optimizer = adam`."""
    return ", ".join(
        f"{parameter_label(name)} = {format_value(value)}" for name, value in values.items()
    )


SHORT = {"beta": "β", "latent_size": "L", "learning_rate": "lr", "components": "K"}


def format_briefly(values: Mapping[str, Any]) -> str:
    """Format a configuration beside a picture: `L = 21, lr = 0.0012, adam, K = 12`; a name that is
    a value stands alone.
    """
    parts = {name: format_value(value) for name, value in values.items()}
    return ", ".join(
        text
        if isinstance(values[name], str)
        else f"{SHORT.get(name, parameter_label(name))} = {text}"
        for name, text in parts.items()
    )


def format_params(params: Mapping[str, Any]) -> str:
    """Format a configuration for a terminal: `beta=0.31 latent_size=12 optimizer=adam`."""
    return " ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in params.items()
    )


def format_interval(interval: "Interval", digits: int = 2) -> str:
    """Format `98.12 ± 0.31`, or the mean alone where one value gives no interval."""
    digits = fitting_digits(interval.mean, digits)
    width = f" ± {format_fixed(interval.half_width, digits)}" if math.isfinite(interval.low) else ""
    return f"{format_fixed(interval.mean, digits)}{width}"


def format_reach(interval: "Interval") -> str:
    """Format `−0.31 to 1.55`, because an interval need not be symmetric; an en dash where there is
    no interval.
    """
    return (
        f"{format_number(interval.low)} to {format_number(interval.high)}"
        if math.isfinite(interval.low)
        else "–"
    )


def format_least(p: float) -> str:
    """Format `0.012`; `< 0.0001` below that."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def format_share(share: float) -> str:
    """Format `84 %`; a share above nothing that would round to nothing is `under 1 %`."""
    return "under 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def format_duration(seconds: float) -> str:
    """Format seconds in two units at most: `48 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`; `under 1
    s` for less than half a second.
    """
    whole = max(0, round(seconds))
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for (name, size), (small_name, small) in pairwise(units):
        if whole >= size:
            rest = whole % size // small
            return (
                f"{whole // size} {name} {rest} {small_name}" if rest else f"{whole // size} {name}"
            )
    return "under 1 s" if 0 < seconds < 0.5 else f"{whole} s"


def join_and(parts: Sequence[str]) -> str:
    """Join `a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Format a count with its noun: `1 trial`, `2 trials`, `1,200 trial-epochs`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def noun_of(kind: str) -> str:
    """Return what one element of a data set is called: `row` of a table, `signal`, else `image`.

    kind: of `vaeexp.data.showing.kind_of`.
    """
    return {"table": "row", "signal": "signal"}.get(kind, "image")


NOUN: ContextVar[str] = ContextVar("NOUN", default="image")
"""`noun_of` the data that words of this package are about."""


@contextmanager
def naming(noun: str) -> Iterator[None]:
    """Let `of_data` write this noun for the length of a `with` block."""
    token = NOUN.set(noun)
    try:
        yield
    finally:
        NOUN.reset(token)


def of_data(text: str) -> str:
    """Return words of this package, which are written for images, for the data at hand: `an image`
    is `a row`, and pixels are values.
    """
    noun = NOUN.get()
    if noun == "image":
        return text
    text = re.sub(r"\b(a)n (?=image\b)", r"\1 ", text, flags=re.IGNORECASE)
    for capital in (str.lower, str.capitalize):
        # A word of a path or of the name of a file stays.
        whole = rf"(?<![\w./-]){capital('image')}(?=s?\b(?![./_-]\w))"
        text = re.sub(whole, capital(noun), text)
    return re.sub(r"\b(?:sub-)?pixel(?=s?\b)", "value", text)


def one_line(text: str, most: int = 300) -> str:
    """Return a text of a user on one line for a terminal or a cell, cut to so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def is_missing(value: Any) -> bool:
    """Tell whether a value is None, NaN or <NA>."""
    if value is None or isinstance(value, str | list | tuple | dict):
        return value is None
    if isinstance(value, float):
        return math.isnan(value)
    # pandas.NA, which compares with nothing; pandas takes long to import.
    return type(value).__name__ == "NAType"


def format_megabytes(size: int) -> str:
    """Return a size in bytes as `1,234.5 MB`, of 10⁶ bytes each."""
    return f"{size / 1e6:,.1f} MB"


def format_gibibytes(size: int) -> str:
    """Return a size in bytes as `1.5 GiB`, of 2³⁰ bytes each."""
    return f"{size / 2**30:.1f} GiB"


def moment(seconds: float | None) -> str | None:
    """Return a time as the clock of this machine shows it."""
    return (
        None
        if seconds is None
        else datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
    )
