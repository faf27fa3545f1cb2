"""Every prior is a normalised density, and what it draws follows it."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from vaeexp.data.values import as_values
from vaeexp.models.posteriors import DiagonalGaussian
from vaeexp.models.priors import (
    PRIORS,
    FactorisedMixture,
    GaussianMixture,
    StandardNormal,
    _distances,
    _distances_by_products,
)

IMAGE = (1, 3, 4)


def encoder(latent_size):
    """A fixed encoder of small images whose posteriors differ from image to image."""
    table = torch.randn(12, 2 * latent_size, generator=torch.Generator().manual_seed(7))
    return lambda x: DiagonalGaussian.from_head(
        (x.flatten(1) - 0.5) @ table, torch.ones(latent_size)
    )


def build(name, latent_size, components, seed=0):
    """A prior module with random values in every parameter."""
    torch.manual_seed(seed)
    prior = PRIORS[name](latent_size, components, as_values(IMAGE))
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return prior


def distribution(name, latent_size, components=3, seed=0):
    return build(name, latent_size, components, seed)(encoder(latent_size), torch.ones(latent_size))


def axis(low=-16.0, high=16.0, n=641):
    return torch.linspace(low, high, n)


def plane_density(prior, points):
    """Density on the square grid of `points` (x first), [n, n], float64."""
    z = torch.cartesian_prod(points, points)
    return prior.log_prob(z).detach().double().exp().view(len(points), len(points))


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("seed", [0, 1])
def test_integrates_to_one_on_a_line_and_on_a_plane(name, seed):
    points = axis()
    line = distribution(name, 1, seed=seed).log_prob(points.unsqueeze(-1)).detach().double().exp()
    assert torch.trapezoid(line, points.double()) == pytest.approx(1, abs=1e-4)
    plane = plane_density(distribution(name, 2, seed=seed), points)
    integral = torch.trapezoid(torch.trapezoid(plane, points.double()), points.double())
    assert integral == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", PRIORS)
def test_normalised_in_five_dimensions_by_importance_sampling(name):
    prior = distribution(name, 5)
    wide = Independent(Normal(torch.zeros(5), 3.0 * torch.ones(5)), 1)
    torch.manual_seed(0)
    z = wide.sample((200_000,))
    weights = (prior.log_prob(z).detach() - wide.log_prob(z)).double().exp()
    assert abs(weights.mean() - 1) < 4 * weights.std() / math.sqrt(len(weights))
    assert weights.std() / math.sqrt(len(weights)) < 0.05


@pytest.mark.parametrize("name", PRIORS)
def test_draws_follow_the_density_on_a_line(name):
    prior, points = distribution(name, 1), axis(n=6401)
    density = prior.log_prob(points.unsqueeze(-1)).detach().double().exp()
    cdf = torch.cumulative_trapezoid(density, points.double())
    drawn = prior.sample(4000, torch.Generator().manual_seed(0)).detach().squeeze(-1).numpy()

    assert (
        stats.kstest(drawn, lambda z: np.interp(z, points[1:].numpy(), cdf.numpy())).pvalue > 0.01
    )


@pytest.mark.parametrize("name", PRIORS)
def test_draws_follow_the_joint_density_on_a_plane(name):
    """Chi-square over cells of the plane: tells the joint mixture from the factorised one."""
    n, points = 8000, axis(-12, 12, 481)
    prior = distribution(name, 2)
    plane = plane_density(prior, points)[:-1, :-1] * (points[1] - points[0]).double() ** 2
    # Left Riemann sums; smooth enough for counts.
    cells = plane.view(16, 30, 16, 30).sum((1, 3)).flatten()
    drawn = prior.sample(n, torch.Generator().manual_seed(1)).detach()
    index = ((drawn + 12) / 1.5).floor().long()
    assert ((index >= 0) & (index < 16)).all()
    counts = torch.bincount(index[:, 0] * 16 + index[:, 1], minlength=256).double()
    keep = cells * n >= 8
    observed = torch.cat([counts[keep], counts[~keep].sum().view(1)])
    expected = torch.cat([cells[keep], cells[~keep].sum().view(1)])
    expected = expected / expected.sum() * n
    assert keep.sum() > 10
    assert stats.chisquare(observed.numpy(), expected.numpy()).pvalue > 0.01


@pytest.mark.parametrize("name", PRIORS)
def test_closed_form_kl_agrees_with_monte_carlo(name):
    prior = distribution(name, 4)
    torch.manual_seed(0)
    posterior = DiagonalGaussian(torch.randn(3, 4), torch.randn(3, 4), torch.ones(4))
    z, log_q = posterior.rsample_and_log_prob(torch.randn(50_000, 3, 4))
    draws = (log_q - prior.log_prob(z)).detach().double()
    error = draws.std(0) / math.sqrt(len(draws))
    assert (draws.mean(0) > -4 * error).all(), "a KL divergence is never negative"
    kl = prior.kl(posterior)
    if kl is not None:
        assert ((draws.mean(0) - kl).abs() < 4 * error).all()


def test_standard_normal_against_torch_distributions():
    prior = StandardNormal(torch.ones(5))
    baseline = Independent(Normal(torch.zeros(5), torch.ones(5)), 1)
    torch.manual_seed(0)
    z = torch.randn(7, 5)
    posterior = DiagonalGaussian(torch.randn(7, 5), torch.randn(7, 5), torch.ones(5))
    torch.testing.assert_close(prior.log_prob(z), baseline.log_prob(z))
    other = Independent(Normal(posterior.mean, (0.5 * posterior.log_var).exp()), 1)
    torch.testing.assert_close(
        prior.kl(posterior), torch.distributions.kl_divergence(other, baseline)
    )


def test_mixture_is_the_mixture_of_joint_gaussians():
    prior = distribution("mixture", 5, 4)
    scales = (0.5 * prior.log_vars).exp()
    baseline = MixtureSameFamily(
        Categorical(logits=prior.log_weights), Independent(Normal(prior.means, scales), 1)
    )
    z = 2 * torch.randn(6, 3, 5)
    torch.testing.assert_close(prior.log_prob(z), baseline.log_prob(z))
    torch.testing.assert_close(
        prior.component_log_prob(z), baseline.component_distribution.log_prob(z.unsqueeze(-2))
    )
    torch.testing.assert_close(prior.weights.sum(), torch.tensor(1.0))


def test_factorised_mixture_is_a_product_of_mixtures_on_the_line():
    prior = distribution("factorised_mixture", 5, 4)
    weights = Categorical(logits=prior.log_weights.expand(5, 4))
    baseline = Independent(
        MixtureSameFamily(weights, Normal(prior.means.T, (0.5 * prior.log_vars.T).exp())), 1
    )
    z = 2 * torch.randn(6, 5)
    torch.testing.assert_close(prior.log_prob(z), baseline.log_prob(z))


def test_one_component_or_one_dimension_makes_both_mixtures_equal():
    for latent_size, components in [(4, 1), (1, 4)]:
        joint = distribution("mixture", latent_size, components)
        parts = (joint.log_weights, joint.means, joint.log_vars, joint.mask)
        z = torch.randn(9, latent_size)
        torch.testing.assert_close(joint.log_prob(z), FactorisedMixture(*parts).log_prob(z))


def test_vampprior_is_the_equal_mixture_of_posteriors_of_its_pseudo_images():
    prior, encode = build("vampprior", 3, 5), encoder(3)
    assert prior.pseudo_logits.shape == (5, *IMAGE)
    z = torch.randn(8, 3)
    posterior = encode(prior.pseudo_logits.sigmoid())
    # [8, 5].
    each = Independent(Normal(posterior.mean, (0.5 * posterior.log_var).exp()), 1).log_prob(
        z.unsqueeze(1)
    )
    expected = each.logsumexp(1) - math.log(5)
    torch.testing.assert_close(prior(encode, torch.ones(3)).log_prob(z), expected)
    (gradient,) = torch.autograd.grad(
        prior(encode, torch.ones(3)).log_prob(z).sum(), prior.pseudo_logits
    )
    assert (gradient.flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize("name", ["mixture", "vampprior"])
def test_draws_of_a_component_have_its_moments(name):
    prior = distribution(name, 3, 4)
    for k in range(4):
        drawn = prior.sample_component(k, 20_000, torch.Generator().manual_seed(k)).detach()
        scale = (0.5 * prior.log_vars[k]).exp()
        assert ((drawn.mean(0) - prior.means[k]).abs() < 5 * scale / math.sqrt(20_000)).all()
        torch.testing.assert_close(drawn.std(0), scale, rtol=0.03, atol=0)


@pytest.mark.parametrize("name", PRIORS)
def test_draws_depend_on_the_generator_alone(name):
    prior = distribution(name, 3)
    first, again = (prior.sample(5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, prior.sample(5, torch.Generator().manual_seed(4)))


def test_distances_keep_full_precision_with_narrow_components():
    torch.manual_seed(0)
    means, z = 30 * torch.randn(4, 16), torch.randn(5, 16)
    z = means[:1] + 1e-3 * z
    precisions = torch.full((4, 16), math.exp(12.0))
    exact = _distances(z.double(), means.double(), precisions.double())
    for distances in (_distances, _distances_by_products):
        torch.testing.assert_close(
            distances(z, means, precisions).double(), exact, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("latent_size", [1, 2, 20, 64, 256])
def test_a_fresh_mixture_has_components_apart_but_near_fresh_posteriors(latent_size):
    torch.manual_seed(0)
    prior = PRIORS["mixture"](latent_size, 16, IMAGE)(encoder(latent_size), torch.ones(latent_size))
    assert (torch.cdist(prior.means, prior.means) + torch.eye(16)).min() > 1e-3
    z = torch.randn(2000, latent_size)  # codes of an encoder that knows nothing yet
    cost = (StandardNormal(prior.mask).log_prob(z) - prior.log_prob(z)).mean()
    assert cost < 5, "nats of rate that training would first have to win back"


def test_masked_components_and_dimensions_do_not_exist():
    torch.manual_seed(0)
    mask = torch.tensor([1.0, 1, 0])
    means, log_vars = torch.randn(4, 3) * mask, torch.randn(4, 3)
    log_weights = torch.tensor([0.2, 0.8, 0, 0]).log()
    z = torch.randn(6, 3)
    for kind in (GaussianMixture, FactorisedMixture):
        big = kind(log_weights, means, log_vars, mask)
        small = kind(log_weights[:2], means[:2, :2], log_vars[:2, :2], mask[:2])
        torch.testing.assert_close(big.log_prob(z), small.log_prob(z[:, :2]))
        drawn = big.sample(500, torch.Generator().manual_seed(0))
        assert (drawn[:, 2] == 0).all()
    normal = StandardNormal(mask)
    torch.testing.assert_close(normal.log_prob(z), StandardNormal(mask[:2]).log_prob(z[:, :2]))
    assert (normal.sample(9, torch.Generator().manual_seed(0))[:, 2] == 0).all()


def test_a_component_without_weight_is_never_drawn():
    prior = GaussianMixture(
        torch.tensor([0.5, 0.5, 0]).log(),
        torch.tensor([[-1.0], [1], [100]]),
        torch.zeros(3, 1),
        torch.ones(1),
    )
    assert prior.sample(5000, torch.Generator().manual_seed(0)).max() < 50
