"""Rows that are set side by side: confirmed configurations and baselines, each with the protocol of its figures."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweeps.results.rankings import Results, ranked
from sweeps.results.statistics import Interval, mean_interval
from vaeexp.results.frames import (
    baselines,
    column,
    confirm_runs,
    confirmations,
    fixed,
    params,
    recorded,
    search_trials,
    space,
)
from vaeexp.words import format_configuration

DISTORTION = ("data", "fingerprint", "split", "binarisation", "likelihood")
"""What two distortions must share to be the same quantity."""
PROTOCOL = (*DISTORTION, "posterior")
"""What two values of −ELBO must share to stand in one table."""
CHANGES = {"dataset": "data", "binarisation": "binarisation", "likelihood": "likelihood", "posterior": "posterior"}
"""Setting → the part of the protocol that it changes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """A configuration that was trained with one or more seeds."""

    title: str
    setting: str
    """What it was trained with, in words."""
    baseline: str | None
    """Its name in the study file; None for a configuration that the search found."""
    runs: pd.DataFrame
    """Its complete runs, rows of `Results.trials`, the lowest value first."""
    protocol: dict[str, str]
    """As `vaeexp.runs.provenance.protocol`."""
    settings: dict[str, Any]
    """dataset, binarisation, likelihood and posterior by name."""
    beta: float | None
    """What it was trained with."""
    published: str | None = None
    """What the source of a baseline printed for it, in words."""

    @property
    def value(self) -> float:
        """Mean over seeds of the lowest validation −ELBO, nats per image."""
        return float(self.runs["value"].mean())

    @property
    def validation(self) -> Interval:
        """The same with its 95 % interval over seeds."""
        return mean_interval(self.runs["value"].to_numpy(float))

    def test(self, metric: str) -> Interval:
        """Mean over seeds of the result `test/<metric>` with its 95 % interval; of the runs that have it."""
        return mean_interval(column(self.runs, f"result.test/{metric}").dropna().to_numpy(float))

    @property
    def deterministic(self) -> bool:
        """Whether it is a plain autoencoder, whose value is its distortion."""
        return self.settings["posterior"] == "deterministic"

    @property
    def same_distortion(self) -> tuple:
        """Equal for rows whose distortions are one quantity."""
        return tuple(self.protocol.get(name) for name in DISTORTION)

    @property
    def same_protocol(self) -> tuple:
        """Equal for rows that may be ranked by −ELBO."""
        return tuple(self.protocol.get(name) for name in PROTOCOL)


def rows(results: Results) -> list[Row]:
    """Confirmed configurations, the best on validation first, then baselines in the order of the study file.

    Rows without a complete run are left out.
    """
    runs = confirm_runs(results)
    own = [
        _found(results, runs[runs["source_trial"] == of], int(of), "confirmed")
        for of in confirmations(results)["source_trial"]
    ]
    return [*own, *baseline_rows(results)]


def baseline_rows(results: Results) -> list[Row]:
    """Baselines with a complete run, in the order of the study file."""
    trials = results.trials
    names = column(trials, "baseline")
    complete = trials["repeat"] & (trials["state"] == "complete") & trials["value"].notna()
    found = [(name, given, trials[complete & (names == name)]) for name, given in baselines(results).items()]
    return [_baseline(results, name, given, runs) for name, given, runs in found if len(runs)]


def best_row(results: Results) -> Row | None:
    """The best confirmed configuration, else the best trial of the search; None without a complete trial."""
    confirmed = confirmations(results)
    if len(confirmed):
        runs = confirm_runs(results)
        of = confirmed["source_trial"].iloc[0]
        return _found(results, runs[runs["source_trial"] == of], int(of), "confirmed")
    complete = ranked(results)
    if complete.empty:
        return None
    return _found(results, complete.head(1), int(complete["number"].iloc[0]), "best of the search")


def by_protocol(found: list[Row]) -> list[list[Row]]:
    """Rows of equal protocol together, by their mean value; protocols in order of appearance."""
    groups: dict[tuple, list[Row]] = {}
    for row in found:
        groups.setdefault(row.same_protocol, []).append(row)
    return [sorted(group, key=lambda row: row.value) for group in groups.values()]


def _found(results: Results, runs: pd.DataFrame, number: int, role: str) -> Row:
    """A row of what the search found; the protocol is the study's, but for what the search itself varies."""
    values = params(results, runs.iloc[0])
    # Where one parameter was searched alone, its value is the best name.
    only = format_configuration(values) if len(space(results)) == 1 else ""
    protocol = study_protocol(results)
    protocol |= {part: str(values[name]) for name, part in CHANGES.items() if name in values}
    return Row(
        title=f"Trial {number}, {only or role}",
        setting=format_configuration(values),
        baseline=None,
        runs=runs.sort_values(["value", "number"]),
        protocol=protocol,
        settings={name: values.get(name, fixed(results, name)) for name in CHANGES},
        beta=values.get("beta", fixed(results, "beta")),
    )


def _baseline(results: Results, name: str, given: dict[str, Any], runs: pd.DataFrame) -> Row:
    changed = given.get("settings") or {}
    base = search_trials(results).set_index("number")
    of = runs["source_trial"].dropna()
    on_best = given.get("at") == "best" and len(of) and of.iloc[0] in base.index
    values = {**(params(results, base.loc[of.iloc[0]]) if on_best else {}), **changed}
    own = recorded(results, "protocols").get(name)
    protocol = study_protocol(results) | {part: str(values[key]) for key, part in CHANGES.items() if key in values}
    start = f"trial {of.iloc[0]}" if on_best else "the fixed settings"
    words = format_configuration(changed)
    return Row(
        title=given.get("title") or name,
        setting=f"{start} with {words}" if words else start,
        baseline=name,
        runs=runs.sort_values(["value", "number"]),
        protocol=dict(own) if own else protocol,
        settings={key: values.get(key, fixed(results, key)) for key in CHANGES},
        beta=values.get("beta", fixed(results, "beta")),
        published=given.get("published"),
    )


def study_protocol(results: Results) -> dict[str, str]:
    """That of the search; studies of earlier versions name no posterior, and had the Gaussian one alone."""
    return {"posterior": str(fixed(results, "posterior") or "gaussian")} | recorded(results, "protocol")
