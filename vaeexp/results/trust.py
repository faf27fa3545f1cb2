"""Whether a study can be trusted: the checks that experienced tuners make, each with its number and what to do."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from sweeps.errors import masked
from sweeps.study.ranges import BEST, LEAST_RANKED, Bound, end_of, has_ends
from vaeexp.results import grown_words, hit_words, widening_option
from vaeexp.results.course import LEAST_COMPARED, compared_course
from vaeexp.results.new_seeds import PURPOSES, failure_words, failures_of
from vaeexp.results.pruner_replay import LEAST, rank_correlations
from vaeexp.results.slow_learners import LateTrial, RungRanks, late_trials, later_rungs, rung_ranks, spread_over_seeds
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import column, finite
from vaeexp.results.tested_settings import BaselineMargin
from vaeexp.results.verdict import REMEDIES
from vaeexp.schedules import SCHEDULES
from vaeexp.words import (
    format_interval_and_p,
    format_number,
    format_reach,
    format_share,
    format_value,
    join_and,
    parameter_label,
    plural,
)

LAST = 0.1
"""Share of a run's epochs, its last ones, that should gain little."""
SHOWN = 3
"""Configurations with a failed seed that are named."""
FAIR_CORRELATION = 0.7
"""Rank correlation with the end from which an epoch is a fair guess of it."""
_BUDGET = ("--trials", "--seconds")
"""Options of `vaeexp sweep` that an advice gives anew."""


BOUNDS = "Are the best configurations inside the searched ranges?"
CheckVerdict = Literal["good", "warning", "unknown", "nothing"]
"""`unknown`: the study has what the check looks at, and does not tell; `nothing`: it has nothing that the check looks at."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question about a study, with its answer."""

    name: str
    """The question, in a few words."""
    figure: str
    """The answer in words with its numbers, without a full stop."""
    verdict: CheckVerdict
    advice: str
    """One line of what to do, with a command where one helps; empty where there is nothing to do."""


def check_study(view: StudyView) -> list[Check]:
    """Return the checks of a study in any state: the warnings of its plan, then always the same ones in the same order.

    With two objectives there are the warnings alone, because all other checks are of one objective.
    """
    warnings = [_planned(warning) for warning in view.study.provenance.get("warnings", ())]
    if view.front is not None:
        return warnings
    return [
        *warnings,
        at_bounds(view),
        levelled_off(view),
        seeds_against_configurations(view),
        pruner_kept_winners(view),
        seeds_trained(view),
        validation_holds_on_test(view),
        learned_out(view),
    ]


def failed_checks(view: StudyView) -> list[str]:
    """Return the checks that failed, each as its question, its answer and what to do."""
    return [
        f"{check.name} {check.figure}. {check.advice}".rstrip()
        for check in check_study(view)
        if check.verdict == "warning"
    ]


def _planned(warning: str) -> Check:
    """Return a warning that stood in the plan of the study, as a check that failed."""
    return Check(
        name="Are data and settings what they are meant to be?",
        figure=warning.rstrip("."),
        verdict="warning",
        advice="",
    )


def _good_if(good: bool) -> CheckVerdict:
    return "good" if good else "warning"


# ---- bounds ----


