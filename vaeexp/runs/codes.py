"""Codes and scores of the rows that a model is shown, and the rows that codes decode to.

Shapes: n rows of a batch, L latent dimensions, C channels, H × W sub-pixels. Rows that do not fit
have NaN for every number. A score that overflows is infinite, which is the strangest.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaeexp.evaluation.nll import UNIT, draws, image_rows, log_weights
from vaeexp.models.posteriors import DiagonalGaussian
from vaeexp.models.priors import PriorDistribution
from vaeexp.models.vae import VAE
from vaeexp.runs.preparation import Batch, Preparation
from vaeexp.words import join_and

_ENCODED = 100
"""Rows that are encoded at once, as for maps of codes, so that codes are the same to the bit."""
_SCORED = 64
"""Rows that are scored at once, at most: a power of 2, of which each has the same last bits."""

Measured = dict[str, np.ndarray]
"""Name of a column → its values [n], or [n, L]."""
Progress = Callable[[int, int], None]
"""Is told the rows done, and of how many."""


@torch.no_grad()
def encode(vae: VAE, batches: Iterator[Batch], *, seed: int) -> Iterator[Measured]:
    """Yield name, label, mean, log_sigma, rate (nats) and problem of each batch; no log_sigma and
    rate for a posterior without a density.
    """
    prior = vae.prior_distribution()
    for batch in batches:
        parts = list[dict[str, Tensor]]()
        for start in range(0, len(batch.x), _ENCODED):
            some = slice(start, start + _ENCODED)
            posterior = vae.encode(batch.x[some].to(vae.latent_mask))
            columns = {"mean": posterior.mean}
            if isinstance(posterior, DiagonalGaussian):
                rate = prior.kl(posterior)
                if rate is None:
                    noise = next(draws(len(vae.latent_mask), batch.keys[some].tolist(), 1, seed))
                    rate = _drawn_rate(prior, posterior, noise[0].to(posterior.mean))
                columns |= {"log_sigma": 0.5 * posterior.log_var, "rate": rate.double()}
            parts.append(columns)
        yield _measured(batch, _joined(parts))


@torch.no_grad()
def score(
    vae: VAE, batches: Iterator[Batch], *, seed: int, importance_samples: int
) -> Iterator[tuple[Batch, Measured]]:
    """Yield each batch with its name, label, neg_elbo, distortion, rate, iw_nll, the standard error
    of that, iw_nll_se, and problem, in nats and in the unit of the report; no iw_nll without
    `importance_samples`.

    −ELBO is at β = 1 with one draw of z for each row. The draws depend on the seed, the content of
    the row and L. Rows are computed in blocks of one shape, so that equal rows have equal scores
    whatever their neighbours are. A posterior without a density has the distortion alone.
    """
    prior = vae.prior_distribution()
    samples = importance_samples
    codes = image_rows(vae)
    fitting = max(1, codes // max(1, min(samples, UNIT)))
    block = min(_SCORED, 1 << (fitting.bit_length() - 1))
    for batch in batches:
        count = len(batch.x)
        more = -count % block
        x = torch.cat([batch.x, batch.x[:1].expand(more, *batch.x.shape[1:])])
        keys = [*batch.keys.tolist(), *[0] * more]
        parts = list[dict[str, Tensor]]()
        for start in range(0, len(x), block):
            some = slice(start, start + block)
            noises = draws(len(vae.latent_mask), keys[some], max(1, samples), seed)
            shown = x[some].to(vae.latent_mask)
            parts.append(_scored(vae, prior, shown, noises, samples, max(1, codes // block)))
        columns = _joined(parts)
        yield batch, _measured(batch, {name: part[:count] for name, part in columns.items()})


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _scored(
    vae: VAE,
    prior: PriorDistribution,
    x: Tensor,
    noises: Iterator[Tensor],
    samples: int,
    at_once: int,
) -> dict[str, Tensor]:
    """Return the numbers of B rows, float64 [B]. Of all draws the first one gives −ELBO."""
    posterior = vae.encode(x)
    if not isinstance(posterior, DiagonalGaussian):
        return {"distortion": _distortion(vae, posterior.mean, x)}
    noise = next(noises).to(posterior.mean)
    distortion = _distortion(vae, posterior.rsample(noise[0]), x)
    rate = prior.kl(posterior)
    if rate is None:
        rate = _drawn_rate(prior, posterior, noise[0])
    rate = rate.cpu().double()
    columns = {"neg_elbo": distortion + rate, "distortion": distortion, "rate": rate}
    if not samples:
        return columns
    weigh = log_weights(vae, prior, posterior, noise, x, codes=0)
    drawn = chain.from_iterable(some.split(at_once) for some in chain([noise], noises))
    logs = torch.cat([weigh(posterior, part.to(noise), x).cpu().double() for part in drawn])
    columns["iw_nll"] = math.log(samples) - logs.logsumexp(0) + vae.log_scale
    if samples > 1:
        error = _jackknife(logs)
        columns["iw_nll_se"] = error.where(columns["iw_nll"].isfinite(), columns["iw_nll"])
    return columns


def _jackknife(logs: Tensor) -> Tensor:
    """Return the standard error [B] of the logarithm of a mean of weights, from their logarithms
    [k, B], by the jackknife (Efron and Stein 1981). That of the delta method is 1 at most, however
    far the largest weight lies above the others.
    """
    top = logs.argmax(0, keepdim=True)
    others = logs.scatter(0, top, -math.inf).logsumexp(0, keepdim=True)
    left = (-logs.softmax(0)).log1p().scatter(0, top, others - logs.logsumexp(0, keepdim=True))
    return ((len(logs) - 1) * left.var(0, correction=0)).sqrt()


def _distortion(vae: VAE, z: Tensor, x: Tensor) -> Tensor:
    return -vae.decode(z).log_prob(x).cpu().double() + vae.log_scale


def _drawn_rate(prior: PriorDistribution, posterior: DiagonalGaussian, noise: Tensor) -> Tensor:
    """Return log q(z|x) − log p(z) at a draw z of each row."""
    z, log_q = posterior.rsample_and_log_prob(noise)
    return log_q - prior.log_prob(z)


def _measured(batch: Batch, columns: Mapping[str, Tensor]) -> Measured:
    """Return the columns of a batch. A row whose numbers are lost to overflow has a problem: NaN,
    or a code that is infinite.
    """
    measured: Measured = {"name": np.array(batch.names, object)}
    measured["label"] = np.array(batch.labels, object)
    problems = np.array(batch.problems, object)
    bad = problems != ""
    lost = defaultdict[int, list[str]](list)
    for name, tensor in columns.items():
        values = tensor.cpu().numpy().copy()
        values[bad] = np.nan
        measured[name] = values
        gone = np.isnan(values) if values.ndim == 1 else ~np.isfinite(values).all(1)
        for row in np.flatnonzero(gone & ~bad).tolist():
            lost[row].append(name)
    for row, names in lost.items():
        problems[row] = f"the model gives it no number as {join_and(names)}: its numbers overflow"
    if batch.unseen is not None:
        measured["unseen"] = np.array(batch.unseen, object)
    measured["problem"] = problems
    return measured


def told(batches: Iterator[Batch], count: int, progress: Progress | None) -> Iterator[Batch]:
    """Yield the batches, and tell `progress` how many rows of about `count` are done."""
    done = 0
    for batch in batches:
        yield batch
        done += len(batch.x)
        if progress:
            progress(done, max(count, done))


@torch.no_grad()
def decode(vae: VAE, codes: np.ndarray, preparation: Preparation) -> Iterator[np.ndarray]:
    """Yield the means of p(x|z) of codes [M, L] as numbers of the files [m, C, H, W], as
    `Preparation.in_units` has them.
    """
    for start in range(0, len(codes), rows := image_rows(vae)):
        some = np.ascontiguousarray(codes[start : start + rows])
        z = torch.from_numpy(some).to(vae.latent_mask)
        yield preparation.in_units(vae.decode(z).mean)


def codes_in(columns: Any, latent_size: int) -> np.ndarray | None:
    """Return the codes float32 [M, L] of the columns that `encode` wrote; None where they are
    others.
    """
    names = [f"mean_{dimension}" for dimension in range(latent_size)]
    if any(name not in columns for name in names) or f"mean_{latent_size}" in columns:
        return None
    return np.stack([np.asarray(columns[name], np.float32) for name in names], axis=1)
