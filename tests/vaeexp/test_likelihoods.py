"""Every likelihood is a normalised density over images, in nats per image."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli as Reference
from torch.distributions import Independent

from vaeexp.likelihoods import LIKELIHOODS, Bernoulli


def build(name, *lead, shape=(2, 3, 4), scale=2.0, seed=0):
    kind, (channels, height, width) = LIKELIHOODS[name], shape
    generator = torch.Generator().manual_seed(seed)
    return kind, scale * torch.randn(*lead, kind.parameters * channels, height, width, generator=generator)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_score_averages_to_zero_over_draws(name):
    """E[∇ log p(x)] = 0 over x from p: the density's normaliser does not depend on the decoder's output."""
    kind, h = build(name, 1)
    many = h.expand(20_000, *h.shape[1:]).clone().requires_grad_()
    likelihood = kind(many)
    x = likelihood.sample(torch.Generator().manual_seed(1)).detach()
    (scores,) = torch.autograd.grad(likelihood.log_prob(x).sum(), many)
    error = scores.std(0) / math.sqrt(len(scores))
    assert (scores.mean(0).abs() < 5 * error).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_draws_average_to_the_mean(name):
    kind, h = build(name, 1)
    likelihood = kind(h.expand(20_000, *h.shape[1:]))
    x = likelihood.sample(torch.Generator().manual_seed(1))
    assert ((x.mean(0) - likelihood.mean[0]).abs() < 5 * x.std(0) / math.sqrt(len(x)) + 1e-6).all()


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(sorted(LIKELIHOODS)),
    lead=st.lists(st.integers(1, 3), max_size=3),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
)
def test_shapes_ranges_and_gradients(name, lead, shape):
    kind, h = build(name, *lead, shape=shape)
    likelihood = kind(h.requires_grad_())
    x = likelihood.sample(torch.Generator().manual_seed(0))
    assert x.shape == likelihood.mean.shape == (*lead, *shape)
    assert ((likelihood.mean >= 0) & (likelihood.mean <= 1)).all()
    log_prob = likelihood.log_prob(x)
    assert log_prob.shape == tuple(lead)
    (gradient,) = torch.autograd.grad(log_prob.sum(), h)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_one_image_serves_many_samples_of_z(name):
    kind, h = build(name, 5, 2)
    x = kind(h[0]).sample(torch.Generator().manual_seed(0))  # [2, C, H, W]
    each = torch.stack([kind(rows).log_prob(x) for rows in h])
    torch.testing.assert_close(kind(h).log_prob(x), each)


def test_bernoulli_sums_to_one_over_all_images():
    _, logits = build("bernoulli", shape=(1, 2, 5))
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=10))).view(-1, 1, 2, 5)
    total = Bernoulli(logits.double()).log_prob(images.double()).exp().sum()
    assert total == pytest.approx(1, abs=1e-12)


def test_bernoulli_against_torch_distributions():
    _, logits = build("bernoulli", 6)
    x = (torch.rand(6, 2, 3, 4) < 0.5).float()
    reference = Independent(Reference(logits=logits), 3)
    torch.testing.assert_close(Bernoulli(logits).log_prob(x), reference.log_prob(x))
    torch.testing.assert_close(Bernoulli(logits).mean, reference.mean)


def test_bernoulli_on_grey_levels_is_binary_cross_entropy():
    _, logits = build("bernoulli", 6)
    x = torch.rand(6, 2, 3, 4)
    expected = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum((1, 2, 3))
    torch.testing.assert_close(Bernoulli(logits).log_prob(x), expected)


@pytest.mark.parametrize("logit", [-1e4, -100.0, -80.0, -20.0, -1e-3, 0.0, 1e-3, 20.0, 80.0, 100.0, 1e4])
@pytest.mark.parametrize("x", [0.0, 1.0])
def test_bernoulli_is_exact_at_extreme_logits(logit, x):
    logits = torch.full((1, 1, 1), logit, requires_grad=True)
    log_prob = Bernoulli(logits).log_prob(torch.full((1, 1, 1), x))
    (gradient,) = torch.autograd.grad(log_prob, logits)
    exact = torch.full((1, 1, 1), logit, dtype=torch.float64, requires_grad=True)
    reference = -F.binary_cross_entropy_with_logits(exact, torch.full_like(exact, x), reduction="sum")
    (reference_gradient,) = torch.autograd.grad(reference, exact)
    torch.testing.assert_close(log_prob.double(), reference, rtol=1e-6, atol=1.2e-7)
    torch.testing.assert_close(gradient.double(), reference_gradient, rtol=1e-6, atol=1.2e-7)
