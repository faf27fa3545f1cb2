"""Writes the report for programs, `summary.json`: its fields with their units, and how a study fills them.

The JSON Schema of the fields is `summary.schema.json` beside this module.
"""

import json
import math
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from sweeps.results.rankings import Results
from sweeps.results.statistics import Interval
from vaeexp.plots.pairs import Comparison, comparisons
from vaeexp.plots.parameters import importances
from vaeexp.report.answer import epochs_saved
from vaeexp.results.frames import baselines, best_number, column, for_baseline_alone, params, recorded
from vaeexp.results.tested_settings import Row, rows, study_protocol


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Mean(_Part):
    """A mean with its 95 % interval, in the unit of the field that holds it."""

    mean: Annotated[float | None, Field(description="Mean of the values; null without one.")]
    low: Annotated[float | None, Field(description="Lower end of the interval; null where there is one value alone.")]
    high: Annotated[float | None, Field(description="Upper end of the interval; null where there is one value alone.")]
    n: Annotated[int, Field(ge=0, description="Values that vary independently, as a rule training seeds.")]


class Protocol(_Part):
    """What two figures must share before they may stand in one ranking, in words; null where it was not recorded."""

    data: Annotated[str | None, Field(description="Title of the data set.")] = None
    fingerprint: Annotated[str | None, Field(description="Checksum of the prepared images, in hexadecimal.")] = None
    split: Annotated[str | None, Field(description="Sizes of the split in images, and its seed.")] = None
    binarisation: Annotated[str | None, Field(description="How targets are drawn from the images.")] = None
    likelihood: Annotated[str | None, Field(description="p(x|z), with its scale where that is fixed.")] = None
    posterior: Annotated[str | None, Field(description="q(z|x); deterministic: a plain autoencoder.")] = None
    estimator: Annotated[str | None, Field(description="What is estimated on validation and test, and how.")] = None


class Data(_Part):
    """The images that the study used; null where it was not recorded."""

    title: Annotated[str | None, Field(description="Title of the data set.")]
    subset: Annotated[bool | None, Field(description="Whether they are a small part of the data set.")]
    source: Annotated[str | None, Field(description="Where they came from.")]
    train: Annotated[int | None, Field(description="Images that train.")]
    validation: Annotated[int | None, Field(description="Images that rank the trials.")]
    test: Annotated[int | None, Field(description="Images that only confirmed settings and baselines see.")]
    image_shape: Annotated[list[int] | None, Field(description="Channels, height and width, in pixels.")]


class OnTest(_Part):
    """Figures on test images over training seeds; null where no run has them."""

    images: Annotated[int | None, Field(description="Test images; null where runs differ.")]
    importance_samples: Annotated[
        int | None, Field(description="Samples per image of iw_nll; null where runs differ, and iw_nll is null then.")
    ]
    neg_elbo: Annotated[
        Mean | None, Field(description="−ELBO at β = 1, one posterior sample per image; nats per image.")
    ]
    iw_nll: Annotated[
        Mean | None, Field(description="Importance-weighted bound on −log p(x) (Burda et al. 2016); nats per image.")
    ]
    rate: Annotated[Mean | None, Field(description="KL(q(z|x) ‖ p(z)); nats per image.")]
    distortion: Annotated[Mean | None, Field(description="−E log p(x|z); nats per image.")]
    active_units: Annotated[Mean | None, Field(description="Latent dimensions in use; a count.")]
    bits_per_dimension: Annotated[Mean | None, Field(description="neg_elbo in bits per sub-pixel.")]
    reconstruction_mse: Annotated[
        Mean | None, Field(description="Squared error per sub-pixel, where black to white is 1.")
    ]
    reconstruction_ssim: Annotated[
        Mean | None, Field(description="Structural similarity of reconstructions; 1 for equal images.")
    ]
    fid: Annotated[
        Mean | None,
        Field(description="Fréchet distance of samples, in features of a classifier of these images; no unit."),
    ]
    inception_score: Annotated[
        Mean | None, Field(description="Inception score of samples by the same classifier; from 1 to the classes.")
    ]


class SettingRow(_Part):
    """A setting that was trained with one or more fresh seeds and tested."""

    title: Annotated[str, Field(description="Its name in the report.")]
    trial: Annotated[
        int | None, Field(description="Trial of the search that had this setting; null for fixed settings.")
    ]
    baseline: Annotated[str | None, Field(description="Its name in the study file; null for what the search found.")]
    setting: Annotated[
        dict[str, JsonValue],
        Field(description="Searched settings by name; of a baseline those that it changes. Units as in the README."),
    ]
    protocol: Annotated[
        int, Field(ge=0, description="Place in `protocols`, from 0. Rows of two protocols cannot be ranked together.")
    ]
    seeds: Annotated[int, Field(ge=0, description="Complete runs.")]
    validation: Annotated[
        Mean,
        Field(
            description="Lowest validation −ELBO at β = 1 (deterministic: distortion) of these runs; nats per image."
        ),
    ]
    test: Annotated[OnTest, Field(description="Figures on test images.")]


class Best(_Part):
    """The best setting: by the confirmation where there is one, else the lowest of the search."""

    trial: Annotated[int, Field(ge=0, description="Trial of the search that had it.")]
    setting: Annotated[dict[str, JsonValue], Field(description="Searched settings by name.")]
    search: Annotated[
        float | None,
        Field(description="Validation −ELBO of that trial, the minimum over epochs: optimistic; nats per image."),
    ]
    confirmed: Annotated[
        SettingRow | None, Field(description="The same setting with fresh seeds, on test; null until it is confirmed.")
    ]


