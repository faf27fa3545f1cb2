"""How a run is named: `beta_mnist/7` a trial, `beta_mnist/r3` a repeat, `beta_mnist/best` the best run of the study."""

import re
from dataclasses import dataclass
from pathlib import Path

from sweeps.errors import UserError
from sweeps.results.best import best_record
from sweeps.storage.study_record import StoredStudy, no_such_trial
from sweeps.storage.trial_record import TrialRecord
from sweeps.workload.protocol import named_run, run_name
from vaeexp.results.open_study import stored_study

FORMS = "Name a run as STUDY/7 (a trial), STUDY/r3 (a repeat) or STUDY/best."
_RUN = re.compile(r"(?:.*/)?([^/]+)/(best|[a-z]*-?\d+)/?", re.ASCII)


@dataclass(frozen=True)
class RunName:
    """A trial or repeat of a study; `number` is None for the best of both."""

    study: str
    number: int | None = None
    repeat: bool = False

    def __str__(self) -> str:
        return f"{self.study}/{'best' if self.number is None else f'r{self.number}' if self.repeat else self.number}"

    @property
    def folder(self) -> str:
        """Name of its folder, of its MLflow run and in reports: `trial-0007`, `repeat-0003`."""
        assert self.number is not None
        return run_name(self.number, repeat=self.repeat)

    def record(self, stored: StoredStudy) -> TrialRecord:
        """What the study has recorded of it. Raises UserError where there is no such run."""
        if self.number is None:
            return best_of(stored).record(stored)
        records = stored.repeats if self.repeat else stored.trials
        if self.number >= len(records):
            raise no_such_trial("RUN", stored.study.name, self.number, len(records), repeat=self.repeat)
        return records[self.number]


def parse_run(text: str) -> RunName | None:
    """The run that a text names; None where it names none. `beta_mnist/trial-0007` and the path of a run's folder are
    understood, too, because they say the same."""
    match = _RUN.fullmatch(text)
    if match is None:
        return None
    if match[2] == "best":
        return RunName(match[1])
    named = named_run(match[2])
    return RunName(match[1], number=named[1], repeat=named[0]) if named else None


def find_run(text: str, runs: Path, storage: str | None) -> RunName:
    """The trial or repeat that a text names, the best one looked up in the study. Raises UserError where there is none."""
    name = parse_run(text)
    if name is None:
        raise UserError(text, f"is not the name of a run. {FORMS}")
    return best_of(stored_study(name.study, runs, storage)) if name.number is None else name


def best_of(stored: StoredStudy) -> RunName:
    """The best run of a study, chosen on validation. Raises UserError where no run is complete."""
    run = best_record(stored)
    if run is None:
        raise UserError(f"study '{stored.study.name}'", "none of its runs is complete yet, so none is the best.")
    return RunName(stored.study.name, number=run.number, repeat=run.repeat)
