"""The race of confirmed configurations: its rule against other programs' statistics, and what holds
for every table of values.
"""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sweeps.results.racing import MOST_LOST, distances, run_race
from sweeps.results.statistics import LEAST_VALUES
from sweeps.study.study_model import LEAST_RACED_SEEDS


@st.composite
def tables(draw, failures=True):
    """Trial → value for each seed: ties, configurations apart, failed runs."""
    count, seeds = draw(st.integers(1, 6)), draw(st.integers(LEAST_RACED_SEEDS, 8))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    own = draw(st.sampled_from([0.0, 1.0, 10.0])) * random.normal(size=count)
    noise = draw(st.sampled_from([0.0, 1.0])) * random.normal(size=(count, seeds))
    values = (own[:, None] + random.normal(size=seeds) + noise).round(draw(st.sampled_from([0, 6])))
    if failures and draw(st.booleans()):
        values[random.random(values.shape) < 0.1] = math.nan
    numbers = random.permutation(20)[:count]
    return {int(number): own.tolist() for number, own in zip(numbers, values, strict=True)}, seeds


def same(one, other):
    """Races are equal; NaN equals NaN, which `==` of dataclasses denies."""
    return repr(one) == repr(other)


def step_by_step(values, seeds):
    """Give the race the runs that it asks for, and no others, until it is over."""
    known = {trial: [None] * seeds for trial in values}
    asked = []
    while True:
        race = run_race(known, seeds)
        asked.append(race.seeds)
        for trial, count in race.seeds.items():
            known[trial][:count] = values[trial][:count]
        if race.ended:
            return race, asked


@given(tables())
@settings(deadline=None)
def test_a_race_asks_for_seeds_in_order_and_for_no_fewer_than_three(drawn):
    values, seeds = drawn
    race, asked = step_by_step(values, seeds)
    assert same(run_race(values, seeds), race), "runs that were not asked for decide nothing"
    assert set(asked[0].values()) == {LEAST_VALUES}
    for before, after in itertools.pairwise(asked):
        assert all(before[trial] <= after[trial] <= seeds for trial in values)
    assert all(dropped.seeds >= LEAST_VALUES for dropped in race.dropped)
    assert all(race.seeds[dropped.trial] == dropped.seeds for dropped in race.dropped)
    assert sorted(race.order) == sorted(race.seeds) == sorted(values)
    left = [
        trial for trial in race.order if trial not in {dropped.trial for dropped in race.dropped}
    ]
    assert [*race.order[: len(left)]] == left, "who is in it stands before who is not"
    if race.ended != "failed":
        assert race.seeds[race.order[0]] == seeds, "the winner gets all seeds"
        assert {race.seeds[trial] for trial in left[1:]} <= {race.looked}
    assert (race.ended == "alone") == (len(left) == 1)
    assert (race.ended == "failed") == (not left)


@given(tables(), st.data())
@settings(deadline=None)
def test_neither_the_order_of_ends_nor_of_the_table_matters(drawn, data):
    """Whatever part of the asked runs has ended, the race asks for nothing that it would not ask
    for at last.
    """
    values, seeds = drawn
    race, asked = step_by_step(values, seeds)
    hidden = data.draw(
        st.lists(st.tuples(st.sampled_from([*values]), st.integers(0, seeds - 1)), max_size=8)
    )
    partly = {trial: [*own] for trial, own in values.items()}
    for trial, index in hidden:
        partly[trial][index] = None
    seen = run_race(partly, seeds)
    assert same(seen, race) if seen.ended else seen.seeds in asked
    shuffled = data.draw(st.permutations([*values]))
    assert same(run_race({trial: values[trial] for trial in shuffled}, seeds), race)


@given(tables(failures=False), st.integers(-3, 3), st.integers(1, 100))
@settings(deadline=None)
def test_a_race_knows_no_unit_and_no_luck_that_all_share(drawn, power, shift):
    values, seeds = drawn
    race = run_race(values, seeds)
    assume(all(abs(dropped.p / MOST_LOST - 1) > 1e-6 for dropped in race.dropped))
    assume(race.spread > 1e-9)
    luck = [shift * index for index in range(seeds)]
    for changed in (
        {trial: [value * 2.0**power for value in own] for trial, own in values.items()},
        {trial: [value + shift for value in own] for trial, own in values.items()},
    ):
        other = run_race(changed, seeds)
        assert [(one.trial, one.seeds) for one in other.dropped] == [
            (one.trial, one.seeds) for one in race.dropped
        ]
        assert other.seeds == race.seeds
    lucky = np.array([np.add(own, luck) for own in values.values()])[:, :LEAST_VALUES]
    plain = np.array([*values.values()])[:, :LEAST_VALUES]
    if len(values) > 1:
        for got, expected in zip(distances(lucky)[:2], distances(plain)[:2], strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-6)


