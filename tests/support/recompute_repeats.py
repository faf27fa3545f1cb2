"""The runs with fresh seeds of each setting, and which of them are far outside, from the tables
alone.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from recompute_figures import Study
from recompute_seeds import ORDER

Said = tuple[str, dict[str, Any]]


def winner_rate(study: Study) -> float:
    """The mean rate of the winner's runs at their best epochs."""
    runs = study.best_runs
    epochs = study.epochs[study.epochs["repeat"] == runs["repeat"].iloc[0]]
    rates = epochs.set_index(["number", "epoch"])["val/rate"]
    keys = list(zip(runs["number"], runs["best_epoch"].astype(int), strict=True))
    return float(rates.reindex(keys).mean())


def broken_said(study: Study) -> list[Said]:
    """The statements on the runs that are far outside, the worst first."""
    made = []
    for gap, place in sorted(study.broken, reverse=True):
        run = study.repeats.loc[place]
        (own,) = [own for own in study.repeated if place in own.index]
        others = own.drop(place)
        rate = _rate(study, run)
        usual = np.median([_rate(study, other) for _, other in others.iterrows()])
        values = {
            "trial" if "confirm" in str(run["purposes"]) else "beside": None
            if pd.isna(run["source_trial"])
            else int(run["source_trial"]),
            "value": run["objective"],
            "rate": rate if usual >= 1 and rate < usual / 10 else None,
            "siblings": sorted(others["objective"]),
        }
        made.append((gap, ("seeds.far", values)))
    said = [one for _, one in made]
    if not said:
        return []
    runs = sum(map(len, study.repeated))
    return [("seeds.broken", {"broken": len(said), "runs": runs, "worst": said[0]}), *said[1:]]


def _rate(study: Study, run: pd.Series) -> float:
    own = study.epochs[study.epochs["repeat"] & (study.epochs["number"] == run["number"])]
    return float(own.set_index("epoch")["val/rate"].get(run["best_epoch"], math.nan))


def repeated(study: Study) -> list[pd.DataFrame]:
    """The complete runs of each setting, those of baselines under the protocol of the search."""
    if study.repeats.empty:
        return []
    runs = study.repeats[
        study.repeats["purposes"]
        .map(lambda text: bool({*str(text).split("+")} & {*ORDER}))
        .astype(bool)
    ].sort_values("number")
    other = {
        name for title, name in study.report.baselines.items() if not study.same_protocol(title)
    }
    alone = runs["purposes"].astype(str) == "baseline"
    named = runs["baseline"].where(alone, "").fillna("").astype(str)
    runs = runs[named.map(lambda names: not other & {*names.split("+")}).astype(bool)]
    columns = [*runs.filter(like="params.").columns]
    keys = np.array([str(row) for row in runs[columns].assign(named=named).to_numpy().tolist()])
    return [runs[keys == key] for key in dict.fromkeys(keys)]


def far_outside(groups: list[pd.DataFrame], study: Study) -> list[tuple[float, Any]]:
    """How far above the median of its siblings each run is that is far outside, and its place."""
    groups = [own for own in groups if len(own) > 1]
    if not groups:
        return []
    gaps = {
        place: own["objective"][place] - own["objective"].drop(place).median()
        for own in groups
        for place in own.index
    }
    order = sorted(gaps, key=gaps.__getitem__, reverse=True)
    found: set = set()
    for count in range(len(order) // 2, 0, -1):
        left = {
            index: own["objective"].drop([p for p in order[:count] if p in own.index])
            for index, own in enumerate(groups)
        }
        if all(
            gaps[place] > 10 * _deviation(left, index)
            for index, own in enumerate(groups)
            for place in own.index
            if place in order[:count]
        ):
            found = {*order[:count]}
            break
    for own in groups:
        rates = {place: _rate(study, own.loc[place]) for place in own.index}
        for place, rate in rates.items():
            usual = np.median([other for key, other in rates.items() if key != place])
            if usual >= 1 and rate < usual / 10:
                found.add(place)
    return [(gaps[place], place) for place in found]


def _deviation(left: dict[int, pd.Series], index: int) -> float:
    """The larger of the deviations over the other settings and over all; infinite without one."""

    def pooled(own: list[pd.Series]) -> float:
        freedom = sum(max(len(one) - 1, 0) for one in own)
        squares = sum(((one - one.mean()) ** 2).sum() for one in own)
        return math.sqrt(squares / freedom) if freedom else math.inf

    others = pooled([one for key, one in left.items() if key != index])
    return max(others, pooled([*left.values()]))
