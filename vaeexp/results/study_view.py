"""One study as plots and report see it: every selection and every statistic of it, typed and computed once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from sweeps.results.rankings import Results, best_run, pruned_epochs_saved, ranked
from sweeps.storage.study_record import StudyRecord
from vaeexp.results.columns import at_best_epoch, column, search_course, search_trials
from vaeexp.results.differences import PairComparison, WinnerMargin, compare_pairs, winner_margins
from vaeexp.results.parameter_effects import Forest, grow_forest, importance_table
from vaeexp.results.parameters import SearchedParameter, searched_parameters
from vaeexp.results.tested_settings import (
    CHANGES,
    TestedSetting,
    baseline_settings,
    best_setting,
    confirmed_settings,
)
from vaeexp.results.trial_files import EVALUATION, LOOKED_AT, PICTURES, Arrays, first_with
from vaeexp.words import is_missing

SECTIONS = ("data", "model", "train", "evaluation")
"""Sections of a study file that hold settings."""


@dataclass(frozen=True, eq=False)
class StudyView:
    """A study in any state. Build it once for a report (`vaeexp.results.open_study`); nothing in it changes afterwards."""

    results: Results

    @property
    def name(self) -> str:
        return self.results.name

    @property
    def study(self) -> StudyRecord:
        return self.results.study

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial of the search and per repeat, as `Results.trials`."""
        return self.results.trials

    @property
    def epochs(self) -> pd.DataFrame:
        """One row per reported epoch, as `Results.epochs`."""
        return self.results.epochs

    # ---- the study file ----

    @cached_property
    def spec(self) -> Mapping[str, Any]:
        """All that defines the study; empty where it was not recorded."""
        return self.study.spec

    @cached_property
    def seed(self) -> int:
        """The seed of the study file, which seeds every resample of a statistic; 0 without one."""
        return int(self.spec.get("seed") or 0)

    @cached_property
    def parameters(self) -> dict[str, SearchedParameter]:
        """The searched parameters by name, in the order of the study file."""
        return searched_parameters(self.spec.get("search") or {}, self.trials)

    @cached_property
    def baseline_specs(self) -> Mapping[str, Mapping[str, Any]]:
        """The baselines of the study file, by name."""
        return self.spec.get("baselines") or {}

    def fixed(self, name: str) -> Any:
        """Return the value of a setting that the study fixes; None where it has none of that name."""
        sections = (self.spec.get(section) or {} for section in SECTIONS)
        return next((section[name] for section in sections if name in section), None)

    def recorded(self, part: str) -> Mapping[str, Any]:
        """Return a part of what `vaeexp.runs.provenance` recorded: data, protocol, git …; empty without it."""
        return self.study.provenance.get(part) or {}

    def protocol(self, baseline: str | None = None) -> dict[str, str]:
        """Return the protocol of the search, or that of a baseline: what makes two values of −ELBO comparable."""
        own = {"posterior": str(self.fixed("posterior") or "gaussian"), **self.recorded("protocol")}
        if baseline is None:
            return own
        if written := self.recorded("protocols").get(baseline):
            return dict(written)
        changed = self.baseline_specs[baseline].get("settings") or {}
        return own | {part: str(changed[name]) for name, part in CHANGES.items() if name in changed}

    # ---- trials of the search ----

    @cached_property
    def search(self) -> pd.DataFrame:
        """Trials of the search by number, without those that repeat an earlier configuration."""
        return search_trials(self.trials)

    @cached_property
    def ranked(self) -> pd.DataFrame:
        """Complete trials of the search, the best first."""
        return ranked(self.results)

    @cached_property
    def course(self) -> pd.DataFrame:
        """Trials of the search in the order in which they ended, with `spent` (trial-epochs by then) and `best` (value by then)."""
        return search_course(self.search)

    @cached_property
    def best_epochs(self) -> pd.DataFrame:
        """Trials of the search with the metrics of their best epoch (`val/rate`, …), without trials that have no epoch."""
        return self.at_best_epoch(self.search)

    @cached_property
    def points(self) -> pd.DataFrame:
        """The rows of `best_epochs` with a finite rate and distortion."""
        finite = [np.isfinite(column(self.best_epochs, f"val/{name}").astype(float)) for name in ("rate", "distortion")]
        return self.best_epochs[finite[0] & finite[1]]

    @cached_property
    def epochs_saved(self) -> int:
        """Trial-epochs that pruned trials of the search did not train."""
        if "epochs" not in self.parameters:
            return pruned_epochs_saved(self.results, int(self.fixed("epochs") or 0))
        pruned = self.search[self.search["state"] == "pruned"]
        return int((pruned["params.epochs"].astype(float) - pruned["epochs"]).clip(lower=0).sum())

    def at_best_epoch(self, trials: pd.DataFrame) -> pd.DataFrame:
        """Return these trials with the metrics of their best epoch, without trials that have no epoch."""
        return at_best_epoch(self.epochs, trials)

    def params(self, trial: pd.Series) -> dict[str, Any]:
        """Return the searched parameters of a trial, in the order of the study file, without inactive ones."""
        values = {name: trial.get(f"params.{name}") for name in self.parameters}
        return {name: value for name, value in values.items() if not is_missing(value)}

    def value_of(self, trial: pd.Series, name: str) -> Any:
        """Return a setting of a trial: the searched value, else the value that the study fixes, else None."""
        value = self.params(trial).get(name)
        return self.fixed(name) if value is None else value

    # ---- the best, the confirmed and the baselines ----

    @cached_property
    def best(self) -> TestedSetting | None:
        """The best configuration: confirmed, else the best trial of the search; None without a complete trial."""
        return best_setting(self)

    @cached_property
    def best_trial(self) -> pd.Series | None:
        """The trial of the search that has the best configuration."""
        if self.best is None:
            return None
        trials = self.trials
        return trials[~trials["repeat"] & (trials["number"] == self.best.source_trial)].iloc[0]

    @cached_property
    def best_number(self) -> int | None:
        """The number of that trial."""
        return None if self.best is None else self.best.source_trial

    @cached_property
    def best_run(self) -> dict[str, Any] | None:
        """The run whose model is the study's: the best run of the best configuration."""
        return best_run(self.results)

    @cached_property
    def confirm_runs(self) -> pd.DataFrame:
        """Complete runs of the confirmation, each a known configuration trained again with a fresh seed."""
        trials = self.trials
        chosen = trials["repeat"] & (trials["state"] == "complete") & trials["objective"].notna()
        return trials[chosen & trials["purposes"].map(lambda purposes: "confirm" in purposes).astype(bool)]

    @cached_property
    def confirmed(self) -> list[TestedSetting]:
        """Confirmed configurations, the lowest mean validation −ELBO first."""
        return confirmed_settings(self)

    @cached_property
    def margins(self) -> list[WinnerMargin]:
        """The other confirmed configurations, each set against the first on test."""
        return winner_margins(self.confirmed)

    @cached_property
    def baselines(self) -> list[TestedSetting]:
        """Baselines with a complete run, in the order of the study file."""
        return baseline_settings(self)

    # ---- statistics ----

    @cached_property
    def pairs(self) -> list[PairComparison]:
        """The comparison that the study asks for, one entry for each two values of its parameter."""
        return compare_pairs(self.results, self.compared_parameter, self.seed)

    @cached_property
    def compared_parameter(self) -> str | None:
        """The parameter that the study compares in matched pairs; None where it compares none."""
        return (self.spec.get("compare") or {}).get("parameter")

    @cached_property
    def importances(self) -> pd.DataFrame:
        """Share of each searched parameter with its interval (share, low, high), the most important first."""
        return importance_table(self.parameters, self.ranked, self.seed)

    @cached_property
    def forest(self) -> Forest | None:
        """A model of validation −ELBO over the parameters; None where no importance can be said."""
        return grow_forest(self.parameters, list(self.importances.index), self.ranked, self.seed)

    # ---- files of the trials ----

    def best_pictured(self, needed: str) -> tuple[pd.Series, Arrays] | None:
        """Return the best model that left an array of this name in `pictures.npz`, with that file's arrays.

        Confirmed runs come first, those of the best configuration before others; then the trials of the search.
        """
        return self._best_with(PICTURES, needed)

    def best_evaluated(self, needed: str) -> tuple[pd.Series, Arrays] | None:
        """Return the same for `evaluation.npz`."""
        return self._best_with(EVALUATION, needed)

    @cached_property
    def _opened(self) -> dict[tuple[str, str], tuple[pd.Series, Arrays] | None]:
        return {}

    def _best_with(self, name: str, needed: str) -> tuple[pd.Series, Arrays] | None:
        if (name, needed) not in self._opened:
            groups = [setting.runs for setting in self.confirmed] + [self.ranked.head(LOOKED_AT)]
            self._opened[name, needed] = first_with(groups, name, needed)
        return self._opened[name, needed]
