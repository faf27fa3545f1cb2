"""Statements in words: the values of a statement, written into its template."""

import re
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from typing import Any

from vaeexp.report.markup import code, escape
from vaeexp.report.templates import PROCEDURES, QUESTIONS, TEMPLATES, VERBS
from vaeexp.results.statements import Figure, Statement
from vaeexp.words import (
    fitting_digits,
    format_configuration,
    format_duration,
    format_fixed,
    format_least,
    format_number,
    format_share,
    format_value,
    is_missing,
    join_and,
    of_data,
    plural,
)

_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_FIELD = re.compile(r"\{(\w+)(?::[^{}]*)?\}")


def words(statement: Statement, escape: Callable[[str], str] | None = None) -> str:
    """Return a statement in words.

    Args:
        escape: what makes markdown of a text of the study; without it the words are plain.
    """
    template = of_data(TEMPLATES[statement.id])
    marks = {" < ": " &lt; ", " > ": " &gt; "} if escape else {"**": ""}
    for mark, written in marks.items():
        template = template.replace(mark, written)
    while _OPTIONAL.search(template):
        template = _OPTIONAL.sub(lambda part: _kept(part[1], statement.values), template)
    return _Writer(escape).vformat(template, (), statement.values)


def sentence(statement: Statement, escape: Callable[[str], str] | None = None) -> str:
    """Return the words of a statement as a sentence: with a full stop, where they do not end in one
    or in a command.
    """
    said = words(statement, escape)
    return said if said.endswith(".") or "command" in statement.values else f"{said}."


def markdown(statement: Statement) -> str:
    """Return the sentence of a statement as markdown."""
    return sentence(statement, escape)


@dataclass(frozen=True)
class Words:
    """A statement that stands inside a sentence."""

    statement: Statement


Block = str | Statement | Words | tuple["Block", ...]
"""A block of a report: markdown, a statement as a sentence of its own, or such parts one after the
other.
"""


def written(block: Block) -> str:
    """Return a block as markdown."""
    if isinstance(block, Statement):
        return markdown(block)
    if isinstance(block, Words):
        return words(block.statement, escape)
    return "".join(map(written, block)) if isinstance(block, tuple) else block


def said_in(blocks: Iterable[Block]) -> list[Statement]:
    """Return the statements of these blocks, in their order."""
    said: list[Statement] = []
    for block in blocks:
        if isinstance(block, Statement | Words):
            said.append(block if isinstance(block, Statement) else block.statement)
        elif isinstance(block, tuple):
            said += said_in(block)
    return said


def joined(parts: Iterable[Block], between: str = " ") -> Block:
    """Return parts as one block, with words between them."""
    return tuple(chain.from_iterable((between, part) for part in parts))[1:]


def bullets(lines: Iterable[Block]) -> Block:
    """Return a list with a line for each of these."""
    return joined((("- ", line) for line in lines), "\n")


def _kept(part: str, values: Mapping[str, Any]) -> str:
    """Return the words between brackets; nothing where a value in them is missing."""
    return "" if any(_missing(values.get(name)) for name in _FIELD.findall(part)) else part


def _missing(value: Any) -> bool:
    if isinstance(value, Figure):
        return is_missing(value.value)
    return is_missing(value) or value in ("", ())


def with_interval(figure: Figure) -> str:
    """Return `98.12 ± 0.31`; an interval that is not symmetric by its ends; the mean alone where
    there is none.
    """
    digits = fitting_digits(figure.value, figure.digits or 2)
    mean, low, high = (
        format_fixed(value, digits) for value in (figure.value, figure.low, figure.high)
    )
    if is_missing(figure.low):
        return mean
    below = figure.value - figure.low
    above = figure.high - figure.value
    if abs(below - above) > 1e-6 * (above + below):
        return f"{mean} ({low} to {high})"
    return f"{mean} ± {format_fixed((below + above) / 2, digits)}"


FORMS: dict[str, Callable[[Any], str]] = {
    "counts": lambda counts: join_and([f"{count:,} {name}" for name, count in counts.items()]),
    "question": QUESTIONS.__getitem__,
    "verb": lambda kind: VERBS.get(kind, "failed"),
    "procedure": PROCEDURES.__getitem__,
    "duration": format_duration,
    "±": with_interval,
    "+±": lambda figure: ("+" if figure.value > 0 else "") + with_interval(figure),
    "to": lambda figure: (
        f"{format_number(figure.low, figure.digits)} to {format_number(figure.high, figure.digits)}"
    ),
    "size": lambda figure: format_number(abs(figure.value), figure.digits or 2),
    "size ±": lambda figure: with_interval(figure.turned if figure.value < 0 else figure),
    "short": lambda figure: format(Decimal(f"{figure.value:.3g}"), ",f"),
    "share": format_share,
}
"""What may stand after the colon of a field → how it writes a value in which nothing needs
escaping.
"""


@dataclass(frozen=True)
class _Writer(string.Formatter):
    """Writes the values of a statement into its template."""

    escape: Callable[[str], str] | None

    def format_field(self, value: Any, format_spec: str) -> str:
        """Return a value as the words after the colon of its field ask for."""
        form = format_spec
        if form in FORMS:
            return FORMS[form](value)
        if "|" in form:
            return form.split("|")[value.value < 0]
        if form.startswith("all "):
            noun = form.removeprefix("all ")
            return f"the one {noun}" if value == 1 else f"all {plural(value, noun)}"
        match form:
            case "":
                return self._text(value)
            case "<":
                first = " < ".join(map(str, value[:5]))
                return self._text(f"{first} < …" if len(value) > 5 else first)
            case "p" | "least":
                sign = "= " if form == "p" and value >= 1e-4 else ""
                return f"{sign}{self._text(format_least(value))}"
            case "quoted":
                return join_and([f"“{self._text(part)}”" for part in value])
            case "or":
                return " or ".join(map(self._text, value))
            case "code":
                return code(value) if self.escape else str(value)
        return plural(int(value.n or 0) if isinstance(value, Figure) else int(value), form)

    def _text(self, value: Any) -> str:
        if isinstance(value, Figure):
            return (
                format_value(value.value)
                if value.digits is None
                else format_number(value.value, value.digits)
            )
        if isinstance(value, Statement):
            return words(value, self.escape)
        if isinstance(value, tuple) and isinstance(value[0], Statement):
            return "; ".join(map(self._text, value))
        if isinstance(value, tuple | list):
            return join_and([self._text(part) for part in value]) if value else "none"
        text = format_configuration(value) if isinstance(value, Mapping) else value
        text = f"{text:,}" if isinstance(text, int) else str(text)
        return self.escape(text) if self.escape else text
