"""Doubts: what a user cannot have meant with data that can be read, in words, each with what to do.

`gather` collects facts in one pass over the numbers. A doubt is a function of the facts that
returns a sentence, or empty text. `DOUBTS` lists them all. A doubt must be silent on ordinary data
(tests/vaeexp/data/test_ordinary_inputs.py).
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaeexp.data import facts as find
from vaeexp.data.formats import (
    ONE_CHANNEL,
    TEST,
    TRAINING,
    VALIDATION,
    RawImages,
    printable,
    some_of,
)
from vaeexp.data.formats.array_pixels import LONG
from vaeexp.data.scaling import ends_of
from vaeexp.data.values import is_vector
from vaeexp.words import format_share, format_signed, plural

if TYPE_CHECKING:
    from vaeexp.settings import DataSettings

_SAMPLE = 2**20
"""Numbers of the sample that is looked at."""
_SAMPLE_ROWS = 64
"""Rows of the sample, at least, whatever their width."""
_LOOKED_AT = 1_024
"""Names of rows that are looked at."""
_RESTARTS = 3
"""Rising runs from which a counter is doubted."""
_GENES = re.compile(
    r"(?i)(.*[^a-z])?(gene|probe|probeset|feature|transcript|ensembl|hgnc|symbol)s?"
    r"([^a-z].*|ids?|names?|symbols?)?"
)
_OF_GENES = re.compile(
    r"ENS[A-Z]*[GTP]\d{11}(\.\d+)?|(AFFX.*|\d+)(_[a-z]+)?_at|ILMN_\d+|[NX][MR]_\d+(\.\d+)?"
)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of data before they are scaled.

    raw: the numbers of the files, and what is known of them.
    counting: columns of vectors that rise by 1 from row to row of the file, or that hold such
        numbers shuffled, or of some of the rows.
    codes: numbers that are probably codes for missing values.
    gap, groups: of the largest numbers of images.
    jumps: columns of vectors at which numbers of another unit begin.
    overlap: columns by which rows are their neighbours shifted, where the split parts them.
    restarts: rising runs of times that are numbers, in the order of the file, that each cover most
        of their range.
    spellings: pairs of groups whose names differ in case or in leading zeros alone.
    equal_channels: images have several, which are all equal.
    """

    raw: RawImages
    counting: tuple[int, ...]
    codes: list[find.Code]
    gap: find.Gap | None
    groups: tuple[float, float, float] | None
    jumps: list[int]
    overlap: int
    restarts: int
    spellings: tuple[tuple[str, str], ...]
    equal_channels: bool

    def name(self, column: int) -> str:
        """Name a column of vectors."""
        names = self.raw.features
        return f"column {column}" if names is None else printable(names[column])


