"""Every likelihood is normalised over its own targets, in nats per image, and agrees with its
draws.
"""

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fused import BASE, make_lanes, run, same_bits, source, trial
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from suited_values import suited
from torch import distributions as reference
from torch.distributions import Independent

from vaeexp.data.values import as_values
from vaeexp.evaluation.nll import bits_per_dimension, evaluate_test
from vaeexp.models.likelihoods import LIKELIHOODS, Bernoulli, ContinuousBernoulli
from vaeexp.models.parts import SUPPORTS, check_targets
from vaeexp.models.vae import build_vae
from vaeexp.settings import ModelSettings

VALUES = as_values((3, 2, 4))
LEVELS = [name for name, row in LIKELIHOODS.items() if row.distribution.support == "levels"]
DENSITIES = [
    name
    for name, row in LIKELIHOODS.items()
    if row.distribution.support in ("unit_interval", "real") and suited(name, (1, 1, 1)).unit
]
"""Those with means in [0, 1]."""
SHADES = torch.arange(256) / 255
# Unlike the defaults, so that an option that is not passed on is noticed.
OPTIONS = ModelSettings(sigma=0.3, laplace_scale=0.2, likelihood_components=3, degrees=5.0)


def head(name, shape=(1, 1, 1), **changes):
    return LIKELIHOODS[name].head(OPTIONS.model_copy(update=changes), suited(name, shape))


def build(name, *lead, shape=(2, 3, 4), scale=2.0, seed=0):
    """The likelihood's head, and a random output of a decoder [*lead, outputs·C, H, W]."""
    kind, (channels, height, width) = head(name, shape), shape
    generator = torch.Generator().manual_seed(seed)
    return kind, scale * torch.randn(
        *lead, kind.outputs * channels, height, width, generator=generator
    )


def draws(name, many):
    """A likelihood of one image, repeated, and a draw from each; `h` is a leaf."""
    # At a greater scale some of 256 levels would hardly ever be drawn, and means of draws would not
    # be near normal.
    kind, h = build(name, 1, shape=(1, 1, 2), scale=0.3 if name == "categorical_256" else 2.0)
    h = h.expand(many, *h.shape[1:]).clone().requires_grad_()
    likelihood = kind(h)
    return h, likelihood, likelihood.sample(torch.Generator().manual_seed(1)).detach()


def targets(support, shape, seed=0):
    """Images that the likelihood is made for."""
    generator = torch.Generator().manual_seed(seed)
    if support == "binary":
        return (torch.rand(shape, generator=generator) < 0.5).float()
    if support == "counts":
        return torch.randint(0, 12, shape, generator=generator).float()
    levels = torch.randint(0, 256, shape, generator=generator)
    levels[..., 0], levels[..., -1] = 0, 255
    return levels / 255


def of(name, h):
    """A likelihood of single sub-pixels in float64, from outputs h [N, outputs]."""
    return head(name).double().requires_grad_(False)(h.double().view(len(h), -1, 1, 1))


def test_the_table_says_what_each_is_a_distribution_over():
    supports = {name: row.distribution.support for name, row in LIKELIHOODS.items()}
    assert set(supports.values()) == {*SUPPORTS}
    assert len(LEVELS) == 3
    for name, row in LIKELIHOODS.items():
        assert type(build(name)[0](build(name)[1])) is row.distribution


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_score_averages_to_zero_over_draws(name):
    """E[∇ log p(x)] = 0 over x from p: the density's normaliser does not depend on the decoder's
    output.
    """
    h, likelihood, x = draws(name, 20_000)
    (scores,) = torch.autograd.grad(likelihood.log_prob(x).sum(), h)
    error = scores.std(0) / math.sqrt(len(scores))
    assert (scores.mean(0).abs() < 5 * error + 1e-6).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_draws_average_to_the_mean(name):
    _, likelihood, x = draws(name, 20_000)
    assert ((x.mean(0) - likelihood.mean[0]).abs() < 5 * x.std(0) / math.sqrt(len(x)) + 1e-6).all()


