"""Rules for the checks of “Can this study be trusted?”: each number, the verdict that it gives, and the command to go on with."""

import math
import re

import numpy as np
import pandas as pd
import scipy.stats
from recompute_bounds import Ends, bound_of
from recompute_figures import Study
from recompute_files import Parameter, number_of, value_text
from recompute_rules import SHARE, Expected, State, assert_that, shows
from recompute_seeds import ORDER, Seeds, asked
from recompute_statements import nothing_learned
from recompute_statistics import evidence, listed, number, plural
from recompute_tables import Rows, has

SIGNS = {True: "✓ good", False: "✗ warning", None: "? cannot be said", "nothing": "– nothing to check"}
"""Verdict → sign and word."""


@shows(lambda block: block.chapter == "Can this study be trusted?" and has("check")(block))
def trust(state: State, rows: Rows) -> list[list[Expected]]:
    return [[None, *_checks(state.study, row)] for row in rows[1:]]


def _checks(study: Study, row: list[str]) -> list[Expected]:
    name, figure, *_ = row
    if name == "Are data and settings what they are meant to be?":
        return [None, "✗ warning", "–"]  # a warning of the plan, before there was a table
    makers = {
        "Are the best configurations inside the searched ranges?": _bounds,
        "Has the search levelled off?": _course,
        "Do configurations differ by more than seeds?": _spreads,
        "Would the pruner have stopped the winners?": _pruner,
        "Did every new seed train?": _new_seeds,
        "Does the validation optimum hold on test?": _holds,
        "Are the confirmed runs learned out?": _learned_out,
    }
    made, ok = makers[name](study, figure)
    return [made, SIGNS[ok], "–" if ok == "nothing" else _advice(study, name, figure, ok)]


def _advice(study: Study, name: str, figure: str, ok: bool | None) -> Expected:
    """Return what to do: the command that ran the study, without its budget, and what it changes."""
    if "new seed" in name:
        return "–" if ok else None if ok is False else f"Let the study finish: `{_base(study)}`"
    made = _advice_on(study, name, figure, ok)
    if made.startswith("Search on: ") and (study.search["state"] == "failed").all():
        return "First do what the answer says: no trial can be trained as it is"
    return made


def _new_seeds(study: Study, _: str) -> tuple[str, bool | str | None]:
    every = asked(study)
    failed = [each for each in every if len(each.failed)]
    runs = study.trials[study.trials["repeat"]]
    runs = runs[runs["purposes"].map(lambda text: bool({*str(text).split("+")} & {*ORDER})).astype(bool)]
    if failed:
        parts = [Seeds("", "", len(runs), runs).words]
        parts += [f"{each.title}: {len(each.failed)} of {each.planned}" for each in failed[:3]]
        more = f"; and {plural(len(failed) - 3, 'more configuration')}" if len(failed) > 3 else ""
        return "; ".join(parts) + more, False
    planned, complete = sum(each.planned for each in every), sum(each.complete for each in every)
    if not planned:
        return "no run with a fresh seed was trained", "nothing"
    if complete < planned and study.report.interim:
        return f"{complete:,} of {planned:,} are complete, and none failed", None
    return f"all {len(runs):,} did", True


def _advice_on(study: Study, name: str, figure: str, ok: bool | None) -> str:
    recommended = re.search(r"; (\w+) = (\d+) spares them all", figure)
    further = f"{_base(study)} {_limits(study)}"
    if "inside the searched ranges" in name:
        if ok or "too few to tell" in figure:
            return "–" if ok else f"Search on: `{further}`"
        wider = _wider(study)
        words = f"Widen the range and search on: `{further} {' '.join(wider)} --extend`"
        if any(".values=" in option for option in wider):
            base = re.sub(r" --name \S+", "", _base(study))
            words = f"Search further in a new study: `{base} --name {study.report.name}_wider {' '.join(wider)}`"
        return words if wider else "No value lies beyond, so there is nothing to widen"
    if "stopped the winners" in name:
        if figure.startswith("at epoch"):
            return _paused_advice(study, figure, ok)
        if ok is not False:
            return "–"
        if recommended:
            setting = f"--set pruner.{recommended[1]}={recommended[2]}"
            return f"Search on with more patience: `{further} {setting} --extend`"
        waits = next(waits for waits in ("warmup_epochs", "min_epochs", "patience") if waits in figure)
        return f"No {waits} spares them all. Search on without: `{further} --set pruner.name=none --extend`"
    if "learned out" in name:
        return _longer_advice(study, figure, ok)
    if ("levelled off" in name and "is not known" not in figure) or "too few to tell" in figure:
        return "–" if ok or "too little more" in figure else f"Search on: `{further}`"
    if ok:
        return "–"
    if ok is None and "and test does not" not in figure:
        return _confirm(study, 3, 3, more=False)
    return _confirm(study, 5 if "differ by more" in name else 2, 5, more=True)


