"""Networks of the user's own: found, refused, trained; with BatchNorm, and where they cannot be
fused.
"""

import logging
import re
import sys
import textwrap
import types

import pytest
import torch
from fused import ALL_PARTS, BASE, images, make_lanes, plain_training, run, same_bits, source, trial

from sweeps.errors import UserError
from sweeps.lanes import Outcome, advance_all
from vaeexp.data.values import as_values
from vaeexp.import_paths import import_path
from vaeexp.models.network_warnings import network_warnings
from vaeexp.models.networks import find_network
from vaeexp.models.vae import build_vae, check_model
from vaeexp.run_files import WEIGHTS
from vaeexp.settings import ModelSettings
from vaeexp.training import Snapshot, groups, open_lane
from vaeexp.training.batches import validation_noise
from vaeexp.training.checkpoint import load_model, save_settings, save_weights
from vaeexp.training.groups.sequential import SequentialGroup
from vaeexp.training.groups.vectorised import VectorisedGroup

KINDS = ["vectorised", "sequential"]
MAXIMA = {"latent_size": 6, "components": 5}
TRIALS = (
    {"beta": 0.3, "latent_size": 3},
    {"learning_rate": 5e-3, "latent_size": 6},
    {"optimizer": "adamax", "latent_size": 4},
)

