"""The answer of a study in words made from numbers: its best configuration, and a sentence for each clause of the question."""

import math
from collections.abc import Sequence

import pandas as pd

from vaeexp.report.clauses import clauses
from vaeexp.report.closing import STATES
from vaeexp.report.front import front_words
from vaeexp.report.markup import escape
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import column, finite, for_baseline_alone, interval_on_test
from vaeexp.results.tested_settings import PairComparison, WinnerMargin
from vaeexp.words import (
    format_configuration,
    format_duration,
    format_interval,
    format_interval_and_p,
    format_number,
    format_share,
    format_value,
    join_and,
    parameter_label,
    plural,
)

ENDED = ("complete", "pruned", "failed")


def answer(view: StudyView) -> str:
    """Return the best configuration and how sure it is; a list with a sentence for each clause of the question; the cost."""
    listed = "\n".join(f"- {clause}" for clause in filter(None, [compared_words(view), *clauses(view)]))
    best, cost = _join(_best(view), escape(view.came_further)), _join(_pruning(view), _learned(view), _cost(view))
    blocks = escape(view.nothing_learned), best, listed, cost
    return "\n\n".join(block for block in blocks if block)


def _join(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


def compared_words(view: StudyView) -> str:
    """Say which value of each compared parameter is better, and how sure; empty where the study compares nothing."""
    if view.ranked.empty:
        return ""
    return _join(*(_compared_one(view, name) for name in view.compared_parameters))


def _compared_one(view: StudyView, parameter: str) -> str:
    comparisons = [pair for pair in view.pairs if pair.parameter == parameter and len(pair.pairs)]
    name = escape(parameter_label(parameter))
    if not comparisons:
        return f"Which {name} is better is open: no matched pair of runs is complete."
    if len(comparisons) == 1:
        return _one_comparison(comparisons[0])
    settled = [comparison for comparison in comparisons if comparison.better is not None]
    if not settled:
        return f"In matched pairs, no two values of {name} can be told apart."
    parts = [
        f"{' is better than '.join(_sides(pair))} by {format_number(abs(pair.interval.mean))} nats per image ({_interval_and_p(pair)})"
        for pair in settled
    ]
    rest = f"; other values of {name} cannot be told apart" if len(settled) < len(comparisons) else ""
    return f"In matched pairs, {join_and(parts)}{rest}."


def _one_comparison(comparison: PairComparison) -> str:
    better, worse = _sides(comparison)
    first, second = escape(format_value(comparison.first)), escape(format_value(comparison.second))
    name, interval, count = escape(parameter_label(comparison.parameter)), comparison.interval, len(comparison.pairs)
    basis = f"{plural(count, 'seed')} of one configuration"
    if comparison.configurations > 1:
        basis = f"{plural(count, 'matched pair')} of runs over {plural(comparison.configurations, 'configuration')}"
    difference = f"{second} − {first} is {format_number(interval.mean)} nats per image of validation −ELBO"
    span = _interval_and_p(comparison)
    unsettled = f"Which {name} is better, {first} or {second}, remains open:"
    if not math.isfinite(interval.low):
        basis = "the one matched pair of runs" if count == 1 else basis
        return f"{unsettled} in {basis} {difference}, and fewer than three differences give no interval."
    if comparison.better is None:
        return f"{unsettled} {basis} cannot separate them; {difference} ({span})."
    return f"As {name}, {better} is better than {worse}: in {basis} {difference} ({span})."


def _interval_and_p(difference: PairComparison | WinnerMargin) -> str:
    return format_interval_and_p(difference.interval, difference.p_holm, difference.tests)


def _sides(comparison: PairComparison) -> tuple[str, str]:
    """Return the better value and the other."""
    first, second = escape(format_value(comparison.first)), escape(format_value(comparison.second))
    return (first, second) if comparison.interval.mean > 0 else (second, first)


def _pruning(view: StudyView) -> str:
    """Say how many trials were pruned, and how many trial-epochs that saved; empty before a trial has ended."""
    trials = view.search
    pruned = int((trials["state"] == "pruned").sum())
    ended = int(trials["state"].isin(ENDED).sum())
    if not ended:
        return ""
    if not pruned:
        return "No trial was pruned."
    sentence = f"Pruning ended {pruned:,} of {plural(ended, 'trial')} early"
    saved, spent = view.epochs_saved, int(trials["epochs"].sum())
    if not saved:
        return f"{sentence}."
    upto, share = "up to " if view.fixed("patience") else "", format_share(saved / (saved + spent))
    return f"{sentence} and saved {upto}{plural(saved, 'trial-epoch')}, {share} of what the search would have taken without it."


def _learned(view: StudyView) -> str:
    """Say from which other study the sampler learned, too; empty where it did not."""
    if not view.study.learned:
        return ""
    return f"The sampler also learned from {plural(len(view.study.learned), 'trial')} of {escape(str(view.study.spec['learn_from']))}."


def _cost(view: StudyView) -> str:
    """Say the wall time and the trial-epochs of the search and of the repeats; empty before the first epoch."""
    trials = view.trials
    alone = for_baseline_alone(trials)
    search = trials[~trials["repeat"]]
    if not search["epochs"].sum():
        return ""
    elapsed = view.study.elapsed
    wall = f"{format_duration(elapsed)} of wall time and " if elapsed else ""
    sentence = f"The search took {wall}{plural(int(search['epochs'].sum()), 'trial-epoch')}"
    for runs, purpose in (
        (trials[trials["repeat"] & ~alone], "to confirm and compare"),
        (trials[alone], "of baselines"),
    ):
        if len(runs):
            epochs = plural(int(runs["epochs"].sum()), "trial-epoch")
            sentence += f"; {plural(len(runs), 'run')} {purpose} took {epochs} more"
    return f"{sentence}."


def _best(view: StudyView) -> str:
    """Return the paragraph on the best configuration: its parameters, its test figure, and its margin over the next.

    With two objectives, the paragraph on the front.
    """
    best, trial = view.best_number, view.best_trial
    if view.front is not None and len(view.front.members):
        return front_words(view.front)
    if trial is None:
        return "" if view.nothing_learned else _nothing(view)
    soon = "" if view.study.finished else " so far"
    configuration = escape(format_configuration(view.params(trial)))
    first = (
        f"The best configuration{soon} is {configuration} (trial {best})."
        if configuration
        else f"The best trial{soon} is {best}."
    )
    runs = view.confirm_runs[view.confirm_runs["source_trial"] == best]
    if len(finite(column(runs, "result.test/neg_elbo"))):
        return _join(first, _confirmed(runs), margin_words(view))
    return f"{first} {_unconfirmed(view, trial, runs)}"


def _nothing(view: StudyView) -> str:
    trials = view.trials
    if trials.empty:
        return "There is no answer yet: no trial has started."
    counts = trials.loc[~trials["repeat"], "state"].value_counts()
    states = [f"{counts[state]:,} {state}" for state in STATES if state in counts]
    what = "none of its complete trials has a value" if "complete" in counts else "no trial has completed"
    return f"There is no answer yet: {what} ({', '.join(states)})."


def _confirmed(runs: pd.DataFrame) -> str:
    neg_elbo, weighted = interval_on_test(runs, "test/neg_elbo"), interval_on_test(runs, "test/iw_nll")
    samples = set(finite(column(runs, "result.test/importance_samples")))
    k = f" (k = {int(samples.pop()):,})" if len(samples) == 1 else ""
    sentence = f"Trained afresh with {plural(neg_elbo.n, 'new seed')}, it reaches a test −ELBO of {format_interval(neg_elbo)} nats per image"
    if weighted.n:
        sentence += f" and an importance-weighted NLL{k} of {format_interval(weighted)}"
    if math.isfinite(neg_elbo.low):
        return f"{sentence} (95 % intervals over seeds)."
    return f"{sentence}; {'one seed gives' if neg_elbo.n == 1 else 'two seeds give'} no interval."


def _unconfirmed(view: StudyView, row: pd.Series, runs: pd.DataFrame) -> str:
    """Say the figure of the search, and why it is optimistic."""
    ranked = view.ranked
    if len(ranked) == 1:
        optimism = "that of the only complete trial"
    else:
        rank = int((ranked["number"] == row["number"]).argmax()) + 1
        which = "the lowest" if rank == 1 else f"number {rank:,}"
        optimism = f"{which} of {len(ranked):,} complete trials and optimistic for that reason"
    sentence = f"Its validation −ELBO is {format_number(row['objective'])} nats per image, {optimism}"
    if runs.empty:
        return f"{sentence}; it has not been confirmed on test."
    again = f"trained afresh with {plural(len(runs), 'new seed')} it reaches {format_number(runs['objective'].mean())} there"
    return f"{sentence}; {again}. It has no test figure."


def margin_words(view: StudyView) -> str:
    """Say in a sentence or two how far the runner-up and the others are behind; empty where one configuration was confirmed."""
    margins = view.margins
    return _join(_runner_up(margins[0]), _others(margins[1:]), _raced(view)) if margins else ""


def _raced(view: StudyView) -> str:
    """Count the configurations that the race dropped; empty without one."""
    if view.race is None or not view.race.dropped:
        return ""
    return f"On validation the race dropped {len(view.race.dropped):,} of the {plural(len(view.race.order) - 1, 'other')}, because they could hardly win."


def _runner_up(margin: WinnerMargin) -> str:
    gap = margin.interval.mean
    other = f"trial {margin.source_trial}, the runner-up on validation"
    size = f"{format_number(abs(gap))} nats"
    if not math.isfinite(margin.interval.low):
        return f"It is {size} {'better' if gap >= 0 else 'worse'} on test than {other}, and {plural(margin.seeds, 'shared seed')} cannot tell whether that is more than chance."
    span = _interval_and_p(margin)
    if not margin.settled:
        return f"It cannot be told from {other}: {margin.seeds:,} shared seeds leave their difference of {format_number(gap)} nats open ({span})."
    if gap > 0:
        return f"It is {size} better on test than {other}, more than the seeds vary ({span})."
    return (
        f"On test it is {size} worse than {other}, more than the seeds vary ({span}); the choice rests on validation alone, "
        "so that no test figure is selected for."
    )


def _others(others: Sequence[WinnerMargin]) -> str:
    """Count the configurations behind the runner-up that are worse than the best, better on test, or not settled."""
    count, unclear = len(others), sum(not margin.settled for margin in others)
    ahead = sum(margin.settled and margin.interval.mean < 0 for margin in others)
    vary = "by more than the seeds vary"
    if not count:
        return ""
    if count == 1:
        side = "better on test" if ahead else "worse"
        return f"The third {'cannot be told from it' if unclear else f'is {side} {vary}'}."
    if unclear == count:
        return f"None of the {count:,} others can be told from it."
    if not unclear and not ahead:
        return f"The {count:,} others are worse {vary}."
    parts = [f"{unclear:,} cannot be told from it"] if unclear else []
    parts += [f"{ahead:,} {'is' if ahead == 1 else 'are'} better on test {vary}"] if ahead else []
    return f"Of the {count:,} others {' and '.join(parts)}."
