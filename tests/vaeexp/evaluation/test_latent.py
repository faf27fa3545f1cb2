"""Nats per latent dimension and the classes that components serve: against torch.distributions,
integrals and counting.
"""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from vaeexp.evaluation.latent import (
    aggregate_codes,
    component_use,
    rate_per_dimension,
    used_dimensions,
)
from vaeexp.evaluation.nll import evaluate_elbo
from vaeexp.models.posteriors import DiagonalGaussian
from vaeexp.models.priors import FactorisedMixture, GaussianMixture, StandardNormal
from vaeexp.models.vae import build_vae
from vaeexp.settings import ModelSettings

SHAPE = (1, 5, 4)
PRIORS = ["normal", "mixture", "factorised_mixture", "vampprior"]


def model(prior, latent_size=3, components=4):
    settings = ModelSettings(
        hidden=(16,), latent_size=latent_size, prior=prior, components=components
    )
    vae = build_vae(settings, SHAPE, seed=0).eval()
    with torch.no_grad():
        for parameter in (*vae.encoder.parameters(), *vae.prior.parameters()):
            parameter.add_(
                0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
            )
    return vae


def images(count, seed=0):
    return (torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


def mixture(kind, mask=None):
    """Three components on four dimensions, of unlike weights, places and widths."""
    torch.manual_seed(3)
    means, log_vars = 2 * torch.randn(3, 4), torch.randn(3, 4)
    mask = torch.ones(4) if mask is None else mask
    return kind(torch.tensor([0.2, 0.5, 0.3]).log(), means * mask, log_vars, mask)


@pytest.mark.parametrize("kind", [GaussianMixture, FactorisedMixture])
def test_marginals_of_mixtures_are_mixtures_on_the_line(kind):
    prior, z = mixture(kind), 2 * torch.randn(5, 6, 4)
    lines = MixtureSameFamily(
        Categorical(logits=prior.log_weights.expand(4, 3)),
        Normal(prior.means.T, (0.5 * prior.log_vars.T).exp()),
    )
    torch.testing.assert_close(prior.dimension_log_prob(z), lines.log_prob(z))
    if kind is FactorisedMixture:
        torch.testing.assert_close(prior.dimension_log_prob(z).sum(-1), prior.log_prob(z))


def test_responsibilities_are_the_components_shares_of_the_density():
    prior, z = mixture(GaussianMixture), 3 * torch.randn(50, 4)
    parts = (
        Independent(Normal(prior.means, (0.5 * prior.log_vars).exp()), 1)
        .log_prob(z.unsqueeze(-2))
        .exp()
    )
    expected = prior.weights * parts / (prior.weights * parts).sum(-1, keepdim=True)
    torch.testing.assert_close(prior.responsibilities(z), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(prior.responsibilities(z).sum(-1), torch.ones(50))


@pytest.mark.parametrize("kind", [GaussianMixture, FactorisedMixture])
def test_masked_dimensions_have_no_marginal(kind):
    mask = torch.tensor([1.0, 0, 1, 0])
    assert (mixture(kind, mask).dimension_log_prob(torch.randn(7, 4))[:, [1, 3]] == 0).all()
    normal = StandardNormal(mask)
    posterior = DiagonalGaussian(torch.randn(7, 4), torch.randn(7, 4), mask)
    assert (normal.dimension_kl(posterior)[:, [1, 3]] == 0).all()
    assert (normal.dimension_log_prob(torch.randn(7, 4))[:, [1, 3]] == 0).all()


def test_rates_under_the_normal_prior_are_the_closed_form_and_sum_to_the_rate():
    vae, x = model("normal"), images(1200)  # more than one batch
    rates = rate_per_dimension(vae, x, seed=0)
    posterior = vae.encode(x)
    exact = (
        kl_divergence(Normal(posterior.mean, (0.5 * posterior.log_var).exp()), Normal(0, 1))
        .double()
        .mean(0)
    )
    torch.testing.assert_close(rates, exact.detach(), rtol=1e-5, atol=1e-6)
    assert rates.sum().item() == pytest.approx(
        evaluate_elbo(vae, x, seed=1).rate.mean().item(), rel=1e-5
    )


@pytest.mark.parametrize("prior", PRIORS[1:])
def test_rates_under_other_priors_are_the_integral_of_the_divergence(prior):
    vae, x = model(prior), images(600)
    rates = rate_per_dimension(vae, x, seed=0)
    with torch.no_grad():
        posterior, points = vae.encode(x), torch.linspace(-12, 12, 2401)
        # [points, L].
        log_p = vae.prior_distribution().dimension_log_prob(points.unsqueeze(-1).expand(-1, 3))
        q = Normal(posterior.mean.unsqueeze(1), (0.5 * posterior.log_var).exp().unsqueeze(1))
        log_q = q.log_prob(points.view(1, -1, 1))  # [N, points, L]
        exact = torch.trapezoid(
            (log_q.exp() * (log_q - log_p)).double(), points.double(), dim=1
        ).mean(0)
    assert rates.shape == (3,)
    torch.testing.assert_close(rates, exact, atol=0.06, rtol=0)
    assert torch.equal(rates, rate_per_dimension(vae, x, seed=0))
    assert not torch.equal(rates, rate_per_dimension(vae, x, seed=1))


@pytest.mark.parametrize("prior", PRIORS)
def test_rates_are_zero_where_masked(prior):
    vae = model(prior)
    vae.latent_mask[1] = 0
    rates = rate_per_dimension(vae, images(20), seed=0)
    assert rates[1] == 0
    assert (rates[[0, 2]] > 0).all()


def test_a_posterior_without_a_density_has_no_rate(monkeypatch):
    vae = model("normal")
    vae.posterior = type("Deterministic", (DiagonalGaussian,), {"stochastic": False})
    assert rate_per_dimension(vae, images(4), seed=0) is None


@pytest.mark.parametrize("prior", ["mixture", "vampprior"])
def test_columns_of_component_classes_sum_to_one_and_a_missing_class_is_nan(prior):
    vae, labels = model(prior), torch.arange(700) % 3
    use = component_use(vae, images(700), labels, 4, seed=0)
    shares = use["component_classes"]
    assert shares.shape == (4, 4)
    assert shares.dtype == np.float64
    np.testing.assert_allclose(shares[:, :3].sum(0), 1)
    assert np.isnan(shares[:, 3]).all()
    np.testing.assert_allclose(use["component_weights"].sum(), 1)
    np.testing.assert_array_equal(
        shares, component_use(vae, images(700), labels, 4, seed=0)["component_classes"]
    )
    assert component_use(vae, images(2), labels[:2], 0, seed=0).keys() == {"component_weights"}


def test_components_that_lie_apart_are_given_to_the_classes_that_use_them():
    """Images are all black or all white, and a component sits on each one's code: class 2 has a
    quarter of the white.
    """
    vae = model("mixture", latent_size=2, components=3)
    black, white = torch.zeros(1, *SHAPE), torch.ones(1, *SHAPE)
    with torch.no_grad():
        last = vae.encoder[-1]
        vae.prior.log_vars.fill_(-8.0)  # far narrower than they are apart
        last.weight.mul_(5)
        last.bias[[1, 3]] = -12.0  # log-variances: hardly any noise
        last.weight[[1, 3]] = 0
        vae.prior.means.copy_(
            torch.cat([vae.encode(white).mean, vae.encode(black).mean, torch.full((1, 2), 500.0)])
        )
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 2, 2])
    shown = torch.cat([black, black, white, white, black, black, black, white])
    shares = component_use(vae, shown, labels, 3, seed=0)["component_classes"]
    np.testing.assert_allclose(shares, [[0, 1, 0.25], [1, 0, 0.75], [0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("prior", ["normal", "factorised_mixture"])
def test_priors_without_joint_components_have_none_to_give(prior):
    assert component_use(model(prior), images(4), torch.zeros(4), 2, seed=0) == {}


@pytest.mark.parametrize("prior", PRIORS)
def test_collapsed_dimensions_are_not_used_whatever_the_scale_of_their_means(prior):
    """Under a learned prior all codes may move and stretch together; by the variance of their means
    they stay active.
    """
    vae, x = model(prior, components=1), images(400)
    with torch.no_grad():
        last = vae.encoder[-1]
        # The same posterior for every image is the posterior of the pseudo-image, too.
        if prior == "vampprior":
            last.weight[[0, 1]] = 0
        elif prior == "normal":
            last.weight[[0, 1]] = last.bias[[0, 1]] = 0
        else:
            last.weight[[0, 1]] = 0
            last.bias[[0, 1]] = torch.stack([vae.prior.means[0, 0], vae.prior.log_vars[0, 0]])
        last.weight[[2, 4]] *= 50
    rates = rate_per_dimension(vae, x, seed=0)
    assert rates[0].abs() < 1e-5
    assert used_dimensions(rates, 0.01) == 2 == int((rates > 0.01).sum())
    assert used_dimensions(rates, rates.max().item()) == 0
    if prior in ("mixture", "factorised_mixture"):
        # Codes and prior shrink together a hundredfold: the rates stay, the means hardly vary any
        # more.
        with torch.no_grad():
            last.weight[0::2] /= 100
            last.bias[0::2] /= 100
            last.bias[1::2] -= 2 * math.log(100)
            vae.prior.means /= 100
            vae.prior.log_vars -= 2 * math.log(100)
        torch.testing.assert_close(rate_per_dimension(vae, x, seed=0), rates, rtol=1e-3, atol=1e-4)
        assert (vae.encode(x).mean.var(0) < 0.01).any()
        assert used_dimensions(rates, 0.01) == 2


@pytest.mark.parametrize("prior", PRIORS[:2])
def test_codes_of_the_aggregate_posterior_have_its_moments_and_those_of_the_prior_its_marginal(
    prior,
):
    vae, x = model(prior, latent_size=9), images(1500)
    vae.latent_mask[4] = 0
    rates = rate_per_dimension(vae, x, seed=0).numpy()
    found = aggregate_codes(vae, x, rates, seed=0)
    dimensions = found["aggregate_dimensions"]
    assert (
        sorted(rates[dimensions], reverse=True)
        == rates[dimensions].tolist()
        == sorted(rates, reverse=True)[:6]
    )
    assert found["aggregate_codes"].shape == found["prior_codes"].shape == (6, 1500)
    assert found["aggregate_codes"].dtype == found["prior_codes"].dtype == np.float32
    with torch.no_grad():
        posterior = vae.encode(x)
        spread = (posterior.mean.var(0) + posterior.log_var.exp().mean(0)).sqrt()[dimensions]
        grid = torch.linspace(-15, 15, 6001)
        density = (
            vae.prior_distribution()
            .dimension_log_prob(grid.unsqueeze(-1).expand(-1, 9))
            .double()
            .exp()
        )
    mean = torch.trapezoid(density * grid.unsqueeze(-1), grid.double(), dim=0)
    square = torch.trapezoid(density * grid.square().unsqueeze(-1), grid.double(), dim=0)
    width = (square - mean.square()).sqrt()[dimensions].numpy()
    of_prior, of_posterior = (
        found[name].astype(float) for name in ("prior_codes", "aggregate_codes")
    )
    few = 5 / math.sqrt(1500)  # five standard errors of a mean
    np.testing.assert_allclose((of_prior.mean(1) - mean[dimensions].numpy()) / width, 0, atol=few)
    np.testing.assert_allclose(of_prior.std(1) / width, 1, atol=2 * few)
    np.testing.assert_allclose(
        (of_posterior.mean(1) - posterior.mean.mean(0)[dimensions].numpy()) / spread.numpy(),
        0,
        atol=few,
    )
    np.testing.assert_allclose(of_posterior.std(1) / spread.numpy(), 1, atol=2 * few)
    assert aggregate_codes(vae, x, None, seed=0) == {}
