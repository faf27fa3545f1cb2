"""Whether a study can be trusted: the checks that experienced tuners make, each as statements with
what to do.
"""

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sweeps import BEST, LEAST_RANKED, Bound, end_of, has_ends, masked
from vaeexp.results import grown, piled_up, widening_option
from vaeexp.results.broken_seeds import LOW_RATE, broken_runs, broken_statements, winner_rate
from vaeexp.results.course import LEAST_COMPARED, compared_course
from vaeexp.results.new_seeds import PURPOSES, failed_seeds, failures_of
from vaeexp.results.slow_learners import (
    LateTrial,
    RungRanks,
    late_trials,
    later_rungs,
    rung_ranks,
    spread_over_seeds,
)
from vaeexp.results.statements import NATS, Figure, Statement, Statements, say
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import with_purpose
from vaeexp.results.tested_settings import BaselineMargin, winner_margins
from vaeexp.results.verdict import LAST, remedy
from vaeexp.schedules import SCHEDULES
from vaeexp.words import format_value, parameter_label

_BUDGET = ("--trials", "--seconds")
"""Options of `vaeexp sweep` that an advice sets itself."""

CheckVerdict = Literal["good", "warning", "unknown", "nothing"]
"""`unknown`: the study has what the check looks at, and does not tell; `nothing`: it has nothing
that the check looks at.
"""


@dataclass(frozen=True)
class Check:
    """One question about a study, with its answer."""

    id: str
    """Of its question in `vaeexp.report.templates.QUESTIONS`."""
    verdict: CheckVerdict
    found: Statements
    """The answer."""
    further: Statements = ()
    """What is known besides."""
    advice: Statement | None = None
    """What to do; its value `command` is a command that helps, where there is one."""

    @property
    def command(self) -> str | None:
        """Return the command of the advice."""
        return None if self.advice is None else self.advice.values.get("command")


def check_study(view: StudyView) -> list[Check]:
    """Return the checks of a study in any state: the warnings of its plan, then always the same
    ones in the same order.

    With two objectives there are the warnings alone, because all other checks are of one objective.
    """
    warnings = [
        Check("plan", "warning", _one("check.planned", warning=warning.rstrip(".")))
        for warning in view.study.provenance.get("warnings", ())
    ]
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
        *code_used(view),
    ]


def _one(name: str, **values: Any) -> Statements:
    return (say(name, **values),)


def _nats(value: float) -> Figure:
    return Figure(float(value), unit=NATS)


def _judged(
    name: str, good: bool, found: Statements, advice: Statement, further: Statements = ()
) -> Check:
    """Return a check that is good, or warns and gives the advice."""
    return (
        Check(name, "good", found, further)
        if good
        else Check(name, "warning", found, further, advice)
    )


# ---- bounds ----


def at_bounds(view: StudyView) -> Check:
    """Check that the best configurations lie inside what was searched: that they do not pile up at
    an end (`hits_of`), and that the winner lies at none.

    Where the search has settled at an end, or the winner alone lies there, it cannot be told
    whether beyond is better.
    """
    with_ends = [parameter for parameter in view.plan.parameters.values() if has_ends(parameter)]
    if not with_ends:
        return Check("bounds", "nothing", _one("check.no_range"))
    steps = tuple(grown(growth, parameter_label(growth.parameter)) for growth in view.study.grown)
    hits = [hit for hit in view.influence.hits if hit.told] or view.influence.hits
    told = any(hit.told for hit in hits)
    winners = {} if told else view.influence.winner_ends
    if hits or winners:
        ends = {**winners, **{hit.parameter: hit.bound for hit in hits}}
        piles = [
            piled_up(hit, view.plan.parameters[hit.parameter], parameter_label(hit.parameter))
            for hit in hits
        ]
        found = (*piles, *(_winner_at(view, name, bound) for name, bound in winners.items()))
        if told:
            return Check("bounds", "warning", found, steps, _widen(view, ends))
        beyond = all(said.id == "check.winner_beyond" for said in found)
        reason = "check.settled" if hits else "check.beyond_unknown"
        open_ = () if beyond else _one(reason)
        return Check("bounds", "unknown", found, (*open_, *steps), _widen(view, ends))
    counts = {
        parameter.name: int(parameter.of(view.found).notna().sum()) for parameter in with_ends
    }
    few = tuple(parameter_label(name) for name, count in counts.items() if count < LEAST_RANKED)
    if len(few) == len(with_ends):
        found = _one("check.few_ranked", trials=max(counts.values()))
        return Check("bounds", "unknown", found, advice=_more_trials(view))
    further = (*steps, *(_one("check.few_have", parameters=few) if few else ()))
    return Check("bounds", "good", _one("check.inside", best=BEST), further)


