"""Checks the halves of a user's network when they are built, and adapts them to the form that the
model wants.

The model wants an encoder [B, C, H, W] → [B, outputs] and a decoder [B, L] → [B, parameters·C, H,
W] of raw parameters of the likelihood. Public code often has an encoder that returns `(mu, logvar)`
and a decoder that ends in a sigmoid; both are adapted here. A half runs on two images before any
training, so that a misfit is one line and no traceback.
"""

import copy
import math
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vaeexp.import_paths import one_line
from vaeexp.models.networks.stateless import set_tensors, tensors_of

_EPSILON = 1e-6
"""Distance from 0 and 1 that probabilities keep, so that their logits are finite in float32."""
_DROPOUT = nn.modules.dropout._DropoutNd


class _Adapter(nn.Module):
    """A half of a network, `inner`, in another form."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner


class Interleaved(_Adapter):
    """An encoder that returns means and log-variances [B, L] each, as one that returns them
    interleaved [B, 2L].
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return (mean, log-variance) of each latent dimension [B, 2L] for x [B, C, H, W]."""
        mean, log_var = self.inner(x)
        return torch.stack((mean, log_var), -1).flatten(1)


class Shaped(_Adapter):
    """A decoder that returns flat images, as one that returns images."""

    def __init__(self, inner: nn.Module, shape: tuple[int, ...]) -> None:
        """`inner`: the decoder; `shape`: of an image that it returns."""
        super().__init__(inner)
        self.shape = shape

    def forward(self, z: Tensor) -> Tensor:
        """Return images [B, *shape] for z [B, L]."""
        return self.inner(z).reshape(-1, *self.shape)


class Logits(_Adapter):
    """A decoder of probabilities, as one of logits.

    It runs in float32 even where the rest trains in bf16: 1 − 1e-6 is 1 in bf16, and its logit
    infinite.
    """

    def forward(self, z: Tensor) -> Tensor:
        """Return logits for z [B, L]."""
        with torch.autocast(z.device.type, enabled=False):
            return torch.logit(
                self.inner(z.to(torch.promote_types(z.dtype, torch.float32))), eps=_EPSILON
            )


class LogCounts(_Adapter):
    """An encoder of log(1 + x), as one of counts x."""

    def forward(self, x: Tensor) -> Any:
        """Return what the encoder returns for counts x [B, C, H, W]."""
        return self.inner(x.log1p())


class Method(nn.Module):
    """One method of a whole VAE, `encode` or `decode`, as a module."""

    def __init__(self, whole: nn.Module, name: str) -> None:
        """`whole`: the VAE; `name`: of its method."""
        super().__init__()
        self.whole = whole
        self.name = name

    def forward(self, x: Tensor) -> Any:
        """Return what the method returns."""
        return getattr(self.whole, self.name)(x)


Build = Callable[[], nn.Module]


def build_encoder(
    network: str, build: Build, again: Build, inputs: tuple[int, ...], outputs: int
) -> nn.Module:
    """Build an encoder [B, *inputs] → [B, outputs]; one that returns two tensors is taken to return
    means and log-variances.

    Args:
        again: builds another one.

    Raises:
        ValueError: it cannot be built, or does not fit; `network` begins the message.
    """
    module = _module(network, build, inputs)

    def fits(h: Any) -> nn.Module:
        if not isinstance(h, tuple | list):
            pair = (
                f" or a tuple (mu, logvar) of shapes {(2, outputs // 2)}"
                if outputs % 2 == 0
                else ""
            )
            _check_tensor(network, h, inputs, (outputs,), pair)
            return module
        if len(h) != 2:
            raise ValueError(
                f"{network} gives a {type(h).__name__} of {len(h)}; must be one tensor or (mu, "
                "logvar), without z: z is drawn from them."
            )
        if outputs % 2:
            raise ValueError(
                f"{network} gives means and log-variances; `posterior: deterministic` takes "
                "means alone."
            )
        for part in h:
            _check_tensor(network, part, inputs, (outputs // 2,))
        return Interleaved(module)

    return _tried(network, module, again, inputs, fits)


def build_decoder(
    network: str,
    build: Build,
    again: Build,
    latent_size: int,
    outputs: tuple[int, ...],
    *,
    probabilities: bool,
) -> nn.Module:
    """Build a decoder [B, latent_size] → [B, *outputs]; flat outputs are shaped, and probabilities
    turned into logits.

    Raises:
        ValueError: it cannot be built, or does not fit; `network` begins the message.
    """
    inputs = (latent_size,)
    module = _module(network, build, inputs)

    def fits(h: Any) -> nn.Module:
        if isinstance(h, Tensor) and h.shape == (2, math.prod(outputs)):
            shaped: nn.Module = Shaped(module, outputs)
        else:
            _check_tensor(network, h, inputs, outputs)
            shaped = module
        if not probabilities:
            return shaped
        low, high = (
            (0.0, 1.0) if h.is_meta else (float(h.detach().amin()), float(h.detach().amax()))
        )
        if low < 0 or high > 1:
            problem = (
                f'says `outputs = "probabilities"` and gives values from {low:.3g} to {high:.3g}; '
                "must be in [0, 1]"
            )
            raise ValueError(
                f"{network} {problem}. End it in a sigmoid (of a tanh t: (t + 1) / 2), or leave "
                "`outputs` out."
            )
        return Logits(shaped)

    return _tried(network, module, again, inputs, fits)


def _module(network: str, build: Build, inputs: tuple[int, ...]) -> nn.Module:
    """Build a module of float32 parameters on the CPU; lazy layers get their sizes from an
    input.
    """
    try:
        module = build()
    except (Exception, SystemExit) as error:
        raise ValueError(f"{network} cannot be built: {one_line(error)}.") from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"{network} must be a torch.nn.Module, not {type(module).__name__}.")
    if any(is_lazy(parameter) for parameter in module.parameters()):
        # In evaluation mode, so that running statistics do not see the zeros.
        _call(network, module.eval(), torch.zeros(2, *inputs))
        module.train()
    expected = torch.empty(0).device
    for name, tensor in tensors_of(module).items():
        if tensor.device != expected:
            problem = f"is on {tensor.device}; build it on the CPU, and training moves it"
            raise ValueError(f"{network} has a tensor '{name}' that {problem}.")
    for name, parameter in module.named_parameters():
        if parameter.dtype != torch.float32:
            kind = str(parameter.dtype).removeprefix("torch.")
            raise ValueError(
                f"{network} has a parameter '{name}' of {kind}; must be float32. Call `.float()` "
                "on it."
            )
    return module


def _tried(
    network: str,
    module: nn.Module,
    again: Build,
    inputs: tuple[int, ...],
    fits: Callable[[Any], nn.Module],
) -> nn.Module:
    """Return `fits(output)` for two inputs, where the module repeats itself and learns and uses all
    its parameters.

    Of a `Method`, parameters that it does not use are taken away: they belong to the other half.
    """
    x = torch.linspace(0, 1, 2 * math.prod(inputs)).view(2, *inputs)
    copied = _copy(network, module)
    given = x.clone()
    buffers = dict(copied.named_buffers())
    with torch.random.fork_rng(devices=[]):
        before = torch.default_generator.get_state()
        h = _call(network, copied, given)
        drawn = not torch.equal(before, torch.default_generator.get_state())
    adapted = fits(h)
    if drawn:
        raise ValueError(f"{network} {_random_words(module)}")
    if not x.is_meta:
        if not all(torch.isfinite(part).all() for part in _parts(h)):
            raise ValueError(
                f"{network} gives numbers that are not finite, with fresh weights and an input "
                "in [0, 1]."
            )
        if not torch.equal(given, x):
            raise ValueError(f"{network} changes its input in place; work on a copy.")
    unused = _unused(network, copied, _parts(h))
    if unused and not isinstance(module, Method):
        problem = (
            f"has a parameter '{unused[0]}' that is not learned or not used; make it a buffer, or "
            "leave it out"
        )
        raise ValueError(f"{network} {problem}.")
    if not x.is_meta:
        if replaced := [
            name for name, each in copied.named_buffers() if buffers.get(name) is not each
        ]:
            problem = (
                f"replaces its buffer '{replaced[0]}' in `forward`; write into the buffer, as in"
            )
            raise ValueError(
                f"{network} {problem} `self.{replaced[0].rpartition('.')[2]}.copy_(…)`."
            )
        with torch.random.fork_rng(devices=[]):
            _check_repeats(network, module, copied, _module(network, again, inputs), x, h)
        _check_batch(network, module, x, h)
    if isinstance(module, Method):
        _take_away(module, unused)
    return adapted


def _copy(network: str, module: nn.Module) -> nn.Module:
    """Return a copy in training mode, because a pass in that mode changes running statistics."""
    try:
        return copy.deepcopy(module).train()
    except Exception as error:
        remedy = "Of weight_norm and spectral_norm, take those of torch.nn.utils.parametrizations."
        raise ValueError(f"{network} cannot be copied: {one_line(error)}. {remedy}") from error


def _call(network: str, module: nn.Module, x: Tensor) -> Any:
    try:
        with torch.enable_grad():
            return module(x)
    except (Exception, SystemExit) as error:
        mode = "" if module.training else " in evaluation"
        raise ValueError(
            f"{network} fails on an input of shape {tuple(x.shape)}{mode}: {one_line(error)}."
        ) from error


def _parts(h: Any) -> list[Tensor]:
    return list(h) if isinstance(h, tuple | list) else [h]


def _equal(one: Any, two: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(_parts(one), _parts(two), strict=True))


def _check_repeats(
    network: str, module: nn.Module, copied: nn.Module, anew: nn.Module, x: Tensor, h: Any
) -> None:
    """Raise ValueError unless its parameters, buffers and input alone decide what a module gives.

    Only parameters and buffers are stored: a trial that goes on, and a run that is opened, build
    the module anew.

    Args:
        copied: a copy of `module` that has made one pass, which gave `h`.
        anew: the module, built a second time.
    """
    if not _equal(h, _call(network, _copy(network, module), x.clone())):
        raise ValueError(f"{network} {_random_words(module)}")
    if {id(parameter) for parameter in module.parameters()} & {
        id(parameter) for parameter in anew.parameters()
    }:
        raise ValueError(
            f"{network} is the same module each time; build it in the method, so that each trial "
            "has its own."
        )
    start, after = (
        {name: tensor.detach().clone() for name, tensor in tensors_of(each).items()}
        for each in (module, copied)
    )
    shapes = {name: tensor.shape for name, tensor in tensors_of(anew).items()}
    if shapes != {name: tensor.shape for name, tensor in start.items()}:
        raise ValueError(f"{network} has other parameters or buffers each time that it is built.")
    for tensors, expected in ((start, h), (after, _call(network, copied, x.clone()))):
        fresh = _copy(network, anew)
        set_tensors(fresh, tensors)
        if not _equal(expected, _call(network, fresh, x.clone())):
            which = "keeps from one pass to the next" if tensors is after else "computes with"
            raise ValueError(
                f"{network} {which} numbers that are neither parameters nor buffers, so they are "
                "not learned and not stored. Put layers into nn.ModuleList or nn.ModuleDict, "
                "and tensors into nn.Parameter or `register_buffer`."
            )


def _check_batch(network: str, module: nn.Module, x: Tensor, h: Any) -> None:
    """Raise ValueError where a module takes batches of two alone, or fails in evaluation."""
    more = torch.cat((x, x, x[:1]))
    with torch.no_grad():
        wide = _call(network, _copy(network, module).eval(), more)
    shapes = [tuple(part.shape) for part in _parts(wide)]
    expected = [(len(more), *part.shape[1:]) for part in _parts(h)]
    if shapes != expected:
        raise ValueError(
            f"{network} gives shape {shapes[0]} for an input of shape {tuple(more.shape)}; it "
            f"must be {expected[0]}."
        )


def _random_words(module: nn.Module) -> str:
    layers = [
        f"'{name}'"
        for name, each in module.named_modules()
        if isinstance(each, _DROPOUT) and each.p > 0
    ]
    where = f" ({', '.join(layers)})" if layers else ""
    return (
        "draws random numbers in `forward`, so its results could not be repeated. Leave "
        f"dropout{where} and other noise out, or set its p to 0; z is drawn from the means and "
        "log-variances, with noise that is recorded."
    )


def _check_tensor(
    network: str, h: Any, inputs: tuple[int, ...], outputs: tuple[int, ...], pair: str = ""
) -> None:
    """Raise ValueError unless h is a float tensor [2, *outputs]. `pair`: what it may be, too."""
    if not isinstance(h, Tensor):
        size = f" of {len(h)}" if isinstance(h, tuple | list) else ""
        raise ValueError(
            f"{network} gives a {type(h).__name__}{size}; must be a tensor of shape "
            f"{(2, *outputs)}{pair}."
        )
    if tuple(h.shape) != (2, *outputs):
        problem = (
            f"gives shape {tuple(h.shape)} for an input of shape {(2, *inputs)}; it must be "
            f"{(2, *outputs)}"
        )
        raise ValueError(f"{network} {problem}.")
    if not h.is_floating_point():
        kind = str(h.dtype).removeprefix("torch.")
        raise ValueError(f"{network} gives {kind} numbers; must be floating-point numbers.")
    if not h.requires_grad:
        raise ValueError(
            f"{network} has an output that depends on no parameter, so nothing can be learned."
        )


def _unused(network: str, module: nn.Module, outputs: Collection[Tensor]) -> list[str]:
    """Return the names of the parameters that get no gradient from the outputs."""
    try:
        sum(output.sum() for output in outputs).backward()  # type: ignore[union-attr]
    except Exception as error:
        raise ValueError(f"{network} cannot be differentiated: {one_line(error)}.") from error
    return [name for name, parameter in module.named_parameters() if parameter.grad is None]


def _take_away(module: nn.Module, names: Collection[str]) -> None:
    for name in names:
        owner, _, leaf = name.rpartition(".")
        module.get_submodule(owner).register_parameter(leaf, None)
