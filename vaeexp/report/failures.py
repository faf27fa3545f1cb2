"""How the trials ended: every failed trial with its message, every pruned one with its epoch, and what is missing where."""

from pathlib import Path

import numpy as np
import pandas as pd

from sweeps.results.rankings import Results
from vaeexp.plots.pairs import comparisons
from vaeexp.plots.pictures import FILE
from vaeexp.report.markdown import escape, heading, table
from vaeexp.results.frames import column, confirm_runs, for_baseline_alone, params, points, search_trials
from vaeexp.words import format_configuration, format_number, plural

COUNTED = "in no ranking, mean or importance, but counted in the tables by parameter"


def left_out(results: Results) -> list[str]:
    """A sentence for each kind of thing that was left out, with how many there were; empty where nothing was."""
    counted = [*_of_the_search(results), *_of_the_epochs(results), *_of_the_runs(results), *_of_the_pictures(results)]
    return [f"{plural(count, one)} {words}." for count, one, words in counted if count]


def _of_the_search(results: Results) -> list[tuple[int, str, str]]:
    trials = results.trials
    own = search_trials(results)
    state, values = own["state"], own["objective"].to_numpy(float)
    repeated = int((~trials["repeat"] & trials["duplicate_of"].notna()).sum())
    return [
        (repeated, "repeated trial", "(the configuration of an earlier one): in trials.csv alone"),
        (
            int((state == "failed").sum()),
            "failed trial",
            f"of the search: {COUNTED}; in plots with the epochs before the failure",
        ),
        (
            int((state == "pruned").sum()),
            "pruned trial",
            f"of the search: {COUNTED}; in plots at the best of the epochs before",
        ),
        (
            int(state.isin(["running", "waiting"]).sum()),
            "trial",
            f"of the search not ended yet: {COUNTED}; in plots as far as reported",
        ),
        (
            int(((state == "complete") & ~np.isfinite(values)).sum()),
            "complete trial",
            "without a finite value: in no ranking, mean, importance or plot of values",
        ),
    ]


def _of_the_epochs(results: Results) -> list[tuple[int, str, str]]:
    own, values = search_trials(results), results.epochs["objective"].to_numpy(float)
    scored = int(own["best_epoch"].notna().sum())
    return [
        (
            int((~np.isfinite(values)).sum()),
            "epoch",
            "with a value that is not finite: in no curve, and never a trial's best",
        ),
        (
            scored - len(points(results)),
            "trial",
            "of the search without a finite rate and distortion at the best epoch: not in the plane of the two",
        ),
    ]


def _of_the_runs(results: Results) -> list[tuple[int, str, str]]:
    trials = results.trials
    runs = trials[trials["repeat"]]
    confirming = confirm_runs(results)
    untested = ~np.isfinite(column(confirming, "result.test/neg_elbo").to_numpy(float))
    idle = runs["purposes"].map(len) == 0
    return [
        (
            int((runs["state"].isin(["failed", "pruned"]) & ~idle).sum()),
            "run",
            "to confirm, to compare or of a baseline failed: one seed fewer in its mean",
        ),
        (
            int((runs["state"].isin(["running", "waiting"]) & ~idle).sum()),
            "run",
            "to confirm, to compare or of a baseline not ended yet: in no mean",
        ),
        (int(idle.sum()), "run", "of an earlier plan that this one has no use for: in trials.csv alone"),
        (int(untested.sum()), "confirming run", "without a finite test −ELBO: in no mean of test figures"),
        (
            sum(comparison.incomplete for comparison in comparisons(results)),
            "matched pair",
            "without both runs complete: in no difference",
        ),
    ]


def _of_the_pictures(results: Results) -> list[tuple[int, str, str]]:
    trials = results.trials
    complete = trials[(trials["state"] == "complete") & trials["duplicate_of"].isna()]
    missing = sum(not (isinstance(folder, str) and Path(folder, FILE).exists()) for folder in complete["folder"])
    few = "" if missing < len(complete) else " (all of them)"
    return [(missing, "trained model", f"without pictures in the runs folder{few}: not among the pictures")]


STATES = ("complete", "pruned", "failed", "running", "waiting")
FAILED_ROWS, PRUNED_ROWS = 50, 30
NAMED = 12
"""Trials that are named in a row of the summary by epoch."""
LONGEST = 300
"""Characters of a message that are shown."""
CSV = "[trials.csv](trials.csv)"