def at_bounds(view: StudyView) -> Check:
    """Check that the best configurations lie inside what was searched: that they do not pile up at an end (`hits_of`), and that the winner
    lies at none.

    Where the search has settled at an end, or the winner alone lies there, it cannot be told whether beyond is better.
    """
    name = BOUNDS
    with_ends = [parameter for parameter in view.parameters.values() if has_ends(parameter)]
    if not with_ends:
        return Check(name=name, figure="no range and no list of numbers was searched", verdict="nothing", advice="")
    steps = [grown_words(growth, parameter_label(growth.parameter)) for growth in view.study.grown]
    grown = f"; the search {join_and(steps)}" if steps else ""
    hits = [hit for hit in view.hits if hit.told] or view.hits
    told = any(hit.told for hit in hits)
    winners = {} if told else view.winner_ends
    if hits or winners:
        ends = {**winners, **{hit.parameter: hit.bound for hit in hits}}
        words = [hit_words(hit, view.parameters[hit.parameter], parameter_label(hit.parameter)) for hit in hits]
        words += [_winner_words(view, name, bound) for name, bound in winners.items()]
        why = "" if told else "; whether beyond is better cannot be told"
        why += ", because the search has settled there" if hits and not told else ""
        figure = f"{join_and(words)}{why}{grown}"
        return Check(name=name, figure=figure, verdict="warning" if told else "unknown", advice=_widen(view, ends))
    counts = {parameter.name: int(parameter.of(view.found).notna().sum()) for parameter in with_ends}
    few = [parameter_label(name) for name, count in counts.items() if count < LEAST_RANKED]
    if len(few) == len(with_ends):
        figure = f"{plural(max(counts.values()), 'trial')} that can be ranked, too few to tell"
        return Check(name=name, figure=figure, verdict="unknown", advice=_more_trials(view))
    figure = f"the best {BEST} trials pile up at no end, and the winner lies at none{grown}"
    figure += f"; too few trials have {join_and(few)}" if few else ""
    return Check(name=name, figure=figure, verdict="good", advice="")


def _winner_words(view: StudyView, name: str, bound: Bound) -> str:
    """Say `the winner has latent size = 60, at the upper end, 64`."""
    value = None if view.best_trial is None else view.params(view.best_trial)[name]
    shown, end = format_value(value), format_value(end_of(view.parameters[name], bound))
    at = f"the {bound} end" if shown == end else f"at the {bound} end, {end}"
    return f"the winner has {parameter_label(name)} = {shown}, {at}"


def _widen(view: StudyView, ends: Mapping[str, Bound]) -> str:
    """Return the advice to search beyond these ends; with a list among them in a new study, because no trial of the old list fits a longer one."""
    options = [option for name, bound in ends.items() if (option := widening_option(view.parameters[name], bound))]
    if not options:
        return "No value lies beyond, so there is nothing to widen"
    if any(view.parameters[name].is_choice for name in ends):
        wider = f"{_sweep(view, '--name')} --name {shlex.quote(f'{view.name}_wider')} {' '.join(options)}"
        return f"Search further in a new study: {wider}"
    return f"Widen the range and search on: {_search_on(view)} {' '.join(options)} --extend"


# ---- the course of the search ----


def levelled_off(view: StudyView) -> Check:
    """Check that the last third of the trials lowered the best value at equal epochs by less than it varies over seeds (`compared_course`).

    It cannot be said where seeds make up more than a tenth of the variance of the trials: no gain that matters would be seen.
    """
    name, course = "Has the search levelled off?", compared_course(view)
    if course is None:
        figure = f"fewer than {LEAST_COMPARED} trials reached an epoch together, too few to tell"
        return Check(name=name, figure=figure, verdict="unknown", advice=_more_trials(view))
    at = f"{course.n:,} complete trials" if course.epoch is None else f"{course.n:,} trials at epoch {course.epoch}"
    figure = f"the last third of {at} lowered the best value by {format_number(course.gain)} nats"
    if math.isnan(course.spread):
        figure += "; the spread over seeds is not known"
        return Check(name=name, figure=figure, verdict="unknown", advice=_confirm(view, top=3, seeds=3))
    figure += f"; seeds vary by {format_number(course.spread)}"
    if not course.resolved:
        figure += f" and all trials by {format_number(course.among)} (standard deviations), too little more to tell"
        return Check(name=name, figure=figure, verdict="unknown", advice="")
    ok = course.gain <= course.spread
    return Check(name=name, figure=figure, verdict=_good_if(ok), advice="" if ok else _more_trials(view))


def seed_spread(view: StudyView) -> float:
    """Return the standard deviation of the validation objective over seeds, pooled over the confirmed configurations, nats; NaN without."""
    return spread_over_seeds(view)[0]


