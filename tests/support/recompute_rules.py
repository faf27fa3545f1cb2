"""The words and the tables of a report against what its statements and its files say.

A number in a sentence stands in a statement of summary.json, whose values `recompute_statements`
recomputes; or in a name that the study gives; or it is the same in every report
(`recompute_constants`). The cells of tables are recomputed by a function for each table.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from recompute_constants import CONSTANTS
from recompute_figures import Study
from recompute_files import Block, Text, numbers_in
from recompute_words import is_answer, texts_below, unmarked

NUM = r"−?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?"

Expected = str | re.Pattern[str] | None
"""The required text of a cell; or a pattern, whose groups alone were recomputed. None where it
cannot come from the tables, or only names what the others are of."""


class Checked(NamedTuple):
    """A number that was recomputed, at its place in README.md."""

    start: int
    end: int
    chapter: str


class Wrong(NamedTuple):
    line: int
    message: str


@dataclass
class State:
    """The study, and the block that is read."""

    study: Study
    block: Block


@dataclass
class Outcome:
    """What was found in a report."""

    checked: list[Checked] = field(default_factory=list)
    wrong: list[Wrong] = field(default_factory=list)
    sentences: int = 0
    """Lines and rows with a number that was recomputed."""


TABLES: list[
    tuple[Callable[[Block], bool], Callable[[State, list[list[str]]], Sequence[Sequence[Expected]]]]
] = []


def shows(applies: Callable[[Block], bool]) -> Callable:
    """Register a function for tables: it takes the rows as words, the header first, and returns
    what their cells must be.
    """

    def register(make: Callable) -> Callable:
        TABLES.append((applies, make))
        return make

    return register


def assert_that(holds: bool) -> None:
    if not holds:
        raise ValueError("the words say otherwise than the figures")


@dataclass(frozen=True)
class Sources:
    """Where the numbers of sentences may come from."""

    study: Study

    @cached_property
    def statements(self) -> list[str]:
        return sorted(texts_below(self.study.report.statements), key=len, reverse=True)

    @cached_property
    def others(self) -> list[str]:
        """Names and texts that the study gives, and what is the same in every report, the longest
        first.
        """
        return sorted([*self.study.report.given, *CONSTANTS], key=len, reverse=True)


def check_words(text: Text, block: Block, sources: Sources, outcome: Outcome) -> None:
    """Find each number of a line in a statement, or in what gives it; a digit that is left is
    wrong.
    """
    words, places = unmarked(text.words)
    left = words
    for said in sources.statements:
        for found in re.finditer(re.escape(said), left):
            outcome.sentences += bool(re.search(r"\d", said))
            outcome.checked += _spans(
                text, said, [places[at] for at in range(*found.span())], block
            )
            left = left[: found.start()] + "·" * len(said) + left[found.end() :]
    for given in sources.others:
        left = left.replace(given, "·" * len(given))
    if re.search(r"\d", left):
        outcome.wrong.append(Wrong(block.line, f"no statement says this: {words}"))


def _spans(text: Text, words: str, places: Sequence[int], block: Block) -> Iterator[Checked]:
    """Yield the numbers of some words, whose characters stand at these places of the text."""
    for found in numbers_in(words):
        first, last = places[found.start()], places[found.end() - 1]
        yield Checked(text.place(first), text.place(last) + 1, block.chapter)


def _of_part(text: Text, words: str, start: int, block: Block) -> Iterator[Checked]:
    return _spans(text, words, range(start, start + len(words)), block)


def check_table(state: State, outcome: Outcome) -> None:
    """Compare the cells of a table with what its rule makes of the header and the names in its
    rows.
    """
    block = state.block
    rows = [[cell.words for cell in row] for row in block.rows]
    make = next((make for applies, make in TABLES if applies(block)), None)
    if make is None:
        if any(re.search(r"\d", cell) for row in rows for cell in row):
            outcome.wrong.append(
                Wrong(block.line, f"no rule for this table: {block.heading}: {', '.join(rows[0])}")
            )
        return
    try:
        expected = make(state, rows)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, StopIteration) as error:
        name = type(error).__name__
        outcome.wrong.append(
            Wrong(block.line, f"cannot be recomputed ({name}: {error}): {block.heading}: {rows[0]}")
        )
        return
    if len(expected) != len(rows) - 1:
        message = (
            f"got {len(rows) - 1} rows; recomputed {len(expected)}: {block.heading}: "
            f"{', '.join(rows[0])}"
        )
        outcome.wrong.append(Wrong(block.line, message))
    for place, (texts, wanted) in enumerate(zip(block.rows[1:], expected, strict=False), start=2):
        outcome.sentences += 1
        for title, text, cell in zip(rows[0], texts, wanted, strict=True):
            if cell is None:
                continue
            parts = None if isinstance(cell, str) else cell.fullmatch(text.words)
            if parts:
                spans = (
                    _of_part(text, parts[group], parts.start(group), block)
                    for group in range(1, len(parts.groups()) + 1)
                )
                outcome.checked += itertools.chain(*spans)
                continue
            if text.words != cell:
                message = (
                    f"got {text.words!r}; recomputed {cell!r}: {block.heading}, {title}, "
                    f"{texts[0].words}"
                )
                outcome.wrong.append(Wrong(block.line + place, message))
            outcome.checked += _of_part(text, text.words, 0, block)


def check(study: Study, blocks: Sequence[Block]) -> Outcome:
    """Check every block of a report."""
    outcome, sources, statements = Outcome(), Sources(study), study.report.statements
    for block in blocks:
        if block.text is None:
            check_table(State(study, block), outcome)
        elif block.chapter == "Answer" and is_answer(
            block.text.words, statements, study.report.words
        ):
            outcome.sentences += 1
            outcome.checked += _of_part(block.text, block.text.words, 0, block)
        else:
            check_words(block.text, block, sources, outcome)
    return outcome
