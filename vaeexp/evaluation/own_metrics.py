"""Measures metrics of the user's own, which a study names by their import paths: `metrics:
["package.module:Name"]`.

Shapes: N images, C channels, H × W pixels.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from sweeps import seed_of, warn_once
from vaeexp.data.values import ImageShape, Values
from vaeexp.evaluation.metrics import METRICS, own_name
from vaeexp.evaluation.nll import standard_error
from vaeexp.import_paths import check_arguments, imported, one_line
from vaeexp.models.vae import VAE, build_vae

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings


class Tested(NamedTuple):
    """What a metric is computed from."""

    model: VAE
    """The trained model, on the device of the study, in evaluation mode."""
    images: Tensor
    """Targets [N, C, H, W] in [0, 1], on the CPU."""
    generator: torch.Generator
    """Of the CPU; its seed depends on the study and the name of the metric alone."""


def own_figures(vae: VAE, images: Tensor, paths: Sequence[str], *, seed: int) -> dict[str, float]:
    """Return `test/NAME` of each metric on targets [N, C, H, W], with `test/NAME_se` where it has a
    value of each image.

    A metric that fails is left out with a warning, so that a trained model keeps its other figures.
    """
    figures = {}
    for path in paths:
        try:
            values = _measure(path, vae, images, seed)
        except ValueError as error:
            warn_once(f"{error} The figure is left out.")
            continue
        name = f"test/{own_name(path)}"
        figures[name] = values.mean().item()
        if values.ndim:
            figures[f"{name}_se"] = standard_error(values)
    return figures


@torch.no_grad()
def _measure(path: str, vae: VAE, images: Tensor, seed: int) -> Tensor:
    """Return what a metric gives, float64 [] or [N], on the CPU. Raises ValueError where it fails
    or gives something else.
    """
    part = imported(path, "metrics")
    generator = torch.Generator().manual_seed(seed_of(f"{seed}/metric/{own_name(path)}"))
    shape = tuple(images.shape)
    try:
        # A fork, so that draws of the metric from PyTorch's own generator leave the training as it
        # is.
        with torch.random.fork_rng(devices=[]):
            metric = part() if isinstance(part, type) else part
            values = torch.as_tensor(metric(Tested(vae, images, generator))).cpu().double()
    except Exception as error:  # of the user's function, whatever it raises
        raise ValueError(
            f"metrics: '{path}' fails on images {list(shape)}: {one_line(error)}."
        ) from error
    if values.shape not in ((), shape[:1]):
        raise ValueError(
            f"metrics: '{path}' returns values {list(values.shape)} for {shape[0]:,} images; must "
            "return one number, or a value of each image."
        )
    return values


def check_metrics(
    paths: Sequence[str], settings: "ModelSettings", values: Values | ImageShape | None
) -> None:
    """Check that metrics exist under names of their own and, with the values of the images, that
    they measure a fresh model.

    Raises ValueError if one is unknown, has the name of another, raises an error, or returns
    something else than numbers.
    """
    taken = dict.fromkeys(METRICS, "a built-in metric")
    for path in paths:
        if ":" not in path:
            own = "For your own give its import path, `package.module:Name`"
            raise ValueError(
                f"metrics: '{path}' is no import path. {own}; built-in metrics need no entry."
            )
        name = own_name(path)
        if name in taken:
            raise ValueError(f"metrics: '{path}' gives '{name}', as {taken[name]} does. Rename it.")
        taken[name] = f"'{path}'"
        check_arguments("metrics", imported(path, "metrics"))
    if values is None:
        return
    vae = build_vae(settings, values, seed=0).eval()
    images = (
        torch.rand(2, *vae.values.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    ).float()
    for path in paths:
        _measure(path, vae, images, seed=0)
