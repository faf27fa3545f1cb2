"""The referee of searches: lanes on a table, its clock, grades from seeds that a search did not
see, and the statistics.
"""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from curve_table import (
    Table,
    append,
    identified,
    live_file,
    load_table,
    to_line,
    whole_lines,
    write_lines,
)
from forest import Forest
from grading import (
    FORMER,
    Change,
    Result,
    above_least,
    influences,
    interval,
    mean_of,
    median_regret,
    ratio,
    ratio_of,
    restricted_mean,
    seed_share,
)
from methods import DEFAULT, OURS, REFERENCE, code_of, run_method, run_ours, study_of, why_not
from noise import NEAR, SeedNoise
from optuna.storages import JournalStorage
from peers import PEERS, Job, OptunaPeer, run_peer
from race import (
    FORMER_DIGESTS,
    KEPT_OURS,
    digest_of,
    entries,
    is_same_search,
    main,
    pack_results,
    race,
    read_former,
    read_results,
    renew,
    single_threaded,
)
from race_report import report
from referee import WORLDS, Referee, half_sample, world_of
from sklearn.ensemble import ExtraTreesRegressor
from surrogate import SURROGATES, Curve, Grades, Process, SeenCurves
from synthetic_table import DIVERGES, EPOCHS, SPACE, draw, truth, write_table
from table_lanes import BudgetSpent, TableLanes, Trace
from toy_study import MemoryJournal
from toy_study import table as stored_table

from sweeps.lanes import TrialSpec, advance_all
from sweeps.source import hash_of
from sweeps.study.space import Parameter, Space
from sweeps.testing import check_lanes