@settings(deadline=None, max_examples=60)
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
    assert x.dtype == likelihood.mean.dtype == torch.float32
    if suited(name, shape).unit:
        assert ((likelihood.mean >= 0) & (likelihood.mean <= 1)).all()
    log_prob = likelihood.log_prob(x)
    assert log_prob.shape == tuple(lead)
    (gradient,) = torch.autograd.grad(log_prob.sum(), h)
    assert gradient.isfinite().all()
    if name in LEVELS or suited(name, shape).counts:
        assert (log_prob <= 1e-5).all(), "a probability"


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_draws_lie_in_the_support_and_depend_on_the_generator_alone(name):
    kind, h = build(name, 30)
    x, again, other = (kind(h).sample(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(x, again)
    assert not torch.equal(x, other)
    allowed = {"binary": torch.tensor([0.0, 1.0]), "levels": SHADES}.get(kind(h).support)
    if allowed is not None:
        assert torch.isin(x, allowed).all()
    elif kind(h).support == "unit_interval":
        assert ((x >= 0) & (x <= 1)).all()
    elif kind(h).support == "counts":
        assert ((x >= 0) & (x == x.round())).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_one_image_serves_many_samples_of_z(name):
    kind, h = build(name, 5, 2)
    x = kind(h[0]).sample(torch.Generator().manual_seed(0))  # [2, C, H, W]
    each = torch.stack([kind(rows).log_prob(x) for rows in h])
    torch.testing.assert_close(kind(h).log_prob(x), each)
    torch.testing.assert_close(
        kind(h[:, :1]).log_prob(x), torch.stack([kind(row[:1]).log_prob(x) for row in h])
    )


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_an_image_is_the_sum_of_its_sub_pixels(name):
    """Colours and numbers are not mixed up: each sub-pixel alone, with its own outputs, adds up to
    the image.
    """
    kind, h = build(name, shape=(3, 2, 2))
    x = targets(kind(h).support, (3, 2, 2))
    blocks = h.view(kind.outputs, 3, 2, 2)
    places = itertools.product(range(3), range(2), range(2))
    single = head(name)
    parts = [
        single(blocks[:, c, i, j].view(-1, 1, 1)).log_prob(x[c, i, j].view(1, 1, 1))
        for c, i, j in places
    ]
    torch.testing.assert_close(kind(h).log_prob(x), torch.stack(parts).sum())


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_lanes_under_vmap_and_low_precision_equal_plain_ones(name):
    kind, h = build(name, 3, 4)
    x = targets(kind(h[0]).support, (3, 4, 2, 3, 4))

    def loss(h, x):
        return kind(h).log_prob(x).sum()

    fused = torch.func.vmap(torch.func.grad(loss))(h, x)
    for lane in range(3):
        torch.testing.assert_close(
            fused[lane], torch.func.grad(loss)(h[lane], x[lane]), rtol=1e-5, atol=1e-5
        )
    with torch.autocast("cpu", torch.bfloat16):
        low = kind(h).log_prob(x)
    assert torch.equal(low, kind(h).log_prob(x)), "autocast leaves densities alone"


@settings(deadline=None, max_examples=100)
@given(
    name=st.sampled_from(sorted(LIKELIHOODS)),
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([0.01, 1, 5, 30]),
)
def test_gradients_by_finite_differences(name, seed, scale):
    kind, h = build(name, shape=(1, 2, 2), scale=scale, seed=seed)
    kind, h = kind.double(), h.double().requires_grad_()
    x = targets(kind(h).support, (1, 2, 2), seed).double()
    (gradient,) = torch.autograd.grad(kind(h).log_prob(x), h)
    direction = torch.randn(h.shape, generator=torch.Generator().manual_seed(seed)).double()
    step = 1e-6
    with torch.no_grad():
        ends = [kind(h + sign * step * direction).log_prob(x) for sign in (1, -1)]
    slope, size = (gradient * direction).sum().item(), gradient.abs().max().item()
    rounding = 1e-15 * ends[0].abs().item() / step
    assert ((ends[0] - ends[1]) / (2 * step)).item() == pytest.approx(
        slope, rel=1e-4, abs=1e-4 * max(1, size) + rounding
    )


@pytest.mark.parametrize("output", [-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_values_and_gradients_stay_finite_at_extreme_outputs(name, output):
    kind = head(name)
    for which in range(min(kind.outputs, 9)):
        h = torch.zeros(256, kind.outputs, 1, 1)
        h[:, which] = output
        h.requires_grad_()
        log_prob = kind(h).log_prob(SHADES.view(-1, 1, 1, 1))
        assert log_prob.isfinite().all()
        assert torch.autograd.grad(log_prob.sum(), h)[0].isfinite().all()
        assert kind(h).mean.isfinite().all()
        assert kind(h).sample(torch.Generator().manual_seed(0)).isfinite().all()


# Normalisation


def test_bernoulli_sums_to_one_over_all_images():
    _, logits = build("bernoulli", shape=(1, 2, 5))
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=10))).view(-1, 1, 2, 5)
    total = Bernoulli(logits.double()).log_prob(images.double()).exp().sum()
    assert total == pytest.approx(1, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(LEVELS),
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([0, 0.1, 1, 5, 20, 1000]),
)
def test_masses_sum_to_one_over_the_levels(name, seed, scale):
    h = scale * torch.randn(1, head(name).outputs, generator=torch.Generator().manual_seed(seed))
    masses = of(name, h).log_prob(SHADES.view(-1, 1, 1, 1)).exp()
    assert masses.sum() == pytest.approx(1, abs=1e-10)
    mean = (masses * SHADES.double()).sum()
    assert of(name, h).mean.item() == pytest.approx(mean.item(), abs=1e-7)


@pytest.mark.parametrize(
    "output", [-300.0, -30.0, -3.0, -0.3, -0.2, -1e-5, 0.0, 1e-3, 0.25, 1.0, 10.0, 300.0]
)
@pytest.mark.parametrize("name", DENSITIES)
def test_densities_integrate_to_one_with_the_right_mean(name, output):
    likelihood = of(name, torch.full((1, 1), output))
    low, high = (0, 1) if likelihood.support == "unit_interval" else (-8, 9)
    edges = torch.linspace(low, high, 40_001, dtype=torch.float64)
    middles = (edges[1:] + edges[:-1]) / 2
    masses = likelihood.log_prob(middles.view(-1, 1, 1, 1)).exp() * (edges[1] - edges[0])
    assert masses.sum() == pytest.approx(1, abs=1e-5)
    assert likelihood.mean.item() == pytest.approx((masses * middles).sum().item(), abs=1e-5)


# Draws


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("output", [-40.0, -2.0, 0.0, 0.1, 3.0])
def test_continuous_draws_follow_the_density(name, output):
    """Kolmogorov–Smirnov, against the distribution function by quadrature."""
    kind = head(name)
    x = (
        kind(torch.full((4000, 1, 1, 1), output))
        .sample(torch.Generator().manual_seed(5))
        .detach()
        .flatten()
    )
    low, high = (0, 1) if kind(torch.zeros(1, 1, 1)).support == "unit_interval" else (-5, 6)
    grid = torch.linspace(low, high, 100_001, dtype=torch.float64)
    densities = of(name, torch.full((1, 1), output)).log_prob(grid.view(-1, 1, 1, 1)).exp()
    cumulative = F.pad(torch.cumulative_trapezoid(densities, grid), (1, 0))
    result = stats.kstest(
        x.numpy(), lambda value: np.interp(value, grid.numpy(), cumulative.numpy())
    )
    assert result.pvalue > 1e-3


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("seed", range(3))
def test_drawn_levels_follow_the_masses(name, seed):
    """Chi-square over levels, those of few expected draws taken together."""
    h = torch.randn(1, head(name).outputs, generator=torch.Generator().manual_seed(seed))
    if name != "categorical_256":
        h[:, -1] -= 2  # narrower, so that not all of the mass lies on black and white
    many = 20_000
    x = head(name)(h.expand(many, -1).unflatten(1, (-1, 1, 1))).sample(
        torch.Generator().manual_seed(seed)
    )
    counts = torch.bincount((x.flatten() * 255).round().long(), minlength=256).double()
    expected = many * of(name, h).log_prob(SHADES.view(-1, 1, 1, 1)).exp()
    rare = expected < 5
    observed = torch.cat([counts[~rare], counts[rare].sum().view(1)])
    wanted = torch.cat([expected[~rare], expected[rare].sum().view(1)])
    kept = wanted > 1
    statistic = ((observed - wanted)[kept].square() / wanted[kept]).sum().item()
    assert stats.chi2.sf(statistic, int(kept.sum()) - 1) > 1e-3


# Against torch.distributions


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 70), st.integers(1, 70)),
    scale=st.sampled_from([0.0, 0.1, 5.0, 100.0]),
    seed=st.integers(0, 2**31),
)
def test_bernoulli_of_images_of_any_size_is_what_its_coins_are(shape, scale, seed):
    """Many sub-pixels share a logarithm; at logits of 0 their product is as large as it can be."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, *shape, generator=generator)
    x = torch.rand(2, *shape, generator=generator).round()
    kept = logits.clone(), x.clone()
    expected = Independent(reference.Bernoulli(logits=logits.double()), 3)
    torch.testing.assert_close(
        Bernoulli(logits).log_prob(x).double(), expected.log_prob(x.double()), rtol=2e-6, atol=2e-5
    )
    torch.testing.assert_close(Bernoulli(logits).mean.double(), expected.mean, rtol=2e-6, atol=2e-6)
    assert torch.equal(logits, kept[0])
    assert torch.equal(x, kept[1])


@pytest.mark.parametrize("lead", [(3,), (2, 3)])
def test_bernoulli_has_the_gradients_of_its_formula(lead):
    """Of its own making, for logits and, where somebody asks, for images that many codes share."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(*lead, 1, 2, 3, generator=generator, dtype=torch.float64)
    x = torch.rand(3, 1, 2, 3, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda h, x: Bernoulli(h).log_prob(x), (logits.requires_grad_(), x.requires_grad_())
    )