def _winner_at(view: StudyView, name: str, bound: Bound) -> Statement:
    """Say which value the winner has, and the end that it lies at, where this is another number;
    or beyond which it lies, where --extend narrowed the range.
    """
    value = None if view.best_trial is None else view.plan.params(view.best_trial)[name]
    last = end_of(view.plan.parameters[name], bound)
    shown, end = format_value(value), format_value(last)
    if shown != end and value is not None and (value > last if bound == "upper" else value < last):
        said = {"parameter": parameter_label(name), "value": shown, "bound": bound, "end": end}
        return say("check.winner_beyond", **said)
    return say(
        "check.winner_at_end",
        parameter=parameter_label(name),
        value=shown,
        bound=bound,
        end=None if shown == end else end,
    )


def _widen(view: StudyView, ends: Mapping[str, Bound]) -> Statement:
    """Return the advice to search beyond these ends."""
    fragile = [name for name, bound in ends.items() if diverges_beyond(view, name, bound)]
    options = [
        option
        for name, bound in ends.items()
        if name not in fragile
        if (option := widening_option(view.plan.parameters[name], bound))
    ]
    if fragile and not options:
        return say("advice.diverges", parameters=tuple(map(parameter_label, fragile)))
    if not options:
        return Statement("advice.no_wider")
    return _do("widen", f"{_search_on(view)} {' '.join(options)} --extend")


def diverges_beyond(view: StudyView, name: str, bound: Bound) -> bool:
    """Tell whether runs diverge on this side of a parameter: in a named region of the search, or
    new seeds of settings that lie, by their median, in that half of what was searched.
    """
    side = "above" if bound == "upper" else "below"
    if any(each.parameter == name and each.side == side for each in view.influence.divergences):
        return True
    repeats = with_purpose(view.trials, *PURPOSES)
    failed = repeats[(repeats["state"] == "failed") & (repeats["failure"] == "diverged")]
    parameter = view.plan.parameters[name]
    place = parameter.places(failed).median() / max(1, len(parameter.texts) - 1)
    return bool(place > 0.5 if bound == "upper" else place < 0.5)


# ---- the course of the search ----


def levelled_off(view: StudyView) -> Check:
    """Check that the last third of the trials lowered the best value at equal epochs by less than
    it varies over seeds (`compared_course`).

    It cannot be said where seeds make up more than a tenth of the variance of the trials: no gain
    that matters would be seen.
    """
    course = compared_course(view)
    if course is None:
        return _few_together(view, "levelled_off")
    kind = "check.gain" if course.epoch is None else "check.gain_at_epoch"
    found = _one(kind, trials=course.n, epoch=course.epoch, gain=_nats(course.gain))
    if math.isnan(course.spread):
        found += _one("check.spread_unknown")
        return Check("levelled_off", "unknown", found, advice=_confirm(view, top=3, seeds=3))
    if not course.resolved:
        found += _one("check.seeds_hide", spread=_nats(course.spread), among=_nats(course.among))
        return Check("levelled_off", "unknown", found)
    found += _one("check.seeds_vary", spread=_nats(course.spread))
    return _judged("levelled_off", course.gain <= course.spread, found, _more_trials(view))


def _few_together(view: StudyView, check: str) -> Check:
    found = _one("check.few_together", least=LEAST_COMPARED)
    return Check(check, "unknown", found, advice=_more_trials(view))


