"""A linear VAE with one learned σ is probabilistic PCA (Tipping & Bishop 1999; Lucas et al. 2019):
trained on tables of any unit, its −ELBO reaches the closed form. A change of the unit changes what
the report says by Σ log of the factor, and no weight.
"""

import math

import numpy as np
import pytest
import torch
from fused import BASE, RARELY, advance_all, make_lanes, trial
from made_data import made
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.decomposition import PCA

from vaeexp.data.dataset import targets
from vaeexp.evaluation.nll import evaluate_elbo
from vaeexp.models.vae import build_vae
from vaeexp.runs.worker import open_source

LATENTS = 3
TABLES = {
    "wine": (lambda: load_wine().data, 128, 32),
    "diabetes": (lambda: load_diabetes(scaled=False).data, 320, 80),
    "breast_cancer": (lambda: load_breast_cancer().data, 448, 64),
}
"""Table → its rows, those that train, and the batch size, which divides them."""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))


def settings(**changes):
    params = {
        "hidden": (),
        "latent_size": LATENTS,
        "likelihood": "gaussian_learned",
        "sigma": 0.7,
        "binarisation": "none",
        "epochs": 3000,
        "learning_rate": 0.03,
        "schedule": "cosine",
    }
    return BASE.with_params(params | changes)


def trained(data, folder, seed=0, **changes):
    """Return the model of a lane that trains on a data set, and the metrics of its last epoch."""
    base = settings(**changes)
    source = open_source(data, torch.device("cpu"), 0)
    lanes, _ = make_lanes(folder, kind="sequential", base=base, every=RARELY, data=source)
    lanes.add(trial(seed))
    for _ in range(base.train.epochs):
        [progress] = advance_all(lanes, [seed])
    [group] = lanes.groups.all()
    vae = build_vae(base.model, data.values, 0)
    weights = group.lanes[seed].layout.views(group.state(seed)["weights"])
    vae.load_state_dict(weights, strict=False)
    return vae, progress.metrics


@torch.no_grad()
def exact_elbo(vae, x):
    """Mean −ELBO of rows x [N, F] in the unit of the report, without noise: of a linear decoder
    E‖x − Wz − b‖² is that at the mean and Σ s²‖w‖².
    """
    posterior = vae.encode(x.float()[:, None, None])
    mean, log_var = posterior.mean.double(), posterior.log_var.double()
    w, b = (tensor.double() for tensor in (vae.decoder[0].weight, vae.decoder[0].bias))
    sigma = vae.likelihood.sigma.double()
    errors = (x - mean @ w.T - b).square().sum(1) + (log_var.exp() @ w.T.square()).sum(1)
    normaliser = x.shape[1] * (sigma.log() + 0.5 * math.log(2 * math.pi))
    rate = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
    return (errors / (2 * sigma**2) + normaliser + rate).mean().item() + vae.log_scale


@pytest.mark.parametrize(
    "table", ["wine", *(pytest.param(name, marks=pytest.mark.slow) for name in [*TABLES][1:])]
)
def test_it_reaches_the_closed_form_of_probabilistic_pca(tmp_path, table):
    load, count, batch_size = TABLES[table]
    rows = load().astype(np.float64)[:, None, None]
    data = made(rows, tmp_path, scale="standard", scale_per="feature", train_size=count)
    vae, _ = trained(data, tmp_path, batch_size=batch_size)
    x = data.train.images.reshape(count, -1).astype(np.float64)
    closed = data.values.log_scale - PCA(LATENTS).fit(x).score(x)
    assert -1e-6 < exact_elbo(vae, torch.from_numpy(x)) - closed < 0.01


def tables(tmp_path, factor, dtype=np.float64):
    rows = (load_wine().data * factor).astype(dtype)[:, None, None]
    return made(rows, tmp_path / f"{factor}", scale="standard", scale_per="feature", train_size=128)


SHORT = {"epochs": 30, "batch_size": 32}


def test_a_factor_of_a_power_of_two_adds_its_logarithm_and_changes_no_bit(tmp_path):
    plain, large = (tables(tmp_path, factor) for factor in (1, 1024))
    (one, first), (two, second) = (trained(data, tmp_path, **SHORT) for data in (plain, large))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, two.state_dict()[name]), name
    added = 13 * math.log(1024)
    for name in ("val/neg_elbo", "val/distortion", "train/neg_elbo", "train/distortion"):
        assert second[name] - first[name] == pytest.approx(added, abs=1e-9)
    for name in ("val/rate", "train/rate", "train/loss", "val/loss"):
        assert second[name] == first[name]
    x = targets(plain.test.images, "scaled", 0)
    low, high = (evaluate_elbo(vae, x, seed=0).distortion for vae in (one, two))
    np.testing.assert_allclose(high - low, added, atol=1e-9)


@pytest.mark.parametrize(("factor", "dtype"), [(1000, np.float64), (10, np.uint16)])
def test_any_factor_adds_its_logarithm_at_fixed_weights(tmp_path, factor, dtype):
    """Of whole numbers, 1/10 and multiples of it are the same rows."""
    whole = np.rint(load_wine().data * 10) / 10
    plain = made(whole[:, None, None], tmp_path, scale="standard", train_size=128)
    numbers = np.rint(whole * 10).astype(dtype) if dtype == np.uint16 else whole * factor
    other = made(numbers[:, None, None], tmp_path / "other", scale="standard", train_size=128)
    vae, _ = trained(plain, tmp_path, **SHORT)
    twin = build_vae(settings(**SHORT).model, other.values, 0)
    twin.load_state_dict(vae.state_dict(), strict=False)
    sums = []
    for model, data in ((vae, plain), (twin, other)):
        terms = evaluate_elbo(model, targets(data.test.images, "scaled", 0), seed=0)
        sums.append((terms.distortion + terms.rate).mean().item())
    assert sums[1] - 13 * math.log(factor) == pytest.approx(sums[0], rel=1e-4)


def test_any_factor_trains_to_the_same_within_the_spread_of_seeds(tmp_path):
    options = SHORT | {"epochs": 200}
    plain = [
        trained(tables(tmp_path, 1), tmp_path, seed, **options)[1]["val/neg_elbo"]
        for seed in range(5)
    ]
    other = trained(tables(tmp_path, 1000), tmp_path, 0, **options)[1]["val/neg_elbo"]
    spread = np.std(plain, ddof=1)
    assert abs(other - 13 * math.log(1000) - plain[0]) < spread
