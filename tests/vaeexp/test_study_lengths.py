"""`epochs` searched: which searches compare trials of different length, and which are refused."""

import pytest

from sweeps.errors import UserError
from vaeexp.study import open_study_file

STUDY = """
question: How long?
data: {dataset: mnist}
search:
  beta: {low: 0.1, high: 10}
  epochs: {values: [2, 4, 8]}
budget: {trials: 4}
"""


@pytest.fixture
def opened(tmp_path):
    def open_with(*changes):
        (tmp_path / "long.yaml").write_text(STUDY, encoding="utf-8")
        return open_study_file(str(tmp_path / "long.yaml"), overrides=changes)

    return open_with


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_study_that_names_no_search_compares_no_trials_of_different_length(opened, schedule):
    study = opened(f"schedule={schedule}")
    assert (study.sampler.name, study.pruner.name) == ("tpe", "none")
    assert study.unlike_lengths


@pytest.mark.parametrize(
    ("pruner", "cosine"),
    [
        ("promotion", "schedule=cosine"),
        ("median", "search.schedule.values=[constant, cosine]"),
        ("hyperband", "schedule=linear"),
    ],
)
def test_trials_whose_schedules_disagree_are_not_compared(opened, pruner, cosine):
    with pytest.raises(UserError) as caught:
        opened(f"pruner={pruner}", cosine)
    for part in ("pruner.name", pruner, "`epochs` is searched", cosine.strip("]")[-6:]):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        ("pruner=promotion",),
        ("pruner=median", "schedule=exponential"),
        ("pruner=promotion", "schedule=step"),
        ("pruner=none", "schedule=cosine"),
        ("pruner={name: patient, patience: 2}", "schedule=cosine"),
    ],
)
def test_trials_whose_schedules_agree_are_compared(opened, changes):
    assert opened(*changes).pruner.name in changes[0]


def test_curves_of_different_length_are_not_predicted(opened):
    with pytest.raises(
        UserError,
        match=r"sampler\.name: got curves, .*`epochs` is searched; must be another sampler",
    ):
        opened("sampler=curves")
