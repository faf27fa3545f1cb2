"""Splits by groups and in time: no group lies in two splits, and none is tested on early."""

import hashlib
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps import UserError
from vaeexp.data.formats import TEST, TRAINING, VALIDATION
from vaeexp.data.splits import large_groups, split_groups, split_time
from vaeexp.data.times import ranks_of


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
    with pytest.raises(UserError, match=r"got 2 groups by data\.split_by or of pages; must be"):
        split_groups(np.zeros(10, np.uint8), np.arange(10) % 2, 2, 0, "here")


def drawn(sizes: list[int], validation: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Groups of these sizes, and their parts."""
    groups = np.repeat([f"P{index}" for index in range(len(sizes))], sizes)
    parts = split_groups(np.zeros(len(groups), np.uint8), groups, validation, 0, "here")
    return groups, parts


@pytest.mark.parametrize("place", range(12))
def test_a_group_too_large_for_a_split_is_trained_on(place):
    sizes = [40] * 11
    sizes.insert(place, 600)
    groups, parts = drawn(sizes)
    assert set(parts[groups == f"P{place}"]) == {TRAINING}
    assert [(parts == part).sum() for part in (TEST, VALIDATION)] == [120, 120]
    [note] = large_groups(parts, groups)
    assert note == f"Group: 'P{place}' has 58 % of the images, and is trained on"


def test_where_all_groups_are_large_the_smallest_are_drawn_and_named():
    groups, parts = drawn([600, 230, 170])
    assert [set(parts[groups == f"P{index}"]) for index in range(3)] == [
        {TRAINING},
        {VALIDATION},
        {TEST},
    ]
    assert large_groups(parts, groups) == [
        "Group: 'P0' has 60 % of the images, and is trained on",
        "Group: 'P1' has 23 % of the images, so validation has 23 % of them, not about a tenth",
    ]


def test_small_groups_that_hold_next_to_nothing_are_no_split():
    groups, parts = drawn([330, 330, 337, 1, 1, 1])
    assert min((parts == part).sum() for part in (TRAINING, VALIDATION, TEST)) >= 330
    assert len(large_groups(parts, groups)) == 3


def test_next_to_one_large_group_two_splits_share_the_others():
    groups, parts = drawn([600, *[2] * 20])
    assert [(parts == part).sum() for part in (TEST, VALIDATION)] == [20, 20]
    assert set(parts[groups == "P0"]) == {TRAINING}


def test_a_small_validation_size_leaves_the_order_of_the_hash():
    sizes = np.random.default_rng(2).integers(8, 13, 60).tolist()
    groups, parts = drawn(sizes, validation=3)
    held = set(groups[parts == VALIDATION])
    free = sorted(
        {*groups} - {*groups[parts == TEST]},
        key=lambda name: hashlib.sha256(f"validation/0/{name}".encode()).digest(),
    )
    assert held == {free[0]}


@pytest.mark.parametrize(
    ("given", "first", "count"),
    [
        ([1.0, np.nan, 2.0, np.nan, 3.0], 1, 2),
        (["a", "b", "", "c", "d"], 2, 1),
        (["a", "b", "c", "nan", " None"], 3, 2),
        (np.array(["2024-01-01", "NaT", "2024-01-02", "2024-01-03", "NaT"], "M8[D]"), 1, 2),
    ],
)
@pytest.mark.parametrize("split", [split_groups, split_time])
def test_missing_groups_and_times_are_refused(given, first, count, split):
    seed = (0,) if split is split_groups else ()
    with pytest.raises(UserError) as caught:
        split(np.zeros(5, np.uint8), np.asarray(given), 1, *seed, "here")
    kind = "groups" if split is split_groups else "times"
    assert f"got {count} of 5 {kind} by data.split_by empty or NaN" in caught.value.problem
    assert f"the first in row {first} (from 0)" in caught.value.problem


DAYS = np.random.default_rng(3).permutation(np.arange(400) * 7)


@pytest.mark.parametrize(
    "written",
    [
        lambda day: f"{day:%Y}-{day.month}-{day.day}",
        lambda day: f"{day:%Y}/{day.month}/{day.day}",
        lambda day: f"{day:%Y%m%d}",
        lambda day: f"{day:%Y%m%d}_{day:%H%M}",
        lambda day: f"{day:%Y}-{day.month}-{day.day} {day.hour}:{day:%M}",
        lambda day: day.isoformat() + "+02:00",
        lambda day: str((day - datetime(1900, 1, 1)).days),
        lambda day: f"{day.timestamp():.1f}",
    ],
)
def test_times_as_text_are_in_the_order_of_time(written):
    texts = np.array([written(datetime(1999, 3, 1) + timedelta(int(day))) for day in DAYS])
    parts = split_time(np.zeros(len(DAYS), np.uint8), texts, 40, "here")
    last = np.argsort(DAYS)
    assert {*np.flatnonzero(parts == TEST)} == {*last[-40:]}
    assert {*np.flatnonzero(parts == VALIDATION)} == {*last[-80:-40]}


def test_times_of_several_zones_and_of_parts_of_a_second_are_moments():
    texts = np.array(
        ["2024-05-01T10:00:00.25Z", "2024-05-01 13:00+02:00", "2024-05-01T06:00:00-0400"]
    )
    assert ranks_of(texts, "here", str).tolist() == [1, 2, 0]
    fractions = np.array(["2024-05-01 10:00:00.25", "2024-05-01 10:00:00.5", "2024-05-01 10:00"])
    assert ranks_of(fractions, "here", str).tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["10/2/2024", "9/1/2024", "11/2/2024"], r"got the time '10/2/2024' in row 0 \(from 0\)"),
        (["2024-1-9", "2024-1-10", "9. Jan 2024"], r"got the time '9\. Jan 2024' in row 2"),
        (["2024-02-28", "2024-02-30", "2024-03-01"], r"got the time '2024-02-30' in row 1"),
        (["2024-01-01 10:00", "2024-01-02 10:00+99:99", "2"], r"'2024-01-02 10:00\+99:99'"),
        (["early", "late", "later"], r"must be numbers, or dates with the year first"),
        (["2024-01-01 10:00", "2024-01-02 10:00Z", "2024-01-03 10:00Z"], "with a time zone and"),
    ],
)
def test_times_of_no_sure_order_are_refused(texts, words):
    with pytest.raises(UserError, match=words):
        split_time(np.zeros(3, np.uint8), np.array(texts), 1, "here")


@pytest.mark.parametrize("times", [None, "numbers", "text"])
def test_the_last_images_are_tested_on(times):
    order = np.random.default_rng(1).permutation(100)
    given_times = {
        None: None,
        "numbers": order,
        "text": np.datetime_as_string(np.datetime64("2024-01-01") + order),
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
