"""What the report says of parameters where trials were paused and promoted, in studies whose truth
is known.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted_studies import Planted, noise, planted, results_of

from vaeexp.report.by_parameter import by_parameter, described
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import learned_trials

RUNGS, LAST = (3, 8, 15), 30
FALL = {3: 40.0, 8: 15.0, 15: 6.0, LAST: 0.0}
"""Nats by which a trial is above its end after so many epochs."""


def promoted(study: Planted, random: np.random.Generator, shape: str) -> Planted:
    """The same study, whose trials are paused at each rung but for the best third, each with the
    noise of its epoch.
    """
    ends = study.columns["objective"]
    epochs = np.full(len(ends), RUNGS[0])
    objective = ends + FALL[RUNGS[0]] + noise(random, shape, len(ends))
    going = np.arange(len(ends))
    for following in (*RUNGS[1:], LAST):
        going = going[np.argsort(objective[going], kind="stable")][: max(1, len(going) // 3)]
        epochs[going] = following
        objective[going] = ends[going] + FALL[following] + noise(random, shape, len(going))
    states = np.where(epochs == LAST, "complete", "pruned").astype(object)
    columns = study.columns | {"objective": objective, "state": states, "epochs": epochs}
    return replace(study, columns=columns, confirmed=study.confirmed[: len(going)])


def view_of(study: Planted, pruner: str = "promotion") -> StudyView:
    results = results_of(study)
    trials = results.trials.copy()
    trials.loc[~trials["repeat"], "epochs"] = study.columns["epochs"]
    record = replace(
        results.study, spec=results.study.spec | {"pruner": {"name": pruner, "rungs": list(RUNGS)}}
    )
    return StudyView(replace(results, trials=trials, study=record))


@pytest.fixture(scope="module")
def study():
    """60 trials, of which 20 were promoted and 2 are complete; β matters."""
    random = np.random.default_rng(3)
    return promoted(planted("effect", random, trials=(60,), compared=(2, 3)), random, "normal")


def test_whoever_was_promoted_is_better_than_a_trial_that_was_not_whatever_they_had_reached():
    frame = pd.DataFrame(
        {"number": [0, 1, 2], "epochs": [30, 8, 3], "objective": [110.0, 104.0, 100.0]}
    )
    frame["state"] = ["complete", "pruned", "pruned"]
    assert list(learned_trials(frame, frame, promotes=True)["number"]) == [0, 1, 2]
    assert list(learned_trials(frame, frame, promotes=True)["judged"]) == [True, True, False]
    by_objective = learned_trials(frame, frame, promotes=False)
    assert list(by_objective["number"]) == [2, 1, 0]
    assert list(by_objective["judged"]) == [False, False, True]


def test_two_complete_trials_of_sixty_say_which_parameter_mattered(study):
    view = view_of(study)
    assert (len(view.influence.judged), len(view.ranked)) == (20, 2)
    assert view.importances.index[0] == "beta"


def test_too_few_promoted_or_complete_trials_say_nothing(study):
    assert view_of(study, "median").importances.empty  # two complete trials
    few = {name: values[:24] for name, values in study.columns.items()}
    random = np.random.default_rng(4)
    alone = replace(study, columns=few, compared=study.compared[:0], paired=study.paired[:0])
    small = promoted(alone, random, "normal")
    assert (len(view_of(small).influence.judged), view_of(small).importances.empty) == (8, True)


def test_a_value_is_covered_where_paused_trials_tried_it(study):
    """No complete trial need have it: the rungs have compared it with the others."""
    view = view_of(study)
    assert view.ranked["params.prior"].nunique() < 3
    assert not view.influence.choice_holes


def test_a_value_that_was_tried_elsewhere_alone_is_not_covered():
    random = np.random.default_rng(5)
    view = view_of(
        promoted(planted("hole", random, trials=(60,), compared=(2, 3)), random, "normal")
    )
    assert view.influence.uncovered("prior") == ["normal"]


def test_the_table_counts_who_was_promoted_and_has_no_median(study):
    view = view_of(study)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in by_parameter(view, "prior").splitlines()
    ]
    assert rows[0] == ["prior", "trials", "promoted", "complete (n)", "failed", "best"]
    counts = np.array([[int(cell) for cell in row[1:4]] for row in rows[2:]])
    assert counts.sum(axis=0).tolist() == [60, 20, 2]
    assert "no median" in described(view)
