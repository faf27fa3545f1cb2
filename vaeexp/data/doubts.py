"""Doubts: what a user cannot have meant with data that can be read, in words, each with what to do.

`gather` collects facts in one pass over the numbers. A doubt is a function of the facts that
returns a sentence, or empty text. `DOUBTS` lists them all. A doubt must be silent on ordinary data
(tests/vaeexp/data/test_ordinary_inputs.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vaeexp.data.formats import RawImages, printable, some_of
from vaeexp.data.scaling import pieces
from vaeexp.data.values import is_vector

_ROWS = 16
"""Rows of the shortest table of which a column is doubted for its order."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of data before they are scaled.

    raw: the numbers of the files, and what is known of them.
    rows: TRAINING, VALIDATION or TEST → rows of `raw` of this split.
    counting: columns of vectors that rise by 1 from row to row of the file.
    """

    raw: RawImages
    rows: Mapping[int, np.ndarray]
    counting: tuple[int, ...]


def gather(raw: RawImages, rows: Mapping[int, np.ndarray]) -> Facts:
    """Collect the facts by one pass over the numbers, in the order of the file."""
    vectors = is_vector(raw.images.shape) and len(raw.images) >= _ROWS
    counting = np.full(raw.images.shape[3] if vectors else 0, True)
    before: np.ndarray | None = None
    for piece in pieces(raw.images):
        if not counting.any():
            break
        flat = piece[:, 0, 0].astype(np.float64)
        flat = flat if before is None else np.concatenate([before, flat])
        counting &= (np.diff(flat, axis=0) == 1).all(axis=0)
        before = flat[-1:]
    return Facts(raw=raw, rows=rows, counting=tuple(np.flatnonzero(counting).tolist()))


def doubts(facts: Facts) -> list[str]:
    """Return the sentences of all doubts that speak."""
    return list(filter(None, (doubt(facts) for doubt in DOUBTS)))


def counting_columns(facts: Facts) -> str:
    """Doubt columns that number the rows."""
    if not facts.counting:
        return ""
    names = facts.raw.features or [f"column {place}" for place in range(facts.counting[-1] + 1)]
    named = some_of([printable(names[place]) for place in facts.counting])
    return f"{named} counts the rows, and is modelled as a feature. Leave it out of the file"


DOUBTS: tuple[Callable[[Facts], str], ...] = (counting_columns,)
