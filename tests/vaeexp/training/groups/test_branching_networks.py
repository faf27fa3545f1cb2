"""Networks of a user whose code branches on a size: a fused lane is the trial that it is alone."""

import sys

import pytest
from fused import BASE, RARELY, make_lanes, trial

from sweeps.lanes import advance_all

MODULE = """
import math

from torch import nn


def activation(size):
    return BRANCH


class Net:
    def encoder(self, settings, image_shape, outputs):
        size = math.prod(image_shape)
        within = activation(settings.latent_size)
        return nn.Sequential(nn.Flatten(), nn.Linear(size, 8), within, nn.Linear(8, outputs))

    def decoder(self, settings, image_shape, latent_size, parameters):
        within = nn.Sequential(nn.Linear(latent_size, 8), nn.Tanh(), nn.Linear(8, 64 * parameters))
        return nn.Sequential(within, nn.Unflatten(1, (parameters, *image_shape[1:])))
"""
BRANCHES = {
    "one size": ("nn.Sigmoid() if size == 5 else nn.Tanh()", {5}),
    "an end": ("nn.Sigmoid() if size <= 2 else nn.Tanh()", {2}),
    "odd sizes": ("nn.Sigmoid() if size % 2 else nn.Tanh()", {3, 5}),
    "the largest": ("nn.Sigmoid() if size >= 8 else nn.Tanh()", {2, 3, 5, 6}),
    "another architecture": ("nn.Sequential(nn.Linear(8, 8)) if size == 3 else nn.Tanh()", {3}),
    "no size": ("nn.Tanh()", set()),
}
SIZES = (2, 3, 5, 6)


@pytest.fixture
def network(tmp_path, monkeypatch):
    """Writes a module with this branch; the import path of its network."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def write(branch: str) -> str:
        name = f"branching_{abs(hash(branch))}"
        (tmp_path / f"{name}.py").write_text(MODULE.replace("BRANCH", branch))
        return f"{name}:Net"

    return write


def losses(folder, base, numbers, **how):
    """Train these trials together; number → the training loss of each of two epochs."""
    lanes, _ = make_lanes(folder, base=base, maxima={"latent_size": 8}, every=RARELY, **how)
    for number in numbers:
        lanes.add(trial(number, latent_size=SIZES[number]))
    found = {number: [] for number in numbers}
    for _ in range(2):
        for progress in advance_all(lanes, numbers):
            found[progress.number].append(progress.metrics["train/loss"])
    return found, {group.fused: {*group.lanes} for group in lanes.groups.all()}


@pytest.mark.parametrize("name", BRANCHES)
def test_a_size_that_a_network_branches_on_trains_alone(tmp_path, network, name):
    branch, alone = BRANCHES[name]
    base = BASE.with_params({"network": network(branch)})
    fused, groups = losses(tmp_path / "fused", base, range(len(SIZES)))
    numbers = {number for number, size in enumerate(SIZES) if size in alone}
    assert groups.get(False, set()) == numbers
    assert groups.get(True, set()) == {*range(len(SIZES))} - numbers
    for number in range(len(SIZES)):
        plain, _ = losses(tmp_path / f"alone-{number}", base, [number], kind="sequential")
        assert fused[number] == pytest.approx(plain[number], rel=3e-4)


def test_a_network_that_raises_for_a_size_leaves_the_fused_lanes_as_they_are(tmp_path, network):
    raising = "(_ for _ in ()).throw(ArithmeticError(size)) if size == 5 else nn.Tanh()"
    base = BASE.with_params({"network": network(raising)})
    lanes, _ = make_lanes(tmp_path, base=base, maxima={"latent_size": 8}, every=RARELY)
    for number in (0, 1, 3):
        lanes.add(trial(number, latent_size=SIZES[number]))
    with pytest.raises(Exception, match="ArithmeticError"):
        lanes.add(trial(2, latent_size=5))
    [group] = lanes.groups.all()
    assert group.fused
    assert len(advance_all(lanes, [0, 1, 3])) == 3
