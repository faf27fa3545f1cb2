"""Trains learning curves in the worker processes and lanes of a sweep, each to its end: no sampler,
no pruner, no checkpoints.
"""

import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from tempfile import TemporaryDirectory
from typing import Any

from curve_table import identified

from sweeps.lanes import Outcome, Progress, TrialSpec
from sweeps.lanes.worker_pool import WorkerPool
from sweeps.seeds import seed_of
from sweeps.source import source_of
from sweeps.study.study import Study
from vaeexp.data import Dataset
from vaeexp.runs.provenance import describe_run, protocol
from vaeexp.runs.worker import open_lanes
from vaeexp.study import maxima_of, settings_of, train_options, uses_average
from vaeexp.training.optimizers import parts_of

__all__ = ["CurveLanes", "Wanted", "curve_of", "open_timed_lanes"]

LANES_OF_A_WORKER = 4
"""More than the 2 of a sweep, so that the workers' sums over a round are nearly equal and none
waits long for the other.
"""
# Seconds between checkpoints: a curve takes a minute, and a killed one is trained again.
_NEVER = 1e9


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A curve to train."""

    configuration: int
    stage: str
    params: Mapping[str, Any]
    seed: int

    def trial_seed(self, space: str) -> int:
        """Return the seed of the trial, 63 bits. No two curves share one, as no two trials of a
        sweep do.
        """
        return seed_of(f"{space}:configuration {self.configuration}:seed {self.seed}")


class TimedLanes:
    """Lanes whose metric `seconds` is the processor time of their thread: others use the machine
    while curves are trained.
    """

    def __init__(self, lanes: Any) -> None:
        self._lanes = lanes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lanes, name)

    def advance(self, numbers: Collection[int]) -> Iterator[list[Progress]]:
        begun = time.thread_time()
        for part in self._lanes.advance(numbers):
            spent = (time.thread_time() - begun) / max(1, len(part))
            yield [
                replace(progress, metrics={**progress.metrics, "seconds": spent})
                for progress in part
            ]
            begun = time.thread_time()


def open_timed_lanes(**arguments: Any) -> TimedLanes:
    """Open the lanes of one worker, as `vaeexp.runs.worker.open_lanes` does."""
    return TimedLanes(open_lanes(**arguments))


class CurveLanes:
    """Workers for the curves of one space.

    Args:
        study: the space's study; `study.name` is the space.
        dataset: its images.
        workers: processes of one thread each.
        compile: whether the training step is compiled.

    Raises UserError where the workers do.
    """

    def __init__(self, study: Study, dataset: Dataset, *, workers: int, compile: bool) -> None:
        self._study, self._dataset, self._settings = study, dataset, settings_of(study)
        self._folder = TemporaryDirectory(prefix="curves-", ignore_cleanup_errors=True)
        recipe = {
            "settings": self._settings,
            "datasets": {dataset.binarisation: dataset},
            "maxima": maxima_of(study),
            "averaged": uses_average(study),
            "parts": parts_of(train_options(study)),
            "study": study.name,
            "study_seed": study.seed,
            "folder": self._folder.name,
            "device": "cpu",
            "precision": "float32",  # on every processor, so that one table has one precision
            "fuse": False,
            "compile": compile,
            "lanes": LANES_OF_A_WORKER,
            "rows": LANES_OF_A_WORKER,
            "threads": 1,
            "checkpoint_seconds": _NEVER,
            "keep_pruned": False,
            "keep_pictures": "last",
        }
        self._pool = WorkerPool(open_timed_lanes, [recipe] * workers)

    def origin(self) -> dict[str, Any]:
        """Return the origin of the curves that these workers train, as `curve_table` describes
        it.
        """
        study, dataset = self._study, self._dataset
        facts = protocol(dataset, self._settings, study.space.names)
        described = describe_run(dataset, facts, study_text="", command="make curves")
        del described["study_file"]  # `search` and `settings` hold what the table needs of it
        sections = self._settings.model_dump(mode="json", include={"data", "model", "train"})
        return identified(
            {
                "space": study.name,
                "epochs": self._settings.train.epochs,
                "search": study.space.as_dict(),
                "settings": sections,
                "seed": study.seed,
                "fingerprint": dataset.fingerprint,
                "sizes": list(dataset.sizes),
                "code": {package: source_of(package).sha256 for package in ("sweeps", "vaeexp")},
                **described,
                "kind": dict(self._pool.kind),
                "began": now(),
            }
        )

    def train(self, wanted: Iterable[Wanted]) -> Iterator[dict[str, Any]]:
        """Yield each curve as soon as it has ended, without its origin; takes the next of `wanted`
        when a lane is free.

        Raises RuntimeError when a trial fails in another way than by divergence.
        """
        coming, running = enumerate(wanted), dict[int, tuple[Wanted, list[Progress]]]()
        while True:
            while len(running) < self._pool.width and (following := next(coming, None)):
                number, one = following
                seed = one.trial_seed(self._study.name)
                self._pool.add(TrialSpec(number=number, params=one.params, seed=seed))
                running[number] = one, []
            if not running:
                return
            for part in self._pool.advance(list(running)):
                for progress in part:
                    running[progress.number][1].append(progress)
            ended = [number for number, (_, reports) in running.items() if reports[-1].finished]
            self._finish(ended, running)
            for number in ended:
                yield curve_of(*running.pop(number))

    def _finish(
        self, ended: Collection[int], running: Mapping[int, tuple[Wanted, list[Progress]]]
    ) -> None:
        """Free lanes without a file that stays: as pruned trials, which leave no weights."""
        last = {number: running[number][1][-1] for number in ended}
        outcomes = {
            n: Outcome(state="pruned", epoch=report.epoch, objective=None)
            for n, report in last.items()
        }
        for result in self._pool.finish(outcomes) if outcomes else ():
            if result.folder:
                shutil.rmtree(result.folder, ignore_errors=True)

    def close(self) -> None:
        """End the workers. Curves at hand are lost."""
        self._pool.close()
        self._folder.cleanup()


def curve_of(wanted: Wanted, reports: Collection[Progress]) -> dict[str, Any]:
    """Return the curve of a trial that ended, without its origin. Raises RuntimeError when it
    failed, but not by divergence.
    """
    failures = [report.failure for report in reports if report.failure]
    if failures and failures[0].kind != "diverged":
        raise RuntimeError(
            f"configuration {wanted.configuration}, seed {wanted.seed}: {failures[0].message}"
        )
    finite = [report for report in reports if not report.failure]
    return {
        "configuration": wanted.configuration,
        "stage": wanted.stage,
        "params": dict(wanted.params),
        "seed": wanted.seed,
        "neg_elbo": [round(report.objective, 4) for report in finite],
        "rate": [round(report.metrics["val/rate"], 4) for report in finite],
        "seconds": [round(report.metrics["seconds"], 4) for report in finite],
        "diverged": bool(failures),
        "date": now(),
    }


def now() -> str:
    """Return the time, UTC to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