def seeds_against_configurations(view: StudyView) -> Check:
    """Check that configurations differ by more than seeds do.

    They do where a parameter has a sure cost at the end, where complete trials spread wider than
    seeds, or where at equal epochs seeds make up at most a tenth of the variance of the trials.
    After a search that did its work the complete trials are equally good: so what is sure at an
    earlier epoch leaves it open.
    """
    spread, freedom = spread_over_seeds(view)
    if not freedom:
        return Check(
            "seeds", "unknown", _one("check.none_confirmed"), advice=_confirm(view, top=3, seeds=3)
        )
    course = compared_course(view)
    values = view.ranked["objective"].to_numpy(float)
    if course is None and len(values) < LEAST_COMPARED:
        return _few_together(view, "seeds")
    found = _one(
        "check.variation",
        spread=_nats(spread),
        complete=len(values),
        at_end=_nats(np.std(values, ddof=1)) if len(values) > 1 else None,
        trials=course and course.n,
        epoch=course and course.epoch,
        among=course and _nats(course.among),
        early=course and _nats(course.spread),
    )
    last = int(view.plan.fixed("epochs") or view.ranked["epochs"].max())
    costs = {pair.parameter: last for pair in view.pairs if pair.better is not None}
    for effect in view.influence.equal_epochs:
        if effect.behind.low > 0:
            costs.setdefault(effect.parameter, effect.epoch)
    further = tuple(
        say("check.sure_cost", parameter=parameter_label(name), epoch=epoch)
        for name, epoch in costs.items()
    )
    sure = last in costs.values() or _wider(values, spread, freedom)
    if sure or (course and course.resolved):
        return Check("seeds", "good", found, further)
    advice = _confirm(view, top=5, seeds=5, more=True)
    return Check("seeds", "unknown" if costs else "warning", found, further, advice)


def _wider(values: np.ndarray, spread: float, freedom: int) -> bool:
    """Tell whether trials vary more than seeds do, by the F test of two variances at 1 %."""
    if len(values) < 2:
        return False
    # The distribution of F; `scipy.stats` takes half a second to import.
    from scipy.special import fdtrc

    ratio = float(values.var(ddof=1)) / max(spread**2, 1e-300)
    return float(fdtrc(len(values) - 1, freedom, ratio)) <= 0.01


# ---- the pruner ----


def pruner_kept_winners(view: StudyView) -> Check:
    """Check that the pruner lets the best trials pass, in a study that pauses trials: the paused
    ones that were trained to their end say so, else how well the first rung ranks
    (`slow_learners`).
    """
    if (ranks := rung_ranks(view)) is not None:
        return _paused_winners(view, ranks)
    rule = (view.study.spec.get("pruner") or {}).get("name") or "none"
    why = {"none": "check.no_pruner", "promotion": "check.no_rung"}
    verdict: CheckVerdict = "unknown" if rule in why else "nothing"
    return Check("pruner", verdict, _one(why.get(rule, "check.not_paused")))


def _paused_winners(view: StudyView, ranks: RungRanks) -> Check:
    """Answer of a study that pauses trials."""
    unknown = math.isnan(ranks.chance)
    found = _one(
        "check.rung_unranked" if unknown else "check.rung_ranks",
        epoch=ranks.epoch,
        stopped=ranks.stopped,
        reached=ranks.reached,
        complete=ranks.correlation.n,
        correlation=None if unknown else Figure.of(ranks.correlation, unit=""),
    )
    later = later_rungs(view.plan.rungs, int(view.plan.fixed("epochs") or 0))
    option = f"pruner.rungs={later}" if later else "pruner.name=none"
    if ended := [one for one in late_trials(view) if math.isfinite(one.value)]:
        further = tuple(map(_late_trial, ended))
        if any(one.settled or (one.before_winner and ranks.weak) for one in ended):
            advice = _do("pause_later", f"{_search_on(view)} --set {shlex.quote(option)} --extend")
            return Check("pruner", "warning", found, further, advice)
        if any(one.before_winner and math.isnan(one.ahead.low) for one in ended):
            advice = _confirm(view, top=3, seeds=3)
            return Check("pruner", "unknown", found, further, advice)
        return Check("pruner", "good", found, further)
    planned = (
        " " if view.study.spec.get("confirm") else " --set confirm.top=3 --set confirm.seeds=3 "
    )
    test = f"{_sweep(view)}{planned}--set confirm.late=3 --extend"
    if ranks.weak:
        return Check("pruner", "warning", found, advice=_do("train_late", test, option=option))
    if not ranks.stopped:
        return Check("pruner", "nothing", found, further=_one("check.none_stopped"))
    advice = _do("train_late", test, option=None)
    return Check("pruner", "unknown", found, further=_one("check.none_late"), advice=advice)


def _late_trial(one: LateTrial) -> Statement:
    within = one.before_winner and one.ahead.low <= 0
    return say(
        "check.late_within" if within else "check.late",
        [one.number],
        rank=one.rank,
        reached=one.reached,
        rung=one.rung,
        winner=one.winner,
        trial=one.number,
        ahead=Figure.of(one.ahead),
    )


# ---- confirmation and test ----


