"""Every setting of a trial and of a run: one frozen model per concern, one sentence and unit per field.

A study file fixes some of them and searches others; field names are unique across the four sections of a trial,
so that `beta: {low: 0.01, high: 10, log: true}` under `search:` needs no prefix.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Width = Annotated[int, Field(ge=1, le=16_384)]
Channels = Annotated[int, Field(ge=1, le=4096)]
Side = Annotated[int, Field(ge=1, le=512)]
Margin = Annotated[int, Field(ge=0, le=512)]
Pixels = Annotated[int, Field(ge=1, le=8192)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


class DataSettings(_Section):
    """Which images, how they are split, what the model is asked to explain."""

    dataset: Annotated[
        Literal["mnist", "fashion_mnist", "cifar10", "svhn", "celeba", "folder", "arrays"],
        Field(
            description="Name of the data set; folder: the images below `--data DIR`; arrays: those in `--data FILE` (.npz, .npy)."
        ),
    ] = "mnist"
    binarisation: Annotated[
        Literal["static", "dynamic", "none"],
        Field(
            description="static: each pixel drawn once, the same for ever; dynamic: drawn anew each epoch; none: levels in [0, 1], the one kind for colour."
        ),
    ] = "static"
    validation_size: Annotated[
        int,
        Field(
            gt=0,
            le=10**9,
            description="Images held out of the training files for validation (a tenth of them on the bundled subset, and at most a tenth of a folder or an array); of a validation split that comes with the data, at most so many.",
        ),
    ] = 10_000
    train_size: Annotated[
        int | None,
        Field(
            gt=0,
            le=10**9,
            description="Images to train on, the first of the split (of a folder or an array: at most); all when empty.",
        ),
    ] = None
    split_seed: Annotated[
        int, Field(ge=0, lt=2**63, description="Seed of the train/validation split and of static binarisation.")
    ] = 0
    image_size: Annotated[
        tuple[Pixels, Pixels] | Pixels | None,
        Field(
            description="Height and width in pixels that image files are resized to, as [64, 64] or 64; as they are when empty."
        ),
    ] = None
    image_channels: Annotated[
        Literal[1, 3] | None,
        Field(description="1: image files as grey levels, 3: as colours; 3 unless all are grey when empty."),
    ] = None
    crop: Annotated[
        Literal["center", "none"],
        Field(
            description="Before image files are resized: center takes the largest rectangle of the wanted proportions, none the whole image."
        ),
    ] = "center"
    unreadable_share: Annotated[
        float,
        Field(
            ge=0, lt=1, description="Share of image files that may be unreadable and are left out; more is an error."
        ),
    ] = 0.01


class ModelSettings(_Section):
    """The parts of a VAE, each found by name in the table next to its definition."""

    network: Annotated[
        str,
        Field(
            description="Encoder and decoder, from vaeexp/models/networks/; or one of your own by import path, `package.module:Class`."
        ),
    ] = "mlp"
    hidden: Annotated[
        tuple[Width, ...],
        Field(
            min_length=1,
            max_length=64,
            description="Widths of the hidden layers of `mlp`'s encoder; the decoder mirrors them.",
        ),
    ] = (512, 512)
    channels: Annotated[
        tuple[Channels, ...],
        Field(
            min_length=1,
            max_length=16,
            description="Channels after each block of `conv`'s encoder; the decoder mirrors them.",
        ),
    ] = (32, 64, 128)
    kernel: Annotated[
        Side | tuple[Side, ...],
        Field(description="Side of `conv`'s kernels in pixels: one for all blocks, or a list with one for each."),
    ] = 4
    stride: Annotated[
        Side | tuple[Side, ...],
        Field(description="Step of `conv`'s kernels in pixels: one for all blocks, or a list with one for each."),
    ] = 2
    padding: Annotated[
        Margin | tuple[Margin, ...],
        Field(
            description="Pixels of zeros around what a block of `conv` sees: one for all, or a list with one for each."
        ),
    ] = 1
    normalisation: Annotated[
        Literal["batch", "group", "none"],
        Field(description="Between a convolution of `conv` and its activation; group: GroupNorm with up to 8 groups."),
    ] = "batch"
    head: Annotated[
        Width | None,
        Field(
            description="Width of a fully connected layer between `conv`'s blocks and the latent space; no such layer when empty."
        ),
    ] = None
    activation: Annotated[
        str, Field(description="Non-linearity between layers, from vaeexp/models/networks/mlp.py.")
    ] = "leaky_relu"
    latent_size: Annotated[int, Field(ge=1, le=4096, description="Dimensions of the latent space.")] = 20
    posterior: Annotated[str, Field(description="Approximate posterior q(z|x), from vaeexp/models/posteriors.py.")] = (
        "gaussian"
    )
    prior: Annotated[str, Field(description="Prior p(z), from vaeexp/models/priors.py.")] = "normal"
    components: Annotated[
        int,
        Field(
            ge=1,
            le=4096,
            description="Components of a mixture prior, or pseudo-inputs of a VampPrior; ignored by the normal prior.",
        ),
    ] = 1
    likelihood: Annotated[
        str,
        Field(
            description="Likelihood p(x|z), from vaeexp/models/likelihoods; all but bernoulli describe grey levels (`binarisation: none`)."
        ),
    ] = "bernoulli"
    sigma: Annotated[
        float,
        Field(
            ge=0.0025,
            le=100,
            description="Standard deviation of the gaussian likelihood, and where gaussian_learned starts; black to white is 1. √½ makes it the squared error (MSE).",
        ),
    ] = 0.5**0.5
    laplace_scale: Annotated[
        float,
        Field(
            ge=0.0025,
            le=100,
            description="Scale of the laplace likelihood; black to white is 1. 1 makes it the absolute error (L1).",
        ),
    ] = 1.0
    likelihood_components: Annotated[
        int, Field(ge=1, le=64, description="Components per sub-pixel of discretised_logistic_mixture.")
    ] = 5


class TrainSettings(_Section):
    """How the model is trained."""

    beta: Annotated[
        float,
        Field(
            ge=0, description="Weight of the rate in the training loss: distortion + beta x rate, in nats per image."
        ),
    ] = 1.0
    warmup_epochs: Annotated[
        float, Field(ge=0, le=1_000_000, description="Epochs over which beta rises linearly from 0.")
    ] = 0.0
    free_nats: Annotated[
        float,
        Field(ge=0, description="Rate (nats per image, batch mean) below which the loss does not push it; 0 is off."),
    ] = 0.0
    optimizer: Annotated[Literal["adam", "adamax"], Field(description="Update rule.")] = "adam"
    learning_rate: Annotated[float, Field(gt=0, le=1, description="Step size at the start.")] = 1e-3
    schedule: Annotated[
        Literal["constant", "cosine"],
        Field(description="Course of the learning rate over `epochs`; cosine falls to 0."),
    ] = "constant"
    ema_decay: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="Decay per step of the running average of weights that is evaluated; 0 evaluates the weights themselves.",
        ),
    ] = 0.0
    batch_size: Annotated[
        int,
        Field(ge=1, le=1_048_576, description="Images per step; the incomplete last batch of an epoch is left out."),
    ] = 128
    epochs: Annotated[int, Field(ge=1, le=1_000_000, description="Passes over the training images, at most.")] = 30
    patience: Annotated[
        int,
        Field(
            ge=0, le=1_000_000, description="Stop after this many epochs without a better validation value; 0 is off."
        ),
    ] = 0


class EvaluationSettings(_Section):
    """How figures and pictures are made."""

    importance_samples: Annotated[
        int,
        Field(ge=1, le=10_000_000, description="Samples per image (k) of the importance-weighted NLL on test images."),
    ] = 500
    active_threshold: Annotated[
        float,
        Field(
            gt=0,
            description="A latent unit is active when the variance of its posterior mean over images exceeds this (Burda et al. 2016).",
        ),
    ] = 0.01
    pictures_every: Annotated[
        int, Field(ge=1, le=1_000_000, description="Epochs between two grids of reconstructions and samples.")
    ] = 5


class ExecutionSettings(_Section):
    """Where and how a study runs; recorded with the study, and never part of a configuration."""

    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"], Field(description="auto: cuda if there is one, else mps, else cpu.")
    ] = "auto"
    precision: Annotated[
        Literal["auto", "float32", "bf16"],
        Field(
            description="Arithmetic of training; evaluation is always float32. auto: bf16 where the processor has it."
        ),
    ] = "auto"
    lanes: Annotated[
        Annotated[int, Field(ge=1)] | Literal["auto"] | None,
        Field(
            description="Trials at once, of all workers together; auto: measured; empty: 2 for each worker on a CPU, measured elsewhere."
        ),
    ] = None
    workers: Annotated[
        Annotated[int, Field(ge=1)] | Literal["auto"],
        Field(description="Processes that train; auto: one per device, or per CPU core."),
    ] = "auto"
    fuse: Annotated[
        Literal["auto", "on", "off"],
        Field(
            description="on: the lanes of a worker train as one program (vmap); off: one after the other; auto: on for accelerators, off on a CPU."
        ),
    ] = "auto"
    compile: Annotated[
        Literal["auto", "on", "off"],
        Field(
            description="on: PyTorch's compiler makes one program of each training step; auto: on where the study is long enough for this processor, off on mps."
        ),
    ] = "auto"
    resident_mb: Annotated[
        float | Literal["auto"],
        Field(
            ge=0,
            description="MiB of training images that may lie in the device's memory, else they stream from disk; auto: half of the free memory of an accelerator; on the CPU they are mapped from disk anyway.",
        ),
    ] = "auto"
    checkpoint_seconds: Annotated[
        float, Field(ge=0, description="Seconds of training between two checkpoints of a lane.")
    ] = 20.0


class Settings(_Section):
    """All that determines a trial's numbers, together with its seed."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    def with_params(self, params: dict[str, Any]) -> "Settings":
        """A copy with each value put into the section that has a field of that name; validated."""
        sections: dict[str, Any] = {}
        for section, model in SECTIONS.items():
            chosen = {name: value for name, value in params.items() if name in model.model_fields}
            sections[section] = model.model_validate({**getattr(self, section).model_dump(), **chosen})
        return Settings(**sections)

    def flat(self) -> dict[str, Any]:
        """Field name → value over all sections."""
        return {name: value for section in SECTIONS for name, value in getattr(self, section).model_dump().items()}


SECTIONS: dict[str, type[BaseModel]] = {
    "data": DataSettings,
    "model": ModelSettings,
    "train": TrainSettings,
    "evaluation": EvaluationSettings,
}
