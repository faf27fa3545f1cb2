"""Every setting of a trial and of a run: one frozen model per concern; the sentence below a field
is its description.

A study file fixes some of them and searches others; field names are unique across the four sections
of a trial, so that `beta: {low: 0.01, high: 10, log: true}` under `search:` needs no prefix.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from vaeexp.evaluation.metrics import measured_at

Width = Annotated[int, Field(ge=1, le=16_384)]
Channels = Annotated[int, Field(ge=1, le=4096)]
Side = Annotated[int, Field(ge=1, le=512)]
Margin = Annotated[int, Field(ge=0, le=512)]
Pixels = Annotated[int, Field(ge=1, le=8192)]


SplitName = Literal["train", "validation", "test"]
Percentile = Annotated[float, Field(ge=0, le=100)]


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class DataSettings(_Section):
    """The images, their split, and the targets of the model."""

    dataset: str = "mnist"
    """Name of the data set, from vaeexp/data/datasets.py; folder: the images below `--data DIR`;
    arrays: those in `--data FILE` (.npz, .npy); hf:OWNER/NAME: a data set of the Hugging Face Hub.
    """
    images: str | None = Field(default=None, min_length=1)
    """Name of the array or the column of images where there are several; found by its name when
    empty.
    """
    labels: str | None = Field(default=None, min_length=1)
    """Name of the array or the column of labels; found by its name when empty, and none in a
    table.
    """
    factors: tuple[str, ...] | str | None = None
    """Names of arrays or columns of known factors of variation: kept with the images, and not given
    to the model.
    """
    names: str | None = Field(default=None, min_length=1)
    """Name of the array or the column that names the rows for people; when empty, the first column
    of a table with a different text in each row.
    """
    drop: tuple[str, ...] | str | None = None
    """Names of columns of a table that are left out."""
    channels_first: bool = False
    """Whether arrays of images are [N, C, H, W]; [N, H, W, C] otherwise."""
    pages: Literal["channels", "images"] | None = None
    """What the pages of TIFF files are. images: each is an image, and a random split keeps the
    pages of a file in a folder together; channels: in a folder, all pages of a file are channels,
    and in a single file the last axis of pages. When empty, channels in a folder, and in a single
    file images, or what `channels_first` says.
    """
    missing: tuple[float, ...] | Literal["drop"] | None = None
    """Rows that are left out before the split. drop: those with a missing value, which is NaN or an
    empty cell; codes, as [-9999, -200]: these, and those with such a number. When empty, missing
    values are an error.
    """
    scale: Literal["unit", "range", "standard", "none"] = "unit"
    """From values to targets. unit: the full range of the type becomes 0 to 1, and floats lie there
    already; range: minimum to maximum of the training images becomes 0 to 1; standard: their mean
    becomes 0 and their standard deviation 1; none: values as they are.
    """
    scale_per: Literal["global", "channel", "feature"] = "global"
    """Whether range and standard are those of all values together, of each channel, or of each
    feature (of each pixel, in images).
    """
    clip: tuple[Percentile, Percentile] | None = None
    """Percentiles of the training images, of each channel or each column of a table, to which all
    values are cut before they are scaled, as [0.1, 99.9]; no values are cut when empty.
    """
    binarisation: Literal["static", "dynamic", "none"] = "static"
    """static: each pixel drawn once, the same for ever; dynamic: drawn anew each epoch; none:
    levels in [0, 1], the one kind for colour.
    """
    validation_size: int = Field(default=10_000, gt=0, le=10**9)
    """Images held out of the training files for validation (a tenth of them on the bundled subset,
    and at most a tenth of a folder or an array); of a validation split that comes with the data, at
    most so many.
    """
    train_size: int | None = Field(default=None, gt=0, le=10**9)
    """Images to train on, the first of the split (of a folder or an array: at most); all when
    empty.
    """
    split_by: str | None = Field(default=None, min_length=1)
    """What tells the groups that no split may part, such as the patient of an image: the name of a
    column or of an array, or, for image files, a pattern of their names with one group in brackets.
    """
    split: Literal["random", "time"] = "random"
    """random: images, or groups of them, are drawn for each split; time: the last images are tested
    on and those before them validate, in the order of the file or of `split_by`.
    """
    split_seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the train/validation split and of static binarisation."""
    image_size: tuple[Pixels, Pixels] | Pixels | None = None
    """Height and width in pixels that image files are resized to, as [64, 64] or 64; as they are
    when empty.
    """
    image_channels: Literal[1, 3] | None = None
    """1: image files as grey levels, 3: as colours; 3 unless all are grey when empty."""
    crop: Literal["center", "none"] = "center"
    """Before image files are resized: center takes the largest rectangle of the wanted proportions,
    none the whole image.
    """
    background: Literal["white", "black"] = "white"
    """Colour behind transparent pixels of image files."""
    unreadable_share: float = Field(default=0.01, ge=0, lt=1)
    """Share of image files that may be unreadable and are left out; more is an error."""
    split_folders: bool = True
    """Earlier form of `splits`: false is `splits: none`."""
    splits: dict[SplitName, str] | Literal["none"] | None = None
    """Splits of a folder of image files, by patterns of the names below the folder, as
    {train: Lerndaten/*, test: Testdaten/*}, where * also takes in /; none: all folders are
    classes. When empty, folders that are named as splits (train, test, ...) are the splits.
    """

    @field_validator("missing", mode="before")
    @classmethod
    def _drop_or_codes(cls, value: Any) -> Any:
        if value not in (None, "drop") and not isinstance(value, list | tuple):
            raise ValueError(f"got {value!r}; must be drop, or codes as [-9999, -200].")
        return value

    @property
    def keeps_range(self) -> bool:
        """Whether the range of the type is that of the targets, without limits."""
        return self.scale == "unit" and self.clip is None

    @property
    def key(self) -> str:
        """What tells apart the data sets of a study: the settings `APART` in words."""
        if self.scale == "unit":
            return self.binarisation
        per = "" if self.scale == "none" else f" per {self.scale_per}"
        return f"{self.binarisation}, {self.scale}{per}"


