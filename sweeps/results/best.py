"""Rank the records of a study without pandas, because `best` and `trials` must answer at once.

`sweeps.results.rankings` ranks the same runs in tables; a test holds both to one answer.
"""

from collections import defaultdict

from sweeps.storage.study_record import StoredStudy
from sweeps.storage.trial_record import TrialRecord


def ranked_trials(stored: StoredStudy) -> list[TrialRecord]:
    """Return the complete trials without duplicates, the best first, equals by number, as `rankings.ranked` does."""
    found = [trial for trial in stored.trials if _counts(trial) and trial.duplicate_of is None]
    return sorted(found, key=_by_objective)


def best_record(stored: StoredStudy) -> TrialRecord | None:
    """Return the run that `rankings.best_run` names.

    It is the best repeat of the confirmed configuration with the lowest mean; without repeats, the best trial.
    """
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
