"""What the checksums of prepared images cost: seconds of processor time of a start, and of the
epochs after it.

    python benchmarks/checksums.py [--mb 39 2000] [--folder FOLDER]

Random images of 32 × 32 × 3 bytes, one thread. `start` opens the prepared data: images of up to 512
MiB are hashed then. `fetch` draws an epoch of batches of 64, first with the checks of a new
process, then again, then from the same file without checks. `training` is an epoch of network
`conv`, measured on 4,480 images and scaled to the number of images.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sweeps.lanes import TrialSpec
from vaeexp.data import open_dataset
from vaeexp.runs.worker import open_source
from vaeexp.settings import DataSettings, ModelSettings, Settings, TrainSettings
from vaeexp.training import fresh_state, open_lane
from vaeexp.training.batches import Source, epoch_chunks
from vaeexp.training.groups.sequential import SequentialGroup

SETTINGS = Settings(
    data=DataSettings(dataset="arrays", binarisation="none"),
    model=ModelSettings(network="conv", likelihood="discretised_logistic", latent_size=64),
    train=TrainSettings(batch_size=64),
)
FEW = 4_480


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb", type=int, nargs="+", default=[39, 2000])
    parser.add_argument(
        "--folder", type=Path, help="for the files, three times as large as the largest set"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    for megabytes in options.mb:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            _measure(Path(folder), megabytes * 1_000_000 // 3072)


def _measure(folder: Path, count: int) -> None:
    os.environ["VAEEXP_CACHE"] = str(folder / "cache")
    pixels = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, 32, 32, 3))
    draw = np.random.default_rng(0)
    for start in range(0, count, 10_000):
        pixels[start : start + 10_000] = draw.integers(
            0, 256, pixels[start : start + 10_000].shape, np.uint8
        )
    seconds = {"preparation": _timed(lambda: _open(folder)), "start": _timed(lambda: _open(folder))}
    source = open_source(_open(folder), torch.device("cpu"), 0, resident_mb=0)
    plain = replace(source, check=None)
    _fetch(plain)  # the file is in memory before anything is compared
    seconds["fetch, first epoch"] = _timed(lambda: _fetch(source))
    seconds["fetch, later"] = _timed(lambda: _fetch(source))
    seconds["fetch without checks"] = _timed(lambda: _fetch(plain))
    seconds["training"] = _training(plain) * len(source.train) / FEW
    print(f"{count:,} images, {count * 3072 / 1e6:,.0f} MB; seconds of processor time")
    for name, value in seconds.items():
        print(f"  {name:22} {value:8.2f}")


def _open(folder: Path):
    return open_dataset(SETTINGS.data, root=folder / "images.npy", say=lambda text: None)


def _fetch(source: Source) -> None:
    for _ in epoch_chunks(source, seed=0, epoch=0, batch_size=64, latent_size=64):
        pass


def _training(source: Source) -> float:
    few = replace(source, train=source.train[:FEW])
    group = SequentialGroup(few, "float32")
    lane, vae = open_lane(TrialSpec(number=0, params={}, seed=0), SETTINGS, few.image_shape, FEW)
    group.add(lane, vae, fresh_state(lane, vae, averaged=False))
    return _timed(lambda: group.train_epoch([0]))


def _timed(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
