"""What a reader of the page sees first: the answer next to the first table and picture, and
verdicts in colour.
"""

import html
import re
from collections.abc import Sequence
from itertools import pairwise

from markdown_it.token import Token

NO_BREAK = "\N{NO-BREAK SPACE}"
SIGNS = {"✓": "good", "✗": "warning", "?": "unknown"}
"""Sign of a verdict → the class that gives it its colour. The sign says the same without any."""
_REACHED = re.compile(r"\S+(?:\s±\s\S+)?(?= nats per \w)")
"""What one gets: a mean, with its interval where it has one."""
_VERDICT = re.compile(r"[✓✗?] (?:good|warning|cannot be said)")


def lay_out(tokens: Sequence[Token], look: str) -> list[Token]:
    """Return the blocks of a report with the answer and what follows it side by side, and `look` in
    place of the contents, which the bar has.
    """
    answer = heading_at(tokens, "Answer")
    contents = heading_at(tokens, "Contents")
    if contents is None:
        return [*tokens, _block(look)]
    before = tokens[:contents]
    rest = tokens[_after_list(tokens, contents) :]
    if answer is not None:
        part = _after_list(before, answer)
        if part < len(before) and before[part].content.startswith("<details>"):
            while not before[part - 1].content.startswith("</details>"):
                part += 1
        if part < len(before):
            opening = [_block('<div class="opening"><div class="answer">'), *before[answer:part]]
            opening += [_block('</div><div class="first">'), *before[part:], _block("</div></div>")]
            before = [*before[:answer], *opening]
    return [*before, _block(look), *rest]


def colour_signs(tokens: Sequence[Token]) -> None:
    """Give verdicts their colour: a cell that is one, and the sign with which a line of the answer
    begins.
    """
    for token in tokens:
        previous = ""
        for child in token.children or []:
            if child.type == "text" and previous in ("", "strong_close"):
                _colour(child)
            previous = child.type


def keep_intervals(tokens: Sequence[Token]) -> None:
    """Keep an interval on one line; a narrow cell may break before its `±`."""
    for before, token in pairwise(tokens):
        kept = f"{' ' if before.type == 'td_open' else NO_BREAK}±{NO_BREAK}"
        for child in token.children or []:
            if child.type == "text":
                child.content = child.content.replace(" ± ", kept)


def enlarge(tokens: Sequence[Token]) -> None:
    """Show the value that one gets in large type."""
    answer = heading_at(tokens, "Answer")
    for token in [] if answer is None else tokens[answer : _after_list(tokens, answer)]:
        words = [child for child in token.children or [] if child.content]
        if len(words) > 1 and words[0].content == "Get":
            shown = html.escape(words[1].content, quote=False)
            words[1].type = "html_inline"
            words[1].content = _REACHED.sub(r'<span class="large">\g<0></span>', shown, count=1)


def _colour(text: Token) -> None:
    """Give the verdict that a text is, or the sign with which it begins, its colour."""
    space = " " if text.content.startswith(" ") else ""
    words = text.content.strip()
    sign = words
    rest = ""
    if not _VERDICT.fullmatch(words):
        sign, _, rest = text.content.lstrip().partition(" ")
        if sign not in SIGNS or text.content.lstrip() == sign:
            return
        rest = f" {html.escape(rest, quote=False)}"
    text.type = "html_inline"
    text.content = f'{space}<span class="sign {SIGNS[sign[0]]}">{sign}</span>{rest}'


def heading_at(tokens: Sequence[Token], words: str) -> int | None:
    """Return the place of the heading of the second level with these words."""
    places = range(len(tokens) - 1)
    return next(
        (at for at in places if tokens[at].tag == "h2" and tokens[at + 1].content == words), None
    )


def _after_list(tokens: Sequence[Token], heading: int) -> int:
    """Return the place after the list that follows a heading."""
    ends = (
        at
        for at in range(heading, len(tokens))
        if tokens[at].type == "bullet_list_close" and tokens[at].level == 0
    )
    return next(ends, heading + 2) + 1


def _block(content: str) -> Token:
    return Token("html_block", "", 0, content=f"{content}\n")
