"""The answer in words: a few plain sentences made from numbers, right in every case from no trial to a settled question."""

import math

import pandas as pd

from sweeps.results import Results, pruned_epochs_saved, ranked
from sweeps.statistics import Interval, mean_interval
from vaeexp.figures.comparison import Comparison, comparisons
from vaeexp.figures.frames import (
    best_number,
    confirm_runs,
    fixed,
    for_reference_alone,
    label,
    number,
    params,
    recorded,
    search_trials,
    setting_text,
    space,
    value_text,
)
from vaeexp.figures.parameters import importances
from vaeexp.report.markdown import escape, plural

__all__ = ["answer", "duration", "epochs_saved", "interval_text", "notices", "test_interval"]


def notices(results: Results) -> list[str]:
    """Bold warnings that stand above everything: subset, unfinished study, a likelihood that is none."""
    data = recorded(results, "data")
    lines = []
    if data.get("subset"):
        lines.append(
            f"**Every figure here is of {escape(data.get('title', 'a subset of the data'))}: a small part of the data set. "
            "None of them can be compared with published figures for the whole of it.**"
        )
    if not results.study.get("finished"):
        lines.append(f"**Interim report: {_what_is_missing(results)}**")
    if fixed(results, "binarisation") == "none" and fixed(results, "likelihood") == "bernoulli":
        lines.append(
            "**The targets are grey levels under a Bernoulli likelihood, which is no density there: its −ELBO ranks these "
            "trials among themselves and means nothing in absolute terms.**"
        )
    mixed = [
        name
        for name in ("dataset", "binarisation", "likelihood", "split_seed", "validation_size")
        if name in space(results)
    ]
    if mixed:
        lines.append(
            f"**The study searches {escape(' and '.join(label(name) for name in mixed))}, which changes what is measured: "
            "values across it cannot be compared.**"
        )
    return lines


def _what_is_missing(results: Results) -> str:
    if results.study.get("stopped"):
        return "the search is over, its confirmation is not; figures will change."
    planned = (results.study.get("budget") or {}).get("trials")
    ended = int((~results.trials["replica"] & results.trials["state"].isin(["complete", "pruned", "failed"])).sum())
    return f"{plural(ended, 'trial')}{f' of {planned:,}' if planned else ''} {'has' if ended == 1 else 'have'} ended; figures will change."


def answer(results: Results) -> str:
    """The opening paragraphs: best setting, how sure, what mattered, the comparison, what pruning saved, what it cost."""
    result = [*_best(results), *_compared(results)]
    around = [*_mattered(results), *_pruning(results), *_cost(results)]
    return "\n\n".join(" ".join(sentences) for sentences in (result, around) if sentences)


def _best(results: Results) -> list[str]:
    best = best_number(results)
    if best is None:
        trials = results.trials
        if trials.empty:
            return ["There is no answer yet: no trial has started."]
        counts = trials.loc[~trials["replica"], "state"].value_counts()
        states = [
            f"{counts[state]:,} {state}" for state in ("pruned", "failed", "running", "waiting") if state in counts
        ]
        return [f"There is no answer yet: no trial has completed ({', '.join(states)})."]
    trials = results.trials
    row = trials[~trials["replica"] & (trials["number"] == best)].iloc[0]
    soon = "" if results.study.get("finished") else " so far"
    first = f"The best setting{soon} is {escape(setting_text(params(results, row)))} (trial {best})."
    runs = confirm_runs(results)
    runs = runs[runs["of"] == best]
    if runs["result.test/nll"].notna().any():
        return [first, *_confirmed(results, runs, best)]
    others = len(ranked(results))
    optimism = (
        f"the lowest of {others:,} complete trials and optimistic for that reason"
        if others > 1
        else "that of the only complete trial"
    )
    return [
        first,
        f"Its validation −ELBO is {number(row['value'])} nats per image, {optimism}; it has not been confirmed on test.",
    ]


def _confirmed(results: Results, runs: pd.DataFrame, best: int) -> list[str]:
    nll, weighted = test_interval(runs, "test/nll"), test_interval(runs, "test/iw_nll")
    samples = runs["result.test/importance_samples"].dropna()
    k = f" (k = {int(samples.iloc[0]):,})" if len(samples) and samples.nunique() == 1 else ""
    words = f"Trained afresh with {plural(nll.n, 'new seed')}, it reaches a test −ELBO of {interval_text(nll)} nats per image"
    if weighted.n:
        words += f" and an importance-weighted NLL{k} of {interval_text(weighted)}"
    words += " (95 % intervals over seeds)." if nll.n > 1 else "; one seed gives no interval."
    return [words, *_rivals(results, nll, best)]


def _rivals(results: Results, nll: Interval, best: int) -> list[str]:
    """Whether the other confirmed configurations can be told from the best."""
    runs = confirm_runs(results)
    means = runs[runs["of"] != best].groupby("of")["result.test/nll"].mean().dropna()
    close = int(means.between(nll.low, nll.high).sum())
    if not len(means) or not math.isfinite(nll.low) or not close:
        return []
    if len(means) == 1:
        return ["The other confirmed configuration lies inside that interval, so the two cannot be told apart."]
    which = "All" if close == len(means) else f"{close:,}"
    lies = "lies" if close == 1 and which != "All" else "lie"
    return [
        f"{which} of the {len(means):,} other confirmed configurations {lies} inside that interval, so the order at the top is not settled."
    ]