def _paused_advice(study: Study, figure: str, ok: bool | None) -> str:
    """Return what to do in a study that pauses trials."""
    if ok:
        return "–"
    tried = "trained to their end" in figure
    if tried and ok is None:
        return _confirm(study, 3, 3, more=False)
    rungs, epochs = (study.report.facts("Search")["pruner"].split(", factor")[0], study.report.count("train", "epochs"))
    found = [int(rung) for rung in re.findall(r"\d+", rungs)]
    later = [rung for rung in found[1:] or [2 * found[0]] if rung < (epochs or 0)]
    option = f"pruner.rungs={later}" if later else "pruner.name=none"
    if tried:
        quoted = f"'{option}'" if later else option
        return f"Pause later, and search on: `{_base(study)} {_limits(study)} --set {quoted} --extend`"
    confirms = bool(study.report.facts("Search").get("confirm"))
    planned = " " if confirms else " --set confirm.top=3 --set confirm.seeds=3 "
    what = "Train the paused ones that fell most to their end" + (f", or pause later ({option})" if ok is False else "")
    return f"{what}: `{_base(study)}{planned}--set confirm.late=3 --extend`"


def _base(study: Study) -> str:
    """Return the first of the report's commands without its budget."""
    command = re.search(r"^# goes on where the study stopped.*\n(.+)$", study.report.readme, re.MULTILINE)
    assert_that(command is not None)
    return re.sub(r" --(?:trials|seconds) \S+", "", command[1] if command else "")


def _limits(study: Study) -> str:
    forms = {
        "trials": "--trials {}",
        "epochs": "--set budget.epochs={}",
        "stale trials": "--set budget.stale_trials={}",
    }
    given = {name: study.report.count("budget", name, "Search") for name in forms}
    given = {name: limit for name, limit in given.items() if limit} or {"trials": len(study.search)}
    return " ".join(forms[name].format(2 * max(limit, 10 * (name == "trials"))) for name, limit in given.items())


def _confirm(study: Study, top: int, seeds: int, *, more: bool) -> str:
    if nothing_learned(study):
        return "First do what the answer says: there is nothing to confirm"
    plan = {name: study.report.count("confirm", name, "Search") or 0 for name in ("top", "seeds")}
    top, wanted = max(top, plan["top"]), max(seeds, plan["seeds"])
    wanted *= 2 if more and wanted == plan["seeds"] else 1
    if plan == {"top": top, "seeds": wanted}:
        if study.report.interim:
            return f"Let the study finish, which confirms them: `{_base(study)}`"
        failed = any(len(each.failed) for each in asked(study))
        return "First mend what made new seeds fail" if failed else f"Search on: `{_base(study)} {_limits(study)}`"
    settings = f"--set confirm.top={top} --set confirm.seeds={wanted} --extend"
    return f"Confirm {top} configurations with {wanted} fresh seeds each: `{_base(study)} {settings}`"


def _longer_advice(study: Study, figure: str, ok: bool | None) -> str:
    runs = pd.concat([*study.confirmed.values(), study.repeats.head(0)])
    if ok or runs.empty or figure.startswith("no confirmed"):
        return "–"
    epochs = 2 * int(runs["epochs"].max())
    if "with more epochs" in figure:
        base = re.sub(r" --name \S+", "", _base(study))
        return f"Train longer: `{base} --name {study.report.name}_longer --set train.epochs={epochs}`"
    row = f"'baselines.longer={{at: best, settings: {{epochs: {epochs}}}}}'"
    return f"Train the best for twice as long beside it: `{_base(study)} --set {row} --extend`"


