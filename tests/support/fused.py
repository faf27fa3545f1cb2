"""A small study for tests of the engine: 8×8 images with structure, tiny networks, lanes with
nothing around them.
"""

from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sweeps.lanes import Outcome, TrialSpec, advance_all
from vaeexp.data.values import as_values
from vaeexp.models.vae import VAE, build_vae
from vaeexp.settings import EvaluationSettings, ModelSettings, Settings, TrainSettings
from vaeexp.training.batches import Source, epoch_chunks, validation_noise
from vaeexp.training.groups.lanes import TrainingLanes

BASE = Settings(
    model=ModelSettings(hidden=(16, 12), latent_size=4, components=3),
    train=TrainSettings(epochs=4, batch_size=16, learning_rate=2e-3),
    evaluation=EvaluationSettings(pictures_every=1000),
)

KINDS = {
    "vectorised": {"fuse": True, "compile": False},
    "sequential": {"fuse": False, "compile": False},
    "compiled": {"fuse": False, "compile": True},
}
"""Kind of group → arguments of `TrainingLanes`."""

RARELY = 3600.0
"""Seconds between checkpoints, which are a fifth of the time of so small a training, where a test
reads no checkpoint.
"""


def images(count: int, seed: int = 0) -> torch.Tensor:
    """uint8 0/1 [count, 1, 8, 8]: a bar at a random place, with some noise."""
    random = np.random.default_rng(seed)
    pixels = random.random((count, 8, 8)) < 0.05
    for image, column, wide in zip(
        pixels, random.integers(0, 6, count), random.integers(1, 4, count), strict=True
    ):
        image[:, column : column + wide] |= random.random((8, min(wide, 8 - column))) < 0.9
    return torch.from_numpy(pixels[:, None].astype(np.uint8))


def source(binarisation: str = "static") -> Source:
    scale = 1 if binarisation == "static" else 255
    return Source(
        train=images(100) * scale,
        validation=images(40, 1).float(),
        targets=binarisation,
        values=as_values((1, 8, 8)),
        noise_seed=7,
    )


class Bare:
    """Artifacts that keep the lane's tensors, as they are when it is released, instead of making
    pictures.
    """

    lanes: TrainingLanes

    def __init__(self) -> None:
        self.states: dict[int, dict[str, torch.Tensor]] = {}

    def pictures(self, lane, weights, buffers, folder) -> Future:
        return done({})

    def finish(self, lane, best, last, outcome, folder) -> Future:
        number = lane.trial.number
        [group] = [group for group in self.lanes.groups.all() if number in group.lanes]
        self.states[number] = {name: tensor.clone() for name, tensor in group.state(number).items()}
        assert torch.equal(best.weights, self.states[number]["best"])
        assert torch.equal(best.buffers, self.states[number]["best_buffers"])
        assert torch.equal(
            last.weights,
            self.states[number]["average" if "average" in self.states[number] else "weights"],
        )
        assert torch.equal(last.buffers, self.states[number]["buffers"])
        assert (best.epoch, last.epoch) == (lane.best_epoch, lane.epoch)
        return done({})


def done(result) -> Future:
    future = Future()
    future.set_result(result)
    return future


def make_lanes(
    folder: Path,
    *,
    kind: str = "vectorised",
    maxima=None,
    base=BASE,
    width=8,
    rows=None,
    every=0.0,
    averaged=False,
    parts=(),
    data=None,
    checkpoints=None,
    precision="float32",
):
    artifacts, held = Bare(), data or source()
    lanes = TrainingLanes(
        source_of=held if callable(held) else lambda binarisation: held,
        settings_of=lambda trial: base.with_params(dict(trial.params)),
        maxima=maxima or {},
        averaged=averaged,
        parts=parts,
        folder=folder,
        precision=precision,
        **KINDS[kind],
        lanes=width,
        rows=rows or width,
        checkpoint_seconds=every,
        artifacts=artifacts,
        checkpoints=checkpoints,
    )
    artifacts.lanes = lanes
    return lanes, artifacts


def trial(number: int, *, epoch: int = 0, **params) -> TrialSpec:
    return TrialSpec(number=number, params=params, seed=1000 + number, epoch=epoch)


def all_rules(first: int = 0) -> list[TrialSpec]:
    """A trial of each optimizer, numbered from `first`, that together need `ALL_PARTS`; an epoch of
    BASE has 6 steps.
    """
    named = {
        "adam": {"beta1": 0.8, "beta2": 0.99},
        "adamax": {"weight_decay": 1e-2, "warmup_steps": 4},
        "adamw": {"weight_decay": 3.0, "clip_norm": 5.0},
        "radam": {"clip_norm": 20.0, "schedule": "cosine"},
        "nadam": {"warmup_steps": 9, "schedule": "cosine", "weight_decay": 1e-3, "clip_norm": 10.0},
        "sgd": {
            "learning_rate": 1e-4,
            "momentum": 0.8,
            "warmup_steps": 9,
            "schedule": "exponential",
            "schedule_factor": 0.5,
        },
        "lion": {
            "learning_rate": 3e-4,
            "weight_decay": 1e-1,
            "warmup_steps": 9,
            "clip_norm": 10.0,
            "schedule": "linear",
        },
    }
    return [trial(n, optimizer=name, **how) for n, (name, how) in enumerate(named.items(), first)]


