"""The evidence lower bound, for every combination of parts in the tables."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from suited_values import suited
from torch.distributions import Normal
from torch.func import functional_call, stack_module_state, vmap

from vaeexp.models.likelihoods import LIKELIHOODS
from vaeexp.models.networks import ACTIVATIONS, NETWORKS
from vaeexp.models.parts import DETERMINISTIC, LIKELIHOOD_SUPPORTS, PARTS
from vaeexp.models.posteriors import POSTERIORS
from vaeexp.models.priors import PRIORS
from vaeexp.models.vae import VAE, build_vae, check_model
from vaeexp.settings import ModelSettings

SHAPE = (1, 6, 5)
DENSITIES = [name for name, posterior in POSTERIORS.items() if posterior.stochastic]
COMBINATIONS = [
    dict(zip(("network", "posterior", "prior", "likelihood"), names, strict=True))
    for names in itertools.product(["mlp"], DENSITIES, PRIORS, LIKELIHOODS)
]
every_model = pytest.mark.parametrize(
    "parts", COMBINATIONS, ids=lambda parts: "-".join(parts.values())
)


def test_the_names_that_are_read_without_torch_are_those_of_the_tables():
    tables = {
        "network": NETWORKS,
        "activation": ACTIVATIONS,
        "posterior": POSTERIORS,
        "prior": PRIORS,
    }
    assert {field: (*table,) for field, table in {**tables, "likelihood": LIKELIHOODS}.items()} == {
        **PARTS
    }
    assert [*DETERMINISTIC] == [name for name in POSTERIORS if name not in DENSITIES]
    assert {
        name: row.distribution.support for name, row in LIKELIHOODS.items()
    } == LIKELIHOOD_SUPPORTS


def small(**changes):
    return ModelSettings(**({"hidden": (12, 8), "latent_size": 3, "components": 4} | changes))


def batch(rows=7, latent_size=3, seed=0, shape=SHAPE):
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(rows, *shape, generator=generator) < 0.4).float()
    return x, torch.randn(rows, latent_size, generator=generator)


def shaken(parts, seed=0, **changes):
    """A model away from its initial values, where nothing is zero by symmetry."""
    settings = small(**parts, **changes)
    vae = build_vae(settings, suited(settings.likelihood, SHAPE), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in vae.parameters():
            # Less where many numbers are summed, so that outputs stay where a trained decoder's
            # are.
            spread = 0.3 * min(1, 12 / parameter.shape[1:].numel()) ** 0.5
            parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
    return vae


def embedded(vae, **sizes):
    """The model in a bigger one: each tensor the leading slice of zeros."""
    settings = small(**sizes)
    big = VAE(settings, suited(settings.likelihood, SHAPE))
    state = big.state_dict()
    for name, tensor in vae.state_dict().items():
        state[name].zero_()
        state[name][tuple(slice(n) for n in tensor.shape)] = tensor
    return big


@every_model
def test_terms_and_gradients(parts):
    vae, (x, noise) = shaken(parts), batch()
    terms = vae(x, noise)
    assert terms.distortion.shape == terms.rate.shape == (7,)
    assert terms.mean.shape == (7, 3)
    (terms.distortion + terms.rate).mean().backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@every_model
def test_terms_are_those_of_the_parts(parts):
    vae, (x, noise) = shaken(parts), batch()
    terms, posterior = vae(x, noise), vae.encode(x)
    z = posterior.rsample(noise)
    torch.testing.assert_close(terms.distortion, -vae.decode(z).log_prob(x))
    torch.testing.assert_close(terms.mean, posterior.mean)
    prior = vae.prior_distribution()
    many = torch.randn(20_000, *noise.shape, generator=torch.Generator().manual_seed(2))
    draws, log_q = posterior.rsample_and_log_prob(many)
    estimates = (log_q - prior.log_prob(draws)).double()
    error = estimates.std(0) / math.sqrt(len(estimates))
    if prior.kl(posterior) is None:
        log_q_z = Normal(posterior.mean, (0.5 * posterior.log_var).exp()).log_prob(z).sum(-1)
        torch.testing.assert_close(terms.rate, log_q_z - prior.log_prob(z), rtol=1e-4, atol=1e-4)
    else:
        assert ((estimates.mean(0) - terms.rate).abs() < 4.5 * error).all()


@every_model
def test_gradients_by_finite_differences(parts):
    vae, (x, noise) = shaken(parts, activation="tanh").double(), batch(rows=4)
    x, noise = x.double(), noise.double()

    def negative_elbo():
        terms = vae(x, noise)
        assert terms.rate.dtype == torch.float64
        return (terms.distortion + terms.rate).mean()

    gradients = torch.autograd.grad(negative_elbo(), list(vae.parameters()))
    generator = torch.Generator().manual_seed(3)
    for (name, parameter), gradient in zip(vae.named_parameters(), gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        step = 1e-6
        with torch.no_grad():
            start = parameter.clone()
            ends = []
            for sign in (1, -1):
                parameter.copy_(start + sign * step * direction)
                ends.append(negative_elbo().item())
            parameter.copy_(start)
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(
            (gradient * direction).sum().item(), rel=1e-6, abs=1e-7
        ), name


@every_model
def test_a_padded_model_is_the_same_model(parts):
    """At a smaller latent size and fewer components than the space's maximum; the padding gets
    exactly no gradient.
    """
    own, (x, noise) = shaken(parts), batch()
    big = embedded(own, **parts, latent_size=8, components=9)
    terms = own(x, noise)
    padded = big(x, torch.cat([noise, batch(latent_size=5, seed=9)[1]], 1))
    torch.testing.assert_close(padded.distortion, terms.distortion, rtol=5e-6, atol=0)
    torch.testing.assert_close(padded.rate, terms.rate, rtol=5e-6, atol=5e-6)
    torch.testing.assert_close(padded.mean[:, :3], terms.mean, rtol=5e-6, atol=1e-6)
    assert (padded.mean[:, 3:] == 0).all()
    (terms.distortion + terms.rate).mean().backward()
    (padded.distortion + padded.rate).mean().backward()
    for (name, parameter), whole in zip(own.named_parameters(), big.parameters(), strict=True):
        inside = tuple(slice(n) for n in parameter.shape)
        torch.testing.assert_close(
            whole.grad[inside], parameter.grad, rtol=1e-4, atol=1e-5, msg=name
        )
        outside = whole.grad.clone()
        outside[inside] = 0
        assert (outside == 0).all(), name
    drawn = big.prior_distribution().sample(50, torch.Generator().manual_seed(0))
    assert (drawn[:, 3:] == 0).all()


@every_model
def test_fused_lanes_equal_plain_modules(parts):
    lanes, (x, noise) = [shaken(parts, seed=seed) for seed in range(3)], batch()
    parameters, buffers = stack_module_state(lanes)

    def loss(p, b):
        terms = functional_call(lanes[0], (p, b), (x, noise))
        return (terms.distortion + terms.rate).mean(), terms

    losses, terms = vmap(loss)(parameters, buffers)
    gradients = torch.autograd.grad(losses.sum(), list(parameters.values()))
    for index, lane in enumerate(lanes):
        plain = lane(x, noise)
        for fused, alone in zip(terms, plain, strict=True):
            torch.testing.assert_close(fused[index], alone, rtol=1e-5, atol=1e-5)
        alone = torch.autograd.grad((plain.distortion + plain.rate).mean(), list(lane.parameters()))
        for stacked, gradient in zip(gradients, alone, strict=True):
            torch.testing.assert_close(stacked[index], gradient, rtol=1e-4, atol=1e-5)


@every_model
def test_lower_precision_of_products_keeps_densities_in_float32(parts):
    vae, (x, noise) = shaken(parts), batch()
    exact = vae(x, noise)
    with torch.autocast("cpu", torch.bfloat16):
        low, posterior = vae(x, noise), vae.encode(x)
        gradients = torch.autograd.grad((low.distortion + low.rate).mean(), list(vae.parameters()))
        z = posterior.rsample(noise)
        h = vae.decoder(z)
        prior = vae.prior_distribution()
        log_prior = prior.log_prob(z)
    assert h.dtype == torch.bfloat16
    assert {part.dtype for part in (*low, posterior.mean, posterior.log_var, log_prior)} == {
        torch.float32
    }
    torch.testing.assert_close(
        low.distortion, -vae.likelihood(h.float()).log_prob(x), rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(log_prior, prior.log_prob(z), rtol=1e-6, atol=1e-6)
    assert all(gradient.isfinite().all() for gradient in gradients)
    for part, right in zip(low, exact, strict=True):
        torch.testing.assert_close(part, right, rtol=0.05, atol=0.2)


@every_model
def test_samples_are_images_and_depend_on_the_generator_alone(parts):
    vae = shaken(parts)
    one, again = (vae.sample(6, torch.Generator().manual_seed(1)).mean for _ in range(2))
    assert one.shape == (6, *SHAPE)
    assert torch.equal(one, again)
    assert not torch.equal(one, vae.sample(6, torch.Generator().manual_seed(2)).mean)


@settings(deadline=None, max_examples=20)
@given(
    parts=st.sampled_from(COMBINATIONS),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6)),
)
def test_shapes(parts, shape, sizes):
    rows, latent_size, components = sizes
    settings = small(**parts, latent_size=latent_size, components=components)
    vae = build_vae(settings, suited(settings.likelihood, shape), seed=0)
    terms = vae(*batch(rows, latent_size, shape=shape))
    assert terms.distortion.shape == terms.rate.shape == (rows,)
    assert terms.mean.shape == (rows, latent_size)
    assert vae.decode(torch.randn(2, rows, latent_size)).mean.shape == (2, rows, *shape)


def test_the_elbo_is_a_lower_bound_that_importance_sampling_tightens():
    """log p(x) of a tiny model by quadrature over a one-dimensional z."""
    vae, (x, _) = shaken({}, latent_size=1), batch()
    points = torch.linspace(-12, 12, 4001).view(-1, 1, 1)
    with torch.no_grad():
        joint = vae.decode(points).log_prob(x) + vae.prior_distribution().log_prob(points)
        evidence = joint.double().logsumexp(0) + math.log(points[1] - points[0])
        noise = torch.randn(4000, 7, 1, generator=torch.Generator().manual_seed(0))
        z, log_q = vae.encode(x).rsample_and_log_prob(noise)
        weights = (
            vae.decode(z).log_prob(x) + vae.prior_distribution().log_prob(z) - log_q
        ).double()
    assert (weights.mean(0) < evidence).all()
    ratio = (weights - evidence).exp()
    assert ((ratio.mean(0) - 1).abs() < 5 * ratio.std(0) / math.sqrt(4000)).all()


def test_initial_weights_come_from_the_seed_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = build_vae(small(prior="mixture"), SHAPE, seed=2**62 + 3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    same, other = (build_vae(small(prior="mixture"), SHAPE, seed=seed) for seed in (2**62 + 3, 4))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[name])
    assert not torch.equal(one.prior.means, other.prior.means)


def test_parameter_count_of_the_baseline_model():
    """784–512–512–40 and 20–512–512–784, by hand; the masks are not counted."""
    settings = ModelSettings(hidden=(512, 512), latent_size=20)
    encoder = 785 * 512 + 513 * 512 + 513 * 40
    decoder = 21 * 512 + 513 * 512 + 513 * 784
    assert build_vae(settings, (1, 28, 28), 0).parameter_count() == encoder + decoder
    mixture = settings.model_copy(update={"prior": "mixture", "components": 16})
    assert build_vae(mixture, (1, 28, 28), 0).parameter_count() == encoder + decoder + 16 * (
        20 + 20 + 1
    )
    vamp = settings.model_copy(update={"prior": "vampprior", "components": 16})
    assert build_vae(vamp, (1, 28, 28), 0).parameter_count() == encoder + decoder + 16 * 784


@pytest.mark.parametrize(
    ("field", "name", "nearest"),
    [
        ("network", "mpl", "mlp"),
        ("activation", "leakyrelu", "leaky_relu"),
        ("posterior", "gausian", "gaussian"),
        ("prior", "mixtures", "mixture"),
        ("likelihood", "bernouli", "bernoulli"),
    ],
)
def test_unknown_parts_are_named_with_the_nearest_known_one(field, name, nearest):
    with pytest.raises(ValueError, match=rf"^{field}: .*'{name}'.*Did you mean '{nearest}'\?"):
        check_model(small(**{field: name}))
    with pytest.raises(ValueError, match=name):
        VAE(small(**{field: name}), SHAPE)
    check_model(small())
