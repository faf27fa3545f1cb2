"""What it costs that training images stream from disk: seconds per trial-epoch, resident and
streamed, in one run.

    python benchmarks/streaming.py --data FOLDER [--repeats 5] [--device cpu]

A folder of images, network `conv` with latent size 64 and discretised logistic likelihood, batch
64, one lane on one thread, training alone. Both ways take turns; the smallest of the repeats
counts, since the rest is other programs. `images` is the part of it that fetches the images and
draws the noise. Both ways must end in the same weights.
"""

import argparse
import os
import time
from pathlib import Path

import torch

from sweeps.lanes import TrialSpec
from vaeexp.data import open_dataset
from vaeexp.runs.worker import open_source
from vaeexp.settings import DataSettings, ModelSettings, Settings, TrainSettings
from vaeexp.training import fresh_state, open_lane
from vaeexp.training.batches import epoch_chunks
from vaeexp.training.groups.sequential import SequentialGroup

SETTINGS = Settings(
    data=DataSettings(dataset="folder", binarisation="none", image_size=32),
    model=ModelSettings(network="conv", likelihood="discretised_logistic", latent_size=64),
    train=TrainSettings(batch_size=64),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("VAEEXP_DATA"),
        required=not os.environ.get("VAEEXP_DATA"),
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = open_dataset(SETTINGS.data, root=options.data)
    resident = open_source(dataset, torch.device(options.device), 0, resident_mb=float("inf"))
    streamed = open_source(dataset, torch.device(options.device), 0, resident_mb=0)
    assert (resident.streamed, streamed.streamed) == (False, True)
    seconds = {"resident": [], "streamed": []}
    images = {"resident": [], "streamed": []}
    lanes = {
        name: _lane(source) for name, source in (("resident", resident), ("streamed", streamed))
    }
    for _ in range(options.repeats):
        for name, (group, source) in lanes.items():
            seconds[name].append(_timed(lambda group=group: group.train_epoch([0]), options.device))
            images[name].append(_timed(lambda source=source: _fetch(source), options.device))
            group.lanes[0].epoch += 1
    weights = [group.state(0)["weights"] for group, _ in lanes.values()]
    print(
        f"{len(resident.train):,} images of {resident.image_shape} on {options.device}; "
        f"{options.repeats} epochs each"
    )
    for name in seconds:
        print(
            f"{name}: {min(seconds[name]):.3f} s per trial-epoch, of which images "
            f"{min(images[name]):.3f} s"
        )
    print(f"the same weights afterwards: {torch.equal(*weights)}")


def _lane(source):
    group = SequentialGroup(source, "float32")
    lane, vae = open_lane(
        TrialSpec(number=0, params={}, seed=0), SETTINGS, source.image_shape, len(source.train)
    )
    group.add(lane, vae, fresh_state(lane, vae, averaged=False))
    return group, source


def _fetch(source) -> None:
    for _ in epoch_chunks(source, seed=0, epoch=0, batch_size=64, latent_size=64):
        pass


def _timed(work, device: str) -> float:
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
