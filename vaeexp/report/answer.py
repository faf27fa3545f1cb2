"""The answer of a study: the warnings above it, at most fifteen lines made of its findings, its
doubts and the next command; and the checks of trust.
"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain
from typing import Any

from vaeexp.report.findings import ENDED, findings
from vaeexp.report.markup import escape, heading, table
from vaeexp.report.recommendation import get, use
from vaeexp.report.sentences import markdown, sentence, words
from vaeexp.report.stages import stage_doubts
from vaeexp.report.templates import QUESTIONS
from vaeexp.results.statements import Statement, plain, say
from vaeexp.results.study_view import StudyView, in_words_of_data
from vaeexp.results.trust import Check, CheckVerdict, check_study

MOST_LINES = 15
WIDTH = 160
"""Characters of a line, at most."""
MOST_DOUBTS = 3
GRAVE = (
    "new_seeds",
    "code_used",
    "plan",
    "learned_out",
    "seeds",
    "on_test",
    "levelled_off",
    "pruner",
    "bounds",
)
"""Checks, the gravest doubt first: runs that fail or end early make every other figure doubtful,
and a winner at an end is often there by chance.
"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The statements of an answer, by their part."""

    use: Sequence[Statement]
    get: Sequence[Statement]
    findings: Sequence[Statement]
    """All of them; the block has as many as it has room for."""
    doubts: Sequence[Statement]
    next: Sequence[Statement]
    checks: list[Check]
    """Of trust, in the order of the report; empty before the first trial."""


@lru_cache(maxsize=1)
def answer_of(view: StudyView) -> Answer:
    """Return the answer of a study in any state; it is made once, because a view never changes."""
    checks = [] if view.trials.empty else check_study(view)
    grave = _gravest(view, checks)
    return Answer(
        use=use(view),
        get=get(view),
        findings=findings(view),
        doubts=[*stage_doubts(view), *_doubts(grave)],
        next=_next(view, checks, grave),
        checks=checks,
    )


@in_words_of_data
def answer(view: StudyView) -> str:
    """Return the answer as markdown: a list of at most `MOST_LINES` lines of at most `WIDTH`
    characters.
    """
    return "\n".join(_block(answer_of(view), escape, "**{}** {}"))


@in_words_of_data
def answer_lines(view: StudyView) -> list[str]:
    """Return the same lines as plain text, for a terminal."""
    return _block(answer_of(view), None, "{}: {}")


def all_findings(view: StudyView) -> str:
    """Return every finding as a markdown list, without a limit; empty where the answer has room for
    all of them.
    """
    shown = answer(view)
    every = [*map(markdown, answer_of(view).findings)]
    return "" if all(one in shown for one in every) else "\n".join(f"- {one}" for one in every)


@in_words_of_data
def failed_checks(view: StudyView) -> list[str]:
    """Return the checks of trust that failed, each as its question, its answer and what to do."""
    failed = [check for check in answer_of(view).checks if check.verdict == "warning"]
    return [f"{QUESTIONS[check.id]} {figure(check)}. {advice(check)}".rstrip() for check in failed]


def _block(found: Answer, text: Callable[[str], str] | None, labelled: str) -> list[str]:
    """Lay the statements out in lines; findings take the room that the others leave."""

    def part(label: str, statements: Sequence[Statement]) -> list[str]:
        said = [sentence(statement, text) for statement in statements]
        if said and label:
            said[0] = labelled.format(label, said[0])
        return list(chain.from_iterable(map(_wrapped, said)))

    opening = [*part("Use", found.use), *part("Get", found.get)]
    closing = [*part("Doubts", found.doubts), *part("Next", found.next)]
    room = MOST_LINES - len(opening) - len(closing)
    each = [part("", [statement]) for statement in found.findings]
    if sum(map(len, each)) > room:
        used = [*accumulate(map(len, each))]
        kept = sum(lines < room for lines in used)
        each[kept:] = [part("", [say("more", count=len(each) - kept)])]
    return [*opening, *chain.from_iterable(each), *closing]


