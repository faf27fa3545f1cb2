"""A sentence with figures for each clause of a study's question: each searched parameter, each baseline, and what was not tried."""

import math
from collections.abc import Sequence

import pandas as pd

from sweeps.results.found_trials import promotes
from vaeexp.evaluation.metrics import METRICS
from vaeexp.report.headline import BOTH_EPOCHS, at_epoch, incomparable, moved, same_images
from vaeexp.report.markup import escape
from vaeexp.results.coverage import Coverage
from vaeexp.results.effects import ParameterEffect
from vaeexp.results.interactions import Interaction
from vaeexp.results.parameters import LEAST_TRIALS, SearchedParameter
from vaeexp.results.study_view import StudyView
from vaeexp.results.tested_settings import BaselineMargin, TestedSetting, same_runs, same_training
from vaeexp.words import (
    format_interval,
    format_interval_and_p,
    format_number,
    format_share,
    format_value,
    join_and,
    parameter_label,
    plural,
)

LITTLE = 0.05
"""Share of the importance below which a parameter did not set the best trials apart."""
FURTHEST = (
    "In the lines on parameters the best trials are the complete ones, then those that were promoted furthest, of equally many epochs the lowest. "
    "What learns slowly at first was paused early, and counts as bad. Where the sampler had settled on a value early, the best have it as the rest do, "
    "and the line says open."
)
"""The order of trials under the pruner `promotion`, and what it cannot see."""
VERDICTS = {
    "determined": "strongly determined",
    "weak": "weakly determined: some values are ruled out, no more",
    "open": "open: the best differ from the rest by no more than chance allows",
}


def clauses(view: StudyView) -> list[str]:
    """Return the sentences in order; empty before a trial is complete."""
    if view.ranked.empty:
        return []
    return [*parameter_clauses(view), *interaction_clauses(view), *coverage_clauses(view), *baseline_clauses(view)]


def parameter_clauses(view: StudyView) -> list[str]:
    """Say of each searched parameter where the best trials have it and how sure that is; with few trials, that this cannot be said."""
    many = len(view.found)
    if len(view.judged) < LEAST_TRIALS:
        if len(view.parameters) < 2:
            return [_of_few(view, parameter) for parameter in view.parameters.values()]
        judged = plural(len(view.judged), "promoted or complete trial" if promotes(view.study) else "complete trial")
        return [f"Which parameters mattered cannot be said from {judged}; it takes {LEAST_TRIALS}."]
    spans = {effect.parameter: effect.span for effect in view.effects if math.isfinite(effect.span)}
    widest = max(spans, key=lambda name: spans[name], default=None)
    sentences = []
    for effect in view.effects:
        parameter, label = view.parameters[effect.parameter], f"**{escape(effect.label)}**"
        if parameter.places(view.found).nunique() < 2:
            which = "trials" if promotes(view.study) else "complete trials"
            sentences.append(f"{label}: one value in all {many:,} {which}, so nothing is said of it.")
        elif parameter.places(view.covered(view.found, effect.parameter)).nunique() < 2:
            sentences.append(
                f"{label}: no two of its values were tried {_far(view)}where the best lie, so the search says nothing of it."
            )
        else:
            sentences.append(f"{label}: {_effect(effect, widest=effect.parameter == widest and len(spans) > 1)}")
    return sentences + ([FURTHEST] if promotes(view.study) else [])


def _far(view: StudyView) -> str:
    """Return how far a trial must go to show what is good, before the place where: under promotion a rung does."""
    return "" if promotes(view.study) else "to the end "


