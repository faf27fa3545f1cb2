"""Where the values of a choice were tried: only a value that was tried where the others are good
can be compared with them.

Coverage asks where trials lie, and needs no proof that they are bad there: means, importances and
plots leave out a value that is not covered, whatever the reason. `holes` asks what made trials bad,
and names it where a test finds it. Neither replaces the other: by the first rule the far end of
each number that a sampler narrowed would be left out; by the second a value whose trials lie
elsewhere would be compared.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vaeexp.results.parameters import Parameters, SearchedParameter
from vaeexp.results.statements import Statements, say
from vaeexp.words import parameter_label

LEAST_GOOD = 5
"""Trials that span the region where the others are good, at least; the best quarter where that is
more.
"""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The trials of one value of a searched choice where the other values are good.

    Complete trials show where values are good, and under the pruner `promotion`, which compares all
    trials at its rungs, paused trials, too. That region is the box which the best quarter (and at
    least `LEAST_GOOD`) of these trials with another value span in the other searched parameters:
    from the least to the largest of a number, the same values of a choice. A parameter that is not
    active in a trial, or in none of those that span the box, is ignored. Fewer than `LEAST_GOOD`
    such trials with another value span no region, and then every trial counts as inside: nothing
    shows that the value was tried elsewhere.
    """

    parameter: str
    text: str
    trials: int
    """Trials of the search with this value: complete, pruned, failed or still going."""
    complete: int
    inside: int
    """Complete trials in the region, under promotion also paused ones."""
    is_good: bool
    """Whether a trial with this value is among the best quarter of all of them: it was tried where
    it is good itself.
    """

    @property
    def covered(self) -> bool:
        """Whether one of them lies where the others are good, or is as good as they are
        elsewhere.
        """
        return self.inside > 0 or self.is_good


def measure_coverage(
    parameters: Parameters, search: pd.DataFrame, found: pd.DataFrame
) -> dict[str, list[Coverage]]:
    """Return the coverage of each value of each searched choice, in the order of the study file.

    Args:
        search: trials of the search, without duplicates.
        found: the complete ones, the best first, and under promotion the paused ones after them.
    """
    judged = {
        name: parameter.places(found).to_numpy(float) for name, parameter in parameters.items()
    }
    return {
        name: [
            _coverage(parameter, place, parameters, search, judged)
            for place in range(len(parameter.texts))
        ]
        for name, parameter in parameters.items()
        if parameter.is_choice
    }


def _coverage(
    parameter: SearchedParameter,
    place: int,
    parameters: Parameters,
    search: pd.DataFrame,
    judged: Mapping[str, np.ndarray],
) -> Coverage:
    """Return the coverage of the value at a place; `judged` are the places of the trials that show
    what is good, the best first.
    """
    values = judged[parameter.name]
    text = parameter.texts[place]
    having = np.flatnonzero(values == place)
    others = np.flatnonzero((values != place) & ~np.isnan(values))
    good = others[: max(LEAST_GOOD, _quarter(len(others)))]
    inside = np.ones(len(having), dtype=bool)
    for other in parameters.values() if len(good) >= LEAST_GOOD else ():
        own = judged[other.name][having]
        region = judged[other.name][good]
        region = region[~np.isnan(region)]
        if other is not parameter and len(region):
            inside &= other.among(own, region) | np.isnan(own)
    states = search["state"][parameter.places(search) == place]
    return Coverage(
        parameter=parameter.name,
        text=text,
        trials=len(states),
        complete=int((states == "complete").sum()),
        inside=int(inside.sum()),
        is_good=bool(len(having)) and having[0] < _quarter(len(values)),
    )


def _quarter(count: int) -> int:
    return -(-count // 4)


def left_out(missing: Mapping[str, Sequence[str]], names: Iterable[str]) -> Statements:
    """Return for each of these parameters that has them the values that are not covered. `missing`:
    as `Influence.left_out`.
    """
    return tuple(
        say("value.among", parameter=parameter_label(name), values=tuple(missing[name]))
        for name in names
        if missing.get(name)
    )
