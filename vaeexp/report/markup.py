"""Markdown that shows any text as it stands, the HTML page made from it, and the folder that holds both."""

import html
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from importlib.resources import files as package_files
from io import BytesIO
from itertools import chain, count, pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token
from matplotlib.figure import Figure

from sweeps.errors import UserError, masked
from sweeps.files import write_whole
from vaeexp.plots import save

README = "README.md"
PAGE = "report.html"
KINDS = {"png": "image/png", "csv": "text/csv;charset=utf-8", "json": "application/json;charset=utf-8"}
"""Ending of a file that the HTML page holds → its type in a data URI."""
_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
"""Characters that begin emphasis, code, a link, a cell, strike-through or a formula; underscores inside a word do not."""
_LINE_START = re.compile(r"^([-+#=:]|\d+(?=[.)](?:\s|$)))")
"""Characters that begin a list, a heading or a rule at the start of a line."""
_TARGETS = re.compile(r'\]\(([^)\s/:#]+)\)|^<img src="([^"/:#]+)"', re.MULTILINE)
_OWN_LINES = re.compile(
    r'<details>|<summary>[^<>]*</summary>|</details>|<img src="([^"/:]+)" width="\d+" alt="([^"<>]*)">'
)
"""The only tags that a report's markdown may hold, each on a line of its own."""
PER_INCH = 100
"""CSS pixels for an inch of a figure: one of 9 inches, the usual width, is shown as wide as a git host has room."""
MOST_COLUMNS = 8
"""Columns of a table at most: wider ones scroll sideways on a git host."""


def escape(text: object) -> str:
    """Return the text as one line that markdown shows as it stands: no emphasis, link, cell, tag or formula begins in it."""
    line = html.escape(" ".join(str(text).split()), quote=False)
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


def picture(file: str, alternative: str, figure: Figure) -> str:
    """Return a picture of a figure beside the report, with words for those who cannot see it.

    Its width is stated because the file has more pixels than that, which keeps the picture sharp on a dense screen.
    """
    width = round(PER_INCH * figure.get_figwidth())
    return f'<img src="{file}" width="{width}" alt="{_in_tag(alternative)}">'


def folded(summary: str, blocks: Sequence[str]) -> list[str]:
    """Return these blocks behind a line that opens them; nothing where no block has any text.

    The blank line after the summary makes git hosts read the blocks as markdown.
    """
    filled = [block for block in blocks if block]
    return [f"<details>\n<summary>{_in_tag(summary)}</summary>", *filled, "</details>"] if filled else []


def _in_tag(text: str) -> str:
    """Return a text as it may stand in a tag, in which markdown begins nothing either, should a host show tags as text."""
    line = html.escape(" ".join(text.split()))
    return _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", line)


def contents(blocks: Iterable[str]) -> str:
    """Return a list of links to the headings of the second level among these blocks.

    Their words must be plain: git hosts and `page` then give them the same anchors.
    """
    titles = [block.removeprefix("## ") for block in blocks if block.startswith("## ")]
    return "\n".join(f"- [{title}](#{'-'.join(re.findall(r'[a-z0-9]+', title.lower()))})" for title in titles)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Return a pipe table. Cells are markdown already; columns of `right` (indices) are aligned right, as numbers are."""
    rule = ["---:" if index in right else "---" for index in range(len(header))]
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def narrow_tables(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), key: int = 1
) -> str:
    """Return pipe tables of at most `MOST_COLUMNS` columns: the first has the first columns, each later one the next.

    Every table begins with the first `key` columns, which name the row. Columns in which no row has anything are left out.
    """
    rows = [list(row) for row in rows]
    filled = [
        column for column in range(len(header)) if column < key or any(row[column] not in ("", "–") for row in rows)
    ]
    rest, room = filled[key:], MOST_COLUMNS - key
    parts = [[*range(key), *rest[start : start + room]] for start in range(0, max(len(rest), 1), room)]
    return "\n\n".join(
        table(
            [header[column] for column in part],
            [[row[column] for column in part] for row in rows],
            right=[index for index, column in enumerate(part) if column in right],
        )
        for part in parts
    )


def linked_files(text: str) -> set[str]:
    """Return the names of the files beside the report that its text links to or shows."""
    return {name for pair in _TARGETS.findall(text) for name in pair if name}


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)


def page(text: str, files: Mapping[str, bytes]) -> str:
    """Return a whole HTML document made from a report's markdown, which opens offline, light or dark.

    Pictures and linked files of `KINDS`, given by name, are put into the document. Tags in the markdown are shown, never obeyed, but
    for the lines that `picture` and `folded` write; and the document's own policy forbids it to load anything or to run a
    script. The same arguments give the same text.
    """
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    renderer.block.ruler.before("paragraph", "own_lines", _own_line, {"alt": ["paragraph"]})
    # A wide table scrolls by itself.
    renderer.add_render_rule("table_open", lambda *_: '<div class="table" tabindex="0">\n<table>\n')
    renderer.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")
    tokens = renderer.parse(text)
    headings = _name_headings(tokens)
    _put_inside(tokens, files)
    title = next((name_shown for tag, _, name_shown in headings if tag == "h1"), "Report")
    links = "".join(
        f'<li class="{tag}"><a href="#{html.escape(name)}">{html.escape(name_shown)}</a></li>\n'
        for tag, name, name_shown in headings
        if tag in ("h2", "h3")
    )
    navigation = f'<nav aria-label="Contents">\n<ul>\n{links}</ul>\n</nav>\n' if links else ""
    style = package_files("vaeexp.report").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"{navigation}<main>\n{renderer.renderer.render(tokens, renderer.options, {})}</main>\n</body>\n</html>\n"
    )


def _own_line(state: StateBlock, line: int, _: int, silent: bool) -> bool:
    """Take a line that `picture` or `folded` wrote as what it is; a rule of markdown-it's block parser."""
    text = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].rstrip()
    if not _OWN_LINES.fullmatch(text) or state.is_code_block(line):
        return False
    if not silent:
        state.push("html_block", "", 0).content = f"{text}\n"
        state.line = line + 1
    return True


