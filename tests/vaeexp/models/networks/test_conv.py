"""Convolutions of any size, and fused lanes of them."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from fused import (
    BASE,
    RARELY,
    make_lanes,
    plain_training,
    run,
    same_bits,
    source,
    train_in_turns,
    trial,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.lanes import Outcome, advance_all
from vaeexp.data.values import as_values
from vaeexp.models.networks import NETWORKS
from vaeexp.models.networks.conv import Block, feature_sizes
from vaeexp.models.vae import check_model
from vaeexp.settings import ModelSettings
from vaeexp.training import open_lane
from vaeexp.training.batches import validation_noise
from vaeexp.training.groups import sequential
from vaeexp.training.groups.sequential import SequentialGroup
from vaeexp.training.groups.vectorised import VectorisedGroup

KINDS = ["vectorised", "sequential"]
CONV = BASE.with_params({"network": "conv", "channels": (4, 6), "kernel": 3})
MAXIMA = {"latent_size": 6, "components": 5}


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.sampled_from([1, 3, 4]), st.integers(8, 64), st.integers(8, 64)),
    channels=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    data=st.data(),
)
def test_the_decoder_makes_exactly_the_image_s_shape(shape, channels, data):
    kernels = data.draw(st.lists(st.integers(1, 5), min_size=len(channels), max_size=len(channels)))
    options = ModelSettings(
        channels=channels,
        kernel=kernels,
        stride=data.draw(
            st.lists(st.integers(1, 4), min_size=len(channels), max_size=len(channels))
        ),
        padding=[data.draw(st.integers(0, kernel - 1)) for kernel in kernels],
        normalisation=data.draw(st.sampled_from(["batch", "group", "none"])),
        head=data.draw(st.sampled_from([None, 3])),
    )
    try:
        encoder = NETWORKS["conv"].encoder(options, shape, 4).eval()
    except ValueError as error:
        assert "too small" in str(error)  # noqa: PT017
        assert len(channels) > 1, "8 pixels are enough for one block"
        return
    x = torch.rand(2, *shape)
    assert encoder(x).shape == (2, 4)
    decoder = NETWORKS["conv"].decoder(options, shape, 2, 2).eval()
    assert decoder(torch.randn(2, 2)).shape == (2, 2 * shape[0], *shape[1:])


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.sampled_from([1, 3, 4]), st.integers(8, 64), st.integers(8, 64)),
    blocks=st.integers(1, 4),
)
def test_up_to_four_default_blocks_suit_every_image_that_they_can_halve(shape, blocks):
    options = ModelSettings(channels=(2,) * blocks)
    if min(shape[1:]) >> (blocks - 1) < 2:
        with pytest.raises(ValueError, match="too small"):
            NETWORKS["conv"].decoder(options, shape, 2, 1)
    else:
        assert NETWORKS["conv"].decoder(options, shape, 2, 1).eval()(torch.randn(1, 2)).shape == (
            1,
            *shape,
        )


def test_feature_sizes_are_those_of_the_convolutions():
    options = ModelSettings(
        channels=(2, 3, 4), kernel=(5, 3, 4), stride=(3, 2, 1), padding=(2, 0, 1)
    )
    encoder = NETWORKS["conv"].encoder(options, (1, 37, 22), 4)
    x = torch.rand(2, 1, 37, 22)
    seen = [(37, 22)]
    for layer in encoder:
        x = layer(x)
        if isinstance(layer, torch.nn.Conv2d):
            seen.append(tuple(x.shape[2:]))
    blocks = zip(options.channels, options.kernel, options.stride, options.padding, strict=True)
    assert feature_sizes([Block(*block) for block in blocks], (1, 37, 22)) == seen


@pytest.mark.parametrize(
    ("changes", "shape", "message"),
    [
        (
            {"channels": (2, 2, 2, 2)},
            (1, 8, 8),
            r"^channels: .*8 × 8 .*4 blocks: after block 3 they are 1 × 1",
        ),
        (
            {"channels": (2,), "kernel": 9, "padding": 0},
            (3, 8, 30),
            r"^channels: .*8 × 30 .*a kernel of 9",
        ),
        (
            {"channels": (2, 2), "kernel": (3, 3, 3)},
            (1, 28, 28),
            "^kernel: got 3 values for 2 blocks; must be 1 or 2",
        ),
        (
            {"channels": (2, 2), "kernel": 2, "padding": (1, 2)},
            (1, 28, 28),
            "^padding: 2 must be less than the kernel, 2",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_plain_words(changes, shape, message):
    with pytest.raises(ValueError, match=message):
        check_model(ModelSettings(network="conv", **changes), shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("normalisation", "prior"),
    [
        ("batch", "mixture"),
        ("group", "normal"),
        pytest.param("batch", "normal", marks=pytest.mark.slow),
        pytest.param("group", "mixture", marks=pytest.mark.slow),
    ],
)
def test_a_conv_lane_equals_a_plain_pytorch_loop(monkeypatch, tmp_path, kind, normalisation, prior):
    monkeypatch.setattr(
        "vaeexp.training.running_statistics.FEW_STEPS", 0
    )  # the plain loop evaluates with moving averages
    base = CONV.with_params({"normalisation": normalisation})
    params = {"optimizer": "adamax", "prior": prior, "beta": 0.7, "latent_size": 3}
    lanes, artifacts = make_lanes(tmp_path, kind=kind, maxima=MAXIMA, base=base)
    for each in (trial(0, **params), trial(1, latent_size=6, prior=prior)):
        lanes.add(each)
    assert isinstance(
        lanes.groups.all()[0], {"vectorised": VectorisedGroup, "sequential": SequentialGroup}[kind]
    )
    seen = [advance_all(lanes, [0, 1])[0] for _ in range(4)]
    lanes.finish({0: Outcome(state="complete", epoch=4, objective=None)})
    losses, values, vae = plain_training(base.with_params(params), seed=1000, epochs=4)
    assert [p.metrics["train/loss"] for p in seen] == pytest.approx(losses, rel=3e-4)
    assert [p.objective for p in seen] == pytest.approx(values, rel=3e-4)
    lane, _ = open_lane(trial(0), base.with_params(params), (1, 8, 8), 100)
    kept = lane.buffer_layout.read(artifacts.states[0]["buffers"])
    for name, buffer in vae.named_buffers():
        assert kept[name].dtype == buffer.dtype
        torch.testing.assert_close(kept[name], buffer, rtol=2e-3, atol=2e-4, msg=name)
    if normalisation == "batch":
        assert vae.encoder[0].bias is None
        assert kept["encoder.1.num_batches_tracked"] == 4 * 6
        assert not torch.equal(kept["encoder.1.running_mean"], torch.zeros(4)), (
            "the statistics have moved"
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalisation", ["batch", "group"])
def test_bits_do_not_depend_on_lane_or_neighbours(tmp_path, kind, normalisation):
    base, me = CONV.with_params({"normalisation": normalisation}), trial(0, latent_size=3, beta=0.5)
    others = [
        trial(n, latent_size=2 + n % 5, learning_rate=1e-3 * n, optimizer=["adam", "adamax"][n % 2])
        for n in range(1, 6)
    ]
    make = partial(make_lanes, tmp_path, kind=kind, maxima=MAXIMA, base=base, every=RARELY)
    alone = run(*make(), [me], 2)[0]
    for company in ([*others, me], [me, *others[:2]], [others[0], me]):
        together = run(*make(), company, 2)[0]
        assert together[0] == alone[0]
        assert same_bits(together[1], alone[1])


def pictures(size, channels):
    """The small study's images, enlarged, in as many channels."""
    data = source()
    big = (
        torch.nn.functional.interpolate(data.train[:32].float(), size=size)
        .byte()
        .expand(-1, channels, -1, -1)
    )
    big = big.contiguous()
    return replace(
        data, train=big, validation=big[:8].float(), values=as_values((channels, size, size))
    )


