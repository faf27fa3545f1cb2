"""Finds what the user of a network of their own cannot have meant: an output that its last
activation bounds, images of a batch that are mixed in evaluation, and methods never called.

The model passes a decoder's output through a sigmoid, a softmax or an exponential, or takes it as
means, and takes an encoder's as means and log-variances, so both must be able to take any value.
Public decoders often end in a sigmoid. Its output would be squashed twice, into [0.5, 0.73].
"""

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vaeexp.models.likelihoods import LOG_MEANS, LOGITS, MEANS
from vaeexp.models.networks.halves import Logits, Method
from vaeexp.models.networks.user import not_honoured

if TYPE_CHECKING:
    from vaeexp.models.vae import VAE
    from vaeexp.settings import ModelSettings

_DRAWS = 8
_SPREADS = (0.3, 3.0)
"""Standard deviations of what is added to each weight. An output that stays within bounds for such
weights is bounded by an activation, while fresh weights alone may give small numbers, or zeros; so
do larger ones after a bounded layer."""
_BOUNDS = (
    (0.0, 1.0, "[0, 1]", "a sigmoid"),
    (-1.0, 1.0, "[−1, 1]", "a tanh"),
    (0.0, math.inf, "[0, ∞)", "a ReLU or softplus"),
    (-math.inf, 0.0, "(−∞, 0]", "a log-sigmoid or log-softmax"),
)
_TAKEN = {
    LOGITS: "logits, so the images are squashed twice",
    MEANS: "means of targets that do not all lie there",
    LOG_MEANS: "logarithms of means",
}


def network_warnings(vae: "VAE", settings: "ModelSettings") -> list[str]:
    """Return what the user cannot have meant with a freshly built model of a network of their own:
    a sentence each, with what to do.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(_DRAWS, *vae.values.shape, generator=generator)
    z = torch.randn(_DRAWS, settings.latent_size, generator=generator)
    z = z * torch.logspace(-1, 1, _DRAWS)[:, None]
    found = _uncalled_methods(vae, settings.network)
    found += _bounds_of_encoder(vae, settings.network, _outputs(vae.encoder, x, generator))
    if not isinstance(vae.decoder, Logits):
        found += _bounds_of_decoder(vae, settings, _outputs(vae.decoder, z, generator))
    for part, half, inputs in (("encoder", vae.encoder, x), ("decoder", vae.decoder, z)):
        if _mixes(half, inputs):
            found.append(
                f"model.network: in evaluation, the {part} of '{settings.network}' gives other "
                "values for an image among other images, as BatchNorm without running "
                "statistics does, so its figures depend on the batch. Keep running statistics, "
                "or take GroupNorm."
            )
    return found


def _uncalled_methods(vae: "VAE", network: str) -> list[str]:
    """Doubt methods such as `loss` in the modules of the halves."""
    # A method is half of a whole VAE, of which the decoder is a part, too.
    whole = [each.whole for each in vae.encoder.modules() if isinstance(each, Method)]
    halves = {"encoder": whole[0]} if whole else {"encoder": vae.encoder, "decoder": vae.decoder}
    return [
        f"model.network: `{names[0]}` of the {part} of '{network}' is never called; the loss is "
        "distortion + beta × rate, and the sections `model` and `train` set its parts."
        for part, half in halves.items()
        if (names := not_honoured(half))
    ]


def _bounds_of_encoder(vae: "VAE", network: str, h: Tensor) -> list[str]:
    """Doubt means and log-variances that stay within bounds; h as of `_outputs`."""
    found = []
    numbers = vae.posterior.parameters
    for index, name in enumerate(("means", "log-variances")[:numbers]):
        if bound := _bound(h[:, index::numbers] if h.dim() else h):
            remedy = ", or return the logarithm of the variance" if index else ""
            found.append(
                f"model.network: the encoder of '{network}' gives {name} in {bound[0]} only, as "
                f"after {bound[1]}; {name} can be any number. Take the last activation away"
                f"{remedy}."
            )
    return found


def _bounds_of_decoder(vae: "VAE", settings: "ModelSettings", h: Tensor) -> list[str]:
    """Doubt outputs that stay within bounds; h as of `_outputs`."""
    bound = _bound(h)
    if bound is None:
        return []
    takes = getattr(vae.likelihood, "takes", LOGITS)
    one = takes == LOGITS and vae.likelihood.outputs == 1
    # Log-probabilities of levels are logits. Means of targets may lie within other bounds than [0,
    # 1], as positive ones do.
    fit = {LOGITS: bound[0] == "(−∞, 0]" and not one, MEANS: bound[0] != "[0, 1]"}
    if fit.get(takes):
        return []
    remedy = ""
    if one and bound[0] in ("[0, 1]", "[−1, 1]"):
        value = "" if bound[0] == "[0, 1]" else " of (t + 1) / 2"
        remedy = f', or keep it and write `outputs = "probabilities"`{value} in the class'
    return [
        f"model.network: the decoder of '{settings.network}' gives values in {bound[0]} only, as "
        f"after {bound[1]}; likelihood {settings.likelihood} takes {_TAKEN[takes]}. Take the last "
        f"activation away{remedy}."
    ]


def _mixes(half: nn.Module, inputs: Tensor) -> bool:
    """Return whether what a half gives for an input depends on the others of its batch, in
    evaluation mode.
    """
    evaluated: Any = copy.deepcopy(half).eval()
    with torch.no_grad():
        few = evaluated(inputs[:2])
        all_ = evaluated(inputs)
    return not torch.allclose(few, all_[:2], rtol=1e-2, atol=1e-3)


def _outputs(half: nn.Module, inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Return the outputs [..., spreads] of a half whose weights were spread, in training mode; NaN
    where they cannot be computed.
    """
    outputs = []
    for spread in _SPREADS:
        changed: Any = copy.deepcopy(half).train()
        with torch.no_grad():
            for parameter in changed.parameters():
                parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
            try:
                outputs.append(changed(inputs))
            except (RuntimeError, ValueError, AssertionError, ArithmeticError):
                # Code that checks its numbers.
                continue
    return torch.stack(outputs, -1) if outputs else torch.tensor(math.nan)


def _bound(outputs: Tensor) -> tuple[str, str] | None:
    """Return the narrowest bounds that hold all finite outputs, and the activation that makes such;
    None for unbounded ones.
    """
    finite = outputs[outputs.isfinite()]
    if not len(finite):
        return None
    low = float(finite.amin())
    high = float(finite.amax())
    return next((words for least, most, *words in _BOUNDS if least <= low and high <= most), None)  # type: ignore[return-value]
