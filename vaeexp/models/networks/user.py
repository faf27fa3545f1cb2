"""Loads a user's network, named in a study file by its import path: `network:
package.module:Class`.

`Class` is called without arguments and has the methods `encoder` and `decoder` of `Network`, or one
method `vae` that returns a whole VAE; docs/guide/own-network.md has examples. The encoder's outputs
are means and log-variances, interleaved, or a pair of them. The decoder's outputs are the raw
parameters of the likelihood, the first for all channels, then the second; or probabilities, where
the class says so.

Annotated attributes of the class with a plain default, `width: int = 256`, are settings of its own.
A study names them by the class, `Class.width`, and the methods find their values in `self`.
"""

import inspect
import typing
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from vaeexp.import_paths import imported, one_line
from vaeexp.models.networks.halves import Build, Method, build_decoder, build_encoder
from vaeexp.models.networks.mlp import ImageShape, Network

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

_ARGUMENTS = {
    "encoder": ("settings", "image_shape", "outputs"),
    "decoder": ("settings", "image_shape", "latent_size", "parameters"),
}
_WHOLE = ("settings", "image_shape")
_OPTIONS = ("outputs", "least_rows", "shapes")
"""Attributes of a network that say how it is used; no settings."""
_OUTPUTS = ("logits", "probabilities")

_LOSS = (
    "the loss is distortion + beta × rate, set by `likelihood`, `prior`, `beta`, `warmup_epochs` "
    "and `free_nats`, or a function of yours, set by `loss`"
)
_STEP = (
    "vaeexp trains with `batch_size`, `epochs`, `clip_norm` and the other settings of the section "
    "`train`"
)
_OPTIMIZER = "set `optimizer`, `learning_rate`, `weight_decay`, `schedule` and `warmup_steps`"
_PRIOR = "set `prior` and `components`"


def _each(names: str, words: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), words)


_INSTEAD = {
    **_each(
        "loss loss_fn loss_function compute_loss criterion elbo elbo_loss vae_loss kl kl_loss "
        "kld kld_loss kl_div kl_divergence regularization_loss recon_loss reconstruction_loss "
        "rec_loss likelihood log_prob",
        _LOSS,
    ),
    **_each("training_step train_step validation_step test_step fit", _STEP),
    **_each(
        "optimizer optimizers configure_optimizer configure_optimizers scheduler lr_scheduler "
        "configure_scheduler configure_schedulers",
        _OPTIMIZER,
    ),
    **_each("prior sample_prior get_prior", _PRIOR),
}
"""Method that other libraries call → what decides in its place."""


def load_network(path: str) -> Network:
    """Return the network at `package.module:Class`, from the installed packages or else the working
    directory.

    Its encoder and decoder run on two images when they are built, so that a misfit shows before any
    training; they raise ValueError then. Raises ValueError when the import fails, or the object
    lacks a method of a network, or has one that cannot be honoured.
    """
    part = _imported_class(path)
    defaults = _defaults(part)
    instance = _instance(path, part, defaults)
    for name in not_honoured(instance):
        raise ValueError(
            f"network: the method `{name}` of '{path}' is never called: {_INSTEAD[name]}. Take "
            "it away."
        )
    outputs = getattr(instance, "outputs", _OUTPUTS[0])
    if outputs not in _OUTPUTS:
        raise ValueError(
            f"network: `outputs` of '{path}' is {outputs!r}; must be 'logits' or 'probabilities'."
        )
    halves = _Halves(path, part, defaults, instance)
    options = {
        name: getattr(instance, name)
        for name in ("least_rows", "shapes")
        if hasattr(instance, name)
    }
    network = Network(halves.encoder, halves.decoder, **options)
    return network._replace(shapes=(*network.shapes, *halves.settings))


def own_settings(path: str) -> dict[str, tuple[Any, Any]]:
    """Return each setting of a user's network, as `Class.name` → its annotation and default. Raises
    ValueError as `load_network`.
    """
    part = _imported_class(path)
    defaults = _defaults(part)
    try:
        hints = typing.get_type_hints(part, include_extras=True) if defaults else {}
    except Exception as error:
        raise ValueError(
            f"network: the annotations of '{path}' cannot be read: {one_line(error)}."
        ) from error
    return {qualified(path, name): (hints[name], default) for name, default in defaults.items()}


def _imported_class(path: str) -> type:
    part = imported(path, "network")
    if not isinstance(part, type):
        raise ValueError(f"network: '{path}' is a {type(part).__name__}; must be a class.")
    return part


def qualified(path: str, name: str) -> str:
    """Return the name of a setting in a study, `Class.name`, for a network of this import path."""
    return f"{path.rpartition(':')[2].rpartition('.')[2]}.{name}"


def not_honoured(part: Any) -> list[str]:
    """Return the names of the methods of a network or a module that training never calls, and users
    expect it to.
    """
    return [name for name in _INSTEAD if callable(getattr(part, name, None))]