@pytest.mark.parametrize(
    ("name", "size", "channels"), [("conv_mnist", 28, 1), ("conv_cifar", 16, 3)]
)
def test_published_conv_lanes_do_not_depend_on_their_neighbours(tmp_path, name, size, channels):
    """At the width of a real network, and in colour, where other kernels are chosen."""
    data, base = pictures(size, channels), BASE.with_params({"network": name})
    make = partial(make_lanes, tmp_path, maxima=MAXIMA, base=base, data=data, every=RARELY)
    alone = run(*make(), [trial(0)], 1)[0]
    others = [trial(n, latent_size=6) for n in range(1, 5)]
    for company in ([*others, trial(0)], [others[0], trial(0)]):
        together = run(*make(), company, 1)[0]
        assert together[0] == alone[0]
        assert same_bits(together[1], alone[1])


@pytest.mark.parametrize("channels", [1, 3])
def test_activations_lie_in_the_fast_order_from_the_first_convolution_on(channels):
    """Of one channel, strides say one thing and the order of the numbers two."""
    layer = torch.nn.Conv2d(channels, 8, 3)
    weight = sequential.in_fast_order(
        torch.nn.Sequential(layer), {"0.weight": layer.weight.detach()}
    )["0.weight"]
    assert torch.equal(weight, layer.weight)
    out = torch.nn.functional.conv2d(torch.rand(2, channels, 9, 9), weight)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert not out.is_contiguous()


