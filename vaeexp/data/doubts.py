"""Doubts: what a user cannot have meant with data that can be read, in words, each with what to do.

`gather` collects facts in one pass over the numbers. A doubt is a function of the facts that
returns a sentence, or empty text. `DOUBTS` lists them all. A doubt must be silent on ordinary data
(tests/vaeexp/data/test_ordinary_inputs.py).
"""

import json
import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from vaeexp.data.formats import RawImages, printable, some_of
from vaeexp.data.times import numbers_of
from vaeexp.data.values import is_vector
from vaeexp.words import plural

if TYPE_CHECKING:
    from vaeexp.settings import DataSettings

_ROWS = 16
"""Rows of the shortest table of which a column is doubted for its order."""
_LOOKED_AT = 1_024
_REPEATED = 30
"""Rows N of whole numbers drawn from fewer than N² / 30 hold one twice, but for a chance of
10⁻⁶, unless they rise throughout."""
_GAPS = 2
"""Numbers per row, at most, where rows were numbered before some were left out."""
_RUNS = 3
_RUN = 10
_COVERED = 0.8
"""Rising runs from which a counter is doubted, rows of the shortest, and their least share of the
range."""
_GENES = re.compile(
    r"(?i)(.*[^a-z])?(gene|probe|probeset|feature|transcript|ensembl|hgnc|symbol)s?"
    r"([^a-z].*|ids?|names?|symbols?)?"
)
_OF_GENES = re.compile(
    r"ENS[A-Z]*[GTP]\d{11}(\.\d+)?|(AFFX.*|\d+)(_[a-z]+)?_at|ILMN_\d+|[NX][MR]_\d+(\.\d+)?"
)
_ZEROS = re.compile(r"(?<![\d.])0+(?=\d)")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of data before they are scaled.

    raw: the numbers of the files, and what is known of them.
    rows: TRAINING, VALIDATION or TEST → rows of `raw` of this split.
    counting: columns of vectors that rise by 1 from row to row of the file, or that hold such
        numbers shuffled, or of some of the rows.
    restarts: rising runs of times that are numbers, in the order of the file, that each cover most
        of their range.
    spellings: pairs of groups whose names differ in case or in leading zeros alone.
    """

    raw: RawImages
    rows: Mapping[int, np.ndarray]
    counting: tuple[int, ...]
    restarts: int
    spellings: tuple[tuple[str, str], ...]


def gather(raw: RawImages, rows: Mapping[int, np.ndarray], settings: "DataSettings") -> Facts:
    """Collect the facts by one pass over the numbers, in the order of the file."""
    in_time = settings.split == "time"
    return Facts(
        raw=raw,
        rows=rows,
        counting=tuple(_counting(raw.images)),
        restarts=_restarts(raw.groups) if in_time and raw.groups is not None else 0,
        spellings=() if in_time or raw.groups is None else tuple(_spellings(raw.groups)),
    )


def _counting(images: np.ndarray) -> list[int]:
    """Return the columns that number the rows. The first rows exclude most columns, so that few are
    read to the end. Where most are left, they are ranks.
    """
    count = len(images)
    if not is_vector(images.shape) or count < _ROWS:
        return []
    columns = np.arange(images.shape[3])
    most = _GAPS * count
    for seen in (_ROWS, _LOOKED_AT, count):
        flat = images[:seen, 0, 0][:, columns].astype(np.float64)
        steps = np.diff(flat, axis=0)
        by_chance = np.where((steps > 0).all(axis=0), most, count**2 / _REPEATED)
        kept = (np.ptp(flat, axis=0) < np.minimum(most, by_chance)) & (steps != steps[0]).any(
            axis=0
        )
        kept |= (steps == 1).all(axis=0)
        kept &= (np.diff(np.sort(flat, axis=0), axis=0) > 0).all(axis=0)
        columns = columns[kept & (flat == np.rint(flat)).all(axis=0)]
    return columns.tolist() if 2 * len(columns) <= max(2, images.shape[3]) else []


def _restarts(times: np.ndarray) -> int:
    numbers = numbers_of(times)
    if numbers is None or not len(numbers):
        return 0
    numbers = numbers.astype(np.float64)
    first = np.flatnonzero(np.diff(numbers, prepend=np.inf) < 0)
    last = np.append(first[1:], len(numbers)) - 1
    covered = numbers[last] - numbers[first] >= _COVERED * np.ptp(numbers)
    return int((covered & (last - first + 1 >= _RUN) & (np.ptp(numbers) > 0)).sum())


def _spellings(groups: np.ndarray) -> Iterator[tuple[str, str]]:
    if groups.dtype.kind != "U":
        return
    alike = defaultdict[str, list[str]](list)
    for name in np.unique(groups).tolist():
        alike[_ZEROS.sub("", name.casefold())].append(name)
    for names in alike.values():
        yield from combinations(names, 2)


def doubts(facts: Facts) -> list[str]:
    """Return the sentences of all doubts that speak."""
    return list(filter(None, (doubt(facts) for doubt in DOUBTS)))


def counting_columns(facts: Facts) -> str:
    """Doubt columns that number the rows."""
    if not facts.counting:
        return ""
    table = facts.raw.features
    names = table or [f"column {place}" for place in range(facts.counting[-1] + 1)]
    named = [printable(names[place]) for place in facts.counting]
    remedy = f"Try --set drop={shlex.quote(json.dumps(named, ensure_ascii=False))}"
    remedy = remedy if table else "Leave it out of the file"
    return f"{some_of(named)} counts the rows, and is modelled as a feature. {remedy}"


def restarting_times(facts: Facts) -> str:
    """Doubt times that start again: a clock, or a counter of each recording."""
    if facts.restarts < _RUNS:
        return ""
    problem = f"the times rise through most of their range {facts.restarts:,} times in the file"
    remedy = "If they start again, test rows lie among training rows. Number all rows in time"
    return f"{problem}. {remedy}, or leave split_by out where the file is in this order"


def spelt_groups(facts: Facts) -> str:
    """Doubt groups that are one, written in two ways."""
    if not facts.spellings:
        return ""
    one, other = (f"'{printable(name)}'" for name in facts.spellings[0])
    count = plural(len(facts.spellings), "pair")
    problem = f"{count} of groups differ in case or leading zeros alone, as {one} and {other}"
    return f"{problem}; they may lie in two splits. If they are one, write them alike"


def rows_of_genes(facts: Facts) -> str:
    """Doubt a table whose rows are named as features are."""
    column = facts.raw.named_by
    if not column or facts.raw.names is None:
        return ""
    known = [bool(_OF_GENES.fullmatch(name)) for name in facts.raw.names[:_LOOKED_AT].tolist()]
    if not _GENES.fullmatch(column) and 2 * sum(known) < len(known):
        return ""
    shown = printable(column)
    problem = f"the rows are named by {shown}, so each gene or feature is an example"
    remedy = f"If samples are the columns, save the table transposed; else --set names={shown}"
    return f"{problem}. {remedy}"


DOUBTS: tuple[Callable[[Facts], str], ...] = (
    counting_columns,
    restarting_times,
    spelt_groups,
    rows_of_genes,
)
