"""Final figures and pictures: against a model whose log p(x) is known, and against their own
definitions.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sweeps.seeds import seed_of
from vaeexp.data.showing import to_pictures
from vaeexp.evaluation import nll as bounds
from vaeexp.evaluation.generation import grid, pictures, write_png
from vaeexp.evaluation.nll import (
    active_units,
    evaluate_elbo,
    evaluate_test,
    importance_weighted_nll,
    sample_counts,
    standard_error,
)
from vaeexp.models.posteriors import DiagonalGaussian
from vaeexp.models.priors import StandardNormal
from vaeexp.models.vae import Terms, build_vae
from vaeexp.settings import ModelSettings

PIXELS, NOISE = 6, 0.7


@dataclass
class Gaussian:
    """p(x|z) = N(x; mean, NOISE² I) with the interface of a likelihood."""

    mean: Tensor

    def log_prob(self, x):
        squares = ((x - self.mean) / NOISE).square() + math.log(2 * math.pi * NOISE**2)
        return -0.5 * squares.sum((-3, -2, -1))


class LinearGaussian(nn.Module):
    """z ~ N(0, I), x = Wz + b + noise: log p(x) is that of N(b, WWᵀ + NOISE² I).

    Its q(z|x) is the exact posterior's mean with the exact marginal variances, moved and widened by
    `flaw`.
    """

    log_scale = 0.0

    def __init__(self, latent_size: int, flaw: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.decoder, self.flaw = nn.Linear(latent_size, PIXELS), flaw
        self.register_buffer("latent_mask", torch.ones(latent_size))
        with torch.no_grad():
            self.decoder.weight.mul_(1.5)

    def exact(self) -> torch.distributions.MultivariateNormal:
        w = self.decoder.weight.double()
        covariance = w @ w.T + NOISE**2 * torch.eye(PIXELS).double()
        return torch.distributions.MultivariateNormal(self.decoder.bias.double(), covariance)

    def encode(self, x):
        w = self.decoder.weight
        covariance = torch.linalg.inv(torch.eye(w.shape[1]) + w.T @ w / NOISE**2)
        mean = (x.flatten(1) - self.decoder.bias) @ w @ covariance / NOISE**2
        log_var = covariance.diagonal().log().expand_as(mean)
        return DiagonalGaussian(mean + 0.5 * self.flaw, log_var + self.flaw, self.latent_mask)

    encode_density = encode

    def decode(self, z):
        return Gaussian(self.decoder(z).unflatten(-1, (1, 2, 3)))

    def prior_distribution(self):
        return StandardNormal(self.latent_mask)

    def forward(self, x, noise):
        posterior = self.encode(x)
        z = posterior.rsample(noise)
        return Terms(
            -self.decode(z).log_prob(x), self.prior_distribution().kl(posterior), posterior.mean
        )


def observed(model, rows, seed=0):
    """Images drawn from the model, and their exact −log p(x)."""
    torch.manual_seed(seed)
    x = model.exact().sample((rows,))
    return x.float().view(rows, 1, 2, 3), -model.exact().log_prob(x).detach()


def nll(model, x, k, seed=0, **options):
    return importance_weighted_nll(model, x, importance_samples=k, seed=seed, **options)[-1]


def test_one_sample_from_the_exact_posterior_gives_the_exact_likelihood():
    model = LinearGaussian(1, flaw=0.0)
    x, exact = observed(model, 50)
    torch.testing.assert_close(nll(model, x, 1), exact, rtol=1e-5, atol=1e-5)


def test_importance_weighted_bound_falls_with_k_to_the_exact_value():
    model = LinearGaussian(3, flaw=0.6)
    x, exact = observed(model, 2000)
    gaps = [nll(model, x, k) - exact for k in (1, 5, 25, 500)]
    for loose, tight in pairwise(gaps):
        assert (loose - tight).mean() > 3 * standard_error(loose - tight)
    assert gaps[0].mean() > 0.5, "the flawed posterior is really flawed"
    assert abs(gaps[-1].mean()) < 4 * standard_error(gaps[-1]) < 0.01


def test_counts_of_samples_rise_to_all():
    assert sample_counts(1) == [1]
    assert sample_counts(7) == [1, 2, 5, 7]
    assert sample_counts(100) == [1, 2, 5, 10, 20, 50, 100]


@pytest.mark.parametrize("samples", [7, 120, 2300])
def test_each_prefix_of_the_samples_gives_the_bound_of_that_many(samples):
    """Beyond 1,000 samples the sums come in parts."""
    model = LinearGaussian(2, flaw=0.4)
    x, _ = observed(model, 5)
    bounds = importance_weighted_nll(model, x, importance_samples=samples, seed=3)
    for count, bound in zip(sample_counts(samples), bounds, strict=True):
        torch.testing.assert_close(bound, nll(model, x, count, seed=3), rtol=1e-6, atol=1e-6)
    assert torch.equal(bounds[-1], nll(model, x, samples, seed=3))


def test_importance_weights_average_to_the_exact_likelihood():
    """Unbiased: E[1/k Σ w] = p(x), whatever q is."""
    model = LinearGaussian(2, flaw=0.4)
    x, exact = observed(model, 1)
    ratios = torch.stack([(exact - nll(model, x, 4, seed=seed)).exp() for seed in range(500)])
    assert abs(ratios.mean() - 1) < 4 * ratios.std() / math.sqrt(len(ratios))


def test_at_one_sample_the_bound_is_the_negative_elbo_in_expectation():
    model = LinearGaussian(3, flaw=0.6)
    x, _ = observed(model, 4000)
    terms = evaluate_elbo(model, x, seed=1)
    difference = nll(model, x, 1) - (terms.distortion + terms.rate)
    assert abs(difference.mean()) < 4 * standard_error(difference)


@pytest.mark.parametrize("budget", [1, 3_000])
def test_pieces_of_any_size_estimate_the_same(budget):
    model = LinearGaussian(2, flaw=0.4)
    x, exact = observed(model, 7)
    estimate = nll(model, x, 400, budget=budget)
    assert estimate.shape == (7,)
    torch.testing.assert_close(estimate, exact, rtol=0, atol=0.2)
    torch.testing.assert_close(estimate, nll(model, x, 400), rtol=1e-6, atol=1e-6)


def test_an_image_s_estimate_depends_on_its_place_and_on_no_other_image():
    model = LinearGaussian(2, flaw=0.4)
    x, _ = observed(model, 7)
    torch.testing.assert_close(nll(model, x, 70)[:3], nll(model, x[:3], 70), rtol=1e-6, atol=1e-6)


def test_draws_are_each_image_s_own_and_the_same_when_drawn_ahead():
    drawn = list(bounds.draws(3, range(7, 9), 120, seed=4))
    assert [len(part) for part in drawn] == [50, 50, 20]
    for column, place in enumerate((7, 8)):
        generator = torch.Generator().manual_seed(seed_of(f"4/importance/{place}"))
        alone = torch.cat([torch.randn(50, 3, generator=generator) for _ in drawn])[:120]
        assert torch.equal(torch.cat(drawn)[:, column], alone)
    ahead = list(bounds._ahead(bounds.draws(3, range(7, 9), 120, seed=4)))
    assert all(map(torch.equal, ahead, drawn))
    assert len(ahead) == len(drawn)

    def broken():
        yield drawn[0]
        raise MemoryError("no room for draws")

    with pytest.raises(MemoryError, match="no room"):
        list(bounds._ahead(broken()))


def test_the_budget_bounds_the_rows_decoded_at_once():
    model, rows = LinearGaussian(2, flaw=0.4), []
    x, _ = observed(model, 9)
    model.decoder.register_forward_hook(
        lambda _module, inputs, _output: rows.append(inputs[0].numel() // 2)
    )
    nll(model, x, 50, budget=30 * 4 * 4 * PIXELS)
    assert max(rows) == 30
    assert sum(rows) == 9 * 50 + 1, "each sample of each image once, and one code to measure"


def test_elbo_does_not_depend_on_batches():
    model = LinearGaussian(2, flaw=0.4)
    x, _ = observed(model, 2300)
    terms = evaluate_elbo(model, x, seed=3)
    noise = torch.randn(2300, 2, generator=torch.Generator().manual_seed(3))
    for part, whole in zip(terms, model(x, noise), strict=True):
        torch.testing.assert_close(part, whole.detach().to(part.dtype), rtol=1e-5, atol=1e-5)
    assert terms.distortion.dtype == terms.rate.dtype == torch.float64


def test_active_units_counts_means_that_vary():
    torch.manual_seed(0)
    means = torch.randn(5000, 4).double() * torch.tensor([1.0, 0.2, 0.01, 0]) + torch.tensor(
        [3.0, 0, 50, 0]
    )
    variances = means.var(0, unbiased=False)
    sums = (means.sum(0), means.square().sum(0), len(means))
    for threshold in (1e-5, 0.01, 0.1, 10.0):
        assert active_units(*sums, threshold) == (variances > threshold).sum()
    lanes = active_units(
        torch.stack([sums[0], 0 * sums[0]]), torch.stack([sums[1], 0 * sums[1]]), len(means), 0.01
    )
    assert lanes.tolist() == [2, 0]


def test_standard_error():
    assert standard_error(torch.tensor([1.0, 2, 3, 6])) == pytest.approx(
        np.std([1, 2, 3, 6], ddof=1) / 2
    )
    assert math.isnan(standard_error(torch.tensor([1.0])))


@pytest.mark.parametrize("prior", ["normal", "mixture", "factorised_mixture", "vampprior"])
def test_test_metrics_are_complete_and_ordered(prior):
    vae = build_vae(
        ModelSettings(hidden=(16,), latent_size=3, prior=prior, components=4), (1, 5, 4), seed=0
    ).eval()
    images = (torch.rand(60, 1, 5, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    options = {
        "importance_samples": 64,
        "active_threshold": 1e-4,
        "rate_threshold": 1e-4,
        "seed": 1,
    }
    metrics, arrays = evaluate_test(vae, images, **options)
    values = {
        "neg_elbo",
        "neg_elbo_se",
        "distortion",
        "rate",
        "active_units",
        "used_dimensions",
        "images",
    }
    weighted = {"iw_nll", "iw_nll_se", "importance_samples"}
    assert metrics.keys() == {f"test/{name}" for name in values | weighted}
    assert all(type(value) is float and math.isfinite(value) for value in metrics.values())
    assert metrics["test/neg_elbo"] == pytest.approx(
        metrics["test/distortion"] + metrics["test/rate"]
    )
    assert metrics["test/iw_nll"] < metrics["test/neg_elbo"] + 3 * metrics["test/neg_elbo_se"]
    assert (metrics["test/images"], metrics["test/importance_samples"]) == (60, 64)
    assert 0 < metrics["test/active_units"] <= 3
    assert 0 < metrics["test/used_dimensions"] == (arrays["rate_per_dimension"] > 1e-4).sum() <= 3
    assert arrays["nll_k"].tolist() == [1, 2, 5, 10, 20, 50, 64]
    assert arrays["nll_by_k"][-1] == metrics["test/iw_nll"]
    for name in ("neg_elbo", "iw_nll"):
        per_image = torch.from_numpy(arrays[f"{name}_per_image"]).double()
        assert per_image.shape == (60,)
        assert per_image.mean().item() == pytest.approx(metrics[f"test/{name}"], rel=1e-6)
        assert standard_error(per_image) == pytest.approx(metrics[f"test/{name}_se"], rel=1e-5)
    assert metrics == evaluate_test(vae, images, **options)[0]
    few, _ = evaluate_test(vae, images, **options | {"importance_samples": None})
    assert few == {
        name: value for name, value in metrics.items() if name.removeprefix("test/") in values
    }


def test_progress_counts_every_code_up_to_all():
    model, told = LinearGaussian(2, flaw=0.4), []
    x, _ = observed(model, 7)
    quiet = nll(model, x, 50, budget=30 * 4 * 4 * PIXELS)
    assert torch.equal(
        quiet, nll(model, x, 50, budget=30 * 4 * 4 * PIXELS, progress=lambda *now: told.append(now))
    )
    assert {total for _, total in told} == {7 * 50}
    done = [now for now, _ in told]
    assert done == sorted(set(done))
    assert done[-1] == 7 * 50
    assert max(later - earlier for earlier, later in pairwise([0, *done])) == 30


def test_a_deterministic_model_has_distortion_and_no_bound():
    settings = ModelSettings(hidden=(16,), latent_size=3, posterior="deterministic")
    vae = build_vae(settings, (1, 5, 4), seed=0).eval()
    images = (torch.rand(60, 1, 5, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    told = []
    options = {"importance_samples": 8, "active_threshold": 1e-4, "rate_threshold": 0.01, "seed": 1}
    metrics, arrays = evaluate_test(vae, images, **options, progress=lambda *now: told.append(now))
    assert metrics.keys() == {"test/distortion", "test/active_units", "test/images"}
    assert not arrays
    with torch.no_grad():
        expected = -vae.decode(vae.encode(images).mean).log_prob(images)
    assert metrics["test/distortion"] == pytest.approx(expected.mean().item())
    assert not told


@pytest.mark.parametrize(
    ("prior", "components"),
    [("factorised_mixture", 3), ("mixture", 20), ("vampprior", 3)],
)
def test_pictures_follow_their_contract(prior, components):
    channels = 3
    settings = ModelSettings(hidden=(16,), latent_size=3, prior=prior, components=components)
    vae = build_vae(settings, (channels, 5, 4), seed=0)
    images = torch.rand(11, channels, 5, 4, generator=torch.Generator().manual_seed(0))
    shown = pictures(vae, images, seed=4)
    assert shown["originals"].shape == shown["reconstructions"].shape == (10, 5, 4, channels)
    assert shown["samples"].shape == (16, 5, 4, channels)
    assert all(array.dtype == np.uint8 for array in shown.values())
    np.testing.assert_array_equal(shown["originals"], to_pictures(images[:10], vae.values))
    mixture = prior in ("mixture", "vampprior")
    assert ("component_samples" in shown) == mixture
    if mixture:
        assert shown["component_samples"].shape == (min(16, components), 8, 5, 4, channels)
    again = pictures(vae, images, seed=4)
    assert all(np.array_equal(again[name], array) for name, array in shown.items())


def test_component_samples_come_heaviest_first():
    vae = build_vae(
        ModelSettings(hidden=(16,), latent_size=2, prior="mixture", components=3), (1, 4, 4), seed=0
    )
    with torch.no_grad():
        vae.prior.logits.copy_(torch.tensor([0.0, 2.0, 1.0]))
        vae.prior.log_vars.fill_(-20)  # each component is a point
        vae.prior.means.mul_(10)
        expected = to_pictures(vae.decode(vae.prior.means[[1, 2, 0]]).mean, vae.values)
    rows = pictures(vae, torch.rand(8, 1, 4, 4), seed=0)["component_samples"]
    assert np.abs(rows.astype(int) - expected[:, None].astype(int)).max() <= 1


def test_grid_puts_pictures_row_by_row_with_lines_between():
    images = np.stack([np.full((2, 3, 1), shade, np.uint8) for shade in (10, 20, 30)])
    canvas = grid(images, columns=2)
    assert canvas.shape == (5, 7, 1)
    assert (canvas[:2, :3] == 10).all()
    assert (canvas[:2, 4:] == 20).all()
    assert (canvas[3:, :3] == 30).all()
    assert (canvas[2] == canvas[0, 3]).all(), "a line between rows"


@pytest.mark.parametrize("channels", [1, 3])
def test_png_holds_the_picture_and_nothing_else_is_left(tmp_path, channels):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    path = tmp_path / "new" / "picture.png"
    write_png(path, image)
    write_png(path, image)
    np.testing.assert_array_equal(np.asarray(Image.open(path)).reshape(image.shape), image)
    assert list(path.parent.iterdir()) == [path]
