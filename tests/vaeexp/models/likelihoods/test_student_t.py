"""The Student-t likelihood against scipy, torch.distributions, quadrature and its own draws."""

import math

import mpmath
import numpy as np
import pytest
import torch
from fused import BASE, make_lanes, run, same_bits, source, trial
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from suited_values import REAL
from torch import distributions as reference

from vaeexp.data.values import Values
from vaeexp.models.likelihoods import LIKELIHOODS, StudentT
from vaeexp.settings import ModelSettings

SHAPE = (2, 3, 4)


def head(shape=SHAPE, **changes):
    return LIKELIHOODS["student_t"].head(
        ModelSettings(likelihood="student_t", **changes), Values(shape=shape, **REAL)
    )


@settings(deadline=None, max_examples=80)
@given(
    degrees=st.floats(1.01, 200),
    sigma=st.floats(0.003, 50),
    seed=st.integers(0, 2**31),
    reach=st.sampled_from([0.1, 1.0, 30.0, 1e4]),
)
def test_densities_are_those_of_scipy_and_torch(degrees, sigma, seed, reach):
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(5, *SHAPE, generator=generator).double()
    x = h + reach * torch.randn(5, *SHAPE, generator=generator).double()
    kind = head(sigma=sigma, degrees=degrees)
    used = kind.sigma.detach().double(), kind.degrees.double()
    found = kind(h.float()).log_prob(x.float()).detach().double()
    expected = reference.StudentT(used[1], h, used[0]).log_prob(x).sum((1, 2, 3))
    by_scipy = stats.t.logpdf(x.numpy(), used[1].item(), h.numpy(), used[0].item()).sum((1, 2, 3))
    # The difference x − h is rounded in float32.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-2 / sigma * 1e-3 + 1e-4)
    assert expected.numpy() == pytest.approx(by_scipy, rel=1e-9)


@pytest.mark.parametrize("degrees", [1.5, 4.0, 1000.0, 1_000_000.0])
def test_the_constant_is_exact(degrees):
    with mpmath.workdps(40):
        v = mpmath.mpf(degrees)
        exact = (
            mpmath.loggamma((v + 1) / 2) - mpmath.loggamma(v / 2) - mpmath.log(v * mpmath.pi) / 2
        )
    assert StudentT.log_constant(degrees) == pytest.approx(float(exact), abs=1e-8)


@pytest.mark.parametrize("degrees", [1.2, 4.0, 30.0])
@pytest.mark.parametrize("location", [-300.0, 0.0, 7.0])
def test_the_density_integrates_to_one(degrees, location):
    """Over a grid that widens with the distance from the location, up to 1e12 scales."""
    steps = torch.linspace(-31, 31, 200_001, dtype=torch.float64)
    distances, widths = steps.sinh(), steps.cosh()
    kind = head((1, 1, 1), degrees=degrees, sigma=0.5).double().requires_grad_(False)
    # Around a location of 0, because the grid is finer than float64 numbers around 300.
    likelihood = kind(torch.full((1, 1, 1), location).double())
    near = StudentT(likelihood.mean - location, *(likelihood.sigma, kind.degrees, kind.constant))
    densities = near.log_prob(distances.view(-1, 1, 1, 1)).exp() * widths
    assert torch.trapezoid(densities, steps).item() == pytest.approx(1, abs=1e-6)
    assert likelihood.mean.item() == location


@pytest.mark.parametrize("degrees", [1.1, 2.5, 5.0, 80.0])
def test_draws_follow_the_distribution(degrees):
    h = torch.full((20_000, 1, 1, 1), 3.0)
    kind = head((1, 1, 1), degrees=degrees, sigma=0.7)
    drawn = kind(h).sample(torch.Generator().manual_seed(1)).detach().flatten().numpy()
    assert np.isfinite(drawn).all()
    assert stats.kstest(drawn, stats.t(degrees, 3.0, 0.7).cdf).pvalue > 1e-3


def test_moments_of_draws():
    """Of 12 degrees of freedom, whose fourth moment is finite."""
    many, degrees = 200_000, 12.0
    kind = head((1, 1, 1), degrees=degrees, sigma=0.5)
    drawn = kind(torch.full((many, 1, 1, 1), -2.0)).sample(torch.Generator().manual_seed(3))
    drawn = drawn.detach().double()
    variance = 0.25 * degrees / (degrees - 2)
    assert drawn.mean().item() == pytest.approx(-2, abs=5 * math.sqrt(variance / many))
    kurtosis = 3 + 6 / (degrees - 4)
    error = variance * math.sqrt((kurtosis - 1) / many)
    assert drawn.var().item() == pytest.approx(variance, abs=5 * error)


def test_many_degrees_of_freedom_are_a_gaussian():
    h, x = torch.randn(4, *SHAPE), torch.randn(4, *SHAPE)
    expected = reference.Normal(h, 0.4).log_prob(x).sum((1, 2, 3))
    found = head(degrees=1e6, sigma=0.4)(h).log_prob(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_an_outlier_pulls_a_gaussian_and_not_student_t():
    x = torch.zeros(1, 1, 1, 101)
    x[..., -1] = 1000
    means = {}
    for name in ("gaussian_learned", "student_t"):
        options = ModelSettings(likelihood=name, sigma=30.0)
        kind = LIKELIHOODS[name].head(options, Values(shape=(1, 1, 101), **REAL))
        mean = torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.Adam([mean, *kind.parameters()], lr=0.1)
        for _ in range(1500):
            optimizer.zero_grad()
            (-kind(mean.expand(1, 1, 1, 101)).log_prob(x).mean()).backward()
            optimizer.step()
        means[name] = mean.item()
    assert means["gaussian_learned"] == pytest.approx(1000 / 101, rel=0.05)
    assert abs(means["student_t"]) < 0.05


@settings(deadline=None, max_examples=40)
@given(degrees=st.floats(1.1, 50), per=st.sampled_from(["global", "channel", "feature"]))
def test_gradients_are_those_of_finite_differences(degrees, per):
    kind = head(degrees=degrees, sigma_per=per, sigma=0.3).double()
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(2, *SHAPE, generator=generator, dtype=torch.float64, requires_grad=True)
    x = 3 * torch.randn(2, *SHAPE, generator=generator, dtype=torch.float64)
    raw = kind.raw_log_sigma.detach().clone().requires_grad_()

    def density(h, raw):
        return torch.func.functional_call(kind, {"raw_log_sigma": raw}, (h,)).log_prob(x)

    assert torch.autograd.gradcheck(density, (h, raw))


@pytest.mark.parametrize("unit", [True, False])
def test_fused_lanes_equal_lanes_alone(tmp_path, unit):
    base = BASE.with_params({"likelihood": "student_t", "sigma_per": "feature", "epochs": 2})
    data = source("none")
    data = data if unit else linear(data)
    me, other = trial(0, degrees=3.0), trial(1, degrees=20.0, latent_size=3, sigma=0.1)
    alone = run(*make_lanes(tmp_path, base=base, data=data), [me], 2)[0]
    plain = run(*make_lanes(tmp_path, kind="sequential", base=base, data=data), [me], 2)[0]
    together = run(*make_lanes(tmp_path, base=base, data=data), [other, me], 2)
    assert together[0][0] == alone[0] == pytest.approx(plain[0], rel=1e-4)
    assert same_bits(together[0][1], alone[1])


def linear(data):
    from dataclasses import replace

    return replace(data, values=Values(shape=data.values.shape, **REAL))