USER = '''
    import torch
    from torch import nn

    class Pyramid:
        """Pools instead of striding."""

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

    class Normed:
        """Fully connected, with BatchNorm1d on either side; rounding alone would move a bias before it."""

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

    class Recurrent(Pyramid):
        def encoder(self, settings, image_shape, outputs):
            return Rows(outputs)

    class Averaging(Pyramid):
        """BatchNorm with a plain average: reads its count, which vmap refuses."""
        def encoder(self, settings, image_shape, outputs):
            net = super().encoder(settings, image_shape, outputs)
            net[1].momentum = None
            return net

    class Centred(Pyramid):
        """Normalises over the latent dimensions, so padding changes its numbers."""
        def decoder(self, settings, image_shape, latent_size, parameters):
            class Centre(nn.Module):
                def forward(self, z):
                    return z - 2 * z.mean(-1, keepdim=True)
            return nn.Sequential(Centre(), super().decoder(settings, image_shape, latent_size, parameters))

    class Indexed(Pyramid):
        """With a buffer of whole numbers, and one that no state dict holds."""
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
        """Views its features, which only works where they lie in the usual order."""
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

    def changed(change, half="decoder", outputs=None):
        """A network whose half is passed through `change`."""
        class Changed(Pyramid):
            def encoder(self, *args):
                net = super().encoder(*args)
                return change(net) if half == "encoder" else net
            def decoder(self, *args):
                net = super().decoder(*args)
                return change(net) if half == "decoder" else net
        if outputs:
            Changed.outputs = outputs
        return Changed

    class Around(nn.Module):
        """A module, a function of its output, and one of its input."""
        def __init__(self, net, after=lambda h: h, before=lambda x: x):
            super().__init__()
            self.net, self.after, self.before = net, after, before
        def forward(self, x):
            return self.after(self.net(self.before(x)))

    def then(function, *args):
        return changed(lambda net: Around(net, function), *args)

    Sigmoid = changed(lambda net: nn.Sequential(*net, nn.Sigmoid()))
    Tanh = changed(lambda net: nn.Sequential(*net, nn.Tanh()))
    ReLU = changed(lambda net: nn.Sequential(*net, nn.ReLU()))
    Deviations = changed(
        lambda net: Around(net, lambda h: (h[:, ::2], torch.nn.functional.softplus(h[:, 1::2]))), "encoder"
    )
    Zeros = changed(lambda net: [nn.init.zeros_(net[2].weight), nn.init.zeros_(net[2].bias), net][-1])
    Pair = changed(lambda net: Around(net, lambda h: (h[:, ::2], h[:, 1::2])), "encoder")
    Probable = changed(lambda net: nn.Sequential(*net, nn.Sigmoid()), "decoder", "probabilities")
    Flat = then(lambda h: h.flatten(1))

    Triple = changed(lambda net: Around(net, lambda h: (h[:, ::2], h[:, 1::2], h[:, ::2])), "encoder")
    Dictionary = then(lambda h: {"reconstruction": h})
    Whole = then(lambda h: h.round().long())
    Infinite = then(lambda h: h / 0)
    Detached = then(lambda h: h.detach())
    Sampled = then(lambda h: h + torch.randn_like(h))
    Numpy = then(lambda h: h + float(__import__("numpy").random.rand()))
    Greedy = changed(lambda net: Around(net, before=lambda x: x.mul_(2)), "encoder")
    Double = changed(lambda net: Around(net.double(), lambda h: h.float(), lambda x: x.double()))
    Meta = changed(lambda net: net.to("meta"))
    NoModule = changed(lambda net: net.forward)
    Unlike = changed(lambda net: net, "decoder", "logit")
    Improbable = changed(lambda net: net, "decoder", "probabilities")
    class Hidden(nn.Module):
        """A function of a module's output that keeps layers or numbers where PyTorch does not find them."""
        def __init__(self, net, keep, function):
            super().__init__()
            self.net, self.kept, self.function = net, [keep()], function
        def forward(self, x):
            return self.function(self, self.net(x))

    def counted(self, h):
        self.kept[0] = self.kept[0] + 1
        return h / self.kept[0]

    def averaged(self, h):
        self.mean = 0.9 * self.mean + 0.1 * h.mean().detach()
        return h - self.mean

    class Buffered(nn.Module):
        def __init__(self, net, function):
            super().__init__()
            self.net, self.function = net, function
            self.register_buffer("mean", torch.zeros(()))
        def forward(self, x):
            return self.function(self, self.net(x))

    Layers = changed(lambda net: Hidden(net, lambda: nn.Linear(8, 8), lambda self, h: self.kept[0](h)), "encoder")
    Counted = changed(lambda net: Hidden(net, lambda: 1, counted), "encoder")
    Replaced = changed(lambda net: Buffered(net, averaged), "encoder")
    Updated = changed(lambda net: Buffered(net, lambda self, h: h - self.mean.mul_(0.9).add_(0.1 * h.mean().detach())), "encoder")
    common = nn.Sequential(nn.Flatten(1), nn.Linear(64, 8))
    Common = changed(lambda net: common, "encoder")
    OfTwo = changed(lambda net: Around(net, before=lambda x: x.view(2, *x.shape[1:])), "encoder")
    Uncopied = changed(lambda net: [nn.utils.weight_norm(net[0]), net][-1])
    Spectral = changed(lambda net: [nn.utils.parametrizations.spectral_norm(net[0]), net][-1])
    Mixing = changed(
        lambda net: nn.Sequential(*net[:2], nn.BatchNorm1d(16, track_running_stats=False), *net[2:])
    )
    LogSigmoid = changed(lambda net: nn.Sequential(*net, nn.LogSigmoid()))

    class Rows(nn.Module):
        def __init__(self, outputs):
            super().__init__()
            self.rnn, self.head = nn.GRU(8, 8, batch_first=True), nn.Linear(8, outputs)
        def forward(self, x):
            return self.head(self.rnn(x[:, 0])[0][:, -1])

    class Aliased(Pyramid):
        """Its decoder has layers by two names, and two layers that share their weight."""
        def decoder(self, settings, image_shape, latent_size, parameters):
            class Named(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.first, self.second, self.third = nn.Linear(latent_size, 8), nn.Linear(8, 8), nn.Linear(8, 8)
                    self.third.weight = self.second.weight
                    self.layers = nn.Sequential(self.first, nn.ReLU(), self.second, nn.Tanh(), self.second)
                    self.image = nn.Linear(8, parameters * image_shape[0] * image_shape[1] * image_shape[2])
                def forward(self, z):
                    return self.image(self.third(self.layers(z))).view(-1, parameters * image_shape[0], *image_shape[1:])
            return Named()

    class Unlisted(Pyramid):
        """With random numbers in a buffer that no state dict holds."""
        def encoder(self, settings, image_shape, outputs):
            class Turned(nn.Module):
                def __init__(self, net):
                    super().__init__()
                    self.net = net
                    self.register_buffer("turn", torch.randn(outputs, outputs), persistent=False)
                def forward(self, x):
                    return self.net(x) @ self.turn
            return Turned(super().encoder(settings, image_shape, outputs))

    Losing = type("Losing", (Pyramid,), {"loss": lambda self, x: 0})

    class Lazy(Pyramid):
        def encoder(self, settings, image_shape, outputs):
            return nn.Sequential(
                nn.LazyConv2d(4, 3, padding=1), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(outputs)
            )

    class Public(nn.Module):
        """A whole VAE as public code has it."""
        def __init__(self, pixels, latent):
            super().__init__()
            self.hidden = nn.Sequential(nn.Linear(pixels, 16), nn.BatchNorm1d(16), nn.ReLU())
            self.mean, self.log_var = nn.Linear(16, latent), nn.Linear(16, latent)
            self.up, self.image = nn.Linear(latent, 16), nn.Linear(16, pixels)
        def encode(self, x):
            h = self.hidden(x.flatten(1))
            return [self.mean(h), self.log_var(h)]
        def decode(self, z):
            return self.image(self.up(z).relu()).sigmoid()
        def forward(self, x):
            mean, log_var = self.encode(x)
            return self.decode(mean + torch.randn_like(mean) * log_var.exp().sqrt()), mean, log_var

    class Adapted:
        outputs = "probabilities"
        kind = Public
        def vae(self, settings, image_shape):
            return self.kind(image_shape[1] * image_shape[2], settings.latent_size)

    class Tied(Public):
        def decode(self, z):
            return (self.image(z @ self.mean.weight)).sigmoid()

    Sharing = type("Sharing", (Adapted,), {"kind": Tied})
    WithLoss = type("WithLoss", (Adapted,), {"kind": type("L", (Public,), {"loss_function": lambda self: 0})})

    class Half:
        def encoder(self, settings, image_shape, outputs):
            return nn.Identity()

    class Needy(Pyramid):
        def __init__(self, size):
            self.size = size
'''  # noqa: E501


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


