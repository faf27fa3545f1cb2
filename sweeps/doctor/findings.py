"""Findings of `doctor`: what was looked at, whether it is right, and what puts it right."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from sweeps.errors import masked


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    """The thing, in a word or two; with the study or run that it belongs to."""
    ok: bool | None
    """None where nothing can be told."""
    words: str
    """The state of the thing."""
    remedy: str = ""
    """The steps to take where it is not right."""
    repair: Callable[[], str] | None = field(default=None, compare=False)
    """Puts it right without deleting results, and says in words what was done. None where only a
    person can.
    """


Check = Callable[[], Iterable[Finding]]


def examine(check: Check, name: str) -> Iterator[Finding]:
    """Yield the findings of a check. An error of the check itself is a finding, too, with the name
    of the check.
    """
    try:
        yield from check()
    except Exception as error:  # a doctor that dies of what it finds would tell nothing
        lines = str(error).splitlines() or [type(error).__name__]
        yield Finding(name=name, ok=False, words=masked(f"could not be looked at: {lines[0]}"))
