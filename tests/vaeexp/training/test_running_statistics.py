"""Few steps an epoch: BatchNorm is evaluated with the averages over all training batches, and
training stays as it is.
"""

import pytest
import torch
from fused import BASE, RARELY, make_lanes, source, trial
from torch import nn
from torch.func import functional_call

from sweeps.lanes import Outcome, advance_all
from vaeexp.models.vae import build_vae
from vaeexp.settings import ModelSettings, Settings, TrainSettings
from vaeexp.training import running_statistics
from vaeexp.training.batches import validation_noise
from vaeexp.training.running_statistics import estimated_buffers

MODEL = ModelSettings(network="conv", channels=(4, 8), latent_size=3)
FEW = Settings(
    model=MODEL,
    train=TrainSettings(epochs=4, batch_size=16, learning_rate=1e-2),
    evaluation=BASE.evaluation,
)
"""Six steps an epoch, of 100 images."""
MANY = FEW.model_copy(update={"train": FEW.train.model_copy(update={"batch_size": 4})})
"""25 steps an epoch."""


def trained(
    folder, base=FEW, *, kind="sequential", neighbours=0, averaged=False, stops_after=None, rounds=4
):
    """Train trial 0; returns (objectives, training losses, final tensors)."""
    how = {"kind": kind, "base": base, "averaged": averaged, "every": RARELY}
    lanes, artifacts = make_lanes(folder, **how)
    numbers = [*range(1 + neighbours)]
    for number in numbers:
        lanes.add(trial(number))
    values, losses = [], []
    for epoch in range(rounds):
        if epoch == stops_after:
            lanes.release(numbers)
            lanes, artifacts = make_lanes(folder, **how)
            for number in numbers:
                lanes.add(trial(number, epoch=epoch))
            lanes.replay()
        first = advance_all(lanes, numbers)[0]
        values.append(first.objective)
        losses.append(first.metrics["train/loss"])
    for number in numbers:
        lanes.finish({number: Outcome(state="complete", epoch=rounds, objective=min(values))})
    return values, losses, artifacts.states[0]


def same(one, other):
    return one[:2] == other[:2] and all(
        torch.equal(one[2][name], other[2][name]) for name in one[2]
    )


@pytest.mark.parametrize(
    ("kind", "averaged"),
    [
        ("sequential", True),
        ("vectorised", False),
        pytest.param("sequential", False, marks=pytest.mark.slow),
        pytest.param("vectorised", True, marks=pytest.mark.slow),
        pytest.param("compiled", False, marks=pytest.mark.slow),
    ],
)
def test_training_stays_the_same_and_evaluation_does_not(tmp_path, monkeypatch, kind, averaged):
    base = FEW.model_copy(
        update={"train": FEW.train.model_copy(update={"ema_decay": 0.9 if averaged else 0.0})}
    )
    values, losses, state = trained(tmp_path / "few", base, kind=kind, averaged=averaged)
    monkeypatch.setattr(running_statistics, "FEW_STEPS", 0)
    before, losses_before, state_before = trained(
        tmp_path / "before", base, kind=kind, averaged=averaged
    )
    assert losses == losses_before
    for name in ("weights", "first", "second", *(["average"] if averaged else [])):
        assert torch.equal(state[name], state_before[name])
    assert values[0] < before[0], "the statistics of the initial weights count no longer"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("vectorised", {"stops_after": 2}),
        ("sequential", {"neighbours": 2}),
        pytest.param("sequential", {"stops_after": 2}, marks=pytest.mark.slow),
        pytest.param("vectorised", {"neighbours": 2}, marks=pytest.mark.slow),
    ],
)
def test_the_result_does_not_depend_on_when_and_beside_whom(tmp_path, kind, change):
    assert same(trained(tmp_path / "a", kind=kind), trained(tmp_path / "b", kind=kind, **change))


def test_fused_lanes_have_the_statistics_of_single_ones(tmp_path):
    alone, fused = trained(tmp_path / "a"), trained(tmp_path / "b", kind="vectorised")
    assert fused[0] == pytest.approx(alone[0], rel=1e-4)
    assert torch.allclose(fused[2]["buffers"], alone[2]["buffers"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "base",
    [
        MANY,
        FEW.model_copy(update={"model": MODEL.model_copy(update={"normalisation": "group"})}),
        BASE,
    ],
    ids=["many steps", "no running statistics", "mlp"],
)
@pytest.mark.parametrize("kind", ["sequential", "vectorised"])
def test_all_others_are_evaluated_as_before(tmp_path, monkeypatch, base, kind):
    monkeypatch.setattr(running_statistics, "estimated_buffers", None)
    monkeypatch.setattr("vaeexp.training.groups.sequential.estimated_buffers", None)
    monkeypatch.setattr("vaeexp.training.groups.vectorised.estimated_buffers", None)
    trained(tmp_path, base, kind=kind, rounds=1)


@pytest.mark.parametrize("averaged", [False, True])
def test_the_model_that_is_kept_has_the_objective_that_is_reported(tmp_path, averaged):
    base = FEW.model_copy(
        update={"train": FEW.train.model_copy(update={"ema_decay": 0.9 if averaged else 0.0})}
    )
    values, _, state = trained(tmp_path, base, averaged=averaged)
    model = build_vae(base.model, (1, 8, 8), seed=0)
    lanes, _ = make_lanes(tmp_path / "layout", base=base, averaged=averaged, kind="sequential")
    lanes.add(trial(0))
    [lane] = [lane for group in lanes.groups.all() for lane in group.lanes.values()]
    tensors = lane.layout.views(state["best"]) | lane.buffer_layout.read(state["best_buffers"])
    model.load_state_dict(tensors, strict=False)
    data = source()
    with torch.no_grad():
        terms = model.eval()(data.validation, validation_noise(data, 3))
    assert float((terms.distortion + terms.rate).mean()) == pytest.approx(min(values), rel=1e-5)


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(3, momentum=None, affine=False),
        nn.InstanceNorm2d(3, track_running_stats=True),
    ],
    ids=["usual", "cumulative", "instance"],
)
def test_the_statistics_are_the_means_over_the_batches(norm):
    """Of layers of each kind; what else is in the buffers, and the layer's own momentum, stay."""
    torch.manual_seed(0)
    batches = [(torch.randn(8, 3, 4, 4) * 3 + 2, torch.zeros(8, 1)) for _ in range(5)]
    layer = nn.Sequential(norm)
    momentum, buffers = norm.momentum, dict(layer.named_buffers())

    def terms_of(parameters, buffers, x, e):
        return functional_call(layer, (dict(parameters), dict(buffers)), (x,))

    found = estimated_buffers(layer, terms_of, dict(layer.named_parameters()), buffers, batches)
    means = torch.stack([x.mean((0, 2, 3)) for x, _ in batches]).mean(0)
    one = (2, 3) if isinstance(norm, nn.InstanceNorm2d) else (0, 2, 3)
    variances = torch.stack([x.var(one).reshape(-1, 3).mean(0) for x, _ in batches]).mean(0)
    assert torch.allclose(found["0.running_mean"], means, atol=1e-5)
    assert torch.allclose(found["0.running_var"], variances, rtol=1e-4)
    assert int(found["0.num_batches_tracked"]) == 0
    assert norm.momentum == momentum
    assert torch.equal(buffers["0.running_mean"], torch.zeros(3)), (
        "the buffers themselves stay as they are"
    )
