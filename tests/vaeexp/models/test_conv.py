"""Convolutions of any size, networks of the user's own, and BatchNorm in fused lanes."""

import logging
import textwrap

import pytest
import torch
from fused import BASE, make_lanes, run, same_bits, source, trial
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.workload.protocol import Outcome, advance_all
from vaeexp.models.networks import NETWORKS, find_network
from vaeexp.models.networks.conv import Block, feature_sizes
from vaeexp.models.vae import build_vae, check_model
from vaeexp.settings import ModelSettings
from vaeexp.training.batches import epoch_chunks, validation_noise
from vaeexp.training.checkpoint import load_model, save_weights
from vaeexp.training.groups import group as groups
from vaeexp.training.groups import sequential as loop
from vaeexp.training.groups.sequential import SequentialGroup
from vaeexp.training.groups.vectorised import VectorisedGroup
from vaeexp.training.lane import open_lane
from vaeexp.training.steps import eager as plain

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
        stride=data.draw(st.lists(st.integers(1, 4), min_size=len(channels), max_size=len(channels))),
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
@given(shape=st.tuples(st.sampled_from([1, 3, 4]), st.integers(8, 64), st.integers(8, 64)), blocks=st.integers(1, 4))
def test_up_to_four_default_blocks_suit_every_image_that_they_can_halve(shape, blocks):
    options = ModelSettings(channels=(2,) * blocks)
    if min(shape[1:]) >> (blocks - 1) < 2:
        with pytest.raises(ValueError, match="too small"):
            NETWORKS["conv"].decoder(options, shape, 2, 1)
    else:
        assert NETWORKS["conv"].decoder(options, shape, 2, 1).eval()(torch.randn(1, 2)).shape == (1, *shape)


def test_feature_sizes_are_those_of_the_convolutions():
    options = ModelSettings(channels=(2, 3, 4), kernel=(5, 3, 4), stride=(3, 2, 1), padding=(2, 0, 1))
    encoder, x, seen = NETWORKS["conv"].encoder(options, (1, 37, 22), 4), torch.rand(2, 1, 37, 22), [(37, 22)]
    for layer in encoder:
        x = layer(x)
        if isinstance(layer, torch.nn.Conv2d):
            seen.append(tuple(x.shape[2:]))
    blocks = zip(options.channels, options.kernel, options.stride, options.padding, strict=True)
    assert feature_sizes([Block(*block) for block in blocks], (1, 37, 22)) == seen