@pytest.fixture
def moving_statistics(monkeypatch):
    """Evaluate with the moving averages of training, as the plain loop here does, although an epoch
    has few steps.
    """
    monkeypatch.setattr("vaeexp.training.running_statistics.FEW_STEPS", 0)


@pytest.mark.usefixtures("moving_statistics")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    [
        "Pyramid",
        "Indexed",
        "Viewing",
        "Pair",
        "Probable",
        "Flat",
        "Lazy",
        "Adapted",
        "Aliased",
        "Unlisted",
    ],
)
def test_a_user_s_network_trains_fused_like_any_other(user, kind, name, caplog):
    base = using(name)
    check_model(base.model, (1, 8, 8))
    lanes, artifacts = make_lanes(user, kind=kind, base=base, maxima=MAXIMA)
    for each in (trial(0, latent_size=3), trial(1)):
        lanes.add(each)
    assert isinstance(
        lanes.groups.all()[0], {"vectorised": VectorisedGroup, "sequential": SequentialGroup}[kind]
    )
    lane = lanes.groups.all()[0].lanes[0]
    seen = [advance_all(lanes, [0, 1])[0] for _ in range(3)]
    losses, values, _ = plain_training(base.with_params({"latent_size": 3}), seed=1000, epochs=3)
    assert [p.metrics["train/loss"] for p in seen] == pytest.approx(losses, rel=3e-4)
    assert [p.objective for p in seen] == pytest.approx(values, rel=3e-4)
    assert not caplog.records
    lanes.finish({0: Outcome(state="complete", epoch=3, objective=None)})
    best = Snapshot(1, artifacts.states[0]["best"], artifacts.states[0]["best_buffers"])
    save_weights(user / WEIGHTS, lane, best)
    save_settings(user, lane, as_values((1, 8, 8)), {})
    vae, data = load_model(user, allow_code=True), source()
    with torch.no_grad():
        terms = vae(data.validation, validation_noise(data, 3))
    assert (terms.distortion + terms.rate).mean().item() == pytest.approx(min(values), rel=3e-4)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Recurrent", "vmap refuses"),
        ("Averaging", "vmap refuses"),
        ("Centred", "gives other numbers"),
    ],
)
def test_what_cannot_be_fused_is_looped_and_said_once(user, name, why, caplog):
    base = using(name)
    with caplog.at_level(logging.WARNING):
        runs = [
            run(
                *make_lanes(user, kind="vectorised", base=base, maxima=MAXIMA),
                [trial(0), trial(1)],
                2,
            )
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
    assert isinstance(lanes.groups.all()[0], SequentialGroup)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "no_such_module:Net",
            "'no_such_module:Net' cannot be imported: ModuleNotFoundError.*working directory",
        ),
        ("my_networks:Pyramyd", "cannot be imported: AttributeError.*Pyramyd"),
        (
            "my_networks:Triple",
            r"gives a tuple of 3; must be one tensor or \(mu, logvar\), without z",
        ),
        (
            "my_networks:Dictionary",
            r"decoder .* gives a dict; must be a tensor of shape \(2, 1, 8, 8\)",
        ),
        ("my_networks:Whole", "gives int64 numbers; must be floating-point"),
        ("my_networks:Infinite", "not finite"),
        ("my_networks:Detached", "depends on no parameter"),
        (
            "my_networks:Sampled",
            "draws random numbers in `forward`.* z is drawn from the means and log-variances",
        ),
        ("my_networks:Numpy", "draws random numbers in `forward`"),
        ("my_networks:Greedy", "changes its input in place"),
        ("my_networks:Double", "a parameter 'net.0.weight' of float64; must be float32"),
        ("my_networks:Meta", "a tensor '0.weight' that is on meta; build it on the CPU"),
        ("my_networks:NoModule", "must be a torch.nn.Module, not method"),
        ("my_networks:Unlike", "`outputs` of .* is 'logit'; must be 'logits' or 'probabilities'"),
        (
            "my_networks:Improbable",
            r"says `outputs = \"probabilities\"` and gives values from -.* sigmoid",
        ),
        (
            "my_networks:Losing",
            "the method `loss` .* never called: the loss is distortion .* `beta`",
        ),
        (
            "my_networks:Public",
            r"It is a whole VAE: name a class with a method `vae\(self, settings",
        ),
        ("my_networks:Sharing", "shares the parameter 'mean.weight' with the encoder"),
        (
            "my_networks:Half",
            r"has no method `decoder\(settings, image_shape, latent_size, parameters\)`",
        ),
        ("my_networks:Needy", "must be callable without arguments: TypeError"),
        (
            "my_networks:Wrong",
            r"gives shape \(2, 9\) for an input of shape \(2, 1, 8, 8\); it must be \(2, 8\)",
        ),
        (
            "my_networks:Noisy",
            r"draws random numbers in `forward`.* Leave dropout \('0'\) .*or set its p to 0",
        ),
        ("my_networks:Idle", "a parameter 'spare' that is not learned or not used"),
        (
            "my_networks:Layers",
            "computes with numbers that are neither parameters nor buffers.*nn.ModuleList",
        ),
        (
            "my_networks:Counted",
            "keeps from one pass to the next numbers that are neither parameters nor buffers",
        ),
        (
            "my_networks:Replaced",
            r"replaces its buffer 'mean' in `forward`; write into .*`self.mean.copy_",
        ),
        ("my_networks:Common", "the same module each time; build it in the method"),
        ("my_networks:OfTwo", r"fails on an input of shape \(5, 1, 8, 8\) in evaluation"),
        ("my_networks:Uncopied", "cannot be copied.*those of torch.nn.utils.parametrizations"),
        (
            "my_networks:Broken",
            "the encoder of 'my_networks:Broken' .* cannot be built: KeyError: 'width'",
        ),
    ],
)
def test_a_user_s_network_that_does_not_fit_is_refused_in_plain_words(user, path, message):
    with pytest.raises(ValueError, match=rf"^network: .*{message}"):
        check_model(using("Pyramid").with_params({"network": path}).model, (1, 8, 8))


