"""The values of the statements below plots."""

import math

from recompute_figures import Study
from recompute_statements import Values, hold, of


@of("plot.by_trial", "plot.by_run")
def drawn_by(study: Study, kind: str, values: Values) -> Values:
    run, trial = kind.endswith("run"), values["trial"]
    known = study.repeats["source_trial"].dropna() if run else study.ranked["number"]
    hold(trial in set(known.astype(int)))
    if not run:
        return {"trial": trial}
    runs = len(study.confirmed[trial])
    return {"trial": trial, "runs": runs if runs > 2 else None}


@of("plot.same_training")
def drawn_once(study: Study, _: str, values: Values) -> Values:
    first = values["first"]
    runs = study.best_runs if first.startswith("Trial ") else study.rows[first]
    same = [
        title
        for title, own in study.rows.items()
        if title != first and study.same_training(runs, own)
    ]
    return {"others": same}


@of("plot.importance")
def importance(study: Study, *_: object) -> Values:
    count = len(study.learned)
    return {"best": max(5, math.ceil(count / 10)), "trials": count}


@of("plot.epoch")
def epoch(study: Study, *_: object) -> Values:
    """The epoch itself is recomputed by `recompute_equal_epochs`."""
    return {"epoch": study.report.summary["equal_epochs"][0]["epoch"]}


@of("plot.failed", "plot.short")
def not_at_equal_epochs(study: Study, *_: object) -> Values:
    own = study.epochs[
        ~study.epochs["repeat"] & study.epochs["number"].isin(study.learned["number"])
    ]
    reached = (
        own.groupby("number")["epoch"].max() >= study.report.summary["equal_epochs"][0]["epoch"]
    )
    failed = int((study.search["state"] == "failed").sum())
    short = len(study.learned) - int(reached.sum())
    return {"failed": failed or None, "short": short or None}


@of("plot.threshold")
def threshold(study: Study, *_: object) -> Values:
    return {"threshold": float(study.report.setting("evaluation", "rate threshold") or "0.1")}


@of("plot.neighbours")
def usual(_: Study, __: str, values: Values) -> Values:
    """The distance between images is an array of one run, which no table has."""
    hold(values["usual"]["value"] > 0)
    return {"usual": values["usual"]["value"]}


@of("plot.missing")
def missing(study: Study, _: str, values: Values) -> Values:
    hold(not any(f'"{name}.png"' in study.report.readme for name in values["plots"]))
    return {"count": len(values["plots"])}