@pytest.mark.parametrize(
    ("name", "make"),
    [
        (
            "continuous_bernoulli",
            lambda h: reference.ContinuousBernoulli(logits=h, lims=(0.4999, 0.5001)),
        ),
        ("gaussian", lambda h: reference.Normal(h.sigmoid(), 0.3)),
        ("gaussian_learned", lambda h: reference.Normal(h.sigmoid(), 0.3)),
        ("laplace", lambda h: reference.Laplace(h.sigmoid(), 0.2)),
    ],
)
def test_densities_against_torch_distributions(name, make):
    kind, h = build(name, 6)
    kind, h = kind.double(), h.double()
    x = targets("unit_interval", (6, 2, 3, 4)).double()
    expected = Independent(make(h), 3)
    torch.testing.assert_close(kind(h).log_prob(x), expected.log_prob(x), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(kind(h).mean, expected.mean, rtol=1e-6, atol=1e-6)


def test_categorical_against_torch_distributions():
    kind, h = build("categorical_256", 6)
    x = targets("levels", (6, 2, 3, 4))
    logits = h.view(6, 256, 2, 3, 4).movedim(1, -1)
    expected = Independent(reference.Categorical(logits=logits), 3).log_prob((x * 255).round())
    torch.testing.assert_close(kind(h).log_prob(x), expected)


def test_discretised_logistic_against_differences_of_the_distribution_function():
    """In float64 and where masses are not tiny, the plain formula is good enough; on [0, 1], as a
    reader would write it.
    """
    mean, log_scale = 0.3, -3.0
    uniform = reference.Uniform(torch.zeros(1).double(), 1)
    logistic = [
        reference.SigmoidTransform().inv,
        reference.AffineTransform(0.65, math.exp(log_scale) / 2),
    ]
    cdf = reference.TransformedDistribution(uniform, logistic).cdf
    edges = (torch.arange(255, dtype=torch.float64) + 0.5) / 255
    cumulative = torch.cat([torch.zeros(1), cdf(edges), torch.ones(1)])
    likelihood = of("discretised_logistic", torch.tensor([[mean, log_scale]], dtype=torch.float64))
    masses = likelihood.log_prob(SHADES.view(-1, 1, 1, 1)).exp()
    torch.testing.assert_close(masses, cumulative.diff(), rtol=1e-6, atol=1e-9)


def test_a_mixture_of_one_is_the_single_logistic_and_a_mixture_averages_masses():
    kind = head("discretised_logistic_mixture", likelihood_components=1)
    single, h = build("discretised_logistic", 4)
    x = targets("levels", (4, 2, 3, 4))
    torch.testing.assert_close(
        kind(torch.cat([torch.randn(4, 2, 3, 4), h], 1)).log_prob(x), single(h).log_prob(x)
    )
    three = torch.tensor([[0.5, -1.0, 0.2, 0.1, 0.3, -0.4, -2.0, -3.0, -4.0]])
    weights, starts = three[0, :3].softmax(0), torch.tensor([-2 / 3, 0, 2 / 3])
    parts = [
        of(
            "discretised_logistic",
            torch.stack([three[0, 3 + k] + starts[k], three[0, 6 + k]])[None],
        ).log_prob(SHADES.view(-1, 1, 1, 1))
        for k in range(3)
    ]
    mixed = of("discretised_logistic_mixture", three).log_prob(SHADES.view(-1, 1, 1, 1)).exp()
    torch.testing.assert_close(
        mixed, sum(w * part.exp() for w, part in zip(weights, parts, strict=True))
    )


# Links to the losses that people know


def test_by_default_they_are_the_cross_entropy_the_squared_error_and_the_absolute_one_on_grey_levels():  # noqa: E501
    defaults, h, x = ModelSettings(), torch.randn(6, 2, 3, 4), torch.rand(6, 2, 3, 4)
    for name, loss, constant in (
        ("bernoulli", F.binary_cross_entropy, 0),
        ("gaussian", F.mse_loss, 0.5 * math.log(math.pi)),
        ("gaussian_learned", F.mse_loss, 0.5 * math.log(math.pi)),
        ("laplace", F.l1_loss, math.log(2)),
    ):
        expected = loss(h.sigmoid(), x, reduction="none").sum((1, 2, 3)) + 24 * constant
        torch.testing.assert_close(
            -LIKELIHOODS[name].head(defaults, VALUES)(h).log_prob(x), expected
        )


@pytest.mark.parametrize(
    "logit", [-1e4, -100.0, -80.0, -20.0, -1e-3, 0.0, 1e-3, 20.0, 80.0, 100.0, 1e4]
)
@pytest.mark.parametrize("x", [0.0, 1.0])
def test_bernoulli_is_exact_at_extreme_logits(logit, x):
    logits = torch.full((1, 1, 1), logit, requires_grad=True)
    log_prob = Bernoulli(logits).log_prob(torch.full((1, 1, 1), x))
    (gradient,) = torch.autograd.grad(log_prob, logits)
    exact = torch.full((1, 1, 1), logit, dtype=torch.float64, requires_grad=True)
    expected = -F.binary_cross_entropy_with_logits(
        exact, torch.full_like(exact, x), reduction="sum"
    )
    (expected_gradient,) = torch.autograd.grad(expected, exact)
    torch.testing.assert_close(log_prob.double(), expected, rtol=1e-6, atol=1.2e-7)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=1e-6, atol=1.2e-7)