@pytest.mark.parametrize("name", ["Updated", "Spectral"])
def test_a_state_that_moves_in_its_buffers_goes_on_from_a_checkpoint(user, name):
    base = using(name)
    check_model(base.model, (1, 8, 8))
    seen = [
        run(*make_lanes(user, kind="sequential", base=base), [trial(0)], epochs)[0]
        for epochs in (3, 3)
    ]
    assert seen[0][0] == seen[1][0]
    assert same_bits(seen[0][1], seen[1][1])


def test_a_module_that_draws_when_it_is_imported_changes_no_model(user):
    (user / "drawing.py").write_text(textwrap.dedent(USER) + "\ntorch.manual_seed(3)\n")
    model = BASE.with_params({"network": "drawing:Pyramid"}).model
    first, second = (build_vae(model, (1, 8, 8), seed=5) for _ in range(2))
    assert same_bits(first.state_dict(), second.state_dict())


ENDING = """
    import argparse
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", {option})
    width = parser.parse_args().width
    {then}
"""


@pytest.mark.parametrize("file", ["test.py", "time.py", "test/nets.py"])
def test_a_file_that_a_module_of_its_name_hides_is_named(user, file, monkeypatch):
    monkeypatch.setattr(sys, "path", [*(each for each in sys.path if each != str(user)), str(user)])
    (user / file).parent.mkdir(exist_ok=True)
    (user / file).write_text(textwrap.dedent(USER))
    module = file.removesuffix(".py").replace("/", ".")
    with pytest.raises(ValueError, match=f"'{module}:Pyramid' cannot be imported") as refused:
        find_network(f"{module}:Pyramid")
    top = module.partition(".")[0]
    assert f"Python finds <module '{top}'" in str(refused.value)
    assert str(refused.value).endswith(f"before your {top}. Rename yours.")


