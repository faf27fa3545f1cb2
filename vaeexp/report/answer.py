"""The answer in words: a few plain sentences made from numbers, right in every case from no trial to a settled question."""

import pandas as pd

from sweeps.results import Results, ranked
from vaeexp.figures.frames import best_number, column, confirm_runs, number, params, setting_text
from vaeexp.report.evidence import compared, cost, mattered, pruning
from vaeexp.report.margins import margin_words
from vaeexp.report.markdown import escape, plural
from vaeexp.report.protocols import by_searched_protocol
from vaeexp.report.words import finite, interval_text, test_interval

__all__ = ["answer"]


def answer(results: Results) -> str:
    """The opening paragraphs: the best setting and how sure that is; then the comparison, what mattered, and what it took."""
    parts = by_searched_protocol(results)
    result, around = [_best(results)], [*compared(results), *mattered(results)]
    if len(parts) > 1:
        first = f"The trials are of {len(parts):,} protocols, whose values cannot be ranked together; the best of each follows."
        result = [first, *(f"*{escape(words)}:* {_best(part)}" for words, part in parts)]
        around = compared(results)
    around += [*pruning(results), *cost(results)]
    return "\n\n".join([*result, " ".join(around)] if around else result)


def _best(results: Results) -> str:
    """The paragraph on the best setting: what it is, its test figure, and its margin over the next."""
    best = best_number(results)
    if best is None:
        return _nothing(results)
    trials = results.trials
    row = trials[~trials["replica"] & (trials["number"] == best)].iloc[0]
    soon = "" if results.study.get("finished") else " so far"
    setting = escape(setting_text(params(results, row)))
    first = f"The best setting{soon} is {setting} (trial {best})." if setting else f"The best trial{soon} is {best}."
    runs = confirm_runs(results)
    runs = runs[runs["of"] == best]
    if len(finite(column(runs, "result.test/nll"))):
        return " ".join([first, *_confirmed(runs), margin_words(results)]).strip()
    return f"{first} {_unconfirmed(results, row, runs)}"


def _nothing(results: Results) -> str:
    trials = results.trials
    if trials.empty:
        return "There is no answer yet: no trial has started."
    counts = trials.loc[~trials["replica"], "state"].value_counts()
    states = [
        f"{counts[state]:,} {state}"
        for state in ("complete", "pruned", "failed", "running", "waiting")
        if state in counts
    ]
    what = "none of its complete trials has a value" if "complete" in counts else "no trial has completed"
    return f"There is no answer yet: {what} ({', '.join(states)})."


def _confirmed(runs: pd.DataFrame) -> list[str]:
    nll, weighted = test_interval(runs, "test/nll"), test_interval(runs, "test/iw_nll")
    samples = set(finite(column(runs, "result.test/importance_samples")))
    k = f" (k = {int(samples.pop()):,})" if len(samples) == 1 else ""
    words = f"Trained afresh with {plural(nll.n, 'new seed')}, it reaches a test −ELBO of {interval_text(nll)} nats per image"
    if weighted.n:
        words += f" and an importance-weighted NLL{k} of {interval_text(weighted)}"
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
    words = f"Its validation −ELBO is {number(row['value'])} nats per image, {optimism}"
    if runs.empty:
        return f"{words}; it has not been confirmed on test."
    again = f"trained afresh with {plural(len(runs), 'new seed')} it reaches {number(runs['value'].mean())} there"
    return f"{words}; {again}. It has no test figure."