def failures(results: Results) -> list[str]:
    """The chapter, block by block; empty before the first trial."""
    if results.trials.empty:
        return []
    blocks = [heading("How the trials ended"), outcomes(results), escape(results.study.stopped or "")]
    for title, content in (("Failed", failed(results)), ("Pruned", pruned(results))):
        blocks += [heading(title, 3), *content] if content else []
    lines = left_out(results)
    blocks.append(heading("Left out", 3))
    blocks.append("\n".join(f"- {line}" for line in lines) if lines else "Nothing was left out of any table or plot.")
    return [block for block in blocks if block]


def outcomes(results: Results) -> str:
    """How many trials of the search and how many other runs ended how; empty without a trial."""
    trials = results.trials
    own, repeats = trials[~trials["repeat"]], trials[trials["repeat"]]
    repeated = own["duplicate_of"].notna()
    rows = []
    for state in STATES:
        search = own[(own["state"] == state) & ~repeated]
        again = repeats[repeats["state"] == state]
        if len(search) or len(again):
            rows.append([state, f"{len(search):,}", f"{len(again):,}", _why(state, pd.concat([search, again]))])
    if repeated.any():
        why = "the configuration of an earlier trial: its value was used again"
        rows.append(["repeated", f"{int(repeated.sum()):,}", "0", why])
    others = "confirm, compare and baselines" if for_baseline_alone(repeats).any() else "confirm and compare"
    return table(["outcome", "search", others, "why"], rows, right=(1, 2)) if rows else ""


def _why(state: str, trials: pd.DataFrame) -> str:
    if state == "pruned":
        return f"worse than others at the same epoch; stopped after {_span(trials['epochs'])}"
    return _classes(trials) if state == "failed" else ""


def _classes(trials: pd.DataFrame) -> str:
    """`2 diverged, 1 out of memory`, the most frequent first."""
    counts = trials["failure"].fillna("unknown").value_counts()
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return escape(", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in ordered))


def _span(epochs: pd.Series) -> str:
    low, high = int(epochs.min()), int(epochs.max())
    return plural(low, "epoch") if low == high else f"{low:,} to {high:,} epochs (median {epochs.median():g})"


def failed(results: Results) -> list[str]:
    """Every trial and run that failed: its class, after how many epochs, its message and its setting; at most 50 of them."""
    trials = results.trials
    found = trials[trials["state"] == "failed"].sort_values(["repeat", "number"])
    rows = [
        [
            escape(row["name"]),
            escape(row["failure"].replace("_", " ") if isinstance(row["failure"], str) else "unknown"),
            str(row["epochs"]),
            escape(_shortened(row["message"])),
            escape(format_configuration(params(results, row))),
        ]
        for _, row in found.head(FAILED_ROWS).iterrows()
    ]
    if not rows:
        return []
    rest = found.iloc[FAILED_ROWS:]
    more = [f"{len(rest):,} more failed ({_classes(rest)}); all of them are in {CSV}."] if len(rest) else []
    return [table(["trial", "class", "epochs", "message", "setting"], rows, right=(2,)), *more]


def _shortened(message: object) -> str:
    text = " ".join(message.split()) if isinstance(message, str) else "–"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def pruned(results: Results) -> list[str]:
    """Every pruned trial with its epoch; of more than 30 how many were stopped after which epoch, and which."""
    trials = search_trials(results)
    found = trials[trials["state"] == "pruned"]
    if found.empty:
        return []
    if len(found) <= PRUNED_ROWS:
        cells = zip(found["name"], found["epochs"], found["objective"], strict=True)
        rows = [[escape(name), str(epochs), format_number(value)] for name, epochs, value in cells]
        return [table(["trial", "stopped after epoch", "best val −ELBO by then"], rows, right=(1, 2))]
    rows = []
    for words, group in _by_epoch(found):
        names = ", ".join(map(str, group["number"].head(NAMED)))
        more = f" and {len(group) - NAMED:,} more" if len(group) > NAMED else ""
        rows.append(
            [
                words,
                f"{len(group):,}",
                format_number(group["objective"].min()),
                format_number(group["objective"].max()),
                names + more,
            ]
        )
    header = ["stopped after epoch", "trials", "lowest val −ELBO by then", "highest", "which"]
    return [table(header, rows, right=range(4)), f"All of them are in {CSV}."]


def _by_epoch(found: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """A group for each epoch, or for each of at most 30 equal ranges of epochs."""
    width = -(-int(found["epochs"].max() - found["epochs"].min() + 1) // PRUNED_ROWS)
    first = found["epochs"] - (found["epochs"] - found["epochs"].min()) % width
    return [
        (f"{int(start):,}" if width == 1 else f"{int(start):,}–{int(start) + width - 1:,}", group)
        for start, group in found.groupby(first)
    ]