CONDITIONED = """
from dataclasses import dataclass
from torch import nn
from my_networks import Pyramid

class Wants(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
    def forward(self, x, y=None): return self.inner(x)
class Forward(Pyramid):
    def encoder(self, *sizes): return Wants(super().encoder(*sizes))
class Built(Pyramid):
    def __init__(self, num_classes=10): pass
class Method(Pyramid):
    def decoder(self, settings, image_shape, latent_size, parameters, condition=None):
        return super().decoder(settings, image_shape, latent_size, parameters)
@dataclass
class Set(Pyramid):
    num_classes: int = 10
class Outer(nn.Module):
    "Gives its own part what that part wants."
    def __init__(self, inner):
        super().__init__()
        self.inner = Wants(inner)
    def forward(self, x): return self.inner(x, y=1)
class Within(Pyramid):
    def encoder(self, *sizes): return Outer(super().encoder(*sizes))
class VAE(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.halves = nn.Linear(64, 2 * size), nn.Linear(size, 64)
        self.listed = nn.ModuleList(self.halves)
    def encode(self, x): return self.halves[0](x.flatten(1)).chunk(2, 1)
    def decode(self, z): return self.halves[1](z).reshape(-1, 1, 8, 8).sigmoid()
    def forward(self, x, y=None): return self.decode(self.encode(x)[0])
    def sample(self, n, y=None): return None
class Asking(VAE):
    def decode(self, z, y=None): return super().decode(z)
class Whole:
    outputs = "probabilities"
    def vae(self, settings, image_shape): return VAE(settings.latent_size)
class Asks(Whole):
    def vae(self, settings, image_shape): return Asking(settings.latent_size)
"""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Forward", "`Wants.forward` has an argument `y`, which is never given"),
        ("Built", "`Built` has an argument `num_classes`"),
        ("Method", "`Method.decoder` has an argument `condition`"),
        ("Set", None),
        ("Within", None),
        ("Whole", None),
        ("Asks", "`Asking.decode` has an argument `y`"),
    ],
)
def test_arguments_for_labels_are_refused_and_settings_are_not(user, name, says):
    (user / "conditioned.py").write_text(CONDITIONED)
    settings = ModelSettings(network=f"conditioned:{name}", likelihood="bernoulli")
    if says is None:
        check_model(settings, (1, 8, 8))
    else:
        with pytest.raises(ValueError, match=f"network: {says}"):
            check_model(settings, (1, 8, 8))
    sys.modules.pop("conditioned", None)


