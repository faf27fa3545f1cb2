"""The likelihoods of counts against scipy, torch.distributions, sums and their own draws."""

import math
from dataclasses import replace

import mpmath
import pytest
import torch
from fused import BASE, make_lanes, run, same_bits, source, trial
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from suited_values import COUNTS
from torch import distributions as reference

from vaeexp.data.values import Values
from vaeexp.evaluation.nll import importance_weighted_nll
from vaeexp.models.likelihoods import LIKELIHOODS
from vaeexp.models.likelihoods.counts import NegativeBinomial, Poisson
from vaeexp.models.vae import build_vae
from vaeexp.settings import ModelSettings

SHAPE = (1, 2, 3)
NAMES = ("poisson", "negative_binomial")
MEAN_SUM = 12.0


def head(name, shape=SHAPE, log_r=None, **changes):
    kind = LIKELIHOODS[name].head(
        ModelSettings(likelihood=name, **changes), Values(shape=shape, **COUNTS)
    )
    if log_r is not None and name == "negative_binomial":
        with torch.no_grad():
            kind.log_r.copy_(log_r)
    return kind


def drawn(*lead, seed=0, scale=1.5):
    """Outputs of a decoder, log r and counts."""
    generator = torch.Generator().manual_seed(seed)
    h = scale * torch.randn(*lead, *SHAPE, generator=generator)
    log_r = torch.randn(SHAPE, generator=generator)
    return h, log_r, torch.poisson(h.exp(), generator)


def by_scipy(name, mean, log_r, x):
    mean, x, r = mean.double().numpy(), x.double().numpy(), log_r.double().exp().numpy()
    if name == "poisson":
        values = stats.poisson.logpmf(x, mean)
    else:
        values = stats.nbinom.logpmf(x, r, r / (r + mean))
    return torch.from_numpy(values).sum((-3, -2, -1))


def by_torch(name, log_mean, log_r, x):
    log_mean, log_r = log_mean.double(), log_r.double()
    if name == "poisson":
        made = reference.Poisson(log_mean.exp())
    else:
        made = reference.NegativeBinomial(log_r.exp(), logits=log_mean - log_r)
    return made.log_prob(x.double()).sum((-3, -2, -1))


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(NAMES),
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([0.1, 1.5, 4.0]),
)
def test_masses_are_those_of_scipy_and_torch(name, seed, scale):
    h, log_r, x = drawn(5, seed=seed, scale=scale)
    found = head(name, log_r=log_r)(h).log_prob(x).double()
    # Terms of thousands of nats, in float32.
    torch.testing.assert_close(
        found, by_scipy(name, h.double().exp(), log_r, x), rtol=2e-6, atol=1e-3
    )
    torch.testing.assert_close(found, by_torch(name, h, log_r, x), rtol=2e-6, atol=1e-3)


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 2**31))
def test_a_size_factor_scales_the_mean_by_the_sum_of_the_image(name, seed):
    h, log_r, x = drawn(5, seed=seed)
    made = head(name, log_r=log_r, size_factor=True)(h)
    factors = x.double().sum((1, 2, 3), keepdim=True) / MEAN_SUM
    expected = by_scipy(name, h.double().exp() * factors, log_r, x)
    torch.testing.assert_close(made.log_prob(x).double(), expected, rtol=2e-6, atol=1e-3)
    torch.testing.assert_close(made.mean, h.exp())


@pytest.mark.parametrize("name", NAMES)
def test_size_factors_suit_many_codes_for_each_image(name):
    h, log_r, x = drawn(4, 5)
    kind = head(name, log_r=log_r, size_factor=True)
    x = x[0]
    each = torch.stack([kind(rows).log_prob(x) for rows in h])
    torch.testing.assert_close(kind(h).log_prob(x), each)
    torch.testing.assert_close(torch.func.vmap(lambda h: kind(h).log_prob(x))(h), each)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_of_zeros_is_certain_given_its_sum(name):
    kind, h = head(name, size_factor=True), torch.randn(2, *SHAPE, requires_grad=True)
    log_prob = kind(h).log_prob(torch.zeros(2, *SHAPE))
    torch.testing.assert_close(log_prob, torch.zeros(2))
    assert torch.autograd.grad(log_prob.sum(), h)[0].isfinite().all()


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(NAMES),
    output=st.floats(-8, 4),
    log_r=st.floats(-2, 14),
)
def test_masses_sum_to_one_with_the_right_moments(name, output, log_r):
    kind = head(name, (1, 1, 1), torch.full((1, 1, 1), log_r)).double().requires_grad_(False)
    h = torch.full((1, 1, 1), output, dtype=torch.float64)
    x = torch.arange(60_000, dtype=torch.float64)
    masses = kind(h).log_prob(x.view(-1, 1, 1, 1)).exp()
    mean = math.exp(output)
    variance = mean + (mean**2 / math.exp(log_r) if name == "negative_binomial" else 0)
    assert masses.sum().item() == pytest.approx(1, abs=1e-6)
    assert (masses * x).sum().item() == pytest.approx(mean, rel=1e-5)
    assert kind(h).mean.item() == pytest.approx(mean, rel=1e-6)
    found = (masses * (x - mean).square()).sum().item()
    assert found == pytest.approx(variance, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("output", "log_r"), [(-2.0, -1.0), (1.0, 0.5), (4.0, 2.0), (9.0, 12.0)])
