"""Markdown that shows any text as it stands."""

import html
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
"""Characters that begin emphasis, code, a link, a cell, strike-through or a formula; underscores
inside a word do not.
"""
_LINE_START = re.compile(r"^([-+#=:]|\d+(?=[.)](?:\s|$)))")
"""Characters that begin a list, a heading or a rule at the start of a line."""
_TARGETS = re.compile(r'\]\(([^)\s/:#]+)\)|^<img src="([^"/:#]+)"', re.MULTILINE)
OWN_LINES = re.compile(
    r'<details>|<summary>[^<>]*</summary>|</details>|<img src="([^"/:]+)" width="\d+" '
    r'alt="([^"<>]*)">'
)
"""The only tags that a report's markdown may hold, each on a line of its own."""
PER_INCH = 100
"""CSS pixels for an inch of a figure: one of 9 inches, the usual width, is shown as wide as a git
host has room.
"""
MOST_COLUMNS = 8
"""Columns of a table at most: wider ones scroll sideways on a git host."""


Part = TypeVar("Part")


def escape(text: object) -> str:
    """Return the text as one line that markdown shows as it stands: no emphasis, link, cell, tag or
    formula begins in it.
    """
    line = html.escape(" ".join(str(text).split()), quote=False)
    line = _SPECIAL.sub(r"\\\g<0>", line)
    return _LINE_START.sub(
        lambda match: f"{match[0]}\\" if match[0].isdigit() else f"\\{match[0]}", line
    )


def code(text: object) -> str:
    """Return the text as inline code, in more backticks than it has in a row; safe in a table
    cell.
    """
    line = " ".join(str(text).split()).replace("|", "\\|")
    fence = "`" * (_longest_run(line) + 1)
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}" if line else ""


def fenced(text: str, language: str = "") -> str:
    """Return a code block, with a fence longer than any run of backticks in the text."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def heading(text: str, level: int = 2) -> str:
    return f"{'#' * level} {text}"


def picture(file: str, alternative: str, figure: "Figure") -> str:
    """Return a picture of a figure next to the report, with words for those who cannot see it.

    Its width is stated because the file has more pixels than that, which keeps the picture sharp on
    a dense screen.
    """
    width = round(PER_INCH * figure.get_figwidth())
    return f'<img src="{file}" width="{width}" alt="{_in_tag(alternative)}">'


def folded(summary: str, blocks: Sequence[Part]) -> list[Part | str]:
    """Return these blocks behind a line that opens them; nothing where no block has any text.

    The blank line after the summary makes git hosts read the blocks as markdown.
    """
    filled = [block for block in blocks if block]
    return (
        [f"<details>\n<summary>{_in_tag(summary)}</summary>", *filled, "</details>"]
        if filled
        else []
    )


def _in_tag(text: str) -> str:
    """Return a text as it may stand in a tag, in which markdown begins nothing either, should a
    host show tags as text.
    """
    line = html.escape(" ".join(text.split()))
    return _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", line)


def contents(blocks: Iterable[object]) -> str:
    """Return a list of links to the headings of the second level among these blocks.

    Their words must be plain: git hosts and `page` then give them the same anchors.
    """
    titles = [block[3:] for block in blocks if isinstance(block, str) and block.startswith("## ")]
    return "\n".join(
        f"- [{title}](#{'-'.join(re.findall(r'[a-z0-9]+', title.lower()))})" for title in titles
    )


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()
) -> str:
    """Return a pipe table; empty without a row.

    Cells are markdown already; columns of `right` (indices) are aligned right, as numbers are.
    """
    rule = ["---:" if index in right else "---" for index in range(len(header))]
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) if len(lines) > 2 else ""


def narrow_tables(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()
) -> str:
    """Return pipe tables of at most `MOST_COLUMNS` columns: the first has the first columns, each
    later one the next.

    Every table begins with the first column, which names the row. Columns in which no row has
    anything are left out.
    """
    columns = range(1, len(header))
    filled = [column for column in columns if any(row[column] not in ("", "–") for row in rows)]
    room = MOST_COLUMNS - 1
    parts = []
    for start in range(0, max(len(filled), 1), room):
        part = [0, *filled[start : start + room]]
        numbers = [place for place, column in enumerate(part) if column in right]
        cells = [[row[column] for column in part] for row in rows]
        parts.append(table([header[column] for column in part], cells, right=numbers))
    return "\n\n".join(parts)


def linked_files(text: str) -> set[str]:
    """Return the names of the files next to the report that its text links to or shows."""
    names = chain.from_iterable(_TARGETS.findall(text))
    return set(filter(None, names))


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)