@pytest.mark.parametrize(
    ("module", "option", "then", "message"),
    [
        ("defaults", "type=int, default=8", "", None),
        (
            "required",
            "required=True",
            "",
            r"ends the process \(exit status 2\).*`if __name__ == \"__main__\":`",
        ),
        (
            "starting",
            "default=8",
            "import vaeexp; vaeexp.run_study('smoke')",
            "'starting': starts a study when it is imported",
        ),
    ],
)
def test_a_module_that_is_also_a_script_works_or_one_line_names_the_way(
    user, monkeypatch, module, option, then, message
):
    text = textwrap.dedent(ENDING.format(option=option, then=then)) + textwrap.dedent(USER)
    (user / f"{module}.py").write_text(text)
    monkeypatch.setattr("sys.argv", ["kernel", "-f", "connection.json"])
    if message is None:
        assert find_network(f"{module}:Pyramid")
    else:
        with pytest.raises(ValueError, match=message) as refused:
            find_network(f"{module}:Pyramid")
        assert "\n" not in str(refused.value)
    assert sys.argv == ["kernel", "-f", "connection.json"]


def test_a_class_has_the_path_at_which_other_processes_find_it(user, monkeypatch):
    class Local:
        pass

    assert import_path(ModelSettings) == "vaeexp.settings:ModelSettings"
    with pytest.raises(UserError, match="'Local': is defined inside a function"):
        import_path(Local)
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    net = type("Net", (), {"__module__": "__main__", "__qualname__": "Net"})
    with pytest.raises(ValueError, match=r"'Net' is defined in the script or notebook.*'nets:Net'"):
        find_network(import_path(net))
    main.__file__ = str(user / "train.py")
    assert import_path(net) == "train:Net"
    for module in ("test", "code", "random"):
        main.__file__ = str(user / f"{module}.py")
        said = f"'Net': is in {module}.py; later commands import Python's own. Rename yours."
        with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
            import_path(net)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Sigmoid", r"\[0, 1\] only.* squashed twice.*probabilities"),
        ("Tanh", r"\[−1, 1\] only.* squashed twice.*\(t \+ 1\) / 2"),
        ("ReLU", r"\[0, ∞\) only.* squashed twice.*Take the last activation away\.$"),
        ("LogSigmoid", r"\(−∞, 0\] only.* squashed twice.*Take the last activation away\.$"),
        ("Mixing", "gives other values for an image among other images.*running statistics"),
        ("Deviations", r"the encoder .* log-variances in \[0, ∞\) only.*logarithm of the variance"),
        ("WithLoss", "`loss_function` of the encoder .* never called"),
        *(
            (name, None)
            for name in (
                "Pyramid",
                "Normed",
                "Zeros",
                "Pair",
                "Probable",
                "Adapted",
                "Lazy",
                "Recurrent",
            )
        ),
    ],
)
def test_an_output_that_is_bounded_where_it_should_not_be_is_doubted(user, name, says):
    model = using(name).model
    found = network_warnings(build_vae(model, (1, 8, 8), 0), model)
    if says is None:
        assert found == []
    else:
        assert len(found) == 1
        assert re.search(says, found[0])
        assert f"my_networks:{name}" in found[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"network": "my_networks:Normed"},
            "^batch_size: .*my_networks:Normed.* with `batch_size: 1`.*Give at least 2",
        ),
        ({"network": "my_networks:Adapted"}, "^batch_size: .*my_networks:Adapted"),
        ({"network": "conv", "channels": (4, 4, 4), "kernel": (4, 4, 4)}, "^batch_size: .*'conv'"),
        ({"network": "my_networks:Pyramid"}, None),  # many pixels of one image are enough
        ({"network": "mlp"}, None),
    ],
)
def test_a_batch_of_one_image_is_refused_before_batch_norm(user, changes, message):
    model = BASE.with_params(changes).model
    check_model(model, (1, 8, 8), batch_size=2)
    if message is None:
        check_model(model, (1, 8, 8), batch_size=1)
    else:
        with pytest.raises(ValueError, match=message):
            check_model(model, (1, 8, 8), batch_size=1)