def seeds_against_configurations(view: StudyView) -> Check:
    """Check that trials differ by more than seeds do at equal epochs: seeds make up at most a tenth of their variance.

    The best ten alone are no measure: where a search has done its work, they are equally good.
    """
    name, course = "Do configurations differ by more than seeds?", compared_course(view)
    if math.isnan(seed_spread(view)):
        figure, advice = "no configuration was confirmed with two seeds or more", _confirm(view, top=3, seeds=3)
        return Check(name=name, figure=figure, verdict="unknown", advice=advice)
    if course is None or math.isnan(course.spread):
        figure = f"fewer than {LEAST_COMPARED} trials reached an epoch together, too few to tell"
        return Check(name=name, figure=figure, verdict="unknown", advice=_more_trials(view))
    ok = course.resolved
    at = "" if course.epoch is None else f" at epoch {course.epoch}"
    best = format_number(float(course.best.std(ddof=1)))
    figure = f"seeds vary by {format_number(course.spread)} nats, {course.n:,} trials by {format_number(course.among)}"
    figure += f", the best {len(course.best)} of them by {best} (standard deviations{at})"
    advice = "" if ok else _confirm(view, top=5, seeds=5, more=True)
    return Check(name=name, figure=figure, verdict=_good_if(ok), advice=advice)


# ---- the pruner ----


def pruner_kept_winners(view: StudyView) -> Check:
    """Check that the pruner, replayed on the recorded curves with all of them known, lets the best quarter (ten trials at most) pass.

    Of a study that pauses trials, the paused ones that were trained to their end say so, else how well the first rung ranks (`slow_learners`).
    """
    name = "Would the pruner have stopped the winners?"
    if (ranks := rung_ranks(view)) is not None:
        return _paused_winners(view, name, ranks)
    replay, correlations = view.replay, rank_correlations(view.curves, view.warmup)
    course = _correlation_words(correlations)
    if replay is None:
        rule = (view.study.spec.get("pruner") or {}).get("name")
        ruled = rule not in (None, "none")
        why = f"fewer than {LEAST} complete trials to replay" if ruled else "the study prunes nothing"
        why = "no trial has reached a rung" if rule == "promotion" else why
        return Check(name=name, figure=f"{why}{course}", verdict="unknown", advice="")
    stopped, top = replay.stopped, replay.winners
    present = "" if replay.present is None else f" with {replay.setting} = {replay.present}"
    figure = f"{stopped} of the best {top} trials, replayed{present}{course}"
    if replay.recommended is None:
        advice = f"No {replay.setting} spares them all. Search on without: {_search_on(view)} --set pruner.name=none --extend"
        return Check(name=name, figure=figure, verdict=_good_if(stopped == 0), advice="" if stopped == 0 else advice)
    saved = f"would have saved {format_share(replay.saved)} of the complete trials' epochs"
    figure += f"; {replay.setting} = {replay.recommended} spares them all and {saved}"
    ok = stopped == 0
    advice = (
        f"Search on with more patience: {_search_on(view)} --set pruner.{replay.setting}={replay.recommended} --extend"
    )
    return Check(name=name, figure=figure, verdict=_good_if(ok), advice="" if ok else advice)