APART = ("binarisation", "scale", "scale_per")
"""Settings of the data in which trials of a study may differ."""


class ModelSettings(_Section):
    """The parts of a VAE, each found by name in the table next to its definition.

    Settings of a network of the user's own stand beside them as `Class.name`; the study checks them
    against the class.
    """

    # A study file's own model of this section knows each setting of these networks, and forbids
    # others.
    model_config = ConfigDict(extra="allow")

    network: str = "mlp"
    """Encoder and decoder, from vaeexp/models/networks/; or one of your own by import path,
    `package.module:Class`.
    """
    hidden: tuple[Width, ...] = Field(default=(512, 512), max_length=64)
    """Widths of the hidden layers of `mlp`'s encoder; the decoder mirrors them. [] is a linear
    VAE.
    """
    channels: tuple[Channels, ...] = Field(default=(32, 64, 128), min_length=1, max_length=16)
    """Channels after each block of `conv`'s encoder; the decoder mirrors them."""
    kernel: Side | tuple[Side, ...] = 4
    """Side of `conv`'s kernels in pixels: one for all blocks, or a list with one for each. Of
    signals, images of height 1, kernels, strides and paddings are in one dimension.
    """
    stride: Side | tuple[Side, ...] = 2
    """Step of `conv`'s kernels in pixels: one for all blocks, or a list with one for each."""
    padding: Margin | tuple[Margin, ...] = 1
    """Pixels of zeros around what a block of `conv` sees: one for all, or a list with one for
    each.
    """
    normalisation: Literal["batch", "group", "none"] = "batch"
    """Between a convolution of `conv` and its activation; group: GroupNorm with up to 8 groups.
    Where an epoch has fewer than 20 steps, BatchNorm is evaluated with its averages over all
    training batches.
    """
    head: Width | None = None
    """Width of a fully connected layer between `conv`'s blocks and the latent space; no such layer
    when empty.
    """
    activation: str = "leaky_relu"
    """Non-linearity between layers, from vaeexp/models/networks/mlp.py."""
    latent_size: int = Field(default=20, ge=1, le=4096)
    """Dimensions of the latent space."""
    posterior: str = "gaussian"
    """Approximate posterior q(z|x), from vaeexp/models/posteriors.py."""
    prior: str = "normal"
    """Prior p(z), from vaeexp/models/priors.py; or one of your own by import path,
    `package.module:Class`.
    """
    components: int = Field(default=1, ge=1, le=4096)
    """Components of a mixture prior, or pseudo-inputs of a VampPrior; ignored by the normal
    prior.
    """
    likelihood: str = "bernoulli"
    """Likelihood p(x|z), from vaeexp/models/likelihoods; or one of your own by import path,
    `package.module:Class`. bernoulli: zeros and ones; continuous_bernoulli: [0, 1]; categorical_256
    and discretised_*: levels; poisson and negative_binomial: counts; others: real numbers. All but
    bernoulli need `binarisation: none`.
    """
    sigma: float = Field(default=0.5**0.5, ge=0.0025, le=1_000_000)
    """Standard deviation of the gaussian likelihood, and where the scale of gaussian_learned and
    student_t starts; in the scale of the targets, where black to white is 1. √½ makes it the
    squared error (MSE).
    """
    sigma_per: Literal["global", "channel", "feature"] = "global"
    """Scales that gaussian_learned and student_t learn: one for all, one for each channel, or one
    for each feature (each sub-pixel, in images).
    """
    degrees: float = Field(default=4.0, gt=1, le=1_000_000)
    """Degrees of freedom of student_t: few for heavy tails, many for a Gaussian. Its variance is
    finite above 2.
    """
    laplace_scale: float = Field(default=1.0, ge=0.0025, le=1_000_000)
    """Scale of the laplace likelihood; black to white is 1. 1 makes it the absolute error (L1)."""
    size_factor: bool = False
    """Whether the means of poisson and negative_binomial are proportional to the sum of an image,
    as for the sequencing depth of cells. The likelihood is then conditional on the sum.
    """
    likelihood_components: int = Field(default=5, ge=1, le=64)
    """Components per sub-pixel of discretised_logistic_mixture."""

    @model_validator(mode="before")
    @classmethod
    def _settings_of_networks(cls, values: Any) -> Any:
        """Refuse unknown settings; those of a network have a dot in their name. Their lists become
        tuples, which can be keys.
        """
        if not isinstance(values, dict):
            return values
        for name in values.keys() - cls.model_fields.keys():
            if "." not in name and cls.model_config["extra"] == "allow":
                raise PydanticCustomError(
                    "extra_forbidden", "Extra inputs are not permitted: {name}", {"name": name}
                )
        return {
            name: tuple(v) if "." in name and isinstance(v, list) else v
            for name, v in values.items()
        }

    def own(self) -> dict[str, Any]:
        """Return the settings of the user's networks, as `Class.name` → value."""
        return {name: value for name, value in self if "." in name}


