"""Configurations that are set side by side, each with its protocol, and the differences between
them with how sure they are.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations, product
from typing import Any

import numpy as np
import pandas as pd

from sweeps.results import (
    LEAST_VALUES,
    MANY,
    Interval,
    Race,
    Results,
    difference_interval,
    holm,
    interval_of_mean,
    matched_pairs,
    mean_interval,
    paired_interval,
    wilcoxon_p,
)
from vaeexp.evaluation.metrics import BESIDE
from vaeexp.results.new_seeds import Failures
from vaeexp.results.paired_configurations import (
    PairedConfiguration,
    paired_configurations,
    paired_t_p,
)
from vaeexp.results.tables import column, interval_on_test
from vaeexp.words import is_missing, plural

SAME_DISTORTION = ("data", "fingerprint", "split", "binarisation", "measure")
"""Parts of a protocol that two distortions must share to be the same quantity."""
SAME_ELBO = (*SAME_DISTORTION, "posterior")
"""Parts of a protocol that two values of −ELBO must share to stand in one table."""
ERROR_RATE = 0.05
"""Of the comparisons of a study in which nothing differs, the share in which one is called
better.
"""
SHOWN = ("dataset", "binarisation", "likelihood", "posterior", "loss")
"""Settings that the tables of tested settings are made by."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TestedSetting:
    """A configuration that was trained with one or more seeds."""

    title: str
    setting: str
    """The configuration in words."""
    source_trial: int | None
    """The trial of the search that has the configuration, or that a baseline changes; None for the
    fixed settings.
    """
    baseline: str | None = None
    """Its name in the study file; None for a configuration that the search found."""
    runs: pd.DataFrame
    """Its complete runs, rows of `Results.trials`, the lowest value first."""
    protocol: Mapping[str, str]
    """As `vaeexp.runs.provenance.protocol`."""
    settings: Mapping[str, Any]
    """Those of `SHOWN` by name."""
    published: str | None = None
    """The figure that the source of a baseline printed for it, in words."""
    planned: int = 0
    """Seeds that the study asks for; 0 for a trial of the search."""
    failures: Sequence[Failures] = ()
    """Its runs that failed, by kind."""

    @property
    def median_first(self) -> pd.DataFrame:
        """`runs` by how near their rank is to that of the median, of an even number the upper one:
        what the first draws is not what the luckiest seed would.
        """
        count = len(self.runs)
        return self.runs.iloc[np.argsort(np.abs(np.arange(count) - count // 2), kind="stable")]

    @property
    def seeds(self) -> str:
        """Its complete runs, in words: `3`; `1 of 4` where others failed."""
        return f"{len(self.runs):,}{f' of {self.planned:,}' if self.failures else ''}"

    @property
    def value(self) -> float:
        """Mean over seeds of the lowest validation −ELBO, nats per image."""
        return float(self.runs["objective"].mean())

    @property
    def validation(self) -> Interval:
        """The same mean with its 95 % interval over seeds."""
        return mean_interval(self.runs["objective"].to_numpy(float).tolist())

    def test(self, metric: str) -> Interval:
        """Return the mean over seeds of the result `test/<metric>` with its 95 % interval, of the
        runs that have it.
        """
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
    """Group configurations of equal protocol, by their mean value; protocols in order of
    appearance.
    """
    groups: dict[tuple[str | None, ...], list[TestedSetting]] = {}
    for setting in settings:
        groups.setdefault(setting.same_protocol, []).append(setting)
    return [sorted(group, key=lambda setting: setting.value) for group in groups.values()]


@dataclass(frozen=True, kw_only=True, eq=False)
class PairComparison:
    """Two values of a parameter, set against each other in matched pairs."""

    parameter: str
    first: Any
    second: Any
    pairs: pd.DataFrame
    """Complete pairs: source_trial, seed_index, value.<first>, value.<second>, difference (second −
    first, validation −ELBO).
    """
    incomplete: int
    """Pairs that lack a run."""
    interval: Interval
    """Of the mean difference. Over configurations, whose seeds are averaged first; over seeds where
    there is one configuration. No interval from fewer than 3 of them."""
    p: float
    """Two-sided, that the mean difference is 0: of Student's t for paired differences, and from 20
    configurations on, where the interval is a bootstrap, of Wilcoxon's signed-rank test; NaN
    without an interval."""
    p_holm: float = math.nan
    """The same after Holm's correction for all comparisons of the study; NaN without an
    interval.
    """
    tests: int = 1
    """Comparisons that the correction counts: those with a p."""
    by_configuration: Sequence[PairedConfiguration] = ()
    """The configurations one by one, the winner first, then by their place in the search."""

    @property
    def configurations(self) -> int:
        return self.pairs["source_trial"].nunique()

    @property
    def better(self) -> Any | None:
        """The better value, where the corrected test tells the two apart at 5 %; else None."""
        if not self.p_holm <= ERROR_RATE:
            return None
        return self.first if self.interval.mean > 0 else self.second


def compare_pairs(
    results: Results,
    parameter: str,
    two: tuple[Any, Any],
    seed: int,
    found: pd.DataFrame,
    best: TestedSetting | None,
) -> PairComparison:
    """Compare two values of a parameter, not yet corrected for other comparisons.

    Args:
        seed: that of the bootstrap.
        found: trials of the search in their order (`found_rows`).
        best: the best configuration, confirmed or not.
    """
    compared = compare_matched(parameter, two, matched_pairs(results, parameter, two), seed)
    others = {
        name: matched_pairs(results, parameter, two, f"result.test/{name}") for name in BESIDE
    }
    winner, reference = (
        (best.source_trial, _by_seed(best, metric="objective")) if best else (None, {})
    )
    each = paired_configurations(compared.pairs, others, found, parameter, winner, reference)
    return replace(compared, by_configuration=each)


def compare_matched(
    parameter: str, two: tuple[Any, Any], table: pd.DataFrame, seed: int
) -> PairComparison:
    """Return the comparison of two values from their matched pairs, a row each, as
    `sweeps.results.matched_pairs` gives them.
    """
    complete = table[table["difference"].notna()]
    values = complete["difference"].to_numpy(float)
    sources = complete["source_trial"].to_numpy()
    trials = np.unique(sources)
    samples = [values[sources == trial] for trial in trials] if len(trials) > 1 else values[:, None]
    differences = [math.fsum(sample) / len(sample) for sample in samples]
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
    """Return the comparisons with their p after Holm's correction over those of them that have one;
    their configurations likewise.
    """
    ps = [comparison.p for comparison in comparisons]
    tests = sum(math.isfinite(p) for p in ps)
    every = chain.from_iterable(comparison.by_configuration for comparison in comparisons)
    single = iter(holm([own.p for own in every]))
    return [
        replace(
            one,
            p_holm=p,
            tests=tests,
            by_configuration=[replace(own, p_holm=next(single)) for own in one.by_configuration],
        )
        for one, p in zip(comparisons, holm(ps), strict=True)
    ]


def welch_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the two-sided p of Welch's t (1947) that two samples have one mean; NaN where either
    has fewer than `LEAST_VALUES` values.
    """
    if min(len(first), len(second)) < LEAST_VALUES:
        return math.nan
    if not np.ptp(first) and not np.ptp(second):
        return float(np.mean(first) == np.mean(second))
    from scipy.stats import ttest_ind

    return float(ttest_ind(second, first, equal_var=False).pvalue)


@dataclass(frozen=True, kw_only=True)
class Margin:
    """The distance on test of a configuration from another one: from the best, unless a subclass
    says otherwise.
    """

    interval: Interval
    """Of its test −ELBO minus that of the other, nats per image: above 0 where the other is better.
    No interval from fewer than 3 seeds.
    """
    p: float
    """Two-sided, of the t test that the interval rests on, times the looks of a race; NaN without
    an interval.
    """
    p_holm: float = math.nan
    """The same after Holm's correction for `tests` comparisons."""
    tests: int

    @property
    def settled(self) -> bool:
        """Whether the corrected test tells the two apart at 5 %."""
        return self.p_holm <= ERROR_RATE


@dataclass(frozen=True, kw_only=True)
class WinnerMargin(Margin):
    """Another confirmed configuration, set against the best."""

    source_trial: int
    """Its trial of the search."""
    seeds: int
    """Fresh seeds for which both have a test figure."""


@dataclass(frozen=True, kw_only=True)
class BaselineMargin(Margin):
    """A baseline, set against the confirmed configuration that it changes; one on the fixed
    settings against the best.

    Its interval and p are NaN where the two have different protocols, so that their −ELBO cannot be
    compared.
    """

    baseline: str
    source_trial: int | None
    """The trial whose configuration the baseline changes; None for the fixed settings."""
    against: int | None
    """The trial whose confirmed configuration it is set against: the same one; for the fixed
    settings that of the best.
    """
    basis: str
    """The test behind the interval, in words."""
    weighted: Interval | None
    """Of its test IW-NLL minus that of the other, over the same seeds; None where their numbers of
    samples differ.
    """
    others: Mapping[str, Margin]
    """Of `BESIDE`, those that both have on test and that measure one thing → the difference,
    baseline − other, in the unit of the figure. Holm's correction counts all of them of all
    baselines, and leaves −ELBO to itself."""

    @property
    def estimates_agree(self) -> bool:
        """Whether the intervals of −ELBO and IW-NLL say the same: both leave out 0, on the same
        side, or neither does.
        """
        if self.weighted is None or not math.isfinite(self.weighted.low):
            return True
        first, second = (
            np.sign(interval.mean) * (interval.low * interval.high > 0)
            for interval in (self.interval, self.weighted)
        )
        return bool(first == second)


def winner_margins(
    confirmed: Sequence[TestedSetting],
    race: Race | None = None,
    *,
    metric: str = "result.test/neg_elbo",
) -> list[WinnerMargin]:
    """Set the first confirmed configuration against each other one that shares a seed with it, by
    default on test.

    All configurations of a study draw from one list of fresh seeds (`sweeps.engine.repeats`), so
    that they are paired. Holm's correction counts all pairs of confirmed configurations, because
    the first was chosen among them by runs that are tested here: with the pairs of the first alone,
    chance would be called a difference in more than 5 % of studies.

    Args:
        race: what chose the number of seeds that two of them share, after looking at the runs. Each
            p is multiplied by the numbers among which it chose (Bonferroni), which holds for
            whatever rule chooses.
        metric: column of the figure that is compared; `objective` is that of validation.
    """
    figures = [_by_seed(setting, metric=metric) for setting in confirmed]
    looks = race.looks if race else 1
    tested = []
    for one, other in combinations(figures, 2):
        first, second = _shared(one, other)
        tested.append(
            (paired_interval(first, second), paired_t_p(np.subtract(second, first).tolist()), looks)
        )
    # Those of the first come first.
    margins = zip(confirmed[1:], _margins(tested), strict=False)
    return [
        WinnerMargin(**vars(margin), source_trial=setting.source_trial, seeds=margin.interval.n)
        for setting, margin in margins
        if setting.source_trial is not None and margin.interval.n
    ]


def _margins(tested: Sequence[tuple[Interval, float, int]], unmade: int = 0) -> list[Margin]:
    """Return the margins with these intervals, p and looks, corrected for all of them and for
    `unmade` tests, which count as failed.
    """
    ps = [p if math.isnan(p) else min(1.0, p * looks) for _, p, looks in tested]
    tests = sum(map(math.isfinite, ps)) + unmade
    corrected = zip(tested, ps, holm([*ps, *[1.0] * unmade]), strict=False)
    return [
        Margin(interval=interval, p=p, p_holm=p_holm, tests=tests)
        for (interval, *_), p, p_holm in corrected
    ]


def _shared(
    first: Mapping[int, float], second: Mapping[int, float]
) -> tuple[list[float], list[float]]:
    """Return the figures of both for each seed that both have, in the order of the second."""
    seeds = [seed for seed in second if seed in first]
    return [first[seed] for seed in seeds], [second[seed] for seed in seeds]


def baseline_margins(
    confirmed: Sequence[TestedSetting],
    opposed: Sequence[tuple[TestedSetting, TestedSetting]],
    race: Race | None = None,
) -> list[BaselineMargin]:
    """Set each baseline against its other: the configuration that it changes; the first confirmed
    one for the fixed settings.

    Left out are those that are the same training as the other, and those of which no figure can be
    compared.

    Error rate: each of the two families, −ELBO and `BESIDE`, calls a difference that is none
    settled in at most 5 % of studies. Holm's correction counts each baseline with every confirmed
    configuration, because the first was chosen among these by runs that are tested here. A baseline
    on the best setting is trained on one or two of them; the tests of the others, which were not
    made, count as failed.

    Args:
        confirmed: the confirmed configurations, the first first.
        opposed: baseline and its other.
        race: as for `winner_margins`; the first, which has won it, has all seeds whenever the race
            is over.
    """
    totals = _differences(confirmed, opposed, ("neg_elbo",), race)
    others = _differences(confirmed, opposed, BESIDE, race)
    margins = []
    for baseline, other in opposed:
        margin, basis = totals.get((baseline, "neg_elbo"), (None, ""))
        further = {
            metric: others[baseline, metric][0] for metric in BESIDE if (baseline, metric) in others
        }
        if margin is not None or further:
            margin = margin or Margin(interval=mean_interval([]), p=math.nan, tests=0)
            margins.append(
                BaselineMargin(
                    **vars(margin),
                    baseline=str(baseline.baseline),
                    source_trial=baseline.source_trial,
                    against=other.source_trial,
                    basis=basis,
                    weighted=_weighted_difference(other, baseline) if basis else None,
                    others=further,
                )
            )
    return margins


@dataclass(frozen=True)
class _Tested:
    """The test of a baseline against one configuration by one figure, before any correction."""

    baseline: TestedSetting
    metric: str
    is_own: bool
    """Whether it is tested against what it changes, and not against another confirmed one."""
    interval: Interval
    p: float
    basis: str
    looks: int


def _differences(
    confirmed: Sequence[TestedSetting],
    opposed: Sequence[tuple[TestedSetting, TestedSetting]],
    metrics: Sequence[str],
    race: Race | None,
) -> dict[tuple[TestedSetting, str], tuple[Margin, str]]:
    """Return (baseline, metric) → its difference from its other and the basis, corrected
    for all of these metrics together.
    """
    tested = []
    for baseline, other in opposed:
        against = confirmed if baseline.source_trial is None else [other]
        for setting, metric in product(against, metrics):
            comparable = measures_one_thing(setting, baseline, metric)
            if comparable and not same_training(setting, baseline):
                looks = race.looks if race and setting is not confirmed[0] else 1
                difference = difference_on_test(setting, baseline, metric)
                tested.append(_Tested(baseline, metric, setting is other, *difference, looks))
    # A baseline on the best setting might have changed any confirmed one.
    made = [
        (each.baseline.baseline, each.metric)
        for each in tested
        if each.baseline.source_trial is not None and math.isfinite(each.p)
    ]
    unmade = max(0, len(set(made)) * len(confirmed) - len(made))
    margins = _margins([(each.interval, each.p, each.looks) for each in tested], unmade)
    return {
        (each.baseline, each.metric): (margin, each.basis)
        for each, margin in zip(tested, margins, strict=True)
        if each.is_own and math.isfinite(each.interval.mean)
    }


def measures_one_thing(setting: TestedSetting, other: TestedSetting, metric: str) -> bool:
    """Tell whether a figure on test is the same quantity for both."""
    if metric == "neg_elbo":
        return setting.same_protocol == other.same_protocol
    return same_images(setting, other) and not (
        metric == "rate" and (setting.deterministic or other.deterministic)
    )


def same_images(setting: TestedSetting, other: TestedSetting) -> bool:
    """Tell whether two configurations saw the same images and targets, so that FID and MSE measure
    one thing.
    """
    parts = [part for part in SAME_DISTORTION if part != "measure"]
    return all(setting.protocol.get(part) == other.protocol.get(part) for part in parts)


def _weighted_difference(best: TestedSetting, baseline: TestedSetting) -> Interval | None:
    """Return the mean difference in test IW-NLL (baseline − best); None where the numbers of
    samples differ or are not known.
    """
    counts = set[float]()
    for setting in (best, baseline):
        counts.update(column(setting.runs, "result.test/importance_samples").dropna().map(float))
    if len(counts) != 1:
        return None
    return difference_on_test(best, baseline, "iw_nll")[0]


def same_training(setting: TestedSetting, other: TestedSetting) -> bool:
    """Tell whether the other has the same runs, or the same seeds with the same test −ELBO to the
    last bit: it was trained as this one.
    """
    figures = _by_seed(setting, "seed")
    others = _by_seed(other, "seed")
    return same_runs(setting, other) or (
        bool(others) and all(figures.get(seed) == figure for seed, figure in others.items())
    )


def by_training(settings: Iterable[TestedSetting]) -> list[list[TestedSetting]]:
    """Group configurations that were trained alike, as `same_training` tells; groups and their
    members in the order given.
    """
    groups: list[list[TestedSetting]] = []
    for setting in settings:
        for group in groups:
            if same_training(group[0], setting):
                group.append(setting)
                break
        else:
            groups.append([setting])
    return groups


def same_runs(setting: TestedSetting, other: TestedSetting) -> bool:
    """Tell whether all runs of the other are runs of this one, so that both are one
    configuration.
    """
    return set(other.runs["name"]) <= set(setting.runs["name"])


def difference_on_test(
    first: TestedSetting, second: TestedSetting, metric: str
) -> tuple[Interval, float, str]:
    """Return the mean difference in a test metric (second − first) with its interval, the p of its
    test, and what both rest on.

    Runs that share their seed are paired; otherwise interval and test are Welch's.
    """
    column_ = f"result.test/{metric}"
    one = _by_seed(first, "seed", column_)
    other = _by_seed(second, "seed", column_)
    shared = _shared(one, other)
    if len(shared[0]) > 1 and len(shared[0]) == len(other):
        p = paired_t_p(np.subtract(shared[1], shared[0]).tolist())
        return paired_interval(*shared), p, f"paired over {plural(len(shared[0]), 'shared seed')}"
    figures = list(one.values()), list(other.values())
    basis = f"Welch's t over {len(one):,} and {plural(len(other), 'seed')}"
    return difference_interval(*figures), welch_p(*figures), basis


def _by_seed(
    setting: TestedSetting, name: str = "seed_index", metric: str = "result.test/neg_elbo"
) -> dict[int, float]:
    """Return the figure in a column of each run that has it, by its seed or by the place of its
    seed; of equal seeds the first run.
    """
    figures: dict[int, float] = {}
    for seed, figure in zip(setting.runs[name], column(setting.runs, metric), strict=True):
        if not is_missing(seed) and math.isfinite(figure):
            figures.setdefault(int(seed), float(figure))
    return figures
