"""Priors and likelihoods of the user's own, each one definition, from a study file to its
report.
"""

import shutil
import sys

import pytest
import torch
from mnist_files import write_files
from tiny_study import train_study

from sweeps.errors import UserError
from sweeps.tracking import sync
from vaeexp.data.values import Values
from vaeexp.models.priors import build_prior, check_draws
from vaeexp.report import write_report
from vaeexp.results.study_view import open_study
from vaeexp.results.tables import read_arrays
from vaeexp.study import open_study_file

OWN = """
import torch
from torch import nn
from vaeexp.models.priors import GaussianMixture, PriorDistribution

class Spread(PriorDistribution):
    "A Student-t of three degrees of freedom in each dimension."
    def __init__(self, scale, mask):
        self.scale, self.mask = scale, mask
    def log_prob(self, z):
        t = torch.log1p((z / self.scale.exp()).square() / 3)
        return ((-2 * t - self.scale - 1.0008889) * self.mask).sum(-1)
    def sample(self, n, generator):
        normal = torch.randn(n, len(self.mask), generator=generator, device=generator.device)
        chi = torch.randn(3, n, len(self.mask), generator=generator, device=generator.device).square().sum(0)
        return normal.to(self.mask) * (3 / chi.to(self.mask)).sqrt() * self.scale.exp() * self.mask

class Heavy(nn.Module):
    def __init__(self, latent_size, components, image_shape):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(latent_size))
    def forward(self, encode, latent_mask):
        return Spread(self.scale, latent_mask)

class Grid(nn.Module):
    "Equal Gaussians at the corners of a cross."
    def __init__(self, latent_size, components, image_shape):
        super().__init__()
        self.register_buffer("means", torch.cat([torch.eye(latent_size), -torch.eye(latent_size)]))
    def forward(self, encode, latent_mask):
        means = self.means * latent_mask
        weights = torch.full((len(means),), 1 / len(means)).log()
        return GaussianMixture(weights, means, torch.full_like(means, -1.0), latent_mask)

class Sharp:
    support = "real"
    def __init__(self, mean):
        self.mean = mean
    def log_prob(self, x):
        return -(5 * (x - self.mean).abs() + 0.9162907 * 0 - 0.9162907).sum((-3, -2, -1))
    def sample(self, generator=torch.default_generator):
        return self.mean

class Likely(nn.Module):
    outputs = 1
    def __init__(self, settings):
        super().__init__()
    def forward(self, h):
        return Sharp(h.sigmoid())

class Coins(Likely):
    def forward(self, h):
        made = Sharp(h.sigmoid())
        made.support = "binary"
        return made

def untyped(*sizes): return 3
class Flat(Heavy):
    def forward(self, encode, mask): return torch.distributions.Normal(0.0, 1.0)
class Scalar(Heavy):
    def forward(self, encode, mask):
        made = Spread(self.scale, mask)
        made.log_prob = lambda z: z
        return made
class Mean(Likely):
    def forward(self, h): return h
class Unnamed(Likely):
    outputs = None

class Idle(Heavy):
    def forward(self, encode, mask): return Spread(torch.zeros(len(mask)), mask)
class Detached(Heavy):
    def forward(self, encode, mask):
        made = Spread(self.scale, mask)
        made.log_prob = lambda z: Spread.log_prob(made, z.detach())
        return made
class InPlace(Heavy):
    def forward(self, encode, mask):
        made = Spread(self.scale, mask)
        def log_prob(z):
            wide = (z * self.scale.exp()).exp()
            square = wide * wide
            wide.add_(1)
            return -(square * mask).sum(-1)
        made.log_prob = log_prob
        return made
class Thin(Heavy):
    "Normals drawn for a Student t."
    def forward(self, encode, mask):
        made = Spread(self.scale, mask)
        made.sample = lambda n, generator: torch.randn(n, len(mask), generator=generator) * mask
        return made
class Shifted(Thin):
    def forward(self, encode, mask):
        made = Spread(self.scale, mask)
        made.sample = lambda n, generator: Spread.sample(made, n, generator) + 1
        return made
class Box(PriorDistribution):
    "A density with an edge, whose moments say nothing."
    def __init__(self, mask): self.mask = mask
    def log_prob(self, z): return torch.where(z.abs() < 1, 0 * z - 0.6931472, -torch.inf).sum(-1)
    def sample(self, n, generator):
        return 2 * torch.rand(n, len(self.mask), generator=generator) - 1
class Back(Thin):
    "Shifted by 1 to the side where E[(z + 1) ∂log p/∂z] of a normal is the same."
    def forward(self, encode, mask):
        made = Spread(self.scale, mask)
        normal = torch.distributions.Normal(0.0, 1.0)
        made.log_prob = lambda z: (normal.log_prob(z) * mask).sum(-1) + 0 * self.scale.sum()
        made.sample = lambda n, generator: torch.randn(n, len(mask), generator=generator) - 1
        return made
class Elsewhere(Heavy):
    def forward(self, encode, mask):
        made = Spread(self.scale, mask)
        made.sample = lambda n, generator: torch.randn(n, len(mask)) * mask
        return made
class HalfLine(Heavy):
    def forward(self, encode, mask):
        made = Spread(self.scale, mask)
        made.log_prob = lambda z: torch.where(z > 3, 3 - z, -torch.inf).sum(-1)
        return made
class Floor(Box):
    def log_prob(self, z): return torch.where(z.abs() < 1, -0.6931472, -1e9).sum(-1)
class Checked(Box):
    def log_prob(self, z): return torch.distributions.Uniform(-1.0, 1.0).log_prob(z).sum(-1)
class Classes(Heavy):
    def __init__(self, latent_size, components, image_shape, num_classes=10):
        super().__init__(latent_size, components, image_shape)
class Given(Heavy):
    def forward(self, encode, latent_mask, condition=None): return super().forward(encode, latent_mask)
class Labelled(Heavy):
    def forward(self, encode, mask):
        made = Spread(self.scale, mask)
        made.log_prob = lambda z, labels=None: Spread.log_prob(made, z)
        return made
class IdleScale(Likely):
    def __init__(self, settings):
        super().__init__(settings)
        self.idle = nn.Parameter(torch.zeros(()))
class Blind(Likely):
    def forward(self, h): return Sharp(torch.zeros_like(h))
class Grouped(Likely):
    def __init__(self, settings, batch=None): super().__init__(settings)
"""  # noqa: E501