@settings(deadline=None, max_examples=200)
@given(logit=st.floats(-1e4, 1e4) | st.floats(-1, 1), x=st.floats(0, 1))
def test_continuous_bernoulli_is_exact_everywhere(logit, x):
    """Against 50 digits, where no formula needs care; values, slopes and means in float32."""
    logits = torch.full((1, 1, 1), logit, requires_grad=True)
    likelihood = ContinuousBernoulli(logits)
    log_prob = likelihood.log_prob(torch.full((1, 1, 1), x))
    (slope,) = torch.autograd.grad(log_prob, logits)
    with mpmath.workdps(50):
        eta, target = mpmath.mpf(logits.item()), mpmath.mpf(torch.tensor(x).item())
        normaliser = mpmath.log(mpmath.expm1(eta) / eta) if eta else mpmath.mpf(0)
        mean = 1 / -mpmath.expm1(-eta) - 1 / eta if eta else mpmath.mpf("0.5")
        value, exact_slope = float(target * eta - normaliser), float(target - mean)
    assert log_prob.item() == pytest.approx(value, rel=2e-6, abs=2e-6)
    assert slope.item() == pytest.approx(exact_slope, rel=2e-6, abs=2e-6)
    assert likelihood.mean.item() == pytest.approx(float(mean), rel=2e-6, abs=2e-6)