@pytest.mark.parametrize(
    ("changes", "shape", "message"),
    [
        ({"channels": (2, 2, 2, 2)}, (1, 8, 8), r"^channels: .*8 × 8 .*4 blocks: after block 3 they are 1 × 1"),
        ({"channels": (2,), "kernel": 9, "padding": 0}, (3, 8, 30), r"^channels: .*8 × 30 .*a kernel of 9"),
        ({"channels": (2, 2), "kernel": (3, 3, 3)}, (1, 28, 28), "^kernel: got 3 values for 2 blocks; must be 1 or 2"),
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


def plain_training(settings, seed, epochs):
    """What a person would write. Training loss and validation −ELBO of each epoch, and the model."""
    data, train = source(), settings.train
    vae = build_vae(settings.model, data.image_shape, seed)
    kind = {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax}[train.optimizer]
    optimizer, losses, values = kind(vae.parameters(), lr=train.learning_rate), [], []
    fixed = validation_noise(data, settings.model.latent_size)
    for epoch in range(epochs):
        total, steps = 0.0, 0
        vae.train()
        for targets, noise in epoch_chunks(
            data, seed=seed, epoch=epoch, batch_size=train.batch_size, latent_size=settings.model.latent_size
        ):
            for x, e in zip(targets.split(train.batch_size), noise.split(train.batch_size), strict=True):
                terms = vae(x, e)
                loss = terms.distortion.mean() + train.beta * terms.rate.mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total, steps = total + loss.item(), steps + 1
        losses.append(total / steps)
        with torch.no_grad():
            terms = vae.eval()(data.validation, fixed)
        values.append((terms.distortion + terms.rate).mean().item())
    return losses, values, vae


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalisation", ["batch", "group"])
@pytest.mark.parametrize("prior", ["normal", "mixture"])
def test_a_conv_lane_equals_a_plain_pytorch_loop(tmp_path, kind, normalisation, prior):
    base = CONV.with_params({"normalisation": normalisation})
    params = {"optimizer": "adamax", "prior": prior, "beta": 0.7, "latent_size": 3}
    lanes, artifacts = make_lanes(tmp_path, kind=kind, maxima=MAXIMA, base=base)
    for each in (trial(0, **params), trial(1, latent_size=6, prior=prior)):
        lanes.add(each)
    assert isinstance(lanes._all()[0], {"vectorised": VectorisedGroup, "sequential": SequentialGroup}[kind])
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
        assert not torch.equal(kept["encoder.1.running_mean"], torch.zeros(4)), "the statistics have moved"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normalisation", ["batch", "group"])
def test_bits_do_not_depend_on_lane_or_neighbours(tmp_path, kind, normalisation):
    base, me = CONV.with_params({"normalisation": normalisation}), trial(0, latent_size=3, beta=0.5)
    others = [
        trial(n, latent_size=2 + n % 5, learning_rate=1e-3 * n, optimizer=["adam", "adamax"][n % 2])
        for n in range(1, 6)
    ]
    alone = run(*make_lanes(tmp_path, kind=kind, maxima=MAXIMA, base=base), [me], 3)[0]
    for company in ([*others, me], [me, *others[:2]], [others[0], me]):
        together = run(*make_lanes(tmp_path, kind=kind, maxima=MAXIMA, base=base), company, 3)[0]
        assert together[0] == alone[0]
        assert same_bits(together[1], alone[1])


def pictures(size, channels):
    """The small study's images, enlarged, in as many channels."""
    data = source()
    big = torch.nn.functional.interpolate(data.train[:32].float(), size=size).byte().expand(-1, channels, -1, -1)
    big = big.contiguous()
    return type(data)(train=big, validation=big[:8].float(), binarisation="static", noise_seed=7)


@pytest.mark.parametrize(("name", "size", "channels"), [("conv_mnist", 28, 1), ("conv_cifar", 16, 3)])
def test_published_conv_lanes_do_not_depend_on_their_neighbours(tmp_path, name, size, channels):
    """At the width of a real network, and in colour, where other kernels are chosen."""
    data, base = pictures(size, channels), BASE.with_params({"network": name})
    alone = run(*make_lanes(tmp_path, maxima=MAXIMA, base=base, data=data), [trial(0)], 1)[0]
    others = [trial(n, latent_size=6) for n in range(1, 5)]
    for company in ([*others, trial(0)], [others[0], trial(0)]):
        together = run(*make_lanes(tmp_path, maxima=MAXIMA, base=base, data=data), company, 1)[0]
        assert together[0] == alone[0]
        assert same_bits(together[1], alone[1])


@pytest.mark.parametrize("channels", [1, 3])
def test_activations_lie_in_the_fast_order_from_the_first_convolution_on(channels):
    """Of one channel, strides say one thing and the order of the numbers two."""
    layer = torch.nn.Conv2d(channels, 8, 3)
    weight = plain.in_fast_order(torch.nn.Sequential(layer), {"0.weight": layer.weight.detach()})["0.weight"]
    assert torch.equal(weight, layer.weight)
    out = torch.nn.functional.conv2d(torch.rand(2, channels, 9, 9), weight)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert not out.is_contiguous()


@pytest.mark.parametrize("optimizer", ["adam", "adamax"])
def test_the_order_in_which_weights_lie_changes_rounding_alone(tmp_path, monkeypatch, optimizer):
    """Adam's fused kernel pairs weights, gradients and moments as they lie in memory, whatever their strides say."""
    orders, step_of = [], SequentialGroup._step_of

    def watched(group, lane):
        step = step_of(group, lane)
        orders.append([weight.is_contiguous() for weight in step._tensors["weights"]])
        return step

    monkeypatch.setattr(SequentialGroup, "_step_of", watched)
    found, me = [], trial(0, optimizer=optimizer, ema_decay=0.9)
    for reorder in (plain.in_fast_order, lambda module, tensors: dict(tensors)):
        for module in (plain, loop):
            monkeypatch.setattr(module, "in_fast_order", reorder)
        lanes = make_lanes(tmp_path, kind="sequential", base=CONV, averaged=True)
        lanes[0].add(me)
        advance_all(lanes[0], [0])
        group = lanes[0]._all()[0]
        for name, view in lanes[0]._all()[0].lanes[0].layout.views(group.states[0]["weights"]).items():
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
    for number in (0, 1):
        lanes.add(trial(number))
    values = {0: [], 1: []}
    for numbers in ([0], [0], [1], [0, 1], [1]):
        for progress in advance_all(lanes, numbers):
            values[progress.number].append(progress.objective)
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
    assert lanes._all()[0].lanes[0].epoch == 2, "from the checkpoint, not from the start"
    lanes.replay()
    assert [advance_all(lanes, [0])[0].objective] == whole[0][3:]
    lanes.finish({0: Outcome(state="complete", epoch=4, objective=None)})
    assert same_bits(artifacts.states[0], whole[1])


@pytest.mark.parametrize("kind", KINDS)
def test_saved_weights_bring_their_statistics_back(tmp_path, kind):
    lanes, artifacts = make_lanes(tmp_path, kind=kind, maxima=MAXIMA, base=CONV)
    lanes.add(trial(0, latent_size=3))
    value = [advance_all(lanes, [0])[0].objective for _ in range(2)][-1]
    lane = lanes._all()[0].lanes[0]
    lanes.finish({0: Outcome(state="complete", epoch=2, objective=value)})
    state = artifacts.states[0]
    save_weights(tmp_path, lane, state["best"], state["best_buffers"], (1, 8, 8), {})
    vae, data = load_model(tmp_path), source()
    assert vae.encoder[1].num_batches_tracked.dtype == torch.int64
    assert vae.encoder[1].num_batches_tracked == 12
    with torch.no_grad():
        terms = vae(data.validation, validation_noise(data, 3))
    assert (terms.distortion + terms.rate).mean().item() == pytest.approx(value, rel=1e-5)


def test_the_running_average_is_scored_with_the_statistics_of_the_weights(tmp_path):
    values = [
        run(*make_lanes(tmp_path, kind=kind, averaged=True, base=CONV), [trial(0, ema_decay=0.9)], 3)[0]
        for kind in KINDS
    ]
    assert values[0][0] == pytest.approx(values[1][0], rel=1e-4)
    _, tensors = values[0]
    lane, vae = open_lane(trial(0), CONV, (1, 8, 8), 100)
    assert not torch.equal(tensors["average"], tensors["weights"])
    vae.load_state_dict({**lane.layout.read(tensors["average"]), **lane.buffer_layout.read(tensors["buffers"])})
    data = source()
    with torch.no_grad():
        terms = vae.eval()(data.validation, validation_noise(data, 4))
    assert (terms.distortion + terms.rate).mean().item() == pytest.approx(values[0][0][-1], rel=1e-5)


USER = """
    import torch
    from torch import nn
    from vaeexp.models.networks import Network

    class Pyramid:
        '''Pools instead of striding.'''

        def encoder(self, settings, image_shape, outputs):
            c, h, w = image_shape
            return nn.Sequential(
                nn.Conv2d(c, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(1),
                nn.Linear(4 * (h // 2) * (w // 2), outputs),
            )

        def decoder(self, settings, image_shape, latent_size, parameters):
            c, h, w = image_shape
            return nn.Sequential(
                nn.Linear(latent_size, 16), nn.ReLU(), nn.Linear(16, parameters * c * h * w),
                nn.Unflatten(1, (parameters * c, h, w)),
            )

    ready = Network(Pyramid().encoder, Pyramid().decoder)

    class Recurrent(Pyramid):
        def encoder(self, settings, image_shape, outputs):
            class Rows(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.read, self.head = nn.GRU(image_shape[2], 6, batch_first=True), nn.Linear(6, outputs)
                def forward(self, x):
                    return self.head(self.read(x[:, 0])[0][:, -1])
            return Rows()

    class Averaging(Pyramid):
        '''BatchNorm with a plain average: reads its count, which vmap refuses.'''
        def encoder(self, settings, image_shape, outputs):
            net = super().encoder(settings, image_shape, outputs)
            net[1].momentum = None
            return net

    class Centred(Pyramid):
        '''Normalises over the latent dimensions, so padding changes its numbers.'''
        def decoder(self, settings, image_shape, latent_size, parameters):
            class Centre(nn.Module):
                def forward(self, z):
                    return z - 2 * z.mean(-1, keepdim=True)
            return nn.Sequential(Centre(), super().decoder(settings, image_shape, latent_size, parameters))

    class Indexed(Pyramid):
        '''With a buffer of whole numbers, and one that no state dict holds.'''
        def encoder(self, settings, image_shape, outputs):
            net = super().encoder(settings, image_shape, outputs)
            class Flipped(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.net = net
                    self.register_buffer("order", torch.arange(image_shape[2]).flip(0))
                    self.register_buffer("offset", torch.tensor(0.5), persistent=False)
                def forward(self, x):
                    return self.net(x[..., self.order] - self.offset)
            return Flipped()

    class Viewing(Pyramid):
        '''Views its features, which only works where they lie in the usual order.'''
        def encoder(self, settings, image_shape, outputs):
            class Viewed(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.conv = nn.Conv2d(image_shape[0], 4, 3, padding=1)
                    self.hidden = nn.Conv2d(4, 8, 3, padding=1)
                    self.head = nn.Linear(8 * image_shape[1] * image_shape[2], outputs)
                def forward(self, x):
                    return self.head(self.hidden(self.conv(x)).view(len(x), -1))
            return Viewed()

    class Noisy(Pyramid):
        def encoder(self, settings, image_shape, outputs):
            return nn.Sequential(nn.Dropout(0.5), super().encoder(settings, image_shape, outputs))

    class Wrong(Pyramid):
        def encoder(self, settings, image_shape, outputs):
            return super().encoder(settings, image_shape, outputs + 1)

    class Idle(Pyramid):
        def encoder(self, settings, image_shape, outputs):
            net = super().encoder(settings, image_shape, outputs)
            net.spare = nn.Parameter(torch.ones(3))
            net.forward = lambda x, layers=list(net): [x := layer(x) for layer in layers][-1]
            return net

    class Broken(Pyramid):
        def encoder(self, settings, image_shape, outputs):
            raise KeyError("width")

    class Half:
        def encoder(self, settings, image_shape, outputs):
            return nn.Identity()

    class Short(Pyramid):
        def decoder(self, settings, latent_size):
            return nn.Identity()

    class Needy(Pyramid):
        def __init__(self, size):
            self.size = size
"""


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A folder with the user's module in it, as the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "my_networks", raising=False)
    (tmp_path / "my_networks.py").write_text(textwrap.dedent(USER))
    groups.warn_once.cache_clear()
    return tmp_path


def using(name):
    return BASE.with_params({"network": f"my_networks:{name}"})


def test_a_user_s_network_is_found_in_the_working_directory(tmp_path, monkeypatch):
    import sys

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(tmp_path)])
    (tmp_path / "networks_of_mine.py").write_text(textwrap.dedent(USER))
    network = find_network("networks_of_mine:Pyramid")
    assert network.encoder(ModelSettings(), (1, 8, 8), 6)(torch.rand(2, 1, 8, 8)).shape == (2, 6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["Pyramid", "ready", "Indexed", "Viewing"])