ALL_PARTS = ("moments", "plain", "ahead", "sign", "decay", "clip", "warmup", "course")


def run(
    lanes: TrainingLanes, artifacts: Bare, trials: list[TrialSpec], epochs: int
) -> dict[int, tuple]:
    """Train these trials side by side; number → (values by epoch, final tensors)."""
    for each in trials:
        lanes.add(each)
    numbers = [each.number for each in trials]
    values: dict[int, list[float]] = {number: [] for number in numbers}
    for _ in range(epochs):
        for progress in advance_all(lanes, numbers):
            values[progress.number].append(progress.objective)
    for number in numbers:
        lanes.finish(
            {number: Outcome(state="complete", epoch=epochs, objective=min(values[number]))}
        )
    return {number: (values[number], artifacts.states[number]) for number in numbers}


def train_in_turns(lanes: TrainingLanes) -> dict[int, list[float]]:
    """Train lanes 0 and 1 for three epochs each, of which they share one and wait for each other in
    the rest; number → values.
    """
    for number in (0, 1):
        lanes.add(trial(number))
    values: dict[int, list[float]] = {0: [], 1: []}
    for numbers in ([0], [0], [1], [0, 1], [1]):
        for progress in advance_all(lanes, numbers):
            values[progress.number].append(progress.objective)
    return values


def killed_and_resumed(
    make, trials: list[TrialSpec], killed_after: int, epochs: int
) -> tuple[list[float], dict]:
    """Train the trials, lose the process, go on with the first: (its later values by epoch, its
    final tensors).

    The newest checkpoint is one epoch behind what was reported.
    """
    lanes, _ = make()
    for each in trials:
        lanes.add(each)
    for _ in range(killed_after):
        advance_all(lanes, [each.number for each in trials])
    lanes, artifacts = make()
    me = replace(trials[0], epoch=killed_after)
    lanes.add(me)
    lanes.replay()
    values = [advance_all(lanes, [me.number])[0].objective for _ in range(epochs - killed_after)]
    lanes.finish({me.number: Outcome(state="complete", epoch=epochs, objective=None)})
    return values, artifacts.states[me.number]


def same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def torch_optimizer(vae: VAE, train: TrainSettings) -> torch.optim.Optimizer:
    kinds = {
        "adam": "Adam",
        "adamax": "Adamax",
        "adamw": "AdamW",
        "radam": "RAdam",
        "nadam": "NAdam",
        "sgd": "SGD",
    }
    how = {"lr": train.learning_rate, "weight_decay": train.weight_decay}
    if train.optimizer == "sgd":
        how["momentum"] = train.momentum
    else:
        how["betas"] = (train.beta1 or 0.9, train.beta2 or 0.999)
    return getattr(torch.optim, kinds[train.optimizer])(vae.parameters(), **how)


def plain_training(
    settings: Settings, seed: int, epochs: int, data: Source | None = None
) -> tuple[list, list, VAE]:
    """Train as a person would write it. Return training loss and validation −ELBO of each epoch,
    and the model.
    """
    data, train = data or source(), settings.train
    vae = build_vae(settings.model, data.image_shape, seed)
    optimizer, losses, values = torch_optimizer(vae, train), [], []
    warmup = max(train.warmup_steps, 1)
    rises = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warmup))
    fixed = validation_noise(data, settings.model.latent_size)
    for epoch in range(epochs):
        total, steps = 0.0, 0
        vae.train()
        for targets, noise in epoch_chunks(
            data,
            seed=seed,
            epoch=epoch,
            batch_size=train.batch_size,
            latent_size=settings.model.latent_size,
        ):
            for x, e in zip(
                targets.split(train.batch_size), noise.split(train.batch_size), strict=True
            ):
                terms = vae(x, e)
                loss = terms.distortion.mean() + train.beta * terms.rate.mean()
                optimizer.zero_grad()
                loss.backward()
                if train.clip_norm is not None:
                    torch.nn.utils.clip_grad_norm_(vae.parameters(), train.clip_norm)
                optimizer.step()
                rises.step()
                total, steps = total + loss.item(), steps + 1
        losses.append(total / steps)
        with torch.no_grad():
            terms = vae.eval()(data.validation, fixed)
        values.append((terms.distortion + terms.rate).mean().item())
    return losses, values, vae
