"""A real study of a second or two, with every kind of ending, made by the driver and the training
of a sweep.

It is trained in this process, without MLflow and without a report: `vaeexp sweep` does both, and
has tests of its own.
"""

from pathlib import Path
from typing import Any

from mnist_files import write_files
from toy_study import run_repeats, search

from sweeps.engine.repeats import plan_repeats
from sweeps.storage import open_storage, open_study, repeat_study
from sweeps.storage.study_record import read_state, write_study
from vaeexp.data import open_dataset
from vaeexp.launch.execution import resolve_execution
from vaeexp.runs.provenance import describe_run, protocol
from vaeexp.runs.worker import open_lanes
from vaeexp.study import maxima_of, open_study_file, settings_of, train_options, uses_average
from vaeexp.training.optimizers import parts_of

NAME = "beta_mnist"
"""That of the study in the examples of docs/guide/notebook.md."""

STUDY = """
question: Does a trial that is trained again come out the same?
data: {dataset: mnist, binarisation: dynamic, validation_size: 40}
model: {network: mlp, hidden: [16], latent_size: 2}
train: {epochs: 4, batch_size: 20}
evaluation: {importance_samples: 7, pictures_every: 100}
search:
  learning_rate: {values: [0.01, 0.003, 1.0e-6]}
  beta: {low: 1, high: 1.0e+38, log: true}
  free_nats: {values: [0.0, 7.0]}
  prior: {values: [normal, mixture]}
  components: {low: 2, high: 4, when: {prior: mixture}}
start:
  - {learning_rate: 0.01, beta: 4.8e+37, free_nats: 7.0, prior: normal}
  - {learning_rate: 0.003, beta: 1, free_nats: 0.0, prior: mixture, components: 3}
  - {learning_rate: 1.0e-6, beta: 1, free_nats: 0.0, prior: normal}
  - {learning_rate: 0.003, beta: 1, free_nats: 0.0, prior: mixture, components: 3}
seed: 3
pruner: {name: median, startup_trials: 1, warmup_epochs: 2}
budget: {trials: 4}
confirm: {top: 1, seeds: 1}
"""
"""trial-0000 diverges in epoch 3, where its rate exceeds free_nats, 1 completes, 2 is pruned, 3 is
the same as 1; repeat-0000 sees the test images.
"""


def make_tiny_study(root: Path) -> Path:
    """Write `data`, train the study into `mlruns`, both below `root`; the folder of runs."""
    write_files(root / "data" / "MNIST" / "raw", training=160, test=30)
    return train_study(root, NAME, STUDY)


def train_study(root: Path, name: str, text: str, **asked: Any) -> Path:
    """Train a study of this text on the images of `data` into `mlruns`, both below `root`; the
    folder of runs.

    `asked`: settings of its execution.
    """
    path, runs = root / f"{name}.yaml", root / "mlruns"
    path.write_text(text, encoding="utf-8")
    study = open_study_file(str(path), values=(1, 28, 28))
    settings = settings_of(study)
    dataset = open_dataset(settings.data, root=root / "data", say=lambda text: None)
    asked = {"device": "cpu", "precision": "float32", "workers": 1, "lanes": 1, **asked}
    execution = resolve_execution(asked, {}, dataset, settings, maxima_of(study), 4)
    storage = open_storage(None, runs, name)
    optuna_study = open_study(storage, study)
    facts = protocol(dataset, settings, study.space.names)
    record = describe_run(dataset, facts, study_text=study.text, command="vaeexp sweep")
    [arguments] = execution.worker_arguments()
    execution = execution.as_dict() | {"threads": 1}
    write_study(optuna_study, execution=execution, provenance=record)
    lanes = open_lanes(
        settings=settings,
        datasets={dataset.binarisation: dataset},
        maxima=maxima_of(study),
        averaged=uses_average(study),
        parts=parts_of(train_options(study)),
        study=name,
        study_seed=study.seed,
        folder=str(runs / "trials" / name),
        **arguments | {"threads": 1},
    )
    search(optuna_study, study, lanes, [], runs=runs)
    plan = plan_repeats(read_state(storage, name), study)
    run_repeats(repeat_study(storage, name), plan, lanes, [], runs=runs)
    write_study(optuna_study, finished=True)
    return runs
