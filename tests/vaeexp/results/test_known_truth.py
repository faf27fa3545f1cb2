"""Studies whose truth is known: how often the statistics say it, against the rate that they state.

2,000 studies where a rate is stated; 600 where the claim is that something always or never happens.

A test fails where the exact 99 % binomial interval (Clopper and Pearson 1934) of a rate leaves out the nominal one on the
bad side.
"""

import math

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from sweeps.results.statistics import holm, mean_interval, paired_interval, wilcoxon_p
from vaeexp.results.coverage import measure_coverage
from vaeexp.results.effects import best_group, bound_hit, group_of, places_p
from vaeexp.results.interactions import find_interactions
from vaeexp.results.parameters import searched_parameter
from vaeexp.results.tested_settings import PairComparison

STUDIES, FEW = 2_000, 600
SEARCH = {
    "learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "beta": {"kind": "float", "low": 0.01, "high": 10.0, "log": True},
    "latent_size": {"kind": "int", "low": 2, "high": 64, "log": True},
    "optimizer": {"kind": "choice", "values": ["adam", "adamax"]},
    "prior": {"kind": "choice", "values": ["normal", "mixture"]},
}
EMPTY = pd.DataFrame({"repeat": [], "duplicate_of": [], "number": [], "purposes": []})
PARAMETERS = {name: searched_parameter(name, section, EMPTY) for name, section in SEARCH.items()}


def at_most(count: int, rate: float, studies: int = STUDIES) -> bool:
    return binomtest(count, studies).proportion_ci(0.99, method="exact").low <= rate


def at_least(count: int, rate: float, studies: int = STUDIES) -> bool:
    return binomtest(count, studies).proportion_ci(0.99, method="exact").high >= rate


