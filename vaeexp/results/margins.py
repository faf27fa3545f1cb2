"""How far the best confirmed configuration is ahead of another on test, and whether seeds alone could explain it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.results.statistics import Interval, difference_interval
from vaeexp.results.columns import column, finite
from vaeexp.results.tested_settings import TestedSetting

if TYPE_CHECKING:
    from sweeps.results.rankings import Results


@dataclass(frozen=True, kw_only=True)
class WinnerMargin:
    """Another confirmed configuration, set against the best."""

    source_trial: int
    """Its trial of the search."""
    seeds: tuple[int, int]
    """Runs with a test figure: of the best, of this one."""
    interval: Interval
    """Of its mean test −ELBO minus that of the best, nats per image: above 0 where the best is better."""

    @property
    def settled(self) -> bool:
        """Whether the interval excludes 0."""
        return bool(self.interval.low > 0 or self.interval.high < 0)


def winner_margins(confirmed: Sequence[TestedSetting]) -> list[WinnerMargin]:
    """Set the first confirmed configuration against each other one that has test figures; empty where the first has none.

    Every configuration has seeds of its own (`sweeps.engine.repeats`). Nothing is paired, so that the interval is Welch's.
    """
    tested = [(setting, finite(column(setting.runs, "result.test/neg_elbo")).tolist()) for setting in confirmed]
    if not tested:
        return []
    (_, best), *others = tested
    return [
        WinnerMargin(
            source_trial=int(setting.source_trial),
            seeds=(len(best), len(own)),
            interval=difference_interval(best, own),
        )
        for setting, own in others
        if setting.source_trial is not None and best and own
    ]


Margin = WinnerMargin


def margins(results: "Results") -> list[WinnerMargin]:
    from vaeexp.results.study_view import StudyView

    return StudyView(results).margins
