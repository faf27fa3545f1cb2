"""The checks of “Can this study be trusted?”: the verdict of each, the values of its statements,
and the command to go on with.
"""

import math
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.stats
from recompute_bounds import Ends, bound_of
from recompute_figures import Study
from recompute_files import Parameter, number_of, value_text
from recompute_repeats import broken_said, winner_rate
from recompute_rules import Expected, State, shows
from recompute_seeds import ORDER, Seeds, asked
from recompute_statements import hold, nothing_learned, wrong_statement
from recompute_statistics import Mean
from recompute_tables import Rows, has

SIGNS = {
    "good": "✓ good",
    "warning": "✗ warning",
    "unknown": "? cannot be said",
    "nothing": "– nothing to check",
}
"""Verdict → sign and word."""
VERDICTS = {True: "good", False: "warning", None: "unknown", "nothing": "nothing"}
Said = tuple[str, dict[str, Any]]
"""Id and values of a statement."""


class Checked(NamedTuple):
    """What a check must say."""

    verdict: bool | str | None
    """None: it cannot be said."""
    said: Sequence[Said]
    advice: Said | None = None


@shows(lambda block: block.chapter == "Can this study be trusted?" and has("check")(block))
def trust(state: State, rows: Rows) -> list[list[Expected]]:
    """The words are those of the checks in summary.json, whose values `wrong_checks` recomputes."""
    return [
        [
            check["name"],
            "; ".join(one["text"] for one in check["statements"]),
            SIGNS[check["verdict"]],
            _todo(check["advice"]),
        ]
        for check in state.study.report.summary["trust"]
    ]


def _todo(advice: dict | None) -> str:
    if advice is None:
        return "–"
    command = advice["values"].get("command")
    return advice["text"].replace(command, f"`{command}`") if command else advice["text"]


def wrong_checks(study: Study) -> list[str]:
    """Return what is wrong with the checks in summary.json, in words."""
    checks = [
        check for check in study.report.summary["trust"] if check["id"] != "plan"
    ]  # the plan came before the tables
    problems = (
        []
        if [check["id"] for check in checks if check["id"] != "code_used"]
        in ([], [name for name in MAKERS if name != "code_used"])
        else ["the checks are other ones"]
    )
    for check in checks:
        try:
            made = MAKERS[check["id"]](study, check["statements"])
        except (
            KeyError,
            IndexError,
            ValueError,
            TypeError,
            AttributeError,
            StopIteration,
        ) as error:
            problems.append(f"{check['id']} cannot be recomputed ({type(error).__name__}: {error})")
            continue
        if check["verdict"] != VERDICTS[made.verdict]:
            problems.append(
                f"{check['id']} is {check['verdict']}; recomputed {VERDICTS[made.verdict]}"
            )
        advice = [check["advice"]] if check["advice"] else []
        problems += _compared(check["id"], check["statements"], made.said)
        problems += _compared(
            f"advice of {check['id']}", advice, [made.advice] if made.advice else []
        )
    return problems


def _compared(name: str, statements: Sequence[dict], expected: Sequence[Said]) -> list[str]:
    ids = [statement["id"] for statement in statements], [own for own, _ in expected]
    if ids[0] != ids[1]:
        return [f"{name} says {ids[0]}; recomputed {ids[1]}"]
    pairs = zip(statements, expected, strict=True)
    return [
        problem
        for statement, (_, values) in pairs
        for problem in wrong_statement(statement, values)
    ]


# ---- bounds ----


def _bounds(study: Study, given: Sequence[dict]) -> Checked:
    with_ends = {name: own for name, own in study.parameters.items() if Ends(own).open_ends}
    if not with_ends:
        return Checked("nothing", [("check.no_range", {})])
    piles = {name: pile for name in study.parameters if (pile := bound_of(study, name))}
    told = [name for name, pile in piles.items() if pile.told]
    steps = _widened(
        study, [statement["values"] for statement in given if statement["id"] == "check.grown"]
    )
    found = [_pile(study, name) for name in told or piles]
    found += [] if told else [said for name in study.parameters if (said := _winner(study, name))]
    if found:
        open_ = [] if told else [("check.settled" if piles else "check.beyond_unknown", {})]
        if all(name == "check.winner_beyond" for name, _ in found):
            open_ = []
        return Checked(False if told else None, [*found, *open_, *steps], _wider(study))
    counts = {name: int(own.values(study.found).notna().sum()) for name, own in with_ends.items()}
    few = [study.parameters[name].label for name, count in counts.items() if count < 20]
    if len(few) == len(with_ends):
        return Checked(
            None, [("check.few_ranked", {"trials": max(counts.values())})], _search_on(study)
        )
    after = [("check.few_have", {"parameters": few})] if few else []
    return Checked(True, [("check.inside", {"best": 10}), *steps, *after])


