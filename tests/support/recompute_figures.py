"""Figures of a study from the tables beside its report: selections, margins, pairs, importances."""

import itertools
import math
import re
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
from recompute_files import Parameter, Report, number_of, value_text
from recompute_race import Raced, race
from recompute_statistics import (
    Gap,
    Mean,
    Pairs,
    corrected,
    holm,
    of_looks,
    paired_p,
    plural,
    student,
    welch,
)

ENDED = ("complete", "pruned", "failed")


@dataclass(frozen=True, eq=False)
class Study:
    """The study of a report, recomputed."""

    report: Report

    @property
    def trials(self) -> pd.DataFrame:
        return self.report.trials

    @property
    def epochs(self) -> pd.DataFrame:
        return self.report.epochs

    @property
    def parameters(self) -> dict[str, Parameter]:
        return self.report.parameters

    @cached_property
    def search(self) -> pd.DataFrame:
        own = self.trials[~self.trials["repeat"] & self.trials["duplicate_of"].isna()]
        return own.sort_values("number")

    @cached_property
    def ranked(self) -> pd.DataFrame:
        if "objectives" in self.report.facts("Search"):
            return self.search.iloc[:0]
        own = self.search[(self.search["state"] == "complete") & self.search["objective"].notna()]
        return own.sort_values(["objective", "number"])

    @cached_property
    def warmup(self) -> int:
        """The longest warm-up of a trial of the search, in epochs."""
        searched = self.parameters.get("warmup_epochs")
        fixed = number_of(self.report.setting("train", "warmup epochs") or "0")
        return math.ceil(
            fixed
            if searched is None
            else max(map(number_of, searched.texts), default=searched.high)
        )

    @cached_property
    def found(self) -> pd.DataFrame:
        """Whose values may lie at a bound: the complete trials, then those that promotion paused,
        by their epochs.
        """
        facts = self.report.facts("Search")
        if "objectives" in facts or not facts.get("pruner", "").startswith("promotion"):
            return self.ranked
        own = self.search[
            self.search["state"].isin(["paused", "pruned"]) & self.search["objective"].notna()
        ]
        return pd.concat(
            [
                self.ranked,
                own.sort_values(["epochs", "objective", "number"], ascending=[False, True, True]),
            ]
        )

    @property
    def promotes(self) -> bool:
        return self.report.facts("Search").get("pruner", "").startswith("promotion")

    @cached_property
    def learned(self) -> pd.DataFrame:
        """The best first, with what they are ordered by: their objectives, or under promotion their
        places.
        """
        if self.promotes:
            return self.found.assign(standing=np.arange(len(self.found), dtype=float))
        own = self.search[
            self.search["state"].isin(["complete", "pruned"]) & self.search["objective"].notna()
        ]
        return own.sort_values(["objective", "number"]).assign(standing=own["objective"])

    @cached_property
    def judged(self) -> set[int]:
        """Numbers of the trials that are complete, or under promotion had more epochs than the
        least that a paused trial has.
        """
        complete = self.found["state"] == "complete"
        least = self.found.loc[~complete, "epochs"].min()
        return set(self.found.loc[complete | (self.found["epochs"] > least), "number"])

    @cached_property
    def repeats(self) -> pd.DataFrame:
        own = self.trials[self.trials["repeat"] & (self.trials["state"] == "complete")]
        return own[own["objective"].notna()].sort_values(["objective", "number"])

    def _for(self, purpose: str) -> pd.Series:
        return (
            self.trials["purposes"].map(lambda text: purpose in str(text).split("+")).astype(bool)
        )

    @cached_property
    def confirmed(self) -> dict[int, pd.DataFrame]:
        """Trial → its confirming runs, the lowest mean validation −ELBO first, or in the order of
        their race.
        """
        runs = self.repeats[self._for("confirm").reindex(self.repeats.index)]
        groups = {int(source): own for source, own in runs.groupby("source_trial")}
        if self.race is not None:
            return {source: groups[source] for source in self.race.order if source in groups}
        return dict(sorted(groups.items(), key=lambda pair: (pair[1]["objective"].mean(), pair[0])))

    @cached_property
    def race(self) -> Raced | None:
        """The race of the confirming runs; None where the study asks for none."""
        if "race yes" not in self.report.facts("Search").get("confirm", ""):
            return None
        runs = self.trials[self.trials["repeat"] & self._for("confirm")]
        return race(runs, self.report.count("confirm", "seeds", "Search"))

    @property
    def looks(self) -> int:
        """Numbers of seeds that two configurations may come to share."""
        return 1 if self.race is None else self.race.most - 2

    @cached_property
    def best(self) -> int | None:
        if self.confirmed:
            return next(iter(self.confirmed))
        return None if self.ranked.empty else int(self.ranked["number"].iloc[0])

    @cached_property
    def best_trial(self) -> pd.Series:
        return self.search[self.search["number"] == self.best].iloc[0]

    @cached_property
    def best_runs(self) -> pd.DataFrame:
        return self.confirmed[self.best] if self.best in self.confirmed else self.ranked.head(1)

    def baseline(self, name: str) -> pd.DataFrame:
        return self.repeats[
            self.repeats["baseline"].map(lambda names: name in str(names).split("+")).astype(bool)
        ]

    @cached_property
    def rows(self) -> dict[str, pd.DataFrame]:
        """Title of each row of a baseline that has a complete run → its runs; on the best setting
        one for each configuration.
        """
        found = {}
        for title, name in self.report.baselines.items():
            runs = self.baseline(name)
            parts = (
                [runs]
                if self.file_of(title).get("at") != "best"
                else self._alike(runs, self.settings_of(title))
            )
            own_rows = [(self.changed_by(title, own), own) for own in parts]
            for source, own in sorted(own_rows, key=lambda row: row[0] != self.best):
                named = f"{title} (trial {source})"
                found[named if named in self.report.words else title] = own
        return {title: runs for title, runs in found.items() if len(runs)}

    def _alike(self, runs: pd.DataFrame, settings: dict) -> list[pd.DataFrame]:
        """Split runs by their configuration."""
        names = [
            f"params.{name}" for name in (*self.parameters, *settings) if f"params.{name}" in runs
        ]
        texts = [
            str(row) for row in runs[list(dict.fromkeys(names))].itertuples(index=False, name=None)
        ]
        return [runs[[own == text for own in texts]] for text in dict.fromkeys(texts)]

    def changed_by(self, title: str, runs: pd.DataFrame) -> int | None:
        """Return the trial whose configuration the runs of a baseline change: the best, the first
        of the search, or the recorded one.
        """
        if self.file_of(title).get("at") != "best" or runs.empty:
            return None
        settings = self.settings_of(title)
        apart = {
            name
            for name in self.parameters
            if name in settings or any(self._depends(name, of) for of in settings)
        }
        recorded = [int(source) for source in runs["source_trial"].dropna()]
        candidates = [
            self.best,
            *(int(number) for number in self.found["number"].head(1)),
            *recorded,
        ]
        fitting = []
        for source in dict.fromkeys(number for number in candidates if number is not None):
            base = self.search[self.search["number"] == source]
            names = [f"params.{name}" for name in self.parameters if name not in apart]
            both = pd.concat([base[names], runs.head(1)[names]])
            two = [both[name] for name in names]
            if len(base) and all(own.isna().all() or own.nunique(dropna=False) == 1 for own in two):
                same = all(
                    name in self.parameters and str(base[f"params.{name}"].iloc[0]) == str(value)
                    for name, value in settings.items()
                )
                fitting.append((same, source))
        return min(fitting, key=lambda each: each[0])[1] if fitting else (recorded or [None])[0]

    def source_of_row(self, title: str) -> int | None:
        """Return the trial that the row of a baseline changes; of a row without complete runs the
        one that its title names.
        """
        if title in self.rows:
            return self.changed_by(
                re.sub(r" \(trial \d+\)$", "", title)
                if title not in self.report.baselines
                else title,
                self.rows[title],
            )
        named = re.search(r" \(trial (\d+)\)$", title)
        return int(named[1]) if named else None

    def against(self, title: str) -> int | None:
        """Return the trial whose confirmed runs a row is set against: that in its title, else the
        best.
        """
        named = re.search(r" \(trial (\d+)\)$", title)
        return (
            int(named[1])
            if named and title in self.rows and self.report.baselines.get(title) is None
            else self.best
        )

    def runs_of(self, title: str) -> pd.DataFrame | None:
        """Return the runs behind the title of a row; None for an unknown title."""
        title = title.removesuffix(", last epoch")
        if title in self.rows:
            return self.rows[title]
        source, _, role = title.removeprefix("Trial ").partition(",")
        if not source.isdigit() or not title.startswith("Trial ") or not role:
            return None
        return (
            self.confirmed.get(int(source))
            if self.confirmed
            else self.ranked[self.ranked["number"] == int(source)]
        )

    def deterministic(self, title: str | None = None) -> bool:
        changed = self.settings_of(title).get("posterior")
        return (changed or self.report.setting("model", "posterior")) == "deterministic"

    def file_of(self, title: str | None) -> dict:
        """Return a baseline as the study file has it; empty for a configuration of the search."""
        names = self.report.baselines
        name = names.get(str(title)) or names.get(re.sub(r" \(trial \d+\)$", "", str(title)), "")
        return (self.report.file.get("baselines") or {}).get(name) or {}

    def settings_of(self, title: str | None) -> dict:
        """Return the settings that a baseline changes."""
        return self.file_of(title).get("settings") or {}

    def configuration(self, row: pd.Series) -> str:
        """Return `β = 0.98, latent size = 21, optimizer = adam`, without what is not active."""
        frame = row.to_frame().T
        values = {own.label: own.values(frame).iloc[0] for own in self.parameters.values()}
        return ", ".join(
            f"{label} = {value_text(value)}"
            for label, value in values.items()
            if isinstance(value, str) or not math.isnan(value)
        )

    # ---- figures on test ----

    def test(self, runs: pd.DataFrame, metric: str, when: str = "test") -> Mean:
        name = f"result.{when}/{metric}"
        return student(runs[name].astype(float)) if name in runs else Mean(math.nan)

    def difference(
        self, best: pd.DataFrame, runs: pd.DataFrame, name: str = "result.test/neg_elbo"
    ) -> Gap:
        """Return the mean difference on test (runs − best): of shared seeds where all have one,
        else Welch's.
        """
        one, two = (own[["seed", name]].dropna() for own in (best, runs))
        both = one.merge(two, on="seed").drop_duplicates("seed")
        if len(both) > 1 and len(both) == len(two):
            values = list(both[f"{name}_y"] - both[f"{name}_x"])
            return Gap(
                student(values), paired_p(values), f"paired over {plural(len(both), 'shared seed')}"
            )
        first, second = list(one[name]), list(two[name])
        basis = f"Welch's t over {len(first):,} and {plural(len(second), 'seed')}"
        many = min(len(first), len(second)) >= 3
        p = (
            float(scipy.stats.ttest_ind(first, second, equal_var=False).pvalue)
            if many
            else math.nan
        )
        return Gap(welch(first, second), p, basis)

    @cached_property
    def margins(self) -> dict[int, Gap]:
        """Trial → test −ELBO of its runs minus that of the best by seed index, corrected for all
        pairs of the confirmed.
        """
        return self.margins_of("result.test/neg_elbo")

    def margins_of(self, column: str) -> dict[int, Gap]:
        own = {
            source: runs.dropna(subset=["seed_index", column]).groupby("seed_index")[column].first()
            for source, runs in self.confirmed.items()
        }
        two = list(itertools.combinations(own, 2))
        gaps = [list((own[second] - own[first]).dropna()) for first, second in two]
        tests = corrected(
            [Gap(student(gap), of_looks(paired_p(gap), self.looks), "") for gap in gaps]
        )
        return {
            other: gap
            for (one, other), gap in zip(two, tests, strict=True)
            if one == self.best and gap.mean.n
        }

    @cached_property
    def baseline_gaps(self) -> dict[str, Gap]:
        """Title → that of a baseline of the same protocol, corrected for each of them with each
        confirmed configuration.

        One on the best setting stands against the configuration that it changes; of the others it
        counts as many tests that failed.
        """
        every, untested = [], 0
        for title, runs in self.rows.items():
            own = self.against(title) if self.file_of(title).get("at") == "best" else None
            if self.same_protocol(title):
                every += [
                    (source, title, self.difference(of, runs))
                    for source, of in self.confirmed.items()
                    if own in (None, source) and not self.same_training(of, runs)
                ]
        on_best = [
            title
            for _, title, gap in every
            if self.file_of(title).get("at") == "best" and not math.isnan(gap.p)
        ]
        names = {
            self.report.baselines.get(title) or re.sub(r" \(trial \d+\)$", "", title)
            for title in on_best
        }
        untested = len(names) * len(self.confirmed) - len(on_best)
        ps = [
            gap if source == self.best else gap._replace(p=of_looks(gap.p, self.looks))
            for source, _, gap in every
        ]
        tests = corrected([*ps, *[Gap(Mean(math.nan), 1.0, "")] * untested])
        return {
            title: gap
            for (source, title, _), gap in zip(every, tests, strict=False)
            if source == self.against(title)
        }

    def weighted_gap(self, best: pd.DataFrame, runs: pd.DataFrame) -> Mean | None:
        """Return the difference in IW-NLL where its interval leaves out 0 and that of −ELBO does
        not, or the other way round, or both on other sides.
        """
        samples = [
            own.get("result.test/importance_samples", pd.Series(dtype=float)).dropna()
            for own in (best, runs)
        ]
        if len(set(pd.concat(samples))) != 1:
            return None
        gaps = [
            self.difference(best, runs, f"result.test/{name}").mean
            for name in ("neg_elbo", "iw_nll")
        ]
        if math.isnan(gaps[1].low):
            return None
        sides = [(gap.low > 0) - (gap.high < 0) for gap in gaps]
        return gaps[1] if sides[0] != sides[1] else None

    def same_training(self, best: pd.DataFrame, runs: pd.DataFrame) -> bool:
        """Tell whether the runs are those of the other, or repeat them: equal seeds, equal test
        −ELBO.
        """
        figures = ["seed", "result.test/neg_elbo"]
        known = set(best[figures].itertuples(index=False, name=None))
        return set(runs[figures].dropna().itertuples(index=False, name=None)) <= known

    def same_protocol(self, title: str) -> bool:
        """Tell whether a baseline changes nothing that makes its −ELBO another quantity."""
        parts = {
            "dataset": "data",
            "binarisation": "data",
            "likelihood": "model",
            "posterior": "model",
            "sigma": "model",
        }
        changed = self.settings_of(title)
        return all(
            str(changed[name]) == str(self.report.setting(section, name))
            for name, section in parts.items()
            if name in changed
        )

    @cached_property
    def course(self) -> tuple[int | None, list[float], float] | None:
        """The last epoch that all trials reached, None where they are complete; the best value of
        each up to it; the spread of seeds there.
        """
        ended = self.search[
            self.search["state"].isin(["complete", "pruned", "paused"])
        ].sort_values("number")
        complete = ended.loc[ended["state"] == "complete", "objective"]
        complete = complete[np.isfinite(complete)]
        if len(complete) >= 10 and not self.promotes:
            return None, list(complete), self.seed_spread
        counted = self.epochs[self.epochs["epoch"] > self.warmup]
        own = counted[~counted["repeat"] & counted["number"].isin(ended["number"])]
        if own.empty:
            return None
        last = int(own.groupby("number")["epoch"].max().min())
        values = own[own["epoch"] <= last].groupby("number")["objective"].min()
        values = values[np.isfinite(values)]
        repeated = (
            counted[counted["repeat"] & (counted["epoch"] <= last)]
            .groupby("number")["objective"]
            .min()
        )
        squares, freedom = 0.0, 0
        for runs in self.sound:
            group = repeated.reindex(runs["number"]).dropna()
            squares = squares + ((group - group.mean()) ** 2).sum()
            freedom = freedom + max(0, len(group) - 1)
        spread = math.sqrt(squares / freedom) if freedom else math.nan
        return (last, list(values), spread) if len(values) >= 10 else None

    @cached_property
    def repeated(self) -> list[pd.DataFrame]:
        """The complete runs with fresh seeds of each setting."""
        from recompute_repeats import repeated

        return repeated(self)

    @cached_property
    def broken(self) -> list[tuple[float, Any]]:
        """How far behind each run is that is far outside its setting, and its place."""
        from recompute_repeats import far_outside

        return far_outside(self.repeated, self)

    @property
    def sound(self) -> list[pd.DataFrame]:
        """The settings without the runs that are far outside."""
        broken = [place for _, place in self.broken]
        return [own[~own.index.isin(broken)] for own in self.repeated]

    @property
    def seed_freedom(self) -> int:
        return sum(max(len(own) - 1, 0) for own in self.sound)

    @cached_property
    def seed_spread(self) -> float:
        groups = [runs["objective"].to_numpy() for runs in self.sound if len(runs) > 1]
        freedom = self.seed_freedom
        return (
            math.sqrt(sum(own.var(ddof=0) * len(own) for own in groups) / freedom)
            if freedom
            else math.nan
        )

    @cached_property
    def late(self) -> pd.DataFrame:
        """The paused trials that were trained to their end, the best first: rung, rank, reached,
        at_rung, value, ahead, margin.
        """
        runs = self.trials[self.trials["repeat"] & self._for("late")]
        own = self.epochs[
            ~self.epochs["repeat"] & self.epochs["number"].isin(self.search["number"])
        ]
        freedom = self.seed_freedom
        quantile = (
            scipy.stats.t.ppf(1 - 0.025 / max(len(runs), 1), freedom) if freedom else math.nan
        )
        rows = []
        for _, run in runs.iterrows() if len(self.ranked) else ():
            rung = int(self.search.set_index("number").loc[run["source_trial"], "epochs"])
            came = own.groupby("number")["epoch"].max() >= rung
            best = (
                own[own["epoch"].between(self.warmup + 1, rung)]
                .groupby("number")["objective"]
                .min()
            )
            best = best.reindex(came.index[came]).fillna(math.inf)
            at = best[run["source_trial"]]
            value = run["objective"] if run["state"] == "complete" else math.nan
            place = int((best < at).sum()) + 1
            ahead = self.ranked["objective"].iloc[0] - value
            margin = quantile * math.sqrt(2) * self.seed_spread
            rows.append(
                (int(run["source_trial"]), rung, place, len(best), at, value, ahead, margin)
            )
        columns = ["number", "rung", "rank", "reached", "at_rung", "value", "ahead", "margin"]
        return pd.DataFrame(rows, columns=columns).sort_values(["value", "number"])

    def rung_ranks(self, rung: int) -> pd.DataFrame:
        """Return the best value of each complete trial up to a rung, and up to the end."""
        own = self.epochs[
            ~self.epochs["repeat"] & self.epochs["number"].isin(self.ranked["number"])
        ]
        own = own[own["epoch"] > self.warmup]
        at = own[own["epoch"] <= rung].groupby("number")["objective"].min()
        table = pd.DataFrame({"rung": at, "end": own.groupby("number")["objective"].min()})
        return table[np.isfinite(table).all(axis=1)]

    # ---- matched pairs ----

    @cached_property
    def pairs(self) -> list[Pairs]:
        """The comparisons of all compared parameters, in the order of the search space."""
        compared = self.trials.loc[self.trials["repeat"], "pair_ids"].dropna()
        names = {identity.partition(":")[0] for ids in compared for identity in ids.split("+")}
        ordered = (self.report.file.get("compare") or {}).get("parameters") or sorted(
            names, key=list(self.parameters).index
        )
        return [each for name in ordered if name in names for each in self._pairs_of(name)]

    def _pairs_of(self, name: str) -> list[Pairs]:
        own = self.parameters[name]
        apart = {name, *(other for other in self.parameters if self._depends(other, name))}
        alike = [other for other in self.parameters if other not in apart]
        first: dict[str, int] = {}
        cells: dict[tuple[int, int], dict[str, float]] = {}
        found = []
        for _, row in self.trials[
            self.trials["repeat"] & self.trials["pair_ids"].notna()
        ].iterrows():
            for identity in row["pair_ids"].split("+"):
                if identity.startswith(f"{name}:"):
                    found.append((int(identity.partition(":")[2].partition("/")[0]), row))
        for source, row in sorted(found, key=lambda each: (each[0], each[1]["number"])):
            frame = row.to_frame().T
            key = repr([(other, self.parameters[other].values(frame).iloc[0]) for other in alike])
            cell = cells.setdefault((first.setdefault(key, source), int(row["seed_index"])), {})
            value = own.values(frame).iloc[0]
            cell.setdefault(value, row["objective"] if row["state"] == "complete" else math.nan)
        levels = [value for value in own.texts if any(value in cell for cell in cells.values())]
        return [self._compare(name, two, cells) for two in itertools.combinations(levels, 2)]

    def _depends(self, name: str, parent: str) -> bool:
        return f"only if {parent} is " in self.report.facts("Search space")[name.replace("_", " ")]

    def _compare(self, name: str, two: tuple[str, str], cells: dict) -> Pairs:
        rows = [
            (source, seed, cell.get(two[0], math.nan), cell.get(two[1], math.nan))
            for (source, seed), cell in sorted(cells.items())
        ]
        table = pd.DataFrame(rows, columns=["source", "seed_index", "first", "second"])
        table["difference"] = table["second"] - table["first"]
        complete = table.dropna()
        return Pairs(name, *two, complete, len(table) - len(complete))

    @cached_property
    def p_holm(self) -> list[float]:
        return holm([each.p for each in self.pairs])

    # ---- what the search says about parameters ----

    def top(self, name: str) -> pd.DataFrame:
        own = self.parameters[name]
        having = self.found[own.values(self.found).notna()]
        return having.head(max(1, min(5, len(having) // 4)))

    @cached_property
    def uncovered(self) -> dict[str, list[str]]:
        """Choice → values of which none of those that are `found` lies in the box that the best of
        the others span.
        """
        found = {}
        for name, own in self.parameters.items():
            given = own.values(self.found) if own.texts else None
            if given is None:
                continue
            found[name] = [
                text
                for place, text in enumerate(own.texts)
                if not self._is_covered(name, given, text)
            ]
        return found

    def _is_covered(self, name: str, given: pd.Series, text: str) -> bool:
        mine, others = self.found[given == text], self.found[given.notna() & (given != text)]
        if (given.head(math.ceil(len(given) / 4)) == text).any():
            return True
        good = others.head(max(5, math.ceil(len(others) / 4)))
        inside = pd.Series(True, index=mine.index)
        for other, own in self.parameters.items():
            region, values = own.values(good).dropna(), own.values(mine)
            if other == name or region.empty or len(good) < 5:
                continue
            within = (
                values.isin(region) if own.texts else values.between(region.min(), region.max())
            )
            inside &= within | values.isna()
        return bool(inside.any())

    @cached_property
    def importances(self) -> dict[str, float]:
        """Share of each parameter by Optuna's PED-ANOVA over complete and pruned trials; empty
        where it says nothing.
        """
        import optuna

        varied = {name: self._counted(name) for name in self.parameters}
        varied = {name: values for name, values in varied.items() if values.dropna().nunique() > 1}
        if len(self.judged) < 10 or not varied or self.learned["objective"].nunique() == 1:
            return {}
        distributions = {name: self._distribution(self.parameters[name]) for name in varied}
        trials = []
        for index, objective in self.learned["standing"].items():
            params = {
                name: values[index] for name, values in varied.items() if not pd.isna(values[index])
            }
            params = {
                name: int(value) if self.parameters[name].whole else value
                for name, value in params.items()
            }
            used = {name: distributions[name] for name in params}
            trials.append(
                optuna.trial.create_trial(params=params, distributions=used, value=objective)
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            verbosity = optuna.logging.get_verbosity()
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            study = optuna.create_study()
            optuna.logging.set_verbosity(verbosity)
            study.add_trials(trials)
            quantile = max(0.1, 5 / len(trials))
            evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
            return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))

    def _counted(self, name: str) -> pd.Series:
        values = self.parameters[name].values(self.learned)
        return values.where(~values.isin(self.uncovered.get(name, [])))

    def _distribution(self, own: Parameter):
        import optuna

        if own.texts:
            return optuna.distributions.CategoricalDistribution(own.texts)
        given = own.values(self.search).dropna()
        low, high = min(own.low, given.min()), max(own.high, given.max())
        if own.whole:
            return optuna.distributions.IntDistribution(int(low), int(high), log=own.log)
        return optuna.distributions.FloatDistribution(low, high, log=own.log)
