"""The findings of a study as statements: what was compared and searched, the largest effect first,
and what it cost.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from sweeps.results import mean_interval
from vaeexp.evaluation.metrics import BESIDE, METRICS
from vaeexp.report.headline import against, incomparable, shared_result
from vaeexp.report.recommendation import evidence, figure_on_test, metric_figure
from vaeexp.results.broken_seeds import broken_runs
from vaeexp.results.divergence import Divergence
from vaeexp.results.effects import best_of
from vaeexp.results.equal_epochs import EqualEpochEffect
from vaeexp.results.holes import hole_statement
from vaeexp.results.interactions import LEVEL, Interaction
from vaeexp.results.over_fitting import rise_of
from vaeexp.results.parameters import LEAST_TRIALS
from vaeexp.results.statements import NATS, Figure, Statement, say
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import for_baseline_alone, row_names, with_purpose
from vaeexp.results.tested_settings import (
    ERROR_RATE,
    PairComparison,
    TestedSetting,
    measures_one_thing,
    same_training,
)
from vaeexp.words import format_value, parameter_label

NAMED = 5
"""Settings of a comparison up to which the difference at each is said."""
ENDED = ("complete", "pruned", "failed")


# ---- what was compared ----


def findings(view: StudyView) -> list[Statement]:
    """Return what was compared, the baselines and the searched parameters, each kind with its
    largest effect first.
    """
    if view.ranked.empty or view.verdict.nothing_learned:
        return []
    return [
        *compared(view),
        *over_fitting(view),
        *baselines(view),
        *map(_failed, view.influence.divergences),
        *parameters(view),
        *uncovered(view),
    ]


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


def compared(view: StudyView) -> list[Statement]:
    """Return a statement for each two values that the study compares in matched pairs, and each
    interaction that was found.
    """
    pairs = [pair for pair in view.pairs if len(pair.pairs)]
    return [
        *_largest_first((_pair(view, pair) for pair in pairs), "gap"),
        *chain.from_iterable(_interaction(pair, view.interactions) for pair in pairs),
    ]


def _largest_first(statements: Iterable[Statement], name: str) -> list[Statement]:
    """Order statements by the size of their figure of this name; those without one come last."""

    def size(statement: Statement) -> float:
        figure = statement.values.get(name)
        return abs(figure.value) if isinstance(figure, Figure) else 0.0

    return sorted(statements, key=size, reverse=True)


def _pair(view: StudyView, comparison: PairComparison) -> Statement:
    """Set two values against each other over all settings, and name the difference at each.

    Two settings give no interval: then the first of them speaks, the winner where it was compared.
    """
    first = comparison.by_configuration[0]
    settings = comparison.configurations
    alone = settings == 1 or math.isnan(comparison.interval.low)
    chosen = first if alone else comparison
    turned = chosen.interval.mean <= 0
    better, worse = comparison.first, comparison.second
    if turned:
        better, worse = worse, better

    def worse_minus_better(figure: Figure) -> Figure:
        return figure.turned if turned else figure

    gap = worse_minus_better(Figure.of(chosen.interval))
    values: dict[str, Any] = dict.fromkeys(("trial", "over", "by", "at"))
    values["trial" if alone else "over"] = first.source_trial if alone else settings
    if 1 < settings <= NAMED:
        each = comparison.by_configuration
        values["by"] = tuple(worse_minus_better(Figure.of(own.interval)) for own in each)
        values["at"] = tuple(own.source_trial for own in each)
    for name in BESIDE:
        others = [own.others.get(name) for own in comparison.by_configuration]
        # Of all settings that the sentence is of, or of none.
        if METRICS[name].better and all(others[:1] if alone else others):
            means = [own.mean for own in others if own]
            figure = metric_figure(others[0] if alone else mean_interval(means), name)
            values[name] = figure and worse_minus_better(figure)
    broken = [run.value for run in broken_runs(view)]
    far = comparison.pairs.filter(like="objective.").isin(broken).any(axis=1)
    if far.any() and not alone:
        spared = comparison.pairs[~far].groupby("source_trial")["difference"].mean().mean()
        values["without"] = worse_minus_better(Figure(float(spared), unit=NATS))
    level = view.best.value if view.best else math.nan
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


def _interaction(
    comparison: PairComparison, interactions: Sequence[Interaction]
) -> list[Statement]:
    """Say which value is better on each side of a parameter; a gap above 0 is in favour of the
    first. Where several parameters part the settings alike, any of them may decide.
    """
    own = _compared_in(comparison)
    found = [each for each in interactions if each.consistent and _compared_in(each) == own]
    if not found:
        return []
    one = found[0]
    values: dict[str, Any] = {}
    for side, gap in {"below": one.below, "above": one.above}.items():
        values |= {
            f"{side}_better": own[1] if gap > 0 else own[2],
            side: Figure(value=gap, unit=NATS),
        }
    if len(found) > 1:
        kind = "compare.interaction_open"
        means = [setting.interval.mean for setting in comparison.by_configuration]
        ahead = [(mean > 0) == (one.below > 0) for mean in means]
        values |= {
            "some": sum(ahead),
            "rest": len(ahead) - sum(ahead),
            "others": tuple(parameter_label(each.other) for each in found),
        }
    else:
        kind = "compare.interaction_of_value" if one.rest else "compare.interaction"
        values |= {
            "by": parameter_label(one.other),
            "at": format_value(one.threshold),
            "rest": tuple(one.rest),
            "pairs": one.n,
            "settings": one.configurations,
        }
    return [say(kind, parameter=parameter_label(own[0]), **values)]


def _compared_in(one: Interaction | PairComparison) -> tuple[str, str, str]:
    """Return the comparison that an interaction is of: the parameter and its two values."""
    return one.parameter, format_value(one.first), format_value(one.second)


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
            able=len(able),
            comparisons=len(kinds) if len(able) < len(kinds) else None,
            rate=able[0].study_false_alarm,
        )
    ]


def over_fitting(view: StudyView) -> list[Statement]:
    """Return from which epoch on validation rises; nothing where it does not."""
    rise = rise_of(view)
    if rise is None:
        return []
    return [
        say(
            "curve.rises",
            epoch=rise.epoch,
            rising=rise.rising,
            runs=rise.runs,
            rise=Figure(rise.nats, unit=NATS),
            way="large" if rise.grows else "small",
            parameter=rise.parameter and parameter_label(rise.parameter),
        )
    ]


# ---- baselines ----


def baselines(view: StudyView) -> list[Statement]:
    """Return a statement for each baseline, the one furthest from the best first; none for one
    whose runs are those of matched pairs, which say the same.
    """
    paired = set(with_purpose(view.trials, "compare")["number"])
    own = [
        setting
        for setting in view.retrained.baselines
        if setting.source_trial is None or not paired.issuperset(setting.runs["number"])
    ]
    return _largest_first((_baseline(view, setting) for setting in own), "gap")


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
    where the best have it, what it costs elsewhere. Matched pairs answer for theirs.
    """
    if len(view.influence.judged) < LEAST_TRIALS and len(view.plan.parameters) > 1:
        return [
            say(
                "parameter.few",
                judged=len(view.influence.judged),
                trials=len(view.search),
                least=LEAST_TRIALS,
            )
        ]
    ends = {effect.parameter: effect.winner_at for effect in view.influence.effects}
    answered = {
        pair.parameter
        for pair in view.pairs
        if any(
            math.isfinite(interval.low)
            for interval in (pair.interval, *(own.interval for own in pair.by_configuration))
        )
    }
    statements = [
        _parameter(view, effect, ends[effect.parameter])
        for effect in view.influence.equal_epochs
        if effect.parameter not in answered
        and view.plan.parameters[effect.parameter].of(view.search).nunique() > 1
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
        **_cost_at(view, effect),
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


def _cost_at(view: StudyView, effect: EqualEpochEffect) -> dict[str, Any]:
    """Return how far the worst value is behind at equal epochs; None for each where it is not
    known. `complete`: trials with the parameter that reached the end, where that is later and the
    cost not sure: what is open early may matter then.
    """
    costs: dict[str, Any] = dict.fromkeys(("epoch", "at", "behind", "unsure", "complete"))
    behind = Figure.of(effect.behind)
    if math.isfinite(behind.low):
        costs |= {"epoch": effect.epoch, "at": format_value(effect.at)}
        costs["behind" if behind.sure else "unsure"] = behind
        if not behind.sure and effect.epoch < view.ranked["epochs"].max():
            having = view.plan.parameters[effect.parameter].of(view.ranked).notna()
            costs["complete"] = int(having.sum())
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
    runs = view.results.trials  # those that do not count have cost as much
    repeat = runs["repeat"]
    alone = for_baseline_alone(runs)
    epochs = runs["epochs"]
    if not epochs[~repeat].sum():
        return []
    values: dict[str, Any] = {}
    for count, sum_, own in (
        ("trials", "epochs", ~repeat),
        ("repeats", "repeat_epochs", repeat & ~alone),
        ("baselines", "baseline_epochs", alone),
    ):
        values |= {count: int(own.sum()) or None, sum_: int(epochs[own].sum())}
    return [say("cost.search", seconds=view.study.elapsed or None, **values)]
