"""The checks of trust in words: a table in the report, lines for status and MLflow, objects for programs."""

from collections.abc import Callable
from typing import Any

from vaeexp.report.markup import escape, heading, table
from vaeexp.report.sentences import QUESTIONS, words
from vaeexp.results.statements import Statement, plain
from vaeexp.results.trust import Check, CheckVerdict

SIGNS: dict[CheckVerdict, str] = {
    "good": "✓ good",
    "warning": "✗ warning",
    "unknown": "? cannot be said",
    "nothing": "– nothing to check",
}
"""Verdict of a check → a sign and a word, neither of which needs a colour."""


def figure(check: Check, text: Callable[[str], str] | None = None) -> str:
    """Return what a check found, without a full stop; with `text` as markdown."""
    return "; ".join(words(statement, text) for statement in (*check.found, *check.further))


def advice(check: Check, text: Callable[[str], str] | None = None) -> str:
    """Return what to do; empty where there is nothing to do."""
    return "" if check.advice is None else words(check.advice, text)


def trust_chapter(checks: list[Check]) -> list[str]:
    """Return the checks of a study as a chapter; empty where there is no check to make."""
    if not checks:
        return []
    rows = [
        [QUESTIONS[check.id], figure(check, escape), SIGNS[check.verdict], advice(check, escape) or "–"]
        for check in checks
    ]
    return [heading("Can this study be trusted?"), table(["check", "number", "verdict", "what to do"], rows)]


def plain_checks(checks: list[Check]) -> list[dict[str, Any]]:
    """Return the checks as JSON has them."""
    return [
        {
            "id": check.id,
            "name": QUESTIONS[check.id],
            "verdict": check.verdict,
            "statements": [plain_statement("trust", one, words(one)) for one in (*check.found, *check.further)],
            "advice": check.advice and plain_statement("trust", check.advice, words(check.advice)),
        }
        for check in checks
    ]


def plain_statement(part: str, statement: Statement, text: str) -> dict[str, Any]:
    """Return a statement as JSON has it, with its part of the report and its words."""
    return {"part": part, **plain(statement), "text": text}
