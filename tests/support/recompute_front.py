"""Rules for the front of a study with two objectives: its sentence in the answer, and its table."""

import pandas as pd
from recompute_figures import Study
from recompute_rules import Expected, State, shows
from recompute_statistics import number

METRICS = {
    "rate": "val/rate",
    "distortion": "val/distortion",
    "−ELBO": "val/neg_elbo",
    "active units": "val/active_units",
}
"""Name of an objective in a report → column of curves.csv."""
NAME = "(?:rate|distortion|−ELBO|active units)"


def objectives(study: Study) -> list[str]:
    """Return the columns of the two objectives; empty with one."""
    words = study.report.facts("Search").get("objectives", "")
    return [part.split(" ")[1] for part in words.split(", ")] if words else []


def complete(study: Study) -> pd.DataFrame:
    """Return the complete trials of the search by number, with the metrics of their last epochs;
    trials.csv has those of their best.
    """
    epochs = study.epochs[~study.epochs["repeat"]].sort_values("epoch").groupby("number").last()
    trials = study.search[study.search["state"] == "complete"].set_index("number")
    return trials.drop(columns=[*METRICS.values()]).join(epochs[[*METRICS.values()]], how="inner")


def members(study: Study) -> pd.DataFrame:
    """Return the trials that no other equals or beats in both, the lowest first objective first; by
    each with each other.
    """
    trials, (first, second) = complete(study).sort_index(), objectives(study)
    kept = []
    for number_, one in trials.iterrows():
        better = (trials[first] <= one[first]) & (trials[second] <= one[second])
        strictly = better & ((trials[first] < one[first]) | (trials[second] < one[second]))
        equal = better & ~strictly & (trials.index < number_)
        if not (strictly | equal).any():
            kept.append(number_)
    return trials.loc[kept].sort_values(first)


@shows(lambda block: block.heading == "The front" and block.rows[0][0].words == "trial")
def table(state: State, rows: list[list[str]]) -> list[list[Expected]]:
    front = members(state.study)
    return [
        [
            str(place),
            *(number(row[METRICS[title]]) for title in rows[0][1:-1]),
            state.study.configuration(row),
        ]
        for place, row in front.iterrows()
    ]
