"""The parts `trained` and `stores`: studies of VAEs through the command line, killed and continued,
and all that they leave.
"""

import csv
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from masks import BY_THE_CLOCK, UNSTEADY_FILES, is_masked, steady_text, unmasked
from small_images import write_images
from toy_recording import memory_folder, stored, write

KILLING = Path(__file__).with_name("killing.py")
SMALL = "train_size=300", "validation_size=100", "importance_samples=10"
SEQUENTIAL = ("--device", "cpu", "--precision", "float32", "--compile", "off", "--threads", "1")

CONV = """
question: Do small convolutional networks train the same?
data: {dataset: mnist, binarisation: none, train_size: 120, validation_size: 60}
model: {network: conv_mnist, likelihood: gaussian}
train: {epochs: 2, batch_size: 30}
evaluation: {importance_samples: 5, pictures_every: 2}
search:
  latent_size: {low: 2, high: 8}
  learning_rate: {low: 3.0e-4, high: 3.0e-3, log: true}
seed: 3
sampler: {name: tpe, startup_trials: 2}
pruner: none
budget: {trials: 4}
confirm: {top: 1, seeds: 2}
"""


@dataclass(frozen=True)
class Sweep:
    """A study, and how it is run."""

    name: str
    study: str
    changes: tuple[str, ...] = ()
    """Overrides of the study file."""
    options: tuple[str, ...] = ()
    text: str = ""
    """The study file, where the study is not shipped."""
    kill: int | None = None
    """The sync to disk at which the first process is killed."""

    def arguments(self) -> list[str]:
        changes = [word for change in self.changes for word in ("--set", change)]
        study = f"{self.study}.yaml" if self.text else self.study
        return ["sweep", "--study", study, *SEQUENTIAL, *self.options, *changes]


BETA = (
    *(*SMALL, "epochs=3", "hidden=[24]", "batch_size=50", "budget.trials=6", "start=null"),
    *("confirm.top=2", "confirm.seeds=2", "compare.top=1", "compare.seeds=1"),
    *("search.latent_size.high=8", "search.components.high=6", "sampler.startup_trials=3"),
    *("pruner.rungs=[1, 2]", "pruner.factor=2"),
)
SWEEPS = (
    Sweep("smoke", "smoke", SMALL, ("--workers", "1", "--lanes", "1")),
    Sweep(
        "smoke, fused, killed",
        "smoke",
        SMALL,
        ("--workers", "1", "--lanes", "4", "--fuse", "on"),
        kill=14,
    ),
    Sweep("beta_mnist", "beta_mnist", BETA, ("--workers", "1", "--lanes", "2", "--no-html")),
    Sweep(
        "beta_mnist, 2 workers, killed",
        "beta_mnist",
        BETA,
        ("--workers", "2", "--lanes", "4", "--no-html"),
        kill=20,
    ),
    Sweep("conv", "conv", (), ("--workers", "1", "--lanes", "2", "--no-html"), CONV),
    Sweep(
        "conv, fused, killed",
        "conv",
        (),
        ("--workers", "1", "--lanes", "2", "--fuse", "on", "--no-html"),
        CONV,
        kill=10,
    ),
)
QUICK = {"smoke, fused, killed", "conv"}