def test_a_user_s_network_trains_fused_like_any_other(user, kind, name, caplog):
    base = using(name)
    check_model(base.model, (1, 8, 8))
    lanes, artifacts = make_lanes(user, kind=kind, base=base, maxima=MAXIMA)
    for each in (trial(0, latent_size=3), trial(1)):
        lanes.add(each)
    assert isinstance(lanes._all()[0], {"vectorised": VectorisedGroup, "sequential": SequentialGroup}[kind])
    lane = lanes._all()[0].lanes[0]
    seen = [advance_all(lanes, [0, 1])[0] for _ in range(3)]
    losses, values, _ = plain_training(base.with_params({"latent_size": 3}), seed=1000, epochs=3)
    assert [p.metrics["train/loss"] for p in seen] == pytest.approx(losses, rel=3e-4)
    assert [p.objective for p in seen] == pytest.approx(values, rel=3e-4)
    assert not caplog.records
    lanes.finish({0: Outcome(state="complete", epoch=3, objective=None)})
    save_weights(user, lane, artifacts.states[0]["best"], artifacts.states[0]["best_buffers"], (1, 8, 8), {})
    vae, data = load_model(user), source()
    with torch.no_grad():
        terms = vae(data.validation, validation_noise(data, 3))
    assert (terms.distortion + terms.rate).mean().item() == pytest.approx(min(values), rel=3e-4)


