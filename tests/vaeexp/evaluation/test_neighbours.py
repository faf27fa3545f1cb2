"""Nearest training images: against all distances at once, and for a model that copies."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vaeexp.data.values import Values
from vaeexp.evaluation.neighbours import nearest, neighbour_arrays, usual_distance


def dataset(count, binarisation="none", shape=(1, 5, 4), seed=0):
    random = np.random.default_rng(seed)
    images = random.integers(
        0, 2 if binarisation == "static" else 256, (count, *shape), dtype=np.uint8
    )
    train = SimpleNamespace(images=images)
    values = Values(shape=shape)
    return SimpleNamespace(
        binarisation=binarisation, target_kind=binarisation, train=train, values=values
    )


def levels(data):
    return torch.from_numpy(data.train.images).float() / (
        1 if data.binarisation == "static" else 255
    )


@pytest.mark.parametrize("block", [64, 2**24])
@pytest.mark.parametrize("binarisation", ["none", "static", "dynamic"])
def test_nearest_images_are_those_of_all_distances(monkeypatch, block, binarisation):
    monkeypatch.setattr("vaeexp.evaluation.neighbours._BLOCK", block)
    data, queries = dataset(70, binarisation), torch.rand(9, 1, 5, 4)
    every = torch.cdist(queries.flatten(1).double(), levels(data).flatten(1).double())
    found, distances = nearest(queries, data)
    torch.testing.assert_close(distances, every.min(1).values)
    assert torch.equal(found, every.argmin(1))


def test_a_copy_has_the_distance_zero():
    data = dataset(300)
    found, distances = nearest(levels(data)[[17, 170]], data)
    assert found.tolist() == [17, 170]
    assert distances.tolist() == [0.0, 0.0]


def test_the_usual_distance_is_the_median_over_test_images():
    data, images = dataset(40), torch.rand(600, 1, 5, 4)
    few = usual_distance(images[:101], data, seed=0)
    every = (
        torch.cdist(images[:101].flatten(1).double(), levels(data).flatten(1).double())
        .min(1)
        .values
    )
    assert few == pytest.approx(every.median().item())
    assert usual_distance(images, data, seed=0) == usual_distance(images, data, seed=0)


class Images:
    """p(x|z) of binary images: their mean, and draws that are the images, inverted."""

    def __init__(self, mean):
        self.mean = mean

    def sample(self, generator):
        return 1 - self.mean


@pytest.mark.parametrize(("binarisation", "drawn"), [("none", False), ("static", True)])
def test_a_model_that_copies_is_found_out_with_the_images_that_it_copies(binarisation, drawn):
    data = dataset(50, binarisation)
    copied = levels(data)[20:28]
    model = SimpleNamespace(
        sample=lambda count, generator: Images(1 - copied[:count] if drawn else copied[:count])
    )
    arrays = neighbour_arrays(model, data, seed=0)
    assert arrays["neighbour_samples"].shape == arrays["neighbour_images"].shape == (8, 5, 4, 1)
    assert arrays["neighbour_samples"].dtype == arrays["neighbour_images"].dtype == np.uint8
    np.testing.assert_array_equal(arrays["neighbour_samples"], arrays["neighbour_images"])
    assert arrays["neighbour_distances"].tolist() == [0.0] * 8
    assert usual_distance(torch.rand(30, 1, 5, 4), data, seed=0) > 0.5