class TrainSettings(_Section):
    """The training of the model."""

    loss: str = "elbo"
    """What a training step minimises, from vaeexp/training/losses.py; or one of your own by import
    path, `package.module:Name`. Trials are ranked by the −ELBO on validation, whatever they
    minimise.
    """
    beta: float = Field(default=1.0, ge=0)
    """Weight of the rate in the loss elbo: distortion + beta x rate, in nats per image."""
    warmup_epochs: float = Field(default=0.0, ge=0, le=1_000_000)
    """Epochs over which beta rises linearly from 0. They count for no best epoch, patience or
    pruning.
    """
    free_nats: float = Field(default=0.0, ge=0)
    """Rate (nats per image, batch mean) below which the loss does not push it; 0 is off."""
    optimizer: Literal["adam", "adamax", "adamw", "radam", "nadam", "sgd", "lion"] = "adam"
    """Update rule, with the equations and the epsilon of torch.optim; lion with those of Chen et
    al. 2023.
    """
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    """Step size at the start, or after `warmup_steps`."""
    schedule: Literal["constant", "cosine", "linear", "exponential", "step"] = "constant"
    """Course of the learning rate over `epochs`; cosine and linear fall to 0 step by step,
    exponential falls after each epoch, step after each `schedule_epochs`.
    """
    schedule_factor: float | None = Field(default=None, gt=0, le=1)
    """What the learning rate is multiplied by when it falls (PyTorch's gamma); 0.95 when empty for
    exponential, 0.1 for step; of no use to others.
    """
    schedule_epochs: int = Field(default=10, ge=1, le=1_000_000)
    """Epochs between two falls of schedule step; of use to it alone."""
    warmup_steps: int = Field(default=0, ge=0, le=1_000_000_000)
    """Steps over which the learning rate rises linearly to its value; `schedule` has the steps that
    are left.
    """
    weight_decay: float = Field(default=0.0, ge=0)
    """Decay of the weights: adamw and lion take learning rate x decay x weight off each weight
    (decoupled), the others add decay x weight to the gradient (L2).
    """
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient of all weights together; a larger gradient is scaled to it; no
    limit when empty.
    """
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Share of its last step that sgd takes again; of use to sgd alone."""
    beta1: float | None = Field(default=None, ge=0, lt=1)
    """Decay per step of the mean of gradients, in lion their share in the direction; 0.9 when
    empty; of no use to sgd.
    """
    beta2: float | None = Field(default=None, ge=0, lt=1)
    """Decay per step of the mean of squared gradients, in adamax of the largest gradient, in lion
    of the mean of gradients; 0.999 when empty, 0.99 in lion; of no use to sgd.
    """
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Decay per step of the running average of weights that is evaluated; 0 evaluates the weights
    themselves.
    """
    batch_size: int = Field(default=128, ge=1, le=1_048_576)
    """Images per step; the incomplete last batch of an epoch is left out."""
    epochs: int = Field(default=30, ge=1, le=1_000_000)
    """Passes over the training images, at most."""
    patience: int = Field(default=0, ge=0, le=1_000_000)
    """Stop after this many epochs without a better validation value, counted from the end of the
    warm-up of beta; 0 is off.
    """

    @property
    def warmup(self) -> int:
        """The number of epochs in which β has not risen to its value by the first step."""
        return math.ceil(self.warmup_epochs)


class EvaluationSettings(_Section):
    """The figures and pictures of a trained model."""

    validation_draws: int = Field(default=1, ge=1, le=100)
    """Draws of z per validation image, whose mean is the −ELBO by which trials are ranked; more
    where images are few. The same for all trials and epochs.
    """
    importance_samples: int = Field(default=500, ge=1, le=10_000_000)
    """Samples per image (k) of the importance-weighted NLL on test images."""
    active_threshold: float = Field(default=0.01, gt=0)
    """A latent unit is active when the variance of its posterior mean over images exceeds this
    (Burda et al. 2016).
    """
    rate_threshold: float = Field(default=0.1, ge=0)
    """A latent dimension is used when its rate, in nats and the mean over test images, exceeds
    this.
    """
    pictures_every: int = Field(default=5, ge=1, le=1_000_000)
    """Epochs between two grids of reconstructions and samples."""
    metrics: tuple[str, ...] = Field(default=(), max_length=64)
    """Metrics of your own by import path, `package.module:Name`, measured on test images next to
    the built-in ones.
    """


class Settings(_Section):
    """All that determines a trial's numbers, together with its seed."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    def with_params(self, params: dict[str, Any]) -> "Settings":
        """Return a validated copy with each value put into the section that has a field of that
        name.
        """
        values = self.flat() | params
        sections = {
            section: {name: values[name] for name in model.model_fields}
            for section, model in SECTIONS.items()
        }
        sections["model"] |= {name: value for name, value in values.items() if "." in name}
        return Settings.model_validate(sections)

    def flat(self) -> dict[str, Any]:
        """Return field name → value over all sections."""
        settings: dict[str, Any] = {}
        for section in SECTIONS:
            settings |= getattr(self, section).model_dump()
        return settings


SECTIONS: dict[str, type[BaseModel]] = {
    name: type(field.default) for name, field in Settings.model_fields.items()
}
FIGURES = ("importance_samples", "active_threshold", "rate_threshold", "pictures_every", "metrics")
"""Settings of which no value depends that trials are ranked by; a study goes on with its own."""
OBJECTIVES = {name: f"val/{name}" for name in measured_at("val", "figure")}
"""Name that `objectives` of a study file may give → metric of an epoch."""