def _pile(study: Study, name: str) -> Said:
    own, pile = study.parameters[name], bound_of(study, name)
    assert pile is not None
    values = {
        "count": pile.count,
        "top": 10,
        "near": pile.near,
        "ranked": pile.ranked,
        "bound": pile.end,
    }
    values |= {"parameter": own.label, "option": None}
    if not own.texts:
        return "check.pile", values
    return f"check.pile_at_{pile.end}", values | {"end": number_of(Ends(own).last(pile.end))}


def _winner(study: Study, name: str) -> Said | None:
    own, best = study.parameters[name], study.best_trial if study.best is not None else None
    value = None if best is None else _of(own, best)
    end = Ends(own).winner(value)
    if not end:
        return None
    shown, last = value_text(value), Ends(own).last(end)
    values = {
        "parameter": own.label,
        "value": shown,
        "bound": end,
        "end": None if shown == last else last,
    }
    limit = number_of(last)
    beyond = float(value) > limit if end == "upper" else float(value) < limit
    if shown != last and beyond:
        return "check.winner_beyond", values
    return "check.winner_at_end", values


def _ends(study: Study) -> dict[str, str]:
    """Return parameter → the end that the check names: where the best pile up, else where the
    search settled or the winner lies.
    """
    piles = {name: pile for name in study.parameters if (pile := bound_of(study, name))}
    told = {name: pile.end for name, pile in piles.items() if pile.told}
    if told:
        return told
    best = study.best_trial if study.best is not None else None
    winners = (
        {}
        if best is None
        else {name: Ends(own).winner(_of(own, best)) for name, own in study.parameters.items()}
    )
    return {name: end for name, end in winners.items() if end} | {
        name: pile.end for name, pile in piles.items()
    }


def _of(own: Parameter, trial: pd.Series) -> object:
    return own.values(trial.to_frame().T).iloc[0]


def _wider(study: Study) -> Said:
    """Return the advice of a bound four times as far on a logarithmic axis, else half the range
    beyond, of each range at whose end the best lie; of a list one more number."""
    settings, fragile = [], []
    for name, end in _ends(study).items():
        own = study.parameters[name]
        if _diverges(study, own, end):
            fragile.append(own.label)
            continue
        if own.texts:
            settings.append(_longer_list(name, [number_of(text) for text in own.texts], end))
            continue
        present = own.low if end == "lower" else own.high
        value = _step_out(own, present, end, (own.high - own.low) / 2)
        if value != present:
            settings.append(
                f"--set search.{name}.{'low' if end == 'lower' else 'high'}={value:.10g}"
            )
    if not settings:
        return ("advice.diverges", {"parameters": fragile}) if fragile else ("advice.no_wider", {})
    return _do("widen", f"{_further(study)} {' '.join(settings)} --extend")


def _diverges(study: Study, own: Parameter, end: str) -> bool:
    """Tell whether a region on this side is named among the findings, or the median of new seeds
    that diverged lies in this half.
    """
    side = "above" if end == "upper" else "below"
    for one in study.report.summary["statements"]:
        named = one["values"].get("parameter") == own.label
        if one["id"] == f"search.failed_{side}" and named:
            return True
    trials = study.trials
    lost = trials[trials["repeat"] & (trials["failure"] == "diverged")]
    values = own.values(lost).dropna()
    if values.empty:
        return False
    if own.texts:
        places = [own.texts.index(value) / (len(own.texts) - 1) for value in values]
    else:
        scale = np.log if own.log else np.asarray
        low, high, found = (scale(part) for part in (own.low, own.high, values.to_numpy(float)))
        places = (found - low) / (high - low)
    return bool(np.median(places) > 0.5 if end == "upper" else np.median(places) < 0.5)


