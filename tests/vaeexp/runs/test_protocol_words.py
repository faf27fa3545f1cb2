"""What two figures must share: the type and the unit of the numbers, levels, limits, and what a
likelihood is given; not the scale of the training."""

import re

import numpy as np
import pytest
from made_data import made

from sweeps.errors import UserError
from vaeexp.runs.provenance import protocol
from vaeexp.settings import Settings


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))


def drawn(dtype=np.float32):
    return (40 * np.random.default_rng(0).normal(size=(40, 1, 3, 4)) + 100).clip(0).astype(dtype)


def words(images, folder, searched=(), data=None, **params):
    dataset = made(images, folder, **(data or {}))
    return protocol(dataset, Settings().with_params({"binarisation": "none"} | params), searched)


def test_the_scale_of_the_training_is_no_part_of_it(tmp_path):
    found = [
        words(drawn(), tmp_path, likelihood="gaussian_learned", data={"scale": scale})
        for scale in ("none", "range", "standard")
    ]
    assert found[0] == found[1] == found[2]
    assert found[0]["binarisation"] == "none (float32 numbers, 1 of which is the unit)"
    cut = words(drawn(), tmp_path, data={"scale": "range", "clip": (1, 99)})
    assert cut["fingerprint"] != found[0]["fingerprint"]
    assert cut["reading"].startswith("cut to the percentiles 1 and 99 of the training images, ")


@pytest.mark.parametrize(("name", "setting"), [("gaussian", "sigma"), ("laplace", "laplace_scale")])
def test_a_fixed_scale_is_told_in_the_unit_of_the_data(tmp_path, name, setting):
    data = {"scale": "standard"}
    scale = made(drawn(), tmp_path, **data).values.scale
    said = words(drawn(), tmp_path, data=data, likelihood=name, **{setting: 0.5})["likelihood"]
    assert said.endswith(f", {0.5 * scale:.4g} in the unit of the data")
    for searched in ([setting], ["scale"]):
        said = words(drawn(), tmp_path, searched, data, likelihood=name)["likelihood"]
        assert "unit of the data" not in said


def test_bytes_and_their_scale_are_told_as_ever(tmp_path):
    images = drawn().clip(0, 255).astype(np.uint8)
    said = words(images, tmp_path, likelihood="gaussian", sigma=0.5)
    assert said["likelihood"] == "gaussian, σ = 0.5"
    assert said["binarisation"] == "none (grey levels in [0, 1])"
    standard = words(images, tmp_path, likelihood="gaussian_learned", data={"scale": "standard"})
    assert standard["binarisation"] == said["binarisation"]
    assert standard["fingerprint"] == said["fingerprint"]


def test_the_unit_of_vectors_of_bytes_is_that_of_other_vectors(tmp_path):
    images = drawn().clip(0, 255).astype(np.uint8).reshape(40, 1, 1, 12)
    found = [
        words(images, tmp_path, likelihood="gaussian_learned", data={"scale": scale})
        for scale in ("unit", "standard")
    ]
    assert found[0] == found[1]
    assert found[0]["binarisation"] == "none (uint8 numbers, 1 of which is the unit)"


def test_levels_and_the_sum_of_a_row_are_told(tmp_path):
    deep = drawn(np.uint16)
    deep[0, 0, 0, 0] = 4000
    assert words(deep, tmp_path, likelihood="discretised_logistic")["likelihood"].endswith(
        ", 4,096 levels"
    )
    counts = drawn(np.int64)
    given = {"likelihood": "negative_binomial", "size_factor": True}
    said = words(counts, tmp_path, data={"scale": "none"}, **given)["likelihood"]
    assert said == "negative_binomial, given the sum of each image"


def test_searched_likelihoods_are_named_and_share_their_measure(tmp_path):
    dataset = made(drawn(), tmp_path, scale="range")
    settings = Settings().with_params({"binarisation": "none", "likelihood": "laplace"})
    names = ["laplace", "student_t", "continuous_bernoulli"]
    said = protocol(dataset, settings, (), names)
    assert said["measure"] == "densities of real numbers"
    assert re.fullmatch(r"laplace, .* or student_t, .* or continuous_bernoulli", said["likelihood"])


def test_likelihoods_over_other_sub_pixels_are_not_searched_together(tmp_path, monkeypatch):
    def words(dataset, model, searched):
        of_all = model.likelihood == "continuous_bernoulli"
        return model.likelihood + ("" if of_all else ", over the 2 of 12 sub-pixels that vary")

    monkeypatch.setattr("vaeexp.runs.provenance._likelihood_words", words)
    dataset = made(drawn(), tmp_path, scale="range")
    settings = Settings().with_params({"binarisation": "none", "likelihood": "laplace"})
    assert "over the 2 of 12" in protocol(dataset, settings, (), ["laplace", "gaussian"])["measure"]
    with pytest.raises(UserError, match=r"over the 2 of 12 .* and densities of real numbers, so"):
        protocol(dataset, settings, (), ["laplace", "continuous_bernoulli"])
