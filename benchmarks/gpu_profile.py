"""One epoch of fused lanes under a profiler: host synchronisation, the share of time the device is
busy, the cost of a refill.

    VAEEXP_DATA=FOLDER python benchmarks/gpu_profile.py [--device cuda|cpu] [--model mlp|conv]
        [--width 64] [--precision bf16] [--images 12800] [--json FILE]

- synchronisations: calls between the first and the last step of an epoch in which the host waits
  for the device. PyTorch warns of each that it makes itself
  (`torch.cuda.set_sync_debug_mode("warn")`), with its place.
- busy: the union of the intervals in which a kernel or a copy ran, over the wall time of the epoch,
  both by the profiler.
- kernels per step: kernels and copies of the epoch over its steps, drawing the batches included.
- refill: what lanes wait for when one of them ends and another begins: its weights are copied,
  initial weights drawn and put in its row; its time over that of an epoch of 50,000 images of all
  lanes.
- copy: what they wait for when a lane's picture is wanted. It is drawn from the copy while they
  train on. On a CPU there are only the last two, of lanes fused as on an accelerator (--width 8
  --images 1280 takes a minute).
"""

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from contenders import BATCH, EPOCH
from contenders.digits import resident
from contenders.ours import settings_of
from table import describe_machine, in_words, markdown, write_json
from torch.profiler import ProfilerActivity, profile

from sweeps.lanes import TrialSpec
from vaeexp.data.values import as_values
from vaeexp.training import fresh_state, open_lane
from vaeexp.training.batches import Source
from vaeexp.training.groups import Group, open_group
from vaeexp.training.groups.lanes import copied

WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--model", choices=("mlp", "conv"), default="mlp")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="bf16")
    parser.add_argument("--images", type=int, default=100 * BATCH)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine = describe_machine(options.device)
    group, source = opened(options)
    epoch(group, options.device)
    seconds = min(epoch(group, options.device) for _ in range(3))
    refill = min(refilled(group, source, options) for _ in range(5))
    copy = min(copying(group, options.device) for _ in range(5))
    epoch(group, options.device)  # the first after a refill may set things up again
    found = {
        "epoch_s": seconds,
        "refill_s": refill,
        "refill_share": refill / (seconds * EPOCH / options.images),
    }
    found["copy_s"] = copy
    if options.device == "cuda":
        found |= profiled(group)
    if options.json:
        write_json(options.json, {"machine": machine, "task": vars(options), **found})
    print(f"{options.model}, {options.width} lanes, {options.precision}; {in_words(machine)}\n")
    print(
        markdown(
            ["what", "value"], [[name, f"{value:.4g}"] for name, value in found.items()], texts=1
        )
    )


def opened(options: argparse.Namespace) -> tuple[Group, Source]:
    images = resident(options.device)[: options.images]
    source = Source(
        train=images,
        validation=images[:1].float(),
        targets="static",
        values=as_values(tuple(images.shape[1:])),
        noise_seed=0,
    )
    settings = settings_of(options.model)
    group = open_group(
        source,
        settings,
        maxima={},
        precision=options.precision,
        fuse=True,
        compile=options.device == "cuda",
        averaged=False,
    )
    for number in range(options.width):
        add(group, source, options, number)
    return group, source


def add(group: Group, source: Source, options: argparse.Namespace, number: int) -> None:
    trial, settings = TrialSpec(number=number, params={}, seed=number), settings_of(options.model)
    lane, vae = open_lane(trial, settings, source.image_shape, len(source.train))
    group.add(lane, vae, fresh_state(lane, vae, averaged=False))


def epoch(group: Group, device: str) -> float:
    """Train one; its seconds."""
    wait(device)
    started = time.perf_counter()
    group.train_epoch(list(group.lanes))
    wait(device)
    for lane in group.lanes.values():
        lane.epoch += 1
    return time.perf_counter() - started


def refilled(group: Group, source: Source, options: argparse.Namespace) -> float:
    """Seconds of a lane's end and of another's start, drawing its initial weights included."""
    first = next(iter(group.lanes))
    wait(options.device)
    started = time.perf_counter()
    copied(group, first, "best", "best_buffers")
    group.remove(first)
    add(group, source, options, max(group.lanes, default=first) + 1)
    wait(options.device)
    return time.perf_counter() - started


def copying(group: Group, device: str) -> float:
    """Seconds in which the weights of a lane come to the CPU."""
    wait(device)
    started = time.perf_counter()
    copied(group, next(iter(group.lanes)), "weights", "buffers")
    return time.perf_counter() - started


def profiled(group: Group) -> dict[str, float]:
    torch.cuda.set_sync_debug_mode("warn")
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        seconds = epoch(group, "cuda")
    torch.cuda.set_sync_debug_mode("default")
    events = seen.events()
    steps = [event.time_range for event in events if event.name == "cudaGraphLaunch"]
    inside = (
        (min(s.start for s in steps), max(s.end for s in steps))
        if steps
        else (float("-inf"), float("inf"))
    )
    waits = [e for e in events if e.name in WAITS and inside[0] < e.time_range.start < inside[1]]
    on_device = [
        (e.time_range.start, e.time_range.end)
        for e in events
        if e.device_type == torch.autograd.DeviceType.CUDA
    ]
    found = {
        "synchronisations": len(waits),
        "graph_launches": len(steps),
        "busy": union(on_device) / (seconds * 1e6),
    }
    return found | {"kernels_per_step": len(on_device) / max(1, len(steps))}


def union(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted(intervals):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
