"""What is said of runs with fresh seeds that end far outside, by what they were trained for."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_study import make_results, with_baselines

from vaeexp.report.answer import answer_of
from vaeexp.report.findings import compared
from vaeexp.report.recommendation import get
from vaeexp.results.broken_seeds import broken_runs
from vaeexp.results.study_view import StudyView
from vaeexp.results.trust import check_study


@pytest.fixture(scope="module")
def results():
    return make_results()


def broken(results, purposes, nats=38.7, *, collapsed=False, winner=False):
    """The study, one run of this purpose that many nats above its value, or with a rate near 0;
    and the number of that run.
    """
    trials, best = results.trials, StudyView(results).best_number
    own = trials["purposes"].map(lambda given: given == purposes)
    own &= (trials["source_trial"] == best) == winner
    place = trials.index[trials["repeat"] & own][0]
    run, epochs = trials.loc[place], results.epochs
    if collapsed:
        chosen = epochs["repeat"] & (epochs["number"] == run["number"])
        epochs = epochs.assign(**{"val/rate": epochs["val/rate"].mask(chosen, 0.2)})
    values = trials["objective"].astype(float)
    values[place] += nats
    changed = replace(results, trials=trials.assign(objective=values), epochs=epochs)
    return StudyView(changed), int(run["number"])


def spared(view):
    return [said for said in get(view) if said.id == "get.spared"]


def test_only_confirming_runs_say_that_the_winner_was_spared(results):
    view, number = broken(results, ("confirm",))
    (said,) = spared(view)
    (run,) = broken_runs(view)
    assert (run.number, run.purposes) == (number, {"confirm"})
    assert (said.values["broken"], said.values["runs"]) == (1, len(view.retrained.confirm_runs))
    assert said.values["by"].value == np.floor(run.behind)
    beside, number = broken(results, ("compare",))
    assert [run.number for run in broken_runs(beside)] == [number]
    assert not spared(beside)
    own, _ = broken(results, ("confirm",), winner=True)
    assert own.best_number != StudyView(results).best_number or not spared(own)


def test_a_run_says_whether_it_confirms_a_trial_or_is_compared_with_it(results):
    for purposes, value in ((("confirm",), "trial"), (("compare",), "beside")):
        view, number = broken(results, purposes)
        (check,) = [check for check in check_study(view) if check.id == "new_seeds"]
        far = check.found[0].values["worst"].values
        source = view.trials.loc[
            view.trials["repeat"] & (view.trials["number"] == number), "source_trial"
        ]
        assert far[value] == source.iloc[0]
        assert check.advice.id == "remedy.diverged"


def test_a_collapsed_code_gets_its_own_remedy(results):
    view, number = broken(results, ("confirm",), 0.0, collapsed=True)
    (run,) = broken_runs(view)
    assert (run.number, run.collapsed) == (number, True)
    (check,) = [check for check in check_study(view) if check.id == "new_seeds"]
    assert check.advice.id == "remedy.collapsed"
    assert not spared(view)


def test_no_remedy_is_asked_for_a_baseline_whose_run_breaks(results):
    """Its settings are given; what stands next is what the other doubts ask for."""
    view, number = broken(with_baselines(results), ("baseline",), winner=True)
    assert [run.number for run in broken_runs(view)] == [number]
    (check,) = [check for check in check_study(view) if check.id == "new_seeds"]
    assert (check.verdict, check.advice) == ("warning", None)
    assert not answer_of(view).next[0].id.startswith("remedy.")


def test_a_comparison_is_given_once_more_without_the_run_that_broke(results):
    usual = {said.values["parameter"]: said for said in compared(StudyView(results))}
    assert all(said.values.get("without") is None for said in usual.values())
    view, number = broken(results, ("compare",), 60.0)
    (said,) = [said for said in compared(view) if said.values.get("without") is not None]
    (pair,) = view.pairs
    value = view.trials.loc[
        view.trials["repeat"] & (view.trials["number"] == number), "objective"
    ].iloc[0]
    left = pair.pairs[(pair.pairs.filter(like="objective.") != value).all(axis=1)]
    means = left.groupby("source_trial")["difference"].mean()
    assert len(left) == len(pair.pairs) - 1
    assert abs(said.values["without"].value) == pytest.approx(abs(means.mean()), abs=1e-9)
    assert abs(said.values["gap"].value - said.values["without"].value) > 5
