"""The answer in words: warnings first, then plain sentences made from numbers, from no trial to a settled question."""

import math

import pandas as pd

from sweeps.results.rankings import Results, pruned_epochs_saved, ranked
from vaeexp.plots.pairs import Comparison, comparisons
from vaeexp.plots.parameters import LEAST_TRIALS, importance_intervals
from vaeexp.report.markdown import escape
from vaeexp.results.frames import (
    best_number,
    column,
    confirm_runs,
    finite,
    fixed,
    for_baseline_alone,
    params,
    recorded,
    search_trials,
    space,
    test_interval,
)
from vaeexp.results.margins import Margin, margins
from vaeexp.words import (
    format_configuration,
    format_duration,
    format_interval,
    format_number,
    format_reach,
    format_share,
    format_value,
    join_and,
    parameter_label,
    plural,
)


def notices(results: Results) -> list[str]:
    """Bold sentences, the gravest first; empty for a finished study on a whole data set."""
    data = recorded(results, "data")
    lines = []
    if data.get("subset"):
        lines.append(
            f"**Every figure here is of {escape(data.get('title', 'a subset of the data'))}: a small part of the data set. "
            "None of them can be compared with published figures for the whole of it.**"
        )
    if not results.study.finished:
        lines.append(f"**Interim report: {_what_is_missing(results)}**")
    if fixed(results, "binarisation") == "none" and fixed(results, "likelihood") == "bernoulli":
        lines.append(
            "**The targets are grey levels under a Bernoulli likelihood, which is no density there: its −ELBO ranks these "
            "trials among themselves and means nothing in absolute terms.**"
        )
    if fixed(results, "posterior") == "deterministic":
        lines.append(
            "**The code is deterministic, without rate and ELBO: what is called −ELBO here is the distortion alone.**"
        )
    return lines


def _what_is_missing(results: Results) -> str:
    if results.study.stopped:
        return "the search is over, its confirmation is not; figures will change."
    planned = results.study.budget.get("trials")
    ended = int((~results.trials["repeat"] & results.trials["state"].isin(["complete", "pruned", "failed"])).sum())
    return f"{plural(ended, 'trial')}{f' of {planned:,}' if planned else ''} {'has' if ended == 1 else 'have'} ended; figures will change."


LITTLE = 0.05
"""Share of the importance below which a parameter did not set the best trials apart."""


def compared(results: Results) -> list[str]:
    """Which value of the compared parameter is better, and how sure; empty where the study compares nothing."""
    asked = results.study.spec.get("compare")
    if not asked or ranked(results).empty:
        return []
    found = [comparison for comparison in comparisons(results) if len(comparison.pairs)]
    name = escape(parameter_label(asked["parameter"]))
    if not found:
        return [f"Which {name} is better is open: no matched pair of runs is complete."]
    if len(found) == 1:
        return [_one_comparison(found[0])]
    settled = [comparison for comparison in found if comparison.settled]
    if not settled:
        return [f"In matched pairs, no two values of {name} can be told apart."]
    parts = [_better_than(comparison) for comparison in settled]
    rest = f"; other values of {name} cannot be told apart" if len(settled) < len(found) else ""
    return [f"In matched pairs, {join_and(parts)}{rest}."]


def _one_comparison(comparison: Comparison) -> str:
    first, second = escape(format_value(comparison.first)), escape(format_value(comparison.second))
    name, interval = escape(parameter_label(comparison.parameter)), comparison.interval
    difference = f"{second} − {first} is {format_number(interval.mean)} nats per image of validation −ELBO"
    if not math.isfinite(interval.low):
        return f"Which {name} is better, {first} or {second}, remains open: in the one matched pair of runs {difference}, and one pair gives no interval."
    span = f"95 % interval {format_reach(interval)}"
    if not comparison.settled:
        return f"Which {name} is better, {first} or {second}, remains open: {_basis(comparison)} cannot separate them; {difference} ({span})."
    better, worse = (first, second) if interval.mean > 0 else (second, first)
    return f"As {name}, {better} is better than {worse}: in {_basis(comparison)} {difference} ({span})."


def _basis(comparison: Comparison) -> str:
    """`8 matched pairs of runs over 4 configurations`, `3 seeds of one configuration`."""
    count = len(comparison.pairs)
    if comparison.configurations == 1:
        return f"{plural(count, 'seed')} of one configuration"
    return f"{plural(count, 'matched pair')} of runs over {plural(comparison.configurations, 'configuration')}"


