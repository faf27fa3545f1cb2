"""How often reports of the default search are right, in studies whose truth is known: what is
counted, and the rates that are demanded.

`judge` compares what one study says with what was planted in it. `RATES` has a row for each rate:
what counts, where, and what it may be. Tests add up a few studies, and `make known-truth` 400 of
each kind (`benchmarks/planted.py`). A rate is missed where its exact 99 % binomial interval
(Clopper and Pearson
1934) lies on the bad side of what is demanded.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from default_studies import HEIGHT, KINDS, SHIFT, Truth, default_study, truth_of
from planted_studies import at_least, at_most

from sweeps.results.statistics import Interval
from vaeexp.report.answer import answer_of
from vaeexp.report.recommendation import get
from vaeexp.report.sentences import words
from vaeexp.results.broken_seeds import broken_runs
from vaeexp.results.equally_good import equally_good
from vaeexp.results.holes import LEAST_BEYOND, LEAST_REACH
from vaeexp.results.slow_learners import rung_ranks
from vaeexp.results.statements import Statement
from vaeexp.results.study_view import StudyView
from vaeexp.results.tested_settings import ERROR_RATE
from vaeexp.results.trust import at_bounds, check_study, pruner_kept_winners
from vaeexp.words import parameter_label

NEAR = 2.0
"""Nats up to which a setting may be worse that is called as good."""
LARGE = 5.0
"""Nats from which a cost should be found."""
Counts = Mapping[str, tuple[int, int]]
"""Rate → how often it happened, of how many."""
NOT = (0, 0)
"""There is nothing to count."""


@functools.lru_cache(maxsize=500)
def view_of(kind: str, seed: int, **shape: Any) -> StudyView:
    """Return the view of a planted study; `shape` as of `default_study`. It is shared."""
    return StudyView(default_study(kind, seed, **shape))


def judge(kind: str, seed: int, **shape: Any) -> Counts:
    """Compare what a study of a kind says with what was planted in it."""
    view, truth = view_of(kind, seed, **shape), truth_of(kind, seed)
    counts = {name: rate.count(view, truth) for name, rate in RATES.items() if kind in rate.kinds}
    return {name: (int(events), int(of)) for name, (events, of) in counts.items()}


def total(studies: Iterable[Counts]) -> Counts:
    """Add up the counts of studies."""
    found: dict[str, tuple[int, int]] = {}
    for counts in studies:
        for name, (events, of) in counts.items():
            before = found.get(name, NOT)
            found[name] = (before[0] + events, before[1] + of)
    return found


def missed(counts: Counts) -> dict[str, str]:
    """Return the rates that miss what is demanded → their count in words."""
    return {
        name: f"{events} of {of}"
        for name, (events, of) in counts.items()
        if not RATES[name].holds(events, of)
    }


# ---- what was planted ----


def value_at(truth: Truth, params: Mapping[str, Any], epoch: int) -> float:
    """Return the planted validation −ELBO of a configuration after an epoch, without noise."""
    fall = HEIGHT * math.exp(-truth.speed(params) * epoch)
    return truth.level(params) + fall + truth.course(params, epoch)


def _params(view: StudyView, number: int) -> dict[str, Any]:
    return view.plan.params(view.search[view.search["number"] == number].iloc[0])


def _end(view: StudyView, truth: Truth, params: Mapping[str, Any]) -> float:
    return value_at(truth, params, int(view.plan.fixed("epochs")))


def _holds(interval: Interval, planted: float) -> bool:
    return interval.low <= planted <= interval.high


def _wrong(gap: float, planted: float) -> bool:
    """Tell whether a difference that was called settled has another sign than the planted one, or
    there is none.
    """
    return abs(planted) < 1e-9 or gap * planted < 0


# ---- what is counted ----


def _costs(view: StudyView, truth: Truth) -> list[tuple[str, Interval, float]]:
    """Return parameter, interval and planted difference of each cost at equal epochs."""
    found = []
    for effect in view.influence.equal_epochs:
        if effect.trial is not None:
            best = _params(view, effect.trial)
            changed = best | {effect.parameter: effect.at}
            cost = value_at(truth, changed, effect.epoch) - value_at(truth, best, effect.epoch)
            found.append((effect.parameter, effect.behind, cost))
    return found


def _false_cost(view: StudyView, truth: Truth) -> tuple[int, int]:
    own = [behind for name, behind, _ in _costs(view, truth) if name in truth.facts["without"]]
    return any(not _holds(behind, 0.0) for behind in own), bool(own)


def _costs_held(view: StudyView, truth: Truth) -> tuple[int, int]:
    costs = _costs(view, truth)
    return all(_holds(behind, cost) for _, behind, cost in costs), bool(costs)


def _costs_found(view: StudyView, truth: Truth) -> tuple[int, int]:
    large = [behind for _, behind, cost in _costs(view, truth) if cost >= LARGE]
    return sum(behind.low > 0 for behind in large), len(large)


def _told(view: StudyView) -> set[tuple[str, str]]:
    return {(hit.parameter, hit.bound) for hit in view.influence.hits if hit.told}


def _false_bound(view: StudyView, truth: Truth) -> tuple[int, int]:
    return bool(_told(view) - {truth.facts.get("bound")}), 1


def _bound_found(view: StudyView, truth: Truth) -> tuple[int, int]:
    return truth.facts["bound"] in _told(view), 1


def _bound_named(view: StudyView, truth: Truth) -> tuple[int, int]:
    hits = {(hit.parameter, hit.bound) for hit in view.influence.hits}
    return truth.facts["bound"] in hits and at_bounds(view).verdict in ("warning", "unknown"), 1


def _margins(view: StudyView, truth: Truth) -> list[tuple[bool, Interval, float]]:
    """Return of each confirmed setting beside the best whether the two are told apart, the
    interval, and the planted difference.
    """
    if view.best_trial is None:
        return []
    best = _end(view, truth, view.plan.params(view.best_trial))
    return [
        (
            margin.settled,
            margin.interval,
            _end(view, truth, _params(view, margin.source_trial)) - best,
        )
        for margin in view.retrained.margins
    ]


def _false_margin(view: StudyView, truth: Truth) -> tuple[int, int]:
    margins = _margins(view, truth)
    return any(settled and _wrong(gap.mean, planted) for settled, gap, planted in margins), bool(
        margins
    )


def _margin_held(view: StudyView, truth: Truth) -> tuple[int, int]:
    first = [
        (gap, planted) for _, gap, planted in _margins(view, truth)[:1] if math.isfinite(gap.low)
    ]
    return sum(_holds(gap, planted) for gap, planted in first), len(first)


def _mean_held(view: StudyView, truth: Truth) -> tuple[int, int]:
    best = view.best
    if best is None or best.planned == 0 or not math.isfinite(best.test("neg_elbo").low):
        return NOT
    return _holds(
        best.test("neg_elbo"), SHIFT + _end(view, truth, view.plan.params(best.runs.iloc[0]))
    ), 1


def _baselines(view: StudyView, truth: Truth) -> list[tuple[bool, Interval, float, str]]:
    """Return of each baseline whether it is told apart from what it is set against, the interval,
    the planted difference, and its name.
    """
    found = []
    for margin in view.retrained.baseline_margins:
        against = _params(view, int(margin.against)) if margin.against is not None else {}
        changed = against | dict(view.plan.baseline_specs[margin.baseline]["settings"])
        planted = _end(view, truth, changed) - _end(view, truth, against)
        found.append((margin.settled, margin.interval, planted, margin.baseline))
    return found


def _false_baseline(view: StudyView, truth: Truth) -> tuple[int, int]:
    margins = _baselines(view, truth)
    other = any(
        figure.settled
        for margin in view.retrained.baseline_margins
        for figure in margin.others.values()
        if margin.source_trial is not None
    )
    return other or any(
        settled and _wrong(gap.mean, planted) for settled, gap, planted, _ in margins
    ), bool(margins)


def _baselines_held(view: StudyView, truth: Truth) -> tuple[int, int]:
    known = [
        (gap, planted) for _, gap, planted, _ in _baselines(view, truth) if math.isfinite(gap.low)
    ]
    return sum(_holds(gap, planted) for gap, planted in known), len(known)


def _pairs(view: StudyView, truth: Truth) -> list[tuple[float, Interval, float]]:
    """Return of each configuration of a comparison the corrected p, the interval, and the planted
    difference.
    """
    found = []
    for pair in view.pairs:
        for own in pair.by_configuration:
            params = _params(view, own.source_trial)
            first, second = (
                _end(view, truth, params | {pair.parameter: value})
                for value in (pair.first, pair.second)
            )
            found.append((own.p_holm, own.interval, second - first))
    return found


def _false_pair(view: StudyView, truth: Truth) -> tuple[int, int]:
    pairs = _pairs(view, truth)
    return any(p <= ERROR_RATE and _wrong(gap.mean, planted) for p, gap, planted in pairs), bool(
        pairs
    )


def _pairs_held(view: StudyView, truth: Truth) -> tuple[int, int]:
    known = [(gap, planted) for _, gap, planted in _pairs(view, truth) if math.isfinite(gap.low)]
    return sum(_holds(gap, planted) for gap, planted in known), len(known)


def _false_interaction(view: StudyView, truth: Truth) -> tuple[int, int]:
    return any(each.consistent for each in view.interactions), bool(view.interactions)


def _false_hole(view: StudyView, truth: Truth) -> tuple[int, int]:
    return bool(view.influence.holes.numbers), 1


def left_of_the_hole(view: StudyView) -> int:
    """Return how many trials lie beyond the outermost ones with the good optimizer: the search
    fills the hole that the file leaves.
    """
    beta, fair = (
        np.log10(view.influence.learned["params.beta"]),
        view.influence.learned["params.optimizer"] == "adam",
    )
    low, high, reach = beta[fair].min(), beta[fair].max(), 3 * LEAST_REACH
    below = (beta < low) & (low - beta.min() >= reach)
    above = (beta > high) & (beta.max() - high >= reach)
    return int((below | above).sum())


def _hole_found(view: StudyView, truth: Truth) -> tuple[int, int]:
    return "beta" in view.influence.holes.numbers, left_of_the_hole(view) >= LEAST_BEYOND


def _pruner_warns(view: StudyView, truth: Truth) -> tuple[int, int]:
    return pruner_kept_winners(view).verdict == "warning", rung_ranks(view) is not None


def _failures(view: StudyView) -> list[str | None]:
    return [each.parameter for each in view.influence.divergences if each.failed >= 4]


def _cause_found(view: StudyView, truth: Truth) -> tuple[int, int]:
    named = _failures(view)
    return sum(parameter in truth.facts["above"] for parameter in named), len(named)


def _false_cause(view: StudyView, truth: Truth) -> tuple[int, int]:
    named = [each.parameter for each in view.influence.divergences]
    return any(parameter not in (None, *truth.facts["above"]) for parameter in named), bool(named)


def _verdict(view: StudyView, name: str) -> str:
    return next((check.verdict for check in check_study(view) if check.id == name), "")


def _check(name: str, *verdicts: str) -> "Callable[[StudyView, Truth], tuple[int, int]]":
    """Count the studies whose check has one of these verdicts."""
    return lambda view, truth: (_verdict(view, name) in verdicts, 1)


# ---- comparisons, late effects and what to do next ----


def _said(view: StudyView, start: str) -> list[Statement]:
    found = answer_of(view)
    return [one for one in (*found.findings, *found.next) if one.id.startswith(start)]


def _better_found(view: StudyView, truth: Truth) -> tuple[int, int]:
    name, better = truth.facts["better"]
    said = [one for one in _said(view, "compare.apart") if one.values["parameter"] == name]
    return any(one.values["better"] == better for one in said), 1


def _false_better(view: StudyView, truth: Truth) -> tuple[int, int]:
    right = truth.facts.get("better", (None, None))
    said = [*_said(view, "compare.apart"), *_said(view, "compare.perhaps")]
    wrong = [one for one in said if (one.values["parameter"], one.values["better"]) != right]
    return bool(wrong), 1


def _turn_named(view: StudyView, truth: Truth) -> tuple[int, int]:
    label = parameter_label(truth.facts["turns"])
    said = _said(view, "compare.interaction")
    named = [(one.values.get("by"), *one.values.get("others", ())) for one in said]
    return sum(label in names for names in named), len(named)


def _late_open(view: StudyView, truth: Truth) -> tuple[int, int]:
    label = parameter_label(truth.facts["late"])
    said = [one for one in _said(view, "parameter.") if one.values.get("parameter") == label]
    return all(
        one.values["behind"] is not None or "at the end not known" in words(one) for one in said
    ), bool(said)


def _rise_said(view: StudyView, truth: Truth) -> tuple[int, int]:
    said = _said(view, "curve.rises")
    right = [one for one in said if one.values["epoch"] == truth.facts.get("rises")]
    return bool(right if "rises" in truth.facts else said), 1


def _remedy_next(view: StudyView, truth: Truth) -> tuple[int, int]:
    return bool(_said(view, "remedy.diverged")), _verdict(view, "new_seeds") == "warning"


def _false_remedy(view: StudyView, truth: Truth) -> tuple[int, int]:
    return bool(_said(view, "remedy.")), 1


def _widened(view: StudyView, truth: Truth) -> tuple[int, int]:
    name, _ = truth.facts["bound"]
    return f"search.{name}" in (at_bounds(view).command or ""), 1


def _longer_next(view: StudyView, truth: Truth) -> tuple[int, int]:
    return any("epochs" in one.values["command"] for one in _said(view, "next.command")), 1


def _as_good(view: StudyView) -> list[int]:
    """Return the trials that are named as good as the winner, or not told apart from it."""
    good = equally_good(view)
    return [setting.trial for setting in good.settings] if good else []


def _false_as_good(view: StudyView, truth: Truth) -> tuple[int, int]:
    """As validation ranks them: by the best epoch."""
    trials = _as_good(view)
    epochs = range(1, int(view.plan.fixed("epochs")) + 1)

    def best(trial: int) -> float:
        return min(value_at(truth, _params(view, trial), epoch) for epoch in epochs)

    gaps = [best(trial) - best(int(view.best_number or 0)) for trial in trials]
    return any(gap > NEAR for gap in gaps), bool(trials)


def _both_named(view: StudyView, truth: Truth) -> tuple[int, int]:
    """Count the studies with a complete trial at either optimum, the two of one value."""
    ends = {
        int(trial): (_end(view, truth, params := _params(view, int(trial))), params["optimizer"])
        for trial in view.ranked["number"]
    }
    near = {optimizer for end, optimizer in ends.values() if end < min(ends.values())[0] + 0.5}
    trials = [*_as_good(view), *([view.best_number] if view.best_number is not None else [])]
    found = {ends[trial][1] for trial in trials if trial in ends}
    return min(len(found), len(near)) > 1, len(near) > 1


def _broken(view: StudyView, truth: Truth) -> set[int]:
    """Return the repeats that broke, by number: those far above what was planted."""
    runs = view.trials[view.trials["repeat"] & (view.trials["state"] == "complete")]
    return {
        int(run["number"])
        for _, run in runs.iterrows()
        if run["objective"] > _end(view, truth, view.plan.params(run)) + 20
    }


def _broken_named(view: StudyView, truth: Truth) -> tuple[int, int]:
    broken = _broken(view, truth)
    named = {run.number for run in broken_runs(view)}
    return named >= broken and _verdict(view, "new_seeds") == "warning", bool(broken)


def _spared(view: StudyView, truth: Truth) -> tuple[int, int]:
    broken = _broken(view, truth)
    own = set(view.confirmed[0].runs["number"])
    asked = bool(broken) and broken.isdisjoint(own)
    return asked and _gets("get.spared")(view, truth)[0], asked


def _gets(kind: str) -> "Callable[[StudyView, Truth], tuple[int, int]]":
    """Count the studies in which what one gets has a statement of this id."""
    return lambda view, truth: (any(said.id == kind for said in get(view)), 1)


# ---- the rates ----


@dataclass(frozen=True, kw_only=True)
class Rate:
    """One rate: what is counted, of which kinds of studies, and what it may be."""

    claim: str
    count: Callable[[StudyView, Truth], tuple[int, int]]
    kinds: tuple[str, ...] = tuple(KINDS)
    least: float = 0.0
    most: float = 1.0

    def holds(self, events: int, of: int) -> bool:
        """Tell whether the exact 99 % interval of this count reaches what is demanded."""
        return not of or (at_most(events, self.most, of) and at_least(events, self.least, of))

    @property
    def demand(self) -> str:
        """Return what is demanded, in words."""
        return f"at most {self.most:.0%}" if self.most < 1 else f"at least {self.least:.0%}"


ALL = tuple(KINDS)
NOTHING = ("null", "heavy")
"""Kinds in which nothing matters."""
CALM = ("null", "heavy", "strong")
"""Kinds in which no seed breaks, and seeds vary alike."""
UNBROKEN = tuple(kind for kind in KINDS if kind != "broken_seeds")
"""Where one trial in eight breaks, the costs at equal epochs are those of a search of 48 runs, one
of each setting: nothing tells a broken one from a bad setting.
"""
FEW = 0.05
RISING = ("late", "over_fitting")
"""Kinds in which validation rises again, of some settings at least."""
RATES: dict[str, Rate] = {
    "false cost": Rate(
        claim="a parameter without effect is said to cost something", count=_false_cost, most=FEW
    ),
    "costs held": Rate(
        claim="all intervals of what parameters cost hold what was planted",
        count=_costs_held,
        kinds=UNBROKEN,
        least=0.95,
    ),
    "costs found": Rate(
        claim="a cost of 5 nats or more has an interval above 0",
        count=_costs_found,
        # A jump at a latent size is no smooth effect; matched pairs find it.
        kinds=tuple(kind for kind in UNBROKEN if kind != "turning"),
        least=0.8,
    ),
    "false bound": Rate(
        claim="the best are said to pile up at an end without an optimum",
        count=_false_bound,
        most=FEW,
    ),
    "bound found": Rate(
        claim="the planted end is said to be one at which the best pile up",
        count=_bound_found,
        kinds=("bound", "bound_in_list"),
        least=0.8,
    ),
    "bound named": Rate(
        claim="the check names the planted end, told or not",
        count=_bound_named,
        kinds=("bound", "bound_in_list"),
        least=0.95,
    ),
    "false margin": Rate(
        claim="a confirmed setting is called better or worse than the best, and is not",
        count=_false_margin,
        most=FEW,
    ),
    "margin held": Rate(
        claim="the interval between the best two confirmed settings holds what was planted",
        count=_margin_held,
        least=0.95,
    ),
    "mean held": Rate(
        claim="the interval of the test −ELBO of the best of three holds what was planted",
        count=_mean_held,
        # The best is chosen by the seeds that it is reported with: 94 % of the best of three.
        least=0.93,
    ),
    "false baseline": Rate(
        claim="a baseline is called better or worse, and is not",
        count=_false_baseline,
        kinds=("baseline",),
        most=FEW,
    ),
    "baselines held": Rate(
        claim="the interval of a baseline holds what was planted",
        count=_baselines_held,
        kinds=("baseline",),
        least=0.95,
    ),
    "false pair": Rate(
        claim="a value is called better at a setting, and is not",
        count=_false_pair,
        kinds=("interaction", "baseline", "turning", "conditional_prior"),
        most=FEW,
    ),
    "pairs held": Rate(
        claim="the interval of matched pairs at a setting holds what was planted",
        count=_pairs_held,
        kinds=("interaction", "baseline", "turning", "conditional_prior"),
        least=0.95,
    ),
    "false interaction": Rate(
        claim="an interaction is named, and there is none",
        count=_false_interaction,
        kinds=("baseline", "conditional_prior"),
        most=FEW,
    ),
    "false hole": Rate(
        claim="a number is said to have been tried in part with bad values alone, and nothing is "
        "bad",
        count=_false_hole,
        kinds=NOTHING,
        most=FEW,
    ),
    "hole found": Rate(
        claim="β beyond some ends was tried with a bad optimizer alone, and this is said",
        count=_hole_found,
        kinds=("hole",),
        least=0.8,
    ),
    "false pruner": Rate(
        claim="the pruner is said to stop winners, and the first rung ranks well",
        count=_pruner_warns,
        kinds=("null", "heavy", "strong", "tie", "bound", "baseline"),
        most=FEW,
    ),
    "slow learners": Rate(
        claim="the pruner is said to stop winners, and winners are slow at first",
        count=_pruner_warns,
        kinds=("slow",),
        least=0.5,
    ),
    "cause found": Rate(
        claim="of four failed trials or more, the parameter that makes them diverge is named",
        count=_cause_found,
        kinds=("divergence", "fragile"),
        least=0.8,
    ),
    "false cause": Rate(
        claim="another parameter is named",
        count=_false_cause,
        kinds=("divergence", "fragile"),
        most=FEW,
    ),
    "false level": Rate(
        claim="a search without effects has levelled off or goes on to gain",
        count=_check("levelled_off", "good", "warning"),
        kinds=NOTHING,
        most=FEW,
    ),
    "levelled off": Rate(
        claim="a search with effects has levelled off after 48 trials",
        count=_check("levelled_off", "good"),
        kinds=("strong",),
        least=0.8,
    ),
    "false differences": Rate(
        claim="trials are said to differ by more than seeds, and do not",
        count=_check("seeds", "good"),
        kinds=NOTHING,
        most=FEW,
    ),
    "differences": Rate(
        claim="trials are said to differ by more than seeds, and do",
        count=_check("seeds", "good"),
        kinds=("strong",),
        least=0.95,
    ),
    "false order": Rate(
        claim="the order of equal settings is said to hold on test, or not to",
        count=_check("on_test", "good", "warning"),
        kinds=NOTHING,
        most=FEW,
    ),
    "better found": Rate(
        claim="a prior that is 1.5 to 2.5 nats better is called better in matched pairs",
        count=_better_found,
        kinds=("conditional_prior",),
        least=0.8,
    ),
    "false better": Rate(
        claim="of two values that are equally good one is called better, perhaps or surely",
        count=_false_better,
        kinds=("baseline", "conditional_prior"),
        most=FEW,
    ),
    "turn named": Rate(
        claim="where a comparison depends on the setting, the planted parameter is named",
        count=_turn_named,
        kinds=("turning",),
        least=0.95,
    ),
    "late open": Rate(
        claim="of a parameter that costs something at the end alone, it is said that this is not "
        "known",
        count=_late_open,
        kinds=("late",),
        least=0.95,
    ),
    "rise said": Rate(
        claim="validation is said to rise, after the planted epoch",
        count=_rise_said,
        kinds=("over_fitting",),
        least=0.8,
    ),
    "false rise": Rate(
        claim="validation is said to rise, and falls",
        count=_rise_said,
        kinds=tuple(kind for kind in KINDS if kind not in RISING),
        most=FEW,
    ),
    "remedy next": Rate(
        claim="where new seeds diverged, what to do next is to keep them from it",
        count=_remedy_next,
        kinds=("fragile", "diverging_repeats"),
        least=0.95,
    ),
    "false remedy": Rate(
        claim="what to do next is the remedy of divergence, and no new seed diverged",
        count=_false_remedy,
        kinds=(*NOTHING, "strong", "baseline"),
        most=FEW,
    ),
    "widened": Rate(
        claim="a range is widened on the side on which runs diverge",
        count=_widened,
        kinds=("fragile",),
        most=FEW,
    ),
    "longer next": Rate(
        claim="where training is not over, what to do next is to train longer",
        count=_longer_next,
        kinds=("unfinished",),
        least=0.95,
    ),
    "false longer": Rate(
        claim="what to do next is to train longer, and training is over",
        count=_longer_next,
        kinds=(*NOTHING, "strong", "baseline"),
        most=FEW,
    ),
    # ---- what is as good, and seeds that break or vary ----
    "false as good": Rate(
        claim="a setting is named as good as the winner, and is truly more than 2 nats worse",
        count=_false_as_good,
        most=FEW,
    ),
    "both optima": Rate(
        claim="of two equal optima with a complete trial each, both are named",
        count=_both_named,
        kinds=("two_optima",),
        least=0.8,
    ),
    "broken named": Rate(
        claim="all runs with a fresh seed that broke are named",
        count=_broken_named,
        kinds=("broken_seeds",),
        least=0.8,
    ),
    "false broken": Rate(
        claim="a run is said to be far outside its setting, and no seed breaks",
        count=_check("new_seeds", "warning"),
        kinds=CALM,
        most=FEW,
    ),
    "spared": Rate(
        claim="runs broke, none of the winner's, and more seeds are said to be likely to be worse",
        count=_spared,
        kinds=("broken_seeds",),
        least=0.8,
    ),
    "false spared": Rate(
        claim="the same is said where no seed breaks",
        count=_gets("get.spared"),
        kinds=CALM,
        most=FEW,
    ),
    "unequal spread": Rate(
        claim="seeds that vary more under one optimizer are said to",
        count=_gets("get.unequal"),
        kinds=("unequal_spread",),
        least=0.8,
    ),
    "false unequal": Rate(
        claim="the same is said where they do not",
        count=_gets("get.unequal"),
        kinds=(*CALM, "baseline"),
        most=FEW,
    ),
    "low rate": Rate(
        claim="a code of half a nat is said to be close to none",
        count=_check("code_used", "warning"),
        kinds=("low_rate",),
        least=0.95,
    ),
    "false low rate": Rate(
        claim="the same is said of a code of 20 nats",
        count=_check("code_used", "warning"),
        kinds=CALM,
        most=FEW,
    ),
    "false doubt": Rate(
        claim="trials are said to differ by no more than seeds, and β or the learning rate matters",
        count=_check("seeds", "warning"),
        kinds=("strong", "baseline", "two_optima", "broken_seeds"),
        most=FEW,
    ),
}
"""Name → rate."""
