"""Configurations that are set side by side: the best and the confirmed ones and the baselines, each with its protocol."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from sweeps.results.statistics import Interval, mean_interval
from vaeexp.results.columns import interval_on_test
from vaeexp.words import format_configuration

if TYPE_CHECKING:
    from vaeexp.results.study_view import StudyView

DISTORTION = ("data", "fingerprint", "split", "binarisation", "likelihood")
"""Parts of a protocol that two distortions must share to be the same quantity."""
PROTOCOL = (*DISTORTION, "posterior")
"""Parts of a protocol that two values of −ELBO must share to stand in one table."""
CHANGES = {"dataset": "data", "binarisation": "binarisation", "likelihood": "likelihood", "posterior": "posterior"}
"""Setting → the part of the protocol that it changes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TestedSetting:
    """A configuration that was trained with one or more seeds."""

    title: str
    setting: str
    """The configuration in words."""
    source_trial: int | None
    """The trial of the search that has the configuration, or that a baseline changes; None for the fixed settings."""
    baseline: str | None
    """Its name in the study file; None for a configuration that the search found."""
    runs: pd.DataFrame
    """Its complete runs, rows of `Results.trials`, the lowest value first."""
    protocol: Mapping[str, str]
    """As `vaeexp.runs.provenance.protocol`."""
    settings: Mapping[str, Any]
    """dataset, binarisation, likelihood and posterior by name."""
    beta: float | None
    """The β that it was trained with."""
    published: str | None = None
    """The figure that the source of a baseline printed for it, in words."""

    @property
    def value(self) -> float:
        """Mean over seeds of the lowest validation −ELBO, nats per image."""
        return float(self.runs["objective"].mean())

    @property
    def validation(self) -> Interval:
        """The same mean with its 95 % interval over seeds."""
        return mean_interval(self.runs["objective"].to_numpy(float).tolist())

    def test(self, metric: str) -> Interval:
        """Return the mean over seeds of the result `test/<metric>` with its 95 % interval, of the runs that have it."""
        return interval_on_test(self.runs, f"test/{metric}")

    @property
    def deterministic(self) -> bool:
        """Whether it is a plain autoencoder, whose value is its distortion."""
        return bool(self.settings["posterior"] == "deterministic")

    @property
    def same_distortion(self) -> tuple[str | None, ...]:
        """Equal for configurations whose distortions are one quantity."""
        return tuple(self.protocol.get(name) for name in DISTORTION)

    @property
    def same_protocol(self) -> tuple[str | None, ...]:
        """Equal for configurations that may be ranked by −ELBO."""
        return tuple(self.protocol.get(name) for name in PROTOCOL)


def confirmed_settings(view: "StudyView") -> list[TestedSetting]:
    """Return the confirmed configurations with a complete run, the lowest mean validation −ELBO first.

    The order is that of validation over fresh seeds, so that the test figures of the winner were not selected for.
    """
    runs = view.confirm_runs
    means = runs.groupby("source_trial")["objective"].mean().reset_index()
    ordered = means.sort_values(["objective", "source_trial"])["source_trial"]
    return [_found(view, runs[runs["source_trial"] == trial], int(trial), "confirmed") for trial in ordered]


def best_setting(view: "StudyView") -> TestedSetting | None:
    """Return the best confirmed configuration, else the best trial of the search; None without a complete trial."""
    if view.confirmed:
        return view.confirmed[0]
    if view.ranked.empty:
        return None
    return _found(view, view.ranked.head(1), int(view.ranked["number"].iloc[0]), "best of the search")


def baseline_settings(view: "StudyView") -> list[TestedSetting]:
    """Return the baselines with a complete run, in the order of the study file."""
    trials = view.trials
    complete = trials["repeat"] & (trials["state"] == "complete") & trials["objective"].notna()
    runs = {name: trials[complete & (trials["baseline"] == name)] for name in view.baseline_specs}
    return [_baseline(view, name, runs[name]) for name in view.baseline_specs if len(runs[name])]


def by_protocol(settings: Iterable[TestedSetting]) -> list[list[TestedSetting]]:
    """Group configurations of equal protocol, by their mean value; protocols in order of appearance."""
    groups: dict[tuple[str | None, ...], list[TestedSetting]] = {}
    for setting in settings:
        groups.setdefault(setting.same_protocol, []).append(setting)
    return [sorted(group, key=lambda setting: setting.value) for group in groups.values()]


def _found(view: "StudyView", runs: pd.DataFrame, number: int, role: str) -> TestedSetting:
    """Make the entry of a configuration that the search found; its protocol is that of the study."""
    values = view.params(runs.iloc[0])
    # Where one parameter was searched alone, its value is the best name.
    only = format_configuration(values) if len(view.parameters) == 1 else ""
    return TestedSetting(
        title=f"Trial {number}, {only or role}",
        setting=format_configuration(values),
        source_trial=number,
        baseline=None,
        runs=runs.sort_values(["objective", "number"]),
        protocol=view.protocol(),
        settings={name: view.fixed(name) for name in CHANGES},
        beta=values.get("beta", view.fixed("beta")),
    )


def _baseline(view: "StudyView", name: str, runs: pd.DataFrame) -> TestedSetting:
    section = view.baseline_specs[name]
    changed = section.get("settings") or {}
    sources = runs["source_trial"].dropna()
    source = int(sources.iloc[0]) if len(sources) else None
    base = view.search[view.search["number"] == source]
    on_best = section.get("at") == "best" and len(base) > 0
    values = {**(view.params(base.iloc[0]) if on_best else {}), **changed}
    start = f"trial {source}" if on_best else "the fixed settings"
    change = format_configuration(changed)
    return TestedSetting(
        title=section.get("title") or name,
        setting=f"{start} with {change}" if change else start,
        source_trial=source,
        baseline=name,
        runs=runs.sort_values(["objective", "number"]),
        protocol=view.protocol(name),
        settings={key: values.get(key, view.fixed(key)) for key in CHANGES},
        beta=values.get("beta", view.fixed("beta")),
        published=section.get("published"),
    )