def _longer_list(name: str, numbers: list[float], end: str) -> str:
    first, second, third = sorted(numbers, reverse=end == "upper")[:3]
    grows = (
        abs(first - second) > abs(second - third)
        if end == "upper"
        else abs(first - second) < abs(second - third)
    )
    value = first**2 / second if grows and min(numbers) > 0 else 2 * first - second
    value = (
        round(value) if all(number.is_integer() for number in numbers) else float(f"{value:.2g}")
    )
    longer = [*numbers, value] if end == "upper" else [value, *numbers]
    shown = ", ".join(
        f"{int(number)}" if float(number).is_integer() else f"{number:g}" for number in longer
    )
    return f"--set 'search.{name}.values=[{shown}]'"


def _step_out(own: Parameter, present: float, end: str, half: float) -> float:
    """Return the end that is one step beyond the present one: four times as far on a logarithmic
    axis, else half the range.
    """
    sign = -1 if end == "lower" else 1
    value = present * 4.0**sign if own.log else present + sign * half
    # What a setting allows: whole numbers from 1, other numbers from 0, a learning rate up to 1.
    value = max(value, 1.0 if own.whole else 0.0)
    value = min(value, 1.0) if own.name == "learning_rate" else value
    return round(value) if own.whole else value


def _widened(study: Study, given: Iterable[dict]) -> list[Said]:
    """Return the steps in the order of the report; the ends are recomputed from the range in the
    study file.

    No table has the round in which the search took a step. So a trial is right where no trial
    before it lies beyond the former end.
    """
    labels, ends, steps = {own.label: own for own in study.parameters.values()}, {}, []
    for step in given:
        own, end = labels[step["parameter"]], "upper" if step["way"] == "up" else "lower"
        section = study.report.file["search"][own.name]
        low, high = float(section["low"]), float(section["high"])
        reached = ends.setdefault(own.name, {"lower": low, "upper": high})
        before = own.values(study.search[study.search["number"] < step["trial"]])
        hold(section.get("grow") is True and before.dropna().between(*reached.values()).all())
        reached[end] = _step_out(own, reached[end], end, (high - low) / 2)
        steps.append(("check.grown", {**step, "end": reached[end]}))
    for name, own in study.parameters.items():
        if own.texts or name not in (study.report.file.get("search") or {}):
            continue
        section = study.report.file["search"][name]
        reached = ends.get(name, {"lower": float(section["low"]), "upper": float(section["high"])})
        hold(np.allclose([*reached.values()], [own.low, own.high]))
    return steps


# ---- the course of the search ----

FEW: Said = ("check.few_together", {"least": 10})


def _course(study: Study, _: Sequence[dict]) -> Checked:
    if study.course is None:
        return Checked(None, [FEW], _search_on(study))
    epoch, values, spread = study.course
    gain = min(values[: round(len(values) * 2 / 3)]) - min(values)
    kind = "check.gain" if epoch is None else "check.gain_at_epoch"
    found: Said = (kind, {"trials": len(values), "epoch": epoch, "gain": gain})
    if math.isnan(spread):
        return Checked(
            None, [found, ("check.spread_unknown", {})], _confirm(study, 3, 3, more=False)
        )
    among = np.std(values, ddof=1)
    if spread**2 > among**2 / 10:
        return Checked(None, [found, ("check.seeds_hide", {"spread": spread, "among": among})])
    ok = bool(gain <= spread)
    return Checked(
        ok, [found, ("check.seeds_vary", {"spread": spread})], None if ok else _search_on(study)
    )


def _spreads(study: Study, given: Sequence[dict]) -> Checked:
    """What the model of equal epochs finds sure is that of `equal_epochs` in summary.json."""
    if math.isnan(study.seed_spread):
        return Checked(None, [("check.none_confirmed", {})], _confirm(study, 3, 3, more=False))
    values = study.ranked["objective"].to_numpy(float)
    if study.course is None and len(values) < 10:
        return Checked(None, [FEW], _search_on(study))
    epoch, every, spread = study.course or (None, [], math.nan)
    among = np.std(every, ddof=1) if every else None
    own = {
        "spread": study.seed_spread,
        "complete": len(values),
        "at_end": np.std(values, ddof=1) if len(values) > 1 else None,
        "trials": len(every) or None,
        "epoch": epoch,
        "among": among,
        "early": spread,
    }
    last, costs = study.report.count("train", "epochs"), {}
    for entry in study.report.summary["equal_epochs"]:
        low = entry["behind"]["low"]
        if low is not None and low > 0:
            costs.setdefault(study.parameters[entry["parameter"]].label, entry["epoch"])
    for pair, p in zip(study.pairs, study.p_holm, strict=True):
        if p <= 0.05:
            costs[study.parameters[pair.parameter].label] = last
    said: list[Said] = [("check.variation", own)]
    pairs_first = sorted(costs.items(), key=lambda one: one[1] != last)
    said += [
        ("check.sure_cost", {"parameter": label, "epoch": epoch}) for label, epoch in pairs_first
    ]
    ratio = np.var(values, ddof=1) / study.seed_spread**2 if len(values) > 1 else 0.0
    wider = scipy.stats.f.sf(ratio, len(values) - 1, study.seed_freedom) <= 0.01
    resolved = among is not None and 10 * spread**2 <= among**2
    if last in costs.values() or resolved or (len(values) > 1 and wider):
        return Checked(True, said)
    return Checked(None if costs else False, said, _confirm(study, 5, 5, more=True))