def drawn(random: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """A random search."""
    return {
        "number": np.arange(count),
        "params.learning_rate": 10 ** random.uniform(-4, -2, count),
        "params.beta": 10 ** random.uniform(-2, 1, count),
        "params.latent_size": np.exp(random.uniform(np.log(1.5), np.log(64.5), count)).round(),
        "params.optimizer": random.choice(np.array(["adam", "adamax"], dtype=object), count),
        "params.prior": random.choice(np.array(["normal", "mixture"], dtype=object), count),
        "state": np.full(count, "complete", dtype=object),
    }


def best_first(columns: dict[str, np.ndarray], objective: np.ndarray) -> pd.DataFrame:
    order = np.argsort(objective)
    table = {name: values[order] for name, values in columns.items()}
    return pd.DataFrame(table | {"objective": objective[order]})


def found(columns: dict[str, np.ndarray], objective: np.ndarray) -> set[str]:
    """Parameters that the test of `ParameterEffect` finds, all of a study corrected together."""
    order, ps = np.argsort(objective), []
    for name, parameter in PARAMETERS.items():
        values = columns[f"params.{name}"][order]
        places = values == parameter.values[0] if parameter.is_choice else np.log(values)
        ps.append(places_p(np.asarray(places, dtype=float), choice=parameter.is_choice))
    corrected = holm(ps)
    return {name for name, p in zip(PARAMETERS, corrected, strict=True) if p <= 0.05}


def test_where_nothing_has_an_effect_at_most_five_percent_of_studies_find_one():
    random, false = np.random.default_rng(0), 0
    for _ in range(STUDIES):
        columns = drawn(random, 40)
        false += bool(found(columns, random.normal(100, 1, 40)))
    assert at_most(false, 0.05), false


def test_a_planted_effect_is_found_and_others_are_not_taken_for_it():
    """β moves the objective by 20 nats over its range; the rest does nothing."""
    random, right, false = np.random.default_rng(1), 0, 0
    for _ in range(STUDIES):
        columns = drawn(random, 40)
        names = found(columns, 10 * abs(np.log10(columns["params.beta"])) + random.normal(0, 1, 40))
        right += "beta" in names
        false += bool(names - {"beta"})
    assert right > 0.85 * STUDIES, right
    assert at_most(false, 0.05), false


def test_heavy_pruning_makes_no_survivor_the_best():
    """Every trial is drawn from one distribution; of `a` all but the best are pruned. It must not win by that."""
    random, wrong, lone = np.random.default_rng(2), 0, 0
    for _ in range(FEW):
        a, b = np.sort(random.normal(100, 5, 6)), random.normal(100, 5, 6)
        states = ["complete"] + ["pruned"] * 5
        groups = [
            group_of(pd.DataFrame({"state": states, "objective": a})),
            group_of(pd.DataFrame({"state": ["complete"] * 6, "objective": b})),
        ]
        wrong += best_group(groups) == 0
        lone += groups[0].best < b.mean()
    assert wrong == 0
    assert lone > 0.9 * FEW  # what a mean of survivors would have said


def test_a_planted_hole_is_seen_and_a_prior_that_was_tried_is_not_called_one():
    """Normal priors were tried at β < 0.1 alone, or everywhere; the best are near 1."""
    random, seen, false, studies = np.random.default_rng(3), 0, 0, FEW
    few = {name: PARAMETERS[name] for name in ("beta", "prior")}
    for study in range(studies):
        columns = drawn(random, 40)
        normal = columns["params.prior"] == "normal"
        hole = study % 2 == 0
        if hole:
            columns["params.beta"][normal] = 10 ** random.uniform(-2, -1, int(normal.sum()))
            columns["params.beta"][~normal] = 10 ** random.uniform(-1, 1, int((~normal).sum()))
        table = best_first(columns, 10 * abs(np.log10(columns["params.beta"])) + random.normal(0, 0.5, 40))
        covered = {each.text: each.covered for each in measure_coverage(few, table, table)["prior"]}
        seen += hole and covered == {"normal": False, "mixture": True}
        false += not hole and not all(covered.values())
    assert seen == studies // 2
    assert at_most(false, 0.05, studies // 2), false


def pairs_of(differences: np.ndarray) -> PairComparison:
    """A comparison of adam and adamax with these differences, [configurations, seeds]."""
    rows, seeds = differences.shape
    table = pd.DataFrame({"source_trial": np.repeat(np.arange(rows), seeds), "difference": differences.ravel()})
    interval = mean_interval(differences.mean(axis=1))
    return PairComparison(
        parameter="optimizer", first="adam", second="adamax", pairs=table, incomplete=0, interval=interval,
        p=wilcoxon_p(differences.mean(axis=1)),
    )  # fmt: skip


def interactions(random: np.random.Generator, effect) -> list:
    search = pd.DataFrame(drawn(random, 4))
    differences = effect(search) + random.normal(0, 1, (4, 3))
    return find_interactions([pairs_of(differences)], PARAMETERS, search, ["beta", "latent_size", "prior"])


def test_where_nothing_interacts_at_most_five_percent_of_studies_name_an_interaction():
    random, false = np.random.default_rng(4), 0
    for _ in range(STUDIES):
        false += any(each.consistent for each in interactions(random, lambda search: 0.0))
    assert at_most(false, 0.05), false


def test_a_planted_interaction_is_named_with_its_sides():
    """adamax is 6 nats worse below a learning rate of 0.001 and 6 better above; studies with both sides count."""
    random, named, both = np.random.default_rng(5), 0, 0

    def flips(search: pd.DataFrame) -> np.ndarray:
        return np.where(search["params.learning_rate"] > 1e-3, -6.0, 6.0)[:, None]

    for _ in range(FEW):
        found = interactions(random, flips)
        rate = next(each for each in found if each.other == "learning_rate")
        if not math.isclose(abs(rate.below - rate.above), 12, abs_tol=6):
            continue
        allowed = rate.false_alarm <= 0.05
        both += allowed
        named += rate.consistent and rate.below > 0 > rate.above and allowed
    assert both > FEW / 4
    assert at_least(named, 0.95, both), (named, both)


def test_a_tie_of_two_configurations_on_shared_seeds_is_called_one():
    """Nothing differs but what chance does: intervals cover the difference in 95 %, and at most 5 % are told apart."""
    random, told, covered = np.random.default_rng(6), 0, 0
    for _ in range(STUDIES):
        seeds = random.normal(0, 2, 5)
        first, second = seeds + random.normal(95, 0.5, 5), seeds + random.normal(95, 0.5, 5)
        told += paired_interval(first, second).excludes_zero
        covered += not mean_interval(first - 95).excludes_zero
    assert at_most(told, 0.05), told
    assert at_least(covered, 0.95), covered


def test_comparisons_of_a_study_share_their_error_rate():
    """Six comparisons of seven pairs without any difference: at most 5 % of the studies call a value better."""
    random, false = np.random.default_rng(7), 0
    for _ in range(STUDIES // 4):
        false += min(holm([wilcoxon_p(differences) for differences in random.normal(0, 1, (6, 9))])) <= 0.05
    assert at_most(false, 0.05, STUDIES // 4), false


def test_a_parameter_without_effect_is_seldom_at_a_bound():
    random, false = np.random.default_rng(8), 0
    for _ in range(STUDIES):
        table = pd.DataFrame({"params.beta": 10 ** random.uniform(-2, 1, 10)})
        false += bound_hit(PARAMETERS["beta"], table) is not None
    assert at_most(false, 0.05), false
