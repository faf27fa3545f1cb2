"""Tables of single settings: the best trials of the search, the confirmed configurations, and values at an end of their range."""

import math
from collections.abc import Callable

import pandas as pd

from sweeps.results import Results, ranked
from vaeexp.figures.frames import (
    at_best_epoch,
    column,
    confirm_runs,
    confirmations,
    label,
    number,
    params,
    recorded,
    setting_text,
    space,
    value_text,
)
from vaeexp.report.margins import Margin, margins
from vaeexp.report.markdown import escape, table
from vaeexp.report.words import finite, interval_text, reach_text, test_interval

__all__ = ["confirmed_table", "edges", "ranked_table"]

TOP = 10
_KEYS = ["replica", "number"]


def ranked_table(results: Results) -> str:
    """The ten best complete trials of the search."""
    best = ranked(results).head(TOP)
    epochs = at_best_epoch(results, best)
    # A trial whose epochs are missing keeps its place.
    best = best.merge(epochs[[*_KEYS, *(name for name in epochs if name not in best)]], on=_KEYS, how="left")
    names = list(space(results))
    header = [
        "rank",
        "trial",
        "val −ELBO",
        "rate",
        "distortion",
        "active units",
        "epochs",
        *(escape(label(name)) for name in names),
    ]
    rows = [
        [
            str(place),
            str(row["number"]),
            number(row["value"]),
            number(row.get("val/rate")),
            number(row.get("val/distortion")),
            number(row.get("val/active_units"), 0),
            str(row["epochs"]),
            *(escape(value_text(row.get(f"params.{name}"))) for name in names),
        ]
        for place, (_, row) in enumerate(best.iterrows(), start=1)
    ]
    numeric = [7 + index for index, name in enumerate(names) if space(results)[name]["kind"] != "choice"]
    return table(header, rows, right=[*range(7), *numeric]) if rows else ""


def confirmed_table(results: Results) -> str:
    """Confirmed configurations over fresh seeds: mean and 95 % interval on test, and how far the best is ahead.

    The best on validation stands first.
    """
    runs = confirm_runs(results)
    search = results.trials[~results.trials["replica"]].set_index("number")
    columns = _tested_columns(results, runs)
    rows = []
    for _, entry in confirmations(results).iterrows():
        of = int(entry["of"])
        own = runs[runs["of"] == of]
        values = [number(search["value"].get(of)), number(entry["value"])]
        setting = escape(setting_text(params(results, search.loc[of]))) if of in search.index else ""
        rows.append([str(of), str(len(own)), *values, *(make(own) for _, make in columns), setting])
    titles = [title for title, _ in columns]
    header = ["trial", "seeds", "val −ELBO, search", "val −ELBO, new seeds", *titles, "setting"]
    return table(header, rows, right=range(4 + len(columns))) if rows else ""


def _tested_columns(results: Results, runs: pd.DataFrame) -> list[tuple[str, Callable[[pd.DataFrame], str]]]:
    """Title, and cell from the runs of a configuration, of each column of test figures."""
    columns: list[tuple[str, Callable[[pd.DataFrame], str]]] = [
        (title, lambda own, metric=metric: interval_text(test_interval(own, metric)))
        for title, metric in (
            ("test −ELBO", "test/nll"),
            ("test IW-NLL", "test/iw_nll"),
            ("test rate", "test/rate"),
            ("test distortion", "test/distortion"),
        )
    ]
    ahead = {margin.of: margin for margin in margins(results)}
    if ahead:
        columns.insert(1, ("above the first", lambda own: _above(ahead.get(own["of"].iloc[0]))))
    return [*columns, *_per_sub_pixel(results, runs)]


def _above(margin: Margin | None) -> str:
    """`0.62 (−0.31 to 1.55)`; an en dash for the first itself."""
    if margin is None:
        return "–"
    reach = f" ({reach_text(margin.interval)})" if math.isfinite(margin.interval.low) else ""
    return f"{number(margin.interval.mean)}{reach}"


def _per_sub_pixel(results: Results, runs: pd.DataFrame) -> list[tuple[str, Callable[[pd.DataFrame], str]]]:
    """Columns of the confirmed table for colour images, and for likelihoods of levels: title, and cell from the runs."""
    shape = recorded(results, "data").get("image_shape") or [1]
    columns = []
    if shape[0] > 1:
        size = math.prod(shape)
        columns.append(("nats per sub-pixel", lambda own: number(test_interval(own, "test/nll").mean / size, 4)))
    if len(finite(column(runs, "result.test/bits_per_dimension"))):
        columns.append(
            ("bits per dimension", lambda own: interval_text(test_interval(own, "test/bits_per_dimension"), 3))
        )
    return columns


def edges(results: Results) -> list[str]:
    """Parameters whose best value lies within a twentieth of an end of its range: perhaps the range is too narrow."""
    complete = ranked(results)
    if complete.empty:
        return []
    found = []
    for name, value in params(results, complete.iloc[0]).items():
        parameter = space(results)[name]
        if parameter["kind"] == "choice" or not parameter["low"] <= value <= parameter["high"]:
            continue
        scale = math.log if parameter.get("log") else float
        low, high = scale(parameter["low"]), scale(parameter["high"])
        if low == high:
            continue
        place = (scale(float(value)) - low) / (high - low)
        if place < 0.05 or place > 0.95:
            found.append(
                f"{escape(label(name))} = {escape(value_text(value))} at the {'lower' if place < 0.05 else 'upper'} end"
            )
    return found