# ---- the pruner ----


def _pruner(study: Study, given: Sequence[dict]) -> Checked:
    if given[0]["id"].startswith("check.rung_"):
        return _paused(study)
    ruled = study.report.facts("Search").get("pruner", "none").split(",")[0]
    why = {"none": "check.no_pruner", "promotion": "check.no_rung"}
    verdict = None if ruled in why else "nothing"
    return Checked(verdict, [(why.get(ruled, "check.not_paused"), {})])


def _paused(study: Study) -> Checked:
    """Answer for a study that pauses trials: the ranks at its first rung, and the paused trials
    that were trained to their end.
    """
    rungs = study.report.facts("Search")["pruner"].split(", factor")[0]
    found = [int(rung) for rung in re.findall(r"\d+", rungs)]
    rung, epochs = found[0], study.report.count("train", "epochs")
    own = study.epochs[
        ~study.epochs["repeat"] & study.epochs["number"].isin(study.search["number"])
    ]
    lengths = own.groupby("number")["epoch"].max()
    stopped = int((lengths == rung).sum())
    table = study.rung_ranks(rung)
    n = len(table)
    rho = table["rung"].corr(table["end"], method="spearman") if len(table) > 1 else math.nan
    counts = {
        "epoch": rung,
        "stopped": stopped,
        "reached": int((lengths >= rung).sum()),
        "complete": n,
    }
    chance, said = math.nan, ("check.rung_unranked", counts)
    if n >= 3 and not math.isnan(rho):
        chance = _chance(n, rho)
        half = (
            1.959964 * math.sqrt((1 + rho**2 / 2) / (n - 3))
            if n > 3 and abs(rho) < 1 - 1e-9
            else math.nan
        )
        ends = (
            [math.tanh(math.atanh(rho) + side * half) for side in (-1, 1)]
            if math.isfinite(half)
            else [math.nan] * 2
        )
        said = ("check.rung_ranks", counts | {"correlation": Mean(rho, *ends, n)})
    later = [rung for rung in found[1:] or [2 * rung] if rung < (epochs or 0)]
    option = f"pruner.rungs={later}" if later else "pruner.name=none"
    late = study.late[study.late["value"].notna()]
    if len(late):
        return _late(study, late, said, chance, option)
    planned = (
        " "
        if study.report.facts("Search").get("confirm")
        else " --set confirm.top=3 --set confirm.seeds=3 "
    )
    test = f"{_base(study)}{planned}--set confirm.late=3 --extend"
    if chance <= 0.05:
        return Checked(False, [said], _do("train_late", test))
    if not stopped:
        return Checked("nothing", [said, ("check.none_stopped", {})])
    return Checked(None, [said, ("check.none_late", {})], _do("train_late", test))


def _late(study: Study, late: pd.DataFrame, said: Said, chance: float, option: str) -> Checked:
    made = [said]
    for one in late.itertuples():
        values = {name: getattr(one, name) for name in ("rank", "reached", "rung")}
        values |= {"trial": one.number, "winner": study.ranked["number"].iloc[0]}
        values["ahead"] = Mean(one.ahead, one.ahead - one.margin, one.ahead + one.margin, 1)
        within = 0 < one.ahead <= one.margin
        made.append(("check.late_within" if within else "check.late", values))
    before = late["ahead"] > 0
    if (before & ((late["ahead"] > late["margin"]) | (chance <= 0.05))).any():
        command = f"{_further(study)} --set {shlex.quote(option)} --extend"
        return Checked(False, made, _do("pause_later", command))
    if (before & late["margin"].isna()).any():
        return Checked(None, made, _confirm(study, 3, 3, more=False))
    return Checked(True, made)


