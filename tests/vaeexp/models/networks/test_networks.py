"""Every network has the shapes it promises and keeps the rules of fused training."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from vaeexp.models.networks import ACTIVATIONS, NETWORKS, find_network
from vaeexp.settings import ModelSettings

SHAPE = (1, 28, 28)


def model_settings(**changes):
    return ModelSettings(**({"hidden": (9, 7), "channels": (4, 6)} | changes))


@settings(deadline=None, max_examples=25)
@given(
    name=st.sampled_from(sorted(NETWORKS)),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    hidden=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    shape=st.tuples(st.integers(1, 4), st.integers(28, 36), st.integers(28, 36)),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 4)),
)
def test_shapes(name, activation, hidden, shape, sizes):
    (latent_size, parameters, batch), options = (
        sizes,
        model_settings(hidden=tuple(hidden), activation=activation),
    )
    encoder = NETWORKS[name].encoder(options, shape, 2 * latent_size).eval()
    decoder = NETWORKS[name].decoder(options, shape, latent_size, parameters).eval()
    assert encoder(torch.rand(batch, *shape)).shape == (batch, 2 * latent_size)
    assert decoder(torch.randn(batch, latent_size)).shape == (
        batch,
        parameters * shape[0],
        *shape[1:],
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_gets_a_finite_gradient(name, activation):
    torch.manual_seed(0)
    options = model_settings(activation=activation)
    # In evaluation mode: a normalised batch takes no notice of the bias before it.
    encoder = NETWORKS[name].encoder(options, SHAPE, 6).eval()
    decoder = NETWORKS[name].decoder(options, SHAPE, 6, 1).eval()
    decoder(encoder(torch.rand(16, *SHAPE))).square().sum().backward()
    for parameter in (*encoder.parameters(), *decoder.parameters()):
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_drawn_in_forward_and_vmap_takes_it(name, training):
    """vmap refuses random draws, branches on values and in-place writes."""
    torch.manual_seed(0)
    lanes = [NETWORKS[name].encoder(model_settings(), SHAPE, 4).train(training) for _ in range(3)]
    x = torch.rand(5, *SHAPE)
    parameters, buffers = stack_module_state(lanes)
    fused = vmap(lambda p, b: functional_call(lanes[0], (p, b), (x,)))(parameters, buffers)
    torch.testing.assert_close(
        fused, torch.stack([lane(x) for lane in lanes]), rtol=1e-4, atol=1e-5
    )
    assert torch.equal(lanes[0](x), lanes[0](x))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    "changes", [{}, {"head": 5, "normalisation": "group"}], ids=["plain", "head"]
)
def test_the_latent_size_is_a_leading_slice_of_the_first_and_last_layers(name, changes):
    torch.manual_seed(0)
    options, network = model_settings(**changes), NETWORKS[name]
    for small, large, x in (
        (
            network.encoder(options, SHAPE, 6),
            network.encoder(options, SHAPE, 16),
            torch.rand(3, *SHAPE),
        ),
        (
            network.decoder(options, SHAPE, 3, 2),
            network.decoder(options, SHAPE, 8, 2),
            torch.randn(3, 3),
        ),
    ):
        state = large.state_dict()
        for key, tensor in small.state_dict().items():
            state[key].zero_()
            state[key][tuple(slice(n) for n in tensor.shape)] = tensor
        wide = torch.cat([x, torch.zeros(3, 5)], 1) if x.dim() == 2 else x
        wanted, got = small(x), large(wide)
        torch.testing.assert_close(got[:, : wanted.shape[1]], wanted, rtol=1e-4, atol=1e-5)
        assert (
            sum(
                a.shape != b.shape
                for a, b in zip(small.parameters(), large.parameters(), strict=True)
            )
            <= 2
        )


def test_mlp_is_the_baseline_network():
    """784–512–512–2L and L–512–512–784 at L = 20, with the decoder's widths mirrored."""
    options = model_settings(hidden=(512, 256))
    encoder = NETWORKS["mlp"].encoder(options, SHAPE, 40)
    decoder = NETWORKS["mlp"].decoder(options, SHAPE, 20, 1)

    def widths(module):
        return [
            (layer.in_features, layer.out_features)
            for layer in module
            if isinstance(layer, nn.Linear)
        ]

    assert widths(encoder) == [(784, 512), (512, 256), (256, 40)]
    assert widths(decoder) == [(20, 256), (256, 512), (512, 784)]
    assert isinstance(encoder[2], nn.LeakyReLU)
    assert isinstance(encoder[-1], nn.Linear), "no activation after the last layer"


def test_images_too_small_for_a_published_network_are_refused_in_plain_words():
    with pytest.raises(
        ValueError, match="20 × 20 pixels are too small for 4 blocks: after block 3"
    ):
        find_network("conv_mnist").encoder(model_settings(), (1, 20, 20), 4)


def test_layers_start_as_pytorch_s_linear():
    torch.manual_seed(0)
    encoder = NETWORKS["mlp"].encoder(model_settings(hidden=(64,)), (1, 8, 8), 4)
    torch.manual_seed(0)
    assert torch.equal(encoder[1].weight, nn.Linear(64, 64).weight)
