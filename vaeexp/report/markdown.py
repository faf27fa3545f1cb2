"""Pieces of markdown that show any text as it stands, on any git host: escaping, tables, fences, pictures."""

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
"""Characters that begin emphasis, code, a link, a cell, strike-through or a formula; underscores inside a word do not."""
_LINE_START = re.compile(r"^([-+#=:]|\d+(?=[.)](?:\s|$)))")
"""Characters that begin a list, a heading or a rule at the start of a line."""
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_TARGETS = re.compile(r"\]\(([^)\s/:#]+)\)")


def escape(text: object) -> str:
    """Return the text as one line that markdown shows as it stands: no emphasis, link, cell, tag or formula begins in it."""
    line = " ".join(str(text).split())
    for character, entity in _ENTITIES.items():
        line = line.replace(character, entity)
    line = _SPECIAL.sub(r"\\\g<0>", line)
    return _LINE_START.sub(lambda match: f"{match[0]}\\" if match[0].isdigit() else f"\\{match[0]}", line)


def code(text: object) -> str:
    """Return the text as inline code, in more backticks than it has in a row; safe in a table cell."""
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


def picture(file: str, alternative: str) -> str:
    """Return a picture beside the report. `alternative` is read to those who cannot see it."""
    return f"![{escape(alternative)}]({file})"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Return a pipe table. Cells are markdown already; columns of `right` (indices) are aligned right, as numbers are."""
    rule = ["---:" if index in right else "---" for index in range(len(header))]
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def linked_files(text: str) -> set[str]:
    """Return the names of the files beside the report that its text links to."""
    return set(_TARGETS.findall(text))


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)
