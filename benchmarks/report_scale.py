"""How long `vaeexp report` takes, and how much memory, for a study of many trials, from a cold
start.

    python benchmarks/report_scale.py [--trials 10000] [--epochs 30] [--runs FOLDER] [--pictures]

Writes a journal as the driver writes it (a line per epoch for the value and one for the metrics),
of trials with half of them pruned, in a temporary folder or the one given; then runs the command in
a process of its own. With --pictures each trial has the pictures of one of 40 runs, else none.
Prints the size of the journal, seconds of wall and processor time, the peak memory, and the size of
the page.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import TrialState

from sweeps.storage import repeat_study
from sweeps.storage.checked_records import record_line
from sweeps.storage.study_record import attributes_of

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))
from synthetic_study import make_results, study_attributes, write_pictures

STUDY = "beta_mnist"
PICTURED = 40
"""Runs whose pictures all trials share."""
SPACE = {
    "beta": FloatDistribution(0.01, 10, log=True),
    "latent_size": IntDistribution(2, 64, log=True),
    "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    "optimizer": CategoricalDistribution(["adam", "adamax"]),
    "prior": CategoricalDistribution(["normal", "mixture"]),
}


class Journal(BaseJournalBackend):
    """A journal that is kept in memory while it is written, so that half a million lines take
    seconds.
    """

    def __init__(self, path: Path) -> None:
        self.lines: list[dict[str, Any]] = []
        self.file = path.open("wb")

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return iter(self.lines[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.lines += logs
        self.file.writelines(map(record_line, logs))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--pictures", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        runs = options.runs or Path(temporary)
        path = runs / "journal" / f"{STUDY}.log"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            if options.pictures:
                write_pictures(make_results(PICTURED, confirm=False, compare=False), runs)
            write_study(path, options.trials, options.epochs)
        print(
            f"{options.trials:,} trials, journal of {path.stat().st_size / 2**20:.0f} MiB",
            flush=True,
        )
        command = [sys.executable, "-m", "vaeexp", "report", "--study", STUDY]
        started = time.perf_counter()
        subprocess.run(
            [*command, "--runs", str(runs), "--reports", str(runs / "reports")], check=True
        )
        wall, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        print(
            f"{wall:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of processor, "
            f"{used.ru_maxrss / 2**10:.0f} MiB"
        )
        size = (runs / "reports" / STUDY / "report.html").stat().st_size
        print(f"page of {size / 1e6:.1f} MB")


def write_study(path: Path, trials: int, epochs: int) -> None:
    """A study whose search is over, with three configurations confirmed by three seeds each."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = Journal(path)
    storage = JournalStorage(journal)
    search = optuna.create_study(study_name=STUDY, storage=storage)
    for name, value in attributes_of(study_attributes(budget={"trials": trials})).items():
        search.set_user_attr(name, value)
    random = np.random.default_rng(0)
    best: list[tuple[float, int, dict[str, Any]]] = []
    for number in range(trials):
        params = _draw(random)
        floor = _floor(params) + random.normal(0, 0.3)
        end = epochs if floor < 115 or number < 10 else int(random.integers(3, epochs))
        state = TrialState.COMPLETE if end == epochs else TrialState.PRUNED
        attributes = {
            "seed": int(random.integers(2**62)),
            "started": 1.79e9 + 4 * number,
            "round": number,
        }
        value = _write_trial(storage, search, params, floor, end, state, attributes, random)
        best.append(
            (value, number, params) if state == TrialState.COMPLETE else (np.inf, number, params)
        )
    repeats = repeat_study(storage, STUDY)
    for value, number, params in sorted(best, key=lambda entry: entry[:2])[:3]:
        for seed in range(3):
            tested = {
                "test/neg_elbo": value + random.normal(0, 0.2),
                "test/iw_nll": value - 4.0,
                "test/images": 500.0,
            }
            attributes = {
                "source_trial": number,
                "purposes": ["confirm"],
                "seed_index": seed,
                "pair_ids": [],
                "baseline": None,
                "test": True,
                "params": params,
                "seed": int(random.integers(2**62)),
                "started": 1.79e9 + 4 * trials,
                "round": epochs,
                "tested": tested,
            }
            _write_trial(
                storage, repeats, {}, value, epochs, TrialState.COMPLETE, attributes, random
            )
    journal.file.close()


def _draw(random: np.random.Generator) -> dict[str, Any]:
    return {
        "beta": float(10 ** random.uniform(-2, 1)),
        "latent_size": round(2 ** random.uniform(1, 6)),
        "learning_rate": float(10 ** random.uniform(-4, -2)),
        "optimizer": str(random.choice(["adam", "adamax"])),
        "prior": str(random.choice(["normal", "mixture"])),
    }


def _floor(params: dict[str, Any]) -> float:
    misses = np.log10(params["beta"]) ** 2, (np.log10(params["learning_rate"]) + 2.9) ** 2
    return (
        100
        + 9 * misses[0]
        + 8 * misses[1]
        + 30 / params["latent_size"]
        + (params["optimizer"] == "adam")
    )


def _write_trial(storage, study, params, floor, epochs, state, attributes, random) -> float:
    """One trial, in the order in which the driver writes it; returns its best value."""
    tested = attributes.pop("tested", {})
    trial_id = storage.create_new_trial(
        study._study_id,
        optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=params,
            distributions={name: SPACE[name] for name in params},
            user_attrs=attributes,
        ),
    )
    curve = floor + 60 * np.exp(-np.arange(1, epochs + 1) / 5) + random.normal(0, 0.1, epochs)
    for epoch, value in enumerate(curve.tolist(), start=1):
        metrics = {
            **{
                f"{part}/{name}": value
                for part in ("train", "val")
                for name in ("loss", "neg_elbo")
            },
            **{
                f"{part}/{name}": value * share
                for part in ("train", "val")
                for name, share in (("rate", 0.25), ("distortion", 0.75))
            },
            "train/active_units": 12.0,
            "val/active_units": 12.0,
            "train/learning_rate": 1e-3,
            "train/beta": 1.0,
            "seconds": 1.5,
            "images_per_second": 33000.0,
            "memory_mb": 412.0,
        }
        storage.set_trial_user_attr(
            trial_id,
            f"epoch/{epoch}",
            {"at": attributes["started"] + 1.5 * epoch, "metrics": metrics},
        )
        storage.set_trial_intermediate_value(trial_id, epoch, value)
    name = {"COMPLETE": "complete", "PRUNED": "pruned"}[state.name]
    ending = {"state": name, "epoch": epochs, "objective": float(curve.min()), "failure": None}
    storage.set_trial_user_attr(trial_id, "outcome", ending)
    folder = f"trials/{STUDY}/trial-{attributes.get('round', 0) % PICTURED:04d}"
    storage.set_trial_user_attr(trial_id, "folder", folder)
    storage.set_trial_user_attr(
        trial_id, "results", {"parameters": 1.3e6, "best_epoch": float(epochs), **tested}
    )
    storage.set_trial_user_attr(trial_id, "ended", attributes["started"] + 1.5 * epochs)
    storage.set_trial_user_attr(trial_id, "ended_round", attributes["round"] + epochs - 1)
    storage.set_trial_state_values(
        trial_id, state, [float(curve.min())] if name == "complete" else None
    )
    return float(curve.min())


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    main()