@pytest.mark.parametrize("optimizer", ["adam", "adamax"])
def test_the_order_in_which_weights_lie_changes_rounding_alone(tmp_path, monkeypatch, optimizer):
    """Adam's fused kernel pairs weights, gradients and moments as they lie in memory, whatever
    their strides say.
    """
    orders, step_of = [], SequentialGroup._step_of

    def watched(group, lane):
        step = step_of(group, lane)
        orders.append([weight.is_contiguous() for weight in step._tensors["weights"]])
        return step

    monkeypatch.setattr(SequentialGroup, "_step_of", watched)
    found, me = [], trial(0, optimizer=optimizer, ema_decay=0.9)
    for reorder in (sequential.in_fast_order, lambda module, tensors: dict(tensors)):
        monkeypatch.setattr(sequential, "in_fast_order", reorder)
        lanes = make_lanes(tmp_path, kind="sequential", base=CONV, averaged=True)
        lanes[0].add(me)
        advance_all(lanes[0], [0])
        group = lanes[0].groups.all()[0]
        for name, view in (
            lanes[0].groups.all()[0].lanes[0].layout.views(group.states[0]["weights"]).items()
        ):
            parameter = group._modules[0].get_parameter(name)
            assert parameter.data_ptr() == view.data_ptr(), "the state is what the module has"
            assert parameter.is_contiguous()
        progress = advance_all(lanes[0], [0])[0]
        found.append((progress.objective, group.state(0)))
    assert not all(orders[0])
    assert all(orders[-1])
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for name, tensor in found[1][1].items():
        torch.testing.assert_close(found[0][1][name], tensor, rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_waiting_lanes_keep_their_running_statistics(tmp_path, kind):
    steady = run(*make_lanes(tmp_path, kind=kind, base=CONV), [trial(0), trial(1)], 3)
    lanes, artifacts = make_lanes(tmp_path, kind=kind, base=CONV)
    values = train_in_turns(lanes)
    for number in (0, 1):
        lanes.finish({number: Outcome(state="complete", epoch=3, objective=None)})
        assert values[number] == steady[number][0]
        assert same_bits(artifacts.states[number], steady[number][1])


@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed_is_bit_identical(tmp_path, kind):
    params = {"ema_decay": 0.95, "schedule": "cosine", "optimizer": "adamax"}
    make = {"kind": kind, "averaged": True, "base": CONV}
    whole = run(*make_lanes(tmp_path / "whole", **make), [trial(0, **params), trial(1)], 4)[0]
    lanes, _ = make_lanes(tmp_path / "cut", **make)
    for each in (trial(0, **params), trial(1)):
        lanes.add(each)
    for _ in range(3):
        advance_all(lanes, [0, 1])
    del lanes
    lanes, artifacts = make_lanes(tmp_path / "cut", **make)
    lanes.add(trial(0, epoch=3, **params))
    assert lanes.groups.all()[0].lanes[0].epoch == 2, "from the checkpoint, not from the start"
    lanes.replay()
    assert [advance_all(lanes, [0])[0].objective] == whole[0][3:]
    lanes.finish({0: Outcome(state="complete", epoch=4, objective=None)})
    assert same_bits(artifacts.states[0], whole[1])


def test_the_running_average_is_scored_with_the_statistics_of_the_weights(tmp_path):
    values = [
        run(
            *make_lanes(tmp_path, kind=kind, averaged=True, base=CONV), [trial(0, ema_decay=0.9)], 3
        )[0]
        for kind in KINDS
    ]
    assert values[0][0] == pytest.approx(values[1][0], rel=1e-4)
    _, tensors = values[0]
    lane, vae = open_lane(trial(0), CONV, (1, 8, 8), 100)
    assert not torch.equal(tensors["average"], tensors["weights"])
    vae.load_state_dict(
        {**lane.layout.read(tensors["average"]), **lane.buffer_layout.read(tensors["buffers"])}
    )
    data = source()
    with torch.no_grad():
        terms = vae.eval()(data.validation, validation_noise(data, 4))
    assert (terms.distortion + terms.rate).mean().item() == pytest.approx(
        values[0][0][-1], rel=1e-5
    )


def test_a_batch_norm_whose_batch_holds_padding_is_looped(tmp_path):
    """A VampPrior's padded pseudo-images would enter the statistics of the encoder."""
    lanes, _ = make_lanes(tmp_path, base=CONV, maxima=MAXIMA)
    lanes.add(trial(0, prior="vampprior"))
    assert isinstance(lanes.groups.all()[0], SequentialGroup)
