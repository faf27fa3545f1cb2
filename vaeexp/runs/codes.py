"""Codes and scores of the rows that a model is shown, and the rows that codes decode to.

Shapes: n rows of a batch, L latent dimensions, C channels, H × W sub-pixels. Rows that do not fit
have NaN for every number. A score that overflows is infinite, which is the strangest.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaeexp.evaluation.nll import image_rows, importance_weighted_nll
from vaeexp.models.posteriors import DiagonalGaussian
from vaeexp.models.priors import PriorDistribution
from vaeexp.models.vae import VAE
from vaeexp.runs.preparation import Batch, Preparation
from vaeexp.words import join_and

AT_ONCE = 100
"""Rows that are encoded at once, as for maps of codes, so that codes are the same to the bit."""

Measured = dict[str, np.ndarray]
"""Name of a column → its values [n], or [n, L]."""
Progress = Callable[[int, int], None]
"""Is told the rows done, and of how many."""


class _Encoded(NamedTuple):
    """Posterior means and log σ float32 [n, L], a draw z of the posterior and the rate [n]."""

    mean: Tensor
    log_sigma: Tensor | None
    z: Tensor
    rate: Tensor


@torch.no_grad()
def encode(vae: VAE, batches: Iterator[Batch], *, seed: int) -> Iterator[Measured]:
    """Yield name, label, mean, log_sigma, rate (nats) and problem of each batch; no log_sigma and
    rate for a posterior without a density.
    """
    noises = _Noise(vae, seed)
    prior = vae.prior_distribution()
    for batch in batches:
        parts = [_encoded(vae, prior, *pair) for pair in noises.pairs(batch.x)]
        columns = {"mean": torch.cat([part.mean for part in parts])}
        if vae.posterior.stochastic:
            sigmas = [part.log_sigma for part in parts if part.log_sigma is not None]
            columns["log_sigma"] = torch.cat(sigmas)
            columns["rate"] = torch.cat([part.rate for part in parts]).double()
        yield _measured(batch, columns)


@torch.no_grad()
def score(
    vae: VAE, batches: Iterator[Batch], *, seed: int, importance_samples: int | None
) -> Iterator[Measured]:
    """Yield name, label, neg_elbo, iw_nll, distortion, rate and problem of each batch, in nats and
    in the unit of the report; no iw_nll without `importance_samples`.

    −ELBO is at β = 1 with one draw of z for each row. The draws depend on the seed, the row and L;
    with the seed of the test they are those of `vaeexp.evaluation.nll.evaluate_elbo`. A posterior
    without a density has the distortion alone.
    """
    noises = _Noise(vae, seed)
    first = 0
    prior = vae.prior_distribution()
    for batch in batches:
        pairs = [*noises.pairs(batch.x)]
        parts = [_encoded(vae, prior, *pair) for pair in pairs]
        terms = [-vae.decode(part.z).log_prob(x) for part, (x, _) in zip(parts, pairs, strict=True)]
        distortion = torch.cat(terms).cpu().double() + vae.log_scale
        columns = {"distortion": distortion}
        if vae.posterior.stochastic:
            rate = torch.cat([part.rate for part in parts]).cpu().double()
            columns = {"neg_elbo": distortion + rate, **columns, "rate": rate}
            if importance_samples:
                k: Any = {"importance_samples": importance_samples, "seed": seed}
                bounds = importance_weighted_nll(vae, batch.x, first=first, **k)
                columns["iw_nll"] = bounds[-1]
        first += len(batch.x)
        yield _measured(batch, columns)


class _Noise:
    """Standard normal noise for rows in their order, the same in batches as for all at once."""

    def __init__(self, vae: VAE, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._mask = vae.latent_mask

    def pairs(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield targets and noise of the next rows, `AT_ONCE` at a time, on the device."""
        drawn = torch.randn(len(x), len(self._mask), generator=self._generator)
        for some, noise in zip(x.split(AT_ONCE), drawn.split(AT_ONCE), strict=True):
            yield some.to(self._mask), noise.to(self._mask)


def _encoded(vae: VAE, prior: PriorDistribution, x: Tensor, noise: Tensor) -> _Encoded:
    posterior = vae.encode(x)
    if not isinstance(posterior, DiagonalGaussian):
        return _Encoded(posterior.mean, None, posterior.mean, torch.zeros(len(x)))
    z, log_q = posterior.rsample_and_log_prob(noise)
    kl = prior.kl(posterior)
    rate = log_q - prior.log_prob(z) if kl is None else kl
    return _Encoded(posterior.mean, 0.5 * posterior.log_var, z, rate)


def _measured(batch: Batch, columns: Mapping[str, Tensor]) -> Measured:
    """Return the columns of a batch. A row whose numbers are lost to overflow has a problem: NaN,
    or a code that is infinite.
    """
    measured: Measured = {"name": np.array(batch.names, object)}
    measured["label"] = np.array(batch.labels, object)
    bad = np.array([bool(problem) for problem in batch.problems])
    lost: list[list[str]] = [[] for _ in batch.problems]
    for name, tensor in columns.items():
        values = tensor.cpu().numpy().copy()
        values[bad] = np.nan
        measured[name] = values
        gone = np.isnan(values) if values.ndim == 1 else ~np.isfinite(values).all(1)
        for row in np.flatnonzero(gone & ~bad):
            lost[row].append(name)
    problems = [
        f"the model gives it no number as {join_and(names)}: its numbers overflow"
        if names
        else problem
        for names, problem in zip(lost, batch.problems, strict=True)
    ]
    measured["problem"] = np.array(problems, object)
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
    for start in range(0, len(codes), rows := max(1, image_rows(vae))):
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
