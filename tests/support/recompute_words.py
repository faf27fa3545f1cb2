"""Where the words of statements stand in README.md: in the list of the answer, in that of all
findings, and the cost below.
"""

import html
import re


def answer_words(readme: str) -> list[str]:
    """Return the sentences of the answer's list and of the list of all findings, in order, without
    marks and labels.
    """
    answer = readme.partition("\n## Answer\n")[2].partition("\n## ")[0]
    lists = re.findall(r"(?m)^- .+(?:\n  .+)*", answer)
    joined = (" ".join(line.strip() for line in entry[2:].splitlines()) for entry in lists)
    return [_unmarked(entry) for entry in joined if not re.match(r"\([a-z]\) ", entry)]


def _unmarked(entry: str) -> str:
    """Take off the label, the marks of what a sentence is about and of code, and markdown's
    escapes.
    """
    entry = re.sub(r"^\*\*(?:Use|Get|Doubts|Next)\*\* ", "", entry)
    entry = re.sub(r"(?<!\\)\*\*", "", entry)
    entry = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", entry)
    return html.unescape(entry).replace("`", "").strip()


def wrong_words(readme: str, statements: list[dict]) -> list[str]:
    """Return what the words of an answer have that no statement says, and statements that stand
    nowhere.
    """
    said, texts = answer_words(readme), texts_of(statements)
    extra = [entry for entry in said if entry not in texts and not MORE.fullmatch(entry)]
    missing = [text for text in texts if text not in said]
    problems = [f"no statement says: {entry}" for entry in extra] + [
        f"stands nowhere: {text}" for text in missing
    ]
    for entry in filter(MORE.fullmatch, said):
        above = said[: said.index(entry)]
        findings = [statement for statement in statements if statement["part"] == "findings"]
        left = sum(one_line(statement["text"]) not in above for statement in findings)
        problems += (
            []
            if entry == f"And {left:,} more: all findings below."
            else [f"got {entry!r}; {left} are left"]
        )
    return problems


ABOVE = ("use", "get", "findings", "doubts", "next")
"""Parts whose statements stand in the answer; those of the others stand elsewhere in the text."""
MORE = re.compile(r"And [\d,]+ more: all findings below\.")


def one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("`", "")


def texts_of(statements: list[dict]) -> list[str]:
    """Return the words of the statements of the answer."""
    return [one_line(statement["text"]) for statement in statements if statement["part"] in ABOVE]


def texts_below(statements: list[dict]) -> list[str]:
    """Return the words of the other statements, without a full stop, because some stand within a
    sentence.
    """
    below = [
        one_line(statement["text"]) for statement in statements if statement["part"] not in ABOVE
    ]
    return list(dict.fromkeys(unmarked(text)[0].removesuffix(".") for text in below))


def unmarked(words: str) -> tuple[str, list[int]]:
    """Take off the marks of what a sentence is about and of code; return the place of each
    character that is left, too.
    """
    marks = {at for found in re.finditer(r"\*\*|`", words) for at in range(*found.span())}
    places = [at for at in range(len(words)) if at not in marks]
    return "".join(words[at] for at in places), places


def missing_words(readme: str, statements: list[dict]) -> list[str]:
    """Return the statements below the answer whose words stand nowhere in the text, which has no
    escapes any more.
    """
    whole = unmarked(readme)[0]
    return [f"stands nowhere: {text}" for text in texts_below(statements) if text not in whole]


def is_answer(words: str, statements: list[dict], whole: str) -> bool:
    """Tell whether a line of README.md is one of the answer, or counts those that are left out as
    the whole text does (`wrong_words`).
    """
    line = _unmarked(words)
    return (bool(MORE.fullmatch(line)) and line in whole) or any(
        line in text for text in texts_of(statements)
    )
