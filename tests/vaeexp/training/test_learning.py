"""The model really learns, with each prior and with each optimizer, on the digits that come along.

Half of the pairs train, one of them in `make test`: `test_fusion` compares every pair with a plain
loop.
"""

import pytest
import torch
from fused import make_lanes, trial

from sweeps.lanes import advance_all
from vaeexp.data import open_dataset
from vaeexp.runs.worker import open_source
from vaeexp.settings import DataSettings, ModelSettings, Settings, TrainSettings

EPOCHS = 8
SETTINGS = Settings(
    model=ModelSettings(hidden=(256, 256), latent_size=10, components=8),
    train=TrainSettings(epochs=EPOCHS, batch_size=32, learning_rate=2e-3),
)
LEARNING_RATES = {"adam": 2e-3, "adamax": 6e-3}
REACHED = 140.0
"""Validation −ELBO in nats per image; the mean image alone, as a Bernoulli for each pixel, stands
above 200.
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("VAEEXP_OFFLINE", "1")
    patch.setenv("VAEEXP_CACHE", str(tmp_path_factory.mktemp("cache")))
    torch.set_num_threads(1)
    yield open_source(
        open_dataset(DataSettings(), say=lambda text: None), torch.device("cpu"), study_seed=0
    )
    patch.undo()


@pytest.mark.parametrize(
    ("prior", "optimizer"),
    [
        ("mixture", "adamax"),
        pytest.param("normal", "adam", marks=pytest.mark.slow),
        pytest.param("factorised_mixture", "adam", marks=pytest.mark.slow),
        pytest.param("vampprior", "adamax", marks=pytest.mark.slow),
    ],
)
def test_a_prior_and_an_optimizer_learn(tmp_path, digits, prior, optimizer):
    lanes, _ = make_lanes(tmp_path, kind="sequential", base=SETTINGS, data=digits, every=1e9)
    lanes.add(trial(0, prior=prior, optimizer=optimizer, learning_rate=LEARNING_RATES[optimizer]))
    last = [advance_all(lanes, [0])[0] for _ in range(EPOCHS)][-1]
    assert last.objective < REACHED
    assert last.metrics["val/active_units"] >= 4
