"""The columns of a table, and how well the best configuration reconstructs each."""

import math

import numpy as np
import pandas as pd

from sweeps.results import mean_interval
from vaeexp.report.markup import escape, table
from vaeexp.report.sentences import Block
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import finite, read_arrays, row_names
from vaeexp.words import format_fixed, format_interval, format_number, join_and, plural

MOST = 40
LONGEST_LIST = 12
"""Runs that are named."""
INTRODUCTION = (
    "How well each column is reconstructed at the posterior means of the test rows, the worst "
    "first. Mean, standard deviation and RMSE, the root of the mean squared error, are in the "
    "unit of the column. The share is RMSE by standard deviation: guessing the column's mean for "
    "every row gives 100 %, and 1 − share² is R², the share of the variance that is "
    "reconstructed."
)


def feature_blocks(view: StudyView) -> list[Block]:
    """Return the columns with their figures on the test rows, means over the runs of the best
    configuration; empty where the data are no table, or no run was tested.
    """
    runs, files = _tested(view)
    if not files:
        return []
    first = files[0]
    errors = np.stack([arrays["feature_errors"] for arrays in files])
    deviations = first["feature_deviations"]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(deviations > 0, errors / deviations, math.nan)
    means = shares.mean(0)
    # Columns without a spread have no share; they come last.
    order = np.argsort(-np.nan_to_num(means, nan=-1.0), kind="stable")[:MOST]
    rows = []
    for place in order:
        digits = _digits(deviations[place])
        share = mean_interval(finite(100 * shares[:, place]).tolist())
        rows.append(
            [
                escape(first["feature_names"][place]),
                format_fixed(first["feature_means"][place], digits),
                format_fixed(deviations[place], digits),
                format_interval(mean_interval(errors[:, place].tolist()), digits),
                "–" if math.isnan(means[place]) else f"{format_interval(share, 1)} %",
                format_number((1 - shares[:, place] ** 2).mean(), 3),
            ]
        )
    header = ["column", "mean", "standard deviation", "RMSE", "share", "R²"]
    return [table(header, rows, right=range(1, 6)), _words(runs, len(order), len(means))]


def _tested(view: StudyView) -> tuple[pd.DataFrame, list]:
    """Return the runs of the best configuration that measured columns, and their arrays; of studies
    without confirmed configurations the best run that did.
    """
    for setting in view.confirmed:
        found = [read_arrays(folder, "feature_errors") for folder in setting.runs["folder"]]
        if any(found):
            return setting.runs[[bool(arrays) for arrays in found]], [*filter(None, found)]
    best = view.best_with("feature_errors")
    return (best[0].to_frame().T, [best[1]]) if best else (view.trials.iloc[:0], [])


def _words(runs: pd.DataFrame, shown: int, columns: int) -> str:
    """Say which runs and how many test rows the figures are of."""
    names = sorted(row_names(runs))
    listed = f" ({join_and(names)})" if len(names) <= LONGEST_LIST else ""
    mean = f"Means ± 95 % intervals (Student's t) over n = {plural(len(names), 'seed')}"
    if len(names) == 1:
        mean = "One run, so no interval (n = 1)"
    rows = runs["result.test/images"].iloc[0]
    some = f"{shown:,} of {columns:,} columns" if shown < columns else plural(columns, "column")
    return f"{mean}{listed}, on {rows:,.0f} test rows; {some}."


def _digits(deviation: float) -> int:
    """Return the decimals that show three digits of a number."""
    if not deviation > 0:
        return 3
    return min(max(0, 2 - math.floor(math.log10(deviation))), 9)
