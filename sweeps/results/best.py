"""Rankings of a study's records without its tables, and so without pandas: for what must answer at once."""

from collections import defaultdict

from sweeps.storage.study_record import StoredStudy
from sweeps.storage.trial_record import TrialRecord


def ranked_trials(stored: StoredStudy) -> list[TrialRecord]:
    """The trials of `sweeps.results.rankings.ranked`: complete, no duplicates, the best first, equals by number."""
    found = [trial for trial in stored.trials if _counts(trial) and trial.duplicate_of is None]
    return sorted(found, key=_by_objective)


def best_record(stored: StoredStudy) -> TrialRecord | None:
    """The run of `sweeps.results.rankings.best_run`: of the confirmed configuration with the lowest mean its best repeat,
    else the best trial."""
    confirmed: dict[int, list[TrialRecord]] = defaultdict(list)
    for repeat in stored.repeats:
        if _counts(repeat) and "confirm" in repeat.purposes and repeat.source_trial is not None:
            confirmed[repeat.source_trial].append(repeat)
    if confirmed:
        means = {source: sum(map(_objective, runs)) / len(runs) for source, runs in sorted(confirmed.items())}
        return min(confirmed[min(means, key=lambda source: means[source])], key=_by_objective)
    return next(iter(ranked_trials(stored)), None)


def _counts(run: TrialRecord) -> bool:
    return run.state == "complete" and run.objective is not None


def _objective(run: TrialRecord) -> float:
    assert run.objective is not None
    return run.objective


def _by_objective(run: TrialRecord) -> tuple[float, int]:
    return _objective(run), run.number