def _mattered(results: Results) -> list[str]:
    shares = list(importances(results).items())
    if len(shares) < 2:
        return []
    (top, share), (second, other), *_ = shares
    many = len(ranked(results))
    return [
        f"What mattered most among the {many:,} complete trials was {escape(label(top))} ({share:.0%} of the importance), "
        f"then {escape(label(second))} ({other:.0%}).".replace("%", " %")
    ]


def _compared(results: Results) -> list[str]:
    asked = (results.study.get("spec") or {}).get("compare")
    if not asked or ranked(results).empty:
        return []
    found = [comparison for comparison in comparisons(results) if len(comparison.pairs)]
    name = escape(label(asked["parameter"]))
    if not found:
        return [f"Which {name} is better is open: no matched pair of runs is complete."]
    if len(found) == 1:
        return [_one_comparison(found[0])]
    settled = [comparison for comparison in found if comparison.settled]
    if not settled:
        return [f"In matched pairs, no two values of {name} can be told apart."]
    parts = [_better_than(comparison) for comparison in settled]
    return [f"In matched pairs, {_and(parts)}; other values of {name} cannot be told apart."]


def _one_comparison(comparison: Comparison) -> str:
    first, second = escape(value_text(comparison.first)), escape(value_text(comparison.second))
    name = escape(label(comparison.parameter))
    interval = comparison.interval
    basis = f"{plural(len(comparison.pairs), 'matched pair')} of runs over {plural(comparison.configurations, 'configuration')}"
    difference = f"{second} − {first} is {number(interval.mean)} nats per image of validation −ELBO"
    if not math.isfinite(interval.low):
        return f"Which {name} is better, {first} or {second}, remains open: in the one matched pair of runs {difference}, and one pair gives no interval."
    span = f"95 % interval {number(interval.low)} to {number(interval.high)}"
    if not comparison.settled:
        return f"Which {name} is better, {first} or {second}, remains open: in {basis} {difference} ({span}), so the evidence cannot separate them."
    winner, loser = (first, second) if interval.mean > 0 else (second, first)
    return f"As {name}, {winner} is better than {loser}: in {basis} {difference} ({span})."


def _better_than(comparison: Comparison) -> str:
    first, second = escape(value_text(comparison.first)), escape(value_text(comparison.second))
    winner, loser = (first, second) if comparison.interval.mean > 0 else (second, first)
    return f"{winner} is better than {loser} by {number(abs(comparison.interval.mean))} nats per image"


def _and(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def epochs_saved(results: Results) -> int:
    """Trial-epochs that pruned trials of the search did not train."""
    epochs = fixed(results, "epochs")
    if "epochs" not in space(results):
        return pruned_epochs_saved(results, int(epochs)) if epochs else 0
    trials = search_trials(results)
    pruned = trials[trials["state"] == "pruned"]
    return int((pruned["params.epochs"].astype(float) - pruned["epochs"]).clip(lower=0).sum())


def _pruning(results: Results) -> list[str]:
    trials = search_trials(results)
    pruned = int((trials["state"] == "pruned").sum())
    ended = int(trials["state"].isin(["complete", "pruned", "failed"]).sum())
    if not ended:
        return []
    if not pruned:
        return ["No trial was pruned."]
    saved, spent = epochs_saved(results), int(trials["epochs"].sum())
    upto = "up to " if fixed(results, "patience") else ""
    share = f"{100 * saved / (saved + spent):.0f} %" if saved + spent else "0 %"
    return [
        f"Pruning ended {pruned:,} of {plural(ended, 'trial')} early and saved {upto}{plural(saved, 'trial-epoch')}, "
        f"{share} of what the search would have taken without it."
    ]


def _cost(results: Results) -> list[str]:
    trials = results.trials
    search, more = trials[~trials["replica"]], trials[trials["replica"] & ~for_reference_alone(trials)]
    if not search["epochs"].sum():
        return []
    elapsed = results.study.get("elapsed")
    wall = f"{duration(elapsed)} of wall time and " if elapsed else ""
    words = f"The search took {wall}{plural(int(search['epochs'].sum()), 'trial-epoch')}"
    if len(more):
        runs = plural(len(more), "run")
        words += f"; {runs} to confirm and compare took {plural(int(more['epochs'].sum()), 'trial-epoch')} more"
    return [words + "."]


def test_interval(runs: pd.DataFrame, metric: str) -> Interval:
    """95 % interval of a test figure over the seeds of one configuration."""
    return mean_interval(runs[f"result.{metric}"].dropna().to_numpy(float))


def interval_text(interval: Interval, digits: int = 2) -> str:
    """`98.12 ± 0.31`, or the mean alone where one value gives no interval; with this many decimals."""
    width = f" ± {number(interval.half_width, digits)}" if math.isfinite(interval.low) else ""
    return f"{number(interval.mean, digits)}{width}"


def duration(seconds: float) -> str:
    """`41 s`, `5 min 12 s`, `2 h 03 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s" if whole else "under 1 s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"
