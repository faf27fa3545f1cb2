"""What was trained again with fresh seeds: the confirmed configurations, the baselines, and the
distances between them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from sweeps import baseline_names
from sweeps.results import Race, Results, race_of
from vaeexp.results.new_seeds import (
    NewSeeds,
    new_seeds,
    seeds_of,
)
from vaeexp.results.plan import StudyPlan
from vaeexp.results.tables import (
    per_image_arrays,
    text_of,
    values_of,
    with_purpose,
)
from vaeexp.results.tested_settings import (
    SHOWN,
    BaselineMargin,
    TestedSetting,
    WinnerMargin,
    baseline_margins,
    winner_margins,
)
from vaeexp.words import format_configuration, is_missing


@dataclass(frozen=True, eq=False)
class Retrained:
    """The configurations of a study that were trained again, and its best one."""

    results: Results
    plan: StudyPlan
    search: pd.DataFrame
    """As `StudyView.search`."""
    ranked: pd.DataFrame
    """As `StudyView.ranked`."""
    found: pd.DataFrame
    """As `StudyView.found`."""

    @cached_property
    def _repeats(self) -> pd.DataFrame:
        """Complete runs of known configurations with fresh seeds."""
        trials = self.results.trials
        return trials[
            trials["repeat"] & (trials["state"] == "complete") & trials["objective"].notna()
        ]

    # ---- the confirmation ----

    @cached_property
    def confirm_runs(self) -> pd.DataFrame:
        """Complete runs of the confirmation."""
        return with_purpose(self._repeats, "confirm")

    @cached_property
    def race(self) -> Race | None:
        """The race of the confirmed configurations; None where the study asks for none."""
        return race_of(self.results)

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
            else self._found_setting(int(best["number"].iloc[0]), best, "best in the search")
        )

    @cached_property
    def margins(self) -> list[WinnerMargin]:
        """The other confirmed configurations, each set against the first on test."""
        return winner_margins(self.confirmed, self.race)

    # ---- baselines ----

    @cached_property
    def baselines(self) -> list[TestedSetting]:
        """Baselines with a complete run, in the order of the study file.

        One on the best setting stands once for each configuration that it changes: that of the best
        trial of the search, and that of the winner where the confirmation turned the order round.
        The titles of these name the trial.
        """
        best = self.best and self.best.source_trial
        made = []
        for name in self.plan.baseline_specs:
            rows = self._parts_of_baseline(name, self._repeats)
            several = len(rows) > 1 or any(source not in (None, best) for source, _ in rows)
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
        spec = self.plan.baseline_specs[name]
        best = self.best and self.best.source_trial
        runs = repeats[
            repeats["baseline"].map(lambda given: name in baseline_names(given)).astype(bool)
        ]
        if spec.get("at") != "best":
            return [(None, runs)] if len(runs) else []
        settings = spec.get("settings") or {}
        space = self.results.study.space
        # A run that also confirms a trial is recorded as that trial's, so the best are asked first.
        asked = [best, *self.found["number"].head(1), *runs["source_trial"]]
        sources = [*dict.fromkeys(int(number) for number in asked if not is_missing(number))]
        given = {source: self._params_of(source) for source in sources}
        after = {source: text_of(space.changed(own, settings)) for source, own in given.items()}
        # Of two trials that it makes alike, it changes the one that is not so already.
        sources.sort(key=lambda source: text_of(given[source]) == after[source])
        changed = {after[source]: source for source in reversed(sources)}
        texts = np.array([text_of(values_of(run)) for _, run in runs.iterrows()])
        rows = []
        for text in dict.fromkeys(texts.tolist()):
            own = runs[texts == text]
            recorded = own["source_trial"].dropna()
            known = int(recorded.iloc[0]) if len(recorded) else None
            rows.append((changed.get(text, known), own))
        return sorted(rows, key=lambda row: row[0] != best)

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
    def per_image(self) -> dict[str, np.ndarray]:
        """−ELBO and importance-weighted NLL of each test image, of the runs of the best
        configuration and of the baselines (`per_image_arrays`).
        """
        tables = [setting.runs for setting in (self.best, *self.baselines) if setting]
        return per_image_arrays(pd.concat(tables)) if tables else {}

    # ---- seeds that failed ----

    @cached_property
    def new_seeds(self) -> list[NewSeeds]:
        """What became of the fresh seeds of each confirmed configuration, then of each baseline;
        also without a complete run.
        """
        return [*self._seeds_of_found, *self._seeds_of_baselines]

    @cached_property
    def _seeds_of_found(self) -> list[NewSeeds]:
        runs = with_purpose(self.results.trials, "confirm")
        asked = int((self.results.study.spec.get("confirm") or {}).get("seeds") or 0)
        made = []
        for source in dict.fromkeys(map(int, runs["source_trial"])):
            planned = asked if self.race is None else self.race.seeds.get(source, 0)
            made.append(new_seeds(runs[runs["source_trial"] == source], planned, source))
        return made

    @cached_property
    def _seeds_of_baselines(self) -> list[NewSeeds]:
        trials = self.results.trials
        made = []
        for name, spec in self.plan.baseline_specs.items():
            for source, runs in self._parts_of_baseline(name, trials[trials["repeat"]]):
                planned = int(spec.get("seeds") or 0)
                made.append(new_seeds(runs, planned, source, name))
        return made

    @cached_property
    def untrained(self) -> list[TestedSetting]:
        """The confirmed configurations and the baselines of which every run failed, in this
        order.
        """
        none = self._repeats.iloc[:0]
        made = []
        for seeds in self.new_seeds:
            if seeds.failed and not seeds.complete:
                trial = seeds.source_trial
                if seeds.baseline is not None:
                    named = trial is not None
                    made.append(
                        self._baseline_setting(seeds.baseline, none, trial, names_trial=named)
                    )
                elif trial is not None:
                    made.append(self._found_setting(trial, none, "confirmed"))
        return made

    # ---- entries ----

    def _params_of(self, number: int) -> dict[str, Any]:
        base = self.search[self.search["number"] == number]
        return self.plan.params(base.iloc[0]) if len(base) else {}

    def _found_setting(self, number: int, runs: pd.DataFrame, role: str) -> TestedSetting:
        """Make the entry of a configuration that trial `number` of the search found; its protocol
        is that of the study.
        """
        values = self.plan.params(runs.iloc[0]) if len(runs) else self._params_of(number)
        # Where one parameter was searched alone, its value is the best name.
        only = format_configuration(values) if len(self.plan.parameters) == 1 else ""
        return _setting(
            self.plan,
            runs,
            values,
            title=f"Trial {number}, {only or role}",
            setting=format_configuration(values),
            source_trial=number,
            protocol=self.plan.protocol(),
            **(seeds_of(self._seeds_of_found, number, None) if role == "confirmed" else {}),
        )

    def _baseline_setting(
        self, name: str, runs: pd.DataFrame, source: int | None, *, names_trial: bool
    ) -> TestedSetting:
        """Make the entry of a baseline from its complete runs; `source`: the trial that it changes,
        which its title may name.
        """
        section = self.plan.baseline_specs[name]
        changed = section.get("settings") or {}
        inherited = {} if source is None else self._params_of(source)
        start = "the fixed settings" if source is None else f"trial {source}"
        change = format_configuration(
            {key: value for key, value in changed.items() if inherited.get(key) != value}
        )
        title = section.get("title") or name
        return _setting(
            self.plan,
            runs,
            {**inherited, **changed},
            title=f"{title} (trial {source})" if names_trial else title,
            setting=f"{start} with {change}" if change else start,
            source_trial=source,
            baseline=name,
            protocol=self.plan.protocol(name),
            published=None if self.plan.other_files else section.get("published"),
            **seeds_of(self._seeds_of_baselines, source, name),
        )


def _setting(
    plan: StudyPlan, runs: pd.DataFrame, values: Mapping[str, Any], **fields: Any
) -> TestedSetting:
    """Make the entry of complete runs that have these values of parameters."""
    settings = {name: values.get(name, plan.fixed(name)) for name in SHOWN}
    ordered = runs.sort_values(["objective", "number"])
    return TestedSetting(runs=ordered, settings=settings, **fields)
