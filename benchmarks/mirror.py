"""Trial-epochs a second that the mirror brings into MLflow, through a real server or into a store
of its own.

    python benchmarks/mirror.py [--behind 500] [--running 64] [--epochs 30] [--passes 30 5]
        [--files] [--own] [--workers 4] [--postgres]

Two cases: trials that have ended before MLflow has any of them, and trials that run, after whose
epochs the mirror makes so many passes, each with the epochs since the last. Twelve metrics an
epoch. With `--files` each ended trial has ten pictures, `pictures.npz` of 42 kB, settings and
result, as one of `beta_mnist` has besides its weights. The server keeps its records in SQLite, with
`--postgres` in a PostgreSQL server of its own, and runs on this machine. Prints seconds of wall
time, of processor of the mirror and of the server, and answers per trial. Another version of the
code is measured with its folder in PYTHONPATH. `--requests 30` measures the processor time of the
server for single requests instead, each sent so many times.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image
from requests import Session
from table import markdown
from trials import changed, make_trial

from sweeps.lanes import Outcome
from sweeps.state.record import StudyRecord
from sweeps.state.trial import Epoch, Picture, Trial
from sweeps.tracking.mlflow_runs import StudyRuns

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))
from postgres import postgres_server
from tracking_server import TrackingServer

METRICS = [
    f"{part}/{name}"
    for part in ("train", "val")
    for name in ("loss", "neg_elbo", "rate", "distortion", "mse", "kl")
]
BEGUN = 1.7e9
DATASET = {"name": "digits", "fingerprint": "ab" * 32, "source": "made up", "profile": {"train": 8}}
PICTURES = 5
"""Epochs of a trial with two pictures each."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--behind", type=int, default=500)
    parser.add_argument("--running", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--passes", type=int, nargs="*", default=[30, 5])
    parser.add_argument("--files", action="store_true")
    parser.add_argument("--own", action="store_true")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--requests", type=int, default=0)
    options = parser.parse_args()
    rows: list[list[str]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        (folder / "runs").mkdir()
        os.chdir(folder / "runs")
        records = ""
        if options.postgres:
            database = stack.enter_context(postgres_server("mlflow"))
            records = database.get_uri("mlflow").replace("postgresql://", "postgresql+psycopg://")
        server = TrackingServer(folder, workers=options.workers, records=records)
        try:
            address = None if options.own else server.wait()
            if options.requests:
                print(
                    markdown(
                        ["request", "ms of processor of the server"],
                        of_requests(options, server),
                        texts=1,
                    )
                )
                return
            measured(options, folder / "runs", address, server, "warm", 2, 2)
            if options.behind:
                rows.append(
                    measured(options, folder / "runs", address, server, "behind", options.behind, 1)
                )
            for passes in options.passes:
                rows.append(
                    measured(
                        options,
                        folder / "runs",
                        address,
                        server,
                        "running",
                        options.running,
                        passes,
                    )
                )
        finally:
            server.end()
            os.chdir("/")
    database = "PostgreSQL" if options.postgres else "SQLite"
    where = (
        "the runs folder's store"
        if options.own
        else f"a server with {options.workers} workers on {database}"
    )
    files = "with files" if options.files else "without files"
    print(
        f"{where}, {options.epochs} epochs a trial, {files}; {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}\n"
    )
    head = [
        "trials",
        "passes",
        "trial-epochs/s",
        "s",
        "s of processor, mirror",
        "s of processor, server",
        "answers per trial",
    ]
    print(markdown(head, rows, texts=1))


def of_requests(options: argparse.Namespace, server: TrackingServer) -> list[list[str]]:
    """Return rows of requests and the processor time that each takes the server."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(server.address)
    experiment = client.create_experiment("requests")
    # Warms the server, too.
    names = [client.create_run(experiment).info.run_id for _ in range(options.requests)]

    def metrics(first: int, epochs: int) -> Callable[[str], object]:
        points = [
            Metric(name, 1.0 / epoch, epoch, epoch)
            for epoch in range(first, first + epochs)
            for name in METRICS
        ]
        return lambda run: client.log_batch(run, points)

    kinds: dict[str, Callable[[str], object]] = {
        "create a run, with 8 tags": lambda run: client.create_run(
            experiment, tags={str(n): run for n in range(8)}
        ),
        "metrics of a run: 1 epoch of 12": metrics(1, 1),
        "metrics of a run: 30 epochs, 360": metrics(10, 30),
        "metrics of a run: 80 epochs, 960": metrics(100, 80),
        "end a run": lambda run: client.update_run(run, status="FINISHED"),
        "read a run": client.get_run,
    }
    rows = []
    for kind, send in kinds.items():
        begun = server.processor()
        for name in names:
            send(name)
        rows.append([kind, f"{1e3 * (server.processor() - begun) / len(names):.3g}"])
    return rows


def measured(
    options: argparse.Namespace,
    runs: Path,
    address: str | None,
    server: TrackingServer,
    name: str,
    trials: int,
    passes: int,
) -> list[str]:
    study = StudyRecord(
        name=f"{name}-{passes}",
        identity=f"{name}{passes}",
        session="running",
        session_at=BEGUN,
        dataset=DATASET,
    )
    answers = [0]
    send = Session.send

    def counted(*arguments: object, **options: object) -> object:
        answers[0] += 1
        return send(*arguments, **options)

    Session.send = counted  # type: ignore[method-assign]
    mlflow = StudyRuns(address, runs, study)
    running = [trial(runs, study.name, number, options) for number in range(trials)]
    mlflow.bring(study, [] if name == "behind" else running, lambda name: None)
    answers[0], own, others = 0, time.process_time(), server.processor()
    begun = time.perf_counter()
    for step in range(passes):
        epochs = (step + 1) * options.epochs // passes
        records = [trained(record, epochs, ended=name == "behind") for record in running]
        mlflow.bring(study, records, lambda name: None)
    wall = time.perf_counter() - begun
    Session.send = send  # type: ignore[method-assign]
    values = (
        trials * options.epochs / wall,
        wall,
        time.process_time() - own,
        server.processor() - others,
        answers[0] / trials,
    )
    return [f"{trials} {name}", str(passes), *(f"{value:.3g}" for value in values)]


def trial(runs: Path, study: str, number: int, options: argparse.Namespace) -> Trial:
    """A trial that has begun, with the files that it will leave."""
    pictures, folder = [], runs / "trials" / study / f"trial-{number:04d}"
    if options.files:
        folder.mkdir(parents=True)
        for epoch in range(1, options.epochs + 1, max(1, options.epochs // PICTURES)):
            for name in ("samples", "reconstructions"):
                path = folder / f"epoch-{epoch:04d}-{name}.png"
                Image.fromarray(
                    np.random.default_rng(epoch).integers(0, 255, (60, 100), np.uint8)
                ).save(path)
                pictures.append(Picture(epoch=epoch, name=name, path=str(path.relative_to(runs))))
        for name, size in (("pictures.npz", 42_000), ("settings.json", 1500), ("result.json", 500)):
            (folder / name).write_bytes(os.urandom(size))
    return make_trial(
        number=number,
        repeat=False,
        state="running",
        params={"beta": 0.5 + number, "learning_rate": 1e-3, "latents": 16},
        seed=number,
        started=BEGUN,
        ended=None,
        epochs=(),
        pictures=tuple(pictures),
        outcome=None,
        results={},
        folder=str(folder.relative_to(runs)) if options.files else None,
        round=0,
    )


def trained(begun: Trial, epochs: int, *, ended: bool) -> Trial:
    """The trial after so many epochs, each with metrics of its own."""
    records = tuple(
        Epoch(
            epoch=epoch,
            objective=100.0 / epoch,
            metrics={
                name: 100.0 / epoch + begun.number + place for place, name in enumerate(METRICS)
            },
            at=BEGUN + 10 * epoch,
        )
        for epoch in range(1, epochs + 1)
    )
    pictures = tuple(picture for picture in begun.pictures if picture.epoch <= epochs)
    record = changed(begun, epochs=records, pictures=pictures)
    if not ended:
        return record
    outcome = Outcome(state="complete", epoch=epochs, objective=100.0 / epochs)
    at = BEGUN + 10 * epochs
    return changed(
        record,
        state="complete",
        outcome=outcome,
        ended=at,
        ended_round=epochs,
        results={"parameters": 7.0},
    )


if __name__ == "__main__":
    main()