class Place:
    """A folder in which commands run, with images and a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        data = os.environ.get("VAEEXP_DATA")
        self.data = Path(data) if data else self.folder / "data"
        if not self.data.exists():
            write_images(self.data, training=600, test=120)

    def run(self, *arguments: str, kill: int | None = None) -> str:
        """Run `vaeexp ARGUMENTS` to its end, or to the sync at which it is killed; what it
        printed.
        """
        begin = [str(KILLING), str(kill)] if kill else ["-m", "vaeexp"]
        environment = os.environ | {
            "VAEEXP_DATA": str(self.data),
            "VAEEXP_CACHE": str(self.folder / "cache"),
        }
        command = [sys.executable, "-P", *begin, *arguments]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment | {"COLUMNS": "150"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != (-signal.SIGKILL if kill else 0):
            raise RuntimeError(
                f"{' '.join(arguments)}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done.stdout

    def sweep(self, sweep: Sweep, *more: str) -> None:
        """Run a sweep to its end, in a second process where the first one is killed."""
        self.write_study(sweep)
        if sweep.kill is not None:
            self.run(*sweep.arguments(), *more, kill=sweep.kill)
        self.run(*sweep.arguments(), *more)

    def write_study(self, sweep: Sweep) -> None:
        if sweep.text:
            (self.folder / f"{sweep.study}.yaml").write_text(sweep.text, encoding="utf-8")

    def clear(self) -> None:
        """Remove all but the images and the cache."""
        for name in ("mlruns", "reports"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def record_trained(out: Path, quick: bool) -> None:
    """Record what each sweep leaves: tables, tensors, report, runs in MLflow."""
    place = Place(memory_folder())
    for sweep in SWEEPS:
        if not quick or sweep.name in QUICK:
            place.sweep(sweep)
            write(out / f"{sweep.name}.json", left(place, sweep.study))
            place.clear()
    shutil.rmtree(place.folder)


# ---- what a sweep leaves ----


def left(place: Place, study: str) -> dict[str, Any]:
    """Return all that a sweep has left in its folder."""
    runs, report = place.folder / "mlruns", place.folder / "reports" / study
    place.run("sync", study)  # on a busy machine, MLflow is behind when a sweep ends
    record = {
        **stored(runs, study),
        "listed": [unmasked(row) for row in json.loads(place.run("trials", study, "--json"))],
        "tensors": {
            str(path.relative_to(runs)): tensors(path)
            for path in sorted((runs / "trials").rglob("*.safetensors"))
        },
        "pictures": files(runs / "trials", "*.png", place),
        "report tables": {path.name: rows(path) for path in sorted(report.glob("*.csv"))},
        "report arrays": {path.name: arrays(path) for path in sorted(report.glob("*.npz"))},
        "report summary": unmasked(
            json.loads((report / "summary.json").read_text(encoding="utf-8")), words=True
        ),
        "report words": steady_text((report / "README.md").read_text(encoding="utf-8")),
        "report plots": files(report, "*.png", place),
        "mlflow": in_mlflow(runs / "mlflow.db"),
    }
    return json.loads(json.dumps(record).replace(str(place.folder), "PLACE"))


def tensors(path: Path) -> dict[str, str]:
    """Return name → shape, type and hash of each tensor of a file."""
    from safetensors.torch import load_file

    return {
        name: f"{list(tensor.shape)} {tensor.dtype} "
        f"{_hash(tensor.contiguous().view(-1).numpy().tobytes())}"
        for name, tensor in sorted(load_file(path).items())
    }


def files(folder: Path, pattern: str, place: Place) -> dict[str, str]:
    """Return path → hash of the files of a pattern below a folder."""
    found = sorted(path for path in folder.rglob(pattern) if path.name not in UNSTEADY_FILES)
    return {str(path.relative_to(folder)): _hash(path.read_bytes()) for path in found}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            unmasked(row)
            for row in csv.DictReader(line for line in file if not line.startswith("#"))
        ]


def arrays(path: Path) -> dict[str, str]:
    with np.load(path) as found:
        return {
            name: f"{found[name].shape} {found[name].dtype} {_hash(found[name].tobytes())}"
            for name in found
        }


def in_mlflow(path: Path) -> dict[str, Any]:
    """Return what MLflow holds of each run, by its name: status, parameters, tags, metrics by step;
    nothing before it has begun.
    """
    if not path.exists():
        return {}
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        names = dict(database.execute("SELECT run_uuid, name FROM runs"))
        found: dict[str, Any] = {
            name: {"params": {}, "tags": {}, "metrics": {}} for name in sorted(names.values())
        }
        for run, status in database.execute("SELECT run_uuid, status FROM runs"):
            found[names[run]]["status"] = status
        for part in ("params", "tags"):
            for run, key, value in database.execute(
                f"SELECT run_uuid, key, value FROM {part} ORDER BY key"
            ):
                if run in names and not is_masked(key) and not key.startswith("mlflow."):
                    found[names[run]][part][key] = steady_text(value)
        for run, key, step, value in database.execute(
            "SELECT run_uuid, key, step, value FROM metrics ORDER BY key, step"
        ):
            if not is_masked(key) and key not in BY_THE_CLOCK:
                found[names[run]]["metrics"][f"{key}@{step}"] = value
    return found


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