def test_moments_of_draws(name, output, log_r):
    many = 100_000
    kind = head(name, (1, 1, 1), torch.full((1, 1, 1), log_r)).requires_grad_(False)
    x = kind(torch.full((many, 1, 1, 1), output)).sample(torch.Generator().manual_seed(0)).double()
    assert ((x >= 0) & (x == x.round())).all()
    mean = math.exp(output)
    variance = mean + (mean**2 / math.exp(log_r) if name == "negative_binomial" else 0)
    assert x.mean().item() == pytest.approx(mean, abs=5 * math.sqrt(variance / many))
    squares = (x - mean).square()
    error = squares.std().item() / math.sqrt(many)
    assert squares.mean().item() == pytest.approx(variance, abs=6 * error)


@pytest.mark.parametrize("log_r", [-15.0, -7.0, -0.7, 2.07, 2.08, 5.0, 9.0, 15.0])
@pytest.mark.parametrize("output", [-14.0, -2.0, 1.0, 7.0, 11.0])
def test_the_negative_binomial_is_exact_in_float32(output, log_r):
    """Against 40 digits, with r from 3e-7 to 3e6, on both sides of Stirling's series."""
    x = torch.tensor([0.0, 1.0, 2.0, 10.0, 1000.0, 100_000.0])
    log_rs = torch.full((1, 1, 1), log_r)
    made = NegativeBinomial(torch.full((6, 1, 1, 1), output), None, log_rs)
    with mpmath.workdps(40):
        r, mean = mpmath.exp(log_rs.item()), mpmath.exp(output)
        exact = [
            mpmath.loggamma(k + r)
            - mpmath.loggamma(r)
            - mpmath.loggamma(k + 1)
            + r * mpmath.log(r / (r + mean))
            + k * mpmath.log(mean / (r + mean))
            for k in map(int, x)
        ]
    expected = torch.tensor([float(value) for value in exact], dtype=torch.float64)
    error = (made.log_prob(x.view(-1, 1, 1, 1)).double() - expected).abs()
    # The rounding of the outputs themselves: log μ and log r in float32.
    slope = (x.double() - math.exp(output)).abs() * (abs(output) + abs(log_r) + 1)
    assert (error / (5e-7 * (slope + expected.abs()) + 5e-6)).max() < 1


