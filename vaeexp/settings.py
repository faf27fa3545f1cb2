"""Every setting of a trial and of a run: one frozen model per concern, one sentence and unit per field.

A study file fixes some of them and searches others; field names are unique across the four sections of a trial,
so that `beta: {low: 0.01, high: 10, log: true}` under `search:` needs no prefix.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "SECTIONS",
    "DataSettings",
    "EvaluationSettings",
    "ExecutionSettings",
    "ModelSettings",
    "Settings",
    "TrainSettings",
]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


class DataSettings(_Section):
    """Which images, how they are split, what the model is asked to explain."""

    dataset: Annotated[Literal["mnist", "fashion_mnist"], Field(description="Name of the data set.")] = "mnist"
    binarisation: Annotated[
        Literal["static", "dynamic", "none"],
        Field(
            description="static: each pixel drawn once, the same for ever; dynamic: drawn anew each epoch; none: grey levels in [0, 1]."
        ),
    ] = "static"
    validation_size: Annotated[
        int,
        Field(
            gt=0,
            description="Images held out of the training files for validation (a tenth of them on the bundled subset).",
        ),
    ] = 10_000
    train_size: Annotated[
        int | None, Field(gt=0, description="Images to train on, the first of the split; all of them when empty.")
    ] = None
    split_seed: Annotated[
        int, Field(ge=0, description="Seed of the train/validation split and of static binarisation.")
    ] = 0


class ModelSettings(_Section):
    """The parts of a VAE, each found by name in the table next to its definition."""

    network: Annotated[str, Field(description="Encoder and decoder, from vaeexp/networks.py.")] = "mlp"
    hidden: Annotated[
        tuple[int, ...],
        Field(min_length=1, description="Widths of the encoder's hidden layers; the decoder mirrors them."),
    ] = (512, 512)
    activation: Annotated[str, Field(description="Non-linearity between layers, from vaeexp/networks.py.")] = (
        "leaky_relu"
    )
    latent_size: Annotated[int, Field(ge=1, le=4096, description="Dimensions of the latent space.")] = 20
    posterior: Annotated[str, Field(description="Approximate posterior q(z|x), from vaeexp/posteriors.py.")] = (
        "gaussian"
    )
    prior: Annotated[str, Field(description="Prior p(z), from vaeexp/priors.py.")] = "normal"
    components: Annotated[
        int,
        Field(
            ge=1,
            le=4096,
            description="Components of a mixture prior, or pseudo-inputs of a VampPrior; ignored by the normal prior.",
        ),
    ] = 1
    likelihood: Annotated[str, Field(description="Likelihood p(x|z), from vaeexp/likelihoods.py.")] = "bernoulli"


class TrainSettings(_Section):
    """How the model is trained."""

    beta: Annotated[
        float,
        Field(
            ge=0, description="Weight of the rate in the training loss: distortion + beta x rate, in nats per image."
        ),
    ] = 1.0
    warmup_epochs: Annotated[float, Field(ge=0, description="Epochs over which beta rises linearly from 0.")] = 0.0
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
        int, Field(ge=1, description="Images per step; the incomplete last batch of an epoch is left out.")
    ] = 128
    epochs: Annotated[int, Field(ge=1, description="Passes over the training images, at most.")] = 30
    patience: Annotated[
        int, Field(ge=0, description="Stop after this many epochs without a better validation value; 0 is off.")
    ] = 0


class EvaluationSettings(_Section):
    """How figures and pictures are made."""

    importance_samples: Annotated[
        int, Field(ge=1, description="Samples per image (k) of the importance-weighted NLL on test images.")
    ] = 500
    active_threshold: Annotated[
        float,
        Field(
            gt=0,
            description="A latent unit is active when the variance of its posterior mean over images exceeds this (Burda et al. 2016).",
        ),
    ] = 0.01
    pictures_every: Annotated[
        int, Field(ge=1, description="Epochs between two grids of reconstructions and samples.")
    ] = 5


class ExecutionSettings(_Section):
    """Where and how wide a study runs; recorded, and never part of a trial's setting."""

    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"], Field(description="auto: cuda if there is one, else mps, else cpu.")
    ] = "auto"
    precision: Annotated[
        Literal["auto", "float32", "bf16"],
        Field(
            description="Arithmetic of training; evaluation is always float32. auto: bf16 where the processor has it."
        ),
    ] = "auto"
    processes: Annotated[
        int | Literal["auto"], Field(description="Child processes; auto: one per device, or per CPU core.")
    ] = "auto"
    width: Annotated[
        int | Literal["auto"] | None,
        Field(
            description="Trials held at once in each process; auto: measured; empty: 2 on the CPU, measured elsewhere."
        ),
    ] = None
    group: Annotated[
        Literal["auto", "stacked", "loop"],
        Field(description="stacked: all lanes as one program (vmap); loop: one lane after the other."),
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
