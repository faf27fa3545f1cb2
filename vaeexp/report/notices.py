"""What stands above the answer: warnings that hold for every figure of a report."""

from vaeexp.report.findings import ENDED
from vaeexp.report.markup import escape
from vaeexp.report.sentences import sentence
from vaeexp.results.statements import Statement
from vaeexp.results.study_view import StudyView


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
