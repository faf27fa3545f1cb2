"""Test figures of the confirmed configurations, worked out from the tables alone."""

import pandas as pd

from sweeps.results import Results


def confirmed(results: Results) -> pd.DataFrame:
    """One row per confirmed configuration, in the order of their objectives in the search.

    Columns: source_trial, objective (in the search), n (runs with test figures), mean and sd (over
    seeds, of n - 1; NaN for one run) as `test/neg_elbo.mean`, `test/neg_elbo.sd`,
    `test/iw_nll.mean`, `test/iw_nll.sd`, and `params.<name>`.
    """
    trials = results.trials
    parameters = [column for column in trials if column.startswith("params.")]
    confirming = trials["purposes"].map(lambda purposes: "confirm" in purposes).astype(bool)
    runs = trials[trials["repeat"] & confirming]
    complete = runs[runs["state"] == "complete"].groupby("source_trial")
    figures = {"n": complete["result.test/neg_elbo"].count()}
    for metric in ("test/neg_elbo", "test/iw_nll"):
        figures[f"{metric}.mean"] = complete[f"result.{metric}"].mean()
        figures[f"{metric}.sd"] = complete[f"result.{metric}"].std(ddof=1)
    table = pd.DataFrame(
        {"source_trial": pd.array(sorted(runs["source_trial"].dropna().unique()), dtype="int64")}
    )
    for column, figure in figures.items():
        table[column] = table["source_trial"].map(figure.to_dict()).astype("float64")
    table["n"] = table["n"].fillna(0).astype("int64")
    search = trials.loc[~trials["repeat"], ["number", "objective", *parameters]].rename(
        columns={"number": "source_trial"}
    )
    table = table.merge(search, on="source_trial", how="left").sort_values(
        ["objective", "source_trial"], ignore_index=True
    )
    return table[["source_trial", "objective", *figures, *parameters]]