def _chance(n: int, rho: float) -> float:
    """Return the probability of so low a rank correlation of n pairs that correlate by 0.9."""
    random = np.random.default_rng(1)
    covariance = [[1.0, 0.9], [0.9, 1.0]]
    drawn = random.multivariate_normal([0, 0], covariance, size=(20_000, n))
    ranks = scipy.stats.rankdata(drawn, axis=1)
    spearman = [np.corrcoef(each.T)[0, 1] for each in ranks]
    return float((np.array(spearman) <= rho + 1e-9).mean())


# ---- confirmation and test ----


def _new_seeds(study: Study, _: Sequence[dict]) -> Checked:
    every = asked(study)
    runs = study.trials[study.trials["repeat"]]
    runs = runs[
        runs["purposes"].map(lambda text: bool({*str(text).split("+")} & {*ORDER})).astype(bool)
    ]
    if (runs["state"] == "failed").any():
        kinds = Seeds("", "", len(runs), runs).failures
        names = [
            {"title": each.title, "failed": len(each.failed), "planned": each.planned}
            for each in every
            if len(each.failed)
        ]
        said = [*kinds, *(("check.seeds_of", values) for values in names)]
        kind = (
            runs.loc[runs["state"] == "failed", "failure"]
            .astype(str)
            .value_counts(sort=True)
            .index[0]
        )
        own = kind if kind in ("diverged", "out_of_memory", "crashed", "timed_out") else "error"
        return Checked(False, [*said, *broken_said(study)], (f"remedy.{own}", {}))
    if broken := broken_said(study):
        found = study.repeats.loc[[place for _, place in sorted(study.broken, reverse=True)]]
        own = [
            said
            for said, purposes in zip(
                [broken[0][1]["worst"], *broken[1:]], found["purposes"].astype(str), strict=True
            )
            if purposes != "baseline"
        ]
        if not own:
            return Checked(False, broken)
        kind = "diverged" if own[0][1]["rate"] is None else "collapsed"
        return Checked(False, broken, (f"remedy.{kind}", {}))
    planned, complete = sum(each.planned for each in every), sum(each.complete for each in every)
    if runs.empty:
        return Checked("nothing", [("check.no_seeds", {})])
    if complete < planned and study.report.interim:
        said = [("check.seeds_so_far", {"complete": complete, "planned": planned})]
        return Checked(None, said, _do("finish", _base(study)))
    return Checked(True, [("check.seeds_trained", {"runs": len(runs)})])


def _holds(study: Study, _: Sequence[dict]) -> Checked:
    tested = {source: study.test(runs, "neg_elbo").mean for source, runs in study.confirmed.items()}
    tested = {source: mean for source, mean in tested.items() if math.isfinite(mean)}
    confirm = _confirm(study, 3, 3, more=False)
    if len(tested) < 2:
        return Checked(None, [("check.few_tested", {})], confirm)
    orders = (
        "check.orders",
        {"validation": [*tested], "test": sorted(tested, key=tested.__getitem__)},
    )
    ahead = [
        source
        for source, margin in study.margins.items()
        if margin.settled and margin.mean.mean < 0
    ]
    more = _confirm(study, 2, 5, more=True)
    if ahead:
        return Checked(False, [("check.better_on_test", {"trial": ahead[0]}), orders], more)
    if not any(math.isfinite(margin.mean.low) for margin in study.margins.values()):
        return Checked(None, [("check.no_interval", {}), orders], confirm)
    behind = [source for source, margin in study.margins_of("objective").items() if margin.settled]
    if not behind:
        return Checked("nothing", [("check.no_order", {}), orders])
    for source in behind:
        if source not in study.margins or not study.margins[source].settled:
            return Checked(None, [("check.open_on_test", {"trial": source}), orders], more)
    return Checked(True, [("check.behind_on_both", {"trials": len(behind)}), orders])


