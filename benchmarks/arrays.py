"""What arrays of any type cost: the memory that a file larger than the limit takes to be prepared,
and the speed of MNIST before and after.

    python benchmarks/arrays.py memory [--gigabytes 4]
    python benchmarks/arrays.py wide [--mebibytes 300] [--columns 30000]
    python benchmarks/arrays.py speed --former CHECKOUT [--pairs 40]

memory: makes a .npy of float32 spectrograms, prepares it with `scale: standard` in a process of its
    own, and samples that process's anonymous memory (RssAnon: without the page cache).
wide: the same for tables of uint8 with many columns, as .npy, .npz and .parquet, and of float64 as
    .csv, of a tenth of the size; a peak above 1.3 times the numbers and 500 MB is an error.
speed: one process of each checkout trains the same lane on MNIST; they take an epoch in turn, the
    first of a pair by turns. The table has the ratio of their times, this checkout by the former,
    paired: median and a 95 % interval of the median (binomial).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow
from pyarrow import parquet
from scipy.stats import binom

ROOT = Path(__file__).resolve().parent.parent
SAMPLED = 0.02  # seconds between two looks at the memory

PREPARE = """
import sys
from pathlib import Path
from vaeexp.data import open_dataset
from vaeexp.settings import DataSettings
settings = DataSettings(dataset="arrays", binarisation="none", scale="standard", clip=(0.1, 99.9))
data = open_dataset(settings, root=Path(sys.argv[1]), say=lambda text: None)
print(data.sizes, data.pixels, file=sys.stderr)
"""

TRAIN = """
import sys, tempfile, time
from pathlib import Path
import torch
from sweeps.lanes import TrialSpec
from vaeexp.data import open_dataset
from vaeexp.runs.worker import open_lanes
from vaeexp.settings import Settings
settings = Settings().with_params({"train_size": int(sys.argv[1]), "epochs": 100_000,
                                   "pictures_every": 1_000_000})
data = open_dataset(settings.data, say=lambda text: None)
lanes = open_lanes(
    settings=settings, datasets={settings.data.binarisation: data}, maxima={}, averaged=False,
    study="speed", study_seed=0, folder=tempfile.mkdtemp(), device="cpu", precision="float32",
    fuse=False, compile=False, lanes=1, rows=1, threads=1, checkpoint_seconds=1e9,
)
lanes.add(TrialSpec(number=0, params={}, seed=1))
for line in sys.stdin:
    start = time.perf_counter()
    for progress in lanes.advance([0]):
        pass
    print(time.perf_counter() - start, flush=True)
"""


def anonymous_mib(pid: int) -> float:
    """Return the anonymous memory of a process in MiB; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    found = [line for line in lines if line.startswith("RssAnon")]
    return int(found[0].split()[1]) / 1024 if found else 0.0


def environment(checkout: Path, cache: str) -> dict[str, str]:
    """Return the variables under which a child runs the code of a checkout."""
    return os.environ | {"PYTHONPATH": str(checkout), "VAEEXP_CACHE": cache}


def write_file(path: Path, gigabytes: float) -> tuple[int, ...]:
    """Write float32 arrays of 256 × 256 of about this size, block by block; return the shape."""
    shape = (int(gigabytes * 2**30 / (4 * 256 * 256)), 256, 256)
    made = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    generator = np.random.default_rng(0)
    for start in range(0, len(made), 256):
        part = made[start : start + 256]
        part[:] = generator.normal(-40, 12, part.shape).astype(np.float32)
    made.flush()
    return shape


def peak_of(path: Path, folder: str) -> tuple[int, float, float]:
    """Return the exit status of preparing a file, the peak of its anonymous memory in MiB, and its
    seconds.
    """
    start = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", PREPARE, str(path)],
        env=environment(ROOT, f"{folder}/cache"),
        cwd=folder,
    )
    peak = 0.0
    while child.poll() is None:
        peak = max(peak, anonymous_mib(child.pid))
        time.sleep(SAMPLED)
    return child.returncode, peak, time.perf_counter() - start


