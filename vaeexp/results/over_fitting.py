"""Whether validation rises again before the last epoch, in the runs that were trained to their end.

**A run rises** where its last three values lie, on average, above the three around its best by more
than three standard errors, and by at least half of that above those in the middle between its best
and its last: after a step up, as correlated noise has it, they stay. The noise of an epoch is taken
from the second differences of all runs after their best epochs, which a steady rise leaves at 0.
Falling runs have their best epoch near the end, and too few values after it. It is said where half
of the runs rise, at least three. That the rise grows with a searched size, a range of whole
numbers, is said by Kendall's exact test over configurations, Bonferroni-corrected for the sizes.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vaeexp.results.study_view import StudyView

AVERAGED = 3
"""Epochs that are averaged."""
LEAST_RUNS = 3
LEAST_CONFIGURATIONS = 5
ERRORS = 3.0
LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Rise:
    """The rise of validation −ELBO after its best epoch."""

    epoch: int
    """The best one, the median of the runs that rise."""
    runs: int
    """Those that were trained to their end: of the search and to confirm."""
    rising: int
    nats: float
    """From the best epoch to the last one, the median of the runs that rise, nats per image."""
    parameter: str | None
    """The searched size that the rise most depends on; None where none is sure."""
    grows: bool
    """Whether it rises more for large values of it."""


def rise_of(view: StudyView) -> Rise | None:
    """Return how validation rises; None where it does so in less than half of the runs."""
    runs = pd.concat([view.ranked, view.retrained.confirm_runs])
    counted = view.epochs[view.epochs["epoch"] > view.plan.warmup]
    curves = {
        key: own.sort_values("epoch")[["epoch", "objective"]].to_numpy(float).T
        for key, own in counted.groupby(["repeat", "number"])
    }
    rows, noise = [], []
    for _, run in runs.iterrows():
        epochs, values = curves.get((run["repeat"], run["number"]), np.empty((2, 0)))
        if len(values) < 3 * AVERAGED or not np.isfinite(values).all():
            continue
        best = int(values.argmin())
        around = values[max(0, best - 1) : best + 2].mean()
        middle = (best + len(values) - 1) // 2
        lows = around, 2 * values[middle - 1 : middle + 2].mean() - values[-AVERAGED:].mean()
        after = len(values) - 1 - best
        rise = values[-AVERAGED:].mean() - max(lows) if after > AVERAGED else -np.inf
        noise.append(np.diff(values[max(0, best - 1) :], 2))
        rows.append((run.name, int(epochs[best]), rise, values[-1] - values[best]))
    seconds = np.concatenate(noise) if noise else np.empty(0)
    if len(rows) < LEAST_RUNS or not len(seconds):
        return None
    # A second difference of independent noise has six times its variance; a mean of n of them, 1/n.
    limit = ERRORS * np.sqrt((seconds**2).mean() / 6 * 2 / AVERAGED)
    table = pd.DataFrame(rows, columns=["row", "epoch", "rise", "nats"]).set_index("row")
    rising = table[table["rise"] > limit]
    if len(rising) < max(LEAST_RUNS, len(table) / 2):
        return None
    parameter, grows = _depends(view, runs.loc[table.index], table["nats"])
    return Rise(
        epoch=int(rising["epoch"].median()),
        runs=len(table),
        rising=len(rising),
        nats=float(rising["nats"].median()),
        parameter=parameter,
        grows=grows,
    )


def _depends(view: StudyView, runs: pd.DataFrame, nats: pd.Series) -> tuple[str | None, bool]:
    """Return the searched size with which the rise goes most surely, and whether it grows with
    it.
    """
    from scipy.stats import kendalltau

    of = runs["source_trial"].fillna(runs["number"])
    found = []
    sizes = [one for one in view.plan.parameters.values() if one.kind == "int"]
    for parameter in sizes:
        each = pd.DataFrame({"place": parameter.places(runs), "nats": nats}).groupby(of).mean()
        each = each.dropna()
        if len(each) >= LEAST_CONFIGURATIONS:
            test = kendalltau(each["place"], each["nats"])
            # Kendall's test of values that are all equal has no p.
            p = np.nan_to_num(test.pvalue, nan=1.0)
            found.append((p, parameter.name, test.statistic > 0))
    p, name, grows = min(found, default=(1.0, "", False))
    return (name, bool(grows)) if p * len(sizes) <= LEVEL else (None, False)
