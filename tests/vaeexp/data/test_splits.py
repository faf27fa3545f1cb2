"""Splits by groups and in time: no group lies in two splits, and none is tested on early."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps import UserError
from vaeexp.data.formats import TEST, TRAINING, VALIDATION
from vaeexp.data.splits import split_groups, split_time


@given(
    sizes=st.lists(st.integers(1, 40), min_size=3, max_size=60),
    seed=st.integers(0, 2**63 - 1),
    validation=st.integers(1, 200),
)
def test_groups_never_straddle_splits(sizes, seed, validation):
    groups = np.repeat([f"patient {index}" for index in range(len(sizes))], sizes)
    groups = np.random.default_rng(0).permutation(groups)
    parts = split_groups(np.full(len(groups), TRAINING), groups, validation, seed, "here")
    assert {TRAINING, VALIDATION, TEST} == set(parts.tolist())
    for name in np.unique(groups):
        assert len(set(parts[groups == name].tolist())) == 1
    largest = max(sizes)
    tenth = round(len(groups) / 10)
    assert (parts == TEST).sum() <= max(1, tenth) + largest


def test_the_test_groups_do_not_depend_on_the_split_seed():
    groups = np.repeat(np.arange(50), 4)
    parts = [split_groups(np.zeros(200, np.uint8), groups, 20, seed, "") for seed in range(20)]
    assert all(((one == TEST) == (parts[0] == TEST)).all() for one in parts)
    assert len({tuple(np.flatnonzero(one == VALIDATION)) for one in parts}) > 10


def test_groups_of_splits_in_the_files_are_checked():
    groups = np.array(["a", "a", "b", "b", "c", "d"])
    parts = np.array([TRAINING, TRAINING, TRAINING, TEST, TEST, VALIDATION])
    with pytest.raises(UserError, match="group 'b' in the splits train and test"):
        split_groups(parts, groups, 1, 0, "here")


def test_too_few_groups_are_refused():
    with pytest.raises(UserError, match=r"got 2 groups by data\.split_by; must be at least 3"):
        split_groups(np.zeros(10, np.uint8), np.arange(10) % 2, 2, 0, "here")


@pytest.mark.parametrize("times", [None, "numbers", "text"])
def test_the_last_images_are_tested_on(times):
    order = np.random.default_rng(1).permutation(100)
    given_times = {
        None: None,
        "numbers": order,
        "text": np.array([f"2024-01-{day:03d}" for day in order]),
    }[times]
    parts = split_time(np.zeros(100, np.uint8), given_times, 7, "here")
    rank = np.arange(100) if times is None else order
    assert sorted(rank[parts == TEST]) == list(range(90, 100))
    assert sorted(rank[parts == VALIDATION]) == list(range(83, 90))


def test_images_of_one_time_stay_together():
    days = np.repeat(np.arange(10), 10)
    parts = split_time(np.zeros(100, np.uint8), days, 3, "here")
    assert set(days[parts == TEST]) == {9}
    assert set(days[parts == VALIDATION]) == {8}


def test_splits_in_the_files_leave_no_split_in_time():
    with pytest.raises(UserError, match="got splits in the files"):
        split_time(np.array([TRAINING, TEST]), None, 1, "here")
