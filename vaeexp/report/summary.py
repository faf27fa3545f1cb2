"""Writes the report for programs, `summary.json`: its fields with their units, and how a study fills them.

The JSON Schema of the fields is `summary.schema.json` beside this module.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from sweeps.errors import masked
from sweeps.results.statistics import Interval
from vaeexp.results.columns import column, for_baseline_alone
from vaeexp.results.differences import PairComparison
from vaeexp.results.study_view import StudyView
from vaeexp.results.tested_settings import TestedSetting


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Mean(_Part):
    """A mean with its 95 % interval, in the unit of the field that holds it."""

    mean: float | None = Field(description="Mean of the values; null without one.")
    low: float | None = Field(description="Lower end of the interval; null where there is one value alone.")
    high: float | None = Field(description="Upper end of the interval; null where there is one value alone.")
    n: int = Field(ge=0, description="Values that vary independently, as a rule training seeds.")


class Protocol(_Part):
    """What two figures must share before they may stand in one ranking, in words; null where it was not recorded."""

    data: str | None = Field(default=None, description="Title of the data set.")
    fingerprint: str | None = Field(default=None, description="Checksum of the prepared images, in hexadecimal.")
    split: str | None = Field(default=None, description="Sizes of the split in images, and its seed.")
    binarisation: str | None = Field(default=None, description="How targets are drawn from the images.")
    likelihood: str | None = Field(default=None, description="p(x|z), with its scale where that is fixed.")
    posterior: str | None = Field(default=None, description="q(z|x); deterministic: a plain autoencoder.")
    estimator: str | None = Field(default=None, description="What is estimated on validation and test, and how.")


class Data(_Part):
    """The images that the study used; null where it was not recorded."""

    title: str | None = Field(description="Title of the data set.")
    subset: bool | None = Field(description="Whether they are a small part of the data set.")
    source: str | None = Field(description="Where they came from.")
    train: int | None = Field(description="Images that train.")
    validation: int | None = Field(description="Images that rank the trials.")
    test: int | None = Field(description="Images that only confirmed configurations and baselines see.")
    image_shape: list[int] | None = Field(description="Channels, height and width, in pixels.")


class OnTest(_Part):
    """Figures on test images over training seeds; null where no run has them."""

    images: int | None = Field(description="Test images; null where runs differ.")
    importance_samples: int | None = Field(
        description="Samples per image of iw_nll; null where runs differ, and iw_nll is null then."
    )
    neg_elbo: Mean | None = Field(description="−ELBO at β = 1, one posterior sample per image; nats per image.")
    iw_nll: Mean | None = Field(
        description="Importance-weighted bound on −log p(x) (Burda et al. 2016); nats per image."
    )
    rate: Mean | None = Field(description="KL(q(z|x) ‖ p(z)); nats per image.")
    distortion: Mean | None = Field(description="−E log p(x|z); nats per image.")
    active_units: Mean | None = Field(description="Latent dimensions in use; a count.")
    bits_per_dimension: Mean | None = Field(description="neg_elbo in bits per sub-pixel.")
    reconstruction_mse: Mean | None = Field(description="Squared error per sub-pixel, where black to white is 1.")
    reconstruction_ssim: Mean | None = Field(
        description="Structural similarity of reconstructions; 1 for equal images."
    )
    fid: Mean | None = Field(
        description="Fréchet distance of samples, in features of a classifier of these images; no unit."
    )
    inception_score: Mean | None = Field(
        description="Inception score of samples by the same classifier; from 1 to the classes."
    )


class TestedConfiguration(_Part):
    """A configuration that was trained with one or more fresh seeds and tested."""

    title: str = Field(description="Its name in the report.")
    trial: int | None = Field(description="Trial of the search that had this configuration; null for fixed settings.")
    baseline: str | None = Field(description="Its name in the study file; null for what the search found.")
    configuration: dict[str, JsonValue] = Field(
        description="Searched parameters by name; of a baseline the settings that it changes. Units as in the README."
    )
    protocol: int = Field(
        ge=0, description="Place in `protocols`, from 0. Rows of two protocols cannot be ranked together."
    )
    seeds: int = Field(ge=0, description="Complete runs.")
    validation: Mean = Field(
        description="Lowest validation −ELBO at β = 1 (deterministic: distortion) of these runs; nats per image."
    )
    test: OnTest = Field(description="Figures on test images.")


class Best(_Part):
    """The best configuration: by the confirmation where there is one, else the lowest of the search."""

    trial: int = Field(ge=0, description="Trial of the search that had it.")
    configuration: dict[str, JsonValue] = Field(description="Searched parameters by name.")
    search: float | None = Field(
        description="Validation −ELBO of that trial, the minimum over epochs: optimistic; nats per image."
    )
    confirmed: TestedConfiguration | None = Field(
        description="The same configuration with fresh seeds, on test; null until it is confirmed."
    )


class States(_Part):
    """Runs by how they ended."""

    complete: int = Field(ge=0, description="Runs that trained to their end.")
    pruned: int = Field(ge=0, description="Runs that were pruned.")
    failed: int = Field(ge=0, description="Runs that ended in an error.")
    running: int = Field(ge=0, description="Runs that train.")
    waiting: int = Field(ge=0, description="Runs that are to train.")
    repeated: int = Field(ge=0, description="Runs that took the value of an equal, earlier one.")


class Counts(_Part):
    """How many runs there are."""

    search: States = Field(description="Trials of the search.")
    repeats: States = Field(description="Runs that confirm, compare or are baselines.")
    budget: int | None = Field(description="Trials that the search may have; null without that limit.")


class Cost(_Part):
    """What the study took."""

    search_seconds: float | None = Field(description="Wall time of the search; seconds.")
    search_epochs: int = Field(ge=0, description="Epochs over all trials of the search; trial-epochs.")
    confirm_epochs: int = Field(ge=0, description="Of runs that confirm or compare; trial-epochs.")
    baseline_epochs: int = Field(ge=0, description="Of runs that are baselines alone; trial-epochs.")
    saved_epochs: int = Field(ge=0, description="That pruned trials did not train; trial-epochs.")


class Importance(_Part):
    """How much a searched parameter mattered."""

    parameter: str = Field(description="Its name.")
    share: float = Field(ge=0, description="Share of the importance (PED-ANOVA), from 0 to 1.")


class Difference(_Part):
    """Two values of a parameter in matched pairs: runs that share configuration and seed and differ in it alone."""

    parameter: str = Field(description="Its name.")
    first: JsonValue = Field(description="One value.")
    second: JsonValue = Field(description="The other value.")
    pairs: int = Field(ge=0, description="Complete pairs.")
    incomplete: int = Field(ge=0, description="Pairs that lack a complete run and are left out.")
    difference: Mean = Field(
        description="Validation −ELBO of second minus first: above 0 where first is better; nats per image."
    )
    p: float | None = Field(description="Of Wilcoxon's signed-rank test, two-sided; from 0 to 1.")
    settled: bool = Field(description="Whether the interval of the difference excludes 0.")


class Commit(_Part):
    """State of the code when the study was started."""

    commit: str | None = Field(default=None, description="Git commit; null when installed without its repository.")
    dirty: bool | None = Field(default=None, description="Whether files differed from that commit.")


class Summary(_Part):
    """The figures of a study's report, for programs. Figures that do not exist are null, never NaN."""

    schema_version: Literal[1] = Field(
        description="Rises when a field changes its meaning, unit or type, or goes; not with a new field."
    )
    study: str = Field(description="Name of the study.")
    question: str | None = Field(description="What it asks, from the study file.")
    state: Literal["finished", "interim"] = Field(description="interim: figures will change.")
    stopped: str | None = Field(description="Why the search ended; null while it goes on.")
    seed: int | None = Field(description="Seed of the sampler and of all trials.")
    data: Data = Field(description="The images.")
    protocols: list[Protocol] = Field(description="The study's own first, then those of baselines.")
    best: Best | None = Field(description="The best configuration; null without a complete trial.")
    confirmed: list[TestedConfiguration] = Field(description="Confirmed configurations, the best on validation first.")
    baselines: list[TestedConfiguration] = Field(description="Baselines, in the order of the study file.")
    counts: Counts = Field(description="Runs by state.")
    cost: Cost = Field(description="Time and epochs.")
    importances: list[Importance] = Field(
        description="Searched parameters, the most important first; empty with few trials."
    )
    comparisons: list[Difference] = Field(description="Each two values that the study compares.")
    code: Commit = Field(description="The code that ran.")
    versions: dict[str, str] = Field(description="Versions of Python and of packages, by name.")