BENCHMARKS = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return write_table(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def referee(table: Table) -> Referee:
    return Referee(table, digest_of(table), 0)


# ---- lanes and their clock ----


def test_lanes_give_the_curves_of_the_table_bit_for_bit(table: Table, referee: Referee) -> None:
    for row in (0, 1, int(table.diverged[:, 0].argmax())):
        lanes = TableLanes(Trace(referee.seen.of_repeat(0), budget=100, lanes=2))
        lanes.add(TrialSpec(number=7, params=table.configurations[row], seed=1))
        seen = []
        while True:
            [progress] = advance_all(lanes, [7])
            seen.append(progress)
            if progress.finished:
                break
        length = int(np.isfinite(table.neg_elbo[row, 0]).sum())
        assert [progress.objective for progress in seen[:length]] == table.neg_elbo[
            row, 0, :length
        ].tolist()
        assert [progress.epoch for progress in seen] == list(range(1, len(seen) + 1))
        if table.diverged[row, 0]:
            assert len(seen) == length + 1
            assert seen[-1].failure is not None
            assert seen[-1].failure.kind == "diverged"
        else:
            assert (len(seen), seen[-1].failure) == (EPOCHS, None)
        assert lanes.clock() == pytest.approx(len(seen) * table.seconds[row, 0, 0])


def test_lanes_on_a_table_keep_the_protocol(table: Table, referee: Referee) -> None:
    going_on = [table.configurations[row] for row in np.flatnonzero(~table.diverged[:, 0])[:3]]
    check_lanes(
        lambda: TableLanes(Trace(referee.seen.of_repeat(0), budget=1000, lanes=2)), going_on
    )


def seconds_of(params: Mapping[str, Any]) -> Curve:
    """A trial that takes these seconds for its epochs."""
    return Curve(
        neg_elbo=(1.0,) * len(params["seconds"]), seconds=tuple(params["seconds"]), diverged=False
    )


@pytest.mark.parametrize(("late", "ends"), [(False, [3, 6, 9, 12]), (True, [3, 4, 7, 8])])
def test_a_lane_that_may_run_ahead_waits_for_the_round_before_the_last(
    late: bool, ends: list[float]
) -> None:
    lanes = TableLanes(Trace(seconds_of, budget=100, lanes=2))
    lanes.add(TrialSpec(number=0, params={"seconds": [1, 3, 1, 3]}, seed=0))
    lanes.add(TrialSpec(number=1, params={"seconds": [3, 1, 3, 1]}, seed=0))
    seen = []
    for _ in range(4):
        if late:
            lanes.prefetch(lambda numbers: ({}, ()))
        advance_all(lanes, [0, 1])
        seen.append(lanes.clock())
    assert seen == ends


def test_a_trace_ends_and_is_graded_in_the_order_of_time() -> None:
    trace = Trace(seconds_of, budget=3, lanes=2)
    long, short = {"seconds": [5.0]}, {"seconds": [1.0, 1.0, 1.0, 1.0]}
    trace.train("long", long, 1, 0.0)
    for epoch in range(1, 5):
        trace.train("short", short, epoch, epoch - 1.0)
    with pytest.raises(BudgetSpent):
        trace.train("short", short, 5, 4.0)
    assert [(each.trial, each.ended) for each in trace.in_order()] == [
        ("short", 1.0),
        ("short", 2.0),
        ("short", 3.0),
    ]


@pytest.mark.parametrize("lanes", [1, 4, 16])
@pytest.mark.parametrize(
    "name", [REFERENCE, "random + halving", "tpe + promotion", "curves + promotion"]
)
def test_a_search_that_is_killed_and_goes_on_ends_in_the_same_table(
    referee: Referee, name: str, lanes: int
) -> None:
    given = {"name": "kill", "seed": 3, "epochs": EPOCHS, "budget": 150}
    study = study_of(SPACE, OURS[name], **given)

    def searched(*budgets: int) -> list[dict[str, Any]]:
        journal = MemoryJournal()
        for budget in budgets:
            run_ours(
                study,
                Trace(referee.seen.of_repeat(0), budget=budget, lanes=lanes),
                JournalStorage(journal),
            )
        return stored_table(optuna.load_study(study_name="kill", storage=JournalStorage(journal)))

    whole = searched(1000)
    assert sum(len(trial["published"]) for trial in whole) >= 150
    for killed in (1, 13, 67):
        assert searched(killed, 40, 1000) == whole


# ---- what is seen and what is graded ----


@pytest.fixture(scope="module", params=SURROGATES)
def seen(request: pytest.FixtureRequest, table: Table) -> SeenCurves:
    return SeenCurves(table, half_sample(table, 0), request.param)


def test_curves_off_the_table_are_near_the_truth(seen: SeenCurves) -> None:
    random, curves = np.random.default_rng(1), seen.of_repeat(0)
    missed, diverged = [], []
    for _ in range(60):
        params = draw(random)
        curve = curves(params)
        assert len(curve.seconds) == len(curve.neg_elbo) + curve.diverged
        assert min(curve.seconds) >= 0.5
        if curve.diverged:
            diverged.append(params["learning_rate"])
        else:
            missed.append(curve.neg_elbo[-1] - truth(params))
    # The noise of a seed is 0.2 nats, of which the median size is 0.13.
    assert 0.08 < np.median(np.abs(missed)) < 0.35
    assert min(diverged) > DIVERGES / 2
    assert len(diverged) > 2


def test_a_table_of_its_own_points_has_no_noise_but_its_own(seen: SeenCurves, table: Table) -> None:
    half = half_sample(table, 0)
    for row in (0, 3, 17, int(table.diverged[:, 0].argmax())):
        expected = table.neg_elbo[row, half[row]]
        for repeat in (0, 1, 7):
            found = seen.of_repeat(repeat)(table.configurations[row]).neg_elbo
            assert found == tuple(expected[np.isfinite(expected)].tolist())


def test_noise_is_that_of_a_seed_and_belongs_to_configuration_and_repeat(seen: SeenCurves) -> None:
    """Each seed of the made-up table moves a whole curve by a normal error of 0.2 nats."""
    params = {"optimizer": "adam", "learning_rate": 2.1e-3, "components": 9}
    curves = np.array([seen.of_repeat(repeat)(params).neg_elbo for repeat in range(150)])
    assert curves[:, -1].std() == pytest.approx(0.2, rel=0.3)
    assert np.corrcoef(curves[:, 0], curves[:, -1])[0, 1] > 0.99, (
        "the noise of a curve is one error here"
    )
    assert seen.of_repeat(5)(dict(reversed(params.items()))).neg_elbo == tuple(curves[5])
    one, two = (
        seen.of_repeat(5)(params | {"learning_rate": rate}).neg_elbo[-1]
        for rate in (2.1e-3, 2.1001e-3)
    )
    assert one != two, "a configuration nearby has a noise of its own"
    assert len({*curves[:, -1]}) > NEAR, "draws are of many errors and of both signs"


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.1), (0.1, 0.5), (2.0, 0.05)])
def test_draws_have_the_deviation_of_differences_nearby(low: float, high: float) -> None:
    """A seed's deviation is `low` at the best configurations and `high` at the worst, and falls to
    a half along the curve.
    """
    random = np.random.default_rng(7)
    points, deviation = random.random((400, 2)), np.repeat([low, high], 200)
    ends = np.where(deviation == low, 0.0, 3.0) if low != high else np.repeat([0.0, 3.0], 200)
    course = np.array([1.0, 0.5])
    differences = (random.normal(size=(2, 400)) * deviation).T @ np.array([[1.0], [-1.0]]) * course
    differences[5, 1] = math.nan
    noise = SeedNoise(points, ends, differences)
    middle = np.array([0.5, 0.5])
    for end, expected in ((0.0, low), (3.0, high)):
        draws = np.array([noise.draw(middle, end, seed) for seed in range(4_000)])
        np.testing.assert_allclose(noise.deviation(middle, end), expected * course, rtol=0.35)
        np.testing.assert_allclose(draws.std(axis=0), noise.deviation(middle, end), rtol=0.05)
        np.testing.assert_allclose(draws.mean(axis=0), 0, atol=4 * expected / math.sqrt(4_000))
        assert noise.draw(middle, end, 3).tolist() == draws[3].tolist()
    with pytest.raises(ValueError, match="two whole curves"):
        SeedNoise(points, ends, np.full_like(differences, math.nan))


def test_half_samples_see_each_seed_of_half_the_configurations(table: Table) -> None:
    halves = [half_sample(table, repeat) for repeat in range(WORLDS)]
    assert len({half.tobytes() for half in halves}) == WORLDS
    for repeat, half in enumerate(halves):
        assert {*half} == {0, 1}
        assert half.mean() == pytest.approx(0.5, abs=0.12)
        assert half_sample(table, repeat + WORLDS).tobytes() == half.tobytes()
        assert world_of(repeat + WORLDS) == repeat