def memory(gigabytes: float) -> None:
    """Print the peak of the anonymous memory of preparing a file, and how long it took."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.npy"
        shape = write_file(path, gigabytes)
        status, peak, seconds = peak_of(path, folder)
    print(f"exit status {status}; float32 {list(shape)}, {gigabytes:g} GiB")
    print(f"peak of anonymous memory: {peak:,.0f} MiB; {seconds:.0f} s")


def write_wide(path: Path, levels: np.ndarray) -> int:
    """Write a table of bytes [N, F], or a tenth of it as floats in text; return the bytes of the
    type in which it is read.
    """
    names = [f"gene_{number:05d}" for number in range(levels.shape[1])]
    if path.suffix == ".npy":
        np.save(path, levels)
    elif path.suffix == ".npz":
        np.savez_compressed(path, images=levels)
    elif path.suffix == ".parquet":
        parquet.write_table(pyarrow.table(dict(zip(names, levels.T.copy(), strict=True))), path)
    else:
        some = levels[: len(levels) // 10] / 8
        text = ",".join(names)
        np.savetxt(path, some, fmt="%.3f", delimiter=",", header=text, comments="")
        return some.nbytes
    return levels.nbytes


def wide(mebibytes: float, columns: int) -> bool:
    """Print the peaks of preparing wide tables; return whether all lie within the limit."""
    shape = (int(mebibytes * 2**20 / columns), columns)
    levels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    fine = True
    print("| file | numbers, MiB | peak, MiB | limit, MiB | s |\n|---|---|---|---|---|")
    for ending in (".npy", ".npz", ".parquet", ".csv"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"wide{ending}"
            size = write_wide(path, levels)
            status, peak, seconds = peak_of(path, folder)
        limit = (1.3 * size + 5e8) / 2**20
        fine = fine and status == 0 and peak <= limit
        shown = f"{size / 2**20:.0f} | {peak:.0f} | {limit:.0f} | {seconds:.0f}"
        print(f"| {ending} | {shown} |", flush=True)
    return fine


def speed(former: Path, pairs: int, images: int) -> None:
    """Print the ratio of the seconds of an epoch, this checkout by the former."""
    with tempfile.TemporaryDirectory() as folder:
        children = [
            subprocess.Popen(
                [sys.executable, "-P", "-c", TRAIN, str(images)],
                env=environment(checkout, f"{folder}/{name}"),
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for name, checkout in (("now", ROOT), ("former", former))
        ]
        for child in children:
            epoch(child)  # the first one is slower
        seconds = []
        for pair in range(pairs):
            order = (0, 1) if pair % 2 else (1, 0)
            taken = {index: epoch(children[index]) for index in order}
            seconds.append((taken[0], taken[1]))
        for child in children:
            child.communicate()
    now, before = np.array(seconds).T
    ratios = np.sort(now / before)
    rank = int(binom.ppf(0.025, pairs, 0.5))
    low, high = ratios[max(0, rank - 1)], ratios[min(pairs - 1, pairs - rank)]
    print(f"{pairs} pairs of epochs of {images:,} images, MLP, float32, one thread")
    print(f"seconds: now {np.median(now):.3f}, former {np.median(before):.3f} (medians)")
    print(f"ratio: {np.median(ratios):.3f} ({low:.3f} to {high:.3f}, 95 %)")


def epoch(child: "subprocess.Popen[str]") -> float:
    """Return the seconds of the next epoch of a child."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("\n")
    child.stdin.flush()
    return float(child.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("memory", "wide", "speed"))
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--mebibytes", type=float, default=300.0)
    parser.add_argument("--columns", type=int, default=30_000)
    parser.add_argument("--former", type=Path)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--images", type=int, default=10_000)
    options = parser.parse_args()
    if options.what == "memory":
        memory(options.gigabytes)
    elif options.what == "wide":
        sys.exit(not wide(options.mebibytes, options.columns))
    elif options.former is None:
        parser.error("speed needs --former CHECKOUT, a folder with the code to compare with")
    else:
        speed(options.former.resolve(), options.pairs, options.images)


if __name__ == "__main__":
    main()