STUDY = """
question: Does a part of my own help?
data: {{dataset: mnist, binarisation: none, validation_size: 40}}
model: {{hidden: [8], latent_size: 2, prior: "{prior}", likelihood: "{likelihood}"}}
train: {{epochs: 1, batch_size: 40}}
evaluation: {{importance_samples: 3, pictures_every: 100}}
search: {{learning_rate: {{values: [0.01, 0.003]}}}}
budget: {{trials: 2}}
confirm: {{top: 1, seeds: 1}}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module `own_parts` in the working directory."""
    (tmp_path / "own_parts.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    yield tmp_path
    sys.modules.pop("own_parts", None)


@pytest.mark.parametrize(
    ("parts", "components"),
    [
        ({"prior": "own_parts:Heavy", "likelihood": "own_parts:Likely"}, False),
        ({"prior": "own_parts:Grid", "likelihood": "gaussian"}, True),
    ],
)
def test_own_parts_go_from_one_definition_to_the_report(
    parts, components, own, empty_store, no_figures
):
    write_files(own / "data" / "MNIST" / "raw", training=160, test=30)
    runs = train_study(own, "mine", STUDY.format(**parts))
    view = open_study("mine", runs, None)
    report = write_report(view, reports=own / "reports", html=False).read_text()
    for part in parts.values():
        assert part in report
    tested = view.trials[view.trials["repeat"]].iloc[0]
    assert tested["result.test/neg_elbo"] == pytest.approx(
        tested["result.test/distortion"] + tested["result.test/rate"]
    )
    # What a prior does not know leaves out what needs it.
    assert ("result.test/used_dimensions" in tested.dropna()) == components
    assert ("component_samples" in read_arrays(tested["folder"])) == components
    shutil.copy(empty_store, runs / "mlflow.db")
    sync("mine", runs=runs)


@pytest.mark.parametrize("prior", ["own_parts:Heavy", "own_parts:Grid"])
def test_a_prior_that_draws_from_its_density_passes(prior, own):
    text = STUDY.format(prior=prior, likelihood="own_parts:Likely")
    (own / "study.yaml").write_text(text)
    assert open_study_file(str(own / "study.yaml"), values=(1, 28, 28)).question


def test_draws_of_built_in_priors_and_of_a_box_pass(own):
    sys.path.append(str(own))
    from own_parts import Box, Checked, Floor

    torch.manual_seed(0)
    mask = torch.ones(3)
    for box in (Box, Floor, Checked):
        check_draws("box", box(mask))
    for name in ("normal", "mixture", "factorised_mixture"):
        built = build_prior(name, 3, 4, Values(shape=(1, 2, 2)))
        check_draws(name, built(None, mask))


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"prior": "nomral"}, "there is no prior 'nomral'. Did you mean 'normal'.*import path"),
        ({"prior": "own_parts:Gone"}, "prior: 'own_parts:Gone' cannot be imported"),
        (
            {"prior": "own_parts:untyped"},
            "prior: 'own_parts:untyped' must be a torch.nn.Module.*no torch.nn.Module but int",
        ),
        ({"prior": "own_parts:Flat"}, "prior: 'own_parts:Flat' must .*forward returns Normal"),
        (
            {"prior": "own_parts:Scalar"},
            r"prior: 'own_parts:Scalar' must .*log_prob of codes \(2, 2\) has the shape \(2, 2\)",
        ),
        ({"likelihood": "own_parts:Gone"}, "likelihood: 'own_parts:Gone' cannot be imported"),
        ({"likelihood": "own_parts:Mean"}, "likelihood: 'own_parts:Mean' must be"),
        (
            {"likelihood": "own_parts:Unnamed"},
            "likelihood: 'own_parts:Unnamed' must .*attribute `outputs`",
        ),
        ({"prior": "own_parts:Idle"}, "prior: .*no finite gradient to 'prior.scale'"),
        ({"prior": "own_parts:InPlace"}, "prior: 'own_parts:InPlace' fails in a training step"),
        ({"prior": "own_parts:Detached"}, r"prior: .*∂log p/∂z_\d is 0; must be -1"),
        ({"prior": "own_parts:Thin"}, r"prior: `sample` of .*another density.*is -0\.\d+; must"),
        ({"prior": "own_parts:Shifted"}, "prior: `sample` of .*another density"),
        ({"prior": "own_parts:Back"}, "prior: `sample` of .*mean of ∂log p/∂z_.* must be 0"),
        ({"prior": "own_parts:Elsewhere"}, "prior: `sample` of .*other draws for an equal gen"),
        ({"prior": "own_parts:HalfLine"}, "prior: `log_prob` of .*not finite at codes near 0"),
        ({"prior": "own_parts:Classes"}, "prior: `Classes` has an argument `num_classes`"),
        ({"prior": "own_parts:Given"}, "prior: `Given.forward` has an argument `condition`"),
        ({"prior": "own_parts:Labelled"}, "prior: .* has an argument `labels`, which is never"),
        ({"likelihood": "own_parts:IdleScale"}, "likelihood: .*gradient to 'likelihood.idle'"),
        ({"likelihood": "own_parts:Blind"}, "likelihood: .*gradient to 'decoder"),
        ({"likelihood": "own_parts:Grouped"}, "likelihood: `Grouped` has an argument `batch`"),
    ],
)
def test_an_unfit_part_is_refused_before_any_training(part, says, own):
    (own / "study.yaml").write_text(
        STUDY.format(**{"prior": "normal", "likelihood": "gaussian", **part})
    )
    with pytest.raises(UserError, match=says) as refused:
        open_study_file(str(own / "study.yaml"), values=(1, 28, 28))
    assert "study.yaml:" in str(refused.value)
