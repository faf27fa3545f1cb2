"""Where each value of a choice was tried: only a value that was tried where the others are good can be compared with them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vaeexp.results.parameters import SearchedParameter
from vaeexp.words import format_value

LEAST_GOOD = 5
"""Trials that span the region where the others are good, at least; the best quarter where that is more."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How far one value of a searched choice was tried where the other values are good.

    That region is the box which the best quarter (and at least `LEAST_GOOD`) of the complete trials with another value span
    in the other searched parameters: from the least to the largest of a number, the same values of a choice. A parameter
    that is not active in a trial, or in none of those that span the box, is ignored. Fewer than `LEAST_GOOD` complete trials
    with another value span no region, and then every trial counts as inside: nothing shows that the value was tried elsewhere.
    """

    parameter: str
    value: object
    """As the study file has it; as text where only an earlier trial had it."""
    text: str
    trials: int
    """Trials of the search with this value: complete, pruned, failed or still going."""
    complete: int
    pruned: int
    inside: int
    """Complete trials in the region."""
    pruned_inside: int
    """Pruned trials in the region: tried there, but not to the end."""
    leads: bool
    """Whether the best complete trial has this value. The region where all trials are good is then its own."""

    @property
    def covered(self) -> bool:
        """Whether a complete trial lies where the others are good, or nothing is better than this value's own best."""
        return self.inside > 0 or self.leads


def measure_coverage(
    parameters: Mapping[str, SearchedParameter], search: pd.DataFrame, ranked: pd.DataFrame
) -> dict[str, list[Coverage]]:
    """Return the coverage of each value of each searched choice, in the order of the study file.

    Args:
        search: trials of the search, without duplicates.
        ranked: the complete ones, the best first.
    """
    pruned = search[search["state"] == "pruned"]
    places = {name: (own.places(ranked), own.places(pruned)) for name, own in parameters.items()}
    first = pd.DataFrame({name: each[0].to_numpy() for name, each in places.items()})
    other = pd.DataFrame({name: each[1].to_numpy() for name, each in places.items()})
    return {
        name: [_coverage(own, place, parameters, search, first, other) for place in range(len(own.texts))]
        for name, own in parameters.items()
        if own.is_choice
    }


def _coverage(
    parameter: SearchedParameter,
    place: int,
    parameters: Mapping[str, SearchedParameter],
    search: pd.DataFrame,
    complete: pd.DataFrame,
    pruned: pd.DataFrame,
) -> Coverage:
    """Return the coverage of the value at a place; `complete` and `pruned` hold the places of these trials, [N, P]."""
    own, text = complete[parameter.name] == place, parameter.texts[place]
    others = complete[(complete[parameter.name] != place) & complete[parameter.name].notna()]
    good = others.head(max(LEAST_GOOD, -(-len(others) // 4)))
    names = [name for name in parameters if name != parameter.name] if len(good) >= LEAST_GOOD else []
    mine = pruned[pruned[parameter.name] == place]
    return Coverage(
        parameter=parameter.name,
        value=next((value for value in parameter.values if format_value(value) == text), text),
        text=text,
        trials=int((parameter.places(search) == place).sum()),
        complete=int(own.sum()),
        pruned=len(mine),
        inside=int(_inside(complete[own], good, names, parameters).sum()),
        pruned_inside=int(_inside(mine, good, names, parameters).sum()),
        leads=bool(own.iloc[0]) if len(own) else False,
    )


def _inside(
    trials: pd.DataFrame, good: pd.DataFrame, names: list[str], parameters: Mapping[str, SearchedParameter]
) -> np.ndarray:
    """Tell which trials lie in the box that `good` spans; all do where nothing spans one: [N]."""
    inside = np.ones(len(trials), dtype=bool)
    for name in names:
        own, region = trials[name].to_numpy(float), good[name].dropna().to_numpy(float)
        if not len(region):
            continue
        if parameters[name].is_choice:
            within = np.isin(own, region)
        else:
            # Places are computed from numbers; the slack is that of rounding.
            within = (own >= region.min() - 1e-9) & (own <= region.max() + 1e-9)
        inside &= within | np.isnan(own)
    return inside


def covered_trials(
    trials: pd.DataFrame, parameter: SearchedParameter, coverage: Mapping[str, list[Coverage]]
) -> pd.DataFrame:
    """Return the trials whose value of this choice is covered; all trials for a range of numbers."""
    left_out = [each.text for each in coverage.get(parameter.name, []) if not each.covered]
    if not left_out:
        return trials
    texts = parameter.of(trials).map(format_value, na_action="ignore")
    return trials[~texts.isin(left_out)]
