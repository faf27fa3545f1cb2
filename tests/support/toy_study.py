"""Helpers of the tests of the driver: small studies, a journal in memory, a watcher, the table of a
study.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from pydantic import BaseModel, ConfigDict

from sweeps import engine
from sweeps.engine import repeats
from sweeps.engine.events import Snapshot
from sweeps.lanes import Outcome, Progress, TrialResult, TrialSpec
from sweeps.search.pruners import PRUNERS
from sweeps.search.samplers import SAMPLERS
from sweeps.storage import open_study
from sweeps.storage.store import Store
from sweeps.study.space import Parameter, Space
from sweeps.study.study import Study
from sweeps.study.study_model import Budget, Keep

X = {"x": {"kind": "float", "low": 0.0, "high": 1.0}}
CONDITIONAL = {
    "prior": {"kind": "choice", "values": ["normal", "mixture"]},
    "components": {"kind": "int", "low": 2, "high": 4, "when": {"prior": ["mixture"]}},
}


optuna.logging.set_verbosity(optuna.logging.WARNING)


class Fixed(BaseModel):
    """A section of fixed settings."""

    model_config = ConfigDict(frozen=True)
    epochs: int = 5


def toy_study(
    search: dict[str, Any] = X,
    *,
    name: str = "toy",
    seed: int = 0,
    sampler: str = "random",
    sampler_options: dict[str, Any] | None = None,
    pruner: str = "none",
    pruner_options: dict[str, Any] | None = None,
    fixed: Fixed | None = None,
    keep: dict[str, Any] | None = None,
    **budget: Any,
) -> Study:
    return Study(
        name=name,
        path=Path(f"{name}.yaml"),
        text="",
        question="What is it?",
        fixed={"train": fixed or Fixed()},
        space=Space(tuple(Parameter(name=key, **content) for key, content in search.items())),
        seed=seed,
        sampler=SAMPLERS[sampler](**(sampler_options or {})),
        pruner=PRUNERS[pruner](**(pruner_options or {})),
        budget=Budget(**(budget or {"trials": 6})),
        confirm=None,
        compare=None,
        keep=Keep(**(keep or {})),
    )


def default_search(epochs: int) -> dict[str, Any]:
    """Return the sampler and the pruner of a study that names neither, as `toy_study` takes
    them.
    """
    pruner = PRUNERS["promotion"]().for_epochs(epochs)
    return {
        "sampler": "curves",
        "sampler_options": {"max_epochs": epochs},
        "pruner": pruner.name,
        "pruner_options": pruner.model_dump(exclude={"name"}),
    }


SEARCHES = {
    "random + median": lambda epochs: {"pruner": "median"},
    "curves + promotion": default_search,
}
"""Searches of benchmarks: name → epochs of a trial → options of `toy_study`."""


class MemoryJournal(BaseJournalBackend):
    """A journal that outlives its storage objects, as a file does.

    Its lines are text, because Optuna changes what it has read or written.
    """

    def __init__(self, lines: Sequence[str] = ()) -> None:
        self.lines = list(lines)
        self.before = lambda: None

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines[log_number_from:]]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        for log in logs:
            self.before()
            self.lines.append(json.dumps(log))


def in_memory(study: Study, journal: MemoryJournal | None = None):
    """The Optuna study of `study` as a new process would open it."""
    return open_study(JournalStorage(journal or MemoryJournal()), study)


def search(
    optuna_study: optuna.Study, study: Study, *args: Any, runs: Path = Path("mlruns"), **how: Any
) -> str:
    """`sweeps.engine.search` of an Optuna study."""
    return engine.search(Store(optuna_study, study.space, runs), study, *args, **how)


def run_repeats(
    optuna_study: optuna.Study, *args: Any, runs: Path = Path("mlruns"), **how: Any
) -> None:
    """`sweeps.engine.repeats.run_repeats` of an Optuna study."""
    repeats.run_repeats(Store(optuna_study, Space(()), runs), *args, **how)


class Watcher:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.snapshots: list[Snapshot] = []
        self.before = lambda: None

    def _note(self, *event: Any) -> None:
        self.before()
        self.events.append(event)

    def trial_started(self, trial: TrialSpec, *, resumed: bool) -> None:
        self._note("started", trial.number, resumed)

    def epoch_finished(self, trial: TrialSpec, progress: Progress) -> None:
        self._note("epoch", trial.number, progress.epoch)

    def trial_ended(
        self, trial: TrialSpec, outcome: Outcome, result: TrialResult, duplicate_of: int | None
    ) -> None:
        self._note("ended", trial.number, outcome.state, duplicate_of)

    def round_finished(self, snapshot: Snapshot) -> None:
        self._note("round")
        self.snapshots.append(snapshot)


TIMES = ("started", "ended")


def table(optuna_study) -> list[dict[str, Any]]:
    """All that a study holds, times apart."""
    return [
        {
            "number": trial.number,
            "params": dict(trial.params),
            "state": trial.state.name,
            "values": trial.values,
            "published": dict(trial.intermediate_values),
            "attrs": {
                key: _timeless(value) for key, value in trial.user_attrs.items() if key not in TIMES
            },
            "notes": {
                key: value
                for key, value in trial.system_attrs.items()
                if key.startswith("completed_rung")
            },
        }
        # Deep copies would be a tenth of the time.
        for trial in optuna_study.get_trials(deepcopy=False)
    ]


def _timeless(value: Any) -> Any:
    return (
        {key: part for key, part in value.items() if key != "at"}
        if isinstance(value, dict)
        else value
    )


@contextmanager
def decided_by(late: int) -> Iterator[None]:
    """Set from how many lanes on decisions lag one round."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweeps.engine.trial_loop.PIPELINED_FROM", late)
        patch.setattr(
            "sweeps.search.curves.acquisition.CANDIDATES", 16
        )  # a process that goes on looks at them all again
        patch.setattr("sweeps.search.curves.acquisition.NEIGHBOURS", 8)
        patch.setattr("sweeps.search.curves.process._STEPS", 2)
        yield
