"""All studies on one page: `reports/README.md`, a line of result for each, with a table for each protocol."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sweeps.errors import UserError
from vaeexp.figures.standing import Standing, by_protocol
from vaeexp.report.folder import README, write_folder
from vaeexp.report.markdown import escape, heading, plural, table
from vaeexp.report.several import own_report, protocol_titles, protocol_words, result_words, state_words

__all__ = ["check_index", "write_index"]

TITLE = heading("All studies", 1)


def check_index(reports: Path) -> None:
    """See that no text of somebody else stands where the index goes.

    Raises:
        UserError: `reports/README.md` is not an index that was written here.
    """
    try:
        earlier = (reports / README).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(str(reports / README), f"cannot be read: {error.strerror}.") from error
    if not earlier.startswith(f"{TITLE}\n"):
        raise UserError(
            str(reports / README),
            "is not an index of studies and would be replaced; move it away, or name another folder with --reports.",
        )


def write_index(found: Sequence[Standing], unread: Mapping[str, str], *, reports: Path, html: bool = False) -> Path:
    """Write the index and return its path. The same studies give the same bytes.

    Args:
        found: the studies, whose own reports lie below `reports`.
        unread: studies that could not be read, with the reason.
        reports: folder that gets README.md.
        html: whether to write `report.html`, too.

    Raises:
        UserError: the folder cannot be written.
    """
    groups = by_protocol(found)
    titles = protocol_titles(groups)
    blocks = [TITLE, _opening(groups, len(found))]
    for title, group in sorted(zip(titles, groups, strict=True), key=lambda pair: pair[0]):
        blocks += [heading(escape(title)), protocol_words(group[0]), _table(group)]
    if unread:
        lines = [f"- {escape(name)}: {escape(problem)}" for name, problem in sorted(unread.items())]
        blocks += [heading("Studies that could not be read"), "\n".join(lines)]
    return write_folder(reports, "\n\n".join(blocks) + "\n", {}, html=html)


def _opening(groups: Sequence[Sequence[Standing]], count: int) -> str:
    words = f"{plural(count, 'study', 'studies')}; a name leads to the report."
    if len(groups) > 1:
        words += (
            " Each table holds studies of one protocol. Figures of different tables measure different things and are never "
            "to be ranked together."
        )
    return (
        f"{words} Test figures are means ± 95 % intervals over n training seeds, in nats per image; smaller is better."
    )


def _table(group: Sequence[Standing]) -> str:
    rows = [
        [
            own_report(each),
            escape(each.question),
            state_words(each),
            result_words(each),
            escape(each.best.setting) if each.best is not None else "–",
        ]
        for each in group
    ]
    return table(["study", "question", "state", "result", "best setting"], rows)