def test_probabilities_train_in_bf16_and_far_from_one_half_without_a_nan(user):
    """The decoder runs in float32, so logit(sigmoid) is finite where bf16 would round 1 − 1e-6 to
    1.
    """
    vae = build_vae(using("Probable").model, (1, 8, 8), seed=0)
    x = images(4).float()
    for scale in (1, 30, 3000):
        z = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)) * scale
        with torch.autocast("cpu", torch.bfloat16):
            loss = -vae.decode(z).log_prob(x).sum()
        vae.zero_grad()
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in vae.decoder.parameters())
        plain = vae.decoder.inner(z).clamp(1e-6, 1 - 1e-6)
        assert loss.item() == pytest.approx(
            torch.nn.functional.binary_cross_entropy(plain, x, reduction="sum").item()
        )


def test_a_likelihood_of_many_numbers_takes_no_probabilities(user):
    model = using("Probable").with_params({"likelihood": "categorical_256"}).model
    with pytest.raises(
        ValueError, match=r"gives probabilities.*categorical_256.*takes 256 numbers"
    ):
        check_model(model, (1, 8, 8))


@pytest.mark.parametrize(
    ("precision", "says"), [("bf16", "bf16; try `--precision float32`"), ("float32", "epoch 1.")]
)
def test_a_trial_that_diverges_in_bf16_is_told_of_the_precision(tmp_path, precision, says):
    lanes, _ = make_lanes(tmp_path, kind="sequential", precision=precision, parts=ALL_PARTS)
    lanes.add(trial(0, learning_rate=1.0, optimizer="sgd"))
    progress = advance_all(lanes, [0])[0]
    assert progress.failure.kind == "diverged"
    assert progress.failure.message.endswith(says) or says in progress.failure.message


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
    assert (
        open_study_file(str(path), values=(1, 28, 28)).space["network"].values[0]
        == "my_networks:Pyramid"
    )
    with pytest.raises(
        UserError, match=r"search\.network\.values\.2: .*8 × 4 pixels are too small for 3 blocks"
    ):
        open_study_file(str(path), values=(1, 8, 4))


@pytest.mark.usefixtures("moving_statistics")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("network", ["conv", "my_networks:Normed"])
def test_every_lane_has_the_batch_norm_statistics_of_its_plain_module(user, network, kind):
    base, epochs = BASE.with_params({"network": network, "channels": (4, 8), "kernel": 3}), 3
    lanes, artifacts = make_lanes(user, kind=kind, maxima={"latent_size": 6}, base=base)
    for number, params in enumerate(TRIALS):
        lanes.add(trial(number, **params))
    assert [type(group) for group in lanes.groups.all()] == [
        {"vectorised": VectorisedGroup, "sequential": SequentialGroup}[kind]
    ]
    rounds = [advance_all(lanes, range(len(TRIALS))) for _ in range(epochs)]
    data, statistics = source(), []
    for number, params in enumerate(TRIALS):
        settings = base.with_params(params)
        losses, values, plain = plain_training(settings, seed=1000 + number, epochs=epochs)
        assert [each[number].metrics["train/loss"] for each in rounds] == pytest.approx(
            losses, rel=3e-4
        )
        # In evaluation mode.
        assert [each[number].objective for each in rounds] == pytest.approx(values, rel=3e-4)
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
                terms, wanted = (
                    vae.train(training)(data.validation, noise) for vae in (mine, plain)
                )
            torch.testing.assert_close(terms.distortion, wanted.distortion, rtol=2e-3, atol=1e-2)
        statistics.append(
            torch.cat([kept[key].flatten() for key in kept if key.endswith("running_var")])
        )
    assert all(
        not torch.allclose(one, two, rtol=1e-2)
        for one in statistics
        for two in statistics
        if one is not two
    )