def _of_few(view: StudyView, parameter: SearchedParameter) -> str:
    """Say which value of the only parameter is best among few trials, and how rate and distortion differ between its two ends."""
    values, trials = parameter.of(view.ranked).map(format_value), view.ranked
    many = values.nunique()
    if many < 2:
        return f"**{escape(parameter.label)}**: one value in every complete trial, so nothing is said of it."
    best = trials.loc[~values.duplicated(), "objective"]
    first, second = (f"{escape(values[row])} ({format_number(best[row])})" for row in best.index[:2])
    sentence = f"**{escape(parameter.label)}**: {many} values in {plural(len(trials), 'complete trial')}, too few for an interval. "
    sentence += f"The validation −ELBO is lowest at {first} and next lowest at {second}."
    last = view.points[view.points["number"].isin(trials["number"])]
    if parameter.is_choice or len(last) < 2:
        return sentence
    ends = last.loc[parameter.of(last).sort_values(kind="stable").index[[0, -1]]]
    low, high = map(format_value, parameter.of(ends))
    rate, distortion = (" to ".join(map(format_number, ends[f"val/{name}"])) for name in ("rate", "distortion"))
    sentence += f" From {low} to {high}, the lowest and the highest, the rate goes from {rate}"
    return f"{sentence} and the distortion from {distortion} nats per image (last epochs, validation)."


def _effect(effect: ParameterEffect, *, widest: bool) -> str:
    top = f"the best {effect.top} trials"
    if effect.low is not None and effect.high is not None:
        ends = list(dict.fromkeys(format_value(end) for end in (effect.low, effect.high)))
        where = f"{' to '.join(ends)} in {top}"
    else:
        counts = sorted(effect.counts.items(), key=lambda pair: -pair[1])
        where = (
            f"{join_and([f'{escape(text)} in {count:,}' for text, count in counts])} of {top}" if counts else "not used"
        )
    parts = [where, VERDICTS[effect.verdict]]
    if math.isfinite(effect.share):
        share = f"{format_share(effect.share)} of the importance"
        if math.isfinite(effect.share_low):
            share += f" (95 % interval {format_share(effect.share_low)} to {format_share(effect.share_high)})"
        parts.append(share)
    if math.isfinite(effect.span):
        parts.append(f"{format_number(effect.span)} nats between the best and the worst of its partial dependence")
    sentence = "; ".join(parts)
    if effect.at_bound:
        sentence += f". The best trials pile up at its {effect.at_bound} bound, and beyond may be better"
    if widest and effect.share < LITTLE:
        # PED-ANOVA compares the best with all trials: where all trials have a good value, the best do not stand out.
        sentence += (
            ". No parameter spans more nats, so the small importance does not mean that it did not matter: the search had "
            "settled it, and the best differ little from all trials there"
        )
    return f"{sentence}."


def interaction_clauses(view: StudyView) -> list[str]:
    """Name where a compared parameter acts otherwise below a threshold than above, and for which side the learning rate was tuned.

    The last sentence says how often chance names an interaction, or that there are too few pairs to name one.
    """
    sentences = [_interaction(interaction) for interaction in view.interactions if interaction.consistent]
    tuned = {
        (interaction.parameter, format_value(interaction.tuned_for))
        for interaction in view.interactions
        if interaction.tuned_for is not None
    }
    return (
        sentences
        + [
            f"**{escape(parameter_label(name))}**: every compared configuration was found with {escape(value)}, so that its "
            "learning rate was tuned for this side only."
            for name, value in sorted(tuned)
        ]
        + _how_sure(view.interactions)
    )


def _how_sure(interactions: Sequence[Interaction]) -> list[str]:
    """Say how often chance names an interaction in such a study; nothing where nothing was compared."""
    kinds = {
        (interaction.parameter, format_value(interaction.first), format_value(interaction.second)): interaction
        for interaction in interactions
    }
    able = [interaction for interaction in kinds.values() if interaction.nameable]
    if not kinds:
        return []
    if not able:
        return [
            "Whether a compared parameter acts otherwise at other values of the rest cannot be said: with so few matched pairs, "
            "chance would name an interaction in more than 5 % of studies without any."
        ]
    others = join_and(list(dict.fromkeys(escape(parameter_label(interaction.other)) for interaction in interactions)))
    where = f"in {plural(len(able), 'comparison')}" + (f" of {len(kinds):,}" if len(able) < len(kinds) else "")
    rate = format_share(able[0].study_false_alarm)
    return [
        f"Interactions with {others} were looked for {where}; chance names one in at most {rate} of studies without any."
    ]


