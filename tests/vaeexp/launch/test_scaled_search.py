"""A study that searches the scale of its targets: a data set for each scale, and one unit of −ELBO
for all.
"""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from made_data import made
from rich.console import Console

import vaeexp
from sweeps.errors import UserError
from vaeexp.data import Dataset, open_dataset
from vaeexp.data.values import Values
from vaeexp.evaluation.nll import evaluate_elbo, importance_weighted_nll
from vaeexp.launch.job import describe_data, prepare_job
from vaeexp.launch.options import SweepOptions
from vaeexp.launch.study_log import StudyLog
from vaeexp.models.vae import VAE, build_vae
from vaeexp.settings import DataSettings, ModelSettings
from vaeexp.study import data_changes, open_study_file

STUDY = """
question: Which scale?
data: {dataset: arrays, binarisation: none, scale_per: feature}
model: {network: mlp, hidden: [8], latent_size: 2, likelihood: gaussian}
train: {epochs: 2, batch_size: 20}
evaluation: {importance_samples: 2, pictures_every: 100}
search:
  scale: {values: [standard, range, none]}
  learning_rate: {values: [0.003]}
seed: 3
sampler: grid
pruner: none
budget: {trials: 3}
"""
SIGMA = ModelSettings().sigma
SIZE = 6
PER = ("global", "feature")
SMALL = ModelSettings(
    hidden=(8,), latent_size=2, likelihood="gaussian_learned", sigma_per="feature"
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    Path("scales.yaml").write_text(STUDY, encoding="utf-8")
    np.save("mine.npy", numbers())


def numbers(count: int = 120) -> np.ndarray:
    random = np.random.default_rng(0)
    columns = random.normal(size=(count, SIZE)) @ random.normal(size=(SIZE, SIZE))
    return columns * [0.05, 0.3, 1, 4, 20, 300] + [0, 1, -7, 0, 50, 1000]


def job_of(*changes: str):
    options = SweepOptions(study="scales.yaml", data=Path("mine.npy"), overrides=changes)
    return prepare_job(options, StudyLog(Console(file=io.StringIO())))


def test_each_scale_that_is_searched_is_opened_once():
    job = job_of()
    kinds = {key: data.scaling.kind for key, data in job.datasets.items()}
    assert kinds == {
        "none, standard per feature": "standard",
        "none, range per feature": "range",
        "none, none": "none",
    }
    assert len({data.fingerprint for data in job.datasets.values()}) == 1
    assert {data.key for data in map(wanted, data_changes(job.study))} == set(kinds)


def test_the_plan_says_all_scales_that_are_searched():
    said = describe_data(job_of())
    assert [line for line in said if line.startswith("Searched targets")] == [
        "Searched targets: scaled by training mean and deviation of each feature; scaled by "
        "training minimum and maximum of each feature; not scaled"
    ]
    one = describe_data(job_of("search.scale={values: [standard]}", "budget.trials=1"))
    assert not any("Searched targets" in line for line in one)


def wanted(changes: dict) -> DataSettings:
    return DataSettings(dataset="arrays", **changes)


def test_the_scale_and_what_it_is_of_are_searched_together():
    change = "search.scale_per={values: [global, feature]}"
    assert set(job_of(change).datasets) == {
        *(f"none, {scale} per {per}" for scale in ("standard", "range") for per in PER),
        "none, none",
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("search.scale={values: [standard, unit]}",), "data.scale: unit; floats must lie in"),
        (("likelihood=poisson",), "search.scale.values.1: 'poisson' describes"),
        (
            ("binarisation=static", "likelihood=bernoulli"),
            r"search.scale.values.1: .*'static' makes zeros and ones of grey levels",
        ),
    ],
)
def test_a_scale_that_does_not_fit_is_refused_before_any_training(changes, words):
    with pytest.raises(UserError, match=words):
        job_of(*changes)


def test_a_fixed_sigma_under_several_scales_is_doubted():
    [doubt] = job_of().model_warnings
    assert doubt.startswith(
        "sigma is given in scaled units, and the scales standard, range and none"
    )
    assert job_of("likelihood=gaussian_learned").model_warnings == ()
    assert job_of("search.scale={values: [range]}").model_warnings == ()


def test_scales_that_model_different_numbers_are_not_searched_together():
    """A test value above the bits of the training images: `unit` cuts it, `standard` does not."""
    images = np.random.default_rng(0).integers(0, 4000, (90, 4, 4)).astype(np.uint16)
    np.savez("mine.npz", train_images=images[:60], test_images=images[60:] + np.uint16(500))
    changes = ("data.scale_per=global", "search.scale={values: [unit, standard]}")
    options = SweepOptions(study="scales.yaml", data=Path("mine.npz"), overrides=changes)
    words = r"unit \(\d+ values of the validation and test images cut to 0 to 4,095\) and standard"
    with pytest.raises(UserError, match=words):
        prepare_job(options, StudyLog(Console(file=io.StringIO())))


