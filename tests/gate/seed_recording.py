"""The part `strings`: every text that becomes a seed in some studies, and the seeds of trials and
repeats.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from command_recording import SWEEPS, Place
from names import find
from toy_cases import cases
from toy_recording import memory_folder, whole_case, write

TOYS = {
    "race 4 lanes",
    "learn 4 lanes",
    "curves promotion 16 lanes",
    "grid 4 lanes",
    "halton 4 lanes",
}
NOTING = Path(__file__).with_name("noting")


def record_strings(out: Path, quick: bool) -> None:
    """Record text → seed of all that the studies hash into seeds."""
    folder = memory_folder()
    notes = folder / "notes"
    notes.mkdir()
    os.environ["GATE_SEEDS"] = str(notes)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(NOTING), os.environ["PYTHONPATH"]])
    toys = (
        "import seed_recording, sys; from pathlib import Path; "
        "seed_recording.run_toys(Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-P", "-c", toys, str(folder / "toys")], check=True)
    if not quick:
        place = Place(folder / "place")
        place.sweep(SWEEPS[0])
    del os.environ["GATE_SEEDS"]
    texts = {
        line for file in notes.iterdir() for line in file.read_text(encoding="utf-8").splitlines()
    }
    assert texts, "no text became a seed: NOTING sees no call from sweeps.seeds"
    seed_of, trial_seed, fresh_seeds = (
        find(f"seed of a {what}") for what in ("text", "trial", "repeat")
    )
    write(out / "studies.json", {"texts": {text: seed_of(text) for text in sorted(texts)}})
    pinned = {
        "trials": {
            f"{seed} {number}": trial_seed(seed, number)
            for seed in (0, 7, 2**62)
            for number in (0, 1, 99)
        },
        "repeats": {str(seed): fresh_seeds(seed, (), 5) for seed in (0, 7, 2**62)},
    }
    write(out / "pinned.json", {"seeds": json.loads(json.dumps(pinned))})
    shutil.rmtree(folder)


def run_toys(folder: Path) -> None:
    for case in cases(quick=True):
        if case.name in TOYS:
            whole_case(case, folder / case.name)
