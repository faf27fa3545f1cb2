"""Failed trials that are trained once more: the new one stands for the failed one, and the budget counts them once."""

import pytest
from toy_lanes import ToyLanes
from toy_study import in_memory, toy_study

from sweeps.engine import search
from sweeps.storage.proposals import write_retries
from sweeps.storage.trial_record import newest_of_each
from sweeps.workload import Failure

BUG = Failure(kind="error", message="a bug")


@pytest.mark.parametrize("failed", [[2], [0, 3], [1, 2, 5]])
def test_a_retried_trial_has_the_values_of_one_that_never_failed(failed):
    study = toy_study(trials=6)
    plain, mended = in_memory(study), in_memory(study)
    search(plain, study, ToyLanes(width=6, epochs=3), [])
    search(mended, study, ToyLanes(width=6, epochs=3, failures=dict.fromkeys(failed, (2, BUG))), [])
    assert write_retries(mended, 0.0) == len(failed)
    assert write_retries(mended, 0.0) == 0, "they run now"
    search(mended, study, ToyLanes(width=6, epochs=3), [])
    newest = newest_of_each(mended.trials)
    assert len(mended.trials) == 6 + len(failed)
    values = sorted((tuple(trial.params.values()), trial.value, trial.user_attrs["seed"]) for trial in newest)
    assert values == sorted((tuple(t.params.values()), t.value, t.user_attrs["seed"]) for t in plain.trials)
    assert [mended.trials[number].state.name for number in failed] == ["FAIL"] * len(failed)
