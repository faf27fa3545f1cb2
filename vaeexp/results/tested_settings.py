"""Configurations that are set side by side, each with its protocol, and the differences between them with how sure they are."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sweeps.results import Results, pairs
from sweeps.results.statistics import (
    LEAST_VALUES,
    MANY,
    Interval,
    holm,
    interval_of_mean,
    mean_interval,
    paired_interval,
    wilcoxon_p,
)
from vaeexp.results.tables import column, interval_on_test
from vaeexp.words import format_configuration

if TYPE_CHECKING:
    from vaeexp.results.study_view import StudyView

SAME_DISTORTION = ("data", "fingerprint", "split", "binarisation", "likelihood")
"""Parts of a protocol that two distortions must share to be the same quantity."""
SAME_ELBO = (*SAME_DISTORTION, "posterior")
"""Parts of a protocol that two values of −ELBO must share to stand in one table."""
ERROR_RATE = 0.05
"""Of the comparisons of a study in which nothing differs, the share in which one is called better."""
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
        return tuple(self.protocol.get(name) for name in SAME_DISTORTION)

    @property
    def same_protocol(self) -> tuple[str | None, ...]:
        """Equal for configurations that may be ranked by −ELBO."""
        return tuple(self.protocol.get(name) for name in SAME_ELBO)


def by_protocol(settings: Iterable[TestedSetting]) -> list[list[TestedSetting]]:
    """Group configurations of equal protocol, by their mean value; protocols in order of appearance."""
    groups: dict[tuple[str | None, ...], list[TestedSetting]] = {}
    for setting in settings:
        groups.setdefault(setting.same_protocol, []).append(setting)
    return [sorted(group, key=lambda setting: setting.value) for group in groups.values()]


def found_setting(view: "StudyView", number: int, runs: pd.DataFrame, role: str) -> TestedSetting:
    """Make the entry of a configuration that trial `number` of the search found; its protocol is that of the study."""
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


def baseline_setting(view: "StudyView", name: str, runs: pd.DataFrame) -> TestedSetting:
    """Make the entry of a baseline from its complete runs."""
    section = view.baseline_specs[name]
    changed = section.get("settings") or {}
    on_best, sources = section.get("at") == "best", runs["source_trial"].dropna()
    source = int(sources.iloc[0]) if on_best and len(sources) else None
    base = view.search[view.search["number"] == source]
    inherited = view.params(base.iloc[0]) if len(base) else {}
    values = {**inherited, **changed}
    start = "the fixed settings" if source is None else f"trial {source}"
    # A run may stand for a confirmed trial, too, that has these settings already.
    change = format_configuration({key: value for key, value in changed.items() if inherited.get(key) != value})
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


@dataclass(frozen=True, kw_only=True, eq=False)
class PairComparison:
    """Two values of a parameter, set against each other in matched pairs."""

    parameter: str
    first: Any
    second: Any
    pairs: pd.DataFrame
    """Complete pairs: source_trial, seed_index, value.<first>, value.<second>, difference (second − first, validation −ELBO)."""
    incomplete: int
    """Pairs that lack a run."""
    interval: Interval
    """Of the mean difference. Over configurations, whose seeds are averaged first; over seeds where there is one configuration.
    No interval from fewer than 3 of them."""
    p: float
    """Two-sided, that the mean difference is 0: of Student's t for paired differences, and from 20 configurations on, where
    the interval is a bootstrap, of Wilcoxon's signed-rank test; NaN without an interval."""
    p_holm: float = math.nan
    """The same after Holm's correction for all comparisons of the study; NaN without an interval."""

    @property
    def configurations(self) -> int:
        return int(self.pairs["source_trial"].nunique())

    @property
    def better(self) -> Any | None:
        """The better value, where the corrected test tells the two apart at 5 %; else None."""
        if not self.p_holm <= ERROR_RATE:
            return None
        return self.first if self.interval.mean > 0 else self.second


def compare_pairs(results: Results, parameter: str, two: tuple[Any, Any], seed: int) -> PairComparison:
    """Compare two values of a parameter, not yet corrected for other comparisons; `seed` is that of the bootstrap."""
    table = pairs(results, parameter, two)
    complete = table.dropna(subset=["difference"])
    grouped = complete.groupby("source_trial")["difference"].mean()
    differences = (grouped if len(grouped) > 1 else complete["difference"]).to_numpy(float).tolist()
    many = len(differences) >= MANY
    return PairComparison(
        parameter=parameter,
        first=two[0],
        second=two[1],
        pairs=complete,
        incomplete=len(table) - len(complete),
        interval=interval_of_mean(differences, seed=seed),
        p=wilcoxon_p(differences) if many else paired_t_p(differences),
    )


def corrected(comparisons: Sequence[PairComparison]) -> list[PairComparison]:
    """Return the comparisons with their p after Holm's correction over those of them that have one."""
    adjusted = holm([comparison.p for comparison in comparisons])
    return [replace(comparison, p_holm=p) for comparison, p in zip(comparisons, adjusted, strict=True)]


def paired_t_p(differences: Sequence[float]) -> float:
    """Return the two-sided p of Student's t that paired differences have the mean 0; NaN for fewer than `LEAST_VALUES` of them."""
    n, spread = len(differences), float(np.std(differences, ddof=1)) if len(differences) >= LEAST_VALUES else math.nan
    if n < LEAST_VALUES:
        return math.nan
    mean = float(np.mean(differences))
    if spread == 0:
        return float(mean == 0)
    from scipy.special import stdtr  # the distribution of Student's t; `scipy.stats` takes half a second to import

    return float(2 * stdtr(n - 1, -abs(mean) / spread * math.sqrt(n)))


@dataclass(frozen=True, kw_only=True)
class WinnerMargin:
    """Another confirmed configuration, set against the best."""

    source_trial: int
    """Its trial of the search."""
    seeds: int
    """Fresh seeds for which both have a test figure."""
    interval: Interval
    """Of its test −ELBO minus that of the best with the same seed, nats per image: above 0 where the best is better. No interval from fewer than 3 seeds."""


def winner_margins(confirmed: Sequence[TestedSetting]) -> list[WinnerMargin]:
    """Set the first confirmed configuration against each other one that shares a seed with it on test.

    All configurations of a study draw from one list of fresh seeds (`sweeps.engine.repeats`), so that they are paired.
    """
    tested = [(setting, _by_seed(setting)) for setting in confirmed]
    margins = []
    for setting, own in tested[1:]:
        best = tested[0][1]
        shared = own.index.intersection(best.index)
        if setting.source_trial is not None and len(shared):
            interval = paired_interval(best[shared].tolist(), own[shared].tolist())
            margins.append(WinnerMargin(source_trial=int(setting.source_trial), seeds=len(shared), interval=interval))
    return margins


def _by_seed(setting: TestedSetting) -> pd.Series:
    """Return the test −ELBO of each run with a test figure, by the place of its seed."""
    runs = setting.runs.dropna(subset=["seed_index"])
    figures = column(runs, "result.test/neg_elbo").set_axis(runs["seed_index"].astype(int))
    return figures[np.isfinite(figures)].groupby(level=0).first()