def _wrapped(said: str) -> list[str]:
    """Return the sentence as an entry of a list, in lines of at most `WIDTH` characters."""
    wrapper = textwrap.TextWrapper(
        WIDTH, "- ", "  ", break_long_words=False, break_on_hyphens=False
    )
    return wrapper.wrap(said)


def _doubts(checks: Sequence[Check]) -> list[Statement]:
    """Return a statement for each of the gravest checks, at most `MOST_DOUBTS` of them."""
    doubts = [say(f"doubt.{check.verdict}", check=check.id, found=check.found) for check in checks]
    if len(doubts) > MOST_DOUBTS:
        rest = len(doubts) - MOST_DOUBTS + 1
        doubts[-rest:] = [say("doubt.more", count=rest)]
    return doubts


def _gravest(view: StudyView, checks: Sequence[Check]) -> list[Check]:
    """Return the checks that failed, then those that cannot be said, each in the order of `GRAVE`.

    Of a study that learned nothing, those that failed alone.
    """
    ordered = sorted(checks, key=lambda check: GRAVE.index(check.id))
    failed = [check for check in ordered if check.verdict == "warning"]
    if view.verdict.nothing_learned:
        return failed
    return failed + [check for check in ordered if check.verdict == "unknown"]


def _next(view: StudyView, checks: Sequence[Check], grave: Sequence[Check]) -> list[Statement]:
    """Return the remedy or the command that the gravest doubt asks for."""
    if told := view.verdict.nothing_learned or view.verdict.hardly_trained:
        return [*told[1:]]
    for check in grave:
        if check.advice and check.advice.id.startswith("remedy."):
            return [check.advice]
        if check.command:
            return [say("next.command", command=check.command)]
    return [say("next.nothing")] if checks else []


def notices(view: StudyView) -> list[str]:
    """Return the warnings in bold."""
    return [f"**{markdown(statement)}**" for statement in notice_statements(view)]


def notice_statements(view: StudyView) -> list[Statement]:
    """Return the warnings, the gravest first; empty for a finished study on a whole data set."""
    data = view.plan.recorded("data")
    study = view.study
    said = []
    if data.get("subset"):
        said.append(say("notice.subset", title=data.get("title", "a subset of the data")))
    if study.stopped and not study.finished:
        said.append(say("notice.confirming"))
    elif not study.finished:
        ended = int((~view.trials["repeat"] & view.trials["state"].isin(ENDED)).sum())
        planned = study.budget.get("trials") or None
        said.append(say("notice.interim", ended=ended, planned=planned))
    if view.plan.fixed("binarisation") == "none" and view.plan.fixed("likelihood") == "bernoulli":
        said.append(say("notice.grey"))
    if view.plan.fixed("posterior") == "deterministic":
        said.append(say("notice.deterministic"))
    return said


# ---- the checks of trust ----

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
        [
            QUESTIONS[check.id],
            figure(check, escape),
            SIGNS[check.verdict],
            advice(check, escape) or "–",
        ]
        for check in checks
    ]
    return [
        heading("Can this study be trusted?"),
        table(["check", "number", "verdict", "what to do"], rows),
    ]


def plain_checks(checks: list[Check]) -> list[dict[str, Any]]:
    """Return the checks as JSON has them."""
    return [
        {
            "id": check.id,
            "name": QUESTIONS[check.id],
            "verdict": check.verdict,
            "statements": [
                plain_statement("trust", one, words(one)) for one in (*check.found, *check.further)
            ],
            "advice": check.advice and plain_statement("trust", check.advice, words(check.advice)),
        }
        for check in checks
    ]


def plain_statement(part: str, statement: Statement, text: str) -> dict[str, Any]:
    """Return a statement as JSON has it, with its part of the report and its words."""
    return {"part": part, **plain(statement), "text": text}