class States(_Part):
    """Runs by how they ended."""

    complete: Annotated[int, Field(ge=0, description="Runs that trained to their end.")]
    pruned: Annotated[int, Field(ge=0, description="Runs that were given up early.")]
    failed: Annotated[int, Field(ge=0, description="Runs that ended in an error.")]
    running: Annotated[int, Field(ge=0, description="Runs that train.")]
    waiting: Annotated[int, Field(ge=0, description="Runs that are to train.")]
    repeated: Annotated[int, Field(ge=0, description="Runs that took the value of an equal, earlier one.")]


class Counts(_Part):
    """How many runs there are."""

    search: Annotated[States, Field(description="Trials of the search.")]
    repeats: Annotated[States, Field(description="Runs that confirm, compare or are baselines.")]
    budget: Annotated[int | None, Field(description="Trials that the search may have; null without that limit.")]


class Cost(_Part):
    """What the study took."""

    search_seconds: Annotated[float | None, Field(description="Wall time of the search; seconds.")]
    search_epochs: Annotated[int, Field(ge=0, description="Epochs over all trials of the search; trial-epochs.")]
    confirm_epochs: Annotated[int, Field(ge=0, description="Of runs that confirm or compare; trial-epochs.")]
    baseline_epochs: Annotated[int, Field(ge=0, description="Of runs that are baselines alone; trial-epochs.")]
    saved_epochs: Annotated[int, Field(ge=0, description="That pruned trials did not train; trial-epochs.")]


class Importance(_Part):
    """How much a searched parameter mattered."""

    parameter: Annotated[str, Field(description="Its name.")]
    share: Annotated[float, Field(ge=0, description="Share of the importance (PED-ANOVA), from 0 to 1.")]


class Difference(_Part):
    """Two values of a parameter in matched pairs: runs that share configuration and seed and differ in it alone."""

    parameter: Annotated[str, Field(description="Its name.")]
    first: Annotated[JsonValue, Field(description="One value.")]
    second: Annotated[JsonValue, Field(description="The other value.")]
    pairs: Annotated[int, Field(ge=0, description="Complete pairs.")]
    incomplete: Annotated[int, Field(ge=0, description="Pairs that lack a complete run and are left out.")]
    difference: Annotated[
        Mean,
        Field(description="Validation −ELBO of second minus first: above 0 where first is better; nats per image."),
    ]
    p: Annotated[float | None, Field(description="Of Wilcoxon's signed-rank test, two-sided; from 0 to 1.")]
    settled: Annotated[bool, Field(description="Whether the interval of the difference excludes 0.")]


class Commit(_Part):
    """State of the code when the study was started."""

    commit: Annotated[str | None, Field(description="Git commit; null when installed without its repository.")] = None
    dirty: Annotated[bool | None, Field(description="Whether files differed from that commit.")] = None


class Summary(_Part):
    """The figures of a study's report, for programs. Figures that do not exist are null, never NaN."""

    schema_version: Annotated[
        Literal[1],
        Field(description="Rises when a field changes its meaning, unit or type, or goes; not with a new field."),
    ]
    study: Annotated[str, Field(description="Name of the study.")]
    question: Annotated[str | None, Field(description="What it asks, from the study file.")]
    state: Annotated[Literal["finished", "interim"], Field(description="interim: figures will change.")]
    stopped: Annotated[str | None, Field(description="Why the search ended; null while it goes on.")]
    seed: Annotated[int | None, Field(description="Seed of the sampler and of all trials.")]
    data: Annotated[Data, Field(description="The images.")]
    protocols: Annotated[list[Protocol], Field(description="The study's own first, then those of baselines.")]
    best: Annotated[Best | None, Field(description="The best setting; null without a complete trial.")]
    confirmed: Annotated[list[SettingRow], Field(description="Confirmed settings, the best on validation first.")]
    baselines: Annotated[list[SettingRow], Field(description="Baselines, in the order of the study file.")]
    counts: Annotated[Counts, Field(description="Runs by state.")]
    cost: Annotated[Cost, Field(description="Time and epochs.")]
    importances: Annotated[
        list[Importance], Field(description="Searched parameters, the most important first; empty with few trials.")
    ]
    comparisons: Annotated[list[Difference], Field(description="Each two values that the study compares.")]
    code: Annotated[Commit, Field(description="The code that ran.")]
    versions: Annotated[dict[str, str], Field(description="Versions of Python and of packages, by name.")]


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
    spec, record = results.study.spec, results.study.provenance
    made = [(row, _row(results, row, protocols.index(row.protocol))) for row in found]
    confirmed = [row for own, row in made if own.baseline is None]
    return Summary(
        schema_version=1,
        study=results.name,
        question=results.study.question,
        state="finished" if results.study.finished else "interim",
        stopped=results.study.stopped,
        seed=spec.get("seed", results.study.seed),
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
        search=_finite(row["objective"]),
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
        budget=results.study.budget.get("trials"),
    )


def _states(trials: pd.DataFrame) -> States:
    repeated = trials["duplicate_of"].notna()
    counts = trials.loc[~repeated, "state"].value_counts()
    names = [name for name in States.model_fields if name != "repeated"]
    return States(repeated=int(repeated.sum()), **{name: int(counts.get(name, 0)) for name in names})


def _cost(results: Results) -> Cost:
    trials = results.trials
    repeat, baseline = trials["repeat"], for_baseline_alone(trials)
    elapsed = results.study.elapsed
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