def _interaction(interaction: Interaction) -> str:
    first, second = escape(format_value(interaction.first)), escape(format_value(interaction.second))
    other, at = escape(parameter_label(interaction.other)), escape(format_value(interaction.threshold))
    # Only values that were compared are named, because no configuration with another value was trained in pairs.
    rest = " or ".join(map(escape, interaction.rest))
    above, below = (f"{other} = {at}", f"{other} = {rest}") if rest else (f"{other} above {at}", f"{other} below {at}")

    def side(mean: float) -> str:
        return f"{first if mean > 0 else second} is better by {format_number(abs(mean))} nats"

    on = other if interaction.is_cause else "configuration"
    sentence = (
        f"**{escape(parameter_label(interaction.parameter))}** depends on the {on}: with {below} {side(interaction.below)}, with {above} "
        f"{side(interaction.above)}, the same in each of {plural(interaction.n, 'pair')} over {plural(interaction.configurations, 'configuration')}"
    )
    if interaction.alike:
        names = join_and([escape(parameter_label(name)) for name in interaction.alike])
        sentence += f"; {names} {'splits' if len(interaction.alike) == 1 else 'split'} the configurations alike, so which is the cause is open"
    elif not interaction.is_cause:
        sentence += f"; so few configurations cannot show that the {other} is the cause"
    return f"{sentence}."


def coverage_clauses(view: StudyView) -> list[str]:
    """Name each value of a choice that the search never tried where the others are good, and what else says something of it."""
    sentences = []
    for name, entries in view.coverage.items():
        for coverage in (coverage for coverage in entries if not coverage.covered and len(view.ranked) > 1):
            tried = (
                f"{plural(coverage.trials, 'trial')}, {coverage.complete:,} complete and {coverage.pruned:,} pruned"
                if coverage.trials
                else "no trial"
            )
            sentences.append(
                f"**{escape(parameter_label(name))} = {escape(coverage.text)}** was never tried {_far(view)}near the region where the "
                f"others are good ({tried}), so the search alone says nothing of it{_tried_elsewhere(view, coverage)}."
            )
    return sentences


def _tried_elsewhere(view: StudyView, value: Coverage) -> str:
    """Name the matched pairs and the baselines that tried a value at good configurations; empty without any."""
    pairs = [
        comparison.pairs
        for comparison in view.pairs
        if comparison.parameter == value.parameter
        and value.text in (format_value(comparison.first), format_value(comparison.second))
    ]
    runs = pd.concat(pairs) if pairs else pd.DataFrame()
    parts = []
    if len(runs):
        over = runs["source_trial"].nunique()
        parts.append(f"{plural(len(runs), 'matched pair')} over {over:,} of the best configurations")
    for setting in view.baselines:
        spec = view.baseline_specs[str(setting.baseline)]
        changed = (spec.get("settings") or {}).get(value.parameter)
        if spec.get("at") == "best" and changed is not None and format_value(changed) == value.text:
            parts.append(f"the baseline “{escape(setting.title)}”")
    return f"; what is said of it rests on {join_and(parts)}" if parts else ""


def baseline_clauses(view: StudyView) -> list[str]:
    """Set each baseline beside the best configuration: −ELBO where it can be compared, and rate, FID and MSE at both epochs."""
    return [_baseline(view, setting) for setting in view.baselines]


