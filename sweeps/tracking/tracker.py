"""What the driver tells MLflow. Every call costs the driver one line in a file; a thread hands them to another process."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sweeps.engine.events import Snapshot
from sweeps.errors import masked
from sweeps.tracking.delivery import Delivery
from sweeps.tracking.mlflow_store import tracking_uri
from sweeps.tracking.outbox import Outbox, Writer
from sweeps.workload.protocol import Images, Outcome, Progress, Trial, TrialResult


@dataclass(frozen=True, kw_only=True)
class Description:
    """How a trial's run is labelled: all that determines its numbers, and what a person wants to search for."""

    params: Mapping[str, Any]
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Pending:
    """What has not reached MLflow yet."""

    events: int
    message: str
    """One sentence on why, where it is kept, and what to do."""


class Tracker:
    """An observer (`sweeps.engine.events.Observer`) that records a study in MLflow, through an outbox in `runs/outbox`.

    Constructing it takes a millisecond: MLflow is imported by the process that delivers. `uri` None is the SQLite store in
    `runs`. UserError when the folder cannot be written or another process is recording the same study.
    """

    def __init__(self, uri: str | None, runs: Path, study: str, describe: Callable[[Trial], Description]) -> None:
        self._runs = Path(runs).resolve()
        self._uri = tracking_uri(uri, self._runs)
        self._describe = describe
        self._best: float | None = None
        self._outbox = Outbox(self._runs / "outbox", study)
        self._delivery = Delivery(self._uri, self._runs, study, self._outbox.identity, own_store=uri is None)
        self._writer = Writer(self._outbox, self._delivery)
        self._closed = False

    @property
    def warning(self) -> str | None:
        """One plain line when records wait or were refused, or the runs folder was found moved; else None."""
        where = masked(self._uri)
        if self._writer.problem is not None:
            return f"MLflow at {where} does not take records ({self._writer.problem}); {self._outbox.pending} wait in {self._outbox.path}."
        if self._writer.refused:
            count = len(self._writer.refused)
            return f"MLflow at {where} refused {count} records ({self._writer.refused[-1]}); they are in {self._outbox.refused_path}."
        return self._delivery.notice

    def open_study(
        self,
        *,
        question: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        dataset: Mapping[str, Any] | None,
    ) -> None:
        """Begin or continue: the experiment, with the question as its note, and the parent run.

        `dataset`: name, fingerprint (hex), source, and optionally schema and profile (JSON-able). Tags and data set
        are copied to the run of each trial that starts from now on.
        """
        self._append(
            "study",
            durable=True,
            question=question,
            tags=_texts(tags),
            params=_texts(params),
            dataset=dict(dataset) if dataset else None,
        )

    def trial_started(self, trial: Trial, *, resumed: bool) -> None:
        """Open the trial's run, or open it again."""
        self._append("started", **self._identify(trial))

    def epoch_finished(self, trial: Trial, progress: Progress) -> None:
        """Record an epoch's metrics, and what pictures there are. An epoch that is told twice is recorded once."""
        self._append(
            "epoch",
            trial=trial.name,
            epoch=progress.epoch,
            metrics={name: float(value) for name, value in progress.metrics.items()},
            pictures=self._pictures(progress.images),
        )

    def trial_ended(self, trial: Trial, outcome: Outcome, result: TrialResult, duplicate_of: int | None) -> None:
        """Close the trial's run with its final figures and files; on disk when this returns."""
        failure = outcome.failure
        self._append(
            "ended",
            durable=True,
            **self._identify(trial),
            state=outcome.state,
            epoch=outcome.epoch,
            value=outcome.objective,
            failure=[failure.kind, failure.message] if failure else None,
            metrics={name: float(value) for name, value in result.metrics.items()},
            pictures=self._pictures(result.images),
            folder=self._stored(result.folder) if result.folder else None,
            duplicate_of=duplicate_of,
        )

    def round_finished(self, snapshot: Snapshot) -> None:
        """Record a new best value of the search on the parent run, at step = trial-epochs so far."""
        best = snapshot.best_objective
        if snapshot.phase == "search" and best is not None and best != self._best:
            self._best = best
            self._append("best", value=float(best), number=snapshot.best_number, epochs=snapshot.epochs)

    def log_study_folder(self, path: Path, artifact_path: str) -> None:
        """Keep the files of a folder, e.g. the report, with the parent run."""
        self._append("folder", durable=True, path=self._stored(path), artifact_path=artifact_path)

    def register_model(
        self,
        *,
        name: str,
        alias: str = "best",
        trial_name: str,
        folder: Path,
        loader_module: str,
        signature_example: tuple[Any, Any],
        pip_requirements: Sequence[str],
    ) -> None:
        """Register a trial's model so that `mlflow.pyfunc.load_model("models:/<name>@<alias>")` loads it.

        `loader_module` has `_load_pyfunc(folder)`, which returns an object with `predict`; `signature_example` is a
        small (inputs, outputs) pair of numpy arrays [N, ...]. Registering the same trial again only moves the alias.
        """
        inputs, outputs = signature_example
        self._append(
            "model",
            durable=True,
            name=name,
            alias=alias,
            trial=trial_name,
            path=self._stored(folder),
            loader_module=loader_module,
            inputs={"dtype": str(inputs.dtype), "values": inputs.tolist()},
            outputs={"dtype": str(outputs.dtype), "values": outputs.tolist()},
            pip_requirements=list(pip_requirements),
        )

    def drain(self, timeout: float | None = None) -> Pending | None:
        """Wait until MLflow has everything, at most `timeout` seconds; what is left after that or three failures."""
        if self._writer.drain(timeout):
            return None
        where, reason = masked(self._uri), self._writer.problem or "it is slow"
        events = self._outbox.pending
        message = (
            f"{events} records have not reached MLflow at {where} ({reason}). They are kept in {self._outbox.path} "
            f"and are delivered the next time this study runs."
        )
        return Pending(events=events, message=message)

    def close(
        self, status: Literal["finished", "interrupted", "failed"] | None = None, *, timeout: float = 60.0
    ) -> Pending | None:
        """End the parent run with this status (None leaves it), deliver what waits, and give up the outbox.

        After `interrupted` or `failed`, runs of trials that were still training say so until they are resumed. What does not
        arrive within `timeout` seconds waits for the next run of the study; a `finished` study has none, and goes on for
        as long as something arrives.
        """
        if self._closed:
            return None
        self._closed = True
        if status is not None:
            self._append("closed", durable=True, status=status)
        before, pending = self._outbox.pending, self.drain(timeout)
        while status == "finished" and pending and pending.events < before:
            before, pending = pending.events, self.drain(timeout)
        self._writer.stop()
        self._delivery.end()  # also where the writer waits for an answer that does not come
        self._outbox.close()
        return pending

    def _append(self, kind: str, *, durable: bool = False, **content: Any) -> None:
        self._outbox.append({"kind": kind, "at": int(time.time() * 1000), **content}, durable=durable)
        # MLflow is imported for the first delivery, for seconds of a core that the first epoch could have.
        self._writer.wake(patient=kind in ("study", "started"))

    def _identify(self, trial: Trial) -> dict[str, Any]:
        description = self._describe(trial)
        tags = {**_texts(description.tags), "sweeps.number": str(trial.number), "sweeps.seed": str(trial.seed)}
        tags |= {"sweeps.baseline": trial.baseline} if trial.baseline else {}
        return {"trial": trial.name, "repeat": trial.repeat, "params": _texts(description.params), "tags": tags}

    def _pictures(self, images: Images) -> list[tuple[int, str, str]]:
        """(epoch, name, path) of each."""
        return [(epoch, name, self._stored(path)) for epoch, named in images.items() for name, path in named.items()]

    def _stored(self, path: str | Path) -> str:
        """Relative to the runs folder where it can be, so that the folder may be moved before delivery."""
        path = Path(path).absolute()
        return str(path.relative_to(self._runs)) if path.is_relative_to(self._runs) else str(path)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}
