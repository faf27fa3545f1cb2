"""The trials from which a report learns what mattered, in the order of how good they are.

These are the complete and the pruned ones by their objectives, a pruned one as good as what it had reached: what it would have come to is not known,
and without it a value whose trials were mostly pruned would be judged by its survivors alone.

The pruner `promotion` pauses most trials after a few epochs, so their objectives would call bad what was left early. There complete trials come first,
and paused ones follow by the epochs to which they were promoted, then by their objectives (`sweeps.results.found_trials`). So only trials of equally
many epochs are compared by their objectives. To let a model of learning curves complete the others was tried and left, because it was wrong by a
factor of three and more (docs/explain/search.md).
"""

import numpy as np
import pandas as pd


def learned_trials(search: pd.DataFrame, found: pd.DataFrame, *, promotes: bool) -> pd.DataFrame:
    """Return these trials, the best first, with two columns more.

    `standing` is what they are ordered by: the objective, or under promotion the place. `judged` says whether a trial was let beyond the
    least that every trial gets: whether it is complete, or under promotion, whether it was promoted.

    Args:
        search: trials of the search, without duplicates.
        found: those that `found_rows` gives of them, in its order.
        promotes: whether the pruner is `promotion`.
    """
    if promotes:
        complete = (found["state"] == "complete").to_numpy()
        epochs = found["epochs"].to_numpy(float)
        first = epochs[~complete].min() if not complete.all() else np.inf
        return found.assign(standing=np.arange(len(found), dtype=float), judged=complete | (epochs > first))
    learned = search[search["state"].isin(["complete", "pruned"]) & search["objective"].notna()]
    learned = learned.sort_values(["objective", "number"], ignore_index=True)
    return learned.assign(standing=learned["objective"], judged=learned["state"] == "complete")
