"""Reports taken apart again: tables by the heading above them, and headings."""

import re

import pandas as pd


def tables_of(text):
    """Pipe tables of markdown as frames of text, by the heading above; of several below one heading the last."""
    found, title = {}, ""
    for block in re.split(r"\n\n+", text):
        if block.startswith("#"):
            title = block.lstrip("# ")
        elif block.startswith("|"):
            rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()]
            cells = [[cell.strip() for cell in row] for row in rows]
            found[title] = pd.DataFrame(cells[2:], columns=cells[0])
    return found


def headings(text):
    return [line.lstrip("# ") for line in without_code(text).splitlines() if line.startswith("#")]


def without_code(text):
    """The text without its fenced blocks."""
    return re.sub(r"(?s)(````*).*?\1", "", text)
