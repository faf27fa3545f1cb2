"""The training objectives: what a step minimises, by the name that `loss` of a study gives.

Shapes: B images, C channels, H × W pixels, L latent dimensions, S draws of z. `(S)` is absent for
one draw.

A row of `LOSSES` is all that a new objective needs. A study may also name a function of the user's
own by its import path, `loss: package.module:Name`. It takes a `Step` and returns one number. An
attribute `samples` of it asks for more draws of z. A function that `torch.func.vmap` accepts trains
fused: it does not branch on the value of a tensor and draws no random numbers.

An objective decides training alone. Trials are ranked by the −ELBO on validation, whatever they
minimise.
"""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from sweeps import did_you_mean
from vaeexp.data.values import ImageShape, Values
from vaeexp.import_paths import check_arguments, imported, one_line
from vaeexp.models.vae import VAE, build_vae

if TYPE_CHECKING:
    from vaeexp.models.posteriors import Deterministic, DiagonalGaussian
    from vaeexp.models.priors import PriorDistribution
    from vaeexp.settings import ModelSettings


class Step(NamedTuple):
    """What an objective is computed from: one batch, and the model's pass over it."""

    model: VAE
    x: Tensor
    """Targets [B, C, H, W] in [0, 1]."""
    posterior: "DiagonalGaussian | Deterministic"
    """q(z|x)."""
    prior: "PriorDistribution"
    """p(z)."""
    noise: Tensor
    """Standard normal noise [(S), B, L] that made z."""
    z: Tensor
    """Draws [(S), B, L] from q(z|x)."""
    log_q: Tensor
    """log q(z|x) [(S), B]; 0 for a posterior without a density."""
    distortion: Tensor
    """−log p(x|z) [(S), B]."""
    rate: Tensor
    """KL(q(z|x) ‖ p(z)) [B] in closed form, else log q(z|x) − log p(z) [(S), B]; 0 for a posterior
    without a density.
    """
    beta: Tensor
    """β [] after its warm-up so far."""
    free_nats: Tensor
    """The setting `free_nats` []."""
    progress: Tensor
    """Share [] of the training steps that are done, from 0 to 1."""


class Objective(NamedTuple):
    """A row of `LOSSES`."""

    function: Callable[[Step], Tensor]
    """Step → the number [] that training minimises, a mean over images in nats."""
    samples: int = 1
    """Draws of z for each image (S)."""
    of_means: Callable[[float, float, float], float] | None = None
    """(distortion, rate, β) → the objective, where it follows from the means: `val/loss` is
    measured then.
    """


def elbo(step: Step) -> Tensor:
    """Return distortion + β·rate (Higgins et al. 2017); below `free_nats` the rate gets no gradient
    (Kingma et al. 2016, with all dimensions as one group)."""
    rate = step.rate.mean()
    pushed = torch.where(step.free_nats > 0, torch.maximum(rate, step.free_nats), rate)
    return step.distortion.mean() + step.beta * pushed


LOSSES: dict[str, Objective] = {
    "elbo": Objective(elbo, of_means=lambda distortion, rate, beta: distortion + beta * rate),
}
"""Name in a study file → objective."""


def find_loss(name: str) -> Objective:
    """Return the objective of this name: from `LOSSES`, or the user's own by import path
    `package.module:Name`.

    Raises ValueError if the name is unknown, or the user's objective cannot be imported or called
    with a step.
    """
    if ":" not in name:
        if name not in LOSSES:
            own = "For your own give its import path, `package.module:Name`."
            raise ValueError(f"loss: there is no loss '{name}'. {did_you_mean(name, LOSSES)} {own}")
        return LOSSES[name]
    part = imported(name, "loss")
    if isinstance(part, Objective):
        return part
    try:
        function = part() if isinstance(part, type) else part
        inspect.signature(function).bind("step")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"loss: '{name}' must be a function `(step)` that returns a number, or a class of "
            f"such objects: {one_line(error)}."
        ) from error
    samples: Any = getattr(function, "samples", 1)
    if type(samples) is not int or samples < 1:
        raise ValueError(
            f"loss: `samples` of '{name}' is {samples!r}; must be a whole number from 1."
        )
    return Objective(function, samples)


def make_step(
    model: VAE,
    objective: Objective,
    x: Tensor,
    noise: Tensor,
    beta: Tensor,
    free_nats: Tensor,
    progress: Tensor,
) -> Step:
    """Pass targets x [B, C, H, W] through the model, with noise [B, L], or [B, S, L] for S > 1
    draws.
    """
    noise = noise.movedim(-2, 0) if objective.samples > 1 else noise
    passed = model.run(x, noise)
    return Step(
        model=model,
        x=x,
        noise=noise,
        beta=beta,
        free_nats=free_nats,
        progress=progress,
        **passed._asdict(),
    )


def noise_shape(objective: Objective, latent_size: int) -> tuple[int, ...]:
    """Return the shape of the noise of one image: (L,), or (S, L)."""
    return (latent_size,) if objective.samples == 1 else (objective.samples, latent_size)


def check_loss(name: str, settings: "ModelSettings", values: Values | ImageShape | None) -> None:
    """Check that the objective exists and, with the values of the images, that it gives a gradient
    to each weight of a fresh model.

    Raises ValueError if it is unknown, asks for labels, raises an error, or returns something else
    than one number that depends on the weights.
    """
    objective = find_loss(name)
    check_arguments("loss", objective.function, type(objective.function))
    if values is None:
        return
    vae = build_vae(settings, values, seed=0).train()
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(2, *vae.values.shape, generator=generator) < 0.5).float()
    noise = torch.randn(2, *noise_shape(objective, settings.latent_size), generator=generator)
    one = torch.ones(())
    zero = torch.zeros(())
    try:
        found = objective.function(make_step(vae, objective, x, noise, one, zero, zero))
    except Exception as error:  # of the user's function, whatever it raises
        raise ValueError(
            f"loss: '{name}' fails on two images of shape {vae.values.shape}: {one_line(error)}."
        ) from error
    good = isinstance(found, Tensor) and found.shape == () and found.is_floating_point()
    if not good or not found.requires_grad or not found.isfinite():
        raise ValueError(
            f"loss: '{name}' returns {found!r} on two images with fresh weights; must return one "
            "finite number, a tensor [] computed from the step's tensors. Try `.mean()`."
        )
    try:
        found.backward()
    except RuntimeError as error:
        raise ValueError(f"loss: '{name}' cannot be differentiated: {one_line(error)}.") from error
    blamed = "loss" if ":" in name else "likelihood"
    for weight, each in vae.named_parameters():
        if each.grad is None or not each.grad.isfinite().all():
            part = weight.partition(".")[0]
            field = part if ":" in getattr(settings, part, "") else blamed
            raise ValueError(
                f"{field}: loss '{name}' gives no finite gradient to '{weight}', so it is not "
                "learned. Use it in what the loss is computed from, or make it a buffer."
            )
