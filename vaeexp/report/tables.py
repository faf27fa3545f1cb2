"""The tables of the report, each one function from the results to markdown; empty text where there is nothing to show."""

import math
from collections.abc import Callable

import pandas as pd

from sweeps.results import Results, ranked
from vaeexp.figures.comparison import Comparison, comparisons
from vaeexp.figures.frames import (
    at_best_epoch,
    categories,
    column,
    confirm_runs,
    confirmations,
    for_reference_alone,
    label,
    number,
    params,
    recorded,
    search_trials,
    setting_text,
    space,
    value_text,
)
from vaeexp.report.answer import interval_text, test_interval
from vaeexp.report.markdown import escape, plural, table

__all__ = ["by_choice", "by_components", "confirmed_table", "edges", "outcomes", "paired_tables", "ranked_table"]

TOP = 10


def ranked_table(results: Results) -> str:
    """The ten best complete trials of the search."""
    best = at_best_epoch(results, ranked(results).head(TOP))
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
    """Confirmed configurations over fresh seeds: mean and 95 % interval on test, the best on validation first."""
    runs = confirm_runs(results)
    search = results.trials[~results.trials["replica"]].set_index("number")
    extra = _per_sub_pixel(results, runs)
    rows = []
    for _, entry in confirmations(results).iterrows():
        of = int(entry["of"])
        own = runs[runs["of"] == of]
        intervals = [
            interval_text(test_interval(own, metric))
            for metric in ("test/nll", "test/iw_nll", "test/rate", "test/distortion")
        ]
        intervals += [make(own) for _, make in extra]
        setting = escape(setting_text(params(results, search.loc[of]))) if of in search.index else ""
        rows.append(
            [str(of), str(len(own)), number(search["value"].get(of)), number(entry["value"]), *intervals, setting]
        )
    header = [
        "trial",
        "seeds",
        "val −ELBO, search",
        "val −ELBO, new seeds",
        "test −ELBO",
        "test IW-NLL",
        "test rate",
        "test distortion",
        *(title for title, _ in extra),
        "setting",
    ]
    return table(header, rows, right=range(8 + len(extra))) if rows else ""


def _per_sub_pixel(results: Results, runs: pd.DataFrame) -> list[tuple[str, Callable[[pd.DataFrame], str]]]:
    """Columns of the confirmed table for colour images, and for likelihoods of levels: title, and cell from the runs."""
    shape = recorded(results, "data").get("image_shape") or [1]
    columns = []
    if shape[0] > 1:
        size = math.prod(shape)
        columns.append(("nats per sub-pixel", lambda own: number(test_interval(own, "test/nll").mean / size, 4)))
    if column(runs, "result.test/bits_per_dimension").notna().any():
        columns.append(
            ("bits per dimension", lambda own: interval_text(test_interval(own, "test/bits_per_dimension"), 3))
        )
    return columns


def by_choice(results: Results, name: str) -> str:
    """Trials of the search for each value of a choice parameter."""
    trials = search_trials(results)
    texts = column(trials, f"params.{name}").map(value_text)
    return _group_table(label(name), [(value, trials[texts == value]) for value in categories(results, name)])


def by_components(results: Results) -> str:
    """Trials of the search for each range of component counts, in powers of two; trials without a mixture in a row of their own."""
    parameter = space(results).get("components")
    if not parameter or parameter["kind"] == "choice":
        return ""
    trials = search_trials(results)
    counts = column(trials, "params.components").astype(float)
    groups = [("no mixture", trials[counts.isna()])] if counts.isna().any() and parameter.get("when") else []
    low, high = int(parameter["low"]), int(parameter["high"])
    for power in range(int(math.log2(max(low, 1))), int(math.log2(high)) + 1):
        first, last = max(low, 2**power), min(high, 2 ** (power + 1) - 1)
        # A last bin of one value (64 of 2–64) goes to its neighbour.
        if first == last == high and power and first > low:
            continue
        last = high if last + 1 == high else last
        groups.append((f"{first}–{last}" if first < last else str(first), trials[(counts >= first) & (counts <= last)]))
    return _group_table("components", groups)


