"""The HTML document made from a report's markdown."""

import html
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib.resources import files as package_files
from itertools import chain, count, pairwise

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token

from vaeexp.report.markup import OWN_LINES

PAGE = "report.html"
KINDS = {"png": "image/png", "csv": "text/csv;charset=utf-8", "json": "application/json;charset=utf-8"}
"""Ending of a file that the HTML page holds → its type in a data URI."""


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
    style = package_files("vaeexp.report.page").joinpath("page.css").read_text(encoding="utf-8")
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
        if token.type == "html_block" and (shown := OWN_LINES.fullmatch(token.content.strip())) and shown[1]:
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
