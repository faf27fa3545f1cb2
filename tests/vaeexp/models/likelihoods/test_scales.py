"""Learned scales per image, channel and feature, their lower bounds, and linear means."""

import math
from dataclasses import replace

import pytest
import torch
from fused import BASE, make_lanes, run, same_bits, source, trial
from hypothesis import given, settings
from hypothesis import strategies as st
from suited_values import REAL
from torch import distributions as reference

from vaeexp.data.values import Values
from vaeexp.models.likelihoods import LIKELIHOODS, least_sigma
from vaeexp.models.vae import build_vae
from vaeexp.settings import ModelSettings

SHAPE = (3, 2, 4)
SHAPES = {"global": (), "channel": (3, 1, 1), "feature": SHAPE}
LEARNED = ("gaussian_learned", "student_t")
every_scale = pytest.mark.parametrize("per", SHAPES)


def head(name="gaussian_learned", per="global", values=None, **changes):
    options = ModelSettings(likelihood=name, sigma_per=per, **changes)
    return LIKELIHOODS[name].head(options, values or Values(shape=SHAPE, **REAL))


def shaken(kind, seed=0):
    """A head whose scales differ."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        kind.raw_log_sigma += torch.randn(kind.raw_log_sigma.shape, generator=generator)
    return kind.requires_grad_(False)


@every_scale
@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("sigma", [0.0025, 0.1, 0.5**0.5, 10.0, 1e6])
def test_scales_start_where_they_are_set(name, per, sigma):
    kind = head(name, per, sigma=sigma)
    assert kind.sigma.shape == SHAPES[per]
    torch.testing.assert_close(kind.sigma, torch.full(SHAPES[per], sigma), rtol=2e-4, atol=0)
    assert sum(parameter.numel() for parameter in kind.parameters()) == math.prod(SHAPES[per])


@every_scale
def test_a_gaussian_of_many_scales_is_the_normal_distribution_of_each(per):
    kind, h, x = shaken(head(per=per)), torch.randn(5, 2, *SHAPE), torch.randn(2, *SHAPE)
    expected = reference.Normal(h, kind.sigma).log_prob(x).sum((-3, -2, -1))
    torch.testing.assert_close(kind(h).log_prob(x), expected)
    many = kind(h[:1, :1].expand(20_000, 1, *SHAPE)).sample(torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        (many - h[0, 0]).square().mean((0, 1)).sqrt(), kind.sigma.expand(SHAPE), rtol=0.05, atol=0
    )


@every_scale
def test_scales_find_the_root_mean_squared_errors(per):
    generator = torch.Generator().manual_seed(0)
    widths = torch.linspace(0.05, 2, 24).view(SHAPE)
    h = torch.randn(200, *SHAPE, generator=generator)
    x = h + widths * torch.randn(200, *SHAPE, generator=generator)
    kind = head(per=per)
    optimizer = torch.optim.Adam(kind.parameters(), lr=0.05)
    for _ in range(500):
        optimizer.zero_grad()
        (-kind(h).log_prob(x).mean()).backward()
        optimizer.step()
    squares = (h - x).square()
    over = {"global": (0, 1, 2, 3), "channel": (0, 2, 3), "feature": (0,)}[per]
    expected = squares.mean(over, keepdim=True).sqrt().view(SHAPES[per])
    torch.testing.assert_close(kind.sigma.detach(), expected, rtol=2e-3, atol=0)


# Lower bounds


@every_scale
@settings(deadline=None, max_examples=20)
@given(
    bounds=st.lists(st.floats(1e-6, 1), min_size=24, max_size=24),
    name=st.sampled_from(LEARNED),
    sigma=st.sampled_from([0.0025, 0.7]),
)
def test_no_scale_falls_below_its_bound(per, bounds, name, sigma):
    values = Values(shape=SHAPE, least_sigma=tuple(bounds), **REAL)
    kind = head(name, per, values, sigma=sigma)
    squares = torch.tensor(bounds).view(SHAPE).square()
    over = {"global": (0, 1, 2), "channel": (1, 2), "feature": ()}[per]
    least = squares.mean(over, keepdim=True).sqrt() if over else squares.sqrt()
    least = least.view(SHAPES[per])
    torch.testing.assert_close(least_sigma(values, per).float(), least, rtol=1e-5, atol=0)
    assert (kind.sigma >= least * (1 - 1e-5)).all(), "from the start"
    above = torch.maximum(torch.full_like(least, sigma), least * math.exp(1e-3))
    torch.testing.assert_close(kind.sigma.detach(), above, rtol=1e-3, atol=0)
    with torch.no_grad():
        kind.raw_log_sigma.fill_(-60)
    torch.testing.assert_close(kind.sigma.detach(), least, rtol=1e-5, atol=0)
    assert kind(torch.zeros(SHAPE)).log_prob(torch.zeros(SHAPE)).isfinite()


@every_scale
def test_by_default_the_bound_is_that_of_the_paper(per):
    kind = head(per=per, values=Values(shape=SHAPE))
    with torch.no_grad():
        kind.raw_log_sigma.fill_(-60)
    torch.testing.assert_close(
        kind.sigma.detach(), torch.full(SHAPES[per], math.exp(-6)), rtol=1e-6, atol=0
    )


@every_scale
def test_a_shared_bound_is_not_below_what_its_sub_pixels_can_reach(per):
    """Targets rounded to steps: no prediction errs by less than the rounding, which is the bound of
    each sub-pixel; then the best shared σ is at least the shared bound, and equal to it if the
    model knows all but the rounding.
    """
    steps = torch.logspace(-3, 0, 24, dtype=torch.float64).view(SHAPE)
    truth = 100 * torch.rand(20_000, *SHAPE, dtype=torch.float64)
    errors = (truth / steps).round() * steps - truth
    bounds = steps / math.sqrt(12)
    values = Values(shape=SHAPE, least_sigma=tuple(bounds.flatten().tolist()), **REAL)
    over = {"global": (0, 1, 2, 3), "channel": (0, 2, 3), "feature": (0,)}[per]
    best = errors.square().mean(over, keepdim=True).sqrt().view(SHAPES[per])
    torch.testing.assert_close(best, least_sigma(values, per), rtol=0.03, atol=0)


def test_a_bound_of_zero_leaves_numbers_finite():
    kind = head(values=Values(shape=SHAPE, least_sigma=0.0, **REAL))
    with torch.no_grad():
        kind.raw_log_sigma.fill_(-60)
    assert kind(torch.zeros(SHAPE)).log_prob(torch.ones(SHAPE)).isfinite()


# Means


@pytest.mark.parametrize("name", ["gaussian", "gaussian_learned", "laplace", "student_t"])
def test_means_are_linear_where_targets_leave_the_unit_interval(name):
    h = 5 * torch.randn(4, *SHAPE)
    options = ModelSettings(likelihood=name)
    linear = LIKELIHOODS[name].head(options, Values(shape=SHAPE, **REAL))
    unit = LIKELIHOODS[name].head(options, Values(shape=SHAPE))
    assert torch.equal(linear(h).mean, h)
    assert torch.equal(unit(h).mean, h.sigmoid())
    x = torch.randn(4, *SHAPE)
    torch.testing.assert_close(unit(h).log_prob(x), linear(h.sigmoid()).log_prob(x))


def test_a_linear_vae_of_gaussians_finds_the_directions_of_principal_components():
    """With a linear decoder and one learned σ, the optimum is probabilistic PCA (Tipping & Bishop
    1999; Lucas et al. 2019): σ² is the mean of the eigenvalues that are left out.
    """
    generator = torch.Generator().manual_seed(0)
    mixing = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
    spread = torch.tensor([3.0, 2.0, 0.3, 0.3, 0.3, 0.3])
    x = (torch.randn(2000, 6, generator=generator) * spread) @ mixing.T
    x = (x - x.mean(0)).view(-1, 1, 1, 6)
    options = ModelSettings(hidden=(), latent_size=2, likelihood="gaussian_learned")
    vae = build_vae(options, Values(shape=(1, 1, 6), **REAL), 0)
    optimizer = torch.optim.Adam(vae.parameters(), lr=0.01)
    for step in range(1500):
        noise = torch.randn(2000, 2, generator=generator)
        terms = vae(x, noise)
        optimizer.zero_grad()
        (terms.distortion + terms.rate).mean().backward()
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 1500)
        optimizer.step()
    values = torch.linalg.eigvalsh(x.flatten(1).T @ x.flatten(1) / 2000)
    assert vae.likelihood.sigma.item() == pytest.approx(values[:4].mean().sqrt().item(), rel=0.02)
    learned = torch.linalg.qr(vae.decoder[0].weight.detach()).Q
    angles = torch.linalg.svdvals(learned.T @ mixing[:, :2])
    assert angles.min() > 0.99


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("per", ["channel", "feature"])
def test_fused_lanes_equal_lanes_alone(tmp_path, name, per):
    base = BASE.with_params({"likelihood": name, "sigma_per": per, "epochs": 2})
    data = replace(source("none"), values=Values(shape=(1, 8, 8), **REAL))
    me, other = trial(0, sigma=0.2), trial(1, sigma=0.7, latent_size=3)
    alone = run(*make_lanes(tmp_path, base=base, data=data), [me], 2)[0]
    plain = run(*make_lanes(tmp_path, kind="sequential", base=base, data=data), [me], 2)[0]
    together = run(*make_lanes(tmp_path, base=base, data=data), [other, me], 2)
    assert together[0][0] == alone[0] == pytest.approx(plain[0], rel=1e-4)
    assert same_bits(together[0][1], alone[1])
