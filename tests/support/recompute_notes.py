"""The values of the statements above the answer, beside tables, and on how the figures were
made.
"""

import math
from typing import Any

import pandas as pd
from recompute_figures import ENDED, Study
from recompute_files import number_of
from recompute_statements import Values, hold, left_out, of, reasons, samples

PUBLISHED = {"dynamic": 86.76, "static": 88.71}


# ---- above the answer ----


@of("notice.subset")
def subset(study: Study, *_: Any) -> Values:
    hold(study.report.summary["data"]["subset"])
    return {"title": study.report.summary["data"]["title"] or "a subset of the data"}


@of("notice.confirming", "notice.interim")
def interim(study: Study, kind: str, _: Values) -> Values:
    hold(
        study.report.interim
        and bool(study.report.summary["stopped"]) == (kind == "notice.confirming")
    )
    trials, planned = study.trials, study.report.count("budget", "trials", "Search")
    ended = int((~trials["repeat"] & trials["state"].isin(ENDED)).sum())
    return {"ended": ended, "planned": planned or None}


@of("notice.grey", "notice.deterministic")
def kind_of_figure(study: Study, kind: str, _: Values) -> Values:
    if kind == "notice.deterministic":
        hold(study.deterministic())
    else:
        hold(
            (
                study.report.setting("data", "binarisation"),
                study.report.setting("model", "likelihood"),
            )
            == GREY
        )
    return {}


GREY = ("none", "bernoulli")


# ---- beside the headline table ----


@of("note.itself")
def itself(study: Study, _: str, values: Values) -> Values:
    runs, source = study.rows[values["title"]], values["of"]["values"]["trial"]
    others = study.confirmed.get(source or -1, study.best_runs)
    hold(set(runs["number"]) <= set(others["number"]))
    return {"of": (f"against.{'best' if source == study.best else 'trial'}", {"trial": source})}


@of("note.differs")
def differs(study: Study, _: str, values: Values) -> Values:
    hold(values["why"])
    return {"why": reasons(study, values["title"], study.best_runs, values["why"])}


@of("note.printed")
def printed(study: Study, _: str, values: Values) -> Values:
    return {"published": study.file_of(values["title"])["published"]}


@of("note.failed")
def all_failed(study: Study, _: str, values: Values) -> Values:
    hold(study.runs_of(values["title"]) is None)
    return {}


@of("note.published")
def published(study: Study, *_: Any) -> Values:
    binarisation = (study.report.setting("data", "binarisation") or "").split(" ")[0]
    return {"nll": PUBLISHED[binarisation]}


# ---- beside tables ----


@of("method.samples")
def importance_samples(study: Study, *_: Any) -> Values:
    return {
        "samples": int(number_of(study.report.setting("evaluation", "importance samples") or "0"))
    }


@of("table.estimator")
def estimator(study: Study, _: str, values: Values) -> Values:
    every = [study.best_runs, *study.confirmed.values(), *study.rows.values()]
    known = sorted({count for runs in every for count in samples(runs)})
    return {"samples": [count for count in known if count in values["samples"]]}


@of("table.confirmed_pairs")
def pairs_of_confirmed(study: Study, *_: Any) -> Values:
    looks = None if study.race is None else study.looks
    return {
        "looks": looks,
        "pairs": max(margin.tests for margin in study.margins.values()),
        "rate": 0.05,
    }


@of("table.classifier")
def classifier(study: Study, _: str, values: Values) -> Values:
    """Each protocol has one classifier, so that it is right as often in one of the groups of
    runs.
    """
    name = "result.test/classifier_accuracy"
    runs = pd.concat(
        [study.best_runs, *study.confirmed.values(), *study.rows.values()]
    ).drop_duplicates("number")
    groups = [
        *runs.groupby(runs["baseline"].astype(object).fillna(""))[name].mean().dropna(),
        runs[name].mean(),
    ]
    nearest = min(groups, key=lambda mean: abs(100 * mean - values["accuracy"]["value"]))
    return {"accuracy": 100 * nearest}


@of("left_out")
def not_shown(study: Study, _: str, values: Values) -> Values:
    labels = [said["values"]["parameter"] for said in values["left"]]
    names = [name for name, own in study.parameters.items() if own.label in labels]
    return {"left": left_out(study, names)}


@of("table.failed")
def more_failed(study: Study, *_: Any) -> Values:
    return {"count": int((study.trials["state"] == "failed").sum()) - 50}


# ---- how it was made ----


@of("method.active")
def active(study: Study, *_: Any) -> Values:
    return {"threshold": float(study.report.setting("evaluation", "active threshold") or "nan")}


@of("method.beta")
def beta_scale(study: Study, *_: Any) -> Values:
    size = study.report.sub_pixels
    channels, height, width = map(int, study.report.facts("Data")["image shape"].split(" × "))
    sides = {"height": height, "width": width, "channels": channels, "size": size}
    return {**sides, **_weights(study, 1 / size)}


@of("method.scale")
def scale_of_error(study: Study, _: str, values: Values) -> Values:
    """The scale is a setting; of a Gaussian, D/2σ² times the mean squared error is the sum of the
    loss, of a Laplace D/b times the absolute one.
    """
    scale, gaussian = values["scale"]["value"], values["error"] == "squared"
    name, power = ("sigma", 2) if gaussian else ("laplace scale", 1)
    given = [
        study.settings_of(title).get(name.replace(" ", "_")) for title in study.report.baselines
    ]
    given = [own for own in (*given, study.report.setting("model", name)) if own is not None]
    known = [float(own) ** power for own in given]
    # A default stands in no table.
    hold(not known or any(math.isclose(scale, own, rel_tol=1e-5) for own in known))
    factor = (2 * scale if gaussian else scale) / study.report.sub_pixels
    return {"scale": scale, **_weights(study, factor)}


def _weights(study: Study, factor: float) -> Values:
    beta = (
        float(study.best_trial.get("params.beta", math.nan)) if study.best is not None else math.nan
    )
    told = not math.isnan(beta) and beta not in (0, 1)
    return {
        "weight": factor,
        "best": beta if told else None,
        "best_weight": factor * beta if told else None,
    }


@of("sheet")
def contact_sheet(study: Study, *_: Any) -> Values:
    training = int(number_of(study.report.facts("Data")["train"]))
    return {"shown": min(9, training), "training": training}
