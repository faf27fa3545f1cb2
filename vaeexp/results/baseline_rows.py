"""Which trial of the search the runs of a baseline on the best setting change."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from sweeps.study.space import Space
from vaeexp.results.tables import text_of, values_of


def split_by_configuration(runs: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the runs of each configuration, in order of appearance."""
    texts = [text_of(values_of(run)) for _, run in runs.iterrows()]
    return [runs[[each == text for each in texts]] for text in dict.fromkeys(texts)]


def changed_trial(
    runs: pd.DataFrame,
    settings: Mapping[str, Any],
    space: Space,
    firsts: Sequence[int],
    params_of: Callable[[int], Mapping[str, Any]],
) -> int | None:
    """Return the trial whose configuration a baseline changes, of its runs with one configuration; None where that is not known.

    A run that also confirms a trial is recorded as that trial's. So the best trials, `firsts`, are asked before which of them, when it is
    changed, has this configuration.

    Args:
        settings: what the baseline changes.
        params_of: number of a trial → its configuration.
    """
    recorded = [int(source) for source in runs["source_trial"].dropna()]
    wanted, alike = text_of(values_of(runs.iloc[0])), []
    for source in dict.fromkeys([*firsts, *recorded]):
        given = params_of(source)
        if text_of(space.changed(given, settings)) == wanted:
            alike.append((text_of(given) == wanted, source))
    # Where it is one of these already, it changes the other.
    return min(alike, key=lambda entry: entry[0])[1] if alike else next(iter(recorded), None)
