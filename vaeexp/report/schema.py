"""What `summary.json` holds, field by field, with units. Its JSON Schema is `summary.schema.json` beside this module."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue


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
