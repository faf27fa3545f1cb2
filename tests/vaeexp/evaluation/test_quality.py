"""The classifier, and the figures made with it: against closed forms and on images that anybody can
tell apart.
"""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sealed import flip_bit

from sweeps.errors import UserError
from vaeexp.data import Dataset
from vaeexp.data.duplicates import row_keys
from vaeexp.data.scaling import bytes_scaling
from vaeexp.data.values import Values, as_values
from vaeexp.evaluation import classifier as recipe
from vaeexp.evaluation.classifier import (
    Classifier,
    ImageClassifier,
    open_classifier,
    train_classifier,
)
from vaeexp.evaluation.generation import (
    frechet_distance,
    generation_figures,
    inception_score,
    reconstruction_figures,
    structural_similarity,
)
from vaeexp.models.vae import build_vae
from vaeexp.settings import ModelSettings


def bars(count, channels=1, side=8, seed=0):
    """Class 0 is bright above, class 1 bright below; uint8 [count, channels, side, side] and
    labels.
    """
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, count, dtype=np.uint8)
    images = draw.integers(0, 90, (count, channels, side, side), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        half = slice(0, side // 2) if label == 0 else slice(side // 2, side)
        image[:, half] += 140
    return images, labels


def dataset(
    folder: Path,
    *,
    train=40,
    test=20,
    channels=1,
    binarisation="none",
    classes=("above", "below"),
    **changes,
):
    """A data set as `open_dataset` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count, seed in (("training", train + 2, 0), ("test", test, 1)):
        images, labels = bars(count, channels, seed=seed)
        if binarisation == "static":
            np.save(folder / f"{part}_keys.npy", row_keys(images))
            images = (images > 128).astype(np.uint8)
        np.save(folder / f"{part}_images.npy", images)
        np.save(folder / f"{part}_labels.npy", labels if classes else 0 * labels)
    facts = {"fingerprint": "f" * 64, "sizes": (train, 2, test), "classes": classes} | changes
    return Dataset(
        name="bars",
        title="Bars",
        subset=False,
        binarisation=binarisation,
        image_shape=(channels, 8, 8),
        source="here",
        folder=folder,
        notes=(),
        warnings=(),
        reading=(),
        pixels={},
        limits=(0, 255),
        split_seed=0,
        values=as_values((channels, 8, 8)),
        scaling=bytes_scaling(),
        **facts,
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize(("channels", "binarisation"), [(3, "none"), (1, "static"), (1, "dynamic")])
def test_tells_two_classes_apart_and_is_trained_once(tmp_path, cache, channels, binarisation):
    said = []
    data = dataset(tmp_path / "data", channels=channels, binarisation=binarisation)
    first = open_classifier(data, say=said.append)
    assert first.accuracy == 1
    assert first.binarised == (binarisation != "none")
    assert len(said) == 2
    state = torch.get_rng_state()
    second = open_classifier(data, say=said.append)
    assert len(said) == 2, "nothing is trained the second time"
    assert torch.equal(state, torch.get_rng_state())
    assert second.accuracy == first.accuracy
    for ours, theirs in zip(
        first.model.state_dict().values(), second.model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert not second.model.training


def test_other_data_other_sizes_and_other_recipes_have_their_own(tmp_path, cache, monkeypatch):
    trained = []
    for changes in ({}, {"fingerprint": "a" * 64}, {"train": 39}, {}):
        open_classifier(dataset(tmp_path / "data", **changes), say=trained.append)
    assert len(trained) == 2 * 3
    monkeypatch.setattr(recipe, "_RECIPE", -1)
    open_classifier(dataset(tmp_path / "data"), say=trained.append)
    assert len(trained) == 2 * 4


@pytest.mark.parametrize("name", ["classifier.safetensors", "meta.json"])
def test_a_damaged_classifier_is_trained_again_with_one_line(tmp_path, cache, caplog, name):
    data = dataset(tmp_path / "data")
    before = open_classifier(data, say=lambda _: None)
    (file,) = cache.rglob(name)
    for share in (0.02, 0.999):
        flip_bit(file, share)
        caplog.clear()
        again = open_classifier(data, say=lambda _: None)
        [line] = caplog.messages
        assert line.startswith(str(file))
        assert again.accuracy == before.accuracy
        for ours, theirs in zip(
            again.model.state_dict().values(), before.model.state_dict().values(), strict=True
        ):
            assert torch.equal(ours, theirs)
    assert len(list(cache.rglob("classifier.safetensors"))) == 1


@pytest.mark.parametrize("classes", [None, ("all",)])
def test_images_without_classes_have_no_classifier(tmp_path, cache, classes):
    assert open_classifier(dataset(tmp_path / "data", classes=classes), say=pytest.fail) is None
    assert not cache.exists()


def test_targets_of_another_scale_have_a_classifier_of_their_own(tmp_path, cache):
    said = []
    data = dataset(tmp_path / "data")
    for part in ("training", "test"):
        path = tmp_path / "data" / f"{part}_images.npy"
        np.save(path, np.load(path).astype(np.float32) / 255)
    for scale in (1.0, 2.0, 1.0):
        scaling = replace(data.scaling, kind="standard", scale=np.full((1, 1, 1), scale))
        open_classifier(replace(data, scaling=scaling), say=said.append)
    assert len(said) == 4, "two are trained, and the third is the first"


def test_vectors_with_classes_have_no_classifier(tmp_path, cache):
    vectors = replace(dataset(tmp_path / "data"), image_shape=(1, 1, 64))
    assert open_classifier(vectors) is None
    assert not cache.exists()


def test_one_image_is_enough_to_run(tmp_path, cache):
    found = open_classifier(dataset(tmp_path / "data", train=1, test=1), say=lambda _: None)
    assert found.accuracy in (0, 1)


def test_a_cache_that_cannot_be_written_is_the_users_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="VAEEXP_CACHE"):
        open_classifier(dataset(tmp_path / "data"), say=lambda _: None)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 218, 178), (1, 9, 40)])
def test_features_and_logits_of_images_of_any_size(shape):
    model = ImageClassifier(shape, 7).eval()
    x = torch.rand(2, *shape)
    assert model.features(x).shape == (2, 128)
    assert (model.features(x) >= 0).all()
    torch.testing.assert_close(model(x), model.head(model.features(x)))


def test_training_depends_on_its_seed_and_on_no_global_generator():
    images, labels = bars(20)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = train_classifier(images, labels, "dynamic", classes=2, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(5)
    again, other = (
        train_classifier(images, labels, "dynamic", classes=2, seed=seed) for seed in (3, 4)
    )
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_frechet_distance_of_gaussians_is_the_closed_form():
    """‖μ − μ′‖² + Σ_d (σ_d − σ′_d)² for covariances with common axes, of samples with exactly these
    moments.
    """
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(4, 4, generator=generator).double())[0]

    def sample(mean, scales):
        x = torch.randn(500, 4, generator=generator).double()
        # Mean 0, covariance I.
        x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
        return mean + (x * scales) @ axes.T

    means = torch.tensor([0.0, 1, 2, 3]).double(), torch.tensor([1.0, 1, 0, 3]).double()
    scales = torch.tensor([1.0, 2, 0.5, 3]).double(), torch.tensor([2.0, 2, 0.1, 1]).double()
    first, second = sample(means[0], scales[0]), sample(means[1], scales[1])
    expected = (means[0] - means[1]).square().sum() + (scales[0] - scales[1]).square().sum()
    assert frechet_distance(first, second) == pytest.approx(expected.item(), rel=1e-9)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(first.float(), second.float()) == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_frechet_distance_of_fewer_images_than_features():
    x = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-4)
    assert frechet_distance(x, x + 2) == pytest.approx(80, rel=1e-5)


def test_inception_score_runs_from_one_to_the_number_of_classes():
    classes = torch.arange(60) % 6
    assert inception_score(torch.zeros(60, 6)) == pytest.approx(1)
    for certainty in (50.0, 1e4):
        assert inception_score(certainty * torch.eye(6)[classes]) == pytest.approx(6)
        assert inception_score(certainty * torch.eye(6)[classes % 2]) == pytest.approx(2)
        assert inception_score(certainty * torch.eye(6)[0 * classes]) == pytest.approx(1)


def test_inception_score_is_its_definition():
    logits = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)).double()
    state = torch.get_rng_state()
    p = logits.softmax(1)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(p), torch.distributions.Categorical(p.mean(0))
    )
    assert inception_score(logits) == pytest.approx(expected.mean().exp().item(), rel=1e-12)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("channels", "count"), [(1, 1), (3, 128), (3, 129)])
def test_generation_figures_are_complete_and_repeat(channels, count):
    vae = build_vae(
        ModelSettings(hidden=(16,), latent_size=3, likelihood="gaussian"), (channels, 8, 8), seed=0
    ).eval()
    judge = Classifier(ImageClassifier((channels, 8, 8), 4).eval(), 0.75, binarised=False)
    x = torch.rand(count, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    figures = generation_figures(vae, x, judge, seed=1)
    names = {"inception_score", "classifier_accuracy", "generated"} | (
        {"fid"} if count > 128 else set()
    )
    assert figures.keys() == {f"test/{name}" for name in names}
    assert all(type(value) is float and math.isfinite(value) for value in figures.values())
    assert 1 <= figures["test/inception_score"] <= 4
    assert (figures["test/classifier_accuracy"], figures["test/generated"]) == (0.75, count)
    assert figures == generation_figures(vae, x, judge, seed=1)


def test_a_model_of_the_very_images_has_a_small_distance_and_a_flat_one_a_large_distance():
    """Coins of p = 0.5 per pixel, drawn from p(x|z): as close to such test images as other test
    images are.
    """
    vae = build_vae(ModelSettings(hidden=(16,), latent_size=3), (1, 8, 8), seed=0).eval()
    with torch.no_grad():
        vae.decoder[-2].weight.zero_()
        vae.decoder[-2].bias.zero_()
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(400, 1, 8, 8, generator=generator) < 0.5).float()
    torch.manual_seed(0)
    model = ImageClassifier((1, 8, 8), 4).eval()
    drawn = generation_figures(vae, x, Classifier(model, 1.0, binarised=True), seed=1)["test/fid"]
    means = generation_figures(vae, x, Classifier(model, 1.0, binarised=False), seed=1)["test/fid"]
    others = (torch.rand(400, 1, 8, 8, generator=generator) < 0.5).float()
    with torch.no_grad():
        expected = frechet_distance(model.features(x), model.features(others))
    assert drawn == pytest.approx(expected, rel=0.5)
    assert means > 5 * drawn


def test_structural_similarity_of_constant_images_is_the_luminance_term():
    first, second = torch.full((2, 1, 12, 12), 0.25), torch.full((2, 1, 12, 12), 0.75)
    c = 0.01**2
    expected = (2 * 0.25 * 0.75 + c) / (0.25**2 + 0.75**2 + c)
    torch.testing.assert_close(
        structural_similarity(first, second), torch.full((2,), expected), atol=1e-3, rtol=0
    )
    noise = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(structural_similarity(noise, noise), torch.ones(2))


@pytest.mark.parametrize("side", [(3, 3), (4, 9), (10, 30)])
def test_structural_similarity_of_small_images(side):
    x = torch.rand(4, 3, *side, generator=torch.Generator().manual_seed(0))
    near, far = structural_similarity(x, (x + 0.02).clamp(max=1)), structural_similarity(x, 1 - x)
    assert near.shape == (4,)
    assert (near > far).all()
    assert (near <= 1).all()


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "categorical_256"])
def test_reconstruction_figures_are_means_over_images_whatever_the_batches(likelihood, monkeypatch):
    vae = build_vae(
        ModelSettings(hidden=(16,), latent_size=3, likelihood=likelihood), (3, 8, 8), seed=0
    ).eval()
    x = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = reconstruction_figures(vae, x)
    with torch.no_grad():
        made = vae.decode(vae.encode(x).mean).mean
    assert whole["test/reconstruction_mse"] == pytest.approx(
        ((made - x) ** 2).mean().item(), rel=1e-5
    )
    assert whole["test/reconstruction_ssim"] == pytest.approx(
        structural_similarity(made, x).mean().item(), rel=1e-4
    )
    monkeypatch.setattr("vaeexp.evaluation.generation.image_rows", lambda vae: 3)
    for name, value in reconstruction_figures(vae, x).items():
        assert value == pytest.approx(whole[name], rel=1e-5)


@pytest.mark.parametrize(
    ("shape", "unit", "measured"),
    [
        ((1, 3, 3), True, True),
        ((3, 8, 8), True, True),
        ((1, 2, 8), True, False),
        ((1, 8, 2), True, False),
        ((5, 8, 8), True, False),
        ((1, 1, 8), True, False),
        ((1, 8, 8), False, False),
    ],
)
def test_similarity_is_measured_of_images_in_the_unit_interval(shape, unit, measured):
    values = Values(shape=shape, unit=unit, levels=None)
    settings = ModelSettings(hidden=(4,), latent_size=2, likelihood="gaussian")
    vae = build_vae(settings, values, seed=0).eval()
    figures = reconstruction_figures(vae, torch.rand(5, *shape))
    assert "test/reconstruction_mse" in figures
    assert ("test/reconstruction_ssim" in figures) == measured


def test_errors_count_in_the_unit_of_the_report_of_each_sub_pixel():
    scale = (0.5, 2.0, 30.0, 1e4)
    values = Values(shape=(1, 1, 4), unit=False, levels=None, scale=scale)
    settings = ModelSettings(hidden=(4,), latent_size=2, likelihood="gaussian")
    vae = build_vae(settings, values, seed=0).eval()
    x = torch.randn(6, 1, 1, 4, generator=torch.Generator().manual_seed(0))
    errors = (vae.reconstruct(x) - x).double() * torch.tensor(scale).double()
    figures = reconstruction_figures(vae, x)
    assert figures["test/reconstruction_mse"] == pytest.approx(errors.square().mean().item())


@pytest.mark.parametrize("constant", [False, True])
def test_errors_of_a_table_count_by_the_variance_of_each_column(constant):
    scale = (0.5, 2.0, 30.0, 1e4)
    values = Values(shape=(1, 1, 4), unit=False, levels=None, scale=scale, table=True)
    settings = ModelSettings(hidden=(4,), latent_size=2, likelihood="gaussian")
    vae = build_vae(settings, values, seed=0).eval()
    x = torch.randn(9, 1, 1, 4, generator=torch.Generator().manual_seed(0))
    if constant:
        x[..., 2] = 1.5
    made = vae.reconstruct(x).detach().numpy().reshape(9, 4) * np.array(scale)
    rows = x.numpy().reshape(9, 4).astype(float) * np.array(scale)
    columns = [0, 1, 3] if constant else [0, 1, 2, 3]
    r_squared = [
        1 - np.sum((rows[:, c] - made[:, c]) ** 2) / np.sum((rows[:, c] - rows[:, c].mean()) ** 2)
        for c in columns
    ]
    figures = reconstruction_figures(vae, x)
    assert figures == {"test/unexplained_variance": pytest.approx(1 - np.mean(r_squared), rel=1e-5)}
