"""Which trials found the configurations of a search that are worth training again, the best first.

These are the complete ones. Under the pruner `promotion` the paused ones follow, those with more
epochs first, and of equally many those with the lower objective: few trials are complete there, and
the others were compared with their like at a rung. Duplicates are left out, and with two objectives
there are none.
"""

from typing import TYPE_CHECKING

from sweeps.results.rankings import Results, ranked_trials
from sweeps.state.record import StudyRecord
from sweeps.state.state import State
from sweeps.state.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

PAUSED = ("paused", "pruned")
"""States of trials that are paused, or were when the search ended."""


def found_trials(stored: State) -> list[Trial]:
    """Return the records of these trials."""
    if not promotes(stored.study):
        return ranked_trials(stored)
    paused = [
        (-len(trial.epochs), trial.objective, trial.number, trial)
        for trial in stored.trials
        if trial.state in PAUSED and trial.duplicate_of is None and trial.objective is not None
        if trial.counts
    ]
    return ranked_trials(stored) + [trial for *_, trial in sorted(paused)]


def found_rows(results: Results, ranked: "pd.DataFrame") -> "pd.DataFrame":
    """Return the rows of these trials. `ranked`: those of the complete ones
    (`sweeps.results.ranked`).
    """
    import pandas as pd

    if not promotes(results.study):
        return ranked
    runs = results.trials
    paused = runs[
        ~runs["repeat"]
        & runs["counts"]
        & runs["state"].isin(PAUSED)
        & runs["duplicate_of"].isna()
        & runs["objective"].notna()
    ]
    order = ["epochs", "objective", "number"]
    paused = paused.sort_values(order, ascending=[False, True, True])
    return pd.concat([ranked, paused], ignore_index=True)


def promotes(study: StudyRecord) -> bool:
    """Whether the pruner of a study is `promotion`, which pauses trials, and the study has one
    objective.
    """
    return not study.objectives and (study.spec.get("pruner") or {}).get("name") == "promotion"
