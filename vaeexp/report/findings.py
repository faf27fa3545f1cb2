"""The findings of a study as statements: what to use, what one gets, and what was compared and searched, the largest effect first."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd

from sweeps.results.statistics import mean_interval
from vaeexp.evaluation.metrics import BESIDE, METRICS, REACHED
from vaeexp.report.headline import incomparable, samples_of
from vaeexp.results.coverage import Coverage
from vaeexp.results.divergence import Divergence
from vaeexp.results.effects import best_of
from vaeexp.results.equal_epochs import EqualEpochEffect
from vaeexp.results.equally_good import EquallyGood, equally_good
from vaeexp.results.front_view import FrontView
from vaeexp.results.holes import NumberHole, hole_statement
from vaeexp.results.interactions import LEVEL, Interaction
from vaeexp.results.new_seeds import failed_seeds
from vaeexp.results.parameters import LEAST_TRIALS
from vaeexp.results.statements import NATS, Figure, Statement
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import finite, for_baseline_alone
from vaeexp.results.tested_settings import (
    ERROR_RATE,
    PairComparison,
    TestedSetting,
    WinnerMargin,
    same_images,
    same_runs,
    same_training,
)
from vaeexp.results.verdict import came_further
from vaeexp.words import format_value, parameter_label

EQUAL = 0.01
"""Share of a −ELBO within which two are as good as equal."""
ENDED = ("complete", "pruned", "failed")
STATES = ("complete", "pruned", "failed", "running", "paused", "waiting")


def run_names(runs: pd.DataFrame) -> tuple[str, ...]:
    """Return the names of trials and repeats as commands have them after the name of the study: `45`, `r3`."""
    return tuple(
        f"{'r' if repeat else ''}{number}" for repeat, number in zip(runs["repeat"], runs["number"], strict=True)
    )


# ---- what to use ----


def use(view: StudyView) -> list[Statement]:
    """Return the setting to use, and the ranges that are as good."""
    if view.front is not None and len(view.front.members):
        return [_front(view.front)]
    trial = view.best_trial
    if view.nothing_learned:
        return [view.nothing_learned[0]]
    if trial is None:
        return [_nothing_yet(view)]
    configuration, number = view.params(trial), int(trial["number"])
    values = {"trial": number, "configuration": configuration}
    kind = "use.trial" if view.study.finished else "use.so_far"
    chosen = Statement(id=kind if configuration else "use.only_trial", values=values, rows=(str(number),))
    good = equally_good(view)
    level = view.ranked["objective"].iloc[0]
    return [chosen, *([_as_good(good, level)] if good else [])]


def _as_good(good: EquallyGood, level: float) -> Statement:
    values = {
        "ranges": _ranges(good),
        "trials": len(good.trials),
        "within": Figure(value=good.within, unit=NATS),
        "limit": Figure(value=good.limit, unit=NATS),
    }
    kind = "use.as_good" if good.within <= EQUAL * abs(level) else "use.unclear"
    return Statement(id=kind, values=values, rows=tuple(map(str, good.trials)))


def _ranges(good: EquallyGood) -> dict[str, Any]:
    """Return parameter → its one value, `(least, largest)` of a number, or `adam or adamax`."""
    shown = {}
    for name, values in good.ranges.items():
        texts = all(isinstance(value, str) for value in values)
        shown[name] = values[0] if len(values) == 1 else " or ".join(values) if texts else values
    return shown


def _front(front: FrontView) -> Statement:
    low, high = front.members.iloc[0], front.members.iloc[-1]
    first, second = front.metrics
    ends = {"low": low, "high": high}
    values: dict[str, Any] = {"first": front.labels[0], "second": front.labels[1]}
    values |= {"count": len(front.members), "complete": len(front.complete)}
    values |= {f"{end}_trial": int(row["number"]) for end, row in ends.items()}
    values |= {f"{end}_first": Figure(value=float(row[first])) for end, row in ends.items()}
    values |= {f"{end}_second": Figure(value=float(row[second])) for end, row in ends.items()}
    if len(front.members) == 1:
        values["trial"] = int(low["number"])
    kind = "use.front" if len(front.members) > 1 else "use.front_of_one"
    return Statement(id=kind, values=values, rows=run_names(front.members))


def _nothing_yet(view: StudyView) -> Statement:
    trials = view.search
    if trials.empty:
        return Statement(id="use.no_trial")
    counts = trials["state"].value_counts()
    states = {state: int(counts[state]) for state in STATES if state in counts}
    return Statement(id=f"use.no_{'value' if 'complete' in counts else 'complete'}", values={"states": states})


# ---- what one gets ----


def get(view: StudyView) -> list[Statement]:
    """Return what the best setting reaches, how far the next one is behind, and which unfinished trial had come further."""
    if view.best_trial is None or view.front is not None or view.nothing_learned:
        return []
    runs = view.confirm_runs[view.confirm_runs["source_trial"] == view.best_number]
    reached = _tested(view, runs) if len(runs) else _searched(view)
    level = view.best.value if view.best else math.nan
    return [
        reached,
        *(_margin(margin, level) for margin in view.margins[:1]),
        *([came_further(view.further)] if view.further else []),
    ]


def _tested(view: StudyView, runs: pd.DataFrame) -> Statement:
    best = view.best
    assert best is not None
    rows, planned = run_names(runs), best.planned
    figures = {name: figure_on_test(best, name) for name in REACHED}
    values: dict[str, Any] = {
        "planned": planned if planned > len(runs) else None,
        "samples": _samples(best),
        "failed": _failures(view, view.best_number),
        **figures,
    }
    if best.deterministic and figures["distortion"]:
        return Statement(id="get.distortion", values=values, rows=rows)
    if figures["neg_elbo"]:
        return Statement(id="get.confirmed", values=values, rows=rows)
    again = Figure.of(mean_interval(finite(runs["objective"]).tolist()))
    values = {"again": again} | {name: values[name] for name in ("planned", "failed")}
    return Statement(id="get.validation", values=values, rows=rows)


def figure_on_test(setting: TestedSetting, name: str) -> Figure | None:
    """Return a test figure of a setting with its interval over seeds; None where no run has it."""
    interval, metric = setting.test(name), METRICS[name]
    return Figure.of(interval, metric.unit, metric.digits) if interval.n else None


def _samples(setting: TestedSetting) -> int | None:
    """Return the importance samples per image that its runs share; None where they differ."""
    counts = samples_of([setting])
    return counts[0] if len(counts) == 1 else None


def _searched(view: StudyView) -> Statement:
    ranked, best = view.ranked, view.best_number
    rank = list(ranked["number"]).index(best) + 1
    value = Figure(value=float(ranked["objective"].iloc[rank - 1]), unit=NATS, n=1)
    kind = "get.searched_only" if len(ranked) == 1 else "get.searched" if rank == 1 else "get.searched_later"
    values = {"value": value, "rank": rank, "ranked": len(ranked), "failed": _failures(view, best)}
    return Statement(id=kind, values=values, rows=(str(best),))


def _margin(margin: WinnerMargin, level: float) -> Statement:
    """Set the next best confirmed setting beside the best: above 0 the gap is in favour of the best."""
    gap = Figure.of(margin.interval)
    shown = evidence(gap, settled=margin.settled, level=level)
    kind = "turned" if shown == "apart" and gap.value < 0 else shown
    values = {"trial": margin.source_trial, "gap": gap}
    return Statement(id=f"get.{kind}", values=values, rows=(str(margin.source_trial),))


Evidence = Literal["apart", "perhaps", "tie", "unclear", "too_few"]


def evidence(gap: Figure, *, settled: bool, level: float) -> Evidence:
    """Tell what a difference shows.

    `apart`: the corrected test tells two settings apart. `perhaps`: its own interval leaves out 0, and the corrected test does not. `tie`: the interval lies
    within `EQUAL` of their level around 0. `unclear`: it is wider. `too_few`: it has none.
    """
    if not math.isfinite(gap.low):
        return "too_few"
    if settled:
        return "apart"
    if gap.sure:
        return "perhaps"
    return "tie" if max(-gap.low, gap.high) <= EQUAL * abs(level) else "unclear"


def _failures(view: StudyView, source: int | None) -> tuple[Statement, ...]:
    """Return the new seeds of a confirmed setting that failed."""
    seeds = (each for each in view.new_seeds if each.purpose == "confirm" and each.source_trial == source)
    return next((failed_seeds(each.failures, each.planned) for each in seeds if each.failed), ())


def _failed(divergence: Divergence) -> Statement:
    """Say how many trials of the search failed of one kind, and on which side of a parameter they lie."""
    values: dict[str, Any] = {
        "failed": divergence.failed,
        "trials": divergence.trials,
        "kind": divergence.kind,
    }
    if divergence.parameter is None or divergence.side is None:
        return Statement(id="search.failed", values=values)
    values |= {
        "parameter": parameter_label(divergence.parameter),
        "threshold": format_value(divergence.threshold),
        "beyond": divergence.beyond,
        # Exceptions are the trials on that side that did not fail, and the failures on the other.
        "inside": (divergence.beyond + divergence.failed - divergence.exceptions) // 2,
        "exceptions": divergence.exceptions,
        "winner": None if divergence.winner is None else format_value(divergence.winner),
    }
    return Statement(id=f"search.failed_{divergence.side}", values=values)


# ---- what was compared ----


def findings(view: StudyView) -> list[Statement]:
    """Return what was compared, the baselines and the searched parameters, each kind with its largest effect first."""
    if view.ranked.empty or view.nothing_learned:
        return []
    return [*compared(view), *baselines(view), *map(_failed, view.divergences), *parameters(view), *uncovered(view)]


def compared(view: StudyView) -> list[Statement]:
    """Return a statement for each two values that the study compares in matched pairs, and each interaction that was found."""
    pairs = [pair for pair in view.pairs if len(pair.pairs)]
    level = view.best.value if view.best else math.nan
    without = [name for name in view.compared_parameters if name not in {pair.parameter for pair in pairs}]
    ordered = sorted((_pair(pair, level) for pair in pairs), key=lambda statement: -_size(statement))
    return [
        *ordered,
        *(Statement(id="compare.none", values={"parameter": parameter_label(name)}) for name in without),
        *map(_interaction, _named(view.interactions)),
    ]


def _pair(comparison: PairComparison, level: float) -> Statement:
    """Set two values against each other at the first of the settings, the winner where it was compared; then over all of them.

    Where that one has too few seeds for an interval and all of them together have one, over all alone.
    """
    first = comparison.by_configuration[0]
    alone = math.isnan(first.interval.low) and math.isfinite(comparison.interval.low)
    interval, p = (comparison.interval, comparison.p_holm) if alone else (first.interval, first.p_holm)
    sign = 1 if interval.mean > 0 else -1
    better, worse = (comparison.first, comparison.second)[::sign]
    gap = _signed(Figure.of(interval), sign)
    several = comparison.configurations > 1 and not alone
    values = {
        "parameter": parameter_label(comparison.parameter),
        "better": format_value(better),
        "worse": format_value(worse),
        "trial": None if alone else first.source_trial,
        "over": comparison.configurations if alone else None,
        "rank": first.rank,
        "ranked": first.ranked,
        "gap": gap,
        "mean": _signed(Figure.of(comparison.interval), sign) if several else None,
        "settings": comparison.configurations,
        "pairs": len(comparison.pairs),
    }
    for name in (name for name in BESIDE if METRICS[name].better):
        metric, other = METRICS[name], first.others.get(name)
        figure = Figure.of(other, metric.unit, metric.digits) if other and other.n else None
        values[name] = _signed(figure, sign) if figure and not alone else None
    kind = evidence(gap, settled=p <= ERROR_RATE, level=level)
    sources = tuple(str(own.source_trial) for own in comparison.by_configuration)
    return Statement(id=f"compare.{kind}", values=values, rows=sources)


def _signed(figure: Figure, sign: int) -> Figure:
    """Return the figure, or with −1 that of the opposite difference."""
    return figure if sign > 0 else figure.turned


def _named(interactions: Sequence[Interaction]) -> list[Interaction]:
    """Return the interactions that were found; of those without a known cause the first of each comparison."""
    kept: dict[tuple[str, ...], Interaction] = {}
    for each in (each for each in interactions if each.consistent):
        cause = each.other if each.is_cause else ""
        kept.setdefault((each.parameter, format_value(each.first), format_value(each.second), cause), each)
    return list(kept.values())


def _interaction(interaction: Interaction) -> Statement:
    """Say which value is better on each side; a gap above 0 is in favour of the first."""
    first, second = format_value(interaction.first), format_value(interaction.second)
    sides = {"below": interaction.below, "above": interaction.above}
    values: dict[str, Any] = {
        "parameter": parameter_label(interaction.parameter),
        "other": parameter_label(interaction.other) if interaction.is_cause else "setting",
        "by": parameter_label(interaction.other),
        "at": format_value(interaction.threshold),
        "rest": tuple(interaction.rest),
        "pairs": interaction.n,
        "settings": interaction.configurations,
        "alike": tuple(map(parameter_label, interaction.alike)),
    }
    values |= {f"{side}_better": first if gap > 0 else second for side, gap in sides.items()}
    values |= {side: Figure(value=gap, unit=NATS) for side, gap in sides.items()}
    return Statement(id=f"compare.interaction{'_of_value' if interaction.rest else ''}", values=values)


def pair_caveats(view: StudyView) -> list[Statement]:
    """Return what limits the comparisons in matched pairs: the side that the learning rate was tuned for, and how sure interactions are."""
    tuned = {(each.parameter, format_value(each.tuned_for)) for each in view.interactions if each.tuned_for is not None}
    values = [{"parameter": parameter_label(name), "value": value} for name, value in sorted(tuned)]
    return [*(Statement(id="caveat.tuned", values=each) for each in values), *_how_sure(view.interactions)]


def _how_sure(interactions: Sequence[Interaction]) -> list[Statement]:
    """Say how often chance names an interaction in such a study; nothing where nothing was compared."""
    kinds = {(each.parameter, format_value(each.first), format_value(each.second)): each for each in interactions}
    able = [each for each in kinds.values() if each.nameable]
    if not kinds:
        return []
    if not able:
        return [Statement(id="caveat.no_interactions", values={"level": LEVEL})]
    values = {
        "others": tuple(dict.fromkeys(parameter_label(each.other) for each in interactions)),
        "able": len(able),
        "comparisons": len(kinds) if len(able) < len(kinds) else None,
        "rate": able[0].study_false_alarm,
    }
    return [Statement(id="caveat.interactions", values=values)]


# ---- baselines ----


def baselines(view: StudyView) -> list[Statement]:
    """Return a statement for each baseline, the one furthest from the best first."""
    return sorted((_baseline(view, setting) for setting in view.baselines), key=lambda statement: -_size(statement))


def _size(statement: Statement) -> float:
    gap = statement.values.get("gap")
    return abs(gap.value) if isinstance(gap, Figure) else 0.0


def _baseline(view: StudyView, setting: TestedSetting) -> Statement:
    """Set a baseline beside the confirmed setting that it changes, or beside the best."""
    other, margin = view.opposed(setting), view.margin_of(setting)
    rows, values = run_names(setting.runs), {"title": setting.title, "n": len(setting.runs)}
    if other is None or not other.test("distortion").n:
        values |= {name: figure_on_test(setting, name) for name in ("neg_elbo", "fid")}
        return Statement(id="baseline.alone", values=values, rows=rows)
    kind = "best" if other.source_trial == view.best_number else "trial"
    values["against"] = Statement(id=f"against.{kind}", values={"trial": other.source_trial})
    if same_runs(other, setting):
        return Statement(id="baseline.same_runs", values=values, rows=rows)
    if same_training(other, setting):
        values |= {"iw_nll": figure_on_test(setting, "iw_nll"), "samples": _samples(setting)}
        return Statement(id="baseline.same_training", values=values, rows=rows)
    values |= _beside(other, setting)
    if margin is None or not math.isfinite(margin.interval.mean):
        values["why"] = tuple(incomparable(other, setting)) or (Statement(id="differs.no_figure"),)
        return Statement(id="baseline.other", values=values, rows=rows)
    gap = Figure.of(margin.interval)
    values |= {
        "gap": gap,
        "neg_elbo": figure_on_test(setting, "neg_elbo"),
        "weighted": None if margin.estimates_agree or margin.weighted is None else Figure.of(margin.weighted),
    }
    kind = evidence(gap, settled=margin.settled, level=other.value)
    return Statement(id=f"baseline.{kind}", values=values, rows=rows)


def _beside(other: TestedSetting, setting: TestedSetting) -> dict[str, Figure | None]:
    """Return the figures of samples and reconstructions of a baseline and of the other, where both measure one thing."""
    if not same_images(other, setting):
        return {}
    values: dict[str, Figure | None] = {}
    for name in BESIDE:
        without = name == "rate" and (setting.deterministic or other.deterministic)
        values[name] = None if without else figure_on_test(setting, name)
        values[f"{name}_of_other"] = figure_on_test(other, name)
    return values


# ---- what was searched ----


def parameters(view: StudyView) -> list[Statement]:
    """Return a statement for each searched parameter, the largest effect first: what was tried, where the best have it, what it costs elsewhere."""
    if len(view.judged) < LEAST_TRIALS and len(view.parameters) > 1:
        return [Statement(id="parameter.few", values={"judged": len(view.judged), "least": LEAST_TRIALS})]
    ends = {effect.parameter: effect.winner_at for effect in view.effects}
    statements = [_parameter(view, effect, ends[effect.parameter]) for effect in view.equal_epochs]
    ordered = sorted(statements, key=lambda statement: -_cost_of(statement))
    return [*ordered, *map(_hole, view.holes.numbers.values())]


def _cost_of(statement: Statement) -> float:
    behind = statement.values.get("behind")
    return abs(behind.value) if isinstance(behind, Figure) else 0.0


def _parameter(view: StudyView, effect: EqualEpochEffect, end: str | None) -> Statement:
    parameter = view.parameters[effect.parameter]
    label, tried = parameter_label(parameter.name), parameter.of(view.search).dropna()
    texts = tuple(dict.fromkeys(map(format_value, tried)))
    if not texts:
        return Statement(id="parameter.unused", values={"parameter": label})
    if len(texts) < 2:
        return Statement(id="parameter.one_value", values={"parameter": label, "value": texts[0]})
    top = best_of(view.found[parameter.places(view.found).notna()])
    behind = Figure.of(effect.behind)
    known = math.isfinite(behind.low)
    values: dict[str, Any] = {
        "parameter": label,
        "end": end,
        "epoch": effect.epoch if known else None,
        "at": format_value(effect.at) if known else None,
        "behind": behind if known and behind.sure else None,
        "unsure": behind if known and not behind.sure else None,
        "failed": effect.failed or None,
    }
    if parameter.is_choice:
        listed = tuple(text for text in parameter.texts if text in texts)
        values |= {"tried": listed, "best": tuple(map(format_value, effect.best))}
        return Statement(id="parameter.choice", values=values, rows=run_names(top))
    numbers = tried.astype(float)
    low, high = (effect.best[0], effect.best[-1]) if effect.best else (None, None)
    shown = {"low": numbers.min(), "high": numbers.max(), "best_low": low, "best_high": high}
    values |= {name: Figure(value=float(number), digits=None) for name, number in shown.items() if number is not None}
    kind = "parameter.tried_same" if low == high else "parameter.tried"
    return Statement(id=kind, values=values, rows=run_names(top))


def _hole(hole: NumberHole) -> Statement:
    """Say where a number was tried only with bad values of others."""
    said = hole_statement(hole)
    return Statement(id=f"parameter.{said.id.replace('.', '_')}", values=said.values)


def uncovered(view: StudyView) -> list[Statement]:
    """Return a statement for each value of a choice that was never tried where the others are good, unless its cost at equal epochs is known."""
    every = [coverage for entries in view.coverage.values() for coverage in entries if len(view.ranked) > 1]
    known = {
        (effect.parameter, format_value(effect.at)) for effect in view.equal_epochs if math.isfinite(effect.behind.low)
    }
    return [
        _not_covered(view, coverage)
        for coverage in every
        if not coverage.covered and (coverage.parameter, coverage.text) not in known
    ]


def _not_covered(view: StudyView, coverage: Coverage) -> Statement:
    values = {
        "parameter": parameter_label(coverage.parameter),
        "value": coverage.text,
        "trials": coverage.trials,
        "complete": coverage.complete,
        "elsewhere": _elsewhere(view, coverage),
    }
    return Statement(id="parameter.not_covered", values=values)


def _elsewhere(view: StudyView, coverage: Coverage) -> tuple[Statement, ...]:
    """Name what tried a value at good settings: matched pairs and baselines."""
    pairs = [
        pair
        for pair in view.pairs
        if pair.parameter == coverage.parameter
        and coverage.text in (format_value(pair.first), format_value(pair.second))
        and len(pair.pairs)
    ]
    changed = {name: (spec.get("settings") or {}).get(coverage.parameter) for name, spec in view.baseline_specs.items()}
    own = [
        Statement(id="elsewhere.baseline", values={"title": setting.title})
        for setting in view.baselines
        if changed[str(setting.baseline)] is not None
        and format_value(changed[str(setting.baseline)]) == coverage.text
        and view.baseline_specs[str(setting.baseline)].get("at") == "best"
    ]
    return (*([Statement(id="elsewhere.pairs")] if pairs else []), *own)


# ---- cost ----


def cost(view: StudyView) -> list[Statement]:
    """Return how many trials were pruned, from whom else the sampler learned, and what search and runs took."""
    return [*_pruned(view), *_learned(view), *_spent(view)]


def _pruned(view: StudyView) -> list[Statement]:
    trials = view.search
    pruned = int((trials["state"] == "pruned").sum())
    ended = int(trials["state"].isin(ENDED).sum())
    if not ended:
        return []
    if not pruned:
        return [Statement(id="cost.pruned_none")]
    saved, spent = view.epochs_saved, int(trials["epochs"].sum())
    values = {"pruned": pruned, "ended": ended, "saved": saved or None, "share": saved / max(1, saved + spent)}
    # Patience would have ended some of them, too.
    return [Statement(id="cost.pruned_up_to" if view.fixed("patience") else "cost.pruned", values=values)]


def _learned(view: StudyView) -> list[Statement]:
    if not view.study.learned:
        return []
    values = {"trials": len(view.study.learned), "study": str(view.study.spec["learn_from"])}
    return [Statement(id="cost.learned", values=values)]


def _spent(view: StudyView) -> list[Statement]:
    trials, alone = view.trials, for_baseline_alone(view.trials)
    search, again, own = (trials[chosen] for chosen in (~trials["repeat"], trials["repeat"] & ~alone, alone))
    if not search["epochs"].sum():
        return []
    elapsed = view.study.elapsed
    values: dict[str, Any] = {"seconds": elapsed or None}
    for name, runs in {"": search, "repeat": again, "baseline": own}.items():
        count = len(runs) or None
        values |= {
            f"{name}s" if name else "trials": count,
            f"{name}_epochs" if name else "epochs": int(runs["epochs"].sum()),
        }
    return [Statement(id="cost.search", values=values)]