def _baseline(view: StudyView, setting: TestedSetting) -> str:
    title, best, margin = (
        f"**{escape(setting.title)}** (n = {len(setting.runs):,})",
        view.opposed(setting),
        view.margin_of(setting),
    )
    if best is None or not best.test("distortion").n:
        figures = join_and(
            [f"{name} {cell}" for name, cell in _measured(at_epoch(setting, "test"))] or ["no test figure"]
        )
        which = (
            f"no run of trial {setting.source_trial} is complete"
            if view.confirmed
            else "no configuration was confirmed"
        )
        return f"{title}: {figures}; {which}, to set it beside."
    whom = (
        "the best" if view.best is None or best.source_trial == view.best.source_trial else f"trial {best.source_trial}"
    )
    if same_runs(best, setting):
        return f"{title} is {whom.replace('the best', 'the best configuration')} itself: these are the same runs."
    if same_training(best, setting):
        return f"{title} trains {whom.replace('the best', 'the best configuration')} again with the same seeds: the same test −ELBO; {_weighted(setting)}."
    parts = []
    if margin is not None and math.isfinite(margin.interval.mean):
        parts.append(f"test −ELBO {format_interval(setting.test('neg_elbo'))}, {_against(margin, whom)}")
        parts += [_other_estimate(margin, whom)] if margin.weighted and not margin.estimates_agree else []
    elif setting.same_protocol != best.same_protocol:
        parts.append(f"its −ELBO cannot be compared ({escape('; '.join(incomparable(best, setting)))})")
    parts += _beside(best, setting, whom) if same_images(best, setting) else []
    sentence = f"{title}: {'; '.join(parts)}."
    if moved(setting):
        epochs = setting.runs["epochs"].dropna().astype(int)
        last = join_and([f"{name} {cell}" for name, cell in _measured(at_epoch(setting, "test_last"))])
        sentence += f" These are of its best epoch; at its last ({int(epochs.max()):,}): {last}."
    return sentence


def _against(margin: BaselineMargin, whom: str) -> str:
    """Return `24.50 nats worse than the best (…)`, or than trial 7; without “worse” where the corrected test does not tell the two apart."""
    size = f"{format_number(abs(margin.interval.mean))} nats"
    side = "above" if margin.interval.mean >= 0 else "below"
    if not math.isfinite(margin.interval.low):
        return f"{size} {side} {whom} (too few seeds for an interval)"
    basis = f"({format_interval_and_p(margin.interval, margin.p_holm, margin.tests)}; {margin.basis})"
    if not margin.settled:
        return f"{size} {side} {whom}, which chance may explain {basis}"
    return f"{size} {'worse' if margin.interval.mean > 0 else 'better'} than {whom} {basis}"


def _weighted(setting: TestedSetting) -> str:
    """Return `IW-NLL 87.58 ± 0.07 (k = 5,000)`."""
    counts = sorted({int(count) for count in setting.runs["result.test/importance_samples"].dropna()})
    return f"IW-NLL {format_interval(setting.test('iw_nll'))} (k = {join_and([f'{count:,}' for count in counts])})"


def _other_estimate(margin: BaselineMargin, whom: str) -> str:
    """Return what the tighter estimate says where the two do not agree."""
    weighted = margin.weighted
    assert weighted is not None
    side = "above" if weighted.mean >= 0 else "below"
    span = f"{format_number(weighted.low)} to {format_number(weighted.high)}"
    return (
        f"the two estimates do not agree: its IW-NLL, the tighter one, is {format_number(abs(weighted.mean))} nats {side} that of {whom} "
        f"(95 % interval {span})"
    )


def _measured(cells: Sequence[str]) -> list[tuple[str, str]]:
    return [(METRICS[name].label, cell) for name, cell in zip(BOTH_EPOCHS, cells, strict=True) if cell != "–"]


def _beside(best: TestedSetting, setting: TestedSetting, whom: str) -> list[str]:
    """Return `FID 247.56 against 68.96`, where either is known at the best epoch."""
    pairs = zip(BOTH_EPOCHS, at_epoch(setting, "test"), at_epoch(best, "test"), strict=True)
    return [
        f"{METRICS[name].label} {cell} against {other} of {whom}"
        for name, cell, other in pairs
        if "–" not in (cell, other)
    ]
