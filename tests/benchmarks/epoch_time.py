"""Seconds per trial-epoch, side by side in one run: a notebook's loop, a plain loop on resident tensors, and our lanes.

    VAEEXP_DATA=FOLDER python tests/benchmarks/epoch_time.py [--repeats 5] [--images 10000]

MLP 784–512–512–20, Adam 1e-3, batch 128, on as many threads as cores. Each variant trains on the first `--images`
training images, all variants in turn, `--repeats` times; medians, scaled to 50,000 images, with validation left out.
`processes` runs one process per core with one thread each, as a sweep does. Peak memory per lane is the growth of a
process's resident memory from 1 to 8 lanes, divided by 7.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import torch

from vaeexp.data import open_dataset
from vaeexp.record import describe_hardware, usable_cores
from vaeexp.settings import DataSettings, Settings
from vaeexp.training.batches import Source, validation_noise
from vaeexp.training.lane import fresh_state, open_lane
from vaeexp.training.loop import LoopGroup
from vaeexp.training.memory import peak_memory_mb
from vaeexp.training.precision import training_precision
from vaeexp.training.stacked import StackedGroup, padded_template
from vaeexp.vae import build_vae

FULL = 50_000
SETTINGS = Settings()


def notebook_epoch(dataset, images: int, workers: int) -> float:
    """torchvision's data set, ToTensor, DataLoader, torch.optim: as in a tutorial."""
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import ToTensor

    class Digits(Dataset):
        """What torchvision.datasets.MNIST does for an item."""

        transform = ToTensor()

        def __len__(self) -> int:
            return images

        def __getitem__(self, index: int):
            return self.transform(Image.fromarray(dataset.train.images[index, 0] * 255, mode="L")), 0

    model = build_vae(SETTINGS.model, (1, 28, 28), 0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(Digits(), batch_size=128, shuffle=True, drop_last=True, num_workers=workers)
    started, total = time.perf_counter(), 0.0
    for x, _ in loader:
        terms = model(x, torch.randn(len(x), 20))
        loss = (terms.distortion + terms.rate).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return time.perf_counter() - started


def resident_epoch(source: Source, precision: str) -> float:
    """The best loop that one writes by hand: images in memory as bytes, one index per batch, fused Adam."""
    model = build_vae(SETTINGS.model, (1, 28, 28), 0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    started = time.perf_counter()
    order, noise = torch.randperm(len(source.train)), torch.randn(len(source.train), 20)
    for index in order.split(128):
        if len(index) < 128:
            break
        x = source.train[index].float()
        with training_precision(torch.device("cpu"), precision):
            terms = model(x, noise[: len(index)])
            loss = (terms.distortion + terms.rate).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - started


def make_group(source: Source, kind: str, width: int, precision: str) -> LoopGroup | StackedGroup:
    from sweeps.lanes import Trial

    noise = partial(validation_noise, source)
    group = (
        StackedGroup(source, precision, noise, padded_template(SETTINGS.model, (1, 28, 28), {}), least_rows=1)
        if kind == "stacked"
        else LoopGroup(source, precision, noise)
    )
    for number in range(width):
        lane, vae = open_lane(Trial(number=number, params={}, seed=number), SETTINGS, (1, 28, 28), len(source.train))
        group.add(lane, vae, fresh_state(lane, vae, averaged=False))
    return group


def group_epoch(group: LoopGroup | StackedGroup) -> float:
    started = time.perf_counter()
    group.train_epoch(list(group.lanes))
    return (time.perf_counter() - started) / len(group.lanes)


def small_source(root: str, images: int) -> Source:
    dataset = open_dataset(DataSettings(), root=Path(root) if root else None, say=lambda text: None)
    train = torch.from_numpy(dataset.train.images[:images].copy())
    return Source(train=train, validation=train[:1].float(), binarisation="static", noise_seed=0)


def process_epoch(root: str, images: int, width: int, precision: str, barrier, queue) -> None:
    torch.set_num_threads(1)
    group = make_group(small_source(root, images), "loop", width, precision)
    group_epoch(group)
    barrier.wait()
    queue.put(group_epoch(group))


def processes_epoch(root: str, images: int, width: int, precision: str) -> float:
    """Seconds per trial-epoch of the whole machine: one process per core, each with `width` lanes."""
    context, cores = multiprocessing.get_context("spawn"), usable_cores()
    barrier, queue = context.Barrier(cores), context.Queue()
    children = [
        context.Process(target=process_epoch, args=(root, images, width, precision, barrier, queue))
        for _ in range(cores)
    ]
    for child in children:
        child.start()
    seconds = [queue.get() for _ in children]
    for child in children:
        child.join()
    return max(seconds) / cores


def lane_memory(root: str, images: int) -> dict[str, float]:
    """MiB that one more lane takes at its peak, by group."""
    context, found = multiprocessing.get_context("spawn"), {}
    for kind in ("loop", "stacked"):
        peaks = []
        for width in (1, 8):
            queue = context.Queue()
            child = context.Process(target=measure_peak, args=(root, images, kind, width, queue))
            child.start()
            peaks.append(queue.get())
            child.join()
        found[kind] = (peaks[1] - peaks[0]) / 7
    return found


def measure_peak(root: str, images: int, kind: str, width: int, queue) -> None:
    torch.set_num_threads(1)
    group_epoch(make_group(small_source(root, images), kind, width, "float32"))
    queue.put(peak_memory_mb(torch.device("cpu")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    root = os.environ.get("VAEEXP_DATA", "")
    dataset = open_dataset(DataSettings(), root=Path(root) if root else None)
    images = min(options.images, dataset.sizes[0])
    source = small_source(root, images)
    cores = usable_cores()
    variants = {
        "notebook, 0 workers": lambda: notebook_epoch(dataset, images, 0),
        "notebook, 2 workers": lambda: notebook_epoch(dataset, images, 2),
    }
    for precision in ("float32", "bf16"):
        variants[f"resident, {precision}"] = lambda p=precision: resident_epoch(source, p)
        for kind in ("loop", "stacked"):
            for width in (1, 4, 8):
                group = make_group(source, kind, width, precision)
                variants[f"ours, {kind}, width {width}, {precision}"] = lambda g=group: group_epoch(g)
        for width in (1, 2, 4):
            variants[f"ours, {cores} processes × {width}, {precision}"] = lambda w=width, p=precision: processes_epoch(
                root, images, w, p
            )
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for repeat in range(options.repeats):
        for name, variant in variants.items():
            seconds[name].append(variant() * FULL / images)
        print(f"repeat {repeat + 1} of {options.repeats} done", file=sys.stderr)
    table = {name: statistics.median(times) for name, times in seconds.items()}
    base = table["notebook, 0 workers"]
    print("| variant | s per trial-epoch of 50,000 images | against the notebook |\n| --- | ---: | ---: |")
    for name, value in table.items():
        print(f"| {name} | {value:.2f} | {base / value:.1f}× |")
    memory = lane_memory(root, images)
    print(f"\nPeak memory per lane, MiB: {', '.join(f'{kind} {value:.0f}' for kind, value in memory.items())}")
    if options.json:
        options.json.write_text(
            json.dumps({"hardware": describe_hardware(), "seconds": seconds, "memory_mib": memory}, indent=1)
        )


if __name__ == "__main__":
    main()
