"""Sub-pixels that never change in training are no part of the densities on the real line."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from fused import BASE, make_lanes, run, same_bits, source, trial
from made_data import made
from suited_values import REAL, suited
from torch import distributions as reference

from vaeexp.data.formats import TEST, TRAINING
from vaeexp.data.values import Values, from_record
from vaeexp.evaluation.generation import reconstruction_figures
from vaeexp.evaluation.nll import evaluate_elbo
from vaeexp.models.likelihoods import LIKELIHOODS, least_sigma
from vaeexp.models.vae import build_vae
from vaeexp.runs.provenance import protocol
from vaeexp.settings import ModelSettings, Settings

SHAPE = (2, 3, 4)
CONSTANT = (0, 3, -0.5, 3, 1, 0.25, 11, 6, 2.0)  # channel 0: four and the last; channel 1: five
PLACES = [0, 1, 2, 3, *range(11, 17)]
TARGETS = [-0.5] * 3 + [0.25] + [2.0] * 6
OTHERS = [place for place in range(24) if place not in PLACES]
OF_VARYING = [name for name, row in LIKELIHOODS.items() if row.of_varying]
CASES = [
    ("gaussian", "global"),
    ("laplace", "global"),
    *((name, per) for name in ("gaussian_learned", "student_t") for per in ("global", "channel")),
    *((name, "feature") for name in ("gaussian_learned", "student_t")),
]
SMALL = {"hidden": (6,), "latent_size": 2}


def values(**changes) -> Values:
    return Values(shape=SHAPE, **REAL | {"constant": CONSTANT} | changes)


def head(name: str, per: str = "global", **changes):
    settings = ModelSettings(likelihood=name, sigma_per=per, sigma=0.3, laplace_scale=0.3)
    made_head = LIKELIHOODS[name].head(settings, values(**changes))
    for parameter in made_head.parameters():
        with torch.no_grad():
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return made_head


def known(name: str, mean: torch.Tensor, scale: torch.Tensor):
    if name == "laplace":
        return reference.Laplace(mean, 0.3)
    if name == "student_t":
        return reference.StudentT(4.0, mean, scale)
    return reference.Normal(mean, scale)


def test_these_likelihoods_leave_them_out():
    assert OF_VARYING == ["gaussian", "gaussian_learned", "laplace", "student_t"]


@pytest.mark.parametrize(("name", "per"), CASES)
def test_the_density_is_that_of_the_others(name, per):
    kind = head(name, per)
    generator = torch.Generator().manual_seed(0)
    h, x = (torch.randn(5, *SHAPE, generator=generator) for _ in range(2))
    scale = torch.full(SHAPE, 0.3) if name in ("gaussian", "laplace") else kind.sigma.expand(SHAPE)
    every = known(name, h, scale).log_prob(x).flatten(1)
    found = kind(h)
    torch.testing.assert_close(found.log_prob(x), every[:, OTHERS].sum(1))
    means = found.mean.flatten(1)
    torch.testing.assert_close(means[:, PLACES], torch.tensor(TARGETS).expand(5, -1))
    torch.testing.assert_close(means[:, OTHERS], h.flatten(1)[:, OTHERS])
    drawn = found.sample(torch.Generator().manual_seed(0)).flatten(1)
    assert torch.equal(drawn[:, PLACES], means[:, PLACES])
    assert (drawn[:, OTHERS] != means[:, OTHERS]).all()


@pytest.mark.parametrize("name", ["gaussian_learned", "student_t"])
def test_their_scale_and_output_have_no_gradient(name):
    kind = head(name, "feature")
    h = torch.randn(5, *SHAPE, requires_grad=True)
    kind(h).log_prob(torch.randn(5, *SHAPE)).sum().backward()
    for gradient in (kind.raw_log_sigma.grad, h.grad.sum(0)):
        assert not gradient.flatten()[PLACES].any()
        assert gradient.flatten()[OTHERS].all()


def test_the_bound_of_a_shared_scale_is_that_of_the_others():
    bounds = torch.linspace(0.01, 0.24, 24, dtype=torch.float64)
    found = least_sigma(values(least_sigma=tuple(bounds.tolist())), "global")
    torch.testing.assert_close(found, bounds[OTHERS].square().mean().sqrt())
    whole = (0, 12, 0.0)  # a channel that never changes
    each = least_sigma(values(least_sigma=tuple(bounds.tolist()), constant=whole), "channel")
    assert each.isfinite().all()
    assert (each > 0).all()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_all_other_likelihoods_keep_every_sub_pixel(name):
    settings = ModelSettings(likelihood=name, **SMALL)
    plain = suited(name, SHAPE, scale=1.5)
    x = torch.ones(3, *SHAPE)
    vaes = [build_vae(settings, each, 0) for each in (plain, replace(plain, constant=CONSTANT))]
    with torch.no_grad():
        alone, other = (vae(x, torch.zeros(3, 2)).distortion + vae.log_scale for vae in vaes)
    assert torch.equal(alone, other) == (name not in OF_VARYING)


@pytest.mark.parametrize("scale", [1.5, tuple(0.5 + place for place in range(24))])
def test_the_unit_is_that_of_the_others(scale):
    expected = np.log(np.broadcast_to(scale, 24))[OTHERS].sum()
    assert values(scale=scale).log_scale == pytest.approx(expected)
    assert values().left_out == 10


def test_a_record_without_them_has_none():
    record = values().record()
    assert from_record(record) == values()
    assert from_record({**record, "constant": [*CONSTANT]}) == values()
    del record["constant"]
    assert from_record(record) == replace(values(), constant=())


# Data


def digits(scale: float = 1.0, count: int = 60) -> np.ndarray:
    """Float digits of 12 × 12 pixels of which 83 never change: a border, and two corners."""
    images = np.zeros((count, 1, 12, 12), np.float32)
    random = np.random.default_rng(0)
    strokes = random.normal(size=(count, 3)) @ random.normal(size=(3, 64))
    images[:, 0, 2:10, 2:10] = (strokes + 0.3 * random.normal(size=(count, 64))).reshape(-1, 8, 8)
    images[:, 0, [2, 2, 9], [2, 9, 2]] = 0.5
    return images * np.float32(scale)


def test_constant_sub_pixels_of_files_are_found(tmp_path):
    for scale, per in (("none", "global"), ("standard", "global"), ("range", "feature")):
        data = made(digits(), tmp_path, scale=scale, scale_per=per)
        known_there = np.full(144, np.nan)
        for places, target in data.values.runs():
            known_there[places] = target
        expected = data.train.images[0].reshape(-1)
        still = (digits() == digits()[0]).all(0).reshape(-1)
        np.testing.assert_array_equal(known_there, np.where(still, expected, np.nan))
        assert data.values.left_out == 83
        assert len(data.values.constant) < 100


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float64])
def test_they_are_found_in_all_numbers_but_bytes(tmp_path, dtype):
    images = (digits() * 100 + 500).astype(dtype)
    assert made(images, tmp_path, scale="standard").values.left_out == 83
    levels = (digits() * 20 + 100).clip(0, 255).astype(np.uint8)
    assert made(levels, tmp_path).values.left_out == 0
    assert made(levels, tmp_path, scale="standard").values.left_out >= 83


def test_only_what_never_changes_in_training_is_left_out(tmp_path):
    images = digits()
    images[-6:, 0, 0, 0] = 3.0
    parts = np.full(len(images), TRAINING, np.uint8)
    parts[-6:] = TEST
    data = made(images, tmp_path, raw={"parts": parts}, scale="none")
    assert data.values.left_out == 83
    same = np.broadcast_to(images[:1], images.shape)
    assert made(same, tmp_path / "same", scale="none").values.constant == ()


@pytest.mark.parametrize("name", OF_VARYING)
def test_no_unit_of_the_file_turns_an_answer(tmp_path, name):
    """Divided by 1,000, each −ELBO falls by log 1,000 for each of the 61 others, so that the order
    of two scales is the same."""
    settings = ModelSettings(likelihood=name, sigma_per="feature", **SMALL)
    found = np.zeros((2, 2))
    for row, factor in enumerate((1.0, 1e-3)):
        for column, per in enumerate(("global", "feature")):
            data = made(digits(factor), tmp_path / name, scale="standard", scale_per=per)
            vae = build_vae(settings, data.values, 0)
            x = torch.from_numpy(np.array(data.validation.images))
            terms = evaluate_elbo(vae, x, seed=0)
            found[row, column] = float((terms.distortion + terms.rate).mean())
    np.testing.assert_allclose(found[0] - found[1], 61 * math.log(1000), rtol=1e-4)


def test_reconstructions_have_their_training_value(tmp_path):
    data = made(digits(), tmp_path, scale="standard")
    vae = build_vae(ModelSettings(likelihood="gaussian", **SMALL), data.values, 0)
    x = torch.from_numpy(np.array(data.validation.images))
    still = torch.from_numpy((digits() == digits()[0]).all(0))
    errors = (vae.reconstruct(x) - x) * data.values.scale
    assert errors[:, still].abs().max() < 1e-6
    mse = reconstruction_figures(vae, x)["test/reconstruction_mse"]
    assert mse == pytest.approx(errors.square().mean().item())


def test_the_protocol_says_how_many_vary(tmp_path):
    data = made(digits(), tmp_path, scale="standard")
    said = {
        name: protocol(data, Settings().with_params({"binarisation": "none", "likelihood": name}))
        for name in ("gaussian_learned", "continuous_bernoulli")
    }
    end = ", over the 61 of 144 sub-pixels that vary"
    assert said["gaussian_learned"]["likelihood"] == f"gaussian_learned{end}"
    assert "vary" not in said["continuous_bernoulli"]["likelihood"]
    assert data.describe()["constant"] == 83


# Lanes


@pytest.mark.parametrize("name", OF_VARYING)
def test_fused_lanes_equal_lanes_alone(tmp_path, name):
    base = BASE.with_params({"likelihood": name, "sigma_per": "feature", "epochs": 2})
    constant = (0, 9, 0.0, 30, 2, 1.0)
    data = replace(source("none"), values=Values(shape=(1, 8, 8), **REAL, constant=constant))
    me, other = trial(0, beta=0.5), trial(1, latent_size=3)
    alone = run(*make_lanes(tmp_path, base=base, data=data), [me], 2)[0]
    plain = run(*make_lanes(tmp_path, kind="sequential", base=base, data=data), [me], 2)[0]
    together = run(*make_lanes(tmp_path, base=base, data=data), [other, me], 2)
    assert together[0][0] == alone[0] == pytest.approx(plain[0], rel=1e-4)
    assert same_bits(together[0][1], alone[1])
    every = replace(data, values=replace(data.values, constant=()))
    assert run(*make_lanes(tmp_path, base=base, data=every), [me], 2)[0][0] != alone[0]


@pytest.mark.slow
def test_compiled_lanes_equal_plain_ones(tmp_path):
    base = BASE.with_params({"likelihood": "student_t", "sigma_per": "feature", "epochs": 1})
    values = Values(shape=(1, 8, 8), **REAL, constant=(0, 9, 0.0, 30, 2, 1.0))
    data = replace(source("none"), values=values)
    found = [
        run(*make_lanes(tmp_path / kind, kind=kind, base=base, data=data), [trial(0)], 1)[0][0]
        for kind in ("compiled", "sequential")
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-4)
