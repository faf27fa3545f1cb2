"""The answer of a study: the warnings above it, and at most fifteen lines made of its findings, its doubts and the next command."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from vaeexp.report.checks import warnings_of
from vaeexp.report.findings import ENDED, cost, findings, get, pair_caveats, use
from vaeexp.report.markup import escape
from vaeexp.report.sentences import sentence
from vaeexp.results.statements import Statement
from vaeexp.results.study_view import StudyView
from vaeexp.results.trust import Check, check_study

MOST_LINES = 15
WIDTH = 160
"""Characters of a line, at most."""
MOST_DOUBTS = 3


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


_MADE: WeakKeyDictionary[StudyView, Answer] = WeakKeyDictionary()
"""Answers that were made; a view never changes."""


def answer_of(view: StudyView) -> Answer:
    """Return the answer of a study in any state."""
    if view not in _MADE:
        _MADE[view] = _answer(view)
    return _MADE[view]


def _answer(view: StudyView) -> Answer:
    checks = [] if view.trials.empty else check_study(view)
    doubted = [check for check in checks if check.verdict == "warning"] if view.nothing_learned else checks
    return Answer(
        use=use(view),
        get=get(view),
        findings=findings(view),
        doubts=_doubts(doubted),
        next=_next(view, doubted),
        checks=checks,
    )


def answer(view: StudyView) -> str:
    """Return the answer as markdown: a list of at most `MOST_LINES` lines of at most `WIDTH` characters."""
    return "\n".join(_block(answer_of(view), escape, "- ", "**{}** {}"))


def answer_lines(view: StudyView) -> list[str]:
    """Return the same lines as plain text, for a terminal."""
    return _block(answer_of(view), None, "- ", "{}: {}")


def all_findings(view: StudyView) -> str:
    """Return every finding as a markdown list, without a limit; empty where the answer has room for all of them."""
    found = answer_of(view)
    shown = "\n".join(_block(found, escape, "- ", "**{}** {}"))
    every = [sentence(statement, escape) for statement in found.findings]
    return "" if all(one in shown for one in every) else "\n".join(f"- {one}" for one in every)


def cost_words(view: StudyView) -> str:
    """Return the cost of the study in sentences."""
    return " ".join(sentence(statement, escape) for statement in cost(view))


def caveat_words(view: StudyView) -> list[str]:
    """Return what limits the comparisons in matched pairs, a sentence each."""
    return [sentence(statement, escape) for statement in pair_caveats(view)]


def failed_checks(view: StudyView) -> list[str]:
    """Return the checks of trust that failed, each as its question, its answer and what to do."""
    return warnings_of(answer_of(view).checks)


def _block(found: Answer, text: Callable[[str], str] | None, mark: str, labelled: str) -> list[str]:
    """Lay the statements out in lines; findings take the room that the others leave."""

    def part(label: str, statements: Sequence[Statement]) -> list[str]:
        lines = []
        for place, statement in enumerate(statements):
            said = sentence(statement, text)
            lines.append(labelled.format(label, said) if place == 0 and label else said)
        return [wrapped for line in lines for wrapped in _wrapped(line, mark)]

    opening = [*part("Use", found.use), *part("Get", found.get)]
    closing = [*part("Doubts", found.doubts), *part("Next", found.next)]
    room = MOST_LINES - len(opening) - len(closing)
    each = [part("", [statement]) for statement in found.findings]
    kept = _fitting([len(lines) for lines in each], room)
    middle = [line for lines in each[:kept] for line in lines]
    if kept < len(each):
        middle += part("", [Statement(id="more", values={"count": len(each) - kept})])
    return [*opening, *middle, *closing]


def _fitting(sizes: Sequence[int], room: int) -> int:
    """Return how many of these findings fit, with a line for the rest where not all do."""
    if sum(sizes) <= room:
        return len(sizes)
    kept, used = 0, 1
    while kept < len(sizes) and used + sizes[kept] <= room:
        used += sizes[kept]
        kept += 1
    return kept


def _wrapped(said: str, mark: str) -> list[str]:
    """Return the sentence in lines of at most `WIDTH` characters, the first after the mark of a list."""
    return textwrap.wrap(
        said,
        WIDTH,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _doubts(checks: Sequence[Check]) -> list[Statement]:
    """Return the checks that failed, then those that cannot be said, at most `MOST_DOUBTS` of them."""
    doubts = [_doubt(check) for check in _gravest(checks)]
    if len(doubts) <= MOST_DOUBTS:
        return doubts
    return [*doubts[: MOST_DOUBTS - 1], Statement(id="doubt.more", values={"count": len(doubts) - MOST_DOUBTS + 1})]


def _gravest(checks: Sequence[Check]) -> list[Check]:
    """Return the checks that failed, then those that cannot be said: last that of the bounds, because a winner at an end is often there by chance."""
    failed = [check for check in checks if check.verdict == "warning"]
    unknown = [check for check in checks if check.verdict == "unknown"]
    return failed + sorted(unknown, key=lambda check: check.id == "bounds")


def _doubt(check: Check) -> Statement:
    return Statement(id=f"doubt.{check.verdict}", values={"check": check.id, "found": check.found})


def _next(view: StudyView, checks: Sequence[Check]) -> list[Statement]:
    """Return the command that the gravest doubt asks for."""
    if view.nothing_learned:
        return [view.nothing_learned[1]]
    commands = [check.command for check in _gravest(checks) if check.command]
    if commands:
        return [Statement(id="next.command", values={"command": commands[0]})]
    return [Statement(id="next.nothing")] if checks else []


def notices(view: StudyView) -> list[str]:
    """Return the warnings in bold."""
    return [f"**{sentence(statement, escape)}**" for statement in notice_statements(view)]


def notice_statements(view: StudyView) -> list[Statement]:
    """Return the warnings, the gravest first; empty for a finished study on a whole data set."""
    data, said = view.recorded("data"), []
    if data.get("subset"):
        said.append(Statement(id="notice.subset", values={"title": data.get("title", "a subset of the data")}))
    if view.study.stopped and not view.study.finished:
        said.append(Statement(id="notice.confirming"))
    elif not view.study.finished:
        ended = int((~view.trials["repeat"] & view.trials["state"].isin(ENDED)).sum())
        values = {"ended": ended, "planned": view.study.budget.get("trials") or None}
        said.append(Statement(id=f"notice.{'one_' if ended == 1 else ''}ended", values=values))
    if view.fixed("binarisation") == "none" and view.fixed("likelihood") == "bernoulli":
        said.append(Statement(id="notice.grey"))
    if view.fixed("posterior") == "deterministic":
        said.append(Statement(id="notice.deterministic"))
    return said
