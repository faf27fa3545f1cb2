"""The HTML document made from a report's markdown."""

import html
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from importlib.resources import files as package_files
from itertools import chain, count, pairwise
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token

from vaeexp.report import PAGE
from vaeexp.report.markup import OWN_LINES
from vaeexp.report.page.opening import colour_signs, enlarge, keep_intervals, lay_out
from vaeexp.report.page.room import MOST_BYTES, OF_WORDS, Room, as_text
from vaeexp.words import join_and

KINDS = {
    "png": "image/png",
    "csv": "text/csv;charset=utf-8",
    "json": "application/json;charset=utf-8",
}
"""Ending of a file that the HTML page holds → its type in a data URI."""


MOST_INSIDE = 1_500_000
"""Bytes of a file up to which the page holds it: tables of 10,000 trials stand next to it."""
MOST_DRAWN = 12_000_000
"""Bytes of all plots and pictures of the report in the page, so that data have room, too."""


def page(
    text: str,
    files: Mapping[str, bytes],
    *,
    drawings: Mapping[str, str] | None = None,
    data: Callable[[int], Mapping[str, Any]] | None = None,
) -> str:
    """Return a whole HTML document made from a report's markdown, which opens offline, light or
    dark, of `MOST_BYTES` at most.

    Pictures and linked files of `KINDS`, given by name, are put into the document. Tags in the
    markdown are shown, never obeyed, but for the lines that `picture` and `folded` write. The
    document's own policy forbids it to load anything or to run a script but its own, which it names
    by its hash. The same arguments give the same text.

    Args:
        drawings: file name of a picture → the SVG that stands in its place, as of `inline_svg`.
        data: returns what the script shows, as of `study_data`, in so many bytes; without it the
            page has no script.
    """
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    renderer.block.ruler.before("paragraph", "own_lines", _own_line, {"alt": ["paragraph"]})
    # A wide table scrolls by itself.
    renderer.add_render_rule("table_open", lambda *_: '<div class="table" tabindex="0">\n<table>\n')
    renderer.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")
    tokens = renderer.parse(text)
    headings = _name_headings(tokens)
    inside = {
        name: f"data:{KINDS[kind]};base64,{b64encode(content).decode()}"
        for name, content in files.items()
        if (kind := name.rpartition(".")[2]) in KINDS
        and (kind == "png" or len(content) <= MOST_INSIDE)
    }
    left_out = [*_put_pictures(tokens, inside, drawings or {}), *_lead_links(tokens, inside, files)]
    keep_intervals(tokens)
    enlarge(tokens)
    colour_signs(tokens)
    tokens = lay_out(tokens, "" if data is None else LOOK)
    title = next((name_shown for tag, _, name_shown in headings if tag == "h1"), "Report")
    script = "" if data is None else _script()
    document = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{''.join(map(_resource, STYLES))}</style>\n</head>\n<body>\n"  # noqa: E501
        f"{_navigation(headings)}<main>\n{renderer.renderer.render(tokens, renderer.options, {})}</main>\n"  # noqa: E501
    )
    return f"{document}{_data_and_script(data, script, len(document.encode()), left_out)}</body>\n</html>\n"  # noqa: E501


LOOK = '<section id="look" hidden></section>'
"""What the script fills, after the opening."""
STYLES = ("page.css", "look.css")
"""Style sheets, joined in this order: of the document, and of what the script fills."""
SCRIPTS = (
    "study.js",
    "filter.js",
    "table.js",
    "card.js",
    "plots.js",
    "scale.js",
    "scatter.js",
    "parallel.js",
    "compare.js",
    "zoom.js",
    "start.js",
)
"""Files of `script/`, joined in this order."""


def _resource(name: str) -> str:
    return package_files("vaeexp.report.page").joinpath(name).read_text(encoding="utf-8")


def _script() -> str:
    return "".join(_resource(f"script/{name}") for name in SCRIPTS)


def _policy(script: str) -> str:
    """Return the policy of a document with this script, or without one."""
    allowed = (
        f"; script-src 'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
        if script
        else ""
    )
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'{allowed}"


