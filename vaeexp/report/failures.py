"""How the trials ended: every one that failed with its message, every one that was pruned with its epoch, and what was left out."""

import pandas as pd

from sweeps.results import Results
from vaeexp.figures.frames import for_reference_alone, number, params, search_trials, setting_text
from vaeexp.report.excluded import left_out
from vaeexp.report.markdown import escape, heading, plural, table

__all__ = ["failed", "failures", "outcomes", "pruned"]

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
    blocks = [heading("How the trials ended"), outcomes(results), escape(results.study.get("stopped") or "")]
    for title, content in (("Failed", failed(results)), ("Pruned", pruned(results))):
        blocks += [heading(title, 3), *content] if content else []
    lines = left_out(results)
    blocks.append(heading("Left out", 3))
    blocks.append("\n".join(f"- {line}" for line in lines) if lines else "Nothing was left out of any table or plot.")
    return [block for block in blocks if block]


def outcomes(results: Results) -> str:
    """How many trials of the search and how many other runs ended how; empty without a trial."""
    trials = results.trials
    own, replicas = trials[~trials["replica"]], trials[trials["replica"]]
    repeated = own["duplicate_of"].notna()
    rows = []
    for state in STATES:
        search = own[(own["state"] == state) & ~repeated]
        again = replicas[replicas["state"] == state]
        if len(search) or len(again):
            rows.append([state, f"{len(search):,}", f"{len(again):,}", _why(state, pd.concat([search, again]))])
    if repeated.any():
        why = "the configuration of an earlier trial: its value was used again"
        rows.append(["repeated", f"{int(repeated.sum()):,}", "0", why])
    others = "confirm, compare and references" if for_reference_alone(replicas).any() else "confirm and compare"
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
    found = trials[trials["state"] == "failed"].sort_values(["replica", "number"])
    rows = [
        [
            escape(row["name"]),
            escape(row["failure"].replace("_", " ") if isinstance(row["failure"], str) else "unknown"),
            str(row["epochs"]),
            escape(_shortened(row["message"])),
            escape(setting_text(params(results, row))),
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
        cells = zip(found["name"], found["epochs"], found["value"], strict=True)
        rows = [[escape(name), str(epochs), number(value)] for name, epochs, value in cells]
        return [table(["trial", "stopped after epoch", "best val −ELBO by then"], rows, right=(1, 2))]
    rows = []
    for words, group in _by_epoch(found):
        names = ", ".join(map(str, group["number"].head(NAMED)))
        more = f" and {len(group) - NAMED:,} more" if len(group) > NAMED else ""
        rows.append(
            [words, f"{len(group):,}", number(group["value"].min()), number(group["value"].max()), names + more]
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
