"""Matched pairs as tables: every pair, then what all of them say together."""

import math

from sweeps.results import Results
from sweeps.statistics import LEAST_PAIRS, MANY
from vaeexp.figures.comparison import Comparison, comparisons
from vaeexp.figures.frames import number, value_text
from vaeexp.report.markdown import escape, plural, table
from vaeexp.report.words import reach_text

__all__ = ["paired_tables"]

SHOWN = 50
"""Pairs that are listed; all are in trials.csv."""


def paired_tables(results: Results) -> list[str]:
    """For each two values that were compared: the pairs, then their mean difference, how sure it is, and what is missing."""
    return [block for comparison in comparisons(results) for block in _paired(comparison)]


def _paired(comparison: Comparison) -> list[str]:
    first, second = value_text(comparison.first), value_text(comparison.second)
    if not len(comparison.pairs):
        return []
    pairs = comparison.pairs.sort_values(["of", "replica_seed"])
    rows = [
        [
            str(int(row["of"])),
            str(int(row["replica_seed"])),
            number(row[f"value.{comparison.first}"]),
            number(row[f"value.{comparison.second}"]),
            number(row["difference"]),
        ]
        for _, row in pairs.head(SHOWN).iterrows()
    ]
    header = [
        "configuration of trial",
        "seed index",
        f"{escape(first)} val −ELBO",
        f"{escape(second)} val −ELBO",
        f"{escape(second)} − {escape(first)}",
    ]
    more = [f"{plural(len(pairs) - SHOWN, 'more pair')} not listed here."] if len(pairs) > SHOWN else []
    return [table(header, rows, right=range(5)), " ".join([_summary(comparison, first, second), *more])]


def _summary(comparison: Comparison, first: str, second: str) -> str:
    interval, several = comparison.interval, comparison.configurations > 1
    lower = int((comparison.pairs["difference"] < 0).sum())
    unit = "configuration" if several else "seed"
    words = f"Mean difference {number(interval.mean)} nats per image"
    if math.isfinite(interval.low):
        kind = "Student's t" if interval.n < MANY else "bootstrap"
        words += f", 95 % interval {reach_text(interval)} ({kind}) over {plural(interval.n, unit)}"
        words += " (the seeds of a configuration averaged first)" if several else ""
    words += f". {escape(second)} is lower in {lower:,} of {plural(len(comparison.pairs), 'pair')}. {_wilcoxon(comparison, unit)}"
    if comparison.incomplete:
        words += f" {plural(comparison.incomplete, 'pair')} lacked a complete run and {'is' if comparison.incomplete == 1 else 'are'} left out."
    return words


def _wilcoxon(comparison: Comparison, unit: str) -> str:
    n = comparison.interval.n
    if n < LEAST_PAIRS:
        return f"With {plural(n, unit)} Wilcoxon's signed-rank test can never reach p = 0.05; it takes {LEAST_PAIRS}."
    return f"Wilcoxon's signed-rank test over {plural(n, unit)}: p = {comparison.p:.2g}."