@pytest.mark.parametrize("mean", [0.3, 5.0, 400.0])
def test_a_large_r_is_a_poisson_distribution(mean):
    x = torch.arange(20.0).view(-1, 1, 1, 1) * mean / 8
    h = torch.full((20, 1, 1, 1), math.log(mean))
    narrow = NegativeBinomial(h, None, torch.full((1, 1, 1), 50.0)).log_prob(x.round())
    torch.testing.assert_close(narrow, Poisson(h, None).log_prob(x.round()), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("size_factor", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name, size_factor):
    kind = head(name, size_factor=size_factor).double()
    h, log_r, x = (t.double() for t in drawn(3))
    log_r = 3 * log_r + 2  # on both sides of Stirling's series
    learned = {"log_r": log_r.requires_grad_()} if name == "negative_binomial" else {}

    def density(h, *tensors):
        given = dict(zip(learned, tensors, strict=True))
        return torch.func.functional_call(kind, given, (h,)).log_prob(x)

    assert torch.autograd.gradcheck(density, (h.requires_grad_(), *learned.values()))


def test_the_dispersion_of_each_sub_pixel_is_found():
    """By maximum likelihood of draws of known r."""
    generator = torch.Generator().manual_seed(0)
    log_r = torch.tensor([-0.5, 0.5, 1.5]).view(1, 1, 3)
    h = torch.full((20_000, 1, 1, 3), 2.0)
    x = NegativeBinomial(h, None, log_r).sample(generator)
    kind = head("negative_binomial", (1, 1, 3))
    optimizer = torch.optim.Adam(kind.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        (-kind(h).log_prob(x).mean()).backward()
        optimizer.step()
    torch.testing.assert_close(kind.log_r.detach(), log_r, rtol=0, atol=0.05)


@pytest.mark.parametrize("output", [-1e4, -80.0, 80.0, 1e4])
@pytest.mark.parametrize("name", NAMES)
def test_extreme_outputs_and_counts_stay_finite(name, output):
    for log_r in (-1e4, 0.0, 1e4):
        kind = head(name, (1, 1, 2), torch.full((1, 1, 2), log_r))
        h = torch.full((4, 1, 1, 2), output, requires_grad=True)
        x = torch.tensor([[0.0, 1.0], [0.0, 0.0], [1e6, 3.0], [65_535.0, 0.0]]).view(4, 1, 1, 2)
        log_prob = kind(h).log_prob(x)
        gradients = torch.autograd.grad(log_prob.sum(), [h, *kind.parameters()])
        assert all(tensor.isfinite().all() for tensor in (log_prob, *gradients))
        assert kind(h).sample(torch.Generator().manual_seed(0)).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_the_encoder_sees_the_logarithm_of_counts(name):
    settings_ = ModelSettings(hidden=(5,), latent_size=2, likelihood=name, prior="vampprior")
    vae = build_vae(settings_, Values(shape=SHAPE, **COUNTS), 0)
    x = torch.tensor([0.0, 1.0, 10.0, 1e3, 1e5, 1e6]).view(1, *SHAPE)
    posterior = vae.encode(x)
    mean, _ = vae.encoder.inner(x.log1p()).unflatten(-1, (-1, 2)).unbind(-1)
    assert torch.equal(posterior.mean, mean)
    assert vae(x).rate.isfinite().all(), "and so are the pseudo-counts of a VampPrior"


@pytest.mark.parametrize("name", NAMES)
def test_importance_samples_tighten_the_bound_with_size_factors(name):
    settings_ = ModelSettings(hidden=(5,), latent_size=2, likelihood=name, size_factor=True)
    vae = build_vae(settings_, Values(shape=SHAPE, **COUNTS), 0).eval()
    _, _, x = drawn(20)
    bounds = importance_weighted_nll(vae, x, importance_samples=50, seed=0).mean(1)
    assert bounds[-1] < bounds[0]


@pytest.mark.parametrize("size_factor", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_reconstruction_has_the_row_sum_of_its_image(name, size_factor):
    settings_ = ModelSettings(hidden=(5,), latent_size=2, likelihood=name, size_factor=size_factor)
    vae = build_vae(settings_, Values(shape=SHAPE, **COUNTS), 0).eval()
    _, _, x = drawn(20)
    means = vae.decode(vae.encode(x).mean).mean
    factors = x.sum((1, 2, 3), keepdim=True) / MEAN_SUM if size_factor else 1.0
    torch.testing.assert_close(vae.reconstruct(x), (means * factors).detach())


def counts_source():
    data = source("none")
    return replace(data, values=Values(shape=data.values.shape, **COUNTS))


@pytest.mark.parametrize("size_factor", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_fused_lanes_equal_lanes_alone(tmp_path, name, size_factor):
    base = BASE.with_params({"likelihood": name, "size_factor": size_factor, "epochs": 2})
    data, me = counts_source(), trial(0, prior="vampprior")
    other = trial(1, latent_size=3, prior="vampprior", learning_rate=1e-2)
    alone = run(*make_lanes(tmp_path, base=base, data=data), [me], 2)[0]
    plain = run(*make_lanes(tmp_path, kind="sequential", base=base, data=data), [me], 2)[0]
    lanes, artifacts = make_lanes(tmp_path, base=base, data=data)
    together = run(lanes, artifacts, [other, me], 2)
    assert together[0][0] == alone[0] == pytest.approx(plain[0], rel=1e-4)
    assert same_bits(together[0][1], alone[1])


def test_a_size_factor_is_named_where_figures_are_compared():
    row = LIKELIHOODS["poisson"]
    assert row.describe("poisson", ModelSettings(), ()) == "poisson"
    with_factor = ModelSettings(size_factor=True)
    assert row.describe("poisson", with_factor, ()) == "poisson, given the sum of each image"
