"""Every network has the shapes it promises and keeps the rules of fused training."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from vaeexp.networks import ACTIVATIONS, NETWORKS


def model_settings(hidden=(9, 7), activation="leaky_relu"):
    return SimpleNamespace(hidden=hidden, activation=activation)


@settings(deadline=None, max_examples=25)
@given(
    name=st.sampled_from(sorted(NETWORKS)),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    hidden=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 4)),
)
def test_shapes(name, activation, hidden, shape, sizes):
    (latent_size, parameters, batch), options = sizes, model_settings(tuple(hidden), activation)
    encoder = NETWORKS[name].encoder(options, shape, 2 * latent_size)
    decoder = NETWORKS[name].decoder(options, shape, latent_size, parameters)
    assert encoder(torch.rand(batch, *shape)).shape == (batch, 2 * latent_size)
    assert decoder(torch.randn(batch, latent_size)).shape == (batch, parameters * shape[0], *shape[1:])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_gets_a_finite_gradient(name, activation):
    torch.manual_seed(0)
    options = model_settings(activation=activation)
    encoder, decoder = NETWORKS[name].encoder(options, (1, 8, 8), 6), NETWORKS[name].decoder(options, (1, 8, 8), 6, 1)
    decoder(encoder(torch.rand(16, 1, 8, 8))).square().sum().backward()
    for parameter in (*encoder.parameters(), *decoder.parameters()):
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_drawn_in_forward_and_vmap_takes_it(name):
    """vmap refuses random draws, branches on values and in-place writes."""
    torch.manual_seed(0)
    lanes = [NETWORKS[name].encoder(model_settings(), (1, 8, 8), 4).eval() for _ in range(3)]
    x = torch.rand(5, 1, 8, 8)
    parameters, buffers = stack_module_state(lanes)
    fused = vmap(lambda p, b: functional_call(lanes[0], (p, b), (x,)))(parameters, buffers)
    torch.testing.assert_close(fused, torch.stack([lane(x) for lane in lanes]))
    assert torch.equal(lanes[0](x), lanes[0](x))


def test_mlp_is_the_reference_network():
    """784–512–512–2L and L–512–512–784 at L = 20, with the decoder's widths mirrored."""
    options = model_settings(hidden=(512, 256))
    encoder, decoder = (
        NETWORKS["mlp"].encoder(options, (1, 28, 28), 40),
        NETWORKS["mlp"].decoder(options, (1, 28, 28), 20, 1),
    )

    def widths(module):
        return [(layer.in_features, layer.out_features) for layer in module if isinstance(layer, nn.Linear)]

    assert widths(encoder) == [(784, 512), (512, 256), (256, 40)]
    assert widths(decoder) == [(20, 256), (256, 512), (512, 784)]
    assert isinstance(encoder[2], nn.LeakyReLU)
    assert isinstance(encoder[-1], nn.Linear), "no activation after the last layer"


def test_layers_start_as_pytorch_s_linear():
    torch.manual_seed(0)
    encoder = NETWORKS["mlp"].encoder(model_settings(hidden=(64,)), (1, 8, 8), 4)
    torch.manual_seed(0)
    assert torch.equal(encoder[1].weight, nn.Linear(64, 64).weight)
