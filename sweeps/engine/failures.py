"""Trials that fail: how they end, and when so many of them in a row have the same cause that the
study ends.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from sweeps.errors import AllFailedError, UserError
from sweeps.lanes import Failure, Outcome, TrialResult
from sweeps.state.trial import Trial

MAX_FAILURES = 10
"""This many trials in a row that fail of the same cause are a bug, or the machine's fault, which
must not use up the budget.
"""


def check_failures(study: str, trials: Sequence[Trial], before: Collection[int], most: int) -> None:
    """Check that no `most` trials in a row, by number, failed of the same cause in this process;
    else raise UserError, AllFailedError where no trial of the study ended otherwise.

    `before`: numbers of the trials that had ended before this process.
    """
    cause = None
    count = 0
    for trial in trials:
        if trial.number in before or trial.duplicate_of is not None:
            continue
        failure = trial.failure
        previous = cause
        cause = failure_cause(failure)
        if cause != previous:
            count = 0
        if cause is not None:
            count += 1
        if failure and count == most:
            problem = (
                f"{count} trials in a row failed ({failure.kind}), the last with: {failure.message}"
            )
            hint = "Correct the cause and repeat the command, or allow more with --max-failures."
            ended = {each.state for each in trials if each.finished}
            kind = AllFailedError if ended == {"failed"} else UserError
            raise kind(f"study '{study}'", f"{problem}\n{hint}")


def failure_cause(failure: Failure | None) -> str | None:
    """Return the cause of a failure: its kind and its message without the numbers, which differ
    from trial to trial.

    None without a failure, and where training diverged, because an honest search of the learning
    rate meets that.
    """
    if failure is None or failure.kind == "diverged":
        return None
    return f"{failure.kind}: {re.sub(r'[0-9]+', '#', failure.message)}"


def ended_as(outcome: Outcome, result: TrialResult) -> Outcome:
    """Return how a trial ended: as it was decided, but failed where it could not be finished."""
    if result.failure is None or outcome.state == "failed":
        return outcome
    return replace(outcome, state="failed", failure=result.failure)
