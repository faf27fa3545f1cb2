"""Convolutions in one dimension: signals of T values, as images of height 1."""

from dataclasses import replace

import pytest
import torch
from fused import BASE, RARELY, make_lanes, run, same_bits, source, trial
from hypothesis import given, settings
from hypothesis import strategies as st
from suited_values import REAL
from torch import nn

from vaeexp.data.values import Values
from vaeexp.models.networks import NETWORKS
from vaeexp.models.networks.conv import Block, feature_sizes
from vaeexp.models.vae import build_vae, check_model
from vaeexp.settings import ModelSettings
from vaeexp.training.groups.vectorised import VectorisedGroup

PUBLISHED = ("conv_mnist", "conv_celeba", "conv_cifar")


@settings(deadline=None, max_examples=80)
@given(
    length=st.integers(16, 300),
    channels=st.sampled_from([1, 2, 3, 12]),
    blocks=st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 3)), min_size=1, max_size=3
    ),
    normalisation=st.sampled_from(["batch", "group", "none"]),
    data=st.data(),
)
def test_the_decoder_gives_signals_of_exactly_the_input_s_length(
    length, channels, blocks, normalisation, data
):
    widths, kernels, strides = zip(*blocks, strict=True)
    options = ModelSettings(
        channels=widths,
        kernel=kernels,
        stride=strides,
        padding=[data.draw(st.integers(0, kernel - 1)) for kernel in kernels],
        normalisation=normalisation,
    )
    shape = (channels, 1, length)
    try:
        encoder = NETWORKS["conv"].encoder(options, shape, 4).eval()
    except ValueError as error:
        assert f"signals of {length} values are too small" in str(error)  # noqa: PT017
        return
    assert encoder(torch.randn(2, *shape)).shape == (2, 4)
    decoder = NETWORKS["conv"].decoder(options, shape, 2, 3).eval()
    assert decoder(torch.randn(2, 2)).shape == (2, 3 * channels, 1, length)


def test_by_default_every_length_from_16_to_300_is_mirrored():
    for length in range(16, 301):
        decoder = NETWORKS["conv"].decoder(ModelSettings(channels=(2, 2)), (1, 1, length), 2, 1)
        assert decoder.eval()(torch.randn(1, 2)).shape == (1, 1, 1, length)


def test_it_computes_what_one_dimensional_layers_compute():
    options = ModelSettings(
        channels=(4, 6), kernel=(5, 3), stride=(2, 3), padding=(2, 1), normalisation="none"
    )
    encoder = NETWORKS["conv"].encoder(options, (3, 1, 41), 4)
    decoder = NETWORKS["conv"].decoder(options, (3, 1, 41), 2, 1)
    x, z = torch.randn(2, 3, 1, 41), torch.randn(2, 2)
    for module, inputs, flat in ((encoder, x, x.squeeze(2)), (decoder, z, z)):
        for layer in module:
            flat = in_one_dimension(layer)(flat)
        expected = module(inputs).flatten(1)
        torch.testing.assert_close(flat.flatten(1), expected, rtol=1e-5, atol=1e-5)


def in_one_dimension(layer):
    if isinstance(layer, nn.Unflatten):
        return nn.Unflatten(1, (layer.unflattened_size[0], layer.unflattened_size[2]))
    if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return layer
    assert layer.kernel_size[0] == layer.stride[0] == 1
    assert layer.padding[0] == 0
    how = {"stride": layer.stride[1], "padding": layer.padding[1]}
    if isinstance(layer, nn.ConvTranspose2d):
        how["output_padding"] = layer.output_padding[1]
    made = {nn.Conv2d: nn.Conv1d, nn.ConvTranspose2d: nn.ConvTranspose1d}[type(layer)](
        layer.in_channels, layer.out_channels, layer.kernel_size[1], **how
    )
    made.load_state_dict({"weight": layer.weight.squeeze(2), "bias": layer.bias})
    return made


def test_feature_sizes_are_in_one_dimension():
    blocks = [Block(4, kernel=4, stride=2, padding=1), Block(4, kernel=3, stride=3)]
    assert feature_sizes(blocks, (1, 1, 100)) == [(1, 100), (1, 50), (1, 16)]


@pytest.mark.parametrize(
    ("changes", "length", "message"),
    [
        (
            {"channels": (2, 2, 2)},
            5,
            "^channels: signals of 5 values are too small for 3 blocks: after block 2 they are 1, "
            "and block 3 has a kernel of 4",
        ),
        ({"channels": (2,), "kernel": 9, "padding": 0}, 8, "^channels: signals of 8 values .*of 9"),
    ],
)
def test_signals_that_are_too_short_are_refused(changes, length, message):
    with pytest.raises(ValueError, match=message):
        check_model(ModelSettings(network="conv", **changes), (1, 1, length))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_convolutions_refuse_vectors_and_signals(name):
    for shape in ((1, 1, 500), (3, 1, 64)):
        with pytest.raises(ValueError, match=f"^network: .*of images.* of {shape[2]} values.*mlp"):
            check_model(ModelSettings(network=name), shape)


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("hidden", [(), (5,)])
def test_tables_suit_mlp_and_conv(network, hidden):
    options = ModelSettings(
        network=network, hidden=hidden, channels=(4,), latent_size=2, likelihood="gaussian_learned"
    )
    values = Values(shape=(1, 1, 30), **REAL)
    check_model(options, values)
    vae = build_vae(options, values, 0)
    if network == "mlp" and not hidden:
        layers = [layer for layer in vae.encoder if isinstance(layer, nn.Linear)]
        assert [(layer.in_features, layer.out_features) for layer in layers] == [(30, 4)]
        assert not any(isinstance(layer, nn.LeakyReLU) for layer in vae.modules())


def signals():
    data = source("none")
    return replace(
        data,
        train=data.train.reshape(-1, 1, 1, 64),
        validation=data.validation.reshape(-1, 1, 1, 64),
        values=Values(shape=(1, 1, 64), **REAL),
    )


@pytest.mark.parametrize("normalisation", ["batch", "group"])
def test_fused_lanes_equal_lanes_alone(tmp_path, normalisation):
    changes = {
        "network": "conv",
        "channels": (4, 8),
        "kernel": 5,
        "padding": 2,
        "normalisation": normalisation,
        "likelihood": "student_t",
        "sigma_per": "feature",
    }
    base, data, me = BASE.with_params(changes), signals(), trial(0, latent_size=3)
    make = {"base": base, "data": data, "maxima": {"latent_size": 6}, "every": RARELY}
    lanes = make_lanes(tmp_path, **make)
    alone = run(*lanes, [me], 2)[0]
    plain = run(*make_lanes(tmp_path, kind="sequential", **make), [me], 2)[0]
    assert plain[0] == pytest.approx(alone[0], rel=3e-4)
    others = [trial(n, latent_size=2 + n, learning_rate=1e-3 * n) for n in range(1, 5)]
    for company in ([*others, me], [me, others[0]]):
        lanes, _ = make_lanes(tmp_path, **make)
        for each in company:
            lanes.add(each)
        assert isinstance(lanes.groups.all()[0], VectorisedGroup)
        together = run(*make_lanes(tmp_path, **make), company, 2)[0]
        assert together[0] == alone[0]
        assert same_bits(together[1], alone[1])
