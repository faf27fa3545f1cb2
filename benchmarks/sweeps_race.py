"""Whole sweeps on the CPU: the same 64 trials' worth of search by vaeexp, by Optuna with threads,
by Ray Tune with ASHA.

    VAEEXP_DATA=FOLDER python benchmarks/sweeps_race.py [--trials 64] [--epochs 10] [--images 50000]
        [--contenders vaeexp optuna ray] [--json FILE]

MLP 784–512–512–2L on MNIST, batch 128, over learning rate (1e-4 to 1e-2), latent size (2 to 64),
Adam or Adamax. vaeexp is the command `vaeexp sweep` with all that it does: tracking in MLflow,
checkpoints, pictures, report; median pruning after 2 epochs and 8 trials. Optuna (n_jobs = cores,
TPE, the same pruner) and Ray Tune (a trial per core, random draws, ASHA with 2 epochs at the least)
drive the best plain loop (race_loops.py) and record nothing. All validate alike: images, targets,
negative ELBO.

Wall time is that of the whole command, from its start to its end; a trial-epoch is a pass over the
N training images with its validation. `to the same value` is the time until some trial had a value
as good as the worst of the contenders' best. One run each: which settings are drawn is chance, so
compare the seconds per trial-epoch first.
"""

import argparse
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from table import child_environment, describe_machine, in_words, markdown, write_json
from values import JournalWatch, read_values

STUDY = """
question: How long does this search take?
data: {{dataset: mnist, binarisation: static, train_size: {images}}}
model: {{network: mlp, hidden: [512, 512]}}
train: {{epochs: {epochs}, batch_size: 128}}
search:
  learning_rate: {{low: 1.0e-4, high: 1.0e-2, log: true}}
  latent_size: {{low: 2, high: 64, log: true}}
  optimizer: {{values: [adam, adamax]}}
seed: 0
sampler: {{name: tpe}}
pruner: {{name: median, startup_trials: 8, warmup_epochs: 2}}
budget: {{trials: {trials}}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=("vaeexp", "optuna", "ray"),
        default=["vaeexp", "optuna", "ray"],
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine, rows = describe_machine("cpu"), []
    for name in options.contenders:
        print(f"racing {name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            row = race(name, options, Path(folder))
        rows.append(row)
        found = (
            row.get("failed") or f"{row['trial_epochs']} trial-epochs, best −ELBO {row['best']:.2f}"
        )
        print(f"{name}: {row['wall_s']:.1f} s, {found}", file=sys.stderr, flush=True)
    target = max((row["best"] for row in rows if "failed" not in row), default=None)
    for row in rows:
        values = row.pop("values")
        if "failed" not in row:
            row["to_target_s"] = next(when for when, value in values if value <= target)
    if options.json:
        given = {name: getattr(options, name) for name in ("trials", "epochs", "images")}
        write_json(options.json, {"machine": machine, **given, "target": target, "rows": rows})
    print(
        f"{options.trials} trials of at most {options.epochs} epochs on {options.images:,} "
        f"images; {in_words(machine)}\n"
    )
    print(written(rows))


def race(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run one contender to its end; its values are (seconds since its start, value)."""
    command, watched = (ours if name == "vaeexp" else theirs)(name, options, folder)
    environment = child_environment()
    if name != "vaeexp":
        environment["OMP_NUM_THREADS"] = "1"
    log = folder / "log.txt"
    started = time.time()
    watch = JournalWatch(watched) if name == "vaeexp" else None
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(
            command, env=environment, cwd=folder, stdout=output, stderr=output, check=False
        )
    wall = time.time() - started
    found = watch.close() if watch else read_values(watched)
    values = [(when - started, value) for when, value in found if math.isfinite(value)]
    row: dict[str, Any] = {
        "name": name,
        "wall_s": wall,
        "trial_epochs": len(values),
        "values": values,
    }
    if done.returncode or not values:
        return row | {"failed": log.read_text(encoding="utf-8").strip().rpartition("\n")[2][:300]}
    return row | {"best": min(value for _, value in values), "first_value_s": values[0][0]}


def ours(name: str, options: argparse.Namespace, folder: Path) -> tuple[list[str], Path]:
    """The command, and the journal that it writes."""
    study = folder / "race.yaml"
    study.write_text(
        STUDY.format(trials=options.trials, epochs=options.epochs, images=options.images),
        encoding="utf-8",
    )
    runs = folder / "mlruns"
    command = [sys.executable, "-m", "vaeexp", "sweep", "--study", str(study), "--runs", str(runs)]
    return [*command, "--reports", str(folder / "reports")], runs / "journal" / "race.log"


def theirs(name: str, options: argparse.Namespace, folder: Path) -> tuple[list[str], Path]:
    """The command, and the file to which it appends its values."""
    values = folder / "values.txt"
    command = [
        sys.executable,
        str(Path(__file__).with_name("race_loops.py")),
        name,
        "--values",
        str(values),
    ]
    for option in ("trials", "epochs", "images"):
        command += [f"--{option}", str(getattr(options, option))]
    return [*command, "--folder", str(folder / "ray")], values


def written(rows: list[dict[str, Any]]) -> str:
    """The table, as markdown."""
    titles = {
        "vaeexp": "vaeexp sweep",
        "optuna": "Optuna, a thread per core",
        "ray": "Ray Tune, ASHA",
    }
    lines = []
    for row in rows:
        if "failed" in row:
            lines.append([titles[row["name"]], f"does not run: {row['failed']}", *["–"] * 5])
            continue
        numbers = [
            f"{row['wall_s']:.1f}",
            f"{row['trial_epochs']:,}",
            f"{row['wall_s'] / row['trial_epochs']:.2f}",
            f"{row['best']:.2f}",
            f"{row['to_target_s']:.1f}",
        ]
        lines.append([titles[row["name"]], f"{row['first_value_s']:.1f}", *numbers])
    head = [
        "contender",
        "first value, s",
        "wall, s",
        "trial-epochs",
        "s per trial-epoch",
        "best −ELBO",
    ]
    return markdown([*head, "to the same value, s"], lines, texts=1)


if __name__ == "__main__":
    main()
