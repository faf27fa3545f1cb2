"""The part `costs`: one measurement each of opening a large study and of a round of 64 lanes, in a
process of its own.

`compare.py` measures both checkouts in turn, and prints the ratios of the medians.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from names import BENCHMARKS, find
from toy_cases import EPOCHS, Training, study
from toy_recording import memory_folder, write
from toys import ToyLanes

import sweeps

STUDY = "beta_mnist"
TRIALS, QUICK_TRIALS = 10_000, 1_000
LANES = 64


def make_large_study(out: Path, quick: bool) -> None:
    """Write the journal of a study of many finished trials, as the benchmarks of the former
    checkout do.
    """
    root = Path(sweeps.__file__).parents[1]
    sys.path += [str(root / folder) for folder in (*BENCHMARKS, "tests/support")]
    (out / "journal").mkdir()
    find("write a large study")(
        out / "journal" / f"{STUDY}.log", QUICK_TRIALS if quick else TRIALS, 30
    )


def record_costs(out: Path, quick: bool, given: Path) -> None:
    """Measure each cost in a new process."""
    folder = memory_folder()
    shutil.copytree(given / "journal", folder / "journal")
    for name in ("opened first", "opened again", "tables", "rounds"):
        command = [sys.executable, "-P", __file__, name, str(folder)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        write(out / f"{name}.json", json.loads(done.stdout))
    shutil.rmtree(folder)


def _open(folder: Path) -> int:
    find("open storage")(None, folder, STUDY, must_exist=True)
    return 1


def _tables(folder: Path) -> int:
    sweeps.read_results(folder, STUDY)
    return 1


def _rounds(folder: Path) -> int:
    """Run the default search; per trial-epoch."""
    text = study("{name: curves}", "{name: promotion}", 3 * LANES)
    checked = sweeps.load_study("toy", sections={"train": Training}, epochs="epochs", text=text)
    sweeps.run_study(
        checked, lambda: ToyLanes(str(folder / "checkpoints"), LANES, EPOCHS), runs=folder / "toy"
    )
    return len(sweeps.read_results(folder / "toy", "toy").epochs)


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    if name == "opened first":
        for snapshot in (folder / "journal").glob("*.snapshot"):
            snapshot.unlink()
    measured = {"opened first": _open, "opened again": _open, "tables": _tables, "rounds": _rounds}[
        name
    ]
    begun = time.process_time()
    parts = measured(folder)
    seconds = time.process_time() - begun
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**10
    print(json.dumps({"seconds": seconds / parts, "MiB": peak}))


if __name__ == "__main__":
    main()