def _data_and_script(
    data: Callable[[int], Mapping[str, Any]] | None,
    script: str,
    before: int,
    left_out: Sequence[str],
) -> str:
    """Return the data for which there is room behind `before` bytes, as JSON that no browser runs,
    and the script.
    """
    if data is None:
        return ""
    rest = f"<script>{script}</script>\n"
    shown = dict(data(MOST_BYTES - before - len(rest.encode()) - OF_WORDS))
    shown["left_out"] = [*shown.get("left_out", ()), *left_out]
    return f'<script type="application/json" id="study-data">{as_text(shown)}</script>\n{rest}'


def _navigation(headings: Sequence[tuple[str, str, str]]) -> str:
    links = "".join(
        f'<li><a href="#{html.escape(name)}">{html.escape(name_shown)}</a></li>\n'
        for tag, name, name_shown in headings
        if tag == "h2" and name_shown != "Contents"
    )
    return (
        f'<nav aria-label="Contents" tabindex="0">\n<ul>\n<li>Contents</li>\n{links}</ul>\n</nav>\n'
        if links
        else ""
    )


def _own_line(state: StateBlock, line: int, _: int, silent: bool) -> bool:
    """Take a line that `picture` or `folded` wrote as what it is; a rule of markdown-it's block
    parser.
    """
    text = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].rstrip()
    if not OWN_LINES.fullmatch(text) or state.is_code_block(line):
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


def _put_pictures(
    tokens: Sequence[Token], inside: Mapping[str, str], drawings: Mapping[str, str]
) -> list[str]:
    """Show each picture as a drawing, as its file or as a link, as far as there is room; return a
    sentence on those that are no drawings.

    A drawing scrolls by itself where it is too wide. Its words are its caption, unless the heading
    above has the same.
    """
    room = Room(MOST_DRAWN)
    above = ""
    as_files = []
    for before, token in pairwise(tokens):
        line = token.content.strip()
        if before.type == "heading_open":
            above = token.content
        elif line.startswith("<details>"):
            above = ""
        elif line.startswith("<summary>"):
            above = html.unescape(line.removeprefix("<summary>").removesuffix("</summary>"))
        shown = OWN_LINES.fullmatch(line) if token.type == "html_block" else None
        if not shown or not shown[1]:
            continue
        name, alternative = shown[1], shown[2]  # the alternative text is HTML already
        drawing = drawings.get(name)
        file = inside.get(name, "data:,")
        words = html.unescape(alternative)
        if drawing is not None and room.take(len(drawing.encode())):
            caption = "" if words == above else f'<p class="caption">{alternative}</p>\n'
            drawing = drawing.replace("<svg ", f'<svg role="img" aria-label="{alternative}" ', 1)
            token.content = f'{caption}<div class="plot" tabindex="0">{drawing}</div>\n'
            continue
        as_files += [] if drawing is None else [words]
        if room.take(len(file)):
            token.content = f'<img src="{file}" alt="{alternative}">\n'
        else:
            token.content = f'<p><a href="{html.escape(name)}">{alternative}</a></p>\n'
    return (
        [f"There was no room for the trials in these plots: {join_and(as_files)}."]
        if as_files
        else []
    )


def _lead_links(
    tokens: Sequence[Token], inside: Mapping[str, str], files: Mapping[str, bytes]
) -> list[str]:
    """Lead links to files next to the report to their content, and those to other reports to their
    HTML; return a sentence on files left out.

    A link to a file of another kind, or of more than `MOST_INSIDE` bytes, stays as it is, because
    megabytes make the page slow to open.
    """
    beside = set()
    for token in chain.from_iterable(inline.children or [] for inline in tokens):
        target = str(token.attrGet("href"))
        if token.type == "image":
            token.attrSet("src", inside.get(str(token.attrGet("src")), "data:,"))
        elif token.type == "link_open" and target in inside:
            token.attrSet("href", inside[target])
            token.attrSet("download", target)
        elif token.type == "link_open" and target.endswith("/README.md") and "://" not in target:
            token.attrSet("href", f"{target.removesuffix('README.md')}{PAGE}")
        elif token.type == "link_open" and target in files:
            beside.add(target)
    are = "stands" if len(beside) == 1 else "stand"
    return (
        [f"{join_and(sorted(beside))} {are} beside this page, in the folder of the report."]
        if beside
        else []
    )