@given(st.integers(0, 1000), st.integers(2, 6), st.integers(3, 8))
@settings(deadline=None, max_examples=30)
def test_the_spread_is_that_of_least_squares_or_the_pairs_own(seed, count, n):
    """Configuration + seed, fitted by least squares on dummies; and the variance of the differences
    to the best.
    """
    random = np.random.default_rng(seed)
    table = random.normal(size=(count, n)) * random.uniform(0.2, 3, (count, 1)) + random.normal(
        size=n
    )
    rows = [(config, at) for config in range(count) for at in range(n)]
    design = np.zeros((len(rows), count + n))
    for row, (config, at) in enumerate(rows):
        design[row, config] = design[row, count + at] = 1
    fitted, *_ = np.linalg.lstsq(design, table.ravel(), rcond=None)
    residual = float(((table.ravel() - design @ fitted) ** 2).sum()) / ((count - 1) * (n - 1))
    behind, errors, freedom = distances(table)
    best = int(table.mean(axis=1).argmin())
    assert freedom == (count - 1) * (n - 1)
    for config in set(range(count)) - {best}:
        difference = table[config] - table[best]
        assert behind[config] == pytest.approx(difference.mean())
        own, pooled = scipy.stats.sem(difference), math.sqrt(2 * residual / n)
        assert errors[config] == pytest.approx(max(own, pooled))
        if count == 2:
            assert own == pytest.approx(pooled), (
                "of two configurations both are the paired t test's"
            )


def test_the_chance_to_win_of_two_is_that_of_the_seeds_to_come():
    """Of two configurations with 3 of 9 seeds: Student's t of the mean difference, which the 6
    seeds to come must turn round.
    """
    values = {0: [0.0, 0.2, 0.1, *[0.0] * 6], 1: [5.0, 5.3, 5.3, *[0.0] * 6]}
    (dropped,) = run_race(values, 9).dropped
    differences = np.subtract(values[1][:3], values[0][:3])
    t = differences.mean() / (differences.std(ddof=1) * math.sqrt(1 / 3 + 1 / 6)) * (1 + 3 / 6)
    assert (dropped.trial, dropped.seeds, dropped.leader) == (1, 3, 0)
    assert dropped.behind == pytest.approx(differences.mean())
    assert dropped.p == pytest.approx(6 * 2 * scipy.stats.t.sf(t, 2)), (
        "6 looks, one pair, two sides"
    )


def test_the_chance_to_win_has_the_distribution_that_is_claimed():
    """T of the seeds seen and the seeds to come is Student's, whatever the difference: uniform p by
    Kolmogorov and Smirnov.
    """
    random = np.random.default_rng(5)
    count, n, rest, ps = 4, 4, 6, []
    for true in (0.0, 3.0):
        for _ in range(500):
            table = random.normal(size=(count, n + rest)) + random.normal(size=n + rest)
            table[1] += true
            seen, to_come = table[:, :n], table[:, n:]
            residuals = seen - seen.mean(axis=1, keepdims=True) - seen.mean(axis=0) + seen.mean()
            error = math.sqrt(2 * (residuals**2).sum() / ((count - 1) * (n - 1)))
            change = (seen[1] - seen[0]).mean() - (to_come[1] - to_come[0]).mean()
            ps.append(
                scipy.stats.t.sf(
                    change / error / math.sqrt(1 / n + 1 / rest), (count - 1) * (n - 1)
                )
            )
    assert scipy.stats.kstest(ps, "uniform").pvalue > 0.01


def test_configurations_that_cannot_be_told_apart_by_more_than_seeds_vary_end_the_race():
    """All share the luck of a seed, which is large: none can be better than the first by as
    much.
    """
    values = {
        trial: [100.0 * seed + 0.01 * ((trial + seed) % 3) for seed in range(10)]
        for trial in range(3)
    }
    race = run_race(values, 10)
    assert (race.ended, race.looked, race.dropped) == ("close", 3, ())
    assert race.spread == pytest.approx(100, rel=0.01)
    assert sorted(race.seeds.values()) == [3, 3, 10]


def test_a_failed_run_ends_the_race_for_its_configuration_after_three_seeds():
    fine = [1.0, 2.0, 3.0, 4.0, 5.0]
    race = run_race({0: [math.nan, 0.0, 0.0, 0.0, 0.0], 1: fine, 2: [9.0, 9.9, 11.1, 0.0, 0.0]}, 5)
    assert next((one.trial, one.seeds, one.leader) for one in race.dropped) == (0, 3, None)
    assert race.order[0] == 1
    assert race.seeds[0] == 3
    nobody = run_race({trial: [math.nan] * 5 for trial in range(2)}, 5)
    assert (nobody.ended, nobody.order, nobody.seeds) == ("failed", (0, 1), {0: 3, 1: 3})
    assert run_race({}, 5).order == ()
    alone = run_race({7: fine}, 5)
    assert (alone.ended, alone.seeds) == ("alone", {7: 5})


def test_equal_values_are_equal():
    race = run_race({trial: [1.0] * 6 for trial in (4, 2)}, 6)
    assert (race.ended, race.order, race.seeds) == ("close", (2, 4), {2: 6, 4: 3})
    apart = run_race({0: [1.0] * 6, 1: [2.0] * 6}, 6)
    assert [(one.trial, one.p) for one in apart.dropped] == [(1, 0.0)]


def test_the_least_seeds_of_a_race_leave_one_to_save():
    assert LEAST_RACED_SEEDS == LEAST_VALUES + 1
