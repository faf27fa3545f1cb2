"""Statements: the findings of a report as objects, from which its words and its summary for
programs are made.

A statement has an id, named values and the rows that they come from. Its words are a template of
`vaeexp.report.templates`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from vaeexp.words import is_missing

if TYPE_CHECKING:
    from sweeps.results import Interval

NATS = "nats per image"


@dataclass(frozen=True)
class Figure:
    """A number of a statement."""

    value: float
    unit: str = ""
    n: int | None = None
    """Of a mean: how many values it is of."""
    low: float = math.nan
    """Ends of the 95 % interval; NaN where there is none."""
    high: float = math.nan
    digits: int | None = 2
    """Decimals in words; None for a setting, which is written with three significant digits."""

    @classmethod
    def of(cls, interval: "Interval", unit: str = NATS, digits: int = 2) -> Self:
        """Return the figure of a mean with its interval."""
        return cls(interval.mean, unit, interval.n, interval.low, interval.high, digits)

    @property
    def turned(self) -> Self:
        """Return the figure of the opposite difference."""
        return replace(self, value=-self.value, low=-self.high, high=-self.low)

    @property
    def sure(self) -> bool:
        """Whether it has an interval, which leaves out 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Statement:
    """One finding."""

    id: str
    """Of its template in `templates.TEMPLATES`."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """By name: a `Figure`, a text, a whole number, a configuration (a mapping of settings), another
    statement, a tuple of such; None where there is none.
    """
    rows: tuple[str, ...] = ()
    """Trials (`45`) and repeats (`r3`) that they come from, as `trials.csv` has them."""


Statements = tuple[Statement, ...]


def say(kind: str, rows: Iterable[object] = (), /, **values: Any) -> Statement:
    """Return the statement with this id, of rows given by name or number."""
    return Statement(id=kind, values=values, rows=tuple(map(str, rows)))


Caption = str | list[str | Statement]
"""Words below a plot, in which statements stand among sentences that are the same for every
study.
"""


def plain(statement: Statement) -> dict[str, Any]:
    """Return a statement as JSON has it, without its words."""
    values = {name: _plain(value) for name, value in statement.values.items()}
    return {"id": statement.id, "values": values, "rows": list(statement.rows)}


def _plain(value: Any) -> Any:
    if isinstance(value, Figure):
        return {
            name: _plain(getattr(value, name)) for name in ("value", "unit", "n", "low", "high")
        }
    if isinstance(value, Statement):
        return plain(value)
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if is_missing(value) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value
