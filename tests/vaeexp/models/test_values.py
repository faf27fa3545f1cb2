"""Which likelihood describes which values, and what a model makes of them."""

import math
import re
import sys

import numpy as np
import pytest
import torch
from suited_values import COUNTS, REAL, suited
from torch import nn

from vaeexp.data.values import Values
from vaeexp.models.likelihoods import LIKELIHOODS
from vaeexp.models.network_warnings import network_warnings
from vaeexp.models.parts import LIKELIHOOD_SUPPORTS, SUPPORTS, check_values, is_density
from vaeexp.models.vae import VAE, build_vae, check_model, count_parameters
from vaeexp.settings import ModelSettings

SHAPE = (1, 2, 4)
KINDS = {
    "256 levels": {},
    "4096 levels": {"levels": 4096},
    "unit": {"levels": None},
    "real": REAL,
    "counts": COUNTS,
}
REAL_NAMES = {"gaussian", "gaussian_learned", "laplace", "student_t"}
LEVELS = {"discretised_logistic", "discretised_logistic_mixture"}
UNIT = REAL_NAMES | {"bernoulli", "continuous_bernoulli"}
FITTING = {
    "256 levels": UNIT | LEVELS | {"categorical_256"},
    "4096 levels": UNIT | LEVELS,
    "unit": UNIT,
    "real": REAL_NAMES,
    "counts": REAL_NAMES | {"poisson", "negative_binomial"},
}


def small(**changes):
    return ModelSettings(**({"hidden": (6,), "latent_size": 2} | changes))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_likelihood_meets_only_values_that_it_describes(kind, name):
    values = Values(shape=SHAPE, **KINDS[kind])
    if name in FITTING[kind]:
        check_values(name, values, LIKELIHOOD_SUPPORTS[name])
        check_model(small(likelihood=name), values)
        return
    with pytest.raises(ValueError, match=f"^likelihood: '{name}' describes ") as caught:
        check_model(small(likelihood=name), values)
    offered = re.search(r"Try (.*)\.$", str(caught.value))[1].split(", ")
    assert set(offered) == FITTING[kind]