def _ends(study: Study) -> dict[str, str]:
    """Return parameter → the end that the check names: where the best pile up, else where the search settled or the winner lies."""
    piles = {name: pile for name in study.parameters if (pile := bound_of(study, name))}
    told = {name: pile.end for name, pile in piles.items() if pile.told}
    if told:
        return told
    best = study.best_trial if study.best is not None else None
    winners = {} if best is None else {name: Ends(own).winner(_of(own, best)) for name, own in study.parameters.items()}
    return {name: end for name, end in winners.items() if end} | {name: pile.end for name, pile in piles.items()}


def _of(own: Parameter, trial: pd.Series) -> object:
    return own.values(trial.to_frame().T).iloc[0]


def _wider(study: Study) -> list[str]:
    """Return a bound four times as far on a logarithmic axis, else half the range beyond, of each range at whose end the best lie; of a list
    one more number."""
    settings = []
    for name, end in _ends(study).items():
        own = study.parameters[name]
        if own.texts:
            settings.append(_longer_list(name, [number_of(text) for text in own.texts], end))
            continue
        present = own.low if end == "lower" else own.high
        value = _step_out(own, present, end, (own.high - own.low) / 2)
        if value != present:
            settings.append(f"--set search.{name}.{'low' if end == 'lower' else 'high'}={value:.10g}")
    return settings


def _longer_list(name: str, numbers: list[float], end: str) -> str:
    first, second, third = sorted(numbers, reverse=end == "upper")[:3]
    grows = abs(first - second) > abs(second - third) if end == "upper" else abs(first - second) < abs(second - third)
    value = first**2 / second if grows and min(numbers) > 0 else 2 * first - second
    value = round(value) if all(number.is_integer() for number in numbers) else float(f"{value:.2g}")
    longer = [*numbers, value] if end == "upper" else [value, *numbers]
    shown = ", ".join(f"{int(number)}" if float(number).is_integer() else f"{number:g}" for number in longer)
    return f"--set 'search.{name}.values=[{shown}]'"


def _step_out(own: Parameter, present: float, end: str, half: float) -> float:
    """Return the end that is one step beyond the present one: four times as far on a logarithmic axis, else half the range."""
    sign = -1 if end == "lower" else 1
    value = present * 4.0**sign if own.log else present + sign * half
    # What a setting allows: whole numbers from 1, other numbers from 0, a learning rate up to 1.
    value = max(value, 1.0 if own.whole else 0.0)
    value = min(value, 1.0) if own.name == "learning_rate" else value
    return round(value) if own.whole else value


def _widened(study: Study, figure: str) -> str:
    """Return a pattern of the steps in the order of the report; its groups are the ends, recomputed from the range in the study file.

    No table has the round in which the search took a step. So a trial is right where no trial before it lies beyond the former end.
    """
    labels, ends, parts = {own.label: own for own in study.parameters.values()}, {}, []
    for label, way, trial in re.findall(r"widened ([\w ]+?) (up|down) to \S+ from trial (\d+) on", figure):
        own, end = labels[label], "upper" if way == "up" else "lower"
        given = study.report.file["search"][own.name]
        low, high = float(given["low"]), float(given["high"])
        reached = ends.setdefault(own.name, {"lower": low, "upper": high})
        before = own.values(study.search[study.search["number"] < int(trial)])
        assert_that(given.get("grow") is True and before.dropna().between(*reached.values()).all())
        reached[end] = _step_out(own, reached[end], end, (high - low) / 2)
        parts.append(rf"widened {label} {way} to ({re.escape(f'{reached[end]:.10g}')}) from trial {trial} on")
    for name, reached in ends.items():
        assert_that(np.allclose([*reached.values()], [study.parameters[name].low, study.parameters[name].high]))
    return f"; the search {listed(parts)}" if parts else ""


