"""vaeexp's own lanes, as a sweep trains them. Variants: "sequential" (one after the other),
"compiled" (the same, each step as compiled C++; on CUDA fused lanes, their step compiled),
"vectorised" (fused).

Only the engine takes part (`vaeexp.models.vae`, `vaeexp.training`), which needs nothing but torch
and numpy: settings are plain namespaces with the values that vaeexp's settings have by default.
"""

from dataclasses import replace
from types import SimpleNamespace

from contenders import BATCH, EPOCH, Stretch, Task, Train, timed
from contenders.digits import resident
from contenders.models import LATENT_SIZES
from sweeps.lanes import TrialSpec
from vaeexp.data.values import as_values
from vaeexp.training import fresh_state, open_lane
from vaeexp.training.batches import Source
from vaeexp.training.device import keep_freed_memory
from vaeexp.training.groups import open_group

__all__ = ["open_train", "settings_of"]


def settings_of(kind: str) -> SimpleNamespace:
    """All settings that training reads."""
    network = {"mlp": {"network": "mlp", "hidden": (512, 512)}, "conv": {"network": "conv_mnist"}}[
        kind
    ]
    model = SimpleNamespace(
        **network,
        activation="leaky_relu",
        latent_size=LATENT_SIZES[kind],
        posterior="gaussian",
        prior="normal",
        components=1,
        likelihood="bernoulli",
    )
    train = SimpleNamespace(
        loss="elbo",
        beta=1.0,
        warmup_epochs=0.0,
        free_nats=0.0,
        optimizer="adam",
        learning_rate=1e-3,
        schedule="constant",
        ema_decay=0.0,
        batch_size=BATCH,
        epochs=30,
        patience=0,
        warmup_steps=0,
        beta1=None,
        beta2=None,
        momentum=0.9,
        weight_decay=0.0,
        clip_norm=None,
    )
    return SimpleNamespace(
        model=model, train=train, evaluation=SimpleNamespace(active_threshold=0.01)
    )


def open_train(task: Task) -> Train:
    keep_freed_memory()  # as the workers of a sweep do
    images = resident(task.device)
    source = Source(
        train=images,
        validation=images[:1].float(),
        targets="static",
        values=as_values(tuple(images.shape[1:])),
        noise_seed=0,
    )
    settings = settings_of(task.model)
    precision = "bf16" if task.precision == "bf16" else "float32"
    group = open_group(
        source, settings, maxima={}, precision=precision,
        fuse=task.variant == "vectorised" or (task.variant == "compiled" and task.device == "cuda"),
        compile=task.variant == "compiled", averaged=False,
    )  # fmt: skip
    if not group.fused and (task.variant == "vectorised" or task.device == "cuda"):
        raise RuntimeError("these lanes cannot be fused; the log says why")
    if (
        task.device == "cpu"
        and task.variant == "compiled"
        and task.model == "mlp"
        and not group.compiled
    ):
        raise RuntimeError("this step cannot be compiled; the log says why")
    for number in range(task.width):
        lane, vae = open_lane(
            TrialSpec(number=number, params={}, seed=number), settings, source.image_shape, EPOCH
        )
        group.add(lane, vae, fresh_state(lane, vae, averaged=False))

    def train(count: int) -> Stretch:
        """A stretch is an epoch of the first `count` images."""
        group.source = replace(source, train=source.train[:count])
        for lane in group.lanes.values():
            lane.steps_per_epoch = count // BATCH
        stretch = timed(task.device, lambda: group.train_epoch(list(group.lanes)))
        for lane in group.lanes.values():
            lane.epoch += 1
        return stretch

    return train