def _paused_winners(view: StudyView, name: str, ranks: RungRanks) -> Check:
    """Answer of a study that pauses trials."""
    late, rho, epochs = late_trials(view), ranks.correlation, int(view.fixed("epochs") or 0)
    course = f"at epoch {ranks.epoch}, where {ranks.stopped:,} of {plural(ranks.reached, 'trial')} stopped, "
    if math.isnan(ranks.chance):
        course += f"ranks cannot be compared with those at the end over {plural(rho.n, 'complete trial')}"
    else:
        reach = f" (95 % interval {format_reach(rho)})" if math.isfinite(rho.low) else ""
        course += f"ranks correlate with those at the end by {format_number(rho.mean)}{reach} over {plural(rho.n, 'complete trial')}"
    later = later_rungs(view.study.spec["pruner"]["rungs"], epochs)
    option = f"pruner.rungs={later}" if later else "pruner.name=none"
    if ended := [one for one in late if math.isfinite(one.value)]:
        figure = f"{course}; of the paused trials that were trained to their end, {join_and([_late_words(one) for one in ended])}"
        if any(one.settled or (one.before_winner and ranks.weak) for one in ended):
            advice = f"Pause later, and search on: {_search_on(view)} --set {shlex.quote(option)} --extend"
            return Check(name=name, figure=figure, verdict="warning", advice=advice)
        unknown = any(one.before_winner and math.isnan(one.ahead.low) for one in ended)
        advice = _confirm(view, top=3, seeds=3) if unknown else ""
        return Check(name=name, figure=figure, verdict="unknown" if unknown else "good", advice=advice)
    planned = " " if view.study.spec.get("confirm") else " --set confirm.top=3 --set confirm.seeds=3 "
    test = f"{_sweep(view)}{planned}--set confirm.late=3 --extend"
    if ranks.weak:
        advice = f"Train the paused ones that fell most to their end, or pause later ({option}): {test}"
        return Check(name=name, figure=course, verdict="warning", advice=advice)
    if not ranks.stopped:
        return Check(name=name, figure=f"{course}; none stopped there", verdict="nothing", advice="")
    advice = f"Train the paused ones that fell most to their end: {test}"
    return Check(
        name=name, figure=f"{course}; none of the paused was trained to its end", verdict="unknown", advice=advice
    )


def _late_words(one: LateTrial) -> str:
    side = "before" if one.before_winner else "behind"
    words = f"trial {one.number}, {one.rank:,} of {one.reached:,} at epoch {one.rung}, came {format_number(abs(one.ahead.mean))} nats {side} the winner"
    return f"{words}, which is within what seeds vary" if one.before_winner and one.ahead.low <= 0 else words


def _correlation_words(correlations: pd.Series) -> str:
    """Say how well early epochs rank the complete trials as the last one does; empty where too few have the same length."""
    if correlations.empty:
        return ""
    early = int(correlations.index[max(1, round(len(correlations) / 5)) - 1])
    fair = next(
        (epoch for epoch in correlations.index if (correlations.loc[epoch:] >= FAIR_CORRELATION).all()),
        None,
    )
    text = (
        f"; the ranks at epoch {early} correlate with the last ones by {format_number(float(correlations.loc[early]))}"
    )
    return text + (f", by {FAIR_CORRELATION} or more from epoch {fair} on" if fair is not None else "")


# ---- confirmation and test ----


def seeds_trained(view: StudyView) -> Check:
    """Check that every run with a fresh seed trained to its end. A seed that failed is missing from each mean, which is then too good."""
    name = "Did every new seed train?"
    failed = [seeds for seeds in view.new_seeds if seeds.failed]
    runs = view.trials[view.trials["repeat"]]
    runs = runs[runs["purposes"].map(lambda purposes: bool({*purposes} & {*PURPOSES})).astype(bool)]
    if not failed:
        planned, complete = (sum(getattr(each, n) for each in view.new_seeds) for n in ("planned", "complete"))
        if not planned:
            return Check(name=name, figure="no run with a fresh seed was trained", verdict="nothing", advice="")
        if complete < planned and not view.study.finished:
            figure = f"{complete:,} of {planned:,} are complete, and none failed"
            return Check(name=name, figure=figure, verdict="unknown", advice=f"Let the study finish: {_sweep(view)}")
        return Check(name=name, figure=f"all {len(runs):,} did", verdict="good", advice="")
    failures = failures_of(runs)
    parts = [failure_words(failures, len(runs)), *(f"{each.title}: {each.failed} of {each.planned}" for each in failed)]
    more = f"; and {plural(len(failed) - SHOWN, 'more configuration')}" if len(failed) > SHOWN else ""
    remedy = REMEDIES.get(failures[0].kind, REMEDIES["error"])
    return Check(name=name, figure="; ".join(parts[: SHOWN + 1]) + more, verdict="warning", advice=remedy.rstrip("."))


