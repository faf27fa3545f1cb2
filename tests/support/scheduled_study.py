"""The synthetic study with the times that its trials have on a machine with lanes: as `sweeps.engine.trial_loop` would run it."""

from dataclasses import replace

import numpy as np
import pandas as pd

from sweeps.results.rankings import Results

LANES = 4
ROUND = 2.5
"""Seconds of wall time for an epoch of all lanes."""
BEGAN = 1.79e9


def scheduled(results: Results, pauses: dict[float, float] | None = None) -> Results:
    """Search, then repeats, in four lanes (2 processes × 2), from `BEGAN`.

    `pauses`: second of work → length of an interruption there, through which the trials in lanes are held.
    """
    trials = results.trials.copy()
    search = ~trials["repeat"]
    ends, clock = {}, 0.0
    for phase, name in ((search, "elapsed"), (~search, "repeats_elapsed")):
        free = [clock] * LANES
        for index, row in trials[phase].iterrows():
            lane = int(np.argmin(free))
            trained = row["epochs"] * ROUND * (pd.isna(row["duplicate_of"]))
            trials.loc[index, ["started", "ended"]] = free[lane], free[lane] + trained
            trials.loc[index, "seconds"] = row["epochs"] * ROUND / 2
            free[lane] += trained
        ends[name], clock = max(free) - clock, max(free)
    for column in ("started", "ended"):
        work = trials[column].to_numpy(float)
        paused = sum((length * (work > moment) for moment, length in (pauses or {}).items()), np.zeros(len(work)))
        trials[column] = BEGAN + work + paused
    return replace(results, trials=trials, study=replace(results.study, **ends))