class _Halves:
    """The encoder and the decoder of a user's network, with its own settings in place."""

    def __init__(self, path: str, part: type, defaults: dict[str, Any], instance: Any) -> None:
        """Check the methods of `instance`, which `part` gives at its `defaults`. Raises ValueError
        where one is missing.
        """
        self._path = path
        self._given = part
        self._defaults = defaults
        self._part = instance
        self._values = defaults
        self.settings = {qualified(path, name): name for name in defaults}
        self._whole = callable(getattr(instance, "vae", None))
        self._encoder_uses: set[str] = set()
        methods = {"vae": _WHOLE} if self._whole else _ARGUMENTS
        for method, names in methods.items():
            if not callable(getattr(instance, method, None)):
                raise ValueError(
                    f"network: '{path}' has no method "
                    f"`{method}({', '.join(names)})`.{_way(instance)}"
                )

    def encoder(
        self, settings: "ModelSettings", image_shape: ImageShape, outputs: int
    ) -> nn.Module:
        """Build the encoder, as `Network.encoder`."""
        name = f"network: the encoder of '{self._path}' for images of shape {image_shape}"
        builders = self._builders("encoder", settings, image_shape, outputs)
        module = build_encoder(name, *builders, image_shape, outputs)
        if self._whole:
            self._encoder_uses = {_last(parameter) for parameter, _ in module.named_parameters()}
        return module

    def decoder(
        self, settings: "ModelSettings", image_shape: ImageShape, latent_size: int, parameters: int
    ) -> nn.Module:
        """Build the decoder, as `Network.decoder`."""
        name = f"network: the decoder of '{self._path}' for images of shape {image_shape}"
        builders = self._builders("decoder", settings, image_shape, latent_size, parameters)
        probabilities = getattr(self._part, "outputs", "") == "probabilities"
        if probabilities and parameters != 1:
            raise ValueError(
                f"network: '{self._path}' gives probabilities, and `likelihood: "
                f"{settings.likelihood}` takes {parameters} numbers per sub-pixel, none of them "
                "a probability. Leave `outputs` out, or try `likelihood: bernoulli`."
            )
        shape = (parameters * image_shape[0], *image_shape[1:])
        module = build_decoder(name, *builders, latent_size, shape, probabilities=probabilities)
        uses = {_last(parameter) for parameter, _ in module.named_parameters()}
        if shared := sorted(uses & self._encoder_uses):
            raise ValueError(
                f"{name} shares the parameter '{shared[0]}' with the encoder; give each its own."
            )
        return module

    def _builders(
        self, half: str, settings: "ModelSettings", image_shape: ImageShape, *sizes: int
    ) -> tuple[Build, Build]:
        """Return what builds this half of the network with its own settings, and what builds that
        of a second network.
        """
        self._configure(settings)
        part = self._part
        values = self._values

        def build(part: Any) -> nn.Module:
            if not self._whole:
                module: nn.Module = getattr(part, half)(settings, image_shape, *sizes)
                return module
            whole = part.vae(settings, image_shape)
            method = {"encoder": "encode", "decoder": "decode"}[half]
            if not isinstance(whole, nn.Module) or not callable(getattr(whole, method, None)):
                problem = f"`vae` must return a torch.nn.Module with a method `{method}`"
                raise TypeError(f"{problem}, not {type(whole).__name__}")
            return Method(whole, method)

        return lambda: build(part), lambda: build(_instance(self._path, self._given, values))

    def _configure(self, settings: "ModelSettings") -> None:
        """Give the network its own settings; one that the study does not name stands at the default
        of the class.
        """
        values = {}
        for setting, name in self.settings.items():
            default = self._defaults[name]
            value = getattr(settings, setting, default)
            kind = type(default) if isinstance(default, list | tuple) else tuple
            values[name] = kind(value) if isinstance(value, list | tuple) else value
        if values != self._values:
            self._values = values
            self._part = _instance(self._path, self._given, values)


def _instance(path: str, part: type, values: dict[str, Any]) -> Any:
    """Return a network with these values of its settings, which its `__init__` sees already."""
    name = part.__name__
    attributes = {"__module__": part.__module__, **values}
    configured = type(name, (part,), attributes) if values else part
    taken = {field.name for field in fields(part)} if is_dataclass(part) else set()
    try:
        return configured(**{name: values[name] for name in taken & values.keys()})
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"network: '{path}' must be callable without arguments: {one_line(error)}.{_way(part)}"
        ) from error


def _last(parameter: str) -> str:
    """Return the name of a parameter in the whole VAE."""
    return parameter.rpartition("whole.")[2]


def _way(part: Any) -> str:
    """Return a hint for what is not yet a network: a whole VAE."""
    if callable(getattr(part, "encode", None)) and callable(getattr(part, "decode", None)):
        return (
            " It is a whole VAE: name a class with a method `vae(self, settings, image_shape)` "
            "that returns one."
        )
    return ""


def _defaults(part: type) -> dict[str, Any]:
    """Return name → default of the settings of a network: annotated attributes of its class with a
    plain default.
    """
    defaults: dict[str, Any] = {}
    for base in reversed(part.__mro__):
        if base.__module__.partition(".")[0] in ("builtins", "torch"):
            continue
        for name, annotation in inspect.get_annotations(base).items():
            constant = name.startswith("_") or name in _OPTIONS or "ClassVar" in str(annotation)
            if not constant and name in vars(base) and _is_plain(vars(base)[name]):
                defaults[name] = vars(base)[name]
    return defaults


def _is_plain(value: Any) -> bool:
    """Tell whether a study file can give a value."""
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)