def validation_holds_on_test(view: StudyView) -> Check:
    """Check that the confirmed configurations that validation sets behind the best are behind it on test, too, by more than seeds vary.

    Where validation sets none behind it, no order is to hold.
    """
    name = "Does the validation optimum hold on test?"
    confirm = _confirm(view, top=3, seeds=3)
    tested = {
        setting.source_trial: float(np.mean(values))
        for setting in view.confirmed
        if len(values := finite(column(setting.runs, "result.test/neg_elbo")))
    }
    if len(tested) < 2:
        figure = "fewer than two configurations were tested"
        return Check(name=name, figure=figure, verdict="unknown", advice=confirm)
    figure = f"on validation {_order(list(tested))}, on test {_order(sorted(tested, key=tested.__getitem__))}"
    on_test = {margin.source_trial: margin for margin in view.margins}
    more_seeds = _confirm(view, top=2, seeds=5, more=True)
    ahead = [source for source, margin in on_test.items() if margin.settled and margin.interval.mean < 0]
    if ahead:
        figure += f"; trial {ahead[0]} is better on test by more than seeds vary"
        return Check(name=name, figure=figure, verdict="warning", advice=more_seeds)
    if not any(math.isfinite(margin.interval.low) for margin in on_test.values()):
        figure += "; fewer than three seeds give no interval"
        return Check(name=name, figure=figure, verdict="unknown", advice=confirm)
    behind = [margin.source_trial for margin in view.validation_margins if margin.settled]
    if not behind:
        figure += "; seeds do not tell them from the best on validation, so no order is to hold"
        return Check(name=name, figure=figure, verdict="nothing", advice="")
    open_ = [source for source in behind if source not in on_test or not on_test[source].settled]
    if open_:
        figure += f"; validation sets trial {open_[0]} behind the best by more than seeds vary, and test does not"
        return Check(name=name, figure=figure, verdict="unknown", advice=more_seeds)
    figure += f"; {plural(len(behind), 'trial')} behind the best by more than seeds vary on both"
    return Check(name=name, figure=figure, verdict="good", advice="")


def _order(trials: Sequence[int | None]) -> str:
    shown = " < ".join(str(trial) for trial in trials[:5])
    return f"trials {shown}" + (" < …" if len(trials) > 5 else "")


def learned_out(view: StudyView) -> Check:
    """Check that the last tenth of their epochs gained the confirmed runs less than seeds vary, and less than 0.1 % of the objective.

    Under a schedule that lets the learning rate fall to 0 every run ends flat. Then, and better in any case, a baseline
    that is the best configuration with more epochs answers: whether it is better on test, by the corrected test.
    """
    name = "Are the confirmed runs learned out?"
    gains = [gain for setting in view.confirmed for gain in late_gains(view, setting.runs)]
    if not gains:
        return Check(name=name, figure="no confirmed run has enough epochs", verdict="unknown", advice="")
    gain, spread = float(np.mean(gains)), seed_spread(view)
    little = max(0.001 * abs(float(view.confirmed[0].value)), spread if math.isfinite(spread) else 0.0)
    figure = f"the last tenth of their epochs lowered the best value by {format_number(gain)} nats on average"
    figure += f" over {plural(len(gains), 'run')}"
    epochs = 2 * int(view.confirm_runs["epochs"].max())
    row = shlex.quote(f"baselines.longer={{at: best, settings: {{epochs: {epochs}}}}}")
    advice = f"Train the best for twice as long beside it: {_sweep(view)} --set {row} --extend"
    longer = _longer(view)
    if longer is not None:
        side = "below" if longer.interval.mean < 0 else "above"
        figure += (
            f"; with more epochs the best is {format_number(abs(longer.interval.mean))} nats {side} itself on test"
        )
        if math.isfinite(longer.interval.low):
            figure += f" ({format_interval_and_p(longer.interval, longer.p_holm, longer.tests)})"
            ok = not (longer.settled and longer.interval.mean < 0)
            advice = f"Train longer: {_sweep(view, '--name')} --name {shlex.quote(f'{view.name}_longer')} --set train.epochs={epochs}"
            return Check(name=name, figure=figure, verdict=_good_if(ok), advice="" if ok else advice)
    if gain > little:
        return Check(name=name, figure=figure, verdict="warning", advice=advice)
    configurations = [view.params(run) for _, run in view.confirm_runs.iterrows()]
    schedules = {params.get("schedule", view.fixed("schedule") or "constant") for params in configurations}
    if any(SCHEDULES[schedule].to_zero for schedule in schedules):
        figure += "; the learning rate falls to 0 at the end, so that every run ends flat, learned out or not"
        return Check(name=name, figure=figure, verdict="unknown", advice=advice)
    return Check(name=name, figure=figure, verdict="good", advice="")


