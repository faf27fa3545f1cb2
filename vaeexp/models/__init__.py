"""The mathematics: p(z), q(z|x), p(x|z) and the ELBO that joins them.

`models.vae` and the other modules named here are imported when they are first asked for, because they bring PyTorch.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaeexp.models import likelihoods, networks, posteriors, priors, vae

__all__ = ["likelihoods", "networks", "posteriors", "priors", "vae"]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return importlib.import_module(f"{__name__}.{name}")
