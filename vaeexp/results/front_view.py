"""The front of a study with two objectives."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from sweeps.results import pareto_front
from vaeexp.evaluation.metrics import METRICS


@dataclass(frozen=True, eq=False)
class FrontView:
    """The complete trials of a search by their two objectives at the last epoch."""

    names: tuple[str, str]
    """Of the objectives, as the study file has them."""
    ended: pd.DataFrame
    """Trials that have ended in any state, in the order of their ends, with the metrics of their
    last epoch.
    """
    metrics: tuple[str, str]
    """Columns of the objectives."""

    @property
    def labels(self) -> tuple[str, str]:
        """What the report calls the objectives."""
        first, second = self.names
        return METRICS[first].label, METRICS[second].label

    @cached_property
    def complete(self) -> pd.DataFrame:
        """Complete trials with two finite values, in the order of their ends."""
        finite = np.isfinite(self.ended[[*self.metrics]].to_numpy(float)).all(axis=1)
        return self.ended[finite & (self.ended["state"] == "complete").to_numpy()].reset_index(
            drop=True
        )

    @cached_property
    def values(self) -> np.ndarray:
        """The objectives of the complete trials: [N, 2]."""
        return self.complete[[*self.metrics]].to_numpy(float)

    @cached_property
    def members(self) -> pd.DataFrame:
        """The complete trials that no other equals or beats in both objectives, in order of the
        first objective.
        """
        by_number = self.complete.sort_values("number", ignore_index=True)
        return by_number.iloc[pareto_front(by_number[[*self.metrics]].to_numpy(float))].reset_index(
            drop=True
        )


def front_view(trials: pd.DataFrame, objectives: Mapping[str, str]) -> FrontView:
    """Return the front of the trials of a search with the metrics of their last epochs.
    `objectives`: name → metric.
    """
    (first, second), columns = objectives, tuple(objectives.values())
    # The rounds of the driver give the order, because a clock may have jumped.
    ended = trials[trials["ended"].notna()].sort_values(
        ["ended_round", "number"], ignore_index=True
    )
    return FrontView((first, second), ended, (columns[0], columns[1]))
