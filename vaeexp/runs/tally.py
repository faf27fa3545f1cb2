"""What there is to say of rows that were encoded or scored: rows that do not fit, numbers that were
cut, columns that never changed in training, rows that were trained on.
"""

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import printable, some_of
from vaeexp.runs.calibration import RARE, Calibration
from vaeexp.runs.codes import Measured
from vaeexp.runs.preparation import Batch, Preparation
from vaeexp.words import plural

ALARM = 0.05
_MOST = 5
"""Columns that are named."""


class Tally:
    """Counts rows as they pass, and keeps the first of each kind.

    preparation: of new rows; None for the run's own, which have no problems.
    known: what scores are compared with, if they are.
    """

    def __init__(self, preparation: Preparation | None, known: Calibration | None = None) -> None:
        self.rows = 0
        self._preparation = preparation
        self._known = known
        self._problems = Counter[str]()
        self._first = dict[str, str]()
        self._cut = np.zeros(2, np.int64)
        self._unseen = Counter[str]()
        self._trained = 0
        self._errors = list[np.ndarray]()
        self._p = list[np.ndarray]()
        self._columns = list[np.ndarray]()

    def read(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the same batches."""
        for batch in batches:
            self.rows += len(batch.problems)
            cut = np.flatnonzero(batch.cut)
            self._cut += [batch.cut.sum(), len(cut)]
            if len(cut):
                self._first.setdefault("cut", batch.names[cut[0]])
            self._unseen.update(filter(None, batch.unseen or ()))
            yield batch

    def checked(self, parts: Iterator[Measured], place: str) -> Iterator[Measured]:
        """Yield the same columns; raise UserError at the end where no row fits the model, so that
        no file is written.
        """
        for measured in parts:
            for row in np.flatnonzero(measured["problem"]):
                problem = measured["problem"][row]
                # Numbers and names differ from row to row.
                kind = re.sub(r"'.*?'|-?[\d.,]+", "", problem)
                self._problems[kind] += 1
                self._first.setdefault(kind, f"{measured['name'][row]}: {problem}")
            yield measured
        if self._problems.total() == self.rows:
            first = self._first[next(iter(self._problems))]
            raise UserError(place, f"got {first}. None of {self.rows:,} rows fits the model.")

    def compare(self, batch: Batch, measured: Measured, *, usual: bool) -> None:
        """Take the scores of a batch; `usual`: they are not those of known anomalies."""
        if "iw_nll_se" in measured:
            self._errors.append(measured["iw_nll_se"])
        if self._known is None or not usual:
            return
        self._trained += int((measured["split"] == "train").sum())
        p = measured["p_residual" if self._known.judged_by == "residual" else "p"]
        fine = ~np.isnan(p)
        self._p.append(p[fine])
        if (ranges := self._known.ranges) is not None:
            x = batch.x[:, 0, 0].numpy()[fine]
            outside = (x < ranges[0]) | (x > ranges[1])
            self._columns.append(np.stack([outside.sum(0), x.sum(0, dtype=np.float64)]))

    # ---- in words ----

    def lines(self) -> list[str]:
        """Return a line on each thing that there is to say."""
        said = [
            f"{plural(count, 'row')} with a problem, the first {self._first[kind]}"
            for kind, count in self._problems.most_common()
        ]
        binarised = self._preparation.binarised if self._preparation else ""
        said += [self._cut_words(), self._unseen_words(), self._trained_words()]
        said += [self._error_words(), self._range_words(), binarised]
        return [line for line in said if line]

    def warnings(self) -> list[str]:
        """Return the lines that tell of numbers that are not those of the rows."""
        rare = self._known is not None and self._known.unseen_share < RARE
        unseen = self._unseen_words() if rare else ""
        return [line for line in (self._cut_words(), unseen, self._trained_words()) if line]

    def _cut_words(self) -> str:
        values, rows = self._cut.tolist()
        if not values or self._preparation is None:
            return ""
        found = f"{plural(values, 'value')} in {plural(rows, 'row')}"
        return f"{found} cut to {self._preparation.limits}; the first in {self._first['cut']}"

    def _unseen_words(self) -> str:
        count = self._unseen.total()
        if not count:
            return ""
        names = dict.fromkeys(", ".join(self._unseen).split(", "))
        shown = some_of([*names])
        text = (
            f"{plural(count, 'row')} with a change where training rows have none, which the score "
            f"does not see ({shown}): see the column unseen"
        )
        if (known := self._known) is None:
            return text
        own = f"{known.unseen_share:.2%} of the run's own validation and test rows"
        if known.unseen_share < RARE:
            return f"{text}. They have the least p, {known.least:.2g}: so have only {own}"
        return f"{text}. p stays: {count / self.rows:.2%} of the rows have one, and {own}"

    def _trained_words(self) -> str:
        # Where many validation rows are copies of training rows, a copy tells nothing.
        if not self._trained or self._known is None or self._known.copies >= RARE:
            return ""
        are = "row is a training row" if self._trained == 1 else "rows are training rows"
        return (
            f"{self._trained:,} {are} of the run, which the model has seen, so p is too large "
            "there: see the column split"
        )

    def _error_words(self) -> str:
        if not self._errors:
            return ""
        error = np.nanmedian(np.concatenate(self._errors))
        return (
            f"Monte-Carlo error of a row's importance-weighted NLL: {error:.2g} nats (median "
            "standard error)"
        )

    def _range_words(self) -> str:
        """Name the columns that left their training range, where p of most rows is small."""
        p = np.concatenate(self._p) if self._p else np.ones(0)
        small = int((p <= ALARM).sum())
        ranges = None if self._known is None else self._known.ranges
        if 2 * small <= len(p) or ranges is None or self._preparation is None:
            return ""
        columns = self._preparation.columns
        kept = range(len(ranges[0])) if columns is None else columns.kept
        names = self._preparation.features or [f"column {place}" for place in kept]
        outside, total = np.sum(self._columns, axis=0)
        text = f"p ≤ {ALARM:g} in {small:,} of {plural(len(p), 'row')}. "
        if outside.any():
            worst = [place for place in np.argsort(-outside)[:_MOST] if outside[place]]
            named = [f"{printable(names[place])} ({outside[place]:,.0f} rows)" for place in worst]
            return f"{text}Columns beyond their range in training: {', '.join(named)}"
        shifts = np.abs(total / len(p) - ranges[2]) / ranges[3]
        place = int(shifts.argmax())
        shift = f"{printable(names[place])}, {shifts[place]:.1f} standard deviations"
        return f"{text}No column left its range in training; the largest shift of a mean: {shift}"
