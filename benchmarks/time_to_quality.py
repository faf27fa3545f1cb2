"""Seconds until the test −ELBO on dynamically binarised MNIST is as low as the notebook of
`mog_mnist` printed it: 92.07.

    python benchmarks/time_to_quality.py --data FOLDER [--setting fast] [--target 92.07]
        [--epochs N] [--seed 0]

One trial, alone on the machine, on as many threads as it has cores, on the study's split (50,000
images). Time runs from the first step on prepared data and counts training alone; the test images
are looked at after each epoch, outside the clock, with one posterior sample per image and targets
drawn once. `fast` is a setting that was chosen for speed by hand; `notebook` is the setting of the
notebook (batches of 32, a constant learning rate), which needs more than an hour. Prints a line for
each epoch and stops at the target.
"""

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

import torch

from sweeps.lanes import TrialSpec
from vaeexp.data import open_dataset
from vaeexp.data.dataset import targets
from vaeexp.machine import usable_cores
from vaeexp.runs.worker import open_source
from vaeexp.settings import DataSettings, ModelSettings, Settings, TrainSettings
from vaeexp.training import fresh_state, open_lane
from vaeexp.training.device import keep_freed_memory, resolve_precision
from vaeexp.training.groups.sequential import SequentialGroup

CPU = torch.device("cpu")
DATA = DataSettings(dataset="mnist", binarisation="dynamic")
SETTINGS = {
    "fast": (
        ModelSettings(
            network="mlp",
            hidden=(512, 512),
            activation="gelu",
            latent_size=20,
            prior="mixture",
            components=64,
        ),
        TrainSettings(
            batch_size=128,
            optimizer="adam",
            learning_rate=3e-3,
            schedule="cosine",
            warmup_epochs=2,
            ema_decay=0.999,
            epochs=20,
        ),
    ),
    "notebook": (
        ModelSettings(
            network="mlp",
            hidden=(512, 512),
            activation="leaky_relu",
            latent_size=20,
            prior="factorised_mixture",
            components=16,
        ),
        TrainSettings(batch_size=32, optimizer="adamax", learning_rate=1e-3, epochs=1000),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("VAEEXP_DATA"))
    parser.add_argument("--setting", choices=SETTINGS, default="fast")
    parser.add_argument("--target", type=float, default=92.07)
    parser.add_argument("--epochs", type=int, help="of the schedule; as the setting has it")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(usable_cores())
    keep_freed_memory()
    model, train = SETTINGS[options.setting]
    if options.epochs:
        train = train.model_copy(update={"epochs": options.epochs})
    settings = Settings(data=DATA, model=model, train=train)
    group, which = open_group(settings, options.data, options.seed)
    seconds = 0.0
    for epoch in range(1, train.epochs + 1):
        started = time.perf_counter()
        group.train_epoch([0])
        seconds += time.perf_counter() - started
        group.lanes[0].epoch = epoch
        found = group.evaluate([0], which)[0]
        value = found.distortion + found.rate
        print(f"epoch {epoch:4d}  {seconds:8.1f} s  test −ELBO {value:8.3f}", flush=True)
        if value <= options.target:
            break


def open_group(settings: Settings, root: Path | None, seed: int) -> tuple[SequentialGroup, str]:
    """A lane that is evaluated on the test images, and which of its weights count."""
    dataset = open_dataset(settings.data, root=root)
    source = open_source(dataset, CPU, 0)
    source = replace(source, validation=targets(dataset.test.images, settings.data.binarisation, 0))
    lane, vae = open_lane(
        TrialSpec(number=0, params={}, seed=seed), settings, source.image_shape, len(source.train)
    )
    averaged = settings.train.ema_decay > 0
    group = SequentialGroup(source, resolve_precision("auto", CPU))
    group.add(lane, vae, fresh_state(lane, vae, averaged=averaged))
    return group, "average" if averaged else "weights"


if __name__ == "__main__":
    main()