@pytest.mark.parametrize(
    ("mean", "log_scale"), [(0.9, -5.0), (-0.99, -7.0), (3.0, -3.0), (-40.0, -6.0)]
)
def test_masses_far_from_the_mean_are_exact_in_float32(mean, log_scale):
    h = torch.tensor([[mean, log_scale]])
    exact = of("discretised_logistic", h).log_prob(SHADES.view(-1, 1, 1, 1))
    plain = head("discretised_logistic")(h.view(1, 2, 1, 1)).log_prob(SHADES.view(-1, 1, 1, 1))
    assert exact.min() < -60
    torch.testing.assert_close(plain.double(), exact, rtol=2e-6, atol=2e-4)


# The σ that is learned


@pytest.mark.parametrize("sigma", [0.0025, 0.1, 0.5**0.5, 10.0])
def test_learned_sigma_starts_where_it_is_set(sigma):
    learned = head("gaussian_learned", sigma=sigma)
    assert learned.sigma.item() == pytest.approx(sigma, rel=1e-4)
    assert sum(parameter.numel() for parameter in learned.parameters()) == 1


def test_learned_sigma_finds_the_root_mean_squared_error_and_never_vanishes():
    kind, h, x = (
        head("gaussian_learned", sigma=0.5),
        torch.randn(50, 1, 4, 4),
        torch.rand(50, 1, 4, 4),
    )
    optimizer = torch.optim.Adam(kind.parameters(), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        (-kind(h).log_prob(x).mean()).backward()
        optimizer.step()
    assert kind.sigma.item() == pytest.approx(
        (h.sigmoid() - x).square().mean().sqrt().item(), rel=1e-3
    )
    with torch.no_grad():
        kind.raw_log_sigma.fill_(-50)
    assert kind.sigma.item() >= math.exp(-6)


# Where they are used


@pytest.mark.parametrize("kind", ["vectorised", "sequential"])
@pytest.mark.parametrize(
    ("likelihood", "mine", "theirs"),
    [
        ("gaussian", {"sigma": 0.2}, {"sigma": 0.7}),
        ("gaussian_learned", {"sigma": 0.2}, {"sigma": 0.7}),
        ("laplace", {"laplace_scale": 0.1}, {"laplace_scale": 1.0}),
        ("student_t", {"degrees": 2.5, "sigma": 0.2}, {"degrees": 30.0, "sigma": 0.7}),
        (
            "discretised_logistic_mixture",
            {"likelihood_components": 2},
            {"likelihood_components": 3},
        ),
    ],
)
def test_lanes_of_different_options_do_not_touch_each_other(
    tmp_path, kind, likelihood, mine, theirs
):
    base, data = BASE.with_params({"likelihood": likelihood, "epochs": 2}), source("none")
    alone = run(*make_lanes(tmp_path, kind=kind, base=base, data=data), [trial(0, **mine)], 2)[0]
    plain = run(
        *make_lanes(tmp_path, kind="sequential", base=base, data=data), [trial(0, **mine)], 2
    )[0]
    trials = [trial(1, **theirs), trial(0, **mine)]
    together = run(*make_lanes(tmp_path, kind=kind, base=base, data=data), trials, 2)
    assert together[0][0] == alone[0] == pytest.approx(plain[0], rel=1e-4)
    assert same_bits(together[0][1], alone[1])
    assert together[1][0] != together[0][0]


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_grey_levels_are_refused_on_binary_targets_and_nothing_else_is(name):
    check_targets(name, "none")
    for binarisation in ("static", "dynamic"):
        if name == "bernoulli":
            check_targets(name, binarisation)
            continue
        with pytest.raises(
            ValueError,
            match=f"^likelihood: '{name}' .*`binarisation: {binarisation}`.*`binarisation: none`",
        ):
            check_targets(name, binarisation)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_bits_per_dimension_stand_where_they_are_defined(name):
    changes = {"hidden": (8,), "latent_size": 2, "likelihood": name}
    vae = build_vae(OPTIONS.model_copy(update=changes), suited(name, (3, 2, 4)), 0).eval()
    x = targets(LIKELIHOODS[name].distribution.support, (20, 3, 2, 4))
    metrics, _ = evaluate_test(
        vae, x, importance_samples=8, active_threshold=0.01, rate_threshold=0.01, seed=1
    )
    assert ("test/bits_per_dimension" in metrics) == (name in LEVELS)
    if name in LEVELS:
        assert metrics["test/bits_per_dimension"] == pytest.approx(
            metrics["test/neg_elbo"] / 24 / math.log(2)
        )


def test_levels_that_are_all_equally_likely_take_eight_bits():
    likelihood = head("categorical_256")(torch.zeros(256 * 3, 2, 4))
    nats = -likelihood.log_prob(targets("levels", (3, 2, 4))).item()
    assert bits_per_dimension(nats, 24) == pytest.approx(8)
