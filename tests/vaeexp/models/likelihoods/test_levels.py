"""Discretised logistics of 256, 4,096 and 65,536 levels: masses, means, draws and float32."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vaeexp.data.values import Values
from vaeexp.evaluation.nll import bits_per_dimension
from vaeexp.models.likelihoods import LIKELIHOODS
from vaeexp.models.likelihoods.distributions import DiscretisedLogisticMixture
from vaeexp.settings import ModelSettings

COUNTS_OF_LEVELS = (16, 256, 1000, 4096, 65_536)
NAMES = ("discretised_logistic", "discretised_logistic_mixture")
every_count = pytest.mark.parametrize("count", COUNTS_OF_LEVELS)


def head(name, count, **changes):
    options = ModelSettings(likelihood=name, **changes)
    return LIKELIHOODS[name].head(options, Values(shape=(1, 1, 1), levels=count))


def all_levels(count, dtype=torch.float32):
    return (torch.arange(count, dtype=dtype) / (count - 1)).view(-1, 1, 1, 1)


def outputs(name, count, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(1, head(name, count).outputs, 1, 1, generator=generator)


@settings(deadline=None, max_examples=60)
@example(name="discretised_logistic_mixture", count=4096, seed=496, scale=30)
@example(name="discretised_logistic", count=65_536, seed=109, scale=30)  # s is 1,100
@given(
    name=st.sampled_from(NAMES),
    count=st.sampled_from(COUNTS_OF_LEVELS),
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([0.1, 1, 5, 30]),
)
def test_masses_sum_to_one_and_float32_is_exact(name, count, seed, scale):
    likelihood = head(name, count)(outputs(name, count, seed, scale))
    # Of the parameters as float32 has them: a mean of 0.8 is rounded by a thousandth of the least s
    # at 4,096 levels.
    names = ("log_weights", "means", "log_scales")
    parameters = (getattr(likelihood, name).double() for name in names)
    exact = DiscretisedLogisticMixture(*parameters, count).log_prob(
        all_levels(count, torch.float64)
    )
    assert exact.exp().sum().item() == pytest.approx(1, abs=1e-6)
    found = likelihood.log_prob(all_levels(count)).double()
    # At 1,000 levels products are rounded, and the least s is an eighth of a bin.
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=2e-3 if count == 1000 else 5e-4)
    mean = (exact.exp() * all_levels(count, torch.float64).flatten()).sum()
    rounding = 0 if count <= 256 else 0.5 / (count - 1)
    assert likelihood.mean.item() == pytest.approx(mean.item(), abs=rounding + 2e-5)


@settings(deadline=None, max_examples=60)
@given(
    count=st.sampled_from(COUNTS_OF_LEVELS),
    mean=st.floats(-1.2, 1.2),
    above=st.floats(0, 20),
    seed=st.integers(0, 2**31),
)
def test_masses_are_differences_of_the_distribution_function(count, mean, above, seed):
    """In float64, where the difference is good enough."""
    log_scale = min(7.0, -7 - math.log((max(count, 256) - 1) / 255) + above)
    h = torch.tensor([mean, log_scale], dtype=torch.float64).view(1, 2, 1, 1)
    levels = torch.randint(0, count, (50,), generator=torch.Generator().manual_seed(seed)).double()
    near = (((mean + 1) / 2 * (count - 1)) + torch.arange(-3, 4)).round().clamp(0, count - 1)
    levels = torch.cat([levels, near.double()])
    edges = (2 * levels - torch.tensor([[1.0], [-1.0]]).double()) / (count - 1) - 1
    below, above = ((edges - mean) / math.exp(log_scale)).sigmoid()
    below, above = below.where(levels > 0, 0.0), above.where(levels < count - 1, 1.0)
    x = (levels / (count - 1)).view(-1, 1, 1, 1)
    masses = head("discretised_logistic", count).double()(h).log_prob(x).exp()
    torch.testing.assert_close(masses, above - below, rtol=1e-4, atol=1e-10)


@every_count
def test_the_least_scale_is_the_same_part_of_a_bin(count):
    narrow = DiscretisedLogisticMixture.single(torch.full((1, 2, 1, 1), -50.0), count)
    expected = math.exp(-7) * 255 / (max(count, 256) - 1)
    assert narrow.log_scales.exp().item() == pytest.approx(expected, rel=1e-6)
    wide = DiscretisedLogisticMixture.single(torch.full((1, 2, 1, 1), 50.0), count)
    assert wide.log_scales.item() == 7


@pytest.mark.parametrize("count", [4096, 65_536])
@pytest.mark.parametrize("log_scale", [-20.0, -8.0, -4.0, 0.0, 4.0, 7.0])
@pytest.mark.parametrize("mean", [-1e4, -3.0, -1.0, -0.4, 0.0, 0.999, 1.5, 1e4])
def test_the_closed_form_of_the_mean_is_that_of_the_clipped_logistic(count, mean, log_scale):
    """Against −1 + s (softplus((μ + 1)/s) − softplus((μ − 1)/s)) and the exact sum, in float64."""
    h = torch.tensor([mean, log_scale], dtype=torch.float64).view(1, 2, 1, 1)
    likelihood = head("discretised_logistic", count)(h)
    scale = likelihood.log_scales.exp().squeeze()
    ends = torch.tensor([mean + 1, mean - 1], dtype=torch.float64) / scale
    high, low = torch.nn.functional.softplus(ends, threshold=60)
    clipped = (scale * (high - low) - 1).item()
    assert likelihood.mean.item() == pytest.approx((clipped + 1) / 2, abs=1e-9)
    x = all_levels(count, torch.float64)
    exact = (likelihood.log_prob(x).exp() * x.flatten()).sum().item()
    assert likelihood.mean.item() == pytest.approx(exact, abs=0.5 / (count - 1))
    in_float32 = head("discretised_logistic", count)(h.float()).mean.item()
    assert in_float32 == pytest.approx(likelihood.mean.item(), abs=1e-4)


@every_count
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_and_those_of_float64(name, count):
    h = outputs(name, count, 1, 3.0).expand(200, -1, 1, 1)
    x = torch.randint(0, count, (200, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    gradients = []
    for dtype in (torch.float32, torch.float64):
        leaf = h.to(dtype).clone().requires_grad_()
        log_prob = head(name, count)(leaf).log_prob(x.to(dtype) / (count - 1))
        gradients += torch.autograd.grad(log_prob.sum(), leaf)
    assert gradients[0].isfinite().all()
    size = gradients[1].abs().max().item()
    torch.testing.assert_close(gradients[0].double(), gradients[1], rtol=2e-3, atol=1e-5 * size)


@every_count
def test_draws_are_levels_around_the_mean(count):
    many = 20_000
    h = torch.tensor([0.3, -2.0]).view(1, 2, 1, 1).expand(many, -1, 1, 1)
    likelihood = head("discretised_logistic", count)(h)
    x = likelihood.sample(torch.Generator().manual_seed(0))
    levels = x.double() * (count - 1)
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=count * 1e-7)
    error = x.std().item() / math.sqrt(many)
    assert x.mean().item() == pytest.approx(likelihood.mean[0].item(), abs=5 * error)


@every_count
def test_levels_that_are_all_equally_likely_take_the_logarithm_of_their_number(count):
    nats = math.log(count) * 24
    assert bits_per_dimension(nats, 24) == pytest.approx(math.log2(count))
    wide = head("discretised_logistic", count)(torch.tensor([0.0, -0.5]).view(1, 2, 1, 1))
    nats = -wide.log_prob(torch.full((1, 1, 1, 1), 0.5)).item()
    # The same density on [0, 1] in finer bins.
    density = 1 / (4 * math.exp(-0.5)) * 2
    assert nats == pytest.approx(math.log((count - 1) / density), abs=0.02)