def seeds_trained(view: StudyView) -> Check:
    """Check that every run with a fresh seed trained to its end, and none ended far outside
    (`broken_runs`). A seed that failed is missing from each mean, which is then too good.
    """
    seeds = view.retrained.new_seeds
    runs, broken = with_purpose(view.trials, *PURPOSES), broken_statements(view)
    if failures := failures_of(runs):
        further = [
            say("check.seeds_of", title=each.title, failed=each.failed, planned=each.planned)
            for each in seeds
            if each.failed
        ]
        found = failed_seeds(failures, len(runs))
        return Check("new_seeds", "warning", found, (*further, *broken), remedy(failures[0].kind))
    if broken:
        # The settings of a baseline are given: nothing that is searched mends its runs.
        own = [run for run in broken_runs(view) if run.purposes != {"baseline"}]
        kind = "collapsed" if own and own[0].collapsed else "diverged"
        advice = Statement(f"remedy.{kind}") if own else None
        return Check("new_seeds", "warning", broken[:1], broken[1:], advice)
    if runs.empty:
        return Check("new_seeds", "nothing", _one("check.no_seeds"))
    planned = sum(each.planned for each in seeds)
    complete = sum(each.complete for each in seeds)
    if complete < planned and not view.study.finished:
        found = _one("check.seeds_so_far", complete=complete, planned=planned)
        return Check("new_seeds", "unknown", found, advice=_do("finish", _sweep(view)))
    return Check("new_seeds", "good", _one("check.seeds_trained", runs=len(runs)))


def validation_holds_on_test(view: StudyView) -> Check:
    """Check that the confirmed configurations that validation sets behind the best are behind it on
    test, too, by more than seeds vary.

    Where validation sets none behind it, no order is to hold.
    """
    name = "on_test"
    tested = {
        setting.source_trial: setting.test("neg_elbo").mean
        for setting in view.confirmed
        if setting.test("neg_elbo").n
    }
    if len(tested) < 2:
        return Check(
            name, "unknown", _one("check.few_tested"), advice=_confirm(view, top=3, seeds=3)
        )
    orders = _one(
        "check.orders", validation=tuple(tested), test=tuple(sorted(tested, key=tested.__getitem__))
    )
    verdict, found, advice = _order_on_test(view)
    return Check(name, verdict, found, orders, advice)


def _order_on_test(view: StudyView) -> tuple[CheckVerdict, Statements, Statement | None]:
    """Return the verdict on two or more tested configurations, why, and what to do."""
    on_test = {margin.source_trial: margin for margin in view.retrained.margins}
    more_seeds = _confirm(view, top=2, seeds=5, more=True)
    ahead = [
        source for source, margin in on_test.items() if margin.settled and margin.interval.mean < 0
    ]
    if ahead:
        return "warning", _one("check.better_on_test", trial=ahead[0]), more_seeds
    if not any(math.isfinite(margin.interval.low) for margin in on_test.values()):
        return "unknown", _one("check.no_interval"), _confirm(view, top=3, seeds=3)
    behind = [
        margin.source_trial
        for margin in winner_margins(view.confirmed, view.retrained.race, metric="objective")
        if margin.settled
    ]
    if not behind:
        return "nothing", _one("check.no_order"), None
    open_ = [source for source in behind if source not in on_test or not on_test[source].settled]
    if open_:
        return "unknown", _one("check.open_on_test", trial=open_[0]), more_seeds
    return "good", _one("check.behind_on_both", trials=len(behind)), None


def learned_out(view: StudyView) -> Check:
    """Check that the last tenth of their epochs gained the confirmed runs less than seeds vary, and
    less than 0.1 % of the objective.

    Under a schedule that lets the learning rate fall to 0 every run ends flat. Then, and better in
    any case, a baseline that is the best configuration with more epochs answers: whether it is
    better on test, by the corrected test.
    """
    gains = late_gains(view)
    if not gains:
        return Check("learned_out", "unknown", _one("check.no_late_gain"))
    gain = float(np.mean(gains))
    spread = spread_over_seeds(view)[0]
    little = max(0.001 * abs(view.confirmed[0].value), spread if math.isfinite(spread) else 0.0)
    found = _one("check.late_gain", gain=_nats(gain), runs=len(gains))
    epochs = 2 * int(view.retrained.confirm_runs["epochs"].max())
    row = shlex.quote(f"baselines.longer={{at: best, settings: {{epochs: {epochs}}}}}")
    train_longer = _do("train_beside", f"{_sweep(view)} --set {row} --extend")
    further: Statements = ()
    longer = _longer(view)
    if longer is not None:
        further = _one("check.longer", gap=Figure.of(longer.interval), p_holm=longer.p_holm)
        if math.isfinite(longer.interval.low):
            ok = not (longer.settled and longer.interval.mean < 0)
            name = shlex.quote(f"{view.results.name}_longer")
            new = _do(
                "train_longer",
                f"{_sweep(view, '--name')} --name {name} --set train.epochs={epochs}",
            )
            return _judged("learned_out", ok, found, new, further)
    if gain > little:
        return Check("learned_out", "warning", found, further, train_longer)
    configurations = [view.plan.params(run) for _, run in view.retrained.confirm_runs.iterrows()]
    schedules = {
        params.get("schedule", view.plan.fixed("schedule") or "constant")
        for params in configurations
    }
    if any(SCHEDULES[schedule].to_zero for schedule in schedules):
        further += _one("check.rate_falls")
        return Check("learned_out", "unknown", found, further, train_longer)
    return Check("learned_out", "good", found, further)


