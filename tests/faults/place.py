"""A folder with a small study that is swept by the command of users, and what two such folders have
in common.

The study has every kind of ending: complete and pruned trials, repeats that see the test images, a
report, runs in MLflow.
"""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from small_images import write_images

from sweeps.checksums import file_digest
from sweeps.results import read_results
from sweeps.storage import open_storage

ROOT = Path(__file__).resolve().parents[2]
NAME = "small"
STUDY = """
question: Does a study survive what happens to machines?
data: {dataset: mnist, binarisation: dynamic, validation_size: 100}
model: {network: mlp, hidden: [64]}
train: {epochs: 8, batch_size: 20}
evaluation: {importance_samples: 20, pictures_every: 4}
search:
  learning_rate: {values: [0.01, 0.003, 1.0e-6]}
  latent_size: {low: 2, high: 6}
  prior: {values: [normal, mixture]}
seed: 3
pruner: {name: median, startup_trials: 2, warmup_epochs: 2}
budget: {trials: 6}
confirm: {top: 1, seeds: 2}
"""
SHELL = ("bash", "-c")
EXECUTION = (
    "--device",
    "cpu",
    "--precision",
    "float32",
    "--workers",
    "2",
    "--lanes",
    "2",
    "--compile",
    "off",
    "--checkpoint-seconds",
    "0.001",
)
FILES = ("weights.safetensors", "last.safetensors")


def make_place(folder: Path) -> Path:
    """Make a folder with images and a study file; nothing is swept yet."""
    write_images(folder / "data", training=1100, test=100)
    (folder / f"{NAME}.yaml").write_text(STUDY, encoding="utf-8")
    return folder


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "vaeexp", *arguments]


SWEEP = command("sweep", f"{NAME}.yaml", "--data", "data", *EXECUTION)


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a command in this folder: no network, a cache of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VAEEXP_")}
    return kept | {
        "PYTHONPATH": str(ROOT),
        "VAEEXP_OFFLINE": "1",
        "VAEEXP_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }


def start(
    folder: Path, arguments: Sequence[str], environment: Mapping[str, str]
) -> subprocess.Popen[str]:
    """Start a command in the folder; its output is read by `communicate`."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        arguments, cwd=folder, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
    )


def run(folder: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a command in the folder; its exit status and output."""
    process = start(folder, arguments, environment)
    said, _ = process.communicate()
    return process.returncode, said


Rows = Mapping[str, tuple[str, ...]]
"""Name → all that stands under the name, as sorted texts."""


@dataclass(frozen=True)
class Facts:
    """What a study left behind."""

    trials: Rows
    """Run → state, and settings, objective, seed and test figures."""
    epochs: Rows
    """Run and epoch → figures."""
    files: Rows
    """File of weights → SHA-256."""
    mlflow: Rows
    """Run in MLflow → status."""
    points: Rows
    """Run, metric and step in MLflow → value. One step may have two values of the best so far."""


TIMES = (
    "seconds",
    "started",
    "ended",
    "duration",
    "per_second",
    "memory",
    "host",
    "process",
    "where",
)


def _is_result(column: str) -> bool:
    return not any(word in column for word in TIMES)


def read_facts(folder: Path, storage: str | None = None) -> Facts:
    """Read what the study in the folder left behind."""
    found = read_results(open_storage(storage, folder / "mlruns", NAME, must_exist=True), NAME)
    trial_columns = [
        column
        for column in found.trials
        if column in ("name", "state", "objective", "epochs", "seed")
        or column.startswith(("params.", "result.test/"))
    ]
    trials = [
        (row["name"], repr([row[name] for name in trial_columns]))
        for row in found.trials.to_dict("records")
    ]
    columns = [
        column
        for column in found.epochs
        if column not in ("repeat", "number", "epoch") and _is_result(column)
    ]
    epochs = [
        (
            f"{'r' if row['repeat'] else ''}{row['number']} epoch {row['epoch']}",
            repr([row[name] for name in columns]),
        )
        for row in found.epochs.to_dict("records")
    ]
    runs, points = _mlflow(folder / "mlruns" / "mlflow.db")
    # A name without a point: a repair moves folders that are on no record aside, as
    # `trial-0000.unrecorded`.
    weights = sorted(
        path
        for name in FILES
        for path in (folder / "mlruns" / "trials" / NAME).glob(f"*[0-9]/{name}")
    )
    files = [(f"{path.parent.name}/{path.name}", file_digest(path)) for path in weights]
    return Facts(*map(_grouped, (trials, epochs, files, runs, points)))


def _grouped(pairs: Iterable[tuple[str, str]]) -> Rows:
    rows: dict[str, list[str]] = {}
    for name, content in pairs:
        rows.setdefault(name, []).append(content)
    return {name: tuple(sorted(contents)) for name, contents in rows.items()}


def _mlflow(store: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Read runs and metrics from MLflow's tables, because importing MLflow takes seconds."""
    if not store.exists():
        return [], []
    with sqlite3.connect(store) as connection:
        runs = connection.execute(
            "select run_uuid, name, status from runs where lifecycle_stage = 'active'"
        ).fetchall()
        points = connection.execute("select run_uuid, key, step, value from metrics").fetchall()
    names = {identity: f"MLflow {name}" for identity, name, _ in runs}
    values = [
        (f"{names[identity]} {key} step {step}", repr(value))
        for identity, key, step, value in points
        if identity in names and _is_result(key)
    ]
    return [(names[identity], status) for identity, _, status in runs], values


@dataclass(frozen=True)
class Verdict:
    """Names of the rows in which a study differs from the undisturbed one, by kind of
    difference.
    """

    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    running: tuple[str, ...] = ()

    def is_clean(self) -> bool:
        return not any(getattr(self, field.name) for field in fields(self))


def compare(found: Facts, wanted: Facts) -> Verdict:
    """Compare what a study left behind with what the undisturbed study did."""
    lost, doubled, changed, running = [], [], [], []
    for field in fields(Facts):
        here: Rows = getattr(found, field.name)
        there: Rows = getattr(wanted, field.name)
        lost += [name for name in there if len(here.get(name, ())) < len(there[name])]
        doubled += [name for name in here if len(here[name]) > len(there.get(name, ()))]
        changed += [
            name
            for name in there
            if len(here.get(name, ())) == len(there[name]) and here[name] != there[name]
        ]
        running += [
            name for name in here if any("running" in content.lower() for content in here[name])
        ]
    return Verdict(*map(tuple, (lost, doubled, changed, running)))