MEANS = tuple(name for name in OnTest.model_fields if name not in ("images", "importance_samples"))


def summary_json(view: StudyView) -> str:
    """Return the summary as JSON text, keys sorted, figures that do not exist as null. The same study gives the same text."""
    return _json(summary(view).model_dump(mode="json"))


def schema_json() -> str:
    """Return the JSON Schema (draft 2020-12) of `summary.json` as text, which `summary.schema.json` holds."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:vaeexp:summary:1"}
    return _json(head | Summary.model_json_schema())


def summary(view: StudyView) -> Summary:
    """Summarise a study in any state."""
    protocols: list[Mapping[str, str]] = [view.protocol()]
    for setting in (*view.confirmed, *view.baselines):
        protocols += [setting.protocol] if setting.protocol not in protocols else []
    confirmed, baselines = (
        [_tested(view, setting, protocols.index(setting.protocol)) for setting in settings]
        for settings in (view.confirmed, view.baselines)
    )
    stopped, provenance = view.study.stopped, view.study.provenance
    return Summary(
        schema_version=1,
        study=view.name,
        question=view.study.question or None,
        state="finished" if view.study.finished else "interim",
        stopped=masked(stopped) if stopped else None,
        seed=view.spec.get("seed", view.study.seed),
        data=Data(**_named(view.recorded("data"), Data)),
        protocols=[Protocol(**_named(protocol, Protocol)) for protocol in protocols],
        best=_best(view, confirmed),
        confirmed=confirmed,
        baselines=baselines,
        counts=_counts(view),
        cost=_cost(view),
        importances=[Importance(parameter=str(name), share=share) for name, share in view.importances["share"].items()],
        comparisons=[_difference(comparison) for comparison in view.pairs],
        code=Commit(**_named(view.recorded("git"), Commit)),
        versions={name: str(version) for name, version in (provenance.get("versions") or {}).items()},
    )


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _named(content: Mapping[str, Any], part: type[_Part]) -> dict[str, Any]:
    """Return the fields of a part by name, None where the content lacks one."""
    return {name: content.get(name) for name in part.model_fields}


def _best(view: StudyView, confirmed: list[TestedConfiguration]) -> Best | None:
    trial = view.best_trial
    if trial is None:
        return None
    number = int(trial["number"])
    return Best(
        trial=number,
        configuration=_plain(view.params(trial)),
        search=_finite(trial["objective"]),
        confirmed=next((entry for entry in confirmed if entry.trial == number), None),
    )


def _tested(view: StudyView, setting: TestedSetting, protocol: int) -> TestedConfiguration:
    if setting.baseline is None:
        configuration: Mapping[str, Any] = view.params(setting.runs.iloc[0])
    else:
        configuration = view.baseline_specs[setting.baseline].get("settings") or {}
    samples = _same(column(setting.runs, "result.test/importance_samples"))
    means = {name: _mean(interval) if (interval := setting.test(name)).n else None for name in MEANS}
    if samples is None:
        means["iw_nll"] = None
    images = _same(column(setting.runs, "result.test/images"))
    return TestedConfiguration(
        title=setting.title,
        trial=setting.source_trial,
        baseline=setting.baseline,
        configuration=_plain(configuration),
        protocol=protocol,
        seeds=len(setting.runs),
        validation=_mean(setting.validation),
        test=OnTest(images=images, importance_samples=samples, **means),
    )


def _counts(view: StudyView) -> Counts:
    repeat = view.trials["repeat"]
    return Counts(
        search=_states(view.trials[~repeat]),
        repeats=_states(view.trials[repeat]),
        budget=view.study.budget.get("trials"),
    )


def _states(trials: pd.DataFrame) -> States:
    repeated = trials["duplicate_of"].notna()
    counts = trials.loc[~repeated, "state"].value_counts()
    names = [name for name in States.model_fields if name != "repeated"]
    return States(repeated=int(repeated.sum()), **{name: int(counts.get(name, 0)) for name in names})


def _cost(view: StudyView) -> Cost:
    trials = view.trials
    repeat, baseline = trials["repeat"], for_baseline_alone(trials)
    elapsed = view.study.elapsed
    return Cost(
        search_seconds=None if elapsed is None else _finite(elapsed),
        search_epochs=int(trials.loc[~repeat, "epochs"].sum()),
        confirm_epochs=int(trials.loc[repeat & ~baseline, "epochs"].sum()),
        baseline_epochs=int(trials.loc[repeat & baseline, "epochs"].sum()),
        saved_epochs=view.epochs_saved,
    )


def _difference(comparison: PairComparison) -> Difference:
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
    """Return the value that all runs share; None where they differ."""
    found = values.dropna().unique()
    return int(found[0]) if len(found) == 1 else None


def _finite(value: Any) -> float | None:
    return float(value) if not pd.isna(value) and math.isfinite(value) else None


def _plain(value: Any) -> Any:
    """Return a value, or values by name, as JSON has them."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return _finite(value) if isinstance(value, float) else value