@pytest.mark.parametrize(
    ("name", "why"), [("Recurrent", "vmap refuses"), ("Averaging", "vmap refuses"), ("Centred", "gives other numbers")]
)
def test_what_cannot_be_fused_is_looped_and_said_once(user, name, why, caplog):
    base = using(name)
    with caplog.at_level(logging.WARNING):
        runs = [
            run(*make_lanes(user, kind="vectorised", base=base, maxima=MAXIMA), [trial(0), trial(1)], 2)
            for _ in range(2)
        ]
    assert len(caplog.records) == 1
    assert f"my_networks:{name}" in caplog.text
    assert why in caplog.text
    loop = run(*make_lanes(user, kind="sequential", base=base), [trial(0), trial(1)], 2)
    for number in (0, 1):
        assert runs[0][number][0] == loop[number][0]
        assert same_bits(runs[0][number][1], loop[number][1])
    lanes, _ = make_lanes(user, kind="vectorised", base=base, maxima=MAXIMA)
    lanes.add(trial(0))
    assert isinstance(lanes._all()[0], SequentialGroup)


def test_a_batch_norm_whose_batch_holds_padding_is_looped(tmp_path):
    """A VampPrior's padded pseudo-images would enter the statistics of the encoder."""
    lanes, _ = make_lanes(tmp_path, base=CONV, maxima=MAXIMA)
    lanes.add(trial(0, prior="vampprior"))
    assert isinstance(lanes._all()[0], SequentialGroup)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module:Net", "'no_such_module:Net' cannot be imported: ModuleNotFoundError.*working directory"),
        ("my_networks:Pyramyd", "cannot be imported: AttributeError.*Pyramyd"),
        ("my_networks:Half", r"has no method `decoder\(settings, image_shape, latent_size, parameters\)`"),
        ("my_networks:Short", r"`decoder` of 'my_networks:Short' must take \(settings, image_shape, latent_size"),
        ("my_networks:Needy", "must be callable without arguments: TypeError"),
        ("my_networks:Wrong", r"gives shape \(2, 9\) for an input of shape \(2, 1, 8, 8\); it must be \(2, 8\)"),
        ("my_networks:Noisy", "draws random numbers in `forward`"),
        ("my_networks:Idle", "a parameter 'spare' that is not learned or not used"),
        ("my_networks:Broken", "the encoder of 'my_networks:Broken' .* cannot be built: KeyError: 'width'"),
    ],
)
def test_a_user_s_network_that_does_not_fit_is_refused_in_plain_words(user, path, message):
    with pytest.raises(ValueError, match=rf"^network: .*{message}"):
        check_model(using("Pyramid").with_params({"network": path}).model, (1, 8, 8))


