"""The values of the statements below the answer: of the race, of matched pairs, of the front, and
of what was left out.
"""

from typing import Any

import numpy as np
import pandas as pd
from recompute_figures import Study
from recompute_statements import ENDED, Values, hold, of


@of("race.goes_on", "race.ended")
def race(study: Study, kind: str, _: Values) -> Values:
    own, trials = study.race, study.trials
    hold((kind == "race.ended") == bool(own.ended))
    confirming = (
        trials["purposes"].map(lambda text: "confirm" in str(text).split("+")) & trials["repeat"]
    )
    made = {
        "configurations": len(own.order),
        "seeds": own.most,
        "left": len(own.order) - len(own.dropped),
    }
    made |= {
        "looked": own.looked,
        "runs": int(confirming.sum()),
        "planned": len(own.order) * own.most,
    }
    return made | {"spread": own.spread if own.ended == "close" else None}


@of("race.rule")
def rule_of_race(study: Study, *_: Any) -> Values:
    return {"pairs": study.race.pairs, "looks": study.race.most - 3, "rate": 0.05}


@of("race.dropped", "race.dropped_failed")
def dropped(study: Study, kind: str, values: Values) -> Values:
    trial, seeds, leader, behind, p = next(
        own for own in study.race.dropped if own[0] == values["trial"]
    )
    hold((leader is None) == (kind == "race.dropped_failed"))
    return {"trial": trial, "seeds": seeds, "leader": leader, "behind": behind, "p": p}


@of("pairs.mean")
def mean_difference(study: Study, _: str, values: Values) -> Values:
    """The bootstrap of another program draws other resamples; its ends may differ by a tenth of the
    interval.
    """
    each, p = next(
        (each, p)
        for each, p in zip(study.pairs, study.p_holm, strict=True)
        if (study.parameters[each.parameter].label, each.first, each.second)
        == (values["parameter"], values["first"], values["second"])
    )
    several, mean, given = each.table["source"].nunique() > 1, each.mean, values["mean"]
    few = len(each.differences) < 3
    counts = {"seeds": None if several else mean.n, "settings": mean.n if several else None}
    if mean.n >= 20:
        most = 0.1 * (mean.high - mean.low)
        hold(abs(given["low"] - mean.low) <= most and abs(given["high"] - mean.high) <= most)
        mean = mean._replace(low=given["low"], high=given["high"])
    lower = int((each.table["difference"] < 0).sum())
    ps = {"p": None if few else each.p, "p_holm": None if few else p}
    return {"mean": mean, "lower": lower, "pairs": len(each.table), **counts, **ps}


@of("pairs.incomplete")
def other_pairs(study: Study, _: str, values: Values) -> Values:
    hold(values["count"] in [each.incomplete for each in study.pairs])
    return {"count": values["count"]}


LEFT = ("failed", "pruned", "going", "worthless", "runs_failed", "runs_going", "late")
LEFT += ("untested", "pairs")


@of(*(f"left.{kind}" for kind in LEFT))
def left_out(study: Study, kind: str, _: Values) -> Values:
    trials, search = study.trials, study.search
    runs = trials[trials["repeat"]]
    late = runs["purposes"].map(str) == "late"
    planned = runs["purposes"].notna() & ~late
    confirming = pd.concat([*study.confirmed.values(), runs.head(0)])
    finite = np.isfinite(search["objective"].astype(float))
    counts = {
        "failed": (search["state"] == "failed").sum(),
        "pruned": (search["state"] == "pruned").sum(),
        "going": (~search["state"].isin(ENDED)).sum(),
        "worthless": ((search["state"] == "complete") & ~finite).sum(),
        "runs_failed": (runs["state"].isin(["failed", "pruned"]) & planned).sum(),
        "runs_going": (runs["state"].isin(["running", "waiting"]) & planned).sum(),
        "late": (late & (runs["state"] != "complete")).sum(),
        "untested": (~np.isfinite(confirming["result.test/neg_elbo"].astype(float))).sum()
        if len(confirming)
        else 0,
        "pairs": sum(each.incomplete for each in study.pairs),
    }
    return {"count": int(counts[kind.removeprefix("left.")])}
