"""The report from the answer to the study file: its chapters in order, and the answer in words made from numbers."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from vaeexp.plots import CHAPTERS, PLOTS
from vaeexp.report.baselines import protocol_tables
from vaeexp.report.closing import STATES, failures, provenance
from vaeexp.report.markup import escape, heading, picture, png, write_folder
from vaeexp.report.summary import summary_json, trials_csv
from vaeexp.report.tables import table_chapter
from vaeexp.results.parameters import LEAST_TRIALS
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import column, finite, for_baseline_alone, interval_on_test
from vaeexp.results.tested_settings import PairComparison, WinnerMargin
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

HEROES = ("beta_strip", "baseline_strip", "rate_distortion", "history")
"""The picture under the answer is the first of these that the study has."""
ENDED = ("complete", "pruned", "failed")
LITTLE = 0.05
"""Share of the importance below which a parameter did not set the best trials apart."""


def write_report(view: StudyView, *, reports: Path, html: bool = False) -> Path:
    """Write the report of a study in any state and return the path of its README.md. The same study gives the same bytes.

    Args:
        view: the study.
        reports: folder that gets `<study>/`.
        html: whether to write `report.html`, too: the report as one file, with pictures and tables inside.

    Raises:
        UserError: the folder cannot be written.
    """
    text, figures = compose(view)
    files = {name: png(figure) for name, figure in figures.items()}
    files |= {"trials.csv": trials_csv(view).encode(), "summary.json": summary_json(view).encode()}
    return write_folder(reports / view.name, text, files, html=html)


def compose(view: StudyView) -> tuple[str, dict[str, Figure]]:
    """Return the report's markdown, and its figures by file name."""
    figures = {name: figure for name, plot in PLOTS.items() if (figure := plot.draw(view)) is not None}
    hero = next((name for name in HEROES if name in figures), None)
    question = [f"*Question:* {escape(view.study.question)}"] if view.study.question else []
    blocks = [heading(escape(view.name), 1), *notices(view), *question, heading("Answer"), answer(view)]
    if hero:
        blocks += [picture(f"{hero}.png", PLOTS[hero].title), escape(PLOTS[hero].reading(view))]
    blocks += [*table_chapter(view), *protocol_tables(view), *_plots(view, figures, hero)]
    blocks += [*failures(view), *provenance(view)]
    return "\n\n".join(blocks) + "\n", {f"{name}.png": figure for name, figure in figures.items()}


def _plots(view: StudyView, figures: dict[str, Figure], hero: str | None) -> list[str]:
    """Return the plots by chapter, each with how to read it; for a plot that is missing, why."""
    blocks = [heading("Plots")]
    for chapter, plots in CHAPTERS.items():
        shown = {name: plot for name, plot in plots.items() if name in figures and name != hero}
        blocks += [heading(chapter, 3)] if shown else []
        for name, plot in shown.items():
            words = escape(plot.reading(view))
            blocks += [heading(escape(plot.title), 4), picture(f"{name}.png", plot.title), words]
    missing = [plot for name, plot in PLOTS.items() if name not in figures]
    lines = "\n".join(f"- {escape(plot.title)}: {escape(plot.absent)}" for plot in missing)
    return [*blocks, "Not drawn:", lines] if missing else blocks


def answer(view: StudyView) -> str:
    """Return the opening paragraphs: the best configuration and how sure it is; then the comparison, what mattered, the cost."""
    around = _join(_compared(view), _mattered(view), _pruning(view), _cost(view))
    return f"{_best(view)}\n\n{around}" if around else _best(view)


