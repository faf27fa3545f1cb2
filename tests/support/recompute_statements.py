"""The values of the statements in summary.json, recomputed from the tables beside the report; and
where their words stand in README.md.

A function for each id, or family of ids, returns the values by name. A statement whose id has none
is an error, and so is a number that the function does not return.
`tests/vaeexp/report/test_sentences.py` checks the words of each template.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
from recompute_bounds import Ends
from recompute_figures import Study
from recompute_files import value_text
from recompute_front import METRICS as OBJECTIVES
from recompute_front import complete, members, objectives
from recompute_repeats import winner_rate
from recompute_seeds import Seeds, asked
from recompute_statistics import Gap, Mean, Pairs, holm, paired_p, student

EQUAL = 0.01
"""Share of a −ELBO within which two are as good as equal."""
ENDED = ("complete", "pruned", "failed")
Values = Mapping[str, Any]
MAKERS: dict[str, Callable[[Study, str, Values], Values]] = {}


def of(*ids: str) -> Callable:
    """Register a function for statements of these ids; it takes the study, the id and the values
    that name what the statement is about.
    """

    def register(make: Callable) -> Callable:
        MAKERS.update(dict.fromkeys(ids, make))
        return make

    return register


def wrong_values(study: Study, statements: list[dict]) -> list[str]:
    """Return what is wrong with the values of these statements, in words."""
    problems = []
    for statement in statements:
        name, values = statement["id"], statement["values"]
        if name not in MAKERS:
            problems.append(f"no function recomputes statements of {name}")
            continue
        try:
            expected = MAKERS[name](study, name, values)
        except (
            KeyError,
            IndexError,
            ValueError,
            TypeError,
            AttributeError,
            StopIteration,
        ) as error:
            problems.append(
                f"{name} cannot be recomputed ({type(error).__name__}: {error}): {values}"
            )
            continue
        problems += wrong_statement(statement, expected)
    return problems


def wrong_statement(statement: dict, expected: Values) -> list[str]:
    """Return which values of a statement are not as expected, and which numbers are not
    recomputed.
    """
    name, problems = statement["id"], []
    for key, value in statement["values"].items():
        if key in expected and not _same(value, expected[key]):
            problems.append(f"{name}: {key} is {value}; recomputed {expected[key]}")
        elif key not in expected and not _is_words(value):
            problems.append(f"{name}: nothing recomputes {key} = {value}")
    return problems


def _same(value: Any, expected: Any) -> bool:
    if isinstance(value, list | dict) and value == expected:
        return True
    if isinstance(expected, Mean):
        ends = {"value": expected.mean, "low": expected.low, "high": expected.high}
        return (
            value is not None
            and all(_same(value[name], end) for name, end in ends.items())
            and value["n"] == expected.n
        )
    if isinstance(value, dict) and isinstance(expected, tuple):  # a statement in a statement
        return value["id"] == expected[0] and not wrong_statement(value, expected[1])
    if isinstance(value, dict) and "value" in value:
        return _same(value["value"], expected)
    if isinstance(value, dict):
        return {name: _same(value[name], expected.get(name)) for name in value} == dict.fromkeys(
            expected, True
        )
    if isinstance(value, list):
        return len(value) == len(expected) and all(map(_same, value, expected))
    if value is None or expected is None:
        return value is None and (expected is None or not math.isfinite(expected))
    if isinstance(value, str) or isinstance(expected, str):
        return str(value) == str(expected)
    return math.isclose(value, expected, rel_tol=1e-6, abs_tol=1e-9)


def _is_words(value: Any) -> bool:
    return (
        value is None
        or isinstance(value, str)
        or (isinstance(value, list) and all(isinstance(one, str) for one in value))
    )


def hold(condition: object) -> None:
    if not condition:
        raise ValueError("the statement says otherwise than the figures")


# ---- use ----


@of("use.trial", "use.so_far", "use.only_trial")
def chosen(study: Study, kind: str, values: Values) -> Values:
    hold(study.report.interim == (kind == "use.so_far") or not study.parameters)
    row = study.best_trial
    own = {
        name: parameter.values(row.to_frame().T).iloc[0]
        for name, parameter in study.parameters.items()
    }
    used = {
        name: value
        for name, value in own.items()
        if isinstance(value, str) or not math.isnan(value)
    }
    shown = {
        name: value_text(value) if isinstance(value, str) else value for name, value in used.items()
    }
    given = {
        name: value_text(value) if isinstance(shown.get(name), str) else value
        for name, value in values["configuration"].items()
    }
    hold(_same(given, shown))
    return {"trial": study.best, "configuration": values["configuration"]}


@of("use.as_good", "use.unclear")
def as_good(study: Study, kind: str, values: Values) -> Values:
    """Which settings are named is theirs to choose; each lies within the margin."""
    calm, freedom = study.seed_spread, study.seed_freedom
    if unequal := by_value(study):
        (calm, own), *_ = sorted((spread, runs) for spread, runs, _ in unequal[1].values())
        freedom = own
    limit = scipy.stats.t.ppf(0.975, freedom) * math.sqrt(2) * calm
    winner = study.confirmed[study.best]["objective"]
    objective = study.ranked.set_index("number")["objective"]
    within = 0.0
    for one in values["settings"]:
        trial = one["values"]["trial"]
        runs = study.confirmed[trial] if trial in study.confirmed else _again(study, trial)
        runs = objective[[trial]] if runs is None else runs["objective"]
        sure = len(runs) > 1
        hold(sure == (one["id"] == "good.confirmed") and trial != study.best)
        share = math.sqrt(1 / len(winner) + 1 / len(runs)) * (1 if sure else 0.25)
        behind = runs.mean() - winner.mean()
        hold(behind <= share * limit / math.sqrt(2) + 1e-9)
        within = max(within, behind)
    hold(kind == "use.unclear" or within <= EQUAL * abs(winner.mean()))
    sure = sum(one["id"] == "good.confirmed" for one in values["settings"])
    return {
        "limit": limit,
        "settings": values["settings"],
        "more": values["more"],
        "confirmed": sure or None,
    }


def _again(study: Study, trial: int) -> pd.DataFrame | None:
    """The runs with fresh seeds of a trial that was compared, and not confirmed."""
    own = study.ranked.set_index("number").loc[trial].filter(like="params.").astype(str)
    for runs in study.repeated:
        compared = (runs["purposes"].astype(str) != "baseline").all()
        if compared and (runs.iloc[0].filter(like="params.").astype(str) == own).all():
            return runs
    return None


def by_value(study: Study) -> tuple[str, dict[str, tuple[float, int, list]]] | None:
    """The choice by which the spread over seeds differs: value → deviation, freedom, runs."""
    found = []
    for name, own in study.parameters.items():
        groups: dict[str, list] = {}
        for runs in study.repeated if own.texts else ():
            value = own.values(runs).iloc[0]
            if len(runs) > 1 and isinstance(value, str):
                groups.setdefault(value, []).append(runs["objective"].to_numpy(float))
        groups = {value: one for value, one in groups.items() if len(one) > 1}
        if len(groups) > 1:
            logs = _log_deviations(groups.values())
            found.append((scipy.stats.f_oneway(*logs).pvalue, name, groups))
    if not found or min(found)[0] * len(found) > 0.05:
        return None
    _, name, groups = min(found)
    made = {}
    for value, one in groups.items():
        freedom = sum(len(runs) - 1 for runs in one)
        squares = sum(runs.var(ddof=0) * len(runs) for runs in one)
        made[value] = math.sqrt(squares / freedom), freedom, one
    return name, made


def _log_deviations(groups: Iterable[list]) -> list[list[float]]:
    """Of the first seeds of each setting, as many as the one with fewest has."""
    groups = list(groups)
    seeds = min(len(runs) for one in groups for runs in one)
    return [[math.log(runs[:seeds].std(ddof=1)) for runs in one] for one in groups]


@of("get.unequal")
def unequal(study: Study, *_: Any) -> Values:
    name, found = by_value(study) or ("", {})
    said = []
    for value, (spread, _, runs) in sorted(found.items(), key=lambda pair: pair[1][0]):
        every = np.concatenate(runs)
        own = {"value": value, "spread": spread, "mean": every.mean(), "best": every.min()}
        said.append(("seeds.of_value", own))
    logs = _log_deviations(runs for _, _, runs in found.values())
    choices = sum(bool(own.texts) for own in study.parameters.values())
    p = scipy.stats.f_oneway(*logs).pvalue
    hold(name)
    return {"values": said, "p": min(p * choices, 1)}


@of("get.spared")
def spared(study: Study, *_: Any) -> Values:
    runs = {place for own in study.confirmed.values() for place in own.index}
    gaps = [gap for gap, place in study.broken if gap >= 1 and place in runs]
    hold(not {place for _, place in study.broken} & {*study.best_runs.index})
    return {"broken": len(gaps), "runs": len(runs), "by": math.floor(min(gaps))}


@of("use.front")
def front(study: Study, _: str, values: Values) -> Values:
    found = members(study)
    names = {column: name for name, column in OBJECTIVES.items()}
    first, second = objectives(study)
    made = {
        "first": names[first],
        "second": names[second],
        "count": len(found),
        "complete": len(complete(study)),
    }
    for end, place in {"low": 0, "high": -1}.items():
        row = found.iloc[place]
        made |= {f"{end}_trial": row.name, f"{end}_first": row[first], f"{end}_second": row[second]}
    return made


@of("nothing.failed", "nothing.complete", "nothing.collapsed")
def nothing(study: Study, kind: str, values: Values) -> Values:
    hold(nothing_learned(study))
    ended = study.search[~study.search["state"].isin(["running", "waiting"])]
    if set(ended["state"]) == {"failed"}:
        kinds = ended["failure"].astype(str).str.replace("_", " ").value_counts()
        hold(kind == "nothing.failed" and kinds[values["most"]] == kinds.max())
        return {"failed": len(ended), "kinds": kinds.to_dict()}
    if not (ended["state"] == "complete").any():
        hold(kind == "nothing.complete")
        return {"states": ended["state"].value_counts().to_dict()}
    rates = best_rates(study)
    hold(kind == "nothing.collapsed" and (rates < 0.1).all())
    return {"complete": len(rates), "rate": rates.max(), "limit": 0.1}


@of(
    *(
        f"remedy.{kind}"
        for kind in (
            "diverged",
            "out_of_memory",
            "crashed",
            "timed_out",
            "error",
            "collapsed",
            "unfinished",
            "hardly_trained",
        )
    )
)
def remedy(study: Study, *_: Any) -> Values:
    """Of a study that learned, it is the remedy of new seeds that failed or ended far outside, or
    of a code that is not used.
    """
    failed = any(each.failures for each in asked(study)) or study.broken
    hold(nothing_learned(study) or hardly_trained(study) or failed or winner_rate(study) < 1)
    return {"warmup": study.warmup or None}


def best_rates(study: Study) -> pd.Series:
    """The rate of each complete trial at its best epoch."""
    found = study.search[study.search["state"] == "complete"]
    epochs = study.epochs[~study.epochs["repeat"]].set_index(["number", "epoch"])["val/rate"]
    return epochs.reindex(list(zip(found["number"], found["best_epoch"], strict=True)))


def nothing_learned(study: Study) -> bool:
    """Whether the answer must say so."""
    search = study.search
    ended = search[~search["state"].isin(["running", "waiting"])]
    if not (ended["state"] == "complete").any():
        return len(ended) > 0 and (len(ended) == len(search) or (ended["state"] == "failed").all())
    return collapsed(study) and not hardly_trained(study)


def collapsed(study: Study) -> bool:
    """Whether all complete trials have hardly any rate."""
    return (
        bool((best_rates(study) < 0.1).all())
        and study.report.setting("model", "posterior") != "deterministic"
    )


def hardly_trained(study: Study) -> bool:
    """Whether the last tenth of the epochs of each complete trial made a tenth of its fall."""
    numbers = study.search.loc[study.search["state"] == "complete", "number"]
    falls = []
    for number in numbers:
        own = study.epochs[~study.epochs["repeat"] & (study.epochs["number"] == number)]
        curve = own.sort_values("epoch")["objective"]
        early = curve.iloc[: -max(1, round(len(curve) / 10))]
        late_fall = early.min() - curve.min() if len(early) else float("inf")
        falls.append(late_fall > 0.1 * (curve.iloc[0] - curve.min()))
    return len(falls) > 0 and all(falls) and collapsed(study)


@of("nothing.hardly_trained")
def too_short(study: Study, *_: Any) -> Values:
    hold(hardly_trained(study))
    failed = study.search.loc[study.search["state"] == "failed", "failure"]
    rates = best_rates(study)
    kinds = failed.str.replace("_", " ").value_counts().to_dict()
    return {"complete": len(rates), "rate": rates.max(), "failed": kinds or None}


@of("use.nothing")
def nothing_yet(study: Study, *_: Any) -> Values:
    counts = study.search["state"].value_counts()
    order = ("complete", "pruned", "failed", "running", "paused", "waiting")
    hold(study.ranked.empty)
    return {"states": {state: int(counts[state]) for state in order if state in counts} or None}


# ---- get ----


def samples(runs: pd.DataFrame) -> list[int]:
    name = "result.test/importance_samples"
    return sorted({int(k) for k in runs[name].dropna()}) if name in runs else []


def on_test(study: Study, runs: pd.DataFrame, metric: str) -> Mean | None:
    found = study.test(runs, metric)
    return found if found.n else None


@of("get.confirmed", "get.distortion", "get.validation")
def reached(study: Study, kind: str, _: Values) -> Values:
    runs = study.best_runs
    planned = _confirmed(study)[0].planned
    counts = samples(runs)
    made = {
        name: on_test(study, runs, name) for name in ("neg_elbo", "distortion", "iw_nll", "fid")
    }
    hold(kind != "get.validation" or not made["neg_elbo"])
    again = student(runs["objective"])
    k = counts[0] if len(counts) == 1 else None
    planned = planned if planned > len(runs) else None
    return {**made, "again": again, "samples": k, "planned": planned, "failed": _lost(study)}


def _confirmed(study: Study) -> list[Seeds]:
    """Return the new seeds of the best setting; none where it was not confirmed."""
    return [
        each
        for each in asked(study)
        if (each.purpose, each.title) == ("confirm", f"trial {study.best}")
    ]


def _lost(study: Study) -> list[tuple[str, dict[str, Any]]]:
    """Return the statements on the new seeds of the best setting that failed."""
    return next((each.failures for each in _confirmed(study)), [])


@of("get.searched")
def searched(study: Study, *_: Any) -> Values:
    rank = list(study.ranked["number"]).index(study.best) + 1
    value = study.best_trial["objective"]
    return {"value": value, "rank": rank, "ranked": len(study.ranked), "failed": _lost(study)}


@of("get.differs")
def differs(study: Study, *_: Any) -> Values:
    first = int(study.ranked["number"].iloc[0])
    hold(first != study.best)
    value, other = (study.confirmed[trial]["objective"].mean() for trial in (study.best, first))
    return {"trial": study.best, "best": first, "value": value, "other": other}


@of(*(f"get.{kind}" for kind in ("apart", "turned", "perhaps", "tie", "unclear", "too_few")))
def margin(study: Study, kind: str, _: Values) -> Values:
    trial, gap = next(iter(study.margins.items()))
    expected = evidence(gap, study)
    hold(kind == f"get.{'turned' if expected == 'apart' and gap.mean.mean < 0 else expected}")
    return {"trial": trial, "gap": gap.mean}


def evidence(gap: Gap, study: Study, runs: pd.DataFrame | None = None) -> str:
    """Tell what a difference from these runs, or from those of the best, shows: from its interval
    and its corrected p.
    """
    mean = gap.mean
    if math.isnan(mean.low):
        return "too_few"
    if gap.settled:
        return "apart"
    if mean.sided:
        return "perhaps"
    level = (study.best_runs if runs is None else runs)["objective"].mean()
    return "tie" if max(-mean.low, mean.high) <= EQUAL * abs(level) else "unclear"


@of("get.further")
def further(study: Study, *_: Any) -> Values:
    search = study.search
    best = search.loc[search["state"] == "complete", "objective"].min()
    lower = search[search["state"].isin(["paused", "pruned"]) & (search["objective"] < best)]
    row = lower.sort_values(["objective", "number"]).iloc[0]
    return {
        "trial": row["number"],
        "state": row["state"],
        "epochs": row["epochs"],
        "value": row["objective"],
        "best": best,
    }


@of(*(f"search.failed{side}" for side in ("", "_above", "_below", "_at")))
def failed_trials(study: Study, kind: str, values: Values) -> Values:
    """Counts of the trials of one kind of failure, and of those on one side of a value, which
    nearly all have in common.
    """
    ended = study.search[study.search["state"].isin([*ENDED, "paused"])]
    kept = ended[(ended["state"] != "failed") | (ended["failure"] == values["kind"])]
    failing = kept["state"] == "failed"
    made = {"failed": int(failing.sum()), "trials": len(kept)}
    if kind == "search.failed":
        return made
    own, at = named(study, values["parameter"]), values["threshold"]
    given = own.values(kept)
    if kind.endswith("_at"):
        inside = given == at
    else:
        edge = min(given.dropna(), key=lambda value: (value_text(value) != at, value))
        inside = given >= edge if kind.endswith("_above") else given <= edge
    caught = int((inside & failing).sum())
    winner = own.values(study.best_trial.to_frame().T).iloc[0] if study.best is not None else None
    known = winner is not None and (isinstance(winner, str) or not math.isnan(winner))
    made |= {
        "beyond": int(inside.sum()),
        "inside": caught,
        "exceptions": int((inside != failing).sum()),
    }
    return made | {"winner": value_text(winner) if known else None}


# ---- what was compared ----


@of(*(f"compare.{kind}" for kind in ("apart", "perhaps", "tie", "unclear", "too_few")))
def compared(study: Study, kind: str, values: Values) -> Values:
    """The mean over all settings, whose seeds are averaged first; without an interval that of the
    winner or the best ranked of them.
    """
    two = {values["better"], values["worse"]}
    each = next(
        each
        for each in study.pairs
        if study.parameters[each.parameter].label == values["parameter"]
        and {each.first, each.second} == two
    )
    places = {int(number): place for place, number in enumerate(study.found["number"], start=1)}
    sources = sorted(
        set(each.table["source"]),
        key=lambda own: (own != study.best, places.get(own, len(places) + 1), own),
    )
    own = {
        source: student(each.table.loc[each.table["source"] == source, "difference"])
        for source in sources
    }
    alone = len(sources) == 1 or math.isnan(each.mean.low)
    shown = own[sources[0]] if alone else each.mean
    sign = 1 if shown.mean > 0 else -1
    gap = _signed(shown, sign)
    ps, at = [], 0
    for other in study.pairs:
        for source in sorted(set(other.table["source"])):
            at = len(ps) if other is each and source == sources[0] else at
            ps.append(
                paired_p(list(other.table.loc[other.table["source"] == source, "difference"]))
            )
    p = (
        holm(ps)[at]
        if alone
        else study.p_holm[[other is each for other in study.pairs].index(True)]
    )
    hold(kind == f"compare.{evidence(Gap(gap, p, '', p), study)}")
    sides = (each.first, each.second)[::sign]
    named_each = 1 < len(sources) <= 5
    made = {"pairs": len(each.table), "settings": len(sources)}
    made |= {"trial": sources[0] if alone else None, "over": None if alone else len(sources)}
    made |= {"rank": places.get(sources[0]), "ranked": len(places)}
    made |= {"by": [_signed(one, sign) for one in own.values()] if named_each else None}
    made |= {"at": sources if named_each else None}
    figures = [_on_test(study, each, source, sides) for source in sources]
    for name in figures[0]:
        known = [one[name] for one in figures if one[name]]
        over = student([one.mean for one in known]) if len(known) == len(sources) else None
        made[name] = figures[0][name] if alone else over
    broken = study.repeats.loc[[place for _, place in study.broken], "objective"]
    far = each.table[["first", "second"]].isin([*broken]).any(axis=1)
    if far.any() and not alone:
        made["without"] = sign * each.table[~far].groupby("source")["difference"].mean().mean()
    return made | {"gap": gap, "better": sides[0], "worse": sides[1]}


def _signed(mean: Mean, sign: int) -> Mean:
    return mean if sign > 0 else Mean(-mean.mean, -mean.high, -mean.low, mean.n)


def _on_test(
    study: Study, each: Pairs, source: int, sides: tuple[str, str]
) -> dict[str, Mean | None]:
    """Return the differences in figures on test, worse − better, over the seeds for which both runs
    have them.
    """
    runs = study.trials[
        study.trials["repeat"]
        & (study.trials["state"] == "complete")
        & study.trials["pair_ids"].notna()
    ]
    marks = runs["pair_ids"].map(
        lambda ids: any(own.startswith(f"{each.parameter}:{source}/") for own in ids.split("+"))
    )
    runs = runs[marks.astype(bool)]
    values = study.parameters[each.parameter].values(runs)
    made: dict[str, Mean | None] = {}
    for name in ("fid", "reconstruction_mse"):
        column = f"result.test/{name}"
        if column not in runs:
            made[name] = None
            continue
        better, worse = (
            runs[values == side].drop_duplicates("seed_index").set_index("seed_index")[column]
            for side in sides
        )
        found = student((worse - better).dropna())
        made[name] = found if found.n else None
    return made


@of("compare.interaction", "compare.interaction_of_value")
def interaction(study: Study, _: str, values: Values) -> Values:
    own = next(own for own in study.parameters.values() if own.label == values["by"])
    for each in study.pairs:
        labels = (
            study.parameters[each.parameter].label,
            {values["below_better"], values["above_better"]},
        )
        if labels != (values["parameter"], {each.first, each.second}):
            continue
        of_source = own.values(study.search.set_index("number")).reindex(each.table["source"])
        at = values["at"]
        mask = (of_source == at if own.texts else of_source > float(at.replace(",", ""))).to_numpy()
        sides = {"below": each.table["difference"][~mask], "above": each.table["difference"][mask]}
        signs = {name: set(np.sign(side)) for name, side in sides.items()}
        hold(all(len(sign) == 1 for sign in signs.values()) and signs["below"] != signs["above"])
        if own.texts:
            rest = sorted(set(of_source[~mask]), key=own.texts.index)
        else:
            rest = []
            low, high = of_source[~mask].max(), of_source[mask].min()
            hold(value_text(math.sqrt(low * high) if own.log else (low + high) / 2) == at)
        better = {
            f"{name}_better": each.first if side.mean() > 0 else each.second
            for name, side in sides.items()
        }
        means = {name: side.mean() for name, side in sides.items()}
        counts = {"pairs": len(each.table), "settings": each.table["source"].nunique()}
        return {"rest": rest, **better, **means, **counts}
    raise ValueError("no such comparison")


@of("compare.interaction_open")
def open_interaction(study: Study, _: str, values: Values) -> Values:
    """Every named parameter parts the settings by their signs; the rest follows from these."""
    two = {values["below_better"], values["above_better"]}
    each = next(
        each
        for each in study.pairs
        if study.parameters[each.parameter].label == values["parameter"]
        and {each.first, each.second} == two
    )
    signs = np.sign(each.table.groupby("source")["difference"].agg(["min", "max"]))
    hold((signs["min"] == signs["max"]).all())
    first = set(signs.index[signs["min"] > 0])
    parting = []
    for name, own in study.parameters.items():
        of_source = own.values(study.search.set_index("number")).reindex(signs.index)
        if name == each.parameter or of_source.isna().any():
            continue
        ordered = sorted(of_source.unique())
        masks = (
            [of_source == one for one in ordered]
            if own.texts
            else [of_source > one for one in ordered]
        )
        sides = (first, set(signs.index) - first)
        if any(set(mask.index[mask]) in sides for mask in masks):
            parting.append(own.label)
    hold(sorted(parting) == sorted(values["others"]))
    ahead = values["below_better"] == each.first
    below = each.table["source"].isin(first) == ahead
    sides = {"below": each.table["difference"][below], "above": each.table["difference"][~below]}
    some = each.table["source"][below].nunique()
    means = {name: side.mean() for name, side in sides.items()}
    return means | {"some": some, "rest": len(signs) - some}


@of("curve.rises")
def rises(study: Study, _: str, values: Values) -> Values:
    """Which runs rise is tested against planted curves; here is what follows from them."""
    runs = pd.concat([study.ranked, *study.confirmed.values()])
    found = []
    for repeat, number in zip(runs["repeat"], runs["number"], strict=True):
        epochs = study.epochs
        own = epochs[(epochs["repeat"] == repeat) & (epochs["number"] == number)]
        own = own[own["epoch"] > study.warmup].sort_values("epoch")
        found.append(own["objective"].iloc[-1] - own["objective"].min())
    hold(values["rising"] <= values["runs"] <= len(runs) and values["rise"]["value"] >= 0)
    hold(values["rise"]["value"] <= max(found))
    return {name: values[name] for name in ("epoch", "rising", "runs", "rise")}


@of("caveat.tuned")
def tuned(study: Study, _: str, values: Values) -> Values:
    own = named(study, values["parameter"])
    sources = {
        source
        for each in study.pairs
        if each.parameter == own.name
        for source in each.table["source"]
    }
    found = set(own.values(study.search[study.search["number"].isin(sources)]))
    hold("learning_rate" in study.parameters and found == {values["value"]})
    return {}


@of("caveat.interactions", "caveat.no_interactions")
def interactions_of_chance(study: Study, kind: str, _: Values) -> Values:
    compared_pairs = [each for each in study.pairs if len(each.table)]
    rates = sorted(rate for each in compared_pairs if not math.isnan(rate := chance(study, each)))
    sums = [total for total in np.cumsum(rates) if total <= 0.05]
    hold(bool(sums) == (kind == "caveat.interactions"))
    counts = {
        "able": len(sums),
        "comparisons": len(compared_pairs) if len(sums) < len(compared_pairs) else None,
    }
    return {**counts, "rate": sums[-1] if sums else None, "level": 0.05}


def chance(study: Study, pairs: Pairs) -> float:
    """Return the greatest chance, over that of a difference above 0, that one of the splits of the
    configurations parts all signs.
    """
    sources = pairs.table["source"]
    sides = set()
    for name, own in study.parameters.items():
        if name == pairs.parameter:
            continue
        values = own.values(study.search.set_index("number")).reindex(sources.unique())
        if values.isna().any() or values.nunique() < 2:
            continue
        ordered = sorted(values.unique())
        masks = (
            [values == each for each in ordered]
            if own.texts
            else [values > each for each in ordered[:-1]]
        )
        for mask in masks:
            inside = frozenset(values.index[mask])
            sides.add(frozenset((inside, frozenset(values.index) - inside)))
    if not sides:
        return math.nan
    counts = [int(sources.isin(next(iter(pair))).sum()) for pair in sides]
    p, n = np.linspace(0, 1, 401), len(sources)
    return float(sum(p**a * (1 - p) ** (n - a) + (1 - p) ** a * p ** (n - a) for a in counts).max())


# ---- baselines ----


@of(
    *(f"baseline.{kind}" for kind in ("apart", "perhaps", "tie", "unclear", "too_few", "other")),
    *(f"baseline.{kind}" for kind in ("same", "alone")),
)
def baseline(study: Study, kind: str, values: Values) -> Values:
    title = values["title"]
    runs, against = study.rows[title], study.against(title)
    own = {name: on_test(study, runs, name) for name in (*BESIDE, "neg_elbo", "iw_nll")} | {
        "n": len(runs)
    }
    if kind == "baseline.alone":
        return own
    others_runs = study.confirmed.get(against, study.best_runs)
    own["against"] = (f"against.{'best' if against == study.best else 'trial'}", {"trial": against})
    counts = samples(runs)
    if kind == "baseline.same":
        hold(study.same_training(others_runs, runs))
        return own | {"samples": counts[0] if len(counts) == 1 else None}
    own |= {f"{name}_of_other": on_test(study, others_runs, name) for name in BESIDE}
    own |= {"rate": None} if study.deterministic(title) or study.deterministic() else {}
    gap = study.baseline_gaps.get(title)
    if kind == "baseline.other":
        hold(gap is None)
        return own | {"why": reasons(study, title, others_runs, values["why"])}
    assert gap is not None
    hold(kind == f"baseline.{evidence(gap, study, others_runs)}")
    weighted = study.weighted_gap(others_runs, runs)
    return own | {"gap": gap.mean, "weighted": weighted}


def reasons(
    study: Study, title: str, best: pd.DataFrame, given: list[dict]
) -> list[tuple[str, Values]]:
    """Return why the figures of a row are no others': the parts of protocols that stand in
    summary.json, and the samples of its runs.
    """
    runs = study.rows[title] if title in study.rows else study.runs_of(title)
    counts = samples(runs), samples(best)
    summary = study.report.summary
    places = {
        row["title"]: row["protocol"] for row in (*summary["confirmed"], *summary["baselines"])
    }
    sources = set(best["source_trial"].dropna())
    first = next((row["protocol"] for row in summary["confirmed"] if row["trial"] in sources), 0)
    here, there = (summary["protocols"][place] for place in (places.get(title, 0), first))
    made: list[tuple[str, Values]] = []
    for reason in given:
        kind, own = reason["id"], dict(reason["values"])
        if kind == "differs.samples":
            hold(counts[0] != counts[1])
            own |= {"here": counts[0], "there": counts[1]}
        elif kind == "differs.deterministic":
            hold(study.deterministic(title) and not study.deterministic())
        elif kind == "differs.no_figure":
            hold(not study.test(runs, "neg_elbo").n or not study.test(best, "neg_elbo").n)
        else:
            part = own["part"]
            hold(here[part] != there[part])
            own |= {"here": here[part] or "not recorded", "there": there[part] or "not recorded"}
        made.append((kind, own))
    return made


BESIDE = ("rate", "fid", "reconstruction_mse", "unexplained_variance")


# ---- what was searched ----


@of("parameter.few")
def few(study: Study, *_: Any) -> Values:
    hold(len(study.judged) < 10)
    return {"judged": len(study.judged), "trials": len(study.search), "least": 10}


def left_out(study: Study, names: list[str]) -> list[tuple[str, Values]]:
    """Return the statements on the values of these parameters that were never tried where
    other values do well.
    """
    found = {name: study.uncovered[name] for name in names if study.uncovered.get(name)}
    return [
        ("value.among", {"parameter": study.parameters[name].label, "values": list(texts)})
        for name, texts in found.items()
    ]


def named(study: Study, label: str):
    return next(own for own in study.parameters.values() if own.label == label)


@of("parameter.tried", "parameter.choice")
def tried(study: Study, kind: str, values: Values) -> Values:
    """What the model of equal epochs adds is that of `equal_epochs` in summary.json, whose planted
    truths have tests of their own.
    """
    own = named(study, values["parameter"])
    every = own.values(study.search).dropna()
    winner = own.values(study.best_trial.to_frame().T).iloc[0]
    entry = next(
        entry for entry in study.report.summary["equal_epochs"] if entry["parameter"] == own.name
    )
    behind = entry["behind"]
    known = behind["low"] is not None
    figure = Mean(behind["mean"], behind["low"], behind["high"], behind["n"]) if known else None
    sure = figure is not None and figure.sided
    made = {
        "end": Ends(own).winner(winner) or None,
        "failed": int((study.search["state"] == "failed").sum()) or None,
        "epoch": entry["epoch"] if known else None,
    }
    made |= {"behind": figure if sure else None, "unsure": figure if known and not sure else None}
    early = known and not sure and entry["epoch"] < study.ranked["epochs"].max()
    made["complete"] = int(own.values(study.ranked).notna().sum()) if early else None
    at = (
        None
        if not known
        else entry["at"]
        if isinstance(entry["at"], str)
        else value_text(entry["at"])
    )
    made["at"] = at
    if kind == "parameter.choice":
        shown = [one if isinstance(one, str) else value_text(one) for one in entry["best"]]
        return made | {"best": shown, "tried": [text for text in own.texts if text in set(every)]}
    best = own.values(study.top(own.name))
    several = best.min() < best.max()
    return made | {
        "low": every.min(),
        "high": every.max(),
        "best_low": best.min(),
        "best_high": best.max() if several else None,
    }


@of("hole")
def hole(study: Study, _: str, values: Values) -> Values:
    """The hole itself is recomputed by `recompute_equal_epochs`."""
    own = named(study, values["parameter"])
    entry = next(entry for entry in study.report.summary["holes"] if entry["parameter"] == own.name)
    ends = {"below": entry["low"], "above": entry["high"]}
    beyond = [
        (f"value.{name}", {"parameter": own.label, name: end})
        for name, end in ends.items()
        if end is not None
    ]
    shared = [_bad(study, bad) for bad in entry["shared"]]
    return {"beyond": beyond, "trials": entry["trials"], "shared": shared}


def _bad(study: Study, bad: dict) -> tuple[str, Values]:
    """Return the statement on a bad value of a hole."""
    label = study.parameters[bad["parameter"]].label
    if bad["value"] is not None:
        return "value.among", {"parameter": label, "values": [bad["value"]]}
    name = "below" if bad["below"] is not None else "above"
    return f"value.{name}", {"parameter": label, name: bad[name]}


@of("parameter.not_covered")
def not_covered(study: Study, _: str, values: Values) -> Values:
    own, text = named(study, values["parameter"]), values["value"]
    hold(text in study.uncovered[own.name])
    mine = study.search[own.values(study.search) == text]
    complete = int((mine["state"] == "complete").sum())
    return {"trials": len(mine), "complete": complete}


# ---- doubts, next, cost ----


@of("doubt.warning", "doubt.unknown")
def doubt(study: Study, kind: str, values: Values) -> Values:
    """The check is one of those in summary.json, which are recomputed by themselves
    (`recompute_trust`).
    """
    check = next(check for check in study.report.summary["trust"] if check["id"] == values["check"])
    said = [{name: own[name] for name in ("id", "values", "rows")} for own in check["statements"]]
    hold(kind == f"doubt.{check['verdict']}" and values["found"] == said[: len(values["found"])])
    return {"found": said[: len(values["found"])]}


@of("next.command")
def command(study: Study, _: str, values: Values) -> Values:
    advised = [check["advice"] for check in study.report.summary["trust"] if check["advice"]]
    hold(any(values["command"] == advice["values"].get("command") for advice in advised))
    return {}


@of("next.nothing")
def no_command(*_: Any) -> Values:
    return {}


@of("doubt.more")
def more(study: Study, *_: Any) -> Values:
    """Two doubts stand above; where nothing was learned, only warnings are doubts."""
    doubts = ("warning",) if nothing_learned(study) else ("warning", "unknown")
    return {"count": sum(check["verdict"] in doubts for check in study.report.summary["trust"]) - 2}


@of("cost.pruned")
def pruned(study: Study, *_: Any) -> Values:
    search = study.search
    own = search[search["state"] == "pruned"]
    fixed = study.report.count("train", "epochs")
    most = own["params.epochs"].astype(float) if "epochs" in study.parameters else fixed
    saved, spent = int((most - own["epochs"]).clip(lower=0).sum()), int(search["epochs"].sum())
    ended = int(search["state"].isin(ENDED).sum())
    return {
        "pruned": len(own),
        "ended": ended,
        "saved": saved or None,
        "share": saved / max(1, saved + spent),
    }


@of("cost.learned")
def learned(*_: Any) -> Values:
    return {"trials": _[2]["trials"]}


@of("cost.search")
def cost(study: Study, _: str, values: Values) -> Values:
    trials = study.trials
    alone = trials["purposes"].map(lambda text: text == "baseline").astype(bool)
    groups = {"": ~trials["repeat"], "repeat": trials["repeat"] & ~alone, "baseline": alone}
    made: dict[str, Any] = {"seconds": values["seconds"]}
    for name, chosen_rows in groups.items():
        runs = trials[chosen_rows]
        made |= {f"{name}s" if name else "trials": len(runs) or None}
        made |= {f"{name}_epochs" if name else "epochs": int(runs["epochs"].sum())}
    return made
