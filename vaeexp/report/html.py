"""The report as one HTML file that opens anywhere, offline, light or dark: the same markdown, with its files inside."""

import html
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib.resources import files as package_files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token


KINDS = {"png": "image/png", "csv": "text/csv;charset=utf-8", "json": "application/json;charset=utf-8"}
LISTED = ("h2", "h3")
"""Headings of the table of contents."""


def page(text: str, files: Mapping[str, bytes]) -> str:
    """A whole HTML document made from a report's markdown. The same arguments give the same text.

    `files` are those beside the report by name; pictures and linked files are put into the document as data URIs. Tags in
    the markdown are shown, never obeyed, and the document's own policy forbids it to load anything or to run a script.
    """
    renderer = _renderer()
    tokens = renderer.parse(text)
    contents = _name_headings(tokens)
    _put_inside(tokens, files)
    title = next((_words(tokens[place + 1]) for place, token in enumerate(tokens) if token.tag == "h1"), "Report")
    body = renderer.renderer.render(tokens, renderer.options, {})
    style = package_files("vaeexp.report").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"{_navigation(contents)}<main>\n{body}</main>\n</body>\n</html>\n"
    )


def _renderer() -> "MarkdownIt":
    """CommonMark with tables, without HTML in the text; wide tables scroll by themselves."""
    from markdown_it import MarkdownIt

    made = MarkdownIt("commonmark", {"html": False}).enable("table")
    made.add_render_rule("table_open", lambda *_: '<div class="table" tabindex="0">\n<table>\n')
    made.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")
    return made


def _name_headings(tokens: Sequence["Token"]) -> list[tuple[str, str, str]]:
    """Give every heading an id, each its own; (tag, id, words) of those that the table of contents lists."""
    taken: set[str] = set()
    contents = []
    for place, token in enumerate(tokens):
        if token.type != "heading_open":
            continue
        words = _words(tokens[place + 1])
        stem = "-".join(re.findall(r"\w+", words.lower())) or "section"
        name = next(
            each for number in range(len(tokens)) if (each := f"{stem}-{number}" if number else stem) not in taken
        )
        taken.add(name)
        token.attrSet("id", name)
        if token.tag in LISTED:
            contents.append((token.tag, name, words))
    return contents


def _words(inline: "Token") -> str:
    """What is read of a heading, without its marks."""
    return "".join(child.content for child in inline.children or [])


def _put_inside(tokens: Sequence["Token"], files: Mapping[str, bytes]) -> None:
    """Pictures and links of files beside the report become data URIs; links to other reports lead to their HTML."""
    for token in (child for inline in tokens for child in inline.children or []):
        if token.type == "image":
            token.attrSet("src", _data_uri(str(token.attrGet("src")), files) or "data:,")
        elif token.type == "link_open":
            target = str(token.attrGet("href"))
            inside = _data_uri(target, files)
            if inside:
                token.attrSet("href", inside)
                token.attrSet("download", target)
            elif target.endswith("/README.md") and "://" not in target:
                token.attrSet("href", f"{target.removesuffix('README.md')}report.html")


def _data_uri(name: str, files: Mapping[str, bytes]) -> str:
    if name not in files:
        return ""
    return f"data:{KINDS[name.rpartition('.')[2]]};base64,{b64encode(files[name]).decode()}"


def _navigation(contents: Sequence[tuple[str, str, str]]) -> str:
    """The table of contents; empty for a page without chapters."""
    if not contents:
        return ""
    links = "".join(
        f'<li class="{tag}"><a href="#{html.escape(name)}">{html.escape(words)}</a></li>\n'
        for tag, name, words in contents
    )
    return f'<nav aria-label="Contents">\n<ul>\n{links}</ul>\n</nav>\n'
