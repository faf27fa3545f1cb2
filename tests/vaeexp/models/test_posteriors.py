"""Every posterior is a normalised density at any output of an encoder."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Independent, Normal

from vaeexp.models.posteriors import LOG_VAR_RANGE, POSTERIORS, DiagonalGaussian

DENSITIES = [name for name, kind in POSTERIORS.items() if kind.stochastic]


def from_head(name, rows, latent_size, scale=1.0, seed=0):
    kind = POSTERIORS[name]
    h = scale * torch.randn(
        rows, kind.parameters * latent_size, generator=torch.Generator().manual_seed(seed)
    )
    return kind.from_head(h, torch.ones(latent_size))


@pytest.mark.parametrize("name", DENSITIES)
def test_normalised_on_a_line(name):
    noise = torch.linspace(-12, 12, 4801).view(-1, 1, 1).expand(-1, 5, 1)
    z, log_prob = from_head(name, 5, 1).rsample_and_log_prob(noise)  # [points, 5, 1], [points, 5]
    mass = torch.trapezoid(log_prob.double().exp(), z.squeeze(-1).double(), dim=0)
    torch.testing.assert_close(mass, torch.ones(5).double(), rtol=1e-5, atol=0)


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(DENSITIES),
    lead=st.lists(st.integers(1, 4), max_size=2),
    latent=st.integers(1, 9),
)
def test_shapes(name, lead, latent):
    kind = POSTERIORS[name]
    posterior = kind.from_head(torch.randn(*lead, kind.parameters * latent), torch.ones(latent))
    z, log_prob = posterior.rsample_and_log_prob(torch.randn(7, *lead, latent))
    assert posterior.mean.shape == (*lead, latent)
    assert z.shape == (7, *lead, latent)
    assert posterior.rsample(torch.randn(*lead, latent)).shape == (*lead, latent)
    assert log_prob.shape == (7, *lead)


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3, 1e6])
def test_any_encoder_output_gives_finite_terms_and_gradients(name, scale):
    kind = POSTERIORS[name]
    h = (
        scale * torch.randn(6, kind.parameters * 4, generator=torch.Generator().manual_seed(0))
    ).requires_grad_()
    z, log_prob = kind.from_head(h, torch.ones(4)).rsample_and_log_prob(torch.randn(6, 4))
    (gradient,) = torch.autograd.grad(log_prob.sum() + z.sum(), h)
    assert z.isfinite().all()
    assert log_prob.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", DENSITIES)
def test_a_small_head_is_a_leading_slice_of_a_big_one(name):
    """Masked dimensions: z = 0, no density, no gradient."""
    kind = POSTERIORS[name]
    small = torch.randn(5, kind.parameters * 3)
    big = torch.cat([small, 7 * torch.ones(5, kind.parameters * 2)], 1).requires_grad_()
    mask, noise = torch.tensor([1.0, 1, 1, 0, 0]), torch.randn(5, 5)
    padded, own = kind.from_head(big, mask), kind.from_head(small, mask[:3])
    z, log_prob = padded.rsample_and_log_prob(noise)
    own_z, own_log_prob = own.rsample_and_log_prob(noise[:, :3])
    assert torch.equal(z[:, :3], own_z)
    assert (z[:, 3:] == 0).all()
    torch.testing.assert_close(log_prob, own_log_prob)
    (gradient,) = torch.autograd.grad(z.sum() + log_prob.sum(), big)
    assert (gradient[:, kind.parameters * 3 :] == 0).all()


def test_diagonal_gaussian_against_torch_distributions():
    posterior = from_head("gaussian", 6, 5)
    baseline = Independent(Normal(posterior.mean, (0.5 * posterior.log_var).exp()), 1)
    z, log_prob = posterior.rsample_and_log_prob(
        torch.randn(40_000, 6, 5, generator=torch.Generator().manual_seed(1))
    )
    torch.testing.assert_close(log_prob, baseline.log_prob(z), rtol=1e-4, atol=1e-4)
    errors = z.std(0) / math.sqrt(len(z)), log_prob.std(0) / math.sqrt(len(z))
    assert ((z.mean(0) - baseline.mean).abs() < 4.5 * errors[0]).all()
    assert ((-log_prob.mean(0) - baseline.entropy()).abs() < 4.5 * errors[1]).all()


def test_log_variance_is_read_as_it_is_within_its_range_and_limited_outside():
    low, high = LOG_VAR_RANGE
    # (mean, log σ²) of three dimensions.
    head = torch.tensor([[0.5, -3.0, 0.1, 200.0, 0.2, -200.0]])
    posterior = DiagonalGaussian.from_head(head, torch.ones(3))
    assert posterior.mean.tolist() == [pytest.approx([0.5, 0.1, 0.2])]
    assert posterior.log_var.tolist() == [[-3.0, high, low]]


def test_density_at_the_noise_is_exact_where_sigma_is_tiny():
    mean = torch.full((1, 4), 7.0)
    posterior = DiagonalGaussian(mean, torch.full((1, 4), -20.0), torch.ones(4))
    noise = torch.randn(1, 4, generator=torch.Generator().manual_seed(0))
    exact = -0.5 * (noise.double() ** 2 - 20 + math.log(2 * math.pi)).sum(-1)
    torch.testing.assert_close(
        posterior.rsample_and_log_prob(noise)[1].double(), exact, rtol=1e-6, atol=1e-6
    )