def _name_headings(tokens: Sequence[Token]) -> list[tuple[str, str, str]]:
    """Give every heading an id of its own, and return the tag, id and words of each."""
    named: dict[str, tuple[str, str, str]] = {}
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            text = "".join(child.content for child in inline.children or [])
            stem = "-".join(re.findall(r"\w+", text.lower())) or "section"
            numbered = (f"{stem}-{number}" for number in count(1))
            name = next(name for name in chain([stem], numbered) if name not in named)
            opening.attrSet("id", name)
            named[name] = (str(opening.tag), name, text)
    return list(named.values())


def _put_inside(tokens: Sequence[Token], files: Mapping[str, bytes]) -> None:
    """Make data URIs of pictures and links to files beside the report, and lead links to other reports to their HTML.

    A link to a file of another kind stays as it is: arrays may have megabytes, which would make the page slow to open.
    """
    inside = {
        name: f"data:{KINDS[kind]};base64,{b64encode(content).decode()}"
        for name, content in files.items()
        if (kind := name.rpartition(".")[2]) in KINDS
    }
    for token in tokens:
        if token.type == "html_block" and (shown := _OWN_LINES.fullmatch(token.content.strip())) and shown[1]:
            token.content = token.content.replace(f'src="{shown[1]}"', f'src="{inside.get(shown[1], "data:,")}"')
    for token in (child for inline in tokens for child in inline.children or []):
        target = str(token.attrGet("href"))
        if token.type == "image":
            token.attrSet("src", inside.get(str(token.attrGet("src")), "data:,"))
        elif token.type == "link_open" and target in inside:
            token.attrSet("href", inside[target])
            token.attrSet("download", target)
        elif token.type == "link_open" and target.endswith("/README.md") and "://" not in target:
            token.attrSet("href", f"{target.removesuffix('README.md')}{PAGE}")


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file; the same figure gives the same bytes."""
    file = BytesIO()
    save(figure, file)
    return file.getvalue()


def write_folder(folder: Path, text: str, files: Mapping[str, bytes], *, html: bool) -> Path:
    """Write a report's markdown with the files beside it, and return the path of its README.md.

    Passwords in addresses are masked in the text. Pictures and arrays that only an earlier report had are removed. A `report.html`
    that is already there is written again even without `html`, so that it never shows an earlier state.

    Raises:
        UserError: the folder cannot be written.
    """
    text = masked(text)
    readme, at = folder / README, folder / PAGE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = linked_files(readme.read_text(encoding="utf-8", errors="replace")) if readme.exists() else set()
        contents = dict(files)
        if html or at.exists():
            contents[PAGE] = page(text, files).encode()
        # The README comes last, so that a report that can be read has all its files.
        for name, content in {**contents, README: text.encode()}.items():
            write_whole(folder / name, partial(Path.write_bytes, data=content))
        for name in earlier - linked_files(text):
            if name.endswith((".png", ".npz")):
                (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            str(folder), f"the report cannot be written ({error}). Name another folder with --reports."
        ) from error
    return readme
