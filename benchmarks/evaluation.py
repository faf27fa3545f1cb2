"""What evaluation costs: importance-weighted NLL against its matrix products, validation against an
epoch of training.

    VAEEXP_DATA=FOLDER python benchmarks/evaluation.py [--device cpu|cuda] [--samples 5000]
        [--images 104] [--repeats 5] [--json FILE]

The MLP 784–512–512–20 in float32, as evaluation always is. `importance_weighted_nll` with k samples
per image on so many images, scaled to 10,000 (compiled where that would be; opening what is
compiled, once for all images, is not counted); beside it the three products of the decoder on as
many codes at a time, into memory that is there already. Then an epoch of 50,000 images in training,
in the arithmetic that a sweep takes, the validation of 10,000 in float32, and the products of that
alone, of one lane on one CPU thread (of 64 fused lanes on CUDA). In turn, medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from contenders import EPOCH
from contenders.digits import resident
from contenders.ours import settings_of
from table import describe_machine, in_words, markdown, usable_cores, write_json
from torch import nn

from sweeps.lanes import TrialSpec
from vaeexp.data.values import as_values
from vaeexp.evaluation import nll
from vaeexp.evaluation import nll as weights
from vaeexp.evaluation.nll import image_rows, importance_weighted_nll
from vaeexp.models.vae import VAE, build_vae
from vaeexp.training import fresh_state, open_lane
from vaeexp.training.batches import Source
from vaeexp.training.device import keep_freed_memory, resolve_precision
from vaeexp.training.groups import open_group
from vaeexp.training.steps import VALIDATION_BATCH

TEST, VALIDATION = 10_000, 10_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--samples", type=int, default=5_000)
    parser.add_argument("--images", type=int, default=104)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine, device = describe_machine(options.device), torch.device(options.device)
    keep_freed_memory()
    images = resident(options.device)
    vae = build_vae(settings_of("mlp").model, (1, 28, 28), 0).to(device).eval()
    weighted = partial(
        importance_weighted_nll,
        vae,
        images[: options.images].float(),
        importance_samples=options.samples,
        seed=0,
    )
    codes, scale = options.images * options.samples, TEST / options.images
    weights._COMPILING_PAYS /= scale  # as for all images
    nll.log_weights = opened_once(nll.log_weights)
    torch.set_num_threads(usable_cores())
    found = medians(
        {
            f"importance-weighted NLL, k = {options.samples:,}": weighted,
            "its products alone": products(
                vae.decoder, image_rows(vae) // nll._UNIT * nll._UNIT, codes
            ),
        },
        device,
        options.repeats,
    )
    found = {name: seconds * scale for name, seconds in found.items()}
    torch.set_num_threads(1)
    found |= medians(training(images, vae, device), device, options.repeats)
    if options.json:
        write_json(options.json, {"machine": machine, "task": vars(options), "seconds": found})
    weighted_s, products_s, epoch_s, validation_s, validation_products_s = found.values()
    remarks = (
        f"{weighted_s / products_s:.2f} × its products",
        "",
        "",
        f"{validation_s / epoch_s:.1%} of the epoch",
        f"{validation_products_s / epoch_s:.1%} of the epoch",
    )
    rows = [
        [name, f"{seconds:.3g}", remark]
        for (name, seconds), remark in zip(found.items(), remarks, strict=True)
    ]
    print(f"{in_words(machine)}\n\n{markdown(['what', 'seconds', ''], rows, texts=1)}")


def opened_once(
    open_weights: Callable[..., weights.LogWeights],
) -> Callable[..., weights.LogWeights]:
    """What the first call opens; the later ones are of the same model."""
    opened: list[weights.LogWeights] = []

    def call(*given: Any, **options: Any) -> weights.LogWeights:
        if not opened:
            opened.append(open_weights(*given, **options))
        return opened[0]

    return call


def products(network: nn.Module, rows: int, images: int, lanes: int = 1) -> Callable[[], None]:
    """The products of its linear layers on so many images (or codes) of each lane, so many rows at
    a time.
    """
    layers = [layer.weight.detach() for layer in network.modules() if isinstance(layer, nn.Linear)]
    several = (lanes,) if lanes > 1 else ()
    calls = [
        (
            torch.randn(*several, rows, weight.shape[1], device=weight.device),
            weight.expand(*several, *weight.shape).contiguous().mT,
            torch.empty(*several, rows, weight.shape[0], device=weight.device),
        )
        for weight in layers
    ]

    def run() -> None:
        for _ in range(images // rows):
            for x, weight, out in calls:
                torch.matmul(x, weight, out=out)

    return run


def training(
    images: torch.Tensor, vae: VAE, device: torch.device
) -> dict[str, Callable[[], object]]:
    """An epoch of training and one of validation, each of all lanes, and the products of a
    validation.
    """
    fused = device.type == "cuda"
    lanes = 64 if fused else 1
    source = Source(
        train=images[:EPOCH],
        validation=images[:VALIDATION].float(),
        targets="static",
        values=as_values((1, 28, 28)),
        noise_seed=0,
    )
    settings = settings_of("mlp")
    group = open_group(
        source,
        settings,
        maxima={},
        precision=resolve_precision("auto", device),
        fuse=fused,
        compile=not fused,
        averaged=False,
    )
    for number in range(lanes):
        lane, vae = open_lane(
            TrialSpec(number=number, params={}, seed=number), settings, source.image_shape, EPOCH
        )
        group.add(lane, vae, fresh_state(lane, vae, averaged=False))
    numbers = list(group.lanes)
    return {
        "an epoch of training": lambda: group.train_epoch(numbers),
        "its validation": lambda: group.evaluate(numbers, "weights"),
        "the validation's products alone": products(vae, VALIDATION_BATCH, VALIDATION, lanes),
    }


def medians(
    work: dict[str, Callable[[], object]], device: torch.device, repeats: int
) -> dict[str, float]:
    """Seconds of each, in turn, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(repeats + 1):
        for name, run in work.items():
            started = time.perf_counter()
            with torch.no_grad() if "products" in name else torch.enable_grad():
                run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(found) for name, found in seconds.items()}


if __name__ == "__main__":
    main()