def code_used(view: StudyView) -> list[Check]:
    """Check that the code of the winner says something of its input, where its rate is low."""
    rate = winner_rate(view)
    if not rate < LOW_RATE:
        return []
    found = _one("check.close", rate=_nats(rate))
    return [Check("code_used", "warning", found, advice=Statement("remedy.collapsed"))]


def _longer(view: StudyView) -> BaselineMargin | None:
    """Return the margin of a baseline that is the best configuration with more epochs; None without
    one.
    """
    usual = view.retrained.confirm_runs["epochs"].max()
    for margin in view.retrained.baseline_margins:
        settings = view.plan.baseline_specs[margin.baseline].get("settings") or {}
        if (
            {*settings} == {"epochs"}
            and settings["epochs"] > usual
            and margin.source_trial == view.best_number
        ):
            return margin
    return None


def late_gains(view: StudyView) -> list[float]:
    """Return by how much the last tenth of the epochs lowered the best value of each confirmed
    run, nats; without runs of under ten epochs.
    """
    gains = []
    epochs = view.epochs[view.epochs["repeat"] & (view.epochs["epoch"] > view.plan.warmup)]
    for number in view.retrained.confirm_runs["number"]:
        curve = (
            epochs.loc[epochs["number"] == number].sort_values("epoch")["objective"].to_numpy(float)
        )
        if len(curve) >= 10 and np.isfinite(curve).all():
            last = round(LAST * len(curve))
            gains.append(float(curve[:-last].min() - curve.min()))
    return gains


# ---- commands ----


def _sweep(view: StudyView, *without: str) -> str:
    """Return the command that ran the study, as it was recorded, without its budget and without
    these options.
    """
    command = masked(str(view.study.provenance.get("command") or ""))
    words = shlex.split(command or f"vaeexp sweep {shlex.quote(view.results.name)}")
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
    command = _sweep(view)
    for name, limit in budget.items():
        option = f"--{name} " if f"--{name}" in _BUDGET else f"--set budget.{name}="
        least = LEAST_COMPARED if name == "trials" else 0
        command += f" {option}{2 * max(limit, least):.0f}"
    return command


def _do(kind: str, command: str, **values: Any) -> Statement:
    return say(f"advice.{kind}", command=command, **values)


def _more_trials(view: StudyView) -> Statement:
    if view.verdict.all_failed:
        return Statement("advice.cannot_train")
    grid = view.study.spec.get("sampler", {}).get("name") == "grid"
    if grid and len(view.search) >= len(view.study.space.configurations()):
        return Statement("advice.grid_done")
    return _do("search_on", _search_on(view))


def _confirm(view: StudyView, *, top: int, seeds: int, more: bool = False) -> Statement:
    """Return the advice to confirm this many configurations with this many seeds, or twice the
    seeds where the study has them.
    """
    if view.verdict.nothing_learned:
        return Statement("advice.nothing_to_confirm")
    plan = view.study.spec.get("confirm") or {}
    top = max(top, int(plan.get("top") or 0))
    wanted = max(seeds, int(plan.get("seeds") or 0))
    if more and wanted == plan.get("seeds"):
        wanted *= 2
    if (top, wanted) == (plan.get("top"), plan.get("seeds")):
        if not view.study.finished:
            return _do("finish_confirming", _sweep(view))
        if any(seeds.failed for seeds in view.retrained.new_seeds):
            return Statement("advice.mend_seeds")
        return _more_trials(view)
    command = f"{_sweep(view)} --set confirm.top={top} --set confirm.seeds={wanted} --extend"
    return _do("confirm", command, top=top, seeds=wanted)
