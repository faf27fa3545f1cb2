"""Draws the latent space of a finished model: interpolations, traversals, t-SNE map.

Shapes: N images, P pairs of images, L latent dimensions, D traversed dimensions, S steps. Pictures
of H × W pixels and C channels are uint8 [..., H, W, C], as `vaeexp.data.showing.to_pictures` makes
them. Pictures show means of p(x|z).
"""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vaeexp.data.formats.array_labels import only_occurring
from vaeexp.data.showing import to_pictures
from vaeexp.evaluation.latent import chosen, codes_of, component_use
from vaeexp.evaluation.nll import image_rows
from vaeexp.models.vae import VAE

_PAIRS = 3
_STEPS = 10
_DIMENSIONS = 8
_VALUES = 9
REACH = 2.5
"""Half the length of a traversal, in standard deviations of the aggregate posterior."""
SIDE = 15
"""Pictures along a side of the latent plane."""
_PERPLEXITY = 30.0
_ITERATIONS = 500


def gallery(
    vae: VAE,
    images: Tensor,
    labels: np.ndarray | Tensor,
    classes: Sequence[str] | None,
    *,
    seed: int,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return pictures of the latent space by name, and arrays that belong to them, from N ≥ 1
    targets [N, C, H, W], their labels [N] and the class names (None without names).

    Pictures. latent_interpolations, spherical_interpolations, pixel_interpolations [P ≤ 3, 10, H,
    W, C]: all between the same pairs. traversals [D ≤ 8, 9, H, W, C]: the most active dimensions,
    each over mean ± 2.5 standard deviations of its aggregate posterior. manifold [15, 15, H, W, C]:
    only for two latent dimensions.

    Arrays. embedding float32 [N ≤ 2000, 2]: t-SNE of the posterior means of images drawn with the
    seed. With classes, embedding_labels int64 [N]: the labels of these images. classes unicode [n]:
    the class names, empty without names. traversal_dimensions int64 [D]: the indices, from 0, of
    the dimensions that are traversed. traversal_reach float64 []: half the length of a traversal,
    in standard deviations. Where a model has them: those of `component_use`.
    """
    first, second = (images[indices] for indices in pairs(labels))
    indices = chosen(len(images), seed)
    looked_at = images[indices]
    # Labels without a class have no colour and no column.
    labels, names = only_occurring(np.asarray(labels), classes) if classes else (labels, ())
    shown = {
        f"{name}_interpolations": interpolations(vae, first, second, _STEPS, kind)
        for name, kind in (("latent", "linear"), ("spherical", "spherical"), ("pixel", "pixel"))
    }
    shown["traversals"], dimensions = traversals(
        vae, looked_at, labels[indices], dimensions=_DIMENSIONS, steps=_VALUES, reach=REACH
    )
    if int(vae.latent_mask.sum()) == 2:
        shown["manifold"] = manifold(vae, SIDE, looked_at)
    arrays = {
        "embedding": embedding(vae, looked_at, seed=seed),
        "classes": np.array(names, dtype=np.str_),
        "traversal_dimensions": dimensions,
        "traversal_reach": np.array(REACH),
        **component_use(vae, images, labels, len(names), seed=seed),
    }
    if names:
        arrays["embedding_labels"] = np.asarray(labels).astype(np.int64)[indices]
    return shown, arrays


def by_class(labels: np.ndarray | Tensor) -> list[int]:
    """Return the indices of images with these labels [N]: the first image of each class, in the
    order of the classes, then the second of each, and so on.
    """
    classes = np.asarray(labels)
    order = np.argsort(classes, kind="stable")
    grouped = classes[order]
    before = np.arange(len(order)) - np.searchsorted(grouped, grouped)
    return order[np.lexsort((grouped, before))].tolist()


def pairs(labels: np.ndarray | Tensor, count: int = _PAIRS) -> tuple[list[int], list[int]]:
    """Return the indices of the first and of the second images of at most `count` pairs; no image
    appears twice.

    Neighbours in the order of `by_class` form a pair, so its classes differ as long as images of
    two classes are left. A single image forms a pair with itself.
    """
    order = by_class(labels)
    last = 2 * min(count, len(order) // 2)
    return (order[:last:2], order[1:last:2]) if last else ([0], [0])


def interpolations(vae: VAE, first: Tensor, second: Tensor, steps: int, kind: str) -> np.ndarray:
    """Return pictures [P, S, H, W, C] that lead from images `first` to images `second`, both [P, C,
    H, W].

    linear and spherical decode codes between the two posterior means; the ends are reconstructions.
    spherical changes the angle and the length of the code evenly (Shoemake 1985; White 2016). pixel
    cross-fades the images.
    """
    t = torch.linspace(0, 1, steps, dtype=torch.float64)
    if kind == "pixel":
        a, b = (images.unsqueeze(1).cpu().double() for images in (first, second))
        weights = t.view(-1, 1, 1, 1)
        return to_pictures((1 - weights) * a + weights * b, vae.values)
    a, b = (codes_of(vae, images)[0].unsqueeze(1) for images in (first, second))
    return decoded(vae, (_linear if kind == "linear" else _spherical)(a, b, t.unsqueeze(-1)))


def _linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Return codes [P, S, L] between a and b [P, 1, L] at t [S, 1]."""
    return (1 - t) * a + t * b


def _spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Return codes [P, S, L] on the great circle between the directions of a and b, with lengths
    interpolated linearly.

    The way is linear where a and b are nearly parallel or opposite, because they then determine no
    circle.
    """
    lengths = [code.norm(dim=-1, keepdim=True) for code in (a, b)]
    u, v = (code / length.clamp_min(1e-12) for code, length in zip((a, b), lengths, strict=True))
    # Kahan's formula, because the arc cosine of u·v loses half of the digits of a small angle.
    angle = 2 * torch.atan2((u - v).norm(dim=-1, keepdim=True), (u + v).norm(dim=-1, keepdim=True))
    sine = angle.sin()
    determined = sine > 1e-4
    direction = (((1 - t) * angle).sin() * u + (t * angle).sin() * v) / torch.where(
        determined, sine, 1.0
    )
    return torch.where(determined, _linear(lengths[0], lengths[1], t) * direction, _linear(a, b, t))


def traversals(
    vae: VAE,
    images: Tensor,
    labels: np.ndarray | Tensor,
    *,
    dimensions: int,
    steps: int,
    reach: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Traverse the most active dimensions: return pictures [D, S, H, W, C] and the dimensions'
    indices int64 [D], from 0.

    One dimension moves at a time, in equal steps over mean ± `reach` standard deviations of its
    aggregate posterior (over `images` [N, C, H, W]), for every prior. The other dimensions stay at
    the posterior mean of an image, another one in each row, as `by_class` orders these by their
    labels [N]. Activity is the variance of the posterior mean over the images.
    """
    means, variances = codes_of(vae, images)
    activity = means.var(0, correction=0).masked_fill(vae.latent_mask.cpu() == 0, -1.0)
    count = min(dimensions, int(vae.latent_mask.sum()))
    numbers = activity.argsort(descending=True, stable=True)[:count]
    centre = means.mean(0)
    spread = (means.var(0, correction=0) + variances.mean(0)).sqrt()
    starts = list(itertools.islice(itertools.cycle(by_class(labels)), count))
    z = means[starts].unsqueeze(1).repeat(1, steps, 1)  # [D, S, L]
    sweep = torch.linspace(-reach, reach, steps, dtype=torch.float64)
    z[torch.arange(len(numbers)), :, numbers] = (
        centre[numbers].unsqueeze(-1) + spread[numbers].unsqueeze(-1) * sweep
    )
    return decoded(vae, z), numbers.numpy()


def manifold(vae: VAE, side: int, images: Tensor) -> np.ndarray:
    """Decode a grid over two latent dimensions, [side, side, H, W, C]; the first rises to the
    right, the second upwards.

    Both dimensions go through the quantiles (i + ½) / side of the prior (Kingma & Welling 2014,
    figure 4), so that each picture stands for an equal share of the prior. A prior without
    quantiles, or a posterior without a density (nothing ties it to the prior), takes the quantiles
    of each dimension's posterior means over `images` [N, C, H, W].
    """
    dimensions = vae.latent_mask.cpu().nonzero().flatten()
    levels = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    quantiles = vae.prior_distribution().quantiles(levels) if vae.posterior.stochastic else None
    if quantiles is not None:
        points = quantiles.unsqueeze(-1).expand(-1, 2)
    else:
        points = codes_of(vae, images)[0][:, dimensions].quantile(levels, dim=0)
    z = torch.zeros(side, side, len(vae.latent_mask), dtype=torch.float64)
    z[..., dimensions[0]] = points[:, 0]
    z[..., dimensions[1]] = points[:, 1].flip(0).unsqueeze(-1)
    return decoded(vae, z)


def embedding(vae: VAE, images: Tensor, *, seed: int) -> np.ndarray:
    """Return the t-SNE map (van der Maaten & Hinton 2008) of the posterior means of targets [N, C,
    H, W]; float32 [N, 2].

    The map starts from the first two principal components. Its perplexity is min(30, (N − 1) / 3).
    The same images and seed give the same map on one machine. 2,000 images take some seconds.
    """
    means = codes_of(vae, images)[0].numpy()
    if len(means) < 2:
        return np.zeros((len(means), 2), np.float32)
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    tsne = TSNE(
        init=_principal_components(means, seed),
        perplexity=min(_PERPLEXITY, max(1.0, (len(means) - 1) / 3)),
        max_iter=_ITERATIONS,
        random_state=seed % 2**32,
    )
    # One thread, because the order of sums over several threads changes from run to run.
    with threadpool_limits(limits=1):
        return tsne.fit_transform(means.astype(np.float32)).astype(np.float32)


def _principal_components(codes: np.ndarray, seed: int) -> np.ndarray:
    """Return the scores [N, 2] of codes [N, L] on their first two components, scaled down to 1e-4
    as t-SNE expects.

    A little noise is added, because t-SNE cannot separate equal codes, nor codes on a line in the
    second direction.
    """
    u, s, _ = np.linalg.svd(codes - codes.mean(0), full_matrices=False)
    scores = np.zeros((len(codes), 2))
    scores[:, : min(2, len(s))] = (u * s)[:, :2]
    noise = np.random.default_rng(seed).normal(size=scores.shape)
    scale = scores[:, 0].std()
    return (1e-4 * (scores / scale if scale > 1e-12 else noise) + 1e-6 * noise).astype(np.float32)


@torch.no_grad()
def decoded(vae: VAE, z: Tensor) -> np.ndarray:
    """Decode codes [..., L] into pictures [..., H, W, C]."""
    # Cast first, because the device may have no float64.
    flat = z.reshape(-1, z.shape[-1]).to(vae.latent_mask.dtype)
    pieces = [
        to_pictures(vae.decode(codes.to(vae.latent_mask.device)).mean, vae.values)
        for codes in flat.split(image_rows(vae))
    ]
    images = np.concatenate(pieces)
    return images.reshape(*z.shape[:-1], *images.shape[1:])
