"""One study as plots and report see it: every selection and every statistic of it, typed and
computed once.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sweeps import Bound, BoundHit, StudyRecord, baseline_names, end_at, hits_of
from sweeps.results import (
    Race,
    Results,
    best_run,
    compared_levels,
    found_rows,
    promotes,
    race_of,
    ranked,
)
from vaeexp.data.formats.official_files import NOT_OFFICIAL, NOT_VERIFIED
from vaeexp.evaluation.metrics import Place
from vaeexp.results import stored_study, verdict
from vaeexp.results.coverage import Coverage, measure_coverage
from vaeexp.results.divergence import Divergence, divergences
from vaeexp.results.effects import ParameterEffect, parameter_effects
from vaeexp.results.equal_epochs import EqualEpochEffect, at_common_epoch, equal_epoch_effects
from vaeexp.results.forest import Dependence, Forest, dependence, grow_forest
from vaeexp.results.front_view import FrontView, front_view
from vaeexp.results.holes import Holes, find_holes
from vaeexp.results.interactions import Interaction, find_interactions
from vaeexp.results.new_seeds import NewSeeds, new_seeds, seeds_of
from vaeexp.results.parameters import (
    SearchedParameter,
    configuration_of,
    importance_table,
    searched_parameter,
)
from vaeexp.results.pruner_replay import Replay, recorded_curves, replay_pruner
from vaeexp.results.statements import Statements
from vaeexp.results.tables import (
    Arrays,
    changed_trial,
    learned_trials,
    per_image_arrays,
    read_arrays,
    search_course,
    search_trials,
    split_by_configuration,
    study_tables,
    with_purpose,
)
from vaeexp.results.tested_settings import (
    CHANGES,
    SAME_ELBO,
    SHOWN,
    BaselineMargin,
    PairComparison,
    TestedSetting,
    WinnerMargin,
    baseline_margins,
    compare_pairs,
    corrected,
    winner_margins,
)
from vaeexp.words import format_configuration

SECTIONS = ("data", "model", "train", "evaluation")
"""Sections of a study file that hold settings."""
LOOKED_AT = 500
"""Trials of the search, the best ones, whose files may stand for those of the best model."""
PROTOCOL = {part: part for part in (*SAME_ELBO, "estimator")} | {"fingerprint": "images"}
"""Parts of a protocol, and what each is called. Studies must share all of them to stand in one
table.
"""


@dataclass(frozen=True, eq=False)
class StudyView:
    """A study in any state. Build it once for a report (`open_study`); nothing in it changes
    afterwards.
    """

    results: Results
    _opened: dict[str, tuple[pd.Series, Arrays] | None] = field(default_factory=dict, init=False)

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

    @cached_property
    def seed(self) -> int:
        """The seed of the study file, which seeds every resample of a statistic; 0 without one."""
        return int(self.study.spec.get("seed") or 0)

    @cached_property
    def parameters(self) -> dict[str, SearchedParameter]:
        """The searched parameters by name, in the order of the study file, with the ranges that the
        search has widened.
        """
        search = {
            name: dict(section) for name, section in (self.study.spec.get("search") or {}).items()
        }
        for growth in self.study.grown:
            search[growth.parameter]["low" if growth.bound == "lower" else "high"] = growth.end
        return {
            name: searched_parameter(name, section, self.trials) for name, section in search.items()
        }

    @cached_property
    def baseline_specs(self) -> Mapping[str, Mapping[str, Any]]:
        """The baselines of the study file, by name."""
        return self.study.spec.get("baselines") or {}

    def fixed(self, name: str) -> Any:
        """Return the value of a setting that the study fixes; None where it has none of that
        name.
        """
        sections = (self.study.spec.get(section) or {} for section in SECTIONS)
        return next((section[name] for section in sections if name in section), None)

    def recorded(self, part: str) -> Mapping[str, Any]:
        """Return a part of what `vaeexp.runs.provenance` recorded: data, protocol, git …; empty
        without it.
        """
        return self.study.provenance.get(part) or {}

    @property
    def other_files(self) -> bool:
        """Whether the files are not known to be the official ones of the data set: then no
        published figure is of them.
        """
        return str(self.recorded("data").get("title", "")).endswith(
            (f"({NOT_OFFICIAL})", f"({NOT_VERIFIED})")
        )

    def protocol(self, baseline: str | None = None) -> dict[str, str]:
        """Return the protocol of the search, or that of a baseline: what makes two values of −ELBO
        comparable.
        """
        protocol = {
            "posterior": str(self.fixed("posterior") or "gaussian"),
            **self.recorded("protocol"),
        }
        if baseline is None:
            return protocol
        if written := self.recorded("protocols").get(baseline):
            return dict(written)
        changed = self.baseline_specs[baseline].get("settings") or {}
        return protocol | {
            part: str(changed[name]) for name, part in CHANGES.items() if name in changed
        }

    @cached_property
    def search(self) -> pd.DataFrame:
        """Trials of the search by number, without those that repeat an earlier configuration."""
        return search_trials(self.trials)

    @cached_property
    def ranked(self) -> pd.DataFrame:
        """Complete trials of the search, the best first; none with two objectives."""
        return ranked(self.results)

    @cached_property
    def _verdict_trials(self) -> list[verdict.SearchedTrial]:
        epochs = self.at_best_epoch(self.search)
        return verdict.of_rows(
            self.search, dict(zip(epochs["number"], epochs["val/rate"].astype(float), strict=True))
        )

    @cached_property
    def nothing_learned(self) -> Statements:
        """Why the search has taught nothing, and what to do; empty where it has."""
        return verdict.nothing_learned(self.study, self._verdict_trials)

    @cached_property
    def further(self) -> tuple[verdict.SearchedTrial, float] | None:
        """The unfinished trial that had reached less than the best complete one, and the value of
        that; None where none had.
        """
        return verdict.further_trial(self.study, self._verdict_trials)

    @property
    def all_failed(self) -> bool:
        """Whether each trial of the search failed."""
        return verdict.all_failed(self._verdict_trials)

    @cached_property
    def found(self) -> pd.DataFrame:
        """The same, then those that `promotion` paused (`found_rows`)."""
        return found_rows(self.results, self.ranked)

    @cached_property
    def front(self) -> FrontView | None:
        """The front of the search; None where the study has one objective."""
        return (
            front_view(self.last_epochs, self.epochs, self.study.objectives)
            if self.study.objectives
            else None
        )

    @cached_property
    def learned(self) -> pd.DataFrame:
        """The trials from which the report learns what mattered, the best first (`learned_trials`);
        none with two objectives.
        """
        search = self.search.iloc[:0] if self.study.objectives else self.search
        return learned_trials(search, self.found, promotes=promotes(self.study))

    @cached_property
    def judged(self) -> frozenset[int]:
        """The numbers of those that are complete, or were promoted; `LEAST_TRIALS` of them say
        which parameters mattered.
        """
        return frozenset(self.learned.loc[self.learned["judged"], "number"])

    @cached_property
    def course(self) -> pd.DataFrame:
        """Trials of the search as they ended (`search_course`); none with two objectives."""
        return search_course(
            self.search.iloc[:0] if self.study.objectives else self.search, self.epochs
        )

    @cached_property
    def last_epochs(self) -> pd.DataFrame:
        """Trials of the search with the metrics of their last epoch (`val/rate`, …), without trials
        that have no epoch.
        """
        return self.at_last_epoch(self.search)

    @cached_property
    def points(self) -> pd.DataFrame:
        """The rows of `last_epochs` with a finite rate and distortion."""
        total = self.last_epochs["val/rate"] + self.last_epochs["val/distortion"]
        return self.last_epochs[np.isfinite(total.astype(float))]

    @cached_property
    def epochs_saved(self) -> int:
        """Trial-epochs that pruned trials of the search did not train."""
        pruned = self.search[self.search["state"] == "pruned"]
        searched = "epochs" in self.parameters
        most = pruned["params.epochs"].astype(float) if searched else int(self.fixed("epochs") or 0)
        return int((most - pruned["epochs"]).clip(lower=0).sum())

    def at_best_epoch(self, trials: pd.DataFrame) -> pd.DataFrame:
        """Return these trials with the metrics of their best epoch, without trials that have no
        epoch.
        """
        metrics = self.epochs.drop(columns=["objective", "round"]).rename(
            columns={"epoch": "best_epoch"}
        )
        scored = trials[trials["best_epoch"].notna()].astype({"best_epoch": "int64"})
        return scored.merge(metrics, on=["repeat", "number", "best_epoch"])

    def with_best_epoch(self, trials: pd.DataFrame, *places: Place) -> pd.DataFrame:
        """Return these trials, each of them, with the metrics that their best epoch has at these
        places.
        """
        keys, best = ["repeat", "number"], self.at_best_epoch(trials)
        names = [name for name in best.columns if name.partition("/")[0] in places]
        return trials.merge(best[[*keys, *names]], on=keys, how="left")

    def at_last_epoch(self, trials: pd.DataFrame) -> pd.DataFrame:
        """Return these trials with the metrics of the last epoch that they reported, `epoch`;
        `objective` stays their best.

        Where β is not 1, training moves away from the best −ELBO: a model as it was trained is the
        one of the last epoch.
        """
        metrics = self.epochs.drop(columns=["objective", "round", "seconds"], errors="ignore")
        last = metrics.sort_values("epoch", kind="stable").drop_duplicates(
            ["repeat", "number"], keep="last"
        )
        return trials.merge(last, on=["repeat", "number"])

    def curve(self, run: pd.Series) -> pd.DataFrame:
        """Return the epochs of a run with a finite rate and distortion, in order."""
        epochs = self.epochs[
            (self.epochs["repeat"] == run["repeat"]) & (self.epochs["number"] == run["number"])
        ]
        return epochs.dropna(subset=["val/rate", "val/distortion"]).sort_values("epoch")

    def params(self, trial: pd.Series) -> dict[str, Any]:
        """Return the searched parameters of a trial, in the order of the study file, without
        inactive ones.
        """
        return configuration_of(self.parameters, trial)

    @cached_property
    def best(self) -> TestedSetting | None:
        """The best configuration: confirmed, else the best trial of the search; None without a
        complete trial.
        """
        if self.confirmed:
            return self.confirmed[0]
        best = self.ranked.head(1)
        return (
            None
            if best.empty
            else self._found_setting(int(best["number"].iloc[0]), best, "best of the search")
        )

    @cached_property
    def best_trial(self) -> pd.Series | None:
        """The trial of the search that has the best configuration."""
        return (
            None
            if self.best is None
            else self.search[self.search["number"] == self.best_number].iloc[0]
        )

    @cached_property
    def best_number(self) -> int | None:
        """The number of that trial."""
        return None if self.best is None else self.best.source_trial

    @cached_property
    def best_run(self) -> dict[str, Any] | None:
        """The run whose model is the study's: the best run of the best configuration."""
        return best_run(self.results)

    @cached_property
    def _repeats(self) -> pd.DataFrame:
        """Complete runs of known configurations with fresh seeds."""
        trials = self.trials
        return trials[
            trials["repeat"] & (trials["state"] == "complete") & trials["objective"].notna()
        ]

    @cached_property
    def confirm_runs(self) -> pd.DataFrame:
        """Complete runs of the confirmation."""
        return with_purpose(self._repeats, "confirm")

    @cached_property
    def confirmed(self) -> list[TestedSetting]:
        """Confirmed configurations, the lowest mean validation −ELBO over fresh seeds first, so
        that nothing is selected on test.

        Those of a race stand in its order, because some have fewer seeds.
        """
        runs = self.confirm_runs
        means = runs.groupby("source_trial")["objective"].mean().reset_index()
        ordered = means.sort_values(["objective", "source_trial"])["source_trial"].tolist()
        if self.race is not None:
            ordered.sort(key=self.race.order.index)
        return [
            self._found_setting(int(trial), runs[runs["source_trial"] == trial], "confirmed")
            for trial in ordered
        ]

    @cached_property
    def new_seeds(self) -> list[NewSeeds]:
        """What became of the fresh seeds of each configuration that is confirmed, compared or a
        baseline, also without a complete run.
        """
        return [*self._seeds_of_found, *self._seeds_of_baselines]

    @cached_property
    def _seeds_of_found(self) -> list[NewSeeds]:
        return new_seeds(self.trials, self.study.spec, self.race, {})

    @cached_property
    def _seeds_of_baselines(self) -> list[NewSeeds]:
        sources: dict[int, list[tuple[str, int | None]]] = defaultdict(list)
        for name in self.baseline_specs:
            for source, part in self._parts_of_baseline(name, self.trials[self.trials["repeat"]]):
                for place in part.index:
                    sources[place].append((name, source))
        return [
            each
            for each in new_seeds(self.trials, self.study.spec, None, sources)
            if each.purpose == "baseline"
        ]

    @cached_property
    def untrained(self) -> list[TestedSetting]:
        """The confirmed configurations and the baselines of which every run failed, in this
        order.
        """
        none, made = self._repeats.iloc[:0], []
        for seeds in self.new_seeds:
            if seeds.failed and not seeds.complete:
                trial = seeds.source_trial
                if seeds.purpose == "confirm" and trial is not None:
                    made.append(self._found_setting(trial, none, "confirmed"))
                elif seeds.baseline is not None:
                    made.append(
                        self._baseline_setting(
                            seeds.baseline, none, trial, names_trial=trial is not None
                        )
                    )
        return made

    @cached_property
    def divergences(self) -> list[Divergence]:
        """The trials of the search that failed, by kind, and the parameter that separates them from
        the others.
        """
        return divergences(self.search, self.parameters, self.best_trial)

    @cached_property
    def race(self) -> Race | None:
        """The race of the confirmed configurations; None where the study asks for none."""
        return race_of(self.results)

    @cached_property
    def margins(self) -> list[WinnerMargin]:
        """The other confirmed configurations, each set against the first on test."""
        return winner_margins(self.confirmed, self.race)

    @cached_property
    def validation_margins(self) -> list[WinnerMargin]:
        """The same on validation, by which the first was chosen."""
        return winner_margins(self.confirmed, self.race, metric="objective")

    @cached_property
    def baselines(self) -> list[TestedSetting]:
        """Baselines with a complete run, in the order of the study file.

        One on the best setting stands once for each configuration that it changes: that of the best
        trial of the search, and that of the winner where the confirmation turned the order round.
        The titles of these name the trial.
        """
        made = []
        for name in self.baseline_specs:
            rows = self._parts_of_baseline(name, self._repeats)
            several = len(rows) > 1 or any(
                source not in (None, self.best_number) for source, _ in rows
            )
            made += [
                self._baseline_setting(name, own, source, names_trial=several)
                for source, own in rows
            ]
        return made

    def _parts_of_baseline(
        self, name: str, repeats: pd.DataFrame
    ) -> list[tuple[int | None, pd.DataFrame]]:
        """Return the trials that a baseline changes, None for the fixed settings, and the runs of
        each; that of the best stands first.
        """
        runs = repeats[
            repeats["baseline"].map(lambda given: name in baseline_names(given)).astype(bool)
        ]
        if self.baseline_specs[name].get("at") != "best":
            return [(None, runs)] if len(runs) else []
        firsts = [
            int(number)
            for number in (self.best_number, *self.found["number"].head(1))
            if number is not None
        ]
        settings, space = self.baseline_specs[name].get("settings") or {}, self.study.space
        parts = split_by_configuration(runs)
        rows = [
            (changed_trial(own, settings, space, firsts, self._params_of), own) for own in parts
        ]
        return sorted(rows, key=lambda row: row[0] != self.best_number)

    def _params_of(self, number: int) -> dict[str, Any]:
        base = self.search[self.search["number"] == number]
        return self.params(base.iloc[0]) if len(base) else {}

    def opposed(self, baseline: TestedSetting) -> TestedSetting | None:
        """Return what a baseline is set against: the confirmed configuration that it changes; for
        the fixed settings the best.

        None where no run of that one is complete.
        """
        if baseline.source_trial is None:
            return self.best
        known = [*self.confirmed, self.best]
        return next(
            (each for each in known if each and each.source_trial == baseline.source_trial), None
        )

    @cached_property
    def changed(self) -> list[TestedSetting]:
        """The confirmed configurations that baselines change, without the best."""
        others = [self.opposed(baseline) for baseline in self.baselines]
        return [
            setting for setting in self.confirmed[1:] if any(setting is other for other in others)
        ]

    def _found_setting(self, number: int, runs: pd.DataFrame, role: str) -> TestedSetting:
        """Make the entry of a configuration that trial `number` of the search found; its protocol
        is that of the study.
        """
        values = self.params(
            runs.iloc[0] if len(runs) else self.search[self.search["number"] == number].iloc[0]
        )
        # Where one parameter was searched alone, its value is the best name.
        only = format_configuration(values) if len(self.parameters) == 1 else ""
        return self._setting(
            runs,
            values,
            title=f"Trial {number}, {only or role}",
            setting=format_configuration(values),
            source_trial=number,
            protocol=self.protocol(),
            **(seeds_of(self._seeds_of_found, number, None) if role == "confirmed" else {}),
        )

    def _baseline_setting(
        self, name: str, runs: pd.DataFrame, source: int | None, *, names_trial: bool = False
    ) -> TestedSetting:
        """Make the entry of a baseline from its complete runs; `source`: the trial that it changes,
        which its title may name.
        """
        section = self.baseline_specs[name]
        changed = section.get("settings") or {}
        inherited = {} if source is None else self._params_of(source)
        start = "the fixed settings" if source is None else f"trial {source}"
        change = format_configuration(
            {key: value for key, value in changed.items() if inherited.get(key) != value}
        )
        title = section.get("title") or name
        return self._setting(
            runs,
            {**inherited, **changed},
            title=f"{title} (trial {source})" if names_trial else title,
            setting=f"{start} with {change}" if change else start,
            source_trial=source,
            baseline=name,
            protocol=self.protocol(name),
            published=None if self.other_files else section.get("published"),
            **seeds_of(self._seeds_of_baselines, source, name),
        )

    def _setting(
        self, runs: pd.DataFrame, values: Mapping[str, Any], **fields: Any
    ) -> TestedSetting:
        """Make the entry of complete runs that have these values of parameters."""
        settings = {name: values.get(name, self.fixed(name)) for name in (*SHOWN, "beta")}
        beta = settings.pop("beta")
        return TestedSetting(
            runs=runs.sort_values(["objective", "number"]), settings=settings, beta=beta, **fields
        )

    @cached_property
    def per_image(self) -> dict[str, np.ndarray]:
        """−ELBO and importance-weighted NLL of each test image, of the runs of the best
        configuration and of the baselines (`per_image_arrays`).
        """
        tables = [setting.runs for setting in (self.best, *self.baselines) if setting]
        return per_image_arrays(pd.concat(tables)) if tables else {}

    @cached_property
    def baseline_margins(self) -> list[BaselineMargin]:
        """How far each baseline is on test from what it is set against (`opposed`); without those
        that are the same training.
        """
        opposed = [(baseline, self.opposed(baseline)) for baseline in self.baselines]
        known = [(baseline, other) for baseline, other in opposed if other is not None]
        return baseline_margins(self.confirmed, known, self.race) if self.confirmed else []

    def margin_of(self, baseline: TestedSetting) -> BaselineMargin | None:
        """Return how far a baseline is from what it is set against; None where that cannot be
        said.
        """
        own = baseline.baseline, baseline.source_trial
        return next(
            (each for each in self.baseline_margins if (each.baseline, each.source_trial) == own),
            None,
        )

    @cached_property
    def pairs(self) -> list[PairComparison]:
        """The comparisons that the study asks for, one entry for each two values of each parameter,
        corrected for their number.
        """
        compared = []
        for name in self.compared_parameters:
            for two in itertools.combinations(compared_levels(self.results, name), 2):
                compared.append(
                    compare_pairs(self.results, name, two, self.seed, self.found, self.best)
                )
        return corrected(compared)

    @cached_property
    def compared_parameters(self) -> tuple[str, ...]:
        """The parameters that the study compares in matched pairs, in the order of its file."""
        return tuple((self.study.spec.get("compare") or {}).get("parameters") or ())

    @cached_property
    def importances(self) -> pd.DataFrame:
        """Share of each searched parameter with its interval (share, low, high), the most important
        first.
        """
        return importance_table(self.parameters, self.learned, self.seed, self.left_out)

    @cached_property
    def forest(self) -> Forest | None:
        """A model of validation −ELBO over the parameters; None where no importance can be said, or
        trials were paused at different epochs.
        """
        names = [] if promotes(self.study) else list(self.importances.index)
        return grow_forest(self.parameters, names, self.learned, self.seed, self.left_out)

    @cached_property
    def dependences(self) -> dict[str, Dependence]:
        """Parameter → what the forest expects along it, the most important first; empty without a
        forest.
        """
        return (
            {}
            if self.forest is None
            else {name: dependence(self.forest, name) for name in self.forest.parameters}
        )

    @cached_property
    def coverage(self) -> dict[str, list[Coverage]]:
        """Searched choice → how far each of its values was tried where the others are good, in the
        order of the study file.
        """
        return measure_coverage(self.parameters, self.search, self.found)

    @cached_property
    def left_out(self) -> dict[str, list[str]]:
        """Searched choice → its values, as text, that were never tried to the end where the others
        are good; marginals leave them out.
        """
        return {
            name: [value.text for value in own if not value.covered]
            for name, own in self.coverage.items()
        }

    def uncovered(self, name: str) -> list[str]:
        """Return the values of a parameter that are left out; none of a range of numbers."""
        return self.left_out.get(name, [])

    def covered(self, trials: pd.DataFrame, name: str) -> pd.DataFrame:
        """Return the trials whose value of a parameter is covered; all of them for a range of
        numbers.
        """
        return trials[~self.parameters[name].has(trials, self.uncovered(name))]

    @cached_property
    def effects(self) -> list[ParameterEffect]:
        """What the search shows of each searched parameter, in the order of the study file."""
        spans = {name: dependence.span for name, dependence in self.dependences.items()}
        return parameter_effects(
            self.parameters, self.found, self.importances, spans, self.hits, self.winner_ends
        )

    @cached_property
    def winner_ends(self) -> dict[str, Bound]:
        """Parameter → the end of what was searched at which the best configuration lies (`end_at`),
        of those that lie at one.
        """
        values = {} if self.best_trial is None else self.params(self.best_trial)
        ends = {name: end_at(self.parameters[name], value) for name, value in values.items()}
        return {name: end for name, end in ends.items() if end is not None}

    @cached_property
    def hits(self) -> list[BoundHit]:
        """The ends of what was searched at which the best trials lie (`hits_of`)."""
        rows = self.found.filter(like="params.").to_dict("records")
        return hits_of(
            [*self.parameters.values()], [configuration_of(self.parameters, row) for row in rows]
        )

    @cached_property
    def holes(self) -> Holes:
        """What the search tried only with bad values of other parameters."""
        return find_holes(self.parameters, self.learned)

    @cached_property
    def equal_epochs(self) -> list[EqualEpochEffect]:
        """What each searched parameter costs at equal epochs, in the order of the study file; none
        with two objectives.
        """
        if self.study.objectives:
            return []
        return equal_epoch_effects(
            self.parameters,
            self.learned,
            self.found,
            self._searched_epochs,
            self.holes,
            first=self.best_number,
            least_epoch=self._least_epoch,
            failed=int((self.search["state"] == "failed").sum()),
            seed=self.seed,
        )

    @cached_property
    def at_equal_epochs(self) -> tuple[int, pd.DataFrame]:
        """The epoch at which `equal_epochs` compares, 0 where there is none; and the rows of
        `learned` that reached it, with their `value` there.
        """
        return at_common_epoch(self.learned, self._searched_epochs, self._least_epoch)

    @cached_property
    def _searched_epochs(self) -> pd.DataFrame:
        return self.epochs.loc[~self.epochs["repeat"], ["number", "epoch", "objective"]]

    @cached_property
    def _least_epoch(self) -> int:
        """The first epoch at which trials may be compared: that of the first rung, and after every
        warm-up.
        """
        return max([self.warmup + 1, *self.rungs[:1]])

    @cached_property
    def rungs(self) -> list[int]:
        """Epochs at which the pruner compares trials and pauses them; none where it pauses none."""
        return list(self.study.spec["pruner"].get("rungs") or ()) if promotes(self.study) else []

    @cached_property
    def interactions(self) -> list[Interaction]:
        """The dependence of each comparison on the learning rate and the two most important other
        parameters.
        """
        return find_interactions(
            self.pairs, self.parameters, self.search, list(self.importances.index)
        )

    @property
    def warmup(self) -> int:
        """The longest warm-up of a trial of the search, in epochs that do not count."""
        return int(self.study.spec.get("longest_warmup", 0))

    @cached_property
    def curves(self) -> list[np.ndarray]:
        """The objective after each epoch of the complete trials, the best first, as
        `recorded_curves`.
        """
        return recorded_curves(self.epochs, self.ranked)

    @cached_property
    def replay(self) -> Replay | None:
        """The decisions of the study's pruner, replayed on its complete trials; None without a rule
        that stops any.
        """
        return replay_pruner(
            self.study.spec.get("pruner"), self.curves, self.fixed("epochs"), self.warmup
        )

    def best_with(self, needed: str) -> tuple[pd.Series, Arrays] | None:
        """Return the best model that left the array `needed`, with all arrays of its file.

        Confirmed runs come first, those of the best configuration before others; then the trials of
        the search.
        """
        if needed not in self._opened:
            tables = [*(setting.runs for setting in self.confirmed), self.ranked.head(LOOKED_AT)]
            rows = (row for table in tables for _, row in table.iterrows())
            candidates = ((row, read_arrays(row["folder"], needed)) for row in rows)
            self._opened[needed] = next(
                (candidate for candidate in candidates if candidate[1]), None
            )
        return self._opened[needed]


def open_study(study: str, runs: Path, storage: str | None) -> StudyView:
    """Return the view of a study; `study` is its name, or the path of its file. Raises UserError
    where there is nothing.
    """
    return StudyView(study_tables(stored_study(study, runs, storage), runs))
