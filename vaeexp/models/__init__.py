"""The mathematics: p(z), q(z|x), p(x|z) and the ELBO that joins them.

`models.vae` and the other modules named here are imported when they are first asked for, because they bring PyTorch.
"""

from typing import TYPE_CHECKING

from sweeps import lazy

if TYPE_CHECKING:
    from vaeexp.models import likelihoods, networks, posteriors, priors, vae

__all__ = ["likelihoods", "networks", "posteriors", "priors", "vae"]
__getattr__ = lazy(__name__, dict.fromkeys(__all__, ()))
