"""Does arithmetic change results? The same settings and seeds in float32, in bf16, and in bf16 with
the step compiled; in float32 with and without where the processor has no bf16 products.

    VAEEXP_DATA=FOLDER python benchmarks/precisions.py [--seeds 3] [--epochs 6] [--images 10000]
        [--json FILE] [--png FILE]

MLP 784–512–512–20, batch 128, on the first N images of MNIST, three learning rates with Adam and
Adamax. The value is the negative ELBO of 10,000 other images in float32, with the same noise for
all. Arithmetic may change it by less than another seed does, and not change which setting is best.
"""

import argparse
import math
import statistics
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import torch
from contenders import EPOCH
from contenders.digits import describe, resident
from contenders.ours import settings_of
from table import describe_machine, in_words, markdown, usable_cores, write_json

from sweeps.lanes import TrialSpec
from vaeexp.data.values import as_values
from vaeexp.training import fresh_state, open_lane
from vaeexp.training.batches import Source
from vaeexp.training.device import has_fast_bf16, keep_freed_memory
from vaeexp.training.groups import open_group

RATES, OPTIMIZERS, VALIDATION = (3e-4, 1e-3, 3e-3), ("adam", "adamax"), 10_000
COLOURS = {
    "float32": "#0072B2",
    "float32, compiled": "#56B4E9",
    "bf16": "#E69F00",
    "bf16, compiled": "#D55E00",
}
"""Told apart with any colour vision (Okabe & Ito 2008)."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--png", type=Path)
    options = parser.parse_args()
    machine = describe_machine("cpu")
    torch.set_num_threads(usable_cores())
    keep_freed_memory()
    arms = {"float32": ("float32", "sequential")}
    if has_fast_bf16(torch.device("cpu")):
        arms |= {"bf16": ("bf16", "sequential"), "bf16, compiled": ("bf16", "compiled")}
    else:
        arms |= {"float32, compiled": ("float32", "compiled")}
    found = {name: trained(*arm, options) for name, arm in arms.items()}
    if options.json:
        values = {
            name: {label(key): numbers for key, numbers in arm.items()}
            for name, arm in found.items()
        }
        write_json(
            options.json,
            {"machine": machine, "data": describe(), "task": vars(options), "values": values},
        )
    if options.png:
        draw(options.png, found, options)
    print(
        f"−ELBO after {options.epochs} epochs of {options.images:,} images, nats; "
        f"{in_words(machine)}\n\n{written(found)}"
    )


Values = dict[tuple[str, float], list[float]]
"""(optimizer, learning rate) → the value of each seed."""


def trained(precision: str, kind: str, options: argparse.Namespace) -> Values:
    images = resident("cpu")
    source = Source(
        train=images[: options.images],
        validation=images[EPOCH - VALIDATION : EPOCH].float(),
        targets="static",
        values=as_values((1, 28, 28)),
        noise_seed=0,
    )
    settings, places = settings_of("mlp"), list(product(OPTIMIZERS, RATES, range(options.seeds)))
    group = open_group(
        source,
        settings,
        maxima={},
        precision=precision,
        fuse=False,
        compile=kind == "compiled",
        averaged=False,
    )
    started = time.perf_counter()
    for number, (optimizer, rate, seed) in enumerate(places):
        own = settings_of("mlp")
        own.train.optimizer, own.train.learning_rate = optimizer, rate
        lane, vae = open_lane(
            TrialSpec(number=number, params={}, seed=seed), own, source.image_shape, options.images
        )
        group.add(lane, vae, fresh_state(lane, vae, averaged=False))
    numbers = list(group.lanes)
    for _ in range(options.epochs):
        group.train_epoch(numbers)
        for lane in group.lanes.values():
            lane.epoch += 1
    scored = group.evaluate(numbers, "weights")
    print(
        f"{precision}, {kind}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True
    )
    values: Values = {}
    for number, (optimizer, rate, _) in enumerate(places):
        values.setdefault((optimizer, rate), []).append(
            scored[number].distortion + scored[number].rate
        )
    return values


def label(key: tuple[str, float]) -> str:
    return f"{key[0]}, {key[1]:g}"


def written(found: dict[str, Values]) -> str:
    """The table, as markdown: mean ± standard deviation over seeds, and the best setting of each
    arithmetic.
    """
    rows: list[list[Any]] = []
    for key in next(iter(found.values())):
        cells = [values[key] for values in found.values()]
        rows.append([label(key), *(f"{statistics.mean(v):.2f} ± {spread(v):.2f}" for v in cells)])
    best = [
        min(values, key=lambda key, v=values: statistics.mean(v[key])) for values in found.values()
    ]
    rows.append(["best setting", *map(label, best)])
    return markdown(["optimizer, learning rate", *found], rows, texts=1)


def spread(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan


def draw(path: Path, found: dict[str, Values], options: argparse.Namespace) -> None:
    """One row per setting, a point per seed, a line at the mean; arithmetics beside each other."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    keys = sorted(
        next(iter(found.values())), key=lambda key: statistics.mean(next(iter(found.values()))[key])
    )
    figure, axis = plt.subplots(figsize=(9, 0.55 * len(keys) + 1.4), layout="constrained")
    for place, (name, values) in enumerate(found.items()):
        offset = (place - (len(found) - 1) / 2) * 0.24
        for row, key in enumerate(keys):
            mean = statistics.mean(values[key])
            axis.plot(
                values[key],
                [row + offset] * len(values[key]),
                "o",
                color=COLOURS[name],
                markersize=5,
                alpha=0.8,
            )
            axis.plot(
                [mean, mean],
                [row + offset - 0.1, row + offset + 0.1],
                color=COLOURS[name],
                linewidth=2,
            )
        axis.annotate(
            name,
            (max(values[keys[-1]]), len(keys) - 1 + offset),
            xytext=(8, 0),
            textcoords="offset points",
            color=COLOURS[name],
            fontsize=9,
            va="center",
        )
    axis.set_yticks(range(len(keys)), [label(key) for key in keys], fontsize=9)
    axis.invert_yaxis()
    axis.margins(x=0.14)
    axis.set_xlabel(
        f"validation −ELBO after {options.epochs} epochs of {options.images:,} images (nats)",
        fontsize=9,
    )
    axis.set_title(
        f"The same settings in each arithmetic: {options.seeds} seeds, line at their mean",
        loc="left", fontsize=10, fontweight="bold",
    )  # fmt: skip
    axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