def _longer(view: StudyView) -> BaselineMargin | None:
    """Return the margin of a baseline that is the best configuration with more epochs; None without one."""
    usual = view.confirm_runs["epochs"].max()
    for margin in view.baseline_margins:
        settings = view.baseline_specs[margin.baseline].get("settings") or {}
        if {*settings} == {"epochs"} and settings["epochs"] > usual and margin.source_trial == view.best_number:
            return margin
    return None


def late_gains(view: StudyView, runs: pd.DataFrame) -> list[float]:
    """Return by how much the last tenth of the epochs lowered the best value of each run, nats; without runs of under ten epochs."""
    gains = []
    epochs = view.epochs[view.epochs["repeat"] & (view.epochs["epoch"] > view.warmup)]
    for number in runs["number"]:
        curve = epochs.loc[epochs["number"] == number].sort_values("epoch")["objective"].to_numpy(float)
        last = max(1, round(LAST * len(curve)))
        if len(curve) >= 10 and np.isfinite(curve).all():
            gains.append(float(curve[:-last].min() - curve.min()))
    return gains


# ---- commands ----


def _sweep(view: StudyView, *without: str) -> str:
    """Return the command that ran the study, as it was recorded, without its budget and without these options."""
    command = masked(str(view.study.provenance.get("command") or ""))
    words = shlex.split(command or f"vaeexp sweep {shlex.quote(view.name)}")
    arguments: list[str] = []
    for index, word in enumerate(words):
        dropped = (*_BUDGET, *without)
        if word not in dropped and (index == 0 or words[index - 1] not in dropped):
            arguments.append(word)
    return shlex.join(arguments)


def _search_on(view: StudyView) -> str:
    """Return the command that goes on searching, with twice the budget."""
    budget = {name: limit for name, limit in view.study.budget.items() if limit}
    budget = budget or {"trials": len(view.search)}
    forms = {"trials": "--trials {:.0f}", "seconds": "--seconds {:.0f}"}
    least = {"trials": LEAST_COMPARED}
    limits = [
        forms.get(name, f"--set budget.{name}={{:.0f}}").format(2 * max(limit, least.get(name, 0)))
        for name, limit in budget.items()
    ]
    return " ".join([_sweep(view), *limits])


def _more_trials(view: StudyView) -> str:
    if view.all_failed:
        return "First do what the answer says: no trial can be trained as it is"
    return f"Search on: {_search_on(view)}"


def _confirm(view: StudyView, *, top: int, seeds: int, more: bool = False) -> str:
    """Return the advice to confirm this many configurations with this many seeds, or twice the seeds where the study has them."""
    if view.nothing_learned:
        return "First do what the answer says: there is nothing to confirm"
    plan = view.study.spec.get("confirm") or {}
    top, wanted = max(top, int(plan.get("top") or 0)), max(seeds, int(plan.get("seeds") or 0))
    if more and wanted == plan.get("seeds"):
        wanted *= 2
    if {"top": top, "seeds": wanted} == {name: plan.get(name) for name in ("top", "seeds")}:
        if not view.study.finished:
            return f"Let the study finish, which confirms them: {_sweep(view)}"
        if any(seeds.failed for seeds in view.new_seeds):
            return "First mend what made new seeds fail"
        return _more_trials(view)
    what = f"{top} configurations with {wanted} fresh seeds each"
    return f"Confirm {what}: {_sweep(view)} --set confirm.top={top} --set confirm.seeds={wanted} --extend"
