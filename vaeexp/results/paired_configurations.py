"""The configurations of a comparison in matched pairs, one by one: how good each is, and what the
compared values make of it.

A comparison takes the best configuration that the search found with each value, because it was
tuned for that value, and then the next best. So one of them may be far behind, where the search
dropped a value early. The mean over configurations gives it the weight of the winner.

Error rate: p is exact for normal differences. Which configurations are compared was decided before
any of these runs was trained, so Holm's correction over all configurations of all comparisons calls
a value better at one of them in at most 5 % of studies without a difference, whichever of them is
looked at.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sweeps.results import LEAST_VALUES, Interval, mean_interval
from vaeexp.results.tables import column


@dataclass(frozen=True, kw_only=True)
class PairedConfiguration:
    """One configuration, trained with both values and the same seeds."""

    source_trial: int
    """The trial of the search that has it, with one of the values."""
    found_with: Any
    """The value that this trial has."""
    rank: int | None
    """Its place in the search, from 1; complete trials come first, then those that were promoted
    furthest. None where it is not known.
    """
    ranked: int
    """Trials that have a place."""
    complete: bool
    """Whether the trial was trained to its end."""
    epochs: int
    """That the trial was trained in the search; 0 where it is not known."""
    behind: float
    """Validation −ELBO with the better value minus that of the winner, the mean over the seeds that
    both have, nats per image. Without a confirmed winner, minus that of the first configuration.
    NaN without a shared seed."""
    interval: Interval
    """Of the difference in validation −ELBO, second − first, over seeds, nats per image. No
    interval from fewer than 3.
    """
    p: float
    """Two-sided, of Student's t that the mean difference is 0; NaN without an interval."""
    p_holm: float = math.nan
    """The same after Holm's correction for all configurations of all comparisons of the study."""
    others: Mapping[str, Interval]
    """Figure on test → its difference, second − first, over the seeds for which both runs have
    it.
    """


def paired_configurations(
    pairs: pd.DataFrame,
    others: Mapping[str, pd.DataFrame],
    found: pd.DataFrame,
    parameter: str,
    winner: int | None,
    reference: Mapping[int, float],
) -> list[PairedConfiguration]:
    """Return the configurations of matched pairs, the winner first, then by their place in the
    search.

    Args:
        pairs: complete pairs, as `sweeps.results.matched_pairs` gives them; the last three columns
            are both values and their difference.
        others: figure on test → the same of that figure.
        found: trials of the search in their order.
        parameter: the one that is compared.
        winner: the trial that has the best configuration.
        reference: seed index → validation −ELBO of the confirmed winner; empty where none was
            confirmed.
    """
    places = {int(number): place for place, number in enumerate(found["number"])}
    sources = sorted(
        map(int, np.unique(pairs["source_trial"])),
        key=lambda source: (source != winner, places.get(source, len(places)), source),
    )
    better = {source: _better(pairs[pairs["source_trial"] == source]) for source in sources}
    reference = reference or (better[sources[0]] if sources else {})
    made = []
    for source in sources:
        own = pairs[pairs["source_trial"] == source]
        trial = found[found["number"] == source]
        differences = own["difference"].to_numpy(float).tolist()
        gaps = [
            value - reference[seed] for seed, value in better[source].items() if seed in reference
        ]
        made.append(
            PairedConfiguration(
                source_trial=source,
                found_with=column(trial, f"params.{parameter}").iloc[0] if len(trial) else None,
                rank=places[source] + 1 if source in places else None,
                ranked=len(found),
                complete=bool(len(trial) and trial["state"].iloc[0] == "complete"),
                epochs=int(trial["epochs"].iloc[0]) if len(trial) else 0,
                behind=math.fsum(gaps) / len(gaps) if gaps else math.nan,
                interval=mean_interval(differences),
                p=paired_t_p(differences),
                others=_others(others, source),
            )
        )
    return made


def _better(pairs: pd.DataFrame) -> dict[int, float]:
    """Return seed index → value of the level whose mean is the lower one."""
    first, second = (pairs[name] for name in pairs.columns[-3:-1])
    lower = first if first.mean() <= second.mean() else second
    return {int(seed): float(value) for seed, value in zip(pairs["seed_index"], lower, strict=True)}


def _others(tables: Mapping[str, pd.DataFrame], source: int) -> dict[str, Interval]:
    differences = {
        name: table.loc[table["source_trial"] == source, "difference"].dropna().tolist()
        for name, table in tables.items()
    }
    return {name: mean_interval(own) for name, own in differences.items() if own}


def paired_t_p(differences: Sequence[float]) -> float:
    """Return the two-sided p of Student's t that paired differences have the mean 0; NaN for fewer
    than `LEAST_VALUES` of them.
    """
    n = len(differences)
    if n < LEAST_VALUES:
        return math.nan
    mean = float(np.mean(differences))
    spread = float(np.std(differences, ddof=1))
    if spread == 0:
        return float(mean == 0)
    # The distribution of Student's t; `scipy.stats` takes half a second to import.
    from scipy.special import stdtr

    return float(2 * stdtr(n - 1, -abs(mean) / spread * math.sqrt(n)))