# ---- one unit ----


def moved(vae: VAE, data: Dataset) -> VAE:
    """The same model for numbers as they are: the first layer scales them, the last one back."""
    plain = VAE(SMALL, values_of(data)).double()
    plain.load_state_dict(vae.double().state_dict())
    offset, scale = (
        torch.from_numpy(np.broadcast_to(array, data.image_shape).reshape(-1).copy())
        for array in (data.scaling.offset, data.scaling.scale)
    )
    layers = [each for each in plain.modules() if isinstance(each, torch.nn.Linear)]
    first = next(each for each in layers if each.in_features == SIZE)
    last = next(each for each in layers if each.out_features == SIZE)
    with torch.no_grad():
        first.bias -= first.weight @ (offset / scale)
        first.weight /= scale
        last.weight *= scale[:, None]
        last.bias.mul_(scale).add_(offset)
        for name, parameter in plain.likelihood.named_parameters():
            assert "sigma" in name
            parameter += scale.log().reshape(parameter.shape)
    return plain


def values_of(data: Dataset, scale: float | tuple[float, ...] = 1.0) -> Values:
    """Real numbers of this shape, whose σ is as good as free."""
    real = {"unit": False, "levels": None, "least_sigma": 1e-9}
    return Values(shape=data.image_shape, scale=scale, **real)


@pytest.mark.parametrize("per", PER)
@pytest.mark.parametrize("scale", ["standard", "range"])
def test_a_model_has_the_same_elbo_under_each_scale(tmp_path, scale, per):
    images = numbers()[:, None, None]
    data = made(images, tmp_path / "scaled", scale=scale, scale_per=per)
    plain = made(images, tmp_path / "plain", scale="none")
    values = values_of(data, data.values.scale)
    vae = build_vae(SMALL, values, 0).double()
    x = torch.from_numpy(data.scaling.targets(images)).double()
    file_x = torch.from_numpy(data.scaling.numbers(x.numpy()))
    np.testing.assert_allclose(file_x, images, rtol=1e-4, atol=1e-4)
    other = moved(vae, data)
    ours = evaluate_elbo(vae, x, seed=1)
    theirs = evaluate_elbo(other, file_x, seed=1)
    torch.testing.assert_close(ours.rate, theirs.rate, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours.distortion, theirs.distortion, rtol=1e-6, atol=1e-6)
    bounds = [
        importance_weighted_nll(model, given, importance_samples=8, seed=2)
        for model, given in ((vae, x), (other, file_x))
    ]
    torch.testing.assert_close(bounds[0], bounds[1], rtol=1e-6, atol=1e-6)
    assert abs(vae.log_scale) > 1
    assert (other.log_scale, plain.values.log_scale) == (0, 0)


@pytest.mark.slow
def test_a_sweep_ranks_all_scales_in_the_unit_of_the_file(no_figures):
    study = vaeexp.run_study(
        "scales.yaml", data="mine.npy", workers=1, device="cpu", precision="float32", compile="off"
    )
    trials = study.trials.rename(columns={"params.scale": "scale"})
    assert set(trials["scale"]) == {"standard", "range", "none"}
    for row in trials.to_dict("records"):
        settings = DataSettings(
            dataset="arrays", binarisation="none", scale=row["scale"], scale_per="feature"
        )
        data = open_dataset(settings, root=Path("mine.npy"), say=lambda text: None)
        draws = file_unit_elbo(study.model(row["number"]), data)
        assert row["objective"] == pytest.approx(draws.mean(), abs=6 * draws.std() + 1e-3)
    found = trials.set_index("scale")["objective"]
    spread = np.log(numbers().std(axis=0)).sum()
    assert found["standard"] == pytest.approx(SIZE * 1.7 + spread, abs=SIZE)


def file_unit_elbo(vae: VAE, data: Dataset, draws: int = 60) -> np.ndarray:
    """−ELBO of the validation images for several draws of the noise, from the density of the
    numbers in the file, in float64.
    """
    images = data.validation.images
    numbers = data.scaling.numbers(np.asarray(images))
    x = torch.from_numpy(np.array(images))
    sigma = SIGMA * data.scaling.scale
    found = []
    for seed in range(draws):
        torch.manual_seed(seed)
        with torch.no_grad():
            passed = vae.run(x)
            mean = data.scaling.numbers(vae.decode(passed.z).mean.numpy())
        squares = ((numbers - mean) / sigma) ** 2 / 2
        density = squares + np.log(sigma) + math.log(2 * math.pi) / 2
        found.append(density.sum(axis=(1, 2, 3)).mean() + passed.rate.double().mean().item())
    return np.array(found)


def test_the_study_records_the_scales_it_searches():
    study = open_study_file("scales.yaml")
    assert [row["scale"] for row in data_changes(study)] == ["standard", "range", "none"]
