"""BatchNorm in lanes that train side by side: each keeps its own running statistics, as the plain module does."""

import textwrap

import pytest
import torch
from fused import BASE, make_lanes, source, trial
from test_conv import plain_training

from sweeps.workload.protocol import Outcome, advance_all
from vaeexp.training.batches import validation_noise
from vaeexp.training.groups.sequential import SequentialGroup
from vaeexp.training.groups.vectorised import VectorisedGroup
from vaeexp.training.lane import open_lane

NORMED = """
    from torch import nn

    class Normed:
        '''Fully connected, with BatchNorm1d on either side; rounding alone would move a bias before it.'''

        def encoder(self, settings, image_shape, outputs):
            c, h, w = image_shape
            return nn.Sequential(
                nn.Flatten(1), nn.Linear(c * h * w, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(),
                nn.Linear(16, outputs),
            )

        def decoder(self, settings, image_shape, latent_size, parameters):
            c, h, w = image_shape
            return nn.Sequential(
                nn.Linear(latent_size, 16, bias=False), nn.BatchNorm1d(16, momentum=0.3), nn.ReLU(),
                nn.Linear(16, parameters * c * h * w), nn.Unflatten(1, (parameters * c, h, w)),
            )
"""
NETWORKS = {
    "conv": {"network": "conv", "channels": (4, 8), "kernel": 3},
    "user": {"network": "normed_networks:Normed"},
}
TRIALS = (
    {"beta": 0.3, "latent_size": 3},
    {"learning_rate": 5e-3, "latent_size": 6},
    {"optimizer": "adamax", "latent_size": 4},
)


@pytest.fixture
def normed(tmp_path, monkeypatch):
    (tmp_path / "normed_networks.py").write_text(textwrap.dedent(NORMED))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "normed_networks", raising=False)
    return tmp_path


@pytest.mark.parametrize("kind", ["vectorised", "sequential"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_lane_has_the_statistics_of_its_plain_module(normed, name, kind):
    base, epochs = BASE.with_params(NETWORKS[name]), 3
    lanes, artifacts = make_lanes(normed, kind=kind, maxima={"latent_size": 6}, base=base)
    for number, params in enumerate(TRIALS):
        lanes.add(trial(number, **params))
    assert [type(group) for group in lanes._all()] == [
        {"vectorised": VectorisedGroup, "sequential": SequentialGroup}[kind]
    ]
    rounds = [advance_all(lanes, range(len(TRIALS))) for _ in range(epochs)]
    data, statistics = source(), []
    for number, params in enumerate(TRIALS):
        settings = base.with_params(params)
        losses, values, plain = plain_training(settings, seed=1000 + number, epochs=epochs)
        assert [each[number].metrics["train/loss"] for each in rounds] == pytest.approx(losses, rel=3e-4)
        assert [each[number].objective for each in rounds] == pytest.approx(values, rel=3e-4)  # in evaluation mode
        lanes.finish({number: Outcome(state="complete", epoch=epochs, objective=None)})
        lane, mine = open_lane(trial(number, **params), settings, (1, 8, 8), 100)
        state = artifacts.states[number]
        kept = lane.buffer_layout.read(state["buffers"])
        for key, buffer in plain.named_buffers():
            torch.testing.assert_close(kept[key], buffer, rtol=2e-3, atol=2e-4, msg=key)
        mine.load_state_dict({**lane.layout.read(state["weights"]), **kept})
        noise = validation_noise(data, settings.model.latent_size)
        for training in (True, False):
            with torch.no_grad():
                terms, wanted = (vae.train(training)(data.validation, noise) for vae in (mine, plain))
            torch.testing.assert_close(terms.distortion, wanted.distortion, rtol=2e-3, atol=1e-2)
        statistics.append(torch.cat([kept[key].flatten() for key in kept if key.endswith("running_var")]))
    assert all(not torch.allclose(one, two, rtol=1e-2) for one in statistics for two in statistics if one is not two)