def _better_than(comparison: Comparison) -> str:
    first, second = escape(format_value(comparison.first)), escape(format_value(comparison.second))
    winner, loser = (first, second) if comparison.interval.mean > 0 else (second, first)
    return f"{winner} is better than {loser} by {format_number(abs(comparison.interval.mean))} nats per image"


def mattered(results: Results) -> list[str]:
    """Which parameters mattered and which did not show; with few trials that this cannot be said."""
    many = len(ranked(results))
    if 0 < many < LEAST_TRIALS and len(space(results)) > 1:
        return [
            f"Which parameters mattered cannot be said from {plural(many, 'complete trial')}; it takes {LEAST_TRIALS}."
        ]
    table = importance_intervals(results)
    if len(table) < 2:
        return []
    shares = table["share"].to_dict()
    (top, share), *others = shares.items()
    words = f"What mattered most among the {many:,} complete trials was {escape(parameter_label(top))} ({format_share(share)} of the importance)"
    then = [f"{escape(parameter_label(name))} ({format_share(other)})" for name, other in others if other >= LITTLE]
    little = [escape(parameter_label(name)) for name, other in others if other < LITTLE]
    words += f", then {join_and(then)}" if then else ""
    each = " each" if len(little) > 1 else ""
    # A sampler that settled a parameter early leaves too few of its other values to tell.
    early = f"which may be because the search settled {'them' if each else 'it'} early"
    words += (
        f"; {join_and(little)} did not set the best apart (under {format_share(LITTLE)}{each}), {early}"
        if little
        else ""
    )
    same = [escape(parameter_label(name)) for name in space(results) if name not in shares]
    words += f". {' and '.join(same)} had one value in all of them" if same else ""
    if table["low"].iloc[0] <= table["high"].iloc[1]:
        words += ". The order at the top is not settled: the 95 % intervals of the first two overlap"
    return [f"{words}."]


def epochs_saved(results: Results) -> int:
    """Trial-epochs that pruned trials of the search did not train."""
    epochs = fixed(results, "epochs")
    if "epochs" not in space(results):
        return pruned_epochs_saved(results, int(epochs)) if epochs else 0
    trials = search_trials(results)
    pruned = trials[trials["state"] == "pruned"]
    return int((pruned["params.epochs"].astype(float) - pruned["epochs"]).clip(lower=0).sum())


def pruning(results: Results) -> list[str]:
    """How many trials were given up early, and what that saved; empty before a trial has ended."""
    trials = search_trials(results)
    pruned = int((trials["state"] == "pruned").sum())
    ended = int(trials["state"].isin(["complete", "pruned", "failed"]).sum())
    if not ended:
        return []
    if not pruned:
        return ["No trial was pruned."]
    words = f"Pruning ended {pruned:,} of {plural(ended, 'trial')} early"
    saved, spent = epochs_saved(results), int(trials["epochs"].sum())
    if not saved:
        return [f"{words}."]
    upto = "up to " if fixed(results, "patience") else ""
    return [
        f"{words} and saved {upto}{plural(saved, 'trial-epoch')}, {format_share(saved / (saved + spent))} of what the search would "
        "have taken without it."
    ]


def cost(results: Results) -> list[str]:
    """Wall time and trial-epochs of the search and of what followed it; empty before the first epoch."""
    trials = results.trials
    search, more = trials[~trials["repeat"]], trials[trials["repeat"] & ~for_baseline_alone(trials)]
    if not search["epochs"].sum():
        return []
    elapsed = results.study.elapsed
    wall = f"{format_duration(elapsed)} of wall time and " if elapsed else ""
    words = f"The search took {wall}{plural(int(search['epochs'].sum()), 'trial-epoch')}"
    if len(more):
        runs = plural(len(more), "run")
        words += f"; {runs} to confirm and compare took {plural(int(more['epochs'].sum()), 'trial-epoch')} more"
    return [words + "."]


def answer(results: Results) -> str:
    """The opening paragraphs: the best setting and how sure that is; then the comparison, what mattered, and what it took."""
    around = [*compared(results), *mattered(results), *pruning(results), *cost(results)]
    return "\n\n".join([_best(results), " ".join(around)] if around else [_best(results)])


def _best(results: Results) -> str:
    """The paragraph on the best setting: what it is, its test figure, and its margin over the next."""
    best = best_number(results)
    if best is None:
        return _nothing(results)
    trials = results.trials
    row = trials[~trials["repeat"] & (trials["number"] == best)].iloc[0]
    soon = "" if results.study.finished else " so far"
    setting = escape(format_configuration(params(results, row)))
    first = f"The best setting{soon} is {setting} (trial {best})." if setting else f"The best trial{soon} is {best}."
    runs = confirm_runs(results)
    runs = runs[runs["source_trial"] == best]
    if len(finite(column(runs, "result.test/neg_elbo"))):
        return " ".join([first, *_confirmed(runs), margin_words(results)]).strip()
    return f"{first} {_unconfirmed(results, row, runs)}"


