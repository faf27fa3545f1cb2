"""Rules for the checks of trust, the captions, how the trials ended and how the report was made;
and the list of constants.
"""

import re

import pandas as pd
from recompute_rules import Expected, State, shows
from recompute_statistics import plural
from recompute_tables import Rows, has

# ---- how the trials ended ----


@shows(has("outcome", "search"))
def outcomes(state: State, rows: Rows) -> list[list[Expected]]:
    trials, made = state.study.trials, []
    repeated = trials["duplicate_of"].notna() & ~trials["repeat"]
    for row in rows[1:]:
        own = trials[(trials["state"] == row[0]) & ~repeated]
        counts = [f"{(~own['repeat']).sum():,}", f"{own['repeat'].sum():,}"]
        if row[0] == "repeated":
            counts = [f"{repeated.sum():,}", "0"]
        made.append([None, *counts, _why(row[0], own, row[3])])
    return made


def _why(state: str, own: pd.DataFrame, words: str) -> str:
    if state == "pruned":
        low, high = own["epochs"].min(), own["epochs"].max()
        span = (
            plural(low, "epoch")
            if low == high
            else f"{low:,} to {high:,} epochs (median {own['epochs'].median():g})"
        )
        return f"worse than others at the same epoch; stopped after {span}"
    if state == "failed":
        counts = own["failure"].fillna("unknown").str.replace("_", " ").value_counts()
        return ", ".join(
            f"{count:,} {kind}"
            for kind, count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))
        )
    return words if not re.search(r"\d", words) else ""


@shows(has("trial", "class"))
def failed(state: State, rows: Rows) -> list[list[Expected]]:
    study = state.study
    own = study.trials[study.trials["state"] == "failed"].sort_values(["repeat", "number"]).head(50)
    return [
        [
            f"{'r' if row['repeat'] else ''}{row['number']}",
            None,
            str(row["epochs"]),
            None,
            study.configuration(row),
        ]
        for _, row in own.iterrows()
    ]


# ---- how this was made ----


@shows(lambda block: block.heading == "Seeds")
def seeds(state: State, rows: Rows) -> list[list[Expected]]:
    """The seeds of the study and of the split are constants; those of the best trial and of its
    repeats stand in trials.csv.
    """
    study, made = state.study, []
    for name, words in rows[1:]:
        expected = None
        if name == "trial of the search":
            seed = rows[1][1].partition(":")[0]
            expected = (
                f"the first 63 bits of the SHA-256 of `{seed}:trial:N`, N being the number of the "
                "trial"
            )
            if study.best is not None and not pd.isna(study.best_trial["seed"]):
                expected += f"; trial {study.best}: {int(study.best_trial['seed'])}"
        elif name == "fresh seeds":
            own = (
                study.best_runs.sort_values("seed_index")["seed"].dropna()
                if study.confirmed
                else []
            )
            told = (
                f"; those of the confirmation of trial {study.best}: "
                f"{', '.join(str(int(seed)) for seed in own)}"
            )
            expected = words.partition("; those of")[0] + (told if len(own) else "")
        made.append([None, expected])
    return made


@shows(
    lambda block: (
        block.chapter == "How this was made" and [cell.words for cell in block.rows[0]] == ["", ""]
    )
)
def facts(state: State, rows: Rows) -> list[list[Expected]]:
    """Constants: settings, sizes of the data, versions, hardware. The rules take them as given."""
    return [[None, None]] * (len(rows) - 1)