def test_the_refusal_names_the_values():
    for changes, words in (
        (REAL, "the targets are real numbers, not all in [0, 1]"),
        (COUNTS, "the targets are whole numbers from 0"),
        ({"levels": 4096}, "the targets are 4,096 levels in [0, 1]"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            check_values("categorical_256", Values(shape=SHAPE, **changes), "levels")


@pytest.mark.parametrize("scale", [1.5, (0.5, 4.5) * 4])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_log_scale_is_that_of_densities_alone(name, scale):
    vae = VAE(small(likelihood=name), suited(name, SHAPE, scale=scale))
    density = LIKELIHOOD_SUPPORTS[name] in ("real", "unit_interval")
    expected = np.log(np.broadcast_to(scale, 8)).sum()
    assert vae.support == LIKELIHOOD_SUPPORTS[name]
    assert is_density(vae.support) == density
    assert vae.log_scale == pytest.approx(expected if density else 0.0)
    assert vae.decode(torch.zeros(1, 2)).support in SUPPORTS


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_parameters_are_counted_without_memory(name):
    settings = small(likelihood=name, sigma_per="feature")
    values = suited(name, SHAPE, least_sigma=(0.1,) * 8)
    assert count_parameters(settings, values) == VAE(settings, values).parameter_count()


@pytest.mark.parametrize(
    ("kind", "low", "high"), [("unit", 0, 1), ("real", -99, 99), ("counts", 0, 99)]
)
def test_pseudo_inputs_are_targets(kind, low, high):
    values = Values(shape=SHAPE, **KINDS[kind])
    settings = small(likelihood="gaussian", prior="vampprior", components=500)
    seen = []
    vae = build_vae(settings, values, 0)
    vae.prior(lambda x: seen.append(x) or vae.encode(x), vae.latent_mask)
    assert ((seen[0] >= low) & (seen[0] <= high)).all()
    if kind == "real":
        assert torch.equal(seen[0], vae.prior.pseudo_logits)
        assert seen[0].mean().item() == pytest.approx(0, abs=0.1)


# Own parts


OWN = """
import torch
from torch import nn

class Made:
    def __init__(self, mean):
        self.mean = mean
    def log_prob(self, x):
        return -(x - self.mean).abs().sum((-3, -2, -1))
    def sample(self, generator=torch.default_generator):
        return self.mean

def likelihood(name):
    class Own(nn.Module):
        outputs = 1
        def __init__(self, settings):
            super().__init__()
        def forward(self, h):
            made = Made(h)
            made.support = name
            return made
    return Own

Counts, Real, Levels = map(likelihood, ("counts", "real", "levels"))

def network(last, kind="logits"):
    class Own:
        outputs = kind
        def encoder(self, settings, image_shape, outputs):
            size = torch.Size(image_shape).numel()
            return nn.Sequential(nn.Flatten(1), nn.Linear(size, outputs))
        def decoder(self, settings, image_shape, latent_size, parameters):
            channels, *sides = image_shape
            shape = (parameters * channels, *sides)
            layer = nn.Linear(latent_size, torch.Size(shape).numel())
            return nn.Sequential(layer, *last, nn.Unflatten(1, shape))
    return Own

Open = network([])
Sigmoid = network([nn.Sigmoid()])
Tanh = network([nn.Tanh()])
Softplus = network([nn.Softplus()])
Probable = network([nn.Sigmoid()], "probabilities")
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_values.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield
    sys.modules.pop("own_values", None)


@pytest.mark.parametrize(
    ("name", "kind", "fits"),
    [
        ("Counts", "counts", True),
        ("Counts", "real", False),
        ("Counts", "256 levels", False),
        ("Real", "real", True),
        ("Real", "counts", True),
        ("Levels", "4096 levels", True),
        ("Levels", "unit", False),
    ],
)
def test_an_own_likelihood_says_what_it_describes(own, name, kind, fits):
    settings = small(likelihood=f"own_values:{name}")
    values = Values(shape=SHAPE, scale=2.0, **KINDS[kind])
    if fits:
        vae = VAE(settings, values)
        assert vae.log_scale == pytest.approx(8 * math.log(2) if name == "Real" else 0.0)
        assert hasattr(vae.encoder, "inner") == (name == "Counts"), "it sees log(1 + x)"
    else:
        with pytest.raises(ValueError, match=f"^likelihood: 'own_values:{name}' describes"):
            VAE(settings, values)


@pytest.mark.parametrize(
    ("likelihood", "kind", "reason"),
    [
        ("gaussian", "unit", None),
        ("student_t", "real", "takes means, .*not all lie in"),
        ("laplace", "counts", "takes means"),
        ("poisson", "counts", "takes log means, of counts"),
    ],
)
def test_probabilities_are_refused_where_the_mean_is_no_sigmoid(own, likelihood, kind, reason):
    settings = small(network="own_values:Probable", likelihood=likelihood)
    values = Values(shape=SHAPE, **KINDS[kind])
    if reason is None:
        VAE(settings, values)
        return
    with pytest.raises(ValueError, match=f"^network: 'own_values:Probable' gives prob.*{reason}"):
        VAE(settings, values)


@pytest.mark.parametrize(
    ("network", "likelihood", "kind", "says"),
    [
        ("Open", "gaussian", "real", None),
        ("Open", "poisson", "counts", None),
        ("Sigmoid", "gaussian", "unit", "takes logits.*squashed twice"),
        ("Sigmoid", "gaussian", "real", "takes means of targets that do not all lie there"),
        ("Tanh", "gaussian", "real", None),  # targets may lie there
        ("Softplus", "gaussian", "real", None),
        ("Softplus", "negative_binomial", "counts", "takes logarithms of means"),
    ],
)
def test_bounded_outputs_are_doubted_where_they_bound_the_means(
    own, network, likelihood, kind, says
):
    settings = small(network=f"own_values:{network}", likelihood=likelihood)
    found = network_warnings(build_vae(settings, Values(shape=SHAPE, **KINDS[kind]), 0), settings)
    assert len(found) == (says is not None)
    if says:
        assert re.search(says, found[0])


def test_an_own_network_sees_the_logarithm_of_counts_too(own):
    settings = small(network="own_values:Open", likelihood="poisson")
    vae = build_vae(settings, Values(shape=SHAPE, **COUNTS), 0)
    x = torch.arange(8.0).view(1, *SHAPE) * 1000
    linear = vae.encoder.inner[1]
    assert isinstance(linear, nn.Linear)
    expected = linear(x.log1p().flatten(1))
    assert torch.equal(vae.encoder(x), expected)