def test_trees_are_those_of_scikit_learn_and_weigh_what_is_known() -> None:
    random = np.random.default_rng(3)
    points = random.random((60, 3))
    targets = np.stack([points[:, 0], np.sin(4 * points[:, 1])], axis=1)
    asked = random.random((5, 3))
    sklearn = ExtraTreesRegressor(200, min_samples_leaf=2, random_state=0).fit(points, targets)
    forest = Forest(points, targets)
    np.testing.assert_allclose(
        [forest(point) for point in asked], sklearn.predict(asked), rtol=1e-10
    )
    counts = random.integers(1, 4, 60)
    repeated = np.repeat(points, counts, axis=0), np.repeat(targets[:, :1], counts, axis=0)
    weighed = Forest(points, targets[:, :1], counts)
    assert weighed(asked[0])[0] == pytest.approx(Forest(*repeated)(asked[0])[0], abs=0.1)
    targets[:12, 1] = math.nan
    holes = Forest(points, targets)
    whole = Forest(points[12:], targets[12:])
    assert holes(asked[0])[1] == pytest.approx(whole(asked[0])[1])
    left_out = holes.left_out()
    assert np.isnan(left_out).sum() == 12
    assert 0 < np.nanmean(np.abs(left_out - targets)) < 0.15


def test_the_process_is_the_closed_form_of_its_kernel_where_values_are_missing() -> None:
    random = np.random.default_rng(3)
    points = random.random((40, 3))
    targets = np.stack([points[:, 0], np.sin(4 * points[:, 1])], axis=1) + 0.05 * random.normal(
        size=(40, 2)
    )
    targets[:12, 1] = math.nan
    counts = random.integers(1, 4, 40)
    process = Process(points, targets, counts)
    asked = random.random((5, 3))
    for column in (0, 1):
        rows = np.flatnonzero(np.isfinite(targets[:, column]))
        own = targets[rows, column]
        scaled = (own - own.mean()) / own.std()
        covariance = process.kernel(points[rows]) + np.diag(process.noise / counts[rows])
        expected = (
            process.kernel(asked, points[rows]) @ np.linalg.solve(covariance, scaled) * own.std()
            + own.mean()
        )
        np.testing.assert_allclose([process(point)[column] for point in asked], expected, rtol=1e-8)


def test_what_is_left_out_has_no_part_in_what_the_others_say_of_it() -> None:
    random = np.random.default_rng(4)
    points = random.random((25, 2))
    targets = points[:, [0]] ** 2 + 0.05 * random.normal(size=(25, 1))
    process = Process(points, targets)
    scaled = (targets - targets.mean()) / targets.std()
    covariance = process.kernel(points) + process.noise * np.eye(25)
    for row in (0, 7, 24):
        others = np.delete(np.arange(25), row)
        weights = np.linalg.solve(covariance[np.ix_(others, others)], scaled[others, 0])
        expected = (
            process.kernel(points[[row]], points[others])[0] @ weights * targets.std()
            + targets.mean()
        )
        assert process.left_out()[row, 0] == pytest.approx(expected)


def test_errors_are_of_curves_that_were_left_out(referee: Referee) -> None:
    errors = referee.seen.errors()
    assert [error.epoch for error in errors] == list(range(1, EPOCHS + 1))
    last = errors[-1]
    # No prediction from others can be nearer than the noise of the curve itself, whose median is
    # 0.13 nats.
    assert 0.13 < last.nats < 0.4
    assert last.rank_correlation > 0.95
    assert last.nats_near_best < 0.4
    assert last.nats < last.nearest_nats


def test_the_seen_seed_never_enters_the_grade(table: Table) -> None:
    random = np.random.default_rng(2)
    asked = [*table.configurations, *(draw(random) for _ in range(50))]
    for seen in (0, 1):
        grades = Grades(table, seen)
        other, changed = table.neg_elbo.copy(), table.neg_elbo.copy()
        other[:, seen] += random.normal(size=other[:, seen].shape) * 100
        changed[:, 2] += 7.0
        unseen = replace(table, neg_elbo=other, diverged=_flipped(table.diverged, seen))
        again = Grades(unseen, seen)
        assert [again(params) for params in asked] == [grades(params) for params in asked]
        assert again.best == grades.best
        assert Grades(replace(table, neg_elbo=changed), seen).best != grades.best


def _flipped(flags: np.ndarray, column: int) -> np.ndarray:
    flags = flags.copy()
    flags[:, column] = ~flags[:, column]
    return flags


def test_a_grade_is_near_the_truth_and_infinite_where_others_diverge(table: Table) -> None:
    grades = Grades(table, 0)
    assert grades.best == pytest.approx(min(map(truth, table.configurations)), abs=0.4)
    assert grades({"optimizer": "adam", "learning_rate": 9e-2, "components": 8}) == math.inf
    assert grades({"optimizer": "adam", "learning_rate": 2e-3, "components": 8}) == pytest.approx(
        100, abs=0.4
    )


