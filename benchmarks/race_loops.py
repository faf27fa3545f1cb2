"""The sweeps of others in `sweeps_race.py`: Optuna with threads, and Ray Tune with ASHA, over the
plain resident loop; and the loop alone, of one trial on all cores, for the time to its first value.

    python benchmarks/race_loops.py optuna|ray|bare --trials N --epochs N --images N --values FILE
        --folder FOLDER

The loop is that of contenders/resident.py, with the images, the validation targets and the
objective of a vaeexp study: after each epoch the negative ELBO on the validation images, one sample
per image. Each value is appended to FILE.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from contenders import BATCH
from contenders.models import PlainVAE
from contenders.resident import make_step
from lineup import precisions
from table import usable_cores
from values import append_value

from vaeexp.data import open_dataset
from vaeexp.runs.worker import open_source
from vaeexp.settings import DataSettings
from vaeexp.training.batches import Source

WARM_UP_EPOCHS = 2
STARTUP_TRIALS = 8
OPTIMIZERS = {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=tuple(KINDS))
    for name in ("trials", "epochs", "images"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("values", "folder"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    KINDS[options.kind](options)


def open_images(images: int) -> Source:
    """Those of a study: the prepared arrays, mapped."""
    root = os.environ.get("VAEEXP_DATA")
    dataset = open_dataset(DataSettings(train_size=images), root=Path(root) if root else None)
    return open_source(dataset, torch.device("cpu"), study_seed=0)


def train_trial(
    source: Source,
    params: Mapping[str, Any],
    epochs: int,
    values: Path,
    report: Callable[[int, float], None],
) -> None:
    """One trial; `report` gets epoch and value, and raises where the trial shall end."""
    model = PlainVAE("mlp", params["latent_size"])
    fused = {"fused": True} if params["optimizer"] == "adam" else {}
    optimizer = OPTIMIZERS[params["optimizer"]](
        model.parameters(), lr=params["learning_rate"], **fused
    )
    step = make_step(model, optimizer, source.train, precisions("cpu")[-1])
    for epoch in range(1, epochs + 1):
        for index in torch.randperm(len(source.train)).split(BATCH):
            if len(index) == BATCH:
                step(index)
        value = validate(model, source)
        append_value(values, time.time(), value)
        report(epoch, value)


@torch.no_grad()
def validate(model: PlainVAE, source: Source) -> float:
    total = sum(model(x).item() * len(x) for x in source.validation.split(500))
    return total / len(source.validation)


def run_optuna(options: argparse.Namespace) -> None:
    import optuna

    torch.set_num_threads(1)
    source = open_images(options.images)

    def objective(trial: optuna.Trial) -> float:
        params = {
            "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
            "latent_size": trial.suggest_int("latent_size", 2, 64, log=True),
            "optimizer": trial.suggest_categorical("optimizer", list(OPTIMIZERS)),
        }
        best = float("inf")

        def report(epoch: int, value: float) -> None:
            nonlocal best
            best = min(best, value)
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        train_trial(source, params, options.epochs, options.values, report)
        return best

    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.MedianPruner(
            n_startup_trials=STARTUP_TRIALS, n_warmup_steps=WARM_UP_EPOCHS
        ),
    )
    study.optimize(objective, n_trials=options.trials, n_jobs=usable_cores())


def run_ray(options: argparse.Namespace) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    def trainable(config: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        source = open_images(options.images)
        train_trial(
            source,
            config,
            options.epochs,
            options.values,
            lambda epoch, value: tune.report({"nll": value}),
        )

    ray.init(num_cpus=usable_cores(), include_dashboard=False, log_to_driver=False)
    space = {
        "learning_rate": tune.loguniform(1e-4, 1e-2),
        "latent_size": tune.lograndint(2, 65),
        "optimizer": tune.choice(list(OPTIMIZERS)),
    }
    scheduler = ASHAScheduler(
        max_t=options.epochs, grace_period=min(WARM_UP_EPOCHS, options.epochs)
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="nll",
            mode="min",
            scheduler=scheduler,
            num_samples=options.trials,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(options.folder.absolute()), verbose=0),
    )
    failed = [result.error for result in tuner.fit() if result.error]
    ray.shutdown()
    if failed:
        raise SystemExit(f"{len(failed)} trials of Ray Tune failed, the first with {failed[0]!r}")


def run_bare(options: argparse.Namespace) -> None:
    torch.set_num_threads(usable_cores())
    params = {"learning_rate": 1e-3, "latent_size": 20, "optimizer": "adam"}
    for _ in range(options.trials):
        train_trial(
            open_images(options.images),
            params,
            options.epochs,
            options.values,
            lambda epoch, value: None,
        )


KINDS = {"optuna": run_optuna, "ray": run_ray, "bare": run_bare}


if __name__ == "__main__":
    main()
