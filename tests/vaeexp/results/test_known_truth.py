"""Studies whose truth is known: how often the report says it, against the rate that it states.

**Under the default search**, the last section: studies of each planted kind, run by the shipped
driver, sampler and pruner. `planted_rates.RATES` lists what is counted and what is demanded; `make
known-truth` counts 400 of each kind.

**As arrays**, all sections before: each scenario draws 2,000 random studies; where these take
seconds, `make test` draws the first 200 of them, and `make test-all` all. A test fails where the
exact 99 % binomial interval (Clopper and Pearson 1934) of a rate leaves out the nominal one on the
bad side. What is graded is the property that a sentence is made from.
`tests/vaeexp/report/test_known_truth_reports.py` grades whole reports.

| What the report says | Nominal rate | Claimed for |
| --- | --- | --- |
| "x is better than y", of matched pairs without a difference | at most 5 % of studies | normal, heavy-tailed and skewed noise |
| … that it is the wrong one, where there is a difference | at most 5 % | the same |
| interval of a difference in matched pairs | covers in 95 % | noise of any shape, because differences of two runs are symmetric; effects of configurations that are normal |
| interval of a mean over seeds | covers in 95 % | normal and heavy-tailed noise; of skewed noise in 88 to 90 % |
| an interaction that is none | at most 5 % of studies | no interaction at all |
| "better on test" or "worse" among confirmed configurations that are equal | at most 5 % of studies | 2 to 5 configurations, 3 or 5 seeds |
| "never tried" of a value that was tried everywhere | at most 5 % of studies | a random search of 40 trials or more |
"""  # noqa: E501

import itertools
import shlex

import numpy as np
import pandas as pd
import pytest
from default_studies import KINDS, default_study
from planted_rates import RATES, judge, missed, total, view_of
from planted_studies import (
    EFFECT,
    NOISES,
    PARAMETERS,
    STUDIES,
    Planted,
    at_least,
    at_most,
    confirmation,
    noise,
    planted,
)

from sweeps.results.statistics import mean_interval
from sweeps.study.ranges import end_of
from vaeexp.results import widening_option
from vaeexp.results.effects import best_group, group_of
from vaeexp.results.holes import choice_holes
from vaeexp.results.interactions import find_interactions
from vaeexp.results.study_view import StudyView
from vaeexp.results.tested_settings import (
    PairComparison,
    TestedSetting,
    compare_matched,
    corrected,
    winner_margins,
)
from vaeexp.results.trust import Check, at_bounds, check_study
from vaeexp.study import open_study_file

FEW = 200
few_or_all = pytest.mark.parametrize("count", [FEW, pytest.param(STUDIES, marks=pytest.mark.slow)])
"""Each scenario whose studies take seconds. The few are the first of all, because both are drawn
from one seed.
"""
PLANS = ((1, 3), (1, 5), (3, 1), (3, 2), (3, 3), (3, 5), (5, 1), (5, 2), (5, 3), (5, 5), (25, 1))
"""Configurations and seeds of a comparison that has an interval."""


def studies(count, *, plans=PLANS):
    """Return number, shape of the noise and plan of each study, every combination in turn."""
    combinations = itertools.cycle(itertools.product(NOISES, plans))
    return [(number, *next(combinations)) for number in range(count)]


def comparison_of(study: Planted) -> PairComparison:
    return corrected([compare_matched("optimizer", ("adam", "adamax"), study.pairs(), 0)])[0]


# ---- matched pairs ----


@few_or_all
def test_of_two_values_without_a_difference_none_is_called_better(count):
    """In every second study of several configurations these differ in their own effect, whose mean
    is 0.
    """
    random, false, covered = np.random.default_rng(10), 0, 0
    for number, shape, plan in studies(count):
        own = 2.0 * (number % 2) if plan[0] > 1 else 0.0
        study = planted("none", random, shape=shape, own=own, compared=plan)
        comparison = comparison_of(study)
        false += comparison.better is not None
        covered += comparison.interval.low <= 0 <= comparison.interval.high
    assert at_most(false, 0.05, count), false
    assert at_least(covered, 0.95, count), covered


@few_or_all
def test_a_planted_difference_is_covered_and_never_turned_round(count):
    random, wrong, right, covered = np.random.default_rng(11), 0, 0, 0
    for _, shape, plan in studies(count):
        study = planted(
            "effect", random, shape=shape, own=0 if plan[0] == 1 else 1.0, compared=plan
        )
        comparison = comparison_of(study)
        wrong += comparison.better == "adamax"
        right += comparison.better == "adam"
        covered += comparison.interval.low <= EFFECT <= comparison.interval.high
    assert at_most(wrong, 0.05, count), wrong
    assert at_least(covered, 0.95, count), covered
    assert right > 0.5 * count, right