def _bounds(study: Study, figure: str) -> tuple[Expected, bool | str | None]:
    with_ends = {name: own for name, own in study.parameters.items() if Ends(own).open_ends}
    if not with_ends:
        return "no range and no list of numbers was searched", "nothing"
    piles = {name: pile for name in study.parameters if (pile := bound_of(study, name))}
    told = [name for name, pile in piles.items() if pile.told]
    parts = [_pile_words(study, name) for name in told or piles]
    if not told:
        parts += [words for name in study.parameters if (words := _winner_words(study, name))]
    counts = {name: int(own.values(study.found).notna().sum()) for name, own in with_ends.items()}
    few = [study.parameters[name].label for name, count in counts.items() if count < 20]
    if not parts and len(few) == len(with_ends):
        return f"{plural(max(counts.values()), 'trial')} that can be ranked, too few to tell", None
    words = listed(parts) if parts else "the best 10 trials pile up at no end, and the winner lies at none"
    if parts and not told:
        words += "; whether beyond is better cannot be told"
        words += ", because the search has settled there" if piles else ""
    after = f"; too few trials have {listed(few)}" if few and not parts else ""
    ok = True if not parts else False if told else None
    if widened := _widened(study, figure):
        return re.compile(re.escape(words) + widened + re.escape(after)), ok
    return words + after, ok


def _pile_words(study: Study, name: str) -> str:
    own, pile = study.parameters[name], bound_of(study, name)
    assert pile is not None
    at = f"within 5 % of its {pile.end} bound"
    if own.texts:
        number = number_of(Ends(own).last(pile.end))
        at = f"= {number:.10g}, the {'largest' if pile.end == 'upper' else 'smallest'} that it may have"
    return f"{pile.count} of the best 10 trials, and {pile.near} of all {pile.ranked}, have {own.label} {at}"


def _winner_words(study: Study, name: str) -> str:
    own, best = study.parameters[name], study.best_trial if study.best is not None else None
    value = None if best is None else _of(own, best)
    end = Ends(own).winner(value)
    if not end:
        return ""
    shown, last = value_text(value), Ends(own).last(end)
    return f"the winner has {own.label} = {shown}, {f'the {end} end' if shown == last else f'at the {end} end, {last}'}"


FEW = "fewer than 10 trials reached an epoch together, too few to tell"


def _course(study: Study, _: str) -> tuple[str, bool | None]:
    if study.course is None:
        return FEW, None
    epoch, values, spread = study.course
    gain = min(values[: round(len(values) * 2 / 3)]) - min(values)
    at = "complete trials" if epoch is None else f"trials at epoch {epoch}"
    words = f"the last third of {len(values):,} {at} lowered the best value by {number(gain)} nats"
    if math.isnan(spread):
        return f"{words}; the spread over seeds is not known", None
    words, among = f"{words}; seeds vary by {number(spread)}", np.std(values, ddof=1)
    if spread**2 > among**2 / 10:
        return f"{words} and all trials by {number(among)} (standard deviations), too little more to tell", None
    return words, bool(gain <= spread)


def _spreads(study: Study, _: str) -> tuple[str, bool | None]:
    if math.isnan(study.seed_spread):
        return "no configuration was confirmed with two seeds or more", None
    if study.course is None or math.isnan(study.course[2]):
        return FEW, None
    epoch, values, spread = study.course
    best, at = sorted(values)[:10], "" if epoch is None else f" at epoch {epoch}"
    among, top = np.std(values, ddof=1), np.std(best, ddof=1)
    words = f"seeds vary by {number(spread)} nats, {len(values):,} trials by {number(among)}, the best {len(best)} of them by {number(top)}"
    return f"{words} (standard deviations{at})", bool(10 * spread**2 <= among**2)


def _curves(study: Study) -> list[np.ndarray]:
    own = study.epochs[~study.epochs["repeat"]].sort_values("epoch").groupby("number")["objective"]
    curves = {number_: curve.to_numpy(float) for number_, curve in own}
    return [curves[each] for each in study.ranked["number"] if each in curves]


