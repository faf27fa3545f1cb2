"""Rules of the sentences and tables of a report: a pattern, and a function that recomputes the numbers in its groups."""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from recompute_figures import Study
from recompute_files import Block, Text, numbers_in
from recompute_words import is_answer, is_said

NUM = r"−?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?"

Expected = str | re.Pattern[str] | None
"""The required text of a group or a cell; of a cell also a pattern, whose groups alone were recomputed. None where it cannot come from
the tables, or only names what the others are of."""


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
    """The study, the block that is read, and what its first words are about."""

    study: Study
    block: Block
    subject: str = ""
    """A parameter or the title of a baseline."""


@dataclass
class Outcome:
    """The matches in a report."""

    checked: list[Checked] = field(default_factory=list)
    wrong: list[Wrong] = field(default_factory=list)
    sentences: int = 0
    """Sentences, entries and rows with a number that was recomputed."""
    constant: int = 0
    """Those of the list of constants."""


@dataclass(frozen=True)
class Rule:
    pattern: re.Pattern[str]
    make: Callable[..., Any] | None
    """None for a constant."""
    reason: str = ""


RULES: list[Rule] = []
TABLES: list[tuple[Callable[[Block], bool], Callable[[State, list[list[str]]], Sequence[Sequence[Expected]]]]] = []


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(f"(?:{pattern})(?=[.;:,]?(?: |$))")


def says(*patterns: str) -> Callable:
    """Register a function for sentences, or parts between two semicolons, of these patterns: it returns what the groups must be."""

    def register(make: Callable) -> Callable:
        RULES.extend(Rule(_compiled(pattern), make) for pattern in patterns)
        return make

    return register


def constant(reason: str, *patterns: str) -> None:
    """Register words whose numbers are none of the study's figures, with the reason."""
    RULES.extend(Rule(_compiled(pattern), None, reason) for pattern in patterns)


def shows(applies: Callable[[Block], bool]) -> Callable:
    """Register a function for tables: it takes the rows as words, the header first, and returns what their cells must be."""

    def register(make: Callable) -> Callable:
        TABLES.append((applies, make))
        return make

    return register


def assert_that(holds: bool) -> None:
    if not holds:
        raise ValueError("the words say otherwise than the figures")


_SENTENCE = re.compile(r"[.!?](?= [A-Z*(“−β])|; |$")


def check_words(text: Text, state: State, outcome: Outcome) -> None:
    """Read a paragraph, an entry or a cell from left to right, each sentence by the rule that explains most of it."""
    words, at = text.words, 0
    while at < len(words):
        at = re.compile(r"[.;:, ]*").match(words, at).end()  # type: ignore[union-attr]
        matches = [(found, rule) for rule in RULES if (found := rule.pattern.match(words, at))]
        if not matches:
            end = _SENTENCE.search(words, at).end()  # type: ignore[union-attr]
            if re.search(r"\d", words[at:end]):
                outcome.wrong.append(Wrong(state.block.line, f"no rule for this sentence: {words[at:end]}"))
            at = max(end, at + 1)
            continue
        found, rule = max(matches, key=lambda each: each[0].end())
        if rule.make is None:
            outcome.constant += 1
        else:
            _compare(found, rule, text, state, outcome)
        at = max(found.end(), at + 1)


def _compare(found: re.Match[str], rule: Rule, text: Text, state: State, outcome: Outcome) -> None:
    assert rule.make is not None
    try:
        made = rule.make(state, *found.groups())
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, StopIteration) as error:
        name = type(error).__name__
        outcome.wrong.append(Wrong(state.block.line, f"cannot be recomputed ({name}: {error}): {found[0]}"))
        return
    expected = [made] if isinstance(made, str) or made is None else list(made)
    outcome.sentences += 1
    for place, (got, wanted) in enumerate(zip(found.groups(), expected, strict=True), start=1):
        if wanted is None:
            continue
        if (got or "") != wanted:
            outcome.wrong.append(Wrong(state.block.line, f"got {got!r}; recomputed {wanted!r}: {found[0]}"))
        outcome.checked += _spans(text, got or "", found.start(place), state.block)


def _spans(text: Text, words: str, start: int, block: Block) -> Iterator[Checked]:
    for found in numbers_in(words):
        first, last = start + found.start(), start + found.end()
        yield Checked(text.place(first), text.place(last - 1) + 1, block.chapter)


def check_table(state: State, outcome: Outcome) -> None:
    """Compare the cells of a table with what its rule makes of the header and the names in its rows."""
    block = state.block
    rows = [[cell.words for cell in row] for row in block.rows]
    make = next((make for applies, make in TABLES if applies(block)), None)
    if make is None:
        if any(re.search(r"\d", cell) for row in rows for cell in row):
            outcome.wrong.append(Wrong(block.line, f"no rule for this table: {block.heading}: {', '.join(rows[0])}"))
        return
    try:
        expected = make(state, rows)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, StopIteration) as error:
        name = type(error).__name__
        outcome.wrong.append(Wrong(block.line, f"cannot be recomputed ({name}: {error}): {block.heading}: {rows[0]}"))
        return
    if len(expected) != len(rows) - 1:
        message = f"got {len(rows) - 1} rows; recomputed {len(expected)}: {block.heading}: {', '.join(rows[0])}"
        outcome.wrong.append(Wrong(block.line, message))
    for place, (texts, wanted) in enumerate(zip(block.rows[1:], expected, strict=False), start=2):
        outcome.sentences += 1
        for title, text, cell in zip(rows[0], texts, wanted, strict=True):
            if cell is None:
                continue
            parts = None if isinstance(cell, str) else cell.fullmatch(text.words)
            if parts:
                spans = (
                    _spans(text, parts[group], parts.start(group), block) for group in range(1, len(parts.groups()) + 1)
                )
                outcome.checked += itertools.chain(*spans)
                continue
            if text.words != cell:
                message = f"got {text.words!r}; recomputed {cell!r}: {block.heading}, {title}, {texts[0].words}"
                outcome.wrong.append(Wrong(block.line + place, message))
            outcome.checked += _spans(text, text.words, 0, block)


def _is_statement(study: Study, block: Block) -> bool:
    """Tell whether a line is made of statements, whose values `recompute_statements` checks; the words of an earlier version are not read."""
    assert block.text is not None
    words, statements = block.text.words, study.report.statements
    if statements is None or is_said(words, statements):
        return True
    return block.chapter == "Answer" and is_answer(words, statements, study.report.words)


def check(study: Study, blocks: Sequence[Block]) -> Outcome:
    """Check every block of a report."""
    outcome = Outcome()
    for block in blocks:
        state = State(study, block)
        if block.text is not None and _is_statement(study, block):
            outcome.sentences += 1
            outcome.checked += _spans(block.text, block.text.words, 0, block)
        elif block.text is not None:
            check_words(block.text, state, outcome)
        else:
            check_table(state, outcome)
    return outcome