def _join(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


def notices(view: StudyView) -> list[str]:
    """Return warnings in bold, the gravest first; empty for a finished study on a whole data set."""
    data = view.recorded("data")
    lines = []
    if data.get("subset"):
        lines.append(
            f"**Every figure here is of {escape(data.get('title', 'a subset of the data'))}: a small part of the data set. "
            "None of them can be compared with published figures for the whole of it.**"
        )
    if view.study.stopped and not view.study.finished:
        lines.append("**Interim report: the search is over, its confirmation is not; figures will change.**")
    elif not view.study.finished:
        planned = view.study.budget.get("trials")
        ended = int((~view.trials["repeat"] & view.trials["state"].isin(ENDED)).sum())
        count = f"{plural(ended, 'trial')}{f' of {planned:,}' if planned else ''} {'has' if ended == 1 else 'have'}"
        lines.append(f"**Interim report: {count} ended; figures will change.**")
    if view.fixed("binarisation") == "none" and view.fixed("likelihood") == "bernoulli":
        lines.append(
            "**The targets are grey levels under a Bernoulli likelihood, which is no density there: its −ELBO ranks these "
            "trials among themselves and means nothing in absolute terms.**"
        )
    if view.fixed("posterior") == "deterministic":
        lines.append(
            "**The code is deterministic, without rate and ELBO: what is called −ELBO here is the distortion alone.**"
        )
    return lines


def _compared(view: StudyView) -> str:
    """Say which value of the compared parameter is better, and how sure; empty where the study compares nothing."""
    if view.compared_parameter is None or view.ranked.empty:
        return ""
    comparisons = [comparison for comparison in view.pairs if len(comparison.pairs)]
    name = escape(parameter_label(view.compared_parameter))
    if not comparisons:
        return f"Which {name} is better is open: no matched pair of runs is complete."
    if len(comparisons) == 1:
        return _one_comparison(comparisons[0])
    settled = [comparison for comparison in comparisons if comparison.interval.excludes_zero]
    if not settled:
        return f"In matched pairs, no two values of {name} can be told apart."
    parts = [
        f"{' is better than '.join(_sides(each))} by {format_number(abs(each.interval.mean))} nats per image"
        for each in settled
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
    span = f"95 % interval {format_reach(interval)}"
    unsettled = f"Which {name} is better, {first} or {second}, remains open:"
    if not math.isfinite(interval.low):
        basis = "the one matched pair of runs" if count == 1 else basis
        return f"{unsettled} in {basis} {difference}, and fewer than three differences give no interval."
    if not comparison.interval.excludes_zero:
        return f"{unsettled} {basis} cannot separate them; {difference} ({span})."
    return f"As {name}, {better} is better than {worse}: in {basis} {difference} ({span})."


def _sides(comparison: PairComparison) -> tuple[str, str]:
    """Return the better value and the other."""
    first, second = escape(format_value(comparison.first)), escape(format_value(comparison.second))
    return (first, second) if comparison.interval.mean > 0 else (second, first)


def _mattered(view: StudyView) -> str:
    """Say which parameters mattered and which did not show; with few trials, that this cannot be said."""
    many = len(view.ranked)
    if 0 < many < LEAST_TRIALS and len(view.parameters) > 1:
        return (
            f"Which parameters mattered cannot be said from {plural(many, 'complete trial')}; it takes {LEAST_TRIALS}."
        )
    table = view.importances
    if len(table) < 2:
        return ""
    shares = {str(name): float(share) for name, share in table["share"].items()}
    labels = {name: escape(parameter_label(name)) for name in view.parameters}
    (top, share), *others = shares.items()
    words = f"What mattered most among the {many:,} complete trials was {labels[top]} ({format_share(share)} of the importance)"
    then = [f"{labels[name]} ({format_share(other)})" for name, other in others if other >= LITTLE]
    words += f", then {join_and(then)}" if then else ""
    little = [labels[name] for name, other in others if other < LITTLE]
    if little:
        several = len(little) > 1
        words += f"; {join_and(little)} did not set the best apart (under {format_share(LITTLE)}{' each' if several else ''})"
        # A sampler that settled a parameter early leaves too few of its other values to tell.
        words += f", which may be because the search settled {'them' if several else 'it'} early"
    same = [label for name, label in labels.items() if name not in shares]
    words += f". {' and '.join(same)} had one value in all of them" if same else ""
    if table["low"].iloc[0] <= table["high"].iloc[1]:
        words += ". The order at the top is not settled: the 95 % intervals of the first two overlap"
    return f"{words}."


def _pruning(view: StudyView) -> str:
    """Say how many trials were pruned, and how many trial-epochs that saved; empty before a trial has ended."""
    trials = view.search
    pruned = int((trials["state"] == "pruned").sum())
    ended = int(trials["state"].isin(ENDED).sum())
    if not ended:
        return ""
    if not pruned:
        return "No trial was pruned."
    words = f"Pruning ended {pruned:,} of {plural(ended, 'trial')} early"
    saved, spent = view.epochs_saved, int(trials["epochs"].sum())
    if not saved:
        return f"{words}."
    upto, share = "up to " if view.fixed("patience") else "", format_share(saved / (saved + spent))
    return f"{words} and saved {upto}{plural(saved, 'trial-epoch')}, {share} of what the search would have taken without it."


def _cost(view: StudyView) -> str:
    """Say the wall time and the trial-epochs of the search and of the repeats; empty before the first epoch."""
    trials = view.trials
    search, more = trials[~trials["repeat"]], trials[trials["repeat"] & ~for_baseline_alone(trials)]
    if not search["epochs"].sum():
        return ""
    elapsed = view.study.elapsed
    wall = f"{format_duration(elapsed)} of wall time and " if elapsed else ""
    words = f"The search took {wall}{plural(int(search['epochs'].sum()), 'trial-epoch')}"
    if len(more):
        epochs = plural(int(more["epochs"].sum()), "trial-epoch")
        words += f"; {plural(len(more), 'run')} to confirm and compare took {epochs} more"
    return f"{words}."


def _best(view: StudyView) -> str:
    """Return the paragraph on the best configuration: its parameters, its test figure, and its margin over the next."""
    best, trial = view.best_number, view.best_trial
    if trial is None:
        return _nothing(view)
    soon = "" if view.study.finished else " so far"
    words = escape(format_configuration(view.params(trial)))
    first = f"The best configuration{soon} is {words} (trial {best})." if words else f"The best trial{soon} is {best}."
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
    words = f"Trained afresh with {plural(neg_elbo.n, 'new seed')}, it reaches a test −ELBO of {format_interval(neg_elbo)} nats per image"
    if weighted.n:
        words += f" and an importance-weighted NLL{k} of {format_interval(weighted)}"
    return words + (" (95 % intervals over seeds)." if neg_elbo.n > 1 else "; one seed gives no interval.")


def _unconfirmed(view: StudyView, row: pd.Series, runs: pd.DataFrame) -> str:
    """Say the figure of the search, and why it is optimistic."""
    ranked = view.ranked
    if len(ranked) == 1:
        optimism = "that of the only complete trial"
    else:
        place = int((ranked["number"] == row["number"]).argmax()) + 1
        which = "the lowest" if place == 1 else f"number {place:,}"
        optimism = f"{which} of {len(ranked):,} complete trials and optimistic for that reason"
    words = f"Its validation −ELBO is {format_number(row['objective'])} nats per image, {optimism}"
    if runs.empty:
        return f"{words}; it has not been confirmed on test."
    again = f"trained afresh with {plural(len(runs), 'new seed')} it reaches {format_number(runs['objective'].mean())} there"
    return f"{words}; {again}. It has no test figure."


def margin_words(view: StudyView) -> str:
    """Say in a sentence or two how far the runner-up and the others are behind; empty where one configuration was confirmed."""
    margins = view.margins
    return _join(_runner_up(margins[0]), _others(margins[1:])) if margins else ""


def _runner_up(margin: WinnerMargin) -> str:
    gap = margin.interval.mean
    other = f"trial {margin.source_trial}, the runner-up on validation"
    size = f"{format_number(abs(gap))} nats"
    if not math.isfinite(margin.interval.low):
        which = "one seed each" if max(margin.seeds) == 1 else "fewer than three seeds of one of them"
        return f"It is {size} {'better' if gap >= 0 else 'worse'} on test than {other}, and {which} cannot tell whether that is more than chance."
    span = f"95 % interval {format_reach(margin.interval)}"
    if not margin.interval.excludes_zero:
        best, least = margin.seeds
        seeds = f"{best:,} seeds each" if best == least else f"{best:,} and {least:,} seeds"
        return f"It cannot be told from {other}: {seeds} leave their difference of {format_number(gap)} nats open ({span})."
    if gap > 0:
        return f"It is {size} better on test than {other}, more than the seeds vary ({span})."
    return (
        f"On test it is {size} worse than {other}, more than the seeds vary ({span}); the choice rests on validation alone, "
        "so that no test figure is selected for."
    )


def _others(others: Sequence[WinnerMargin]) -> str:
    """Count the configurations behind the runner-up that are worse than the best, better on test, or not settled."""
    count, unclear = len(others), sum(not margin.interval.excludes_zero for margin in others)
    ahead = sum(margin.interval.excludes_zero and margin.interval.mean < 0 for margin in others)
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