def gather(raw: RawImages, rows: Mapping[int, np.ndarray], settings: "DataSettings") -> Facts:
    """Collect the facts: from all numbers in the order of the file, or from a sample of rows."""
    images = raw.images
    vectors = is_vector(images.shape)
    every = np.sort(np.concatenate([*rows.values()]))
    shown = every[:: -(-len(every) // max(_SAMPLE_ROWS, _SAMPLE // images[0].size))]
    sample = images[shown].reshape(len(shown), -1).astype(np.float64)
    levels = sample.min() >= 0 and (not vectors or settings.keeps_range)
    gap, groups = _largest(raw, rows[TRAINING]) if levels else (None, None)
    own_splits = {VALIDATION, TEST} <= set(np.unique(raw.parts).tolist())
    times = raw.groups if settings.split == "time" else None
    names = None if settings.split == "time" else raw.groups
    drawn = settings.split == "random" and raw.groups is None and not own_splits
    one_scale = settings.scale in ("range", "standard") and settings.scale_per == "global"
    return Facts(
        raw=raw,
        counting=tuple(find.counting_columns(images)),
        codes=_codes(images, sample),
        gap=gap,
        groups=groups,
        jumps=find.unit_jumps(sample) if vectors and one_scale else [],
        overlap=find.overlap_of(images, every) if drawn else 0,
        restarts=0 if times is None else find.restarts_of(times),
        spellings=() if names is None else tuple(find.spellings_of(names)),
        equal_channels=find.are_equal_channels(images),
    )


def _codes(images: np.ndarray, sample: np.ndarray) -> list[find.Code]:
    """Return codes of columns; of images, and of signals without others, of all numbers."""
    vectors = is_vector(images.shape)
    if images.dtype == np.uint8 and not vectors:
        return []
    found = find.missing_codes(sample, together=False) if vectors else []
    if found or (vectors and sample.shape[1] < LONG):
        return found
    return find.missing_codes(sample, together=True)


def _largest(
    raw: RawImages, rows: np.ndarray
) -> tuple[find.Gap | None, tuple[float, float, float] | None]:
    """Return what the largest number of images at these rows tells, of each kind of files."""
    largest = ends_of(raw.images)[1]
    stored = np.zeros(len(largest), np.uint8) if raw.stored is None else raw.stored
    in_files = largest if raw.largest is None else raw.largest
    gap, groups = None, None
    for kind in np.unique(stored[rows]):
        own = rows[stored[rows] == kind]
        gap = gap or find.gap_of(raw.images, largest[own], own)
        groups = groups or find.groups_of(raw.images, in_files[own], own)
    return gap, groups


def doubts(facts: Facts) -> list[str]:
    """Return the sentences of all doubts that speak."""
    return list(filter(None, (doubt(facts) for doubt in DOUBTS)))


def counting_columns(facts: Facts) -> str:
    """Doubt columns that number the rows."""
    if not facts.counting:
        return ""
    named = [facts.name(column) for column in facts.counting]
    remedy = f"Try --set drop={shlex.quote(json.dumps(named, ensure_ascii=False))}"
    remedy = "Leave it out of the file" if facts.raw.features is None else remedy
    return f"{some_of(named)} counts the rows, and is modelled as a feature. {remedy}"


def missing_values(facts: Facts) -> str:
    """Doubt numbers that stand for missing values."""
    if not facts.codes:
        return ""
    first = facts.codes[0]
    columns = sorted({code.column for code in facts.codes[1:]} - {first.column})
    where = f" of {facts.name(first.column)}" if first.column >= 0 else ""
    found = [format_signed(number) for number in (first.value, first.low, first.high)]
    problem = f"{found[0]} in {format_share(first.share)} of the rows{where} lies far from all "
    problem += f"other values, {found[1]} to {found[2]}, as a code for missing values does"
    if columns:
        problem += f"; so it is in {some_of([facts.name(column) for column in columns])}"
    listed = ", ".join(f"{value:g}" for value in sorted({code.value for code in facts.codes}))
    return f"{problem}. Leave such rows out: --set 'missing=[{listed}]'"


def a_number_alone(facts: Facts) -> str:
    """Doubt one number that makes all others dark."""
    if facts.gap is None:
        return ""
    raw, (times, row) = facts.raw, facts.gap
    top = raw.images[row].max() if raw.largest is None else raw.largest[row]
    return (
        f"{format_signed(float(top))} in {raw.where(row)} is {times:,.0f} times the next number of "
        "all images, as a broken pixel is, so that the others are dark. Correct it, or leave out "
        "what has it"
    )


def two_kinds_of_images(facts: Facts) -> str:
    """Doubt images of which some have numbers of another range."""
    if facts.groups is None:
        return ""
    dark, bright, share = facts.groups
    return (
        f"{format_share(share)} of the images have numbers up to {format_signed(dark)}, all others "
        f"up to {format_signed(bright)} or more, so the former are nearly black. Save all images "
        "with the same range"
    )


def several_units(facts: Facts) -> str:
    """Doubt one scale for blocks of columns that have units of their own."""
    if not facts.jumps:
        return ""
    named = some_of([facts.name(column) for column in facts.jumps])
    return (
        f"Numbers of another size begin at {named}, as those of another sensor do, and one scale "
        "for all columns lets the largest decide. Try data.scale_per: feature"
    )


def overlapping_rows(facts: Facts) -> str:
    """Doubt a random split of windows that overlap."""
    if not facts.overlap:
        return ""
    return (
        f"Rows are the rows before them, shifted by {facts.overlap:,}, as overlapping windows are, "
        "so validation and test rows repeat training rows. Try data.split: time, or data.split_by"
    )


def restarting_times(facts: Facts) -> str:
    """Doubt times that start again: a clock, or a counter of each recording."""
    if facts.restarts < _RESTARTS:
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


def equal_channels(facts: Facts) -> str:
    """Doubt images of several channels that are all equal, as of grey palettes."""
    if not facts.equal_channels:
        return ""
    remedy = "images[..., :1] in the file" if facts.raw.stored is None else ONE_CHANNEL
    return (
        f"The {facts.raw.images.shape[1]} channels are equal, so the images are grey. Try {remedy}"
    )


DOUBTS: tuple[Callable[[Facts], str], ...] = (
    counting_columns,
    missing_values,
    a_number_alone,
    two_kinds_of_images,
    several_units,
    overlapping_rows,
    restarting_times,
    spelt_groups,
    rows_of_genes,
    equal_channels,
)
