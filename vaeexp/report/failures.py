"""How the trials ended: every failed trial with its message, every pruned one with its epoch, and how much is missing where."""

import numpy as np
import pandas as pd

from vaeexp.report.markdown import escape, heading, table
from vaeexp.results.columns import column, for_baseline_alone
from vaeexp.results.study_view import StudyView
from vaeexp.results.trial_files import left_pictures
from vaeexp.words import format_configuration, format_number, plural

STATES = ("complete", "pruned", "failed", "running", "waiting")
FAILED_ROWS, PRUNED_ROWS = 50, 30
NAMED = 12
"""Trials that are named in a row of the summary by epoch."""
LONGEST = 300
"""Characters of a message that are shown."""
CSV = "[trials.csv](trials.csv)"
COUNTED = "in no ranking, mean or importance, but counted in the tables by parameter"

Missing = tuple[int, str, str]
"""How many there are, the noun of one, and where they are left out."""


def failures(view: StudyView) -> list[str]:
    """Return the chapter, block by block; empty before the first trial."""
    if view.trials.empty:
        return []
    blocks = [heading("How the trials ended"), outcomes(view), escape(view.study.stopped or "")]
    for title, content in (("Failed", failed_trials(view)), ("Pruned", pruned_trials(view))):
        blocks += [heading(title, 3), *content] if content else []
    lines = left_out(view)
    blocks.append(heading("Left out", 3))
    blocks.append("\n".join(f"- {line}" for line in lines) if lines else "Nothing was left out of any table or plot.")
    return [block for block in blocks if block]


def left_out(view: StudyView) -> list[str]:
    """Return a sentence for each kind of thing that is left out, with how many there are; empty where nothing is."""
    missing = [*_of_the_search(view), *_of_the_runs(view), _without_pictures(view)]
    return [f"{plural(count, one)} {where}." for count, one, where in missing if count]


def _of_the_search(view: StudyView) -> list[Missing]:
    trials, search = view.trials, view.search
    state = search["state"]
    infinite = ~np.isfinite(search["objective"].to_numpy(float))
    epochs = int((~np.isfinite(view.epochs["objective"].to_numpy(float))).sum())
    repeated = int((~trials["repeat"] & trials["duplicate_of"].notna()).sum())
    unplaced = int(search["best_epoch"].notna().sum()) - len(view.points)
    return [
        (repeated, "repeated trial", "(the configuration of an earlier one): in trials.csv alone"),
        (
            _sum(state == "failed"),
            "failed trial",
            f"of the search: {COUNTED}; in plots with the epochs before the failure",
        ),
        (
            _sum(state == "pruned"),
            "pruned trial",
            f"of the search: {COUNTED}; in plots at the best of the epochs before",
        ),
        (
            _sum(state.isin(["running", "waiting"])),
            "trial",
            f"of the search not ended yet: {COUNTED}; in plots as far as reported",
        ),
        (
            _sum((state == "complete") & infinite),
            "complete trial",
            "without a finite value: in no ranking, mean, importance or plot of values",
        ),
        (epochs, "epoch", "with a value that is not finite: in no curve, and never a trial's best"),
        (
            unplaced,
            "trial",
            "of the search without a finite rate and distortion at the best epoch: not in the plane of the two",
        ),
    ]


def _of_the_runs(view: StudyView) -> list[Missing]:
    runs = view.trials[view.trials["repeat"]]
    idle = runs["purposes"].map(len) == 0
    failed, going = runs["state"].isin(["failed", "pruned"]), runs["state"].isin(["running", "waiting"])
    untested = ~np.isfinite(column(view.confirm_runs, "result.test/neg_elbo").to_numpy(float))
    incomplete = sum(comparison.incomplete for comparison in view.pairs)
    which = "to confirm, to compare or of a baseline"
    return [
        (_sum(failed & ~idle), "run", f"{which} failed: one seed fewer in its mean"),
        (_sum(going & ~idle), "run", f"{which} not ended yet: in no mean"),
        (_sum(idle), "run", "of an earlier plan that this one has no use for: in trials.csv alone"),
        (int(untested.sum()), "confirming run", "without a finite test −ELBO: in no mean of test figures"),
        (incomplete, "matched pair", "without both runs complete: in no difference"),
    ]