@pytest.mark.parametrize(("shape", "rate"), [("normal", 0.95), ("heavy", 0.95), ("skewed", 0.88)])
def test_the_interval_of_a_mean_over_seeds_covers_as_often_as_the_docs_say(shape, rate):
    random, covered = np.random.default_rng(13), 0
    for number in range(STUDIES):
        interval = mean_interval(noise(random, shape, (3, 5, 10)[number % 3]).tolist())
        covered += interval.low <= 0 <= interval.high
    assert at_least(covered, rate, STUDIES), covered


# ---- a value of a choice that was tried nowhere near the best ----


def uncovered_priors(study: Planted) -> list[str]:
    few, table = ("beta", "prior"), study.table()[["state", "params.beta", "params.prior"]]
    holes = choice_holes({name: PARAMETERS[name] for name in few}, table, table)
    return [each.text for each in holes.get("prior", ())]


@few_or_all
def test_a_planted_hole_is_seen(count):
    """Normal priors were tried at β < 0.1 alone, where all are bad; the prior does nothing."""
    random, seen, others = np.random.default_rng(17), 0, 0
    for number in range(count):
        study = planted("hole", random, shape=NOISES[number % 3])
        uncovered = uncovered_priors(study)
        seen += "normal" in uncovered
        others += uncovered != ["normal"]
    assert seen == count
    assert at_most(others, 0.05, count), others


@few_or_all
def test_a_value_that_was_tried_everywhere_is_not_called_a_hole(count):
    random, false = np.random.default_rng(18), 0
    for number in range(count):
        study = planted("effect", random, shape=NOISES[number % 3], trials=(40, 60, 100))
        false += bool(uncovered_priors(study))
    assert at_most(false, 0.05, count), false


# ---- heavy pruning ----


@few_or_all
def test_heavy_pruning_makes_no_survivor_the_best(count):
    """adamax is worse and 9 of 10 of its trials are pruned; one that is left is the best trial of
    the study by luck.
    """
    random, wrong, lone = np.random.default_rng(19), 0, 0
    for number in range(count):
        study = planted("pruning", random, shape=NOISES[number % 3])
        adamax = study.columns["params.optimizer"] == "adamax"
        ended = study.columns["state"] == "complete"
        table = pd.DataFrame({name: study.columns[name] for name in ("state", "objective")})
        groups = [group_of(table[~adamax]), group_of(table[adamax])]
        wrong += best_group(groups) == 1
        lone += (
            table["objective"][adamax & ended].mean() < table["objective"][~adamax & ended].mean()
        )
    assert at_most(wrong, 0.05, count), wrong
    # What a mean of survivors would have said. Of the few it is a matter of luck whether they reach the share.  # noqa: E501
    assert lone > 0.3 * count if count == STUDIES else at_least(lone, 0.3, count), lone


# ---- interactions ----


def interactions(study: Planted, comparison: PairComparison) -> list:
    search = pd.DataFrame({name: values[study.compared] for name, values in study.columns.items()})
    return find_interactions([comparison], PARAMETERS, search)


MANY_PAIRS = ((3, 3), (4, 2), (4, 3), (5, 3), (6, 3), (12, 2))


@few_or_all
def test_where_nothing_interacts_no_interaction_is_named(count):
    random, false = np.random.default_rng(20), 0
    for _, shape, plan in studies(count, plans=MANY_PAIRS):
        study = planted("none", random, shape=shape, compared=plan)
        named = any(each.consistent for each in interactions(study, comparison_of(study)))
        false += named
    assert at_most(false, 0.05, count), false


@few_or_all
def test_a_planted_interaction_is_named_with_its_sides(count):
    """adamax is 6 nats worse below a learning rate of 0.001 and 6 better above; studies with both
    sides count.
    """
    random, named, both = np.random.default_rng(22), 0, 0
    for _, shape, plan in studies(count, plans=((4, 3), (5, 3), (6, 3), (12, 2))):
        study = planted("interaction", random, shape=shape, compared=plan)
        rates = study.columns["params.learning_rate"][study.compared]
        if len({*(rates > 1e-3)}) < 2:
            continue
        both += 1
        (rate,) = [
            each
            for each in interactions(study, comparison_of(study))
            if each.other == "learning_rate"
        ]
        named += rate.consistent and rate.below > 0 > rate.above
    assert both > 0.8 * count, both
    assert at_least(named, 0.95, both), (named, both)


# ---- a tie ----


