"""What is missing from which table or plot, and why: nothing is left out without a word."""

from pathlib import Path

import numpy as np

from sweeps.results import Results
from vaeexp.figures.comparison import comparisons
from vaeexp.figures.frames import column, confirm_runs, points, search_trials
from vaeexp.figures.pictures import FILE
from vaeexp.report.markdown import plural

__all__ = ["left_out"]

COUNTED = "in no ranking, mean or importance, but counted in the tables by parameter"


def left_out(results: Results) -> list[str]:
    """A sentence for each kind of thing that was left out, with how many there were; empty where nothing was."""
    counted = [*_of_the_search(results), *_of_the_epochs(results), *_of_the_runs(results), *_of_the_pictures(results)]
    return [f"{plural(count, one)} {words}." for count, one, words in counted if count]


def _of_the_search(results: Results) -> list[tuple[int, str, str]]:
    trials = results.trials
    own = search_trials(results)
    state, values = own["state"], own["value"].to_numpy(float)
    repeated = int((~trials["replica"] & trials["duplicate_of"].notna()).sum())
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
    own, values = search_trials(results), results.epochs["value"].to_numpy(float)
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
    runs = trials[trials["replica"]]
    confirming = confirm_runs(results)
    untested = ~np.isfinite(column(confirming, "result.test/nll").to_numpy(float))
    idle = runs["roles"].map(len) == 0
    return [
        (
            int((runs["state"].isin(["failed", "pruned"]) & ~idle).sum()),
            "run",
            "to confirm, to compare or of a reference failed: one seed fewer in its mean",
        ),
        (
            int((runs["state"].isin(["running", "waiting"]) & ~idle).sum()),
            "run",
            "to confirm, to compare or of a reference not ended yet: in no mean",
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