def _group_table(title: str, groups: list[tuple[str, pd.DataFrame]]) -> str:
    header = [escape(title), "trials", "complete", "pruned", "failed", "best val −ELBO", "median val −ELBO (complete)"]
    rows = []
    for name, group in groups:
        complete = group[(group["state"] == "complete")]["value"].dropna()
        counts = [str(int((group["state"] == state).sum())) for state in ("complete", "pruned", "failed")]
        rows.append([escape(name), str(len(group)), *counts, number(complete.min()), number(complete.median())])
    return table(header, rows, right=range(1, 7)) if sum(len(group) for _, group in groups) else ""


def paired_tables(results: Results) -> list[str]:
    """For each two values that were compared: every pair, then what they say together."""
    return [block for comparison in comparisons(results) for block in _paired(comparison)]


def _paired(comparison: Comparison) -> list[str]:
    first, second = value_text(comparison.first), value_text(comparison.second)
    if not len(comparison.pairs):
        return []
    rows = [
        [
            str(int(row["of"])),
            str(int(row["replica_seed"])),
            number(row[f"value.{comparison.first}"]),
            number(row[f"value.{comparison.second}"]),
            number(row["difference"]),
        ]
        for _, row in comparison.pairs.sort_values(["of", "replica_seed"]).iterrows()
    ]
    header = [
        "configuration of trial",
        "seed index",
        f"{escape(first)} val −ELBO",
        f"{escape(second)} val −ELBO",
        f"{escape(second)} − {escape(first)}",
    ]
    return [table(header, rows, right=range(5)), _summary(comparison, first, second)]


def _summary(comparison: Comparison, first: str, second: str) -> str:
    interval, several = comparison.interval, comparison.configurations > 1
    lower = int((comparison.pairs["difference"] < 0).sum())
    words = f"Mean difference {number(interval.mean)} nats per image"
    if math.isfinite(interval.low):
        words += f", 95 % interval {number(interval.low)} to {number(interval.high)} over {plural(interval.n, 'configuration' if several else 'seed')}"
        words += " (the seeds of a configuration averaged first)" if several else ""
    words += f". {escape(second)} is lower in {lower:,} of {plural(len(comparison.pairs), 'pair')}."
    if interval.n >= 6:
        words += f" Wilcoxon's signed-rank test: p = {comparison.p:.2g}."
    if comparison.incomplete:
        words += f" {plural(comparison.incomplete, 'pair')} lacked a complete run and {'is' if comparison.incomplete == 1 else 'are'} left out."
    return words


def outcomes(results: Results) -> str:
    """How the trials ended, and why those that failed did."""
    trials = results.trials
    own, replicas = trials[~trials["replica"]], trials[trials["replica"]]
    repeated = own["duplicate_of"].notna()
    rows = []
    for state in ("complete", "pruned", "failed", "running", "waiting"):
        search = own[(own["state"] == state) & ~repeated]
        again = replicas[replicas["state"] == state]
        if len(search) or len(again):
            rows.append([state, str(len(search)), str(len(again)), _reason(state, search, again)])
    if repeated.any():
        rows.append(
            [
                "repeated",
                str(int(repeated.sum())),
                "0",
                "the configuration of an earlier trial: its value was used again",
            ]
        )
    others = "confirm, compare and references" if for_reference_alone(replicas).any() else "confirm and compare"
    return table(["outcome", "search", others, "why"], rows, right=(1, 2)) if rows else ""


def _reason(state: str, search: pd.DataFrame, again: pd.DataFrame) -> str:
    if state == "pruned" and len(search):
        return f"worse than others at the same epoch; stopped after {_span(search['epochs'])}"
    if state != "failed":
        return ""
    both = pd.concat([search, again]) if len(again) else search
    kinds = []
    for kind, group in both.groupby(both["failure"].fillna("unknown"), sort=True):
        names = ", ".join(group["name"].head(5)) + (" …" if len(group) > 5 else "")
        message = group["message"].dropna()
        kinds.append(f"{kind} ({len(group)}: {names}{'; ' + str(message.iloc[0]) if len(message) else ''})")
    return escape("; ".join(kinds))


def _span(epochs: pd.Series) -> str:
    low, high = int(epochs.min()), int(epochs.max())
    return plural(low, "epoch") if low == high else f"{low:,} to {high:,} epochs (median {epochs.median():g})"


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
