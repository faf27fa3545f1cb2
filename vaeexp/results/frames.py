"""What figures and tables read from the results of a study: its search space, one row per trial, labels, numbers as text."""

import math
from typing import Any

import numpy as np
import pandas as pd

from sweeps.results.rankings import Results, best_run
from sweeps.results.statistics import Interval, mean_interval
from vaeexp.words import format_value, is_missing, parameter_label


def recorded(results: Results, part: str) -> dict[str, Any]:
    """A part of what was recorded with the study (`vaeexp.runs.provenance.describe_run`): data, protocol …; empty without it."""
    return results.study.provenance.get(part) or {}


def baselines(results: Results) -> dict[str, dict[str, Any]]:
    """The baselines of the study file, by name."""
    return results.study.spec.get("baselines") or {}


def space(results: Results) -> dict[str, dict[str, Any]]:
    """Searched parameters in the order of the study file, each with kind, low, high, log, step, values and when."""
    return results.study.spec.get("search") or {}


def study_seed(results: Results) -> int:
    """The seed of the study file, from which whatever is drawn at random here is seeded; 0 without one."""
    return int(results.study.spec.get("seed") or 0)


def fixed(results: Results, name: str) -> Any:
    """Value of a setting that the study fixes, None where it has none of that name."""
    spec = results.study.spec
    for section in ("data", "model", "train", "evaluation"):
        if name in (spec.get(section) or {}):
            return spec[section][name]
    return None


def search_trials(results: Results) -> pd.DataFrame:
    """Trials of the search in order of number, without those that repeat an earlier configuration."""
    trials = results.trials
    return trials[~trials["repeat"] & trials["duplicate_of"].isna()].sort_values("number")


def column(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column, or as many missing values where the frame has none of that name."""
    return frame[name] if name in frame.columns else pd.Series(math.nan, index=frame.index, name=name)


def finite(values: pd.Series) -> np.ndarray:
    """The values that are numbers, float64: neither missing nor infinite."""
    numbers = values.to_numpy(dtype=float, na_value=math.nan)
    return numbers[np.isfinite(numbers)]


def test_interval(runs: pd.DataFrame, metric: str) -> Interval:
    """95 % interval (Student's t) of a test figure over the seeds of one configuration; NaN where no run has it."""
    return mean_interval(finite(column(runs, f"result.{metric}")).tolist())


def params(results: Results, row: pd.Series) -> dict[str, Any]:
    """Searched parameters of a trial, in the order of the study file, without those whose condition was false."""
    values = {name: row.get(f"params.{name}") for name in space(results)}
    return {name: value for name, value in values.items() if not is_missing(value)}


def value_of(results: Results, row: pd.Series, name: str) -> Any:
    """Value of a setting in a trial: the searched one, else the one that the study fixes, else None."""
    value = params(results, row).get(name)
    return fixed(results, name) if value is None else value


def at_best_epoch(results: Results, trials: pd.DataFrame) -> pd.DataFrame:
    """These trials with the metrics of their best epoch beside them (`val/rate`, …); trials without an epoch are left out."""
    if trials.empty or results.epochs.empty:
        return trials.iloc[:0]
    epochs = results.epochs.drop(columns=["objective"], errors="ignore").rename(columns={"epoch": "best_epoch"})
    keys = ["repeat", "number", "best_epoch"]
    scored = trials[trials["best_epoch"].notna()]
    return scored.astype({"best_epoch": "int64"}).merge(epochs, on=keys, how="inner")


def points(results: Results) -> pd.DataFrame:
    """Trials of the search at their best epoch, those with a finite rate and distortion."""
    frame = at_best_epoch(results, search_trials(results))
    finite = [np.isfinite(column(frame, name).astype(float)) for name in ("val/rate", "val/distortion")]
    return frame[finite[0] & finite[1]]


def confirm_runs(results: Results) -> pd.DataFrame:
    """Complete runs of the confirmation, each a known configuration trained again with a fresh seed."""
    trials = results.trials
    chosen = trials["repeat"] & (trials["state"] == "complete") & trials["objective"].notna()
    return trials[chosen & trials["purposes"].map(lambda purposes: "confirm" in purposes).astype(bool)]


def confirmations(results: Results) -> pd.DataFrame:
    """Confirmed configurations, best first: of (trial of the search), n (runs), value (mean validation −ELBO of the runs).

    Ranked on validation over the fresh seeds, so that the test figures of the winner were not selected for.
    """
    runs = confirm_runs(results)
    table = runs.groupby("source_trial")["objective"].agg(n="count", objective="mean").reset_index()
    return table.sort_values(["objective", "source_trial"], ignore_index=True)


def for_baseline_alone(trials: pd.DataFrame) -> pd.Series:
    """Which of these trials are rows of the study file that neither confirm nor compare anything that the search found."""
    return trials["purposes"].map(lambda purposes: tuple(purposes) == ("baseline",)).astype(bool)


def best_number(results: Results) -> int | None:
    """The trial whose configuration is best: by its confirmation, else by the search; None without a complete trial."""
    run = best_run(results)
    return None if run is None else int(run["source_trial"] if run["repeat"] else run["number"])


def categories(results: Results, name: str) -> list[str]:
    """Values of a choice parameter as text: those of the study file, then others that earlier trials had."""
    listed = [format_value(value) for value in space(results)[name]["values"]]
    trials = results.trials[~for_baseline_alone(results.trials)]
    found = set(column(trials, f"params.{name}").dropna().map(format_value))
    return list(dict.fromkeys([*listed, *sorted(found)]))


def label(name: str, results: Results | None = None) -> str:
    """How a parameter is called in text and on axes, its condition added where `results` is given and it has one."""
    text = parameter_label(name)
    condition = (space(results).get(name) or {}).get("when") if results is not None else None
    if not condition:
        return text
    return f"{text} (if {' and '.join(f'{label(key)} is {_listed(wanted)}' for key, wanted in condition.items())})"


def _listed(wanted: Any) -> str:
    return (
        " or ".join(format_value(part) for part in wanted) if isinstance(wanted, list | tuple) else format_value(wanted)
    )