def _sum(chosen: pd.Series) -> int:
    return int(chosen.sum())


def _without_pictures(view: StudyView) -> Missing:
    trials = view.trials
    complete = trials[(trials["state"] == "complete") & trials["duplicate_of"].isna()]
    missing = int((~left_pictures(complete)).sum())
    few = "" if missing < len(complete) else " (all of them)"
    return missing, "trained model", f"without pictures in the runs folder{few}: not among the pictures"


def outcomes(view: StudyView) -> str:
    """Return how many trials of the search and how many other runs ended in each state; empty without a trial."""
    trials = view.trials
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
    """Count the classes of failures: `2 diverged, 1 out of memory`, the most frequent first."""
    counts = trials["failure"].fillna("unknown").value_counts()
    ordered = sorted((-count, str(kind)) for kind, count in counts.items())
    return escape(", ".join(f"{-count:,} {kind.replace('_', ' ')}" for count, kind in ordered))


def _span(epochs: pd.Series) -> str:
    low, high = int(epochs.min()), int(epochs.max())
    return plural(low, "epoch") if low == high else f"{low:,} to {high:,} epochs (median {epochs.median():g})"


def failed_trials(view: StudyView) -> list[str]:
    """Return every trial and run that failed, at most 50: its class, its epochs, its message and its configuration."""
    failed = view.trials[view.trials["state"] == "failed"].sort_values(["repeat", "number"])
    rows = [
        [
            escape(row["name"]),
            escape(row["failure"].replace("_", " ") if isinstance(row["failure"], str) else "unknown"),
            str(row["epochs"]),
            escape(_shortened(row["message"])),
            escape(format_configuration(view.params(row))),
        ]
        for _, row in failed.head(FAILED_ROWS).iterrows()
    ]
    if not rows:
        return []
    rest = failed.iloc[FAILED_ROWS:]
    more = [f"{len(rest):,} more failed ({_classes(rest)}); all of them are in {CSV}."] if len(rest) else []
    return [table(["trial", "class", "epochs", "message", "configuration"], rows, right=(2,)), *more]


def _shortened(message: object) -> str:
    text = " ".join(message.split()) if isinstance(message, str) else "–"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def pruned_trials(view: StudyView) -> list[str]:
    """Return every pruned trial with its epoch; of more than 30, how many were pruned after which epoch, and which."""
    pruned = view.search[view.search["state"] == "pruned"]
    if pruned.empty:
        return []
    if len(pruned) <= PRUNED_ROWS:
        cells = zip(pruned["name"], pruned["epochs"], pruned["objective"], strict=True)
        rows = [[escape(name), str(epochs), format_number(value)] for name, epochs, value in cells]
        return [table(["trial", "stopped after epoch", "best val −ELBO by then"], rows, right=(1, 2))]
    rows = []
    for words, group in _by_epoch(pruned):
        names = ", ".join(map(str, group["number"].head(NAMED)))
        more = f" and {len(group) - NAMED:,} more" if len(group) > NAMED else ""
        ends = [format_number(group["objective"].min()), format_number(group["objective"].max())]
        rows.append([words, f"{len(group):,}", *ends, names + more])
    header = ["stopped after epoch", "trials", "lowest val −ELBO by then", "highest", "which"]
    return [table(header, rows, right=range(4)), f"All of them are in {CSV}."]


def _by_epoch(pruned: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Group the trials by epoch, or by at most 30 equal ranges of epochs."""
    least = pruned["epochs"].min()
    width = -(-int(pruned["epochs"].max() - least + 1) // PRUNED_ROWS)
    first = pruned["epochs"] - (pruned["epochs"] - least) % width
    return [
        (f"{int(start):,}" if width == 1 else f"{int(start):,}–{int(start) + width - 1:,}", group)
        for start, group in pruned.groupby(first)
    ]
