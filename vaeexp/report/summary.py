"""The report for programs: `summary.json`, the figures of a study under a schema that has a version."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd

from sweeps.results.rankings import Results
from sweeps.results.statistics import Interval
from vaeexp.plots.pairs import Comparison, comparisons
from vaeexp.plots.parameters import importances
from vaeexp.report.answer import epochs_saved
from vaeexp.report.schema import (
    Best,
    Commit,
    Cost,
    Counts,
    Data,
    Difference,
    Importance,
    Mean,
    OnTest,
    Protocol,
    SettingRow,
    States,
    Summary,
)
from vaeexp.results.frames import baselines, best_number, column, for_baseline_alone, params, recorded
from vaeexp.results.tested_settings import Row, rows, study_protocol

MEANS = tuple(name for name in OnTest.model_fields if name not in ("images", "importance_samples"))


def summary_json(results: Results) -> str:
    """The summary as JSON text, keys sorted, with figures that do not exist as null. The same results give the same text."""
    return _json(summary(results).model_dump(mode="json"))


def schema_json() -> str:
    """The JSON Schema (draft 2020-12) of `summary.json`, as text: what `summary.schema.json` holds."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:vaeexp:summary:1"}
    return _json(head | Summary.model_json_schema())


def summary(results: Results) -> Summary:
    """The figures of a study in any state."""
    found = rows(results)
    protocols = [study_protocol(results)]
    protocols += [row.protocol for row in found if row.protocol not in protocols]
    protocols = [given for place, given in enumerate(protocols) if given not in protocols[:place]]
    spec, record = results.study.get("spec") or {}, results.study.get("record") or {}
    made = [(row, _row(results, row, protocols.index(row.protocol))) for row in found]
    confirmed = [row for own, row in made if own.baseline is None]
    return Summary(
        schema_version=1,
        study=results.name,
        question=results.study.get("question"),
        state="finished" if results.study.get("finished") else "interim",
        stopped=results.study.get("stopped"),
        seed=spec.get("seed", results.study.get("seed")),
        data=_data(recorded(results, "data")),
        protocols=[Protocol(**{name: given.get(name) for name in Protocol.model_fields}) for given in protocols],
        best=_best(results, confirmed),
        confirmed=confirmed,
        baselines=[row for own, row in made if own.baseline is not None],
        counts=_counts(results),
        cost=_cost(results),
        importances=[Importance(parameter=name, share=share) for name, share in importances(results).items()],
        comparisons=[_difference(comparison) for comparison in comparisons(results)],
        code=Commit(**{name: (record.get("git") or {}).get(name) for name in Commit.model_fields}),
        versions={name: str(version) for name, version in (record.get("versions") or {}).items()},
    )


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _data(data: dict[str, Any]) -> Data:
    return Data(**{name: data.get(name) for name in Data.model_fields})


def _best(results: Results, confirmed: list[SettingRow]) -> Best | None:
    number = best_number(results)
    if number is None:
        return None
    trials = results.trials
    row = trials[~trials["repeat"] & (trials["number"] == number)].iloc[0]
    return Best(
        trial=number,
        setting=_plain(params(results, row)),
        search=_finite(row["value"]),
        confirmed=next((entry for entry in confirmed if entry.trial == number), None),
    )


def _row(results: Results, row: Row, protocol: int) -> SettingRow:
    of = row.runs["source_trial"].dropna()
    if row.baseline is None:
        setting = params(results, row.runs.iloc[0])
    else:
        setting = baselines(results)[row.baseline].get("settings") or {}
    return SettingRow(
        title=row.title,
        trial=int(of.iloc[0]) if len(of) else None,
        baseline=row.baseline,
        setting=_plain(setting),
        protocol=protocol,
        seeds=len(row.runs),
        validation=_mean(row.validation),
        test=_test(row),
    )


def _test(row: Row) -> OnTest:
    samples = _same(column(row.runs, "result.test/importance_samples"))
    means = {name: _mean(interval) if (interval := row.test(name)).n else None for name in MEANS}
    if samples is None:
        means["iw_nll"] = None
    return OnTest(images=_same(column(row.runs, "result.test/images")), importance_samples=samples, **means)


def _counts(results: Results) -> Counts:
    repeat = results.trials["repeat"]
    return Counts(
        search=_states(results.trials[~repeat]),
        repeats=_states(results.trials[repeat]),
        budget=(results.study.get("budget") or {}).get("trials"),
    )


def _states(trials: pd.DataFrame) -> States:
    repeated = trials["duplicate_of"].notna()
    counts = trials.loc[~repeated, "state"].value_counts()
    names = [name for name in States.model_fields if name != "repeated"]
    return States(repeated=int(repeated.sum()), **{name: int(counts.get(name, 0)) for name in names})


def _cost(results: Results) -> Cost:
    trials = results.trials
    repeat, baseline = trials["repeat"], for_baseline_alone(trials)
    elapsed = results.study.get("elapsed")
    return Cost(
        search_seconds=None if elapsed is None else _finite(elapsed),
        search_epochs=int(trials.loc[~repeat, "epochs"].sum()),
        confirm_epochs=int(trials.loc[repeat & ~baseline, "epochs"].sum()),
        baseline_epochs=int(trials.loc[repeat & baseline, "epochs"].sum()),
        saved_epochs=epochs_saved(results),
    )


def _difference(comparison: Comparison) -> Difference:
    return Difference(
        parameter=comparison.parameter,
        first=_plain(comparison.first),
        second=_plain(comparison.second),
        pairs=len(comparison.pairs),
        incomplete=comparison.incomplete,
        difference=_mean(comparison.interval),
        p=_finite(comparison.p),
        settled=comparison.settled,
    )


def _mean(interval: Interval) -> Mean:
    return Mean(mean=_finite(interval.mean), low=_finite(interval.low), high=_finite(interval.high), n=interval.n)


def _same(values: pd.Series) -> int | None:
    """The one value that all runs have."""
    found = values.dropna().unique()
    return int(found[0]) if len(found) == 1 else None


def _finite(value: Any) -> float | None:
    return float(value) if not pd.isna(value) and math.isfinite(value) else None


def _plain(value: Any) -> Any:
    """A setting, or settings by name, as JSON has them."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return _finite(value) if isinstance(value, float) else value