def settings_of(runs: np.ndarray) -> list[TestedSetting]:
    """The confirmed configurations, the lowest mean on validation first, from validation and test
    −ELBO [K, seeds, 2].
    """
    made = []
    for trial in np.argsort(runs[..., 0].mean(axis=1)):
        table = pd.DataFrame(
            runs[trial], columns=["objective", "result.test/neg_elbo"]
        ).rename_axis("seed_index")
        named = {
            "title": "",
            "setting": "",
            "source_trial": int(trial),
            "runs": table.reset_index(),
        }
        made.append(TestedSetting(**named, protocol={}, settings={}))
    return made


@pytest.mark.parametrize("configurations", [2, 3, 5])
@few_or_all
def test_of_configurations_that_are_equally_good_none_is_told_apart(configurations, count):
    """The best on validation is so on test, too, for the same luck; that it was chosen must not
    make it better.
    """
    random, told, covered = np.random.default_rng(23), 0, 0
    for number in range(count):
        runs = confirmation(random, NOISES[number % 3], (configurations, (3, 5)[number % 2]))
        margins = winner_margins(settings_of(runs))
        told += any(margin.settled for margin in margins)
        covered += not margins[0].interval.low * margins[0].interval.high > 0
    assert at_most(told, 0.05, count), told
    assert at_least(covered, 0.95, count), covered


@few_or_all
def test_comparisons_of_a_study_share_their_error_rate(count):
    """Three values, each against each other: of the studies without any difference, at most 5 %
    call a value better.
    """
    random, false = np.random.default_rng(24), 0
    for number in range(count):
        seeds, shape = (3, 5)[number % 2], NOISES[number % 3]
        values = noise(random, shape, (3, 4, seeds))
        compared = []
        for first, second in itertools.combinations(range(3), 2):
            sources = np.repeat(np.arange(4), seeds)
            differences = (values[second] - values[first]).ravel()
            table = pd.DataFrame({"source_trial": sources, "difference": differences})
            compared.append(compare_matched("prior", (first, second), table, 0))
        false += any(each.better is not None for each in corrected(compared))
    assert at_most(false, 0.05, count), false


# ---- under the default search ----

SEEDS, FEW_TRIALS = range(100, 108), {"trials": 25}
"""The studies that each test run draws: half as large as those of the slow test, in a third of the
time.
"""


@pytest.mark.parametrize(
    ("kind", "seeds", "shape"),
    [
        # What is said of slow learners is held by test_slow_learners.py, too, and what is said of
        # runs that diverge by test_default_comparisons.py.
        *(
            pytest.param(kind, SEEDS, FEW_TRIALS, id=kind)
            for kind in KINDS
            if kind not in ("slow", "diverging_repeats")
        ),
        *(
            pytest.param(kind, range(40), {}, id=f"{kind}-40", marks=pytest.mark.slow)
            for kind in KINDS
        ),
    ],
)
def test_reports_of_the_default_search_keep_their_rates(
    kind: str, seeds: range, shape: dict
) -> None:
    counts = total(judge(kind, seed, **shape) for seed in seeds)
    assert set(counts) == {name for name, rate in RATES.items() if kind in rate.kinds}
    assert not missed(counts), {
        name: (RATES[name].claim, RATES[name].demand) for name in missed(counts)
    }


def check_named(view: StudyView, name: str) -> Check:
    (found,) = [check for check in check_study(view) if check.id == name]
    return found


@pytest.mark.parametrize("kind", ["null", "strong", "bound", "bound_in_list"])
def test_the_check_of_ends_says_what_the_facts_of_the_study_say(kind: str) -> None:
    for seed in SEEDS:
        view = view_of(kind, seed, **FEW_TRIALS)
        check, told = (
            at_bounds(view),
            {(hit.parameter, hit.bound) for hit in view.influence.hits if hit.told},
        )
        assert (check.verdict == "warning") == bool(told)
        assert {name for name, _ in told} == {
            effect.parameter for effect in view.influence.effects if effect.at_bound
        }
        for name, end in told:
            option = widening_option(view.plan.parameters[name], end)
            assert option in check.command
            overrides = shlex.split(option)[1:]
            wider = open_study_file(
                view.results.name, text=view.study.provenance["study_file"], overrides=overrides
            )
            assert end_of(wider.space[name], end) > end_of(view.plan.parameters[name], end)
        assert not told or kind.startswith("bound")


@pytest.mark.parametrize(
    ("shape", "verdict"),
    [
        ({"trials": 15, "spread": 0.3}, "warning"),  # it has just begun
        ({"spread": 8.5}, "unknown"),  # a gain would be lost among seeds
    ],
)
def test_a_search_that_goes_on_to_gain_or_that_cannot_show_it_is_not_good(
    shape: dict, verdict: str
) -> None:
    studies = [StudyView(default_study("strong", seed, **shape)) for seed in range(2)]
    verdicts = [check_named(view, "levelled_off").verdict for view in studies]
    assert verdict in verdicts
