"""The findings of a study as statements: what to use, what one gets, and what was compared and
searched, the largest effect first.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Literal

import pandas as pd

from sweeps.results import Interval, mean_interval
from vaeexp.evaluation.metrics import BESIDE, METRICS, REACHED
from vaeexp.report.headline import against, incomparable, shared_result
from vaeexp.results.divergence import Divergence
from vaeexp.results.effects import best_of
from vaeexp.results.equal_epochs import EqualEpochEffect
from vaeexp.results.equally_good import EquallyGood, equally_good
from vaeexp.results.front_view import FrontView
from vaeexp.results.holes import hole_statement
from vaeexp.results.interactions import LEVEL, Interaction
from vaeexp.results.new_seeds import failed_seeds, seeds_of
from vaeexp.results.parameters import LEAST_TRIALS
from vaeexp.results.statements import NATS, Figure, Statement, say
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import finite, for_baseline_alone, row_names
from vaeexp.results.tested_settings import (
    ERROR_RATE,
    PairComparison,
    TestedSetting,
    WinnerMargin,
    measures_one_thing,
    same_training,
)
from vaeexp.words import format_value, parameter_label

EQUAL = 0.01
"""Share of a −ELBO within which two are as good as equal."""
ENDED = ("complete", "pruned", "failed")
STATES = ("complete", "pruned", "failed", "running", "paused", "waiting")


# ---- what to use ----


def use(view: StudyView) -> list[Statement]:
    """Return the setting to use, and the ranges that are as good."""
    if view.front is not None and len(view.front.members):
        return [_front(view.front)]
    trial = view.best_trial
    if view.verdict.nothing_learned:
        return [view.verdict.nothing_learned[0]]
    if trial is None:
        return [_nothing_yet(view)]
    configuration = view.plan.params(trial)
    number = int(trial["number"])
    kind = "use.trial" if view.study.finished else "use.so_far"
    chosen = say(
        kind if configuration else "use.only_trial",
        [number],
        trial=number,
        configuration=configuration,
    )
    good = equally_good(view)
    as_good = [_as_good(good, view.ranked["objective"].iloc[0])] if good else []
    return [*view.verdict.hardly_trained[:1], chosen, *as_good]


def _as_good(good: EquallyGood, level: float) -> Statement:
    return say(
        "use.as_good" if good.within <= EQUAL * abs(level) else "use.unclear",
        good.trials,
        ranges={name: _range(values) for name, values in good.ranges.items()},
        trials=len(good.trials),
        within=Figure(value=good.within, unit=NATS),
        limit=Figure(value=good.limit, unit=NATS),
    )


def _range(values: Sequence[Any]) -> Any:
    """Return the one value, `adam or adamax`, or the least and the largest of a number."""
    if len(values) == 1:
        return values[0]
    return " or ".join(values) if isinstance(values[0], str) else values


def _front(front: FrontView) -> Statement:
    members = front.members
    values: dict[str, Any] = {}
    ends = {"low": members.iloc[0]} | ({"high": members.iloc[-1]} if len(members) > 1 else {})
    for end, row in ends.items():
        values[f"{end}_trial"] = int(row["number"])
        for place, metric in zip(("first", "second"), front.metrics, strict=True):
            values[f"{end}_{place}"] = Figure(value=float(row[metric]))
    first, second = front.labels
    counts = {"count": len(members), "complete": len(front.complete)}
    return say("use.front", row_names(members), first=first, second=second, **counts, **values)


def _nothing_yet(view: StudyView) -> Statement:
    counts = view.search["state"].value_counts()
    states = {state: int(counts[state]) for state in STATES if state in counts}
    return say("use.nothing", states=states or None)


# ---- what one gets ----


def get(view: StudyView) -> list[Statement]:
    """Return what the best setting reaches, how far the next one is behind, and which unfinished
    trial had come further.
    """
    best = view.best
    if best is None or view.front is not None or view.verdict.nothing_learned:
        return []
    runs = view.retrained.confirm_runs[
        view.retrained.confirm_runs["source_trial"] == view.best_number
    ]
    reached = _tested(view, best, runs) if len(runs) else _searched(view)
    margins = [_margin(margin, best.value) for margin in view.retrained.margins[:1]]
    return [reached, *margins, *view.verdict.came_further]


def _tested(view: StudyView, best: TestedSetting, runs: pd.DataFrame) -> Statement:
    more = {
        "planned": best.planned if best.planned > len(runs) else None,
        "failed": _failures(view),
    }
    total, kind = (
        ("distortion", "get.distortion") if best.deterministic else ("neg_elbo", "get.confirmed")
    )
    # What one gets stands first.
    figures = {name: figure_on_test(best, name) for name in (total, *REACHED)}
    if figures[total]:
        samples = shared_result(best, "importance_samples")
        return say(kind, row_names(runs), **figures, **more, samples=samples)
    again = Figure.of(mean_interval(finite(runs["objective"]).tolist()))
    return say("get.validation", row_names(runs), again=again, **more)


def figure_on_test(setting: TestedSetting, name: str) -> Figure | None:
    """Return a test figure of a setting with its interval over seeds; None where no run has it."""
    return _figure(setting.test(name), name)


def _figure(interval: Interval | None, name: str) -> Figure | None:
    """Return a mean or a difference of a metric in its unit; None where there is none."""
    metric = METRICS[name]
    return Figure.of(interval, metric.unit, metric.digits) if interval and interval.n else None


def _searched(view: StudyView) -> Statement:
    """Say what the first trial of the ranking reached: without confirmed runs it is the best."""
    value = Figure(value=float(view.ranked["objective"].iloc[0]), unit=NATS, n=1)
    return say(
        "get.searched",
        [view.best_number],
        value=value,
        rank=1,
        ranked=len(view.ranked),
        failed=_failures(view),
    )


def _failures(view: StudyView) -> tuple[Statement, ...]:
    """Return the new seeds of the best setting that failed."""
    own = seeds_of(view.retrained.new_seeds, view.best_number, None)
    return failed_seeds(**own) if own else ()


def _margin(margin: WinnerMargin, level: float) -> Statement:
    """Set the next best confirmed setting against the best: above 0 the gap is in favour of the
    best.
    """
    gap = Figure.of(margin.interval)
    trial = margin.source_trial
    kind = evidence(gap, settled=margin.settled, level=level)
    turned = kind == "apart" and gap.value < 0
    return say("get.turned" if turned else f"get.{kind}", [trial], trial=trial, gap=gap)


def evidence(
    gap: Figure, *, settled: bool, level: float
) -> Literal["apart", "perhaps", "tie", "unclear", "too_few"]:
    """Tell what a difference shows.

    `apart`: the corrected test tells two settings apart. `perhaps`: its own interval leaves out 0,
    and the corrected test does not. `tie`: the interval lies within `EQUAL` of their level around
    0. `unclear`: it is wider. `too_few`: it has none.
    """
    if not math.isfinite(gap.low):
        return "too_few"
    if settled:
        return "apart"
    if gap.sure:
        return "perhaps"
    return "tie" if max(-gap.low, gap.high) <= EQUAL * abs(level) else "unclear"


def _failed(divergence: Divergence) -> Statement:
    """Say how many trials of the search failed of one kind, and on which side of a parameter they
    lie.
    """
    counts = {"failed": divergence.failed, "trials": divergence.trials, "kind": divergence.kind}
    if divergence.parameter is None or divergence.side is None:
        return say("search.failed", **counts)
    return say(
        f"search.failed_{divergence.side}",
        **counts,
        parameter=parameter_label(divergence.parameter),
        threshold=format_value(divergence.threshold),
        beyond=divergence.beyond,
        inside=divergence.caught,
        exceptions=divergence.exceptions,
        winner=None if divergence.winner is None else format_value(divergence.winner),
    )


# ---- what was compared ----


def findings(view: StudyView) -> list[Statement]:
    """Return what was compared, the baselines and the searched parameters, each kind with its
    largest effect first.
    """
    if view.ranked.empty or view.verdict.nothing_learned:
        return []
    return [
        *compared(view),
        *baselines(view),
        *map(_failed, view.influence.divergences),
        *parameters(view),
        *uncovered(view),
    ]


def compared(view: StudyView) -> list[Statement]:
    """Return a statement for each two values that the study compares in matched pairs, and each
    interaction that was found.
    """
    pairs = [pair for pair in view.pairs if len(pair.pairs)]
    level = view.best.value if view.best else math.nan
    return [
        *_largest_first((_pair(pair, level) for pair in pairs), "gap"),
        *map(_interaction, _named(view.interactions)),
    ]


def _largest_first(statements: Iterable[Statement], name: str) -> list[Statement]:
    """Order statements by the size of their figure of this name; those without one come last."""

    def size(statement: Statement) -> float:
        figure = statement.values.get(name)
        return abs(figure.value) if isinstance(figure, Figure) else 0.0

    return sorted(statements, key=size, reverse=True)


def _pair(comparison: PairComparison, level: float) -> Statement:
    """Set two values against each other at the first of the settings, the winner where it was
    compared, and give the mean over all settings beside it.

    The mean alone is given where the first setting has too few seeds for an interval and all
    settings together have enough.
    """
    first = comparison.by_configuration[0]
    settings = comparison.configurations
    mean_alone = math.isnan(first.interval.low) and math.isfinite(comparison.interval.low)
    chosen = comparison if mean_alone else first
    turned = chosen.interval.mean <= 0
    better = comparison.first
    worse = comparison.second
    if turned:
        better, worse = worse, better

    def worse_minus_better(figure: Figure) -> Figure:
        return figure.turned if turned else figure

    gap = worse_minus_better(Figure.of(chosen.interval))
    values: dict[str, Any] = {"trial": None, "over": None, "mean": None}
    if mean_alone:
        values["over"] = settings
    else:
        values["trial"] = first.source_trial
        if settings > 1:
            values["mean"] = worse_minus_better(Figure.of(comparison.interval))
        for name in BESIDE:
            figure = _figure(first.others.get(name), name)
            if figure and METRICS[name].better:
                values[name] = worse_minus_better(figure)
    kind = evidence(gap, settled=chosen.p_holm <= ERROR_RATE, level=level)
    return say(
        f"compare.{kind}",
        [own.source_trial for own in comparison.by_configuration],
        parameter=parameter_label(comparison.parameter),
        better=format_value(better),
        worse=format_value(worse),
        gap=gap,
        rank=first.rank,
        ranked=first.ranked,
        settings=settings,
        pairs=len(comparison.pairs),
        **values,
    )


def _named(interactions: Sequence[Interaction]) -> list[Interaction]:
    """Return the interactions that were found, the first of each comparison."""
    kept: dict[tuple[str, ...], Interaction] = {}
    for each in interactions:
        if each.consistent:
            kept.setdefault(_compared_in(each), each)
    return list(kept.values())


def _compared_in(interaction: Interaction) -> tuple[str, str, str]:
    """Return the comparison that an interaction is of: the parameter and its two values."""
    return interaction.parameter, format_value(interaction.first), format_value(interaction.second)


def _interaction(interaction: Interaction) -> Statement:
    """Say which value is better on each side; a gap above 0 is in favour of the first."""
    name, first, second = _compared_in(interaction)
    values: dict[str, Any] = {}
    for side, gap in {"below": interaction.below, "above": interaction.above}.items():
        values |= {
            f"{side}_better": first if gap > 0 else second,
            side: Figure(value=gap, unit=NATS),
        }
    return say(
        "compare.interaction_of_value" if interaction.rest else "compare.interaction",
        **values,
        parameter=parameter_label(name),
        by=parameter_label(interaction.other),
        at=format_value(interaction.threshold),
        rest=tuple(interaction.rest),
        pairs=interaction.n,
        settings=interaction.configurations,
    )


def pair_caveats(view: StudyView) -> list[Statement]:
    """Return what limits the comparisons in matched pairs: the side that the learning rate was
    tuned for, and how sure interactions are.
    """
    tuned = {
        (each.parameter, format_value(each.tuned_for))
        for each in view.interactions
        if each.tuned_for is not None
    }
    said = [
        say("caveat.tuned", parameter=parameter_label(name), value=value)
        for name, value in sorted(tuned)
    ]
    return [*said, *_how_sure(view.interactions)]


def _how_sure(interactions: Sequence[Interaction]) -> list[Statement]:
    """Say how often chance names an interaction in such a study; nothing where nothing was
    compared.
    """
    kinds = {_compared_in(each): each for each in interactions}
    able = [each for each in kinds.values() if each.nameable]
    if not kinds:
        return []
    if not able:
        return [say("caveat.no_interactions", level=LEVEL)]
    return [
        say(
            "caveat.interactions",
            others=tuple(dict.fromkeys(parameter_label(each.other) for each in interactions)),
            able=len(able),
            comparisons=len(kinds) if len(able) < len(kinds) else None,
            rate=able[0].study_false_alarm,
        )
    ]


# ---- baselines ----


def baselines(view: StudyView) -> list[Statement]:
    """Return a statement for each baseline, the one furthest from the best first."""
    return _largest_first((_baseline(view, setting) for setting in view.retrained.baselines), "gap")


def _baseline(view: StudyView, setting: TestedSetting) -> Statement:
    """Set a baseline against the confirmed setting that it changes, or against the best."""
    other = view.retrained.opposed(setting)
    margin = view.retrained.margin_of(setting)
    names = row_names(setting.runs)
    values: dict[str, Any] = {"title": setting.title, "n": len(setting.runs)}
    if other is None or not other.test("distortion").n:
        values |= {name: figure_on_test(setting, name) for name in ("neg_elbo", "fid")}
        return say("baseline.alone", names, **values)
    values["against"] = against(other.source_trial, view.best_number)
    if same_training(other, setting):
        iw_nll = figure_on_test(setting, "iw_nll")
        samples = shared_result(setting, "importance_samples")
        return say("baseline.same", names, **values, iw_nll=iw_nll, samples=samples)
    # Samples and reconstructions, where both measure one thing.
    for name in BESIDE:
        if measures_one_thing(other, setting, name):
            values[name] = figure_on_test(setting, name)
            values[f"{name}_of_other"] = figure_on_test(other, name)
    if margin is None or not math.isfinite(margin.interval.mean):
        why = tuple(incomparable(other, setting)) or (say("differs.no_figure"),)
        return say("baseline.other", names, **values, why=why)
    gap = Figure.of(margin.interval)
    kind = evidence(gap, settled=margin.settled, level=other.value)
    weighted = (
        None if margin.estimates_agree or margin.weighted is None else Figure.of(margin.weighted)
    )
    neg_elbo = figure_on_test(setting, "neg_elbo")
    return say(f"baseline.{kind}", names, **values, gap=gap, neg_elbo=neg_elbo, weighted=weighted)


# ---- what was searched ----


def parameters(view: StudyView) -> list[Statement]:
    """Return a statement for each searched parameter, the largest effect first: what was tried,
    where the best have it, what it costs elsewhere.
    """
    if len(view.influence.judged) < LEAST_TRIALS and len(view.plan.parameters) > 1:
        return [say("parameter.few", judged=len(view.influence.judged), least=LEAST_TRIALS)]
    ends = {effect.parameter: effect.winner_at for effect in view.influence.effects}
    statements = [
        _parameter(view, effect, ends[effect.parameter])
        for effect in view.influence.equal_epochs
        if view.plan.parameters[effect.parameter].of(view.search).nunique() > 1
    ]
    holes = map(hole_statement, view.influence.holes.numbers.values())
    return [*_largest_first(statements, "behind"), *holes]


def _parameter(view: StudyView, effect: EqualEpochEffect, end: str | None) -> Statement:
    """Say which values of a parameter were tried, which the best settings have, and what the worst
    costs; `end` is the end at which the winner lies.
    """
    parameter = view.plan.parameters[effect.parameter]
    tried = parameter.of(view.search).dropna()
    names = row_names(best_of(view.found[parameter.places(view.found).notna()]))
    values: dict[str, Any] = {
        "parameter": parameter_label(parameter.name),
        "end": end,
        "failed": int((view.search["state"] == "failed").sum()) or None,
        **_cost_at(effect),
    }
    if parameter.is_choice:
        texts = {format_value(value) for value in tried}
        values["tried"] = tuple(text for text in parameter.texts if text in texts)
        values["best"] = tuple(map(format_value, effect.best))
        return say("parameter.choice", names, **values)
    numbers = {"low": tried.astype(float).min(), "high": tried.astype(float).max()}
    if effect.best:
        numbers["best_low"] = effect.best[0]
        if effect.best[-1] != effect.best[0]:
            numbers["best_high"] = effect.best[-1]
    shown = {name: Figure(value=float(number), digits=None) for name, number in numbers.items()}
    return say("parameter.tried", names, **values, **shown)


def _cost_at(effect: EqualEpochEffect) -> dict[str, Any]:
    """Return how far the worst value is behind at equal epochs; None for each where it is not
    known.
    """
    costs: dict[str, Any] = dict.fromkeys(("epoch", "at", "behind", "unsure"))
    behind = Figure.of(effect.behind)
    if math.isfinite(behind.low):
        costs |= {"epoch": effect.epoch, "at": format_value(effect.at)}
        costs["behind" if behind.sure else "unsure"] = behind
    return costs


def uncovered(view: StudyView) -> list[Statement]:
    """Return a statement for each value of a choice that was never tried where other values do
    well, unless its cost at equal epochs is known.
    """
    if len(view.ranked) < 2:
        return []
    effects = [effect for effect in view.influence.equal_epochs if math.isfinite(effect.behind.low)]
    known = {(effect.parameter, format_value(effect.at)) for effect in effects}
    return [
        say(
            "parameter.not_covered",
            parameter=parameter_label(hole.parameter),
            value=hole.text,
            trials=hole.trials,
            complete=hole.complete,
        )
        for hole in chain.from_iterable(view.influence.choice_holes.values())
        if (hole.parameter, hole.text) not in known
    ]


# ---- cost ----


def cost(view: StudyView) -> list[Statement]:
    """Return how many trials were pruned, from what else the sampler learned, and what search and
    runs took.
    """
    learned = view.study.learned
    others = (
        [say("cost.learned", trials=len(learned), study=str(view.study.spec["learn_from"]))]
        if learned
        else []
    )
    return [*_pruned(view), *others, *_spent(view)]


def _pruned(view: StudyView) -> list[Statement]:
    states = view.search["state"]
    pruned = int((states == "pruned").sum())
    ended = int(states.isin(ENDED).sum())
    if not pruned:
        return []
    saved = view.plan.epochs_saved(view.search)
    spent = int(view.search["epochs"].sum())
    return [
        say(
            "cost.pruned",
            pruned=pruned,
            ended=ended,
            saved=saved or None,
            share=saved / max(1, saved + spent),
        )
    ]


def _spent(view: StudyView) -> list[Statement]:
    repeat = view.trials["repeat"]
    alone = for_baseline_alone(view.trials)
    epochs = view.trials["epochs"]
    if not epochs[~repeat].sum():
        return []
    values: dict[str, Any] = {}
    for count, sum_, runs in (
        ("trials", "epochs", ~repeat),
        ("repeats", "repeat_epochs", repeat & ~alone),
        ("baselines", "baseline_epochs", alone),
    ):
        values |= {count: int(runs.sum()) or None, sum_: int(epochs[runs].sum())}
    return [say("cost.search", seconds=view.study.elapsed or None, **values)]