LEVELS = {"best": 100.0, "good": 101.0, "fair": 105.0, "bad": 110.0}


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Four levels of nats, 40 configurations of each; the seeds lie 0.8 above, 0.8 below and at
    their mean: a spread of 0.8.
    """
    folder = tmp_path_factory.mktemp("levels")
    level = Parameter(name="level", kind="choice", values=tuple(LEVELS))
    space = Space((level, Parameter(name="other", kind="int", low=1, high=40)))
    shared = {"space": "A", "epochs": 2, "search": space.as_dict(), "settings": {}, "seed": 0}
    origin = identified({**shared, "fingerprint": "f", "sizes": [1, 2, 3], "code": {}})
    append(live_file("A", folder), to_line(origin))
    for number, (name, other) in enumerate(
        (name, other) for name in LEVELS for other in range(1, 41)
    ):
        for seed, error in enumerate((0.8, -0.8, 0.0)):
            values = [LEVELS[name] + error + 3.0, LEVELS[name] + error]
            content = {
                "configuration": number,
                "stage": "first",
                "params": {"level": name, "other": other},
                "seed": seed,
            }
            content |= {"neg_elbo": values, "rate": [1.0, 1.0], "seconds": [1.0, 1.0]}
            line = to_line({**content, "diverged": False, "date": "d", "origin": origin["id"]})
            with live_file("A", folder).open("a", encoding="utf-8") as file:
                file.write(line)
    return load_table("A", folder)


def test_epochs_to_a_target_of_which_the_answer_is_known(levels: Table) -> None:
    referee = Referee(levels, digest_of(levels), 0)
    assert referee.spread == pytest.approx(0.8)
    assert referee.seen.of_repeat(0)({"level": "good", "other": 3}).neg_elbo == (104.8, 101.8)
    trace = Trace(referee.seen.of_repeat(0), budget=20, lanes=1)
    for number, level in enumerate(("bad", "fair", "good", "best")):
        for epoch in (1, 2):
            trace.train(number, {"level": level, "other": 7}, epoch, 2.0 * number + epoch - 1)
    result = referee.grade(trace, method="by hand", repeat=0)
    # Seen: 113.8 110.8 | 108.8 105.8 | 104.8 101.8 | 103.8 100.8, so "best" is chosen after its
    # second epoch only.
    assert [(change.epochs, change.seconds) for change in result.changes] == [
        (1, 1),
        (3, 3),
        (5, 5),
        (8, 8),
    ]
    assert [change.regret for change in result.changes] == pytest.approx([10, 5, 1, 0], abs=0.05)
    assert [result.epochs_to(deviations) for deviations in (2, 1, 20)] == [5, 8, 1]
    assert [result.regret(count) for count in (0, 2, 4, 20)] == pytest.approx(
        [math.inf, 10, 5, 0], abs=0.05
    )
    assert (result.trained, result.trials) == (8, 4)
    assert Result.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False))) == result
    never = replace(result, changes=result.changes[:2])
    assert (never.reached(2), never.epochs_to(2)) == (None, 20)


def test_a_target_that_is_left_again_is_not_reached() -> None:
    by_chance = (
        Change(epochs=3, seconds=3.0, regret=0.5),
        Change(epochs=7, seconds=7.0, regret=5.0),
    )
    left = replace(result_at(0, None), changes=by_chance)
    assert left.reached(1) is None
    again = (
        *by_chance,
        Change(epochs=9, seconds=9.0, regret=0.9),
        Change(epochs=11, seconds=11.0, regret=0.4),
    )
    assert replace(left, changes=again).epochs_to(1) == 9


# ---- statistics ----


def result_at(repeat: int, epochs: int | None, *, method: str = "m", budget: int = 100) -> Result:
    """A search that reaches the best after so many epochs, or never."""
    changes = [Change(epochs=1, seconds=1.0, regret=math.inf)]
    changes += [] if epochs is None else [Change(epochs=epochs, seconds=1.0, regret=0.0)]
    known = {
        "space": "A",
        "table": "t",
        "code": "",
        "surrogate": "process",
        "world": world_of(repeat),
        "lanes": 1,
        "spread": 1.0,
        "trained": budget,
        "trials": 3,
        "own_seconds": 0.0,
    }
    return Result(method=method, repeat=repeat, budget=budget, changes=tuple(changes), **known)


def test_a_search_that_never_arrives_counts_as_its_whole_budget() -> None:
    results = [result_at(0, 20), result_at(1, 40), result_at(2, None)]
    assert restricted_mean(results, 1).value == pytest.approx(160 / 3)
    slower = [
        result_at(2, None, method="slow"),
        result_at(0, 40, method="slow"),
        result_at(1, 80, method="slow"),
    ]
    assert ratio(results, slower, 1).value == pytest.approx(220 / 160)
    assert ratio(results, results, 1) == replace(
        ratio(results, results, 1), value=1.0, low=1.0, high=1.0
    )
    with pytest.raises(ValueError, match="other repeats"):
        ratio(results, slower[:2], 1)
    with pytest.raises(ValueError, match="another budget"):
        ratio(results, [replace(result, budget=200) for result in slower], 1)
    assert [estimate.value for estimate in median_regret(results, [19, 20, 40])] == [
        math.inf,
        math.inf,
        0.0,
    ]


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    """Of 50 exponential numbers; the percentile bootstrap is known to cover a little less than 95
    %: about 93 %.
    """
    random, covered = np.random.default_rng(5), 0
    for _ in range(300):
        found = interval(
            lambda values: values[..., 0, :].mean(axis=-1), random.exponential(size=50)
        )
        covered += found.low <= 1 <= found.high
    assert 0.89 <= covered / 300 <= 0.97


def of_the_table(random: np.random.Generator, luck: float) -> tuple[list[float], list[int]]:
    """Return epochs of 50 repeats, of which the mean over all tables is 1, and the half-samples
    that they saw.

    40 configurations with two seeds move the mean of a half-sample: by the seed that is seen of
    each.
    """
    effects = luck * random.normal(size=(40, 2)) / math.sqrt(40)
    halves = random.integers(2, size=(WORLDS, 40))
    means = np.exp(effects[np.arange(40), halves].sum(axis=1) - luck**2 / 2)
    worlds = [world_of(repeat) for repeat in range(50)]
    return [float(means[world] * random.exponential()) for world in worlds], worlds


@pytest.mark.parametrize(("luck", "least"), [(0.0, 0.88), (0.25, 0.8), (0.6, 0.8)])
def test_the_interval_covers_the_luck_of_the_seeds_of_the_table(luck: float, least: float) -> None:
    """Of 160 tables, eight to a referee. The luck of a table is about √½ of the luck of a
    half-sample; the rest is chance of the searches.
    """
    random, covered, by_repeats, shares = np.random.default_rng(8), 0, 0, []
    for _ in range(20):
        tables = [of_the_table(random, luck) for _ in range(8)]
        shares.append(
            seed_share([(influences(mean_of, epochs), worlds) for epochs, worlds in tables])
        )
        for epochs, _ in tables:
            found, alone = (interval(mean_of, epochs, share=share) for share in (shares[-1], 0.0))
            covered += found.low <= 1 <= found.high
            by_repeats += alone.low <= 1 <= alone.high
    assert covered / 160 >= least
    assert np.mean(shares) == pytest.approx(luck**2 / (2 + luck**2), abs=0.05)
    if luck == 0.6:
        assert by_repeats / 160 < 0.6, "repeats alone do not know the luck of a table"


def test_the_share_of_the_seeds_is_what_lies_between_half_samples() -> None:
    worlds = [0, 0, 1, 1]
    assert seed_share([(np.array([1.0, 1.0, -1.0, -1.0]), worlds)]) == 1
    assert seed_share([(np.array([1.0, -1.0, 1.0, -1.0]), worlds)]) == 0
    # Mean squares of 4 between and 1 within, two repeats each: variances of (4 - 1) / 2 and 1.
    mixed = np.array([3.0, 1.0, 0.0, 0.0])
    assert seed_share([(mixed, worlds)]) == pytest.approx(1.5 / 2.5)
    assert seed_share([(10 * mixed, worlds), (mixed, worlds)]) == pytest.approx(1.5 / 2.5), (
        "each on its own scale"
    )
    for said_nothing in ([0] * 4, [0, 1, 2, 3]):
        assert seed_share([(mixed, said_nothing)]) == 0


def test_influences_are_derivatives_of_the_logarithm() -> None:
    random = np.random.default_rng(9)
    one, other = random.exponential(size=(2, 200))
    expected = one / one.mean() - other / other.mean()
    np.testing.assert_allclose(influences(ratio_of, one, other), expected, atol=0.1)
    assert influences(mean_of, one).mean() == pytest.approx(0)


def test_targets_lie_above_the_least_that_any_search_chose_in_the_same_half_sample() -> None:
    def result(repeat: int, method: str, *regrets: float, **fields: Any) -> Result:
        changes = tuple(
            Change(epochs=n, seconds=1.0, regret=regret)
            for n, regret in enumerate(regrets, start=1)
        )
        return replace(result_at(repeat, None, method=method), changes=changes, **fields)

    slow = result(0, "slow", 5.0, 1.5)
    assert above_least([slow]) == [slow], "the table's best is the least where nobody was below it"
    lucky, elsewhere = result(WORLDS, "lucky", 3.0, -2.8, -0.5), result(1, "slow", 0.5)
    forest = result(0, "slow", 1.5, surrogate="trees")
    found = above_least([slow, lucky, elsewhere, forest])
    assert [[c.regret for c in r.changes] for r in found] == [
        [7.8, 4.3],
        [5.8, 0.0, 2.3],
        [0.5],
        [1.5],
    ]
    assert [r.reached(2) is not None for r in found] == [False, False, True, True]
    assert [r.reached(2) is not None for r in (slow, lucky)] == [True, True]


def test_a_ratio_of_pairs_is_surer_than_one_of_strangers() -> None:
    random = np.random.default_rng(6)
    epochs = random.integers(10, 90, size=50)
    fast = [result_at(repeat, int(count) // 2) for repeat, count in enumerate(epochs)]
    slow = [result_at(repeat, int(count), method="slow") for repeat, count in enumerate(epochs)]
    paired = ratio(fast, slow, 1)
    stranger = ratio(fast, [replace(r, repeat=49 - r.repeat) for r in slow], 1)
    assert paired.value == pytest.approx(2, abs=0.05) == stranger.value
    assert paired.high - paired.low < (stranger.high - stranger.low) / 5


# ---- peers ----


class Pausing:
    """Trains two trials one epoch each, then the first of them to its end."""

    def __init__(self) -> None:
        self.jobs: Iterator[str] = iter("aba")
        self.heard: list[tuple[str, int]] = []

    def ask(self) -> Job | None:
        key = next(self.jobs, None)
        return None if key is None else Job(key=key, params={"seconds": [1, 2, 3]}, handle=None)

    def report(self, job: Job, epoch: int, objective: float, *, last: bool) -> bool:
        self.heard.append((str(job.key), epoch))
        return epoch > 1


def test_a_trial_that_is_resumed_pays_for_its_new_epochs_alone() -> None:
    trace, peer = Trace(seconds_of, budget=100, lanes=1), Pausing()
    run_peer(peer, trace, 1)
    assert peer.heard == [("a", 1), ("b", 1), ("a", 2), ("a", 3)]
    assert [each.ended for each in trace.in_order()] == [1, 2, 4, 7]


def test_optuna_at_one_worker_is_its_own_optimize(referee: Referee) -> None:
    def parts() -> tuple[optuna.samplers.BaseSampler, optuna.pruners.BasePruner]:
        return optuna.samplers.TPESampler(seed=4), optuna.pruners.MedianPruner()

    peer, curves = OptunaPeer(SPACE, *parts()), referee.seen.of_repeat(0)
    trace = Trace(curves, budget=300, lanes=1)
    run_peer(peer, trace, 1)

    def objective(trial: optuna.Trial) -> float:
        curve = curves(SPACE.suggest(trial))
        for epoch, value in enumerate(curve.neg_elbo, start=1):
            trial.report(value, epoch)
            if epoch < EPOCHS and trial.should_prune():
                raise optuna.TrialPruned
        if curve.diverged:
            raise ArithmeticError
        return min(curve.neg_elbo)

    sampler, pruner = parts()
    study = optuna.create_study(sampler=sampler, pruner=pruner)
    study.optimize(objective, n_trials=len(trace.params) - 1, catch=ArithmeticError)
    ours = peer.study.trials[: len(study.trials)]
    fields = ("params", "state", "values", "intermediate_values")
    assert [[getattr(trial, name) for name in fields] for trial in ours] == [
        [getattr(trial, name) for name in fields] for trial in study.trials
    ]
    assert {trial.state.name for trial in ours} == {"COMPLETE", "PRUNED", "FAIL"}


def test_every_search_of_data_runs_or_says_why_not(table: Table, referee: Referee) -> None:
    for method in (*OURS, *PEERS):
        if reason := why_not(method, table):
            assert "No module named" in reason or (method, "components" in reason) == (
                "gp + median",
                True,
            )
            continue
        for lanes in (1, 4):
            result = run_method(referee, method, lanes=lanes, repeat=1, budget=60)
            assert result.trained == 60, method
            assert math.isfinite(result.changes[-1].regret), method
            assert result == replace(
                run_method(referee, method, lanes=lanes, repeat=1, budget=60),
                own_seconds=result.own_seconds,
            ), f"{method} is not deterministic"


# ---- the race ----


def table_rows(page: str) -> list[list[str]]:
    """The cells of all tables of a page, heads and rules too."""
    return [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in page.splitlines()
        if line.startswith("|")
    ]


def test_a_report_compares_the_default_with_each_other_search_over_the_repeats_of_both() -> None:
    epochs = {
        REFERENCE: (40, 80),
        "random + promotion": (60, 60),
        DEFAULT: (20, 20),
        "ray: asha": (30, None),
    }
    results = [
        result_at(repeat, count, method=method)
        for method, counts in epochs.items()
        for repeat, count in enumerate(counts)
    ]
    rows = table_rows(report(results[:-1]))
    assert rows[-4][0] == f"× of {DEFAULT} to"
    assert [row[:2] for row in rows[-2:]] == [
        ["random + promotion", "3.00 (3.00–3.00)"],
        ["ray: asha", "1.50 (1.50–1.50)"],
    ]
    assert f"× of {DEFAULT}" not in report(results[:4])


def test_a_report_shows_spaces_side_by_side_and_says_where_there_are_fewer_repeats() -> None:
    counts = {
        ("A", REFERENCE): (40, 80),
        ("A", DEFAULT): (20, 20),
        ("B", DEFAULT): (30, 30),
        ("B", "ray: asha"): (90,),
    }
    results = [
        replace(result_at(repeat, count, method=method), space=space)
        for (space, method), some in counts.items()
        for repeat, count in enumerate(some)
    ]
    overview = report(results).partition("\n### Gaussian process: A with")[0]
    assert [row for row in table_rows(overview) if not row[0].startswith("-")] == [
        ["search", "A", "B"],
        [f"**{REFERENCE}**", "60 (40–80)", "–"],
        [f"**{DEFAULT}**", "20 (20–20)", "30 (30–30)"],
        ["ray: asha", "–", "90 (90–90), n 1"],
        [f"× of {DEFAULT} to", "A", "B"],
        [f"**{REFERENCE}**", "3.00 (2.00–4.00)", "–"],
        ["ray: asha", "–", "3.00 (3.00–3.00)"],
    ] * 2, "to the nearer target and to the farther one"
    assert "All spaces" not in report([result for result in results if result.space == "A"])


def test_results_of_the_former_referee_are_kept_and_stand_apart() -> None:
    former = read_former("ABCD")
    assert {(r.space, r.table) for r in former} == {*FORMER_DIGESTS.items()}
    assert {r.surrogate for r in former} == {FORMER}
    assert {r.method for r in former if r.space == "C"} >= {*PEERS, DEFAULT, REFERENCE}
    default = [r for r in former if (r.space, r.lanes, r.method) == ("C", 4, DEFAULT)]
    assert restricted_mean(default, 2).value == pytest.approx(215, abs=0.5)
    now = [result_at(0, 20, method=DEFAULT), result_at(1, 30, method=DEFAULT)]
    page = report([*now, *default])
    assert (
        page.index("| **curves + promotion** | 2 |")
        < page.index("## Former referee")
        < page.index("| 215 (170–272) |")
    )


def test_results_are_kept_once_and_those_of_ours_make_room(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [
        replace(result_at(0, 20, method=method), table=digest_of(table))
        for method in ("ray: asha", "random")
    ]
    ours, of_before = replace(made[1], code=code_of("random")), made[1]
    for result in (made[0], of_before, ours):
        append(tmp_path / "search.jsonl", json.dumps(result.to_dict()) + "\n")
    kept = tmp_path / "races"
    monkeypatch.setattr("race.RACES", kept)
    assert pack_results({"A": table}, tmp_path, kept) == [
        kept / "001.jsonl.xz",
        kept / "ours.jsonl.xz",
    ]
    assert pack_results({"A": table}, tmp_path, kept) == []
    assert read_results({"A": table}, tmp_path) == [made[0], ours], (
        "what is kept stands there twice, and is read once"
    )
    (tmp_path / "search.jsonl").unlink()
    assert read_results({"A": table}, tmp_path) == [made[0], ours]
    monkeypatch.setattr("methods.source_of", lambda name: SimpleNamespace(sha256="changed since"))
    assert read_results({"A": table}, tmp_path) == [made[0]]
    assert pack_results({"A": table}, tmp_path, kept) == [], (
        "nothing takes the place of what was found before"
    )
    newer = replace(made[1], code="changed sinc", repeat=1)
    append(tmp_path / "search.jsonl", json.dumps(newer.to_dict()) + "\n")
    assert pack_results({"A": table}, tmp_path, kept) == [kept / "ours.jsonl.xz"]
    (tmp_path / "search.jsonl").unlink()
    assert read_results({"A": table}, tmp_path) == [made[0], newer]
    assert [json.loads(line)["code"] for line in whole_lines(kept / "ours.jsonl.xz")] == [
        "changed sinc"
    ]


def test_the_same_search_rounds_its_grades_otherwise_and_does_nothing_else_otherwise() -> None:
    made = result_at(0, 20)
    (*earlier, last), budget = made.changes, made.budget
    for seconds, regret in ((1e-9, -1e-9), (0, math.nan), (0, 1e-3), (1e-3, 0)):
        moved = replace(last, seconds=last.seconds + seconds, regret=last.regret + regret)
        other = replace(
            made, changes=(*earlier, moved), code="another", own_seconds=made.own_seconds + 1
        )
        assert is_same_search(made, other) == (seconds == 1e-9)
    assert not is_same_search(
        made, replace(made, changes=(*earlier, replace(last, epochs=last.epochs + 1)))
    )
    assert not is_same_search(made, replace(made, changes=made.changes[:-1]))
    assert not is_same_search(made, replace(made, trials=made.trials + 1))
    assert not is_same_search(made, replace(made, budget=budget + 1))


@pytest.mark.slow
def test_results_are_renewed_where_the_first_repeats_are_the_same(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last results are kept by another processor, which rounds otherwise: the search with the
    former code decides.
    """
    former, root = tmp_path / "former", BENCHMARKS.parent
    shutil.copytree(
        root / "sweeps", former / "sweeps", ignore=shutil.ignore_patterns("__pycache__")
    )
    without = shutil.ignore_patterns("__pycache__", "results", "races", "tables", "tests")
    shutil.copytree(BENCHMARKS, former / "benchmarks", ignore=without)
    for module in ("sweeps/source.py", "benchmarks/search/referee.py"):
        with (former / module).open("a", encoding="utf-8") as file:
            file.write("# Another state.\n")
    tables, kept, peers = write_and_race(table, tmp_path, monkeypatch)
    present = kept.read_bytes(), peers.read_bytes()
    state = former_state(former, tables)
    lines, of_peers = (
        [json.loads(line) | state for line in whole_lines(path)] for path in (kept, peers)
    )
    of_peers = [line | {"code": ""} for line in of_peers]
    grown = [
        line | {"trials": line["trials"] + (line["repeat"] == 0 and line["method"] == "random")}
        for line in lines
    ]
    stranger = [line | {"code": "stranger"} for line in grown]
    differs = ["A random, 2 lanes, repeat 0"]
    for found, checkout, other in (
        (grown, None, differs),
        (stranger, former, differs),
        (lines, None, []),
        (grown, former, []),
    ):
        write_lines(kept, [to_line(line) for line in found])
        write_lines(peers, [to_line(line) for line in of_peers])
        before = kept.read_bytes(), peers.read_bytes()
        assert read_results({"A": table}, tmp_path / "out") == []
        if checkout is None:
            assert renew({"A": table}, tables, tmp_path, None, repeats=1, workers=1) == other
        else:
            options = [
                "--tables",
                str(tables),
                "--renew",
                "1",
                "--former",
                str(checkout),
                "--workers",
                "1",
            ]
            monkeypatch.setattr("sys.argv", ["race.py", *options])
            with pytest.raises(SystemExit, match=differs[0]) if other else nullcontext():
                main()
        after = kept.read_bytes(), peers.read_bytes()
        assert (after == before) == bool(other)
        assert len(read_results({"A": table}, tmp_path / "out")) == (0 if other else 6)
        assert other or found is grown or after == present