def _nothing(results: Results) -> str:
    trials = results.trials
    if trials.empty:
        return "There is no answer yet: no trial has started."
    counts = trials.loc[~trials["repeat"], "state"].value_counts()
    states = [
        f"{counts[state]:,} {state}"
        for state in ("complete", "pruned", "failed", "running", "waiting")
        if state in counts
    ]
    what = "none of its complete trials has a value" if "complete" in counts else "no trial has completed"
    return f"There is no answer yet: {what} ({', '.join(states)})."


def _confirmed(runs: pd.DataFrame) -> list[str]:
    nll, weighted = test_interval(runs, "test/neg_elbo"), test_interval(runs, "test/iw_nll")
    samples = set(finite(column(runs, "result.test/importance_samples")))
    k = f" (k = {int(samples.pop()):,})" if len(samples) == 1 else ""
    words = f"Trained afresh with {plural(nll.n, 'new seed')}, it reaches a test −ELBO of {format_interval(nll)} nats per image"
    if weighted.n:
        words += f" and an importance-weighted NLL{k} of {format_interval(weighted)}"
    return [words + (" (95 % intervals over seeds)." if nll.n > 1 else "; one seed gives no interval.")]


def _unconfirmed(results: Results, row: pd.Series, runs: pd.DataFrame) -> str:
    """The figure of the search, and why it flatters."""
    found = ranked(results)
    if len(found) == 1:
        optimism = "that of the only complete trial"
    else:
        place = int((found["number"] == row["number"]).argmax()) + 1
        which = "the lowest" if place == 1 else f"number {place:,}"
        optimism = f"{which} of {len(found):,} complete trials and optimistic for that reason"
    words = f"Its validation −ELBO is {format_number(row['objective'])} nats per image, {optimism}"
    if runs.empty:
        return f"{words}; it has not been confirmed on test."
    again = f"trained afresh with {plural(len(runs), 'new seed')} it reaches {format_number(runs['objective'].mean())} there"
    return f"{words}; {again}. It has no test figure."


def margin_words(results: Results) -> str:
    """A sentence or two on the runner-up and the others; empty where one configuration alone was confirmed."""
    found = margins(results)
    if not found:
        return ""
    return " ".join([_runner_up(found[0]), *_others(found[1:])])


def _runner_up(margin: Margin) -> str:
    gap = margin.interval.mean
    other = f"trial {margin.source_trial}, the runner-up on validation"
    size = f"{format_number(abs(gap))} nats"
    if not math.isfinite(margin.interval.low):
        which = "one seed each" if max(margin.seeds) == 1 else "a single seed of one of them"
        return f"It is {size} {'better' if gap >= 0 else 'worse'} on test than {other}, and {which} cannot tell whether that is more than chance."
    span = f"95 % interval {format_reach(margin.interval)}"
    if not margin.settled:
        return f"It cannot be told from {other}: {_seeds(margin.seeds)} leave their difference of {format_number(gap)} nats open ({span})."
    if gap > 0:
        return f"It is {size} better on test than {other}, more than the seeds vary ({span})."
    return (
        f"On test it is {size} worse than {other}, more than the seeds vary ({span}); the choice rests on validation alone, "
        "so that no test figure is selected for."
    )


def _others(others: list[Margin]) -> list[str]:
    """What is to be said of those behind the runner-up, each set against the best."""
    count, unclear = len(others), sum(not margin.settled for margin in others)
    ahead = sum(margin.settled and margin.interval.mean < 0 for margin in others)
    vary = "by more than the seeds vary"
    if not count:
        return []
    if count == 1:
        return [f"The third {'cannot be told from it' if unclear else f'is {_side(ahead)} {vary}'}."]
    if unclear == count:
        return [f"None of the {count:,} others can be told from it."]
    if not unclear and not ahead:
        return [f"The {count:,} others are worse {vary}."]
    parts = [f"{unclear:,} cannot be told from it"] if unclear else []
    parts += [f"{ahead:,} {'is' if ahead == 1 else 'are'} better on test {vary}"] if ahead else []
    return [f"Of the {count:,} others {' and '.join(parts)}."]


def _side(ahead: int) -> str:
    return "better on test" if ahead else "worse"


def _seeds(seeds: tuple[int, int]) -> str:
    best, other = seeds
    return f"{best:,} seeds each" if best == other else f"{best:,} and {other:,} seeds"
