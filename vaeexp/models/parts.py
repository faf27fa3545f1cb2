"""The names of a model's parts, and which parts fit together; read without PyTorch, so that a study
file is checked at once.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sweeps import did_you_mean
from vaeexp.import_paths import BY_PATH

if TYPE_CHECKING:
    from vaeexp.data.values import Values
    from vaeexp.settings import ModelSettings

SUPPORTS: Mapping[str, str] = {
    "binary": "zeros and ones, and by custom grey levels in [0, 1]",
    "levels": "levels k / (levels − 1) in [0, 1]",
    "unit_interval": "numbers in [0, 1]",
    "real": "real numbers",
    "counts": "whole numbers from 0",
}
"""Values of a sub-pixel that a likelihood can describe → in words."""
LIKELIHOOD_SUPPORTS: Mapping[str, str] = {
    "bernoulli": "binary",
    "continuous_bernoulli": "unit_interval",
    "gaussian": "real",
    "gaussian_learned": "real",
    "laplace": "real",
    "student_t": "real",
    "categorical_256": "levels",
    "discretised_logistic": "levels",
    "discretised_logistic_mixture": "levels",
    "poisson": "counts",
    "negative_binomial": "counts",
}
"""Name of a likelihood → its support. A test holds them equal to `LIKELIHOODS`."""
PARTS: Mapping[str, Sequence[str]] = {
    "network": ("mlp", "conv", "conv_mnist", "conv_celeba", "conv_cifar", "mlp_cifar"),
    "activation": ("relu", "leaky_relu", "elu", "gelu", "silu", "tanh"),
    "posterior": ("gaussian", "deterministic"),
    "prior": ("normal", "mixture", "factorised_mixture", "vampprior"),
    "likelihood": tuple(LIKELIHOOD_SUPPORTS),
}
"""Setting → the names of its table: `NETWORKS`, `ACTIVATIONS`, `POSTERIORS`, `PRIORS`,
`LIKELIHOODS`. A test holds them equal.
"""
DETERMINISTIC = ("deterministic",)
"""Posteriors that are a point, without a density and so without a rate."""


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

    A likelihood of other values measures nothing on zeros and ones: a density there has no bound.
    Bernoulli accepts grey levels (`binarisation: none`) by custom; reports then say that it
    is no density. One by import path says itself what it describes.
    """
    support = LIKELIHOOD_SUPPORTS.get(likelihood, "binary")
    if support != "binary" and binarisation != "none":
        needed = "counts" if support == "counts" else "grey levels"
        raise ValueError(
            f"likelihood: '{likelihood}' needs {needed}; `binarisation: {binarisation}` makes "
            "zeros and ones. Try `binarisation: none` or `likelihood: bernoulli`."
        )


def check_values(likelihood: str, values: "Values", support: str) -> None:
    """Raise ValueError if a likelihood of this support does not describe targets of these values;
    the message names the likelihoods that do.
    """
    if _fits(likelihood, support, values):
        return
    suitable = [name for name, each in LIKELIHOOD_SUPPORTS.items() if _fits(name, each, values)]
    described = "256 levels k / 255 in [0, 1]" if likelihood in _LEVELS else SUPPORTS[support]
    raise ValueError(
        f"likelihood: '{likelihood}' describes {described}; the targets are {_in_words(values)}. "
        f"Try {', '.join(suitable)}."
    )


_LEVELS = {"categorical_256": 256}
"""Likelihood → the one number of levels that it describes."""


def _fits(likelihood: str, support: str, values: "Values") -> bool:
    """Return whether a likelihood of this support describes targets of these values."""
    if support == "levels":
        levels = values.levels if values.unit else None
        return levels is not None and levels == _LEVELS.get(likelihood, levels)
    if support == "counts":
        return values.counts
    return support == "real" or values.unit


def _in_words(values: "Values") -> str:
    """Describe targets for an error."""
    if values.counts:
        return "whole numbers from 0"
    if not values.unit:
        return "real numbers, not all in [0, 1]"
    return f"{values.levels:,} levels in [0, 1]" if values.levels else "real numbers in [0, 1]"


def measure_of(likelihood: str, support: str, binarisation: str) -> str:
    """Say what −log p(x|z) measures: equal for two likelihoods whose values can be compared, on the
    same data.

    Bernoulli on grey levels is neither a mass nor a density, and of a likelihood of the user's own
    without a declared support it is not known; such values compare with their own kind alone.

    Args:
        likelihood: in words, as a protocol has it.
        support: what it describes, from `SUPPORTS`; empty where that is not declared.
        binarisation: in words, as a protocol has it.
    """
    name, _, given = likelihood.partition(", ")
    if is_density(support):
        # Not over those that a likelihood leaves out.
        return f"densities of real numbers{''.join(likelihood.partition(' over ')[1:])}"
    if support == "counts":
        return f"masses of counts, {given}" if given else "masses of counts"
    if support == "levels":
        return f"masses of {given or '256 levels'}"
    if support == "binary" and not binarisation.startswith("none"):
        return "masses of zeros and ones"
    return f"{name} values, which compare with each other only"


def recorded_measure(protocol: Mapping[str, str]) -> str | None:
    """Return the measure of a recorded protocol. Older ones have a likelihood instead; None without
    both.
    """
    if "measure" in protocol or "likelihood" not in protocol:
        return protocol.get("measure")
    words = protocol["likelihood"]
    support = LIKELIHOOD_SUPPORTS.get(words.partition(",")[0], "")
    return measure_of(words, support, protocol.get("binarisation", ""))


def is_density(support: str) -> bool:
    """Return whether a likelihood of this support is a density, whose value depends on the unit of
    the targets; others are probabilities.
    """
    return support in ("real", "unit_interval")
