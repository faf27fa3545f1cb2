"""A report read back from its files: README.md cut into blocks that know their places, trials.csv
and curves.csv as tables.

Nothing of the program that wrote the report is imported: what is read here is what a reader has.
"""

import html
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])|&(?:lt|gt|amp|quot|#\d+|#x\d+);")
_CELL = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Text:
    """Words without markdown's escapes, and the place of each character in README.md."""

    words: str
    places: tuple[int, ...]

    def place(self, at: int) -> int:
        return self.places[min(at, len(self.places) - 1)] if self.places else 0


@dataclass(frozen=True)
class Block:
    """A paragraph, a list entry or a table, and the headings that it stands below."""

    line: int
    chapter: str
    heading: str
    """Nearest heading or line that opens a folded part."""
    text: Text | None = None
    rows: tuple[tuple[Text, ...], ...] = ()
    """Cells of a table, the header first."""


def plain(raw: str, start: int) -> Text:
    """Take markdown's escapes out of a piece of README.md that begins at a place."""
    words, places, at = [], [], 0
    for found in [*_ESCAPED.finditer(raw), None]:
        end = len(raw) if found is None else found.start()
        words.append(raw[at:end])
        places += range(start + at, start + end)
        if found is not None:
            words.append(found[1] or html.unescape(found[0]))
            places.append(start + found.start())
            at = found.end()
    return Text("".join(words), tuple(places))


def blocks(readme: str) -> list[Block]:
    """Cut README.md into its blocks; headings, pictures, code and the question are left out."""
    found: list[Block] = []
    chapter = heading = fence = ""
    table: list[tuple[Text, ...]] = []
    start = 0
    for number, raw in enumerate(readme.splitlines(keepends=True), start=1):
        line, at = raw.rstrip("\n"), start
        start += len(raw)
        if table and not line.startswith("|"):
            found.append(Block(number - len(table) - 1, chapter, heading, rows=tuple(table)))
            table = []
        if fence or line.startswith("```"):
            fence = fence or line[: len(line) - len(line.lstrip("`"))]
            fence = "" if fence == line else fence
        elif line.startswith("|"):
            if not re.fullmatch(r"\|(?: -+:? \|)+", line):
                table.append(_cells(line, at))
        elif line.startswith("#"):
            heading = plain(line.lstrip("# "), 0).words
            chapter = heading if line.startswith("## ") else chapter
        elif summary := re.fullmatch(r"<summary>(.*)</summary>", line):
            heading = html.unescape(summary[1])
            found.append(Block(number, chapter, heading, plain(line, at)))
        elif line and not line.startswith(("<details>", "</details>", "<img ", "*Question:*")):
            skipped = len(line) - len(re.sub(r"^- ", "", line))
            found.append(Block(number, chapter, heading, plain(line[skipped:], at + skipped)))
    return found


def _cells(line: str, at: int) -> tuple[Text, ...]:
    ends = [found.start() for found in _CELL.finditer(line)]
    cells = []
    for first, last in itertools.pairwise(ends):
        raw = line[first + 1 : last]
        inset = len(raw) - len(raw.lstrip())
        cells.append(plain(raw.strip(), at + first + 1 + inset))
    return tuple(cells)


@dataclass(frozen=True)
class Parameter:
    """A searched parameter, as the table “Search space” of the report says it."""

    name: str
    texts: tuple[str, ...] = ()
    """Values of a choice as text; empty for a range of numbers."""
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    step: float | None = None
    whole: bool = False

    @property
    def label(self) -> str:
        return "β" if self.name == "beta" else self.name.replace("_", " ")

    def values(self, trials: pd.DataFrame) -> pd.Series:
        """Return the number or the text of each trial, missing where the parameter is not
        active.
        """
        name = f"params.{self.name}"
        given = trials[name] if name in trials else pd.Series(math.nan, index=trials.index)
        return given.map(value_of, na_action="ignore") if self.texts else given.astype(float)

    def axis(self, numbers: Any) -> Any:
        """Return where numbers lie between the bounds, from 0 to 1."""
        if self.log:
            return np.log(np.asarray(numbers, float) / self.low) / math.log(self.high / self.low)
        return (np.asarray(numbers, float) - self.low) / (self.high - self.low)

    def number(self, place: float) -> float:
        """Return the number at such a place."""
        return (
            self.low * (self.high / self.low) ** place
            if self.log
            else self.low + place * (self.high - self.low)
        )


def value_of(cell: Any) -> str:
    """Return the value of a choice as a report writes it: `adam`, `3`, `512–512` for a list."""
    text = str(cell)
    if text.startswith("["):
        return "–".join(value_of(part.strip(" '\"")) for part in text.strip("[]").split(","))
    try:
        return text if text in ("True", "False") else value_text(float(text))
    except ValueError:
        return text


def value_text(value: Any) -> str:
    """Write a parameter's value: three significant digits, whole numbers whole."""
    if isinstance(value, str):
        return value
    if value is None or math.isnan(value):
        return "–"
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def number_of(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-"))


@dataclass(frozen=True)
class Report:
    """The files of a report, and what the end of its text says about the study."""

    readme: str
    trials: pd.DataFrame
    epochs: pd.DataFrame
    per_image: Mapping[str, np.ndarray]
    summary: Mapping[str, Any]

    @property
    def statements(self) -> list[dict[str, Any]]:
        """Of summary.json."""
        return self.summary["statements"]

    @cached_property
    def blocks(self) -> list[Block]:
        return blocks(self.readme)

    @cached_property
    def words(self) -> str:
        """The whole text without escapes."""
        return plain(self.readme, 0).words

    @cached_property
    def given(self) -> list[str]:
        """Names and texts with a number that the study and its data give."""
        every = [*_texts(self.file), *_texts({name: self.summary[name] for name in GIVEN})]
        every += [self.name, *(text.split(" (")[0] for text in every)]
        return [
            text
            for text in dict.fromkeys(every)
            if re.search(r"\d", text) and re.search(r"[^\d.,]", text)
        ]

    @cached_property
    def name(self) -> str:
        return plain(self.readme.splitlines()[0].removeprefix("# "), 0).words

    @cached_property
    def interim(self) -> bool:
        return self.summary["state"] == "interim"

    def facts(self, title: str) -> dict[str, str]:
        """Return a table of two columns in the chapter “How this was made”; empty without it."""
        found = (each for each in self.blocks if each.rows and each.heading == title)
        table = next((each for each in found if each.chapter == "How this was made"), None)
        return (
            {}
            if table is None
            else {row[0].words: row[1].words.strip("`") for row in table.rows[1:]}
        )

    def setting(self, section: str, name: str, title: str = "Fixed settings") -> str | None:
        """Return a value out of a line `network mlp, hidden 512 × 512` of such a table; None where
        it is not there.
        """
        found = re.search(
            rf"(?:^|, ){name} ([^,]+(?:,\d{{3}})*)", self.facts(title).get(section, "")
        )
        return found[1] if found else None

    def count(self, section: str, name: str, title: str = "Fixed settings") -> int:
        """Return such a value as a whole number; 0 where it is not there."""
        return int(number_of(self.setting(section, name, title) or "0"))

    @cached_property
    def sub_pixels(self) -> int:
        shape = self.facts("Data").get("image shape")
        return math.prod(map(int, shape.split(" × "))) if shape else 0

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        rows = self.facts("Search space").items()
        return {(name := words.replace(" ", "_")): _parameter(name, text) for words, text in rows}

    @cached_property
    def file(self) -> dict[str, Any]:
        """The study file that the report holds; empty where it is none."""
        found = re.search(
            r"(?ms)^<summary>Study file</summary>\s+(`{3,})yaml\n(.*?)\n\1$", self.readme
        )
        loaded = yaml.safe_load(found[2]) if found else None
        return loaded if isinstance(loaded, dict) else {}

    @cached_property
    def baselines(self) -> dict[str, str]:
        """Title of each baseline → its name, of those of the study file."""
        return {
            (given or {}).get("title") or name: name
            for name, given in (self.file.get("baselines") or {}).items()
        }


GIVEN = ("data", "protocols", "stopped", "code", "baselines", "study")
"""Parts of summary.json whose texts the study gives."""


def _texts(value: Any) -> list[str]:
    """Return the texts within a value of JSON or YAML, on one line each."""
    if isinstance(value, str):
        return [" ".join(value.split())]
    parts = (
        value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    )
    return [text for part in parts for text in _texts(part)]


def _parameter(name: str, text: str) -> Parameter:
    text = text.partition("; only if ")[0]
    found = re.fullmatch(
        r"(\S+) to (\S+?)(, logarithmic)?(?:, step (\S+?))?(, whole numbers)?", text
    )
    if not found:
        return Parameter(name, texts=tuple(text.split(", ")))
    step = float(found[4]) if found[4] else None
    return Parameter(
        name, (), number_of(found[1]), number_of(found[2]), bool(found[3]), step, bool(found[5])
    )


def read_report(folder: Path) -> Report:
    """Read README.md, trials.csv, curves.csv, summary.json and, where it is there,
    per_image.npz.
    """
    tables = [
        pd.read_csv(folder / name, keep_default_na=False, na_values=[""])
        for name in ("trials.csv", "curves.csv")
    ]
    for table in tables:
        table["repeat"] = table["repeat"].astype(bool)
    arrays: dict[str, np.ndarray] = {}
    if (folder / "per_image.npz").exists():
        with np.load(folder / "per_image.npz") as file:
            arrays = {name: file[name] for name in file.files}
    readme, summary = (
        (folder / name).read_text(encoding="utf-8") for name in ("README.md", "summary.json")
    )
    return Report(readme, tables[0], tables[1], arrays, json.loads(summary))


def numbers_in(words: str) -> Iterator[re.Match[str]]:
    """Find the numbers in a text."""
    return re.finditer(r"−?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?", words)
