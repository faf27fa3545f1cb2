"""Loads a user's network, named in a study file by its import path: `network: package.module:Class`.

`Class` is called without arguments and has the methods `encoder` and `decoder` of `Network`; docs/guide/own-network.md has
an example. A `Network`, or any object with the two methods, works too. The encoder's outputs are means and log-variances,
interleaved. The decoder's outputs are the raw parameters of the likelihood: the first for all channels, then the second.
"""

import copy
import importlib
import inspect
import math
import sys
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sweeps.errors import UserError
from sweeps.source import search_working_directory
from vaeexp.console import in_notebook
from vaeexp.models.networks.mlp import ImageShape, Network

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

_ARGUMENTS = {
    "encoder": ("settings", "image_shape", "outputs"),
    "decoder": ("settings", "image_shape", "latent_size", "parameters"),
}


def load_network(path: str) -> Network:
    """Return the network at `package.module:Class`, from the installed packages or else the working directory.

    Its encoder and decoder run on two images when they are built, so that a misfit shows before any training; they raise
    ValueError then. Raises ValueError when the import fails, or the object lacks a method of a network.
    """
    part = _imported(path)
    if isinstance(part, type):
        try:
            part = part()
        except Exception as error:
            raise ValueError(f"network: '{path}' must be callable without arguments: {_one_line(error)}.") from error
    for half, names in _ARGUMENTS.items():
        build = getattr(part, half, None)
        if not callable(build):
            raise ValueError(f"network: '{path}' has no method `{half}({', '.join(names)})`.")
        try:
            inspect.signature(build).bind(*names)
        except TypeError as error:
            raise ValueError(f"network: `{half}` of '{path}' must take ({', '.join(names)}): {error}.") from None

    def encoder(settings: "ModelSettings", image_shape: ImageShape, outputs: int) -> nn.Module:
        network_name = f"network: the encoder of '{path}' for images of shape {image_shape}"
        return _built(network_name, partial(part.encoder, settings, image_shape, outputs), image_shape, (outputs,))

    def decoder(settings: "ModelSettings", image_shape: ImageShape, latent_size: int, parameters: int) -> nn.Module:
        network_name = f"network: the decoder of '{path}' for images of shape {image_shape}"
        build = partial(part.decoder, settings, image_shape, latent_size, parameters)
        return _built(network_name, build, (latent_size,), (parameters * image_shape[0], *image_shape[1:]))

    options = {name: getattr(part, name) for name in ("least_rows", "shapes") if hasattr(part, name)}
    return Network(encoder, decoder, **options)


def import_path(network: type) -> str:
    """Return the path `package.module:Class` at which other processes import a class. Raises UserError where none can."""
    module, name = network.__module__, network.__qualname__
    if "<locals>" in name:
        problem = "is defined inside a function, where no other process finds it. Define it at the top level of a file."
        raise UserError(f"network '{network.__name__}'", problem)
    script = _script() if module == "__main__" else None
    return f"{script or module}:{name}"


def _script() -> str | None:
    """Return the name under which the running script can be imported; None in a notebook or an interactive session."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return None if file is None or in_notebook() else Path(file).stem


_importing: list[str] = []
"""The modules of networks that are being imported."""


def check_not_importing() -> None:
    """Raise UserError while the module of a network is imported: a study that began then would import the module again."""
    if _importing:
        problem = 'starts a study when it is imported. Put the call under `if __name__ == "__main__":`'
        raise UserError(f"module '{_importing[-1]}'", problem)


def _imported(path: str) -> Any:
    """Import a network as a program without arguments would, so that a module that reads them gets their defaults."""
    module, _, name = path.partition(":")
    if module == "__main__":
        raise ValueError(f"network: {_where_main(name)}")
    search_working_directory()
    arguments, sys.argv = sys.argv, sys.argv[:1]
    _importing.append(module)
    try:
        return attrgetter(name)(importlib.import_module(module))
    except SystemExit as end:
        raise ValueError(
            f"network: '{path}' cannot be imported: its module ends the process (exit status {end.code}), as a script "
            'does that needs arguments. Read arguments under `if __name__ == "__main__":`, or move the class into a file of its own.'
        ) from end
    except UserError as error:
        raise ValueError(f"network: '{path}' cannot be imported: {error}") from error
    except Exception as error:
        raise ValueError(
            f"network: '{path}' cannot be imported: {_one_line(error)}. Give `package.module:Class`, "
            f"installed or in the working directory ({Path.cwd()})."
        ) from error
    finally:
        sys.argv = arguments
        _importing.pop()


def _where_main(name: str) -> str:
    """Say how a class of `__main__` becomes one that worker processes and later commands can import."""
    script = _script()
    if script is None or script == Path(sys.argv[0]).stem == "vaeexp":
        where, remedy = "a notebook or an interactive session", "write it and its imports to a file"
        remedy += f" (in a notebook: `%%writefile nets.py` as the first line of the cell) and give 'nets:{name}'"
    else:
        where, remedy = "the script that runs", f"give '{script}:{name}'"
    return f"'{name}' is defined in {where}, which worker processes and later commands cannot import; {remedy}."


def _built(
    network: str, build: Callable[[], nn.Module], inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> nn.Module:
    """Build a module. Raises ValueError unless it maps [2, *inputs] to [2, *outputs], draws nothing, uses all parameters."""
    try:
        module = build()
    except Exception as error:
        raise ValueError(f"{network} cannot be built: {_one_line(error)}.") from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"{network} must be a torch.nn.Module, not {type(module).__name__}.")
    copied = copy.deepcopy(module).train()  # a copy, because a pass in training mode changes running statistics
    before = torch.default_generator.get_state()
    try:
        with torch.enable_grad():
            h = copied(torch.linspace(0, 1, 2 * math.prod(inputs)).view(2, *inputs))
            shape = tuple(h.shape)
            if shape == (2, *outputs):
                h.sum().backward()
    except Exception as error:
        raise ValueError(f"{network} fails on an input of shape {(2, *inputs)}: {_one_line(error)}.") from error
    finally:
        drawn = not torch.equal(before, torch.default_generator.get_state())
        torch.default_generator.set_state(before)
    if shape != (2, *outputs):
        problem = f"gives shape {shape} for an input of shape {(2, *inputs)}; it must be {(2, *outputs)}"
        raise ValueError(f"{network} {problem}.")
    if drawn:
        problem = "draws random numbers in `forward` (for example dropout), so its results could not be repeated"
        raise ValueError(f"{network} {problem}.")
    for name, parameter in copied.named_parameters():
        if parameter.grad is None:
            raise ValueError(f"{network} has a parameter '{name}' that is not learned or not used; make it a buffer.")
    return module


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}".rstrip(".: ")
