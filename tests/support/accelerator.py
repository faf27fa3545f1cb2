"""Fused lanes on an accelerator that computes nothing: PyTorch's fake tensors on a device of our
own.

A fake tensor has a shape, a type and a device. It refuses to meet one of another device, and to be
read by the host, so that a whole epoch of every network, prior, posterior and likelihood can be
checked for what an accelerator would have to wait for, on a machine that has none. `python
accelerator.py` prints what is wrong, as JSON: part → problems. A process of its own, because
PyTorch registers the device for good.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from fused import BASE
from suited_values import suited
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sweeps.lanes import TrialSpec
from vaeexp.models.likelihoods import LIKELIHOODS
from vaeexp.models.networks import NETWORKS
from vaeexp.models.posteriors import POSTERIORS
from vaeexp.models.priors import PRIORS
from vaeexp.models.vae import VAE
from vaeexp.training import batches, fresh_state, open_lane
from vaeexp.training.batches import Source
from vaeexp.training.groups.vectorised import VectorisedGroup, padded_template
from vaeexp.training.losses import find_loss
from vaeexp.training.optimizers import parts_of
from vaeexp.training.steps.cuda_graph import FusedStep

DEVICE, LANES, IMAGES = "unreal", 2, 32
SHAPES = {"conv_celeba": (3, 64, 64), "conv_cifar": (3, 32, 32), "mlp_cifar": (3, 32, 32)}
NO_SUCH_DEVICE = 77
"""Status of this process where PyTorch is too old to have devices without code."""
SUMS = 4  # that a validation reads at its end: distortion, rate, and those of μ and μ²
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


def cases() -> Iterator[tuple[str, dict, str]]:
    """(part, model settings, binarisation)."""
    for name in NETWORKS:
        yield f"network {name}", {"network": name}, "static"
    for name in PRIORS:
        yield f"prior {name}", {"prior": name}, "dynamic"
    for name in POSTERIORS:
        yield f"posterior {name}", {"posterior": name}, "static"
    for name in LIKELIHOODS:
        yield (
            f"likelihood {name}",
            {"likelihood": name},
            "dynamic" if name == "bernoulli" else "none",
        )
    for name in ("radam", "nadam", "sgd", "lion"):
        yield (
            f"optimizer {name}",
            {"optimizer": name, "weight_decay": 0.1, "clip_norm": 1.0},
            "static",
        )


class Watch(TorchDispatchMode):
    """Notes operations that take tensors from one device to another, with what was going on."""

    def __init__(self) -> None:
        super().__init__()
        self.during, self.found = "", []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if str((kwargs or {}).get("device", "")).startswith(DEVICE):
            for leaf in tree_leaves(args):
                if getattr(leaf, "constant", None) is not None:
                    # A small tensor's values, which this device has no means to keep.
                    leaf.constant = None
        result = operation(*args, **(kwargs or {}))
        if self.during:
            tensors = [
                leaf for leaf in tree_leaves((args, result)) if isinstance(leaf, torch.Tensor)
            ]
            # A number on the host goes along with the launch of a kernel, unless a tensor is made
            # of it.
            devices = {
                tensor.device.type for tensor in tensors if tensor.dim() or operation in MOVES
            }
            if len(devices) > 1:
                self.found.append(f"{self.during}: {operation} of {' and '.join(sorted(devices))}")
        return result

    @contextmanager
    def noting(self, during: str) -> Iterator[None]:
        before, self.during = self.during, during
        try:
            yield
        finally:
            self.during = before


def problems(params: dict, binarisation: str, watch: Watch, fake: FakeTensorMode) -> list[str]:
    """Return the operations of an epoch and a validation of a few fused lanes for which an
    accelerator would have to wait.
    """
    settings = BASE.with_params(
        params | {"ema_decay": 0.9, "schedule": "cosine", "warmup_epochs": 1.0}
    )
    shape = SHAPES.get(settings.model.network, (1, 28, 28))
    values = suited(settings.model.likelihood, shape)
    opened = [
        open_lane(TrialSpec(number=n, params={}, seed=n), settings, values, IMAGES)
        for n in range(LANES)
    ]
    states = [fresh_state(lane, vae, averaged=True) for lane, vae in opened]
    step = FusedStep.__call__

    def watched(self, x, e):
        with watch.noting("a step"):
            step(self, x, e)

    watch.found = []
    with torch.autograd.set_multithreading_enabled(False), fake, watch:
        there = torch.device(DEVICE)
        data = Source(
            train=torch.zeros(IMAGES, *shape, dtype=torch.uint8, device=there),
            validation=torch.zeros(20, *shape, device=there),
            targets=binarisation,
            values=values,
            noise_seed=0,
        )
        template = padded_template(settings.model, values, {})
        parts = parts_of({name: [value] for name, value in settings.train})
        group = VectorisedGroup(
            data,
            "float32",
            template,
            least_rows=LANES,
            compiled=False,
            parts=parts,
            objective=find_loss(settings.train.loss),
        )
        for (lane, vae), state in zip(opened, states, strict=True):
            group.add(lane, vae, {name: fake.from_tensor(tensor) for name, tensor in state.items()})
        FusedStep.__call__ = watched
        try:
            group._train_rows()
        finally:
            FusedStep.__call__ = step
        return [*watch.found, *validated(group, watch)]


def validated(group: VectorisedGroup, watch: Watch) -> list[str]:
    """Of a validation; it ends by reading its sums."""
    watch.found = []
    try:
        with watch.noting("validation"):
            group.evaluate([0], "average")
    except (torch._subclasses.fake_tensor.DataDependentOutputException, NotImplementedError):
        pass  # the sums of a fake device cannot be read
    else:
        return ["validation: nothing was read"]
    return watch.found[SUMS:]


def moved(vae: VAE, there: torch.device) -> VAE:
    """`Module.to` does not know how to put fake tensors into real modules."""
    for module in vae.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = torch.nn.Parameter(parameter.detach().to(there))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(there)
    return vae


def main() -> None:
    try:
        from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
    except ImportError:
        sys.exit(NO_SUCH_DEVICE)
    _setup_privateuseone_for_python_backend(DEVICE)
    VAE.to = moved
    # There is no generator of this device; what is drawn lies there all the same.
    batches.generator = lambda *parts: None
    batches.draw_thresholds = lambda images, generator: torch.randint_like(images, 255)
    found = {}
    for part, params, binarisation in cases():
        try:
            found[part] = problems(
                params, binarisation, Watch(), FakeTensorMode(allow_non_fake_inputs=True)
            )
        except Exception as error:
            found[part] = [f"{type(error).__name__}: {error}"[:300]]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