def _pruner(study: Study, figure: str) -> tuple[Expected, bool | None]:
    """Recompute the rank correlations. Whom the pruner would have stopped is its own verdict, run again: no table has it."""
    if figure.startswith("at epoch"):
        return _paused(study, figure)
    curves = _curves(study)
    longest = max(map(len, curves), default=0)
    table = np.array([np.minimum.accumulate(curve[study.warmup :]) for curve in curves if len(curve) == longest])
    words = ""
    span = longest - study.warmup
    if len(table) >= 5 and span > 1 and len(set(table[:, -1])) > 1:
        ranks = pd.DataFrame(table).rank()
        with np.errstate(invalid="ignore", divide="ignore"):
            agreement = ranks.corrwith(ranks[span - 1]).fillna(0).to_numpy().round(12)
        early = max(1, round(span / 5))
        words = f"; the ranks at epoch {study.warmup + early} correlate with the last ones by {number(agreement[early - 1])}"
        low = np.flatnonzero(agreement < 0.7)
        fair = 1 if not len(low) else int(low[-1]) + 2
        words += f", by 0.7 or more from epoch {study.warmup + fair} on" if fair <= span else ""
    ruled = study.report.facts("Search").get("pruner", "none")
    found = re.match(r"(\d+) of the best (\d+) trials, replayed(?: with (\w+) = (\d+))?", figure)
    if found is None:
        why = {
            "none": "the study prunes nothing",
            "promotion": "trials that ranked low at a rung were paused, and no record says whether one of them would have won",
        }
        return why.get(ruled.split(",")[0], "fewer than 8 complete trials to replay") + words, None
    top = min(10, len(curves) // 4)
    at = f" with {found[3]} = {study.report.count('pruner', found[3].replace('_', ' '), 'Search')}" if found[3] else ""
    re.search(rf"; \w+ = \d+ spares them all and would have saved {SHARE} of the complete trials' epochs$", figure)
    assert_that(int(found[1]) <= top)
    spares = rf"(?:; \w+ = \d+ spares them all and would have saved {SHARE} of the complete trials' epochs)?"
    return re.compile(rf"\d+ of the best ({top}) trials, replayed{re.escape(at + words)}{spares}"), found[1] == "0"


def _paused(study: Study, figure: str) -> tuple[Expected, bool | str | None]:
    """Answer for a study that pauses trials: the ranks at its first rung, and the paused trials that were trained to their end."""
    rung = int(re.findall(r"\d+", study.report.facts("Search")["pruner"])[0])
    own = study.epochs[~study.epochs["repeat"] & study.epochs["number"].isin(study.search["number"])]
    lengths = own.groupby("number")["epoch"].max()
    reached, stopped = int((lengths >= rung).sum()), int((lengths == rung).sum())
    words = f"at epoch {rung}, where {stopped:,} of {plural(reached, 'trial')} stopped, ranks "
    table = study.rung_ranks(rung)
    n, rho = len(table), table["rung"].corr(table["end"], method="spearman") if len(table) > 1 else math.nan
    chance = math.nan
    if n < 3 or math.isnan(rho):
        words += f"cannot be compared with those at the end over {plural(n, 'complete trial')}"
    else:
        chance = _chance(n, rho)
        half = 1.959964 * math.sqrt((1 + rho**2 / 2) / (n - 3)) if n > 3 and abs(rho) < 1 - 1e-9 else math.nan
        ends = [number(math.tanh(math.atanh(rho) + side * half)) for side in (-1, 1)] if math.isfinite(half) else []
        interval = f" (95 % interval {ends[0]} to {ends[1]})" if ends else ""
        words += f"correlate with those at the end by {number(rho)}{interval} over {plural(n, 'complete trial')}"
    late = study.late[study.late["value"].notna()]
    if len(late):
        parts = []
        for one in late.itertuples():
            side = "before" if one.ahead > 0 else "behind"
            part = f"trial {one.number}, {one.rank:,} of {one.reached:,} at epoch {one.rung}, came {number(abs(one.ahead))} nats {side} the winner"
            parts.append(part + ", which is within what seeds vary" * (0 < one.ahead <= one.margin))
        words += f"; of the paused trials that were trained to their end, {listed(parts)}"
        before = late["ahead"] > 0
        if (before & ((late["ahead"] > late["margin"]) | (chance <= 0.05))).any():
            return words, False
        return words, None if (before & late["margin"].isna()).any() else True
    if chance <= 0.05:
        return words, False
    if not stopped:
        return f"{words}; none stopped there", "nothing"
    return f"{words}; none of the paused was trained to its end", None


def _chance(n: int, rho: float) -> float:
    """Return the probability of so low a rank correlation of n pairs that correlate by 0.9."""
    random = np.random.default_rng(1)
    covariance = [[1.0, 0.9], [0.9, 1.0]]
    drawn = random.multivariate_normal([0, 0], covariance, size=(20_000, n))
    ranks = scipy.stats.rankdata(drawn, axis=1)
    spearman = [np.corrcoef(each.T)[0, 1] for each in ranks]
    return float((np.array(spearman) <= rho + 1e-9).mean())


def _holds(study: Study, figure: str) -> tuple[str, bool | str | None]:
    tested = {source: study.test(runs, "neg_elbo").mean for source, runs in study.confirmed.items()}
    tested = {source: mean for source, mean in tested.items() if math.isfinite(mean)}
    if len(tested) < 2:
        return "fewer than two configurations were tested", None
    orders = [
        " < ".join(map(str, own[:5])) + (" < …" if len(own) > 5 else "")
        for own in (list(tested), sorted(tested, key=tested.__getitem__))
    ]
    words = f"on validation trials {orders[0]}, on test trials {orders[1]}"
    ahead = [source for source, margin in study.margins.items() if margin.settled and margin.mean.mean < 0]
    if ahead:
        return f"{words}; trial {ahead[0]} is better on test by more than seeds vary", False
    if not any(math.isfinite(margin.mean.low) for margin in study.margins.values()):
        return f"{words}; fewer than three seeds give no interval", None
    behind = [source for source, margin in study.margins_of("objective").items() if margin.settled]
    if not behind:
        return f"{words}; seeds do not tell them from the best on validation, so no order is to hold", "nothing"
    for source in behind:
        if source not in study.margins or not study.margins[source].settled:
            return (
                f"{words}; validation sets trial {source} behind the best by more than seeds vary, and test does not",
                None,
            )
    return f"{words}; {plural(len(behind), 'trial')} behind the best by more than seeds vary on both", True


def _learned_out(study: Study, _: str) -> tuple[str, bool | None]:
    gains, epochs = [], study.epochs[study.epochs["repeat"]].sort_values("epoch")
    epochs = epochs[epochs["epoch"] > study.warmup]
    for runs in study.confirmed.values():
        for each in runs["number"]:
            curve = epochs.loc[epochs["number"] == each, "objective"].to_numpy(float)
            if len(curve) >= 10:
                gains.append(curve[: -max(1, round(len(curve) / 10))].min() - curve.min())
    if not gains:
        return "no confirmed run has enough epochs", None
    little = max(0.001 * abs(study.best_runs["objective"].mean()), np.nan_to_num(study.seed_spread))
    words = f"the last tenth of their epochs lowered the best value by {number(np.mean(gains))} nats on average over {plural(len(gains), 'run')}"
    for title, gap in study.baseline_gaps.items():
        settings = study.settings_of(title)
        usual = max(int(runs["epochs"].max()) for runs in study.confirmed.values())
        if {*settings} == {"epochs"} and settings["epochs"] > usual and math.isfinite(gap.mean.low):
            side = "below" if gap.mean.mean < 0 else "above"
            words += f"; with more epochs the best is {number(abs(gap.mean.mean))} nats {side} itself on test"
            words += f" ({evidence(gap.mean, gap.p_holm, gap.tests)})"
            return words, not (gap.settled and gap.mean.mean < 0)
    if np.mean(gains) > little:
        return words, False
    if study.report.setting("train", "schedule") == "cosine":
        return (
            f"{words}; the learning rate falls to 0 at the end, so that every run ends flat, learned out or not",
            None,
        )
    return words, True