def test_a_study_file_names_a_user_s_network_and_hears_where_it_does_not_fit(user):
    from sweeps.errors import UserError
    from vaeexp.study import open_study_file

    text = """
        question: Does it fit?
        model: {kernel: [4, 4, 4]}
        search: {network: {values: ["my_networks:Pyramid", conv, mlp]}, beta: {low: 0.1, high: 1}}
        budget: {trials: 2}
    """
    path = user / "own.yaml"
    path.write_text(textwrap.dedent(text))
    assert open_study_file(str(path), image_shape=(1, 28, 28)).space["network"].values[0] == "my_networks:Pyramid"
    with pytest.raises(UserError, match=r"search\.network\.values\.2: .*8 × 4 pixels are too small for 3 blocks"):
        open_study_file(str(path), image_shape=(1, 8, 4))


@pytest.mark.parametrize("kind", KINDS)
def test_a_published_lane_trains_like_a_plain_pytorch_loop(tmp_path, kind, monkeypatch):
    """Training losses only: its convolutions have biases before BatchNorm, which rounding errors move, as in the plain
    loop, and which reach validation through the running means."""
    data, base = pictures(28, 1), BASE.with_params({"network": "conv_mnist"})
    monkeypatch.setitem(globals(), "source", lambda: data)
    losses, _, _ = plain_training(base, seed=1000, epochs=2)
    lanes, _ = make_lanes(tmp_path, kind=kind, base=base, data=data)
    lanes.add(trial(0))
    assert [advance_all(lanes, [0])[0].metrics["train/loss"] for _ in range(2)] == pytest.approx(losses, rel=3e-4)