def former_state(former: Path, tables: Path) -> dict[str, str]:
    """Return the state of referee and `sweeps` in a checkout, as results have it."""
    program = (
        "import sys, pathlib, race; print(race.digest_of(race.load_table('A', "
        "pathlib.Path(sys.argv[1]))))"
    )
    environment = {
        "PYTHONPATH": os.pathsep.join([str(former), str(former / "benchmarks" / "search")]),
        "PATH": "",
    }
    command = [sys.executable, "-P", "-c", program, str(tables)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return {
        "table": done.stdout.strip(),
        "code": hash_of(str(former / "sweeps" / "__init__.py"), package=True)[:12],
    }


def test_searches_have_one_thread_and_whoever_races_keeps_his_own() -> None:
    before = dict(os.environ)
    with single_threaded(1) as pool:
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
        assert pool.submit(os.getenv, "LOKY_MAX_CPU_COUNT").result() == "1"
    assert dict(os.environ) == before


def write_and_race(
    table: Table, into: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path, Path]:
    """Race three searches on a table and keep the results; return the folder of the table, and the
    files of results of ours and of peers.
    """
    write_table(into / "tables")
    monkeypatch.setattr("race.RACES", into)
    methods = ["random", REFERENCE, "optuna: tpe + median"]
    wanted = [*entries(table, methods, surrogate=["process"], lanes=[2], repeats=2, budget=40)]
    race({"A": table}, wanted, into / "tables", into / "out", workers=1)
    peers = into / "001.jsonl.xz"
    assert pack_results({"A": table}, into / "out", into) == [peers, into / KEPT_OURS]
    (into / "out" / "search.jsonl").unlink()
    return into / "tables", into / KEPT_OURS, peers


@pytest.mark.slow
def test_a_race_goes_on_where_it_was_stopped_and_is_reported(table: Table, tmp_path: Path) -> None:
    folder, out = tmp_path / "tables", tmp_path / "out"
    write_table(folder)
    asked = [
        "--tables",
        str(folder),
        "--out",
        str(out),
        "--lanes",
        "1",
        "4",
        "--epochs",
        "40",
        "--workers",
        "1",
    ]
    asked += ["--surrogate", "trees"]
    command = [
        sys.executable,
        str(BENCHMARKS / "search" / "race.py"),
        *asked,
        "--methods",
        "random",
        REFERENCE,
    ]
    environment = {"PYTHONPATH": str(BENCHMARKS.parent), "PATH": ""}
    for repeats, lines in (("1", 4), ("3", 12), ("3", 12)):
        done = subprocess.run(
            [*command, "--repeats", repeats],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        results = read_results({"A": table}, out)
        assert len(results) == lines == len({(r.method, r.lanes, r.repeat) for r in results})
    written = (out / "search-tables.md").read_text(encoding="utf-8")
    assert written.count("### Extra trees: A with ") == 2
    assert "| **tpe + median** |" in written
    (out / "search-tables.md").unlink()
    done = subprocess.run(
        [*command, "--report", "--repeats", "9"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (out / "search-tables.md").read_text(encoding="utf-8") == written, "--report raced"
    assert (out / "search-A.png").read_bytes().startswith(b"\x89PNG")
    grown = replace(table, seconds=table.seconds + 1)
    assert read_results({"A": grown}, out) == []
    race(
        {"A": table},
        list(entries(table, ["random"], surrogate=["trees"], lanes=(1,), repeats=1, budget=40)),
        folder,
        out,
        workers=1,
    )
    assert len((out / "search.jsonl").read_text(encoding="utf-8").splitlines()) == 12


def test_what_is_raced_leaves_out_what_cannot_run_and_lets_each_lane_finish_trials(
    table: Table,
) -> None:
    raced = list(entries(table, ["random", "gp + median"], lanes=(1, 64), repeats=5, budget=None))
    assert len(raced) == 20
    assert {(entry.lanes, entry.budget) for entry in raced} == {(1, 1200), (64, 3 * 64 * EPOCHS)}


def test_the_list_of_searches_says_which_cannot_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_table(tmp_path)
    monkeypatch.setattr(sys, "argv", ["race.py", "--tables", str(tmp_path), "--list"])
    main()
    listed = capsys.readouterr().out.splitlines()
    assert REFERENCE in listed
    assert any(line.startswith("gp + median (A: sampler.name") for line in listed)


def test_a_race_without_tables_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_table(tmp_path / "young", configurations=5, seeds=1)
    for folder, arguments, words in (
        ("", [], "holds no table"),
        ("", ["--space", "B"], "table B: got no curves"),
        ("", ["--surrogate", "forest"], "invalid choice: 'forest'"),
        ("young", [], "table A: got no configuration with two finished seeds"),
    ):
        monkeypatch.setattr(
            sys, "argv", ["race.py", "--tables", str(tmp_path / folder), *arguments]
        )
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert words in capsys.readouterr().err


def test_a_table_that_grew_has_another_digest(table: Table) -> None:
    assert digest_of(table) == digest_of(replace(table))
    assert digest_of(table) != digest_of(table.of_seeds(2))
