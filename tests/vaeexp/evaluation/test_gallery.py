"""Pictures of the latent space: against decoders whose pictures tell which code they were made
from.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vaeexp.data.showing import to_pictures
from vaeexp.data.values import Values
from vaeexp.evaluation.gallery import (
    by_class,
    embedding,
    gallery,
    interpolations,
    manifold,
    pairs,
    traversals,
)
from vaeexp.evaluation.generation import grid, grids
from vaeexp.models.posteriors import Deterministic, DiagonalGaussian
from vaeexp.models.priors import PRIORS, NormalPrior
from vaeexp.models.vae import VAE, build_vae
from vaeexp.settings import ModelSettings

SHAPE = (1, 4, 4)


def model(shape=SHAPE, **settings) -> VAE:
    return build_vae(ModelSettings(hidden=[16], **settings), shape, seed=1).eval()


def images(count: int, shape=SHAPE, seed: int = 0) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


class Decoded:
    def __init__(self, mean: Tensor) -> None:
        self.mean = mean


class Glass(nn.Module):
    """Images are codes and codes are images, [1, L, 1] with the numbers 0 … 1 for the codes −4
    … 4.
    """

    posterior = DiagonalGaussian

    def __init__(
        self, latent_size: int, log_var: float = -20.0, mask: list[float] | None = None
    ) -> None:
        super().__init__()
        self.log_var, self.decoder = log_var, nn.Identity()
        self.values = Values(shape=(1, latent_size, 1))
        self.register_buffer(
            "latent_mask", torch.tensor(mask or [1.0] * latent_size, dtype=torch.float32)
        )

    def encode(self, x: Tensor) -> DiagonalGaussian:
        mean = (x.flatten(1) * 8 - 4) * self.latent_mask
        return DiagonalGaussian(mean, torch.full_like(mean, self.log_var), self.latent_mask)

    encode_density = encode

    def decode(self, z: Tensor) -> Decoded:
        return Decoded(((self.decoder(z) + 4) / 8).unsqueeze(-1).unsqueeze(-3))

    def prior_distribution(self):
        return NormalPrior(len(self.latent_mask), 1, (1, 1, 1))(self.encode, self.latent_mask)


def as_images(codes) -> Tensor:
    codes = torch.as_tensor(np.asarray(codes), dtype=torch.float32)
    return ((codes + 4) / 8).reshape(len(codes), 1, -1, 1)


def as_codes(pictures: np.ndarray) -> np.ndarray:
    """[..., L], as exactly as 255 levels over 8 units tell."""
    return pictures[..., :, 0, 0] / 255 * 8 - 4


LEVEL = 8 / 255 / 2 + 1e-6


@pytest.mark.parametrize("kind", ["linear", "spherical"])
def test_the_ends_of_a_way_through_codes_are_the_reconstructions(kind):
    vae, x = model(latent_size=5), images(6)
    ways = interpolations(vae, x[:3], x[3:], 7, kind)
    assert ways.shape == (3, 7, 4, 4, 1)
    for place, ends in ((0, x[:3]), (-1, x[3:])):
        with torch.no_grad():
            expected = to_pictures(vae.decode(vae.encode(ends).mean).mean, vae.values)
        np.testing.assert_allclose(ways[:, place].astype(int), expected, atol=1)


def test_a_straight_way_has_equal_steps_and_goes_through_the_mean():
    first, second = [[3.0, -2.0, 0.5]], [[-1.0, 2.0, 0.5]]
    codes = as_codes(interpolations(Glass(3), as_images(first), as_images(second), 5, "linear"))[0]
    np.testing.assert_allclose(codes, np.linspace(first[0], second[0], 5), atol=LEVEL)


def test_a_spherical_way_turns_by_equal_angles_while_the_length_changes_evenly():
    first, second = np.array([3.0, 0.0, 0.0]), np.array([0.0, -1.0, 1.2])
    codes = as_codes(
        interpolations(Glass(3), as_images([first]), as_images([second]), 7, "spherical")
    )[0]
    lengths = np.linalg.norm(codes, axis=1)
    np.testing.assert_allclose(lengths, np.linspace(3, np.linalg.norm(second), 7), atol=3 * LEVEL)
    turns = [math.acos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairwise(codes)]
    np.testing.assert_allclose(turns, math.pi / 2 / 6, atol=0.03)
    straight = as_codes(
        interpolations(Glass(3), as_images([first]), as_images([second]), 7, "linear")
    )[0]
    assert np.linalg.norm(straight[3]) < lengths[3] - 0.3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([2.0, 1.0], [2.0, 1.0]),
        ([2.0, 1.0], [1.0, 0.5]),
        ([2.0, 1.0], [-2.0, -1.0]),
    ],
    ids=["equal", "parallel", "opposite"],
)
def test_without_a_great_circle_the_spherical_way_is_straight(first, second):
    codes = as_codes(
        interpolations(Glass(2), as_images([first]), as_images([second]), 5, "spherical")
    )[0]
    np.testing.assert_allclose(codes, np.linspace(first, second, 5), atol=LEVEL)


def test_pixels_are_cross_faded_whatever_the_model():
    x = images(2, (3, 4, 5))
    vae = Glass(1)
    vae.values = Values(shape=(3, 4, 5))
    faded = interpolations(vae, x[:1], x[1:], 3, "pixel")[0]
    assert faded.shape == (3, 4, 5, 3)
    middle = (x[0].double() + x[1].double()) / 2
    for picture, expected in zip(faded, (x[0], middle, x[1]), strict=True):
        np.testing.assert_array_equal(picture, to_pictures(expected, vae.values))


def test_pairs_are_of_different_classes_in_their_order_and_use_no_image_twice():
    labels = np.array([7, 7, 7, 2, 1, 0, 1], dtype=np.uint8)
    assert by_class(labels) == [5, 4, 3, 0, 6, 1, 2]
    assert pairs(labels) == ([5, 3, 6], [4, 0, 1])
    assert pairs(np.repeat(np.arange(10), 50)) == ([0, 100, 200], [50, 150, 250])
    assert pairs(np.zeros(9)) == ([0, 2, 4], [1, 3, 5])
    assert pairs(torch.tensor([0, 0, 0, 1])) == ([0, 1], [3, 2])
    assert pairs(np.array([4])) == ([0], [0])


def test_only_the_dimension_of_a_row_moves_and_over_the_aggregate_posterior():
    codes = (
        torch.randn(200, 3, generator=torch.Generator().manual_seed(3))
        * torch.tensor([0.2, 1.0, 0.5])
        + 0.3
    )
    codes[:, 0] -= 1
    vae = Glass(3, log_var=math.log(0.04))
    labels = np.repeat([1, 0], 100)
    shown, numbers = traversals(vae, as_images(codes), labels, dimensions=2, steps=5, reach=2.0)
    assert numbers.tolist() == [1, 2]
    assert shown.shape == (2, 5, 3, 1, 1)
    for row, number, start in zip(as_codes(shown), numbers, (100, 0), strict=True):
        spread = (codes[:, number].double().var(correction=0) + 0.04).sqrt()
        expected = np.tile(codes[start].numpy(), (5, 1))
        expected[:, number] = codes[:, number].mean() + spread * torch.linspace(-2, 2, 5)
        np.testing.assert_allclose(row, expected, atol=LEVEL + 1e-4)


def test_dead_dimensions_come_after_active_ones_and_masked_ones_never():
    codes = torch.randn(50, 5, generator=torch.Generator().manual_seed(3)) * torch.tensor(
        [0.0, 0.5, 3.0, 0.0, 1.0]
    )
    vae = Glass(5, mask=[1, 1, 0, 1, 1])
    _, numbers = traversals(
        vae, as_images(codes), torch.zeros(50), dimensions=8, steps=3, reach=2.0
    )
    assert numbers.tolist() == [4, 1, 0, 3]


def test_the_plane_of_a_normal_prior_stands_at_equal_steps_of_probability():
    codes = as_codes(manifold(Glass(2), 5, images(1, (1, 2, 1))))
    across, upwards = codes[..., 0], codes[..., 1]
    shares = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    quantiles = torch.distributions.Normal(0, 1).icdf(torch.tensor(shares)).numpy()
    np.testing.assert_allclose(across, np.tile(quantiles, (5, 1)), atol=LEVEL)
    np.testing.assert_allclose(upwards, np.tile(quantiles[::-1], (5, 1)).T, atol=LEVEL)


def test_the_plane_of_another_prior_stands_at_the_quantiles_of_the_codes():
    vae = Glass(2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = PRIORS["mixture"](2, 1, SHAPE)
    prior.means.data = torch.tensor([[1.0, -2.0]])
    vae.prior_distribution = lambda: prior(vae.encode, vae.latent_mask)
    codes = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor(
        [2.0, 1.0]
    )
    shown = as_codes(manifold(vae, 4, as_images(codes)))
    expected = codes.double().quantile(torch.tensor([0.125, 0.375, 0.625, 0.875]).double(), dim=0)
    np.testing.assert_allclose(shown[0, :, 0], expected[:, 0], atol=LEVEL)
    np.testing.assert_allclose(shown[:, 0, 1], expected[:, 1].flip(0), atol=LEVEL)


def test_the_plane_of_a_plain_autoencoder_stands_where_its_codes_are():
    vae = Glass(2)
    vae.posterior = Deterministic
    shown = as_codes(manifold(vae, 1, as_images([[1.0, 3.0], [2.0, -1.0], [3.0, 0.0]])))
    np.testing.assert_allclose(shown[0, 0], [2.0, 0.0], atol=LEVEL)


def test_a_plane_is_of_the_two_dimensions_that_exist():
    assert manifold(Glass(3, mask=[1, 0, 1]), 3, images(1, (1, 3, 1))).shape == (3, 3, 3, 1, 1)


def test_the_map_is_the_same_again_and_keeps_blobs_apart():
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[-2.0, 0, 0, 0], [2.0, 0, 0, 0]]).repeat_interleave(40, 0)
    x = as_images(centres + 0.2 * torch.randn(80, 4, generator=generator))
    points = embedding(Glass(4), x, seed=3)
    assert points.shape == (80, 2)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, embedding(Glass(4), x, seed=3))
    between = np.linalg.norm(points[:, None] - points[None], axis=-1)
    nearest = (between + np.diag(np.full(80, np.inf))).argmin(1)
    assert ((nearest < 40) == (np.arange(80) < 40)).all()
    assert np.linalg.norm(points[:40].mean(0) - points[40:].mean(0)) > 2 * points[:40].std(0).max()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 2, 7])
def test_few_and_equal_codes_have_a_map_too(count):
    for x in (as_images(torch.randn(count, 1)), as_images(torch.zeros(count, 3))):
        points = embedding(Glass(x.shape[-1]), x, seed=2**40)
        assert points.shape == (count, 2)
        assert np.isfinite(points).all()


@pytest.mark.parametrize(
    ("posterior", "prior", "latent_size"),
    [
        *(("gaussian", prior, 2) for prior in PRIORS),
        ("gaussian", "normal", 1),
        ("deterministic", "normal", 9),
    ],
)
def test_any_model_has_a_gallery(posterior, prior, latent_size):
    vae = model(latent_size=latent_size, prior=prior, posterior=posterior, components=1)
    state = torch.get_rng_state()
    shown, _ = gallery(vae, images(2), np.array([3, 3], dtype=np.uint8), None, seed=5)
    shapes = {name: array.shape[:-3] for name, array in shown.items()}
    assert shapes == {
        "latent_interpolations": (1, 10),
        "spherical_interpolations": (1, 10),
        "pixel_interpolations": (1, 10),
        "traversals": (min(8, latent_size), 9),
        **({"manifold": (15, 15)} if latent_size == 2 else {}),
    }
    assert {array.dtype for array in shown.values()} == {np.dtype(np.uint8)}
    assert {array.shape[-3:] for array in shown.values()} == {(4, 4, 1)}
    torch.testing.assert_close(torch.get_rng_state(), state)


def test_colour_pictures_and_numbers_fit_together(tmp_path):
    vae = model((3, 4, 6), likelihood="gaussian", latent_size=3)
    x, labels = images(20, (3, 4, 6)), torch.arange(20) % 4
    shown, numbers = gallery(vae, x, labels, ("a", "b", "c", "d"), seed=5)
    assert shown["traversals"].shape == (3, 9, 4, 6, 3)
    assert numbers["embedding"].shape == (20, 2)
    assert numbers["embedding_labels"].tolist() == labels.tolist()
    assert numbers["classes"].tolist() == ["a", "b", "c", "d"]
    again, dimensions = traversals(
        vae, x, labels, dimensions=8, steps=9, reach=float(numbers["traversal_reach"])
    )
    assert numbers["traversal_dimensions"].tolist() == dimensions.tolist()
    np.testing.assert_array_equal(again, shown["traversals"])
    np.savez(tmp_path / "evaluation.npz", **numbers)
    with np.load(tmp_path / "evaluation.npz", allow_pickle=False) as file:
        assert set(file) == set(numbers)
    _, without = gallery(vae, x, labels, None, seed=5)
    assert without["classes"].tolist() == []
    assert "embedding_labels" not in without


def test_of_many_images_some_are_looked_at_with_their_own_labels(monkeypatch):
    monkeypatch.setattr("vaeexp.evaluation.latent._IMAGES", 5)
    x = as_images(torch.arange(30) / 10)
    names = [str(number) for number in range(30)]
    _, found = gallery(Glass(1), x, torch.arange(30), names, seed=1)
    chosen = found["embedding_labels"].tolist()
    assert chosen[0] == 0
    assert len(set(chosen)) == 5
    assert max(chosen) > 5
    np.testing.assert_array_equal(found["embedding"], embedding(Glass(1), x[chosen], seed=1))


def test_grids_are_one_for_each_kind():
    random = np.random.default_rng(0)
    drawn = {
        name: random.integers(0, 255, (*shape, 3, 2, 1), dtype=np.uint8)
        for name, shape in {
            "originals": (8,),
            "reconstructions": (8,),
            "samples": (16,),
            "traversals": (4, 9),
        }.items()
    }
    files = grids(drawn)
    assert files.keys() == {"reconstructions", "samples", "traversals"}
    both = np.concatenate([drawn["originals"], drawn["reconstructions"]])
    np.testing.assert_array_equal(files["reconstructions"], grid(both, 8))
    np.testing.assert_array_equal(
        files["traversals"], grid(drawn["traversals"].reshape(36, 3, 2, 1), 9)
    )
    assert files["samples"].shape == (2 * 4 - 1, 8 * 3 - 1, 1)