def _learned_out(study: Study, _: Sequence[dict]) -> Checked:
    gains, epochs = [], study.epochs[study.epochs["repeat"]].sort_values("epoch")
    epochs = epochs[epochs["epoch"] > study.warmup]
    for runs in study.confirmed.values():
        for each in runs["number"]:
            curve = epochs.loc[epochs["number"] == each, "objective"].to_numpy(float)
            if len(curve) >= 10:
                gains.append(curve[: -max(1, round(len(curve) / 10))].min() - curve.min())
    if not gains:
        return Checked(None, [("check.no_late_gain", {})])
    little = max(0.001 * abs(study.best_runs["objective"].mean()), np.nan_to_num(study.seed_spread))
    usual = max(int(runs["epochs"].max()) for runs in study.confirmed.values())
    said: list[Said] = [("check.late_gain", {"gain": np.mean(gains), "runs": len(gains)})]
    for title, gap in study.baseline_gaps.items():
        settings = study.settings_of(title)
        if {*settings} == {"epochs"} and settings["epochs"] > usual and math.isfinite(gap.mean.low):
            said.append(("check.longer", {"gap": gap.mean, "p_holm": gap.p_holm}))
            ok = not (gap.settled and gap.mean.mean < 0)
            anew = (
                f"{_base(study, '--name')} --name {study.report.name}_longer --set "
                f"train.epochs={2 * usual}"
            )
            return Checked(ok, said, None if ok else _do("train_longer", anew))
    row = f"'baselines.longer={{at: best, settings: {{epochs: {2 * usual}}}}}'"
    beside = _do("train_beside", f"{_base(study)} --set {row} --extend")
    if np.mean(gains) > little:
        return Checked(False, said, beside)
    if study.report.setting("train", "schedule") == "cosine":
        return Checked(None, [*said, ("check.rate_falls", {})], beside)
    return Checked(True, said)


def _code_used(study: Study, _: Sequence[dict]) -> Checked:
    rate = winner_rate(study)
    hold(rate < 1 and not study.deterministic())
    return Checked(False, [("check.close", {"rate": rate})], ("remedy.collapsed", {}))


MAKERS = {
    "bounds": _bounds,
    "levelled_off": _course,
    "seeds": _spreads,
    "pruner": _pruner,
    "new_seeds": _new_seeds,
    "on_test": _holds,
    "learned_out": _learned_out,
    "code_used": _code_used,
}
"""Id of a check → what it must say, in the order of the report."""


# ---- commands ----


def _do(kind: str, command: str, **values: Any) -> Said:
    return f"advice.{kind}", {"command": command, **values}


def _base(study: Study, *without: str) -> str:
    """Return the first of the report's commands without its budget, and without these options."""
    lines = study.report.readme.splitlines()
    at = next(
        place
        for place, line in enumerate(lines)
        if line.startswith("# goes on where the study stopped")
    )
    words, dropped = shlex.split(lines[at + 1]), ("--trials", "--seconds", *without)
    kept = [
        word
        for last, word in zip(["", *words], words, strict=False)
        if not {last, word} & {*dropped}
    ]
    return shlex.join(kept)


def _further(study: Study) -> str:
    forms = {
        "trials": "--trials {}",
        "epochs": "--set budget.epochs={}",
        "stale trials": "--set budget.stale_trials={}",
    }
    given = {name: study.report.count("budget", name, "Search") for name in forms}
    given = {name: limit for name, limit in given.items() if limit} or {"trials": len(study.search)}
    limits = [
        forms[name].format(2 * max(limit, 10 * (name == "trials"))) for name, limit in given.items()
    ]
    return " ".join([_base(study), *limits])


def _search_on(study: Study) -> Said:
    if (study.search["state"] == "failed").all() and len(study.search):
        return "advice.cannot_train", {}
    return _do("search_on", _further(study))


def _confirm(study: Study, top: int, seeds: int, *, more: bool) -> Said:
    if nothing_learned(study):
        return "advice.nothing_to_confirm", {}
    plan = {name: study.report.count("confirm", name, "Search") or 0 for name in ("top", "seeds")}
    top, wanted = max(top, plan["top"]), max(seeds, plan["seeds"])
    wanted *= 2 if more and wanted == plan["seeds"] else 1
    if plan == {"top": top, "seeds": wanted}:
        if study.report.interim:
            return _do("finish_confirming", _base(study))
        failed = any(len(each.failed) for each in asked(study))
        return ("advice.mend_seeds", {}) if failed else _search_on(study)
    settings = f"--set confirm.top={top} --set confirm.seeds={wanted} --extend"
    return _do("confirm", f"{_base(study)} {settings}", top=top, seeds=wanted)
