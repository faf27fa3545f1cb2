"""Where the words of statements stand in README.md: in the list of the answer, in that of all findings, and the cost below."""

import html
import re


def answer_words(readme: str) -> list[str]:
    """Return the sentences of the answer's list and of the list of all findings, in order, without marks and labels."""
    answer = readme.partition("\n## Answer\n")[2].partition("\n## ")[0]
    lists = re.findall(r"(?m)^- .+(?:\n  .+)*", answer)
    joined = (" ".join(line.strip() for line in entry[2:].splitlines()) for entry in lists)
    return [_unmarked(entry) for entry in joined if not re.match(r"\([a-z]\) ", entry)]


def _unmarked(entry: str) -> str:
    """Take off the label, the marks of what a sentence is about and of code, and markdown's escapes."""
    entry = re.sub(r"^\*\*(?:Use|Get|Doubts|Next)\*\* ", "", entry)
    entry = re.sub(r"(?<!\\)\*\*", "", entry)
    entry = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", entry)
    return html.unescape(entry).replace("`", "").strip()


def wrong_words(readme: str, statements: list[dict]) -> list[str]:
    """Return what the words of an answer have that no statement says, and statements that stand nowhere."""
    said, texts = answer_words(readme), texts_of(statements)
    extra = [entry for entry in said if entry not in texts and not MORE.fullmatch(entry)]
    missing = [text for text in texts if text not in said]
    problems = [f"no statement says: {entry}" for entry in extra] + [f"stands nowhere: {text}" for text in missing]
    for entry in filter(MORE.fullmatch, said):
        above = said[: said.index(entry)]
        findings = [statement for statement in statements if statement["part"] == "findings"]
        left = sum(one_line(statement["text"]) not in above for statement in findings)
        problems += [] if entry == f"And {left:,} more: all findings below." else [f"got {entry!r}; {left} are left"]
    return problems


BELOW = ("caveats", "cost", "tables")
"""Parts whose statements stand below the answer."""
MORE = re.compile(r"And [\d,]+ more: all findings below\.")


def one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("`", "")


def texts_of(statements: list[dict]) -> list[str]:
    """Return the words of the statements of the answer."""
    return [one_line(statement["text"]) for statement in statements if statement["part"] not in BELOW]


def is_said(words: str, statements: list[dict]) -> bool:
    """Tell whether a line of README.md is made of statements that stand below the answer, one after the other."""
    rest, below = _unmarked(words), [one_line(own["text"]) for own in statements if own["part"] in BELOW]
    while said := next((text for text in below if rest.startswith(text)), ""):
        rest = rest.removeprefix(said).strip()
    return not rest


def is_answer(words: str, statements: list[dict], whole: str) -> bool:
    """Tell whether a line of README.md is one of the answer, or counts those that are left out as the whole text does (`wrong_words`)."""
    line = _unmarked(words)
    return (bool(MORE.fullmatch(line)) and line in whole) or any(line in text for text in texts_of(statements))
