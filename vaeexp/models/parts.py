"""The names of a model's parts, and which parts fit together; read without PyTorch, so that a study
file is checked at once.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sweeps import did_you_mean
from vaeexp.import_paths import BY_PATH

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

PARTS: Mapping[str, Sequence[str]] = {
    "network": ("mlp", "conv", "conv_mnist", "conv_celeba", "conv_cifar", "mlp_cifar"),
    "activation": ("relu", "leaky_relu", "elu", "gelu", "silu", "tanh"),
    "posterior": ("gaussian", "deterministic"),
    "prior": ("normal", "mixture", "factorised_mixture", "vampprior"),
    "likelihood": (
        "bernoulli",
        "continuous_bernoulli",
        "gaussian",
        "gaussian_learned",
        "laplace",
        "categorical_256",
        "discretised_logistic",
        "discretised_logistic_mixture",
    ),
}
"""Setting → the names of its table: `NETWORKS`, `ACTIVATIONS`, `POSTERIORS`, `PRIORS`,
`LIKELIHOODS`. A test holds them equal.
"""
DETERMINISTIC = ("deterministic",)
"""Posteriors that are a point, without a density and so without a rate."""
BINARY = ("bernoulli",)
"""Likelihoods of zeros and ones; all others describe grey levels."""


def check_parts(settings: "ModelSettings") -> None:
    """Raise ValueError where a part is unknown, but for one by import path, or a prior would not be
    learned.
    """
    for field, names in PARTS.items():
        name = getattr(settings, field)
        own_field = field in BY_PATH
        if name in names or (own_field and ":" in name):
            continue
        own = (
            f" For your own {field} give its import path, `package.module:Class`."
            if own_field
            else ""
        )
        raise ValueError(f"{field}: there is no {field} '{name}'. {did_you_mean(name, names)}{own}")
    if settings.posterior in DETERMINISTIC and settings.prior != "normal":
        raise ValueError(
            f"prior: got '{settings.prior}'; must be 'normal' with `posterior: "
            f"{settings.posterior}`, because without a rate no prior is learned."
        )


def check_targets(likelihood: str, binarisation: str) -> None:
    """Raise ValueError if the likelihood does not describe targets of this binarisation.

    A likelihood of grey levels measures nothing on zeros and ones, because its density there has no
    bound. Bernoulli accepts grey levels (`binarisation: none`) by custom; reports then say that it
    is no density. One by import path says itself what it describes.
    """
    if ":" not in likelihood and likelihood not in BINARY and binarisation != "none":
        raise ValueError(
            f"likelihood: '{likelihood}' needs grey levels; `binarisation: {binarisation}` makes "
            "zeros and ones. Try `binarisation: none` or `likelihood: bernoulli`."
        )
