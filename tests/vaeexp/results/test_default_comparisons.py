"""What the default search sets side by side, in studies whose truth is known: baselines, matched
pairs, and runs that diverge.
"""

import numpy as np
import pytest
from default_studies import KINDS, Truth, default_study
from planted_studies import at_most

from vaeexp.results.study_view import StudyView
from vaeexp.results.trust import check_study

SMALL = {"trials": 24, "epochs": 8}


def views(kind, count, **shape):
    return [StudyView(default_study(kind, seed, **shape)) for seed in range(count)]


# ---- baselines ----


def test_a_baseline_stands_against_the_trial_that_it_changes():
    """Set against the winner, a change of another trial was called worse or better."""
    turned = rows = 0
    for view in views("baseline", 4, **SMALL):
        first = int(view.found["number"].iloc[0])
        own = [each for each in view.retrained.baselines if each.baseline == "normal_prior"]
        assert {each.source_trial for each in own} == {first, view.best_number}
        turned += view.best_number != first
        margins = [
            each for each in view.retrained.baseline_margins if each.baseline == "normal_prior"
        ]
        for margin in margins:
            assert margin.against == margin.source_trial
            confirmed = next(each for each in view.confirmed if each.source_trial == margin.against)
            row = next(each for each in own if each.source_trial == margin.source_trial)
            two = [each.runs.set_index("seed")["result.test/neg_elbo"] for each in (row, confirmed)]
            assert margin.interval.mean == pytest.approx((two[0] - two[1]).mean())
            assert margin.interval.n == 3
        usual = next(each for each in view.retrained.baseline_margins if each.baseline == "usual")
        assert (usual.source_trial, usual.against) == (None, view.best_number)
        rows += len(margins)
    assert turned
    assert rows >= 2


# ---- matched pairs ----


def test_each_configuration_of_matched_pairs_says_what_it_is():
    """Each optimizer has its own learning rate, so the difference is another one at each
    configuration.
    """
    for view in views("interaction", 2, **SMALL):
        (comparison,) = view.pairs
        found, places = (
            view.found,
            {int(number): place for place, number in enumerate(view.found["number"], start=1)},
        )
        configurations = comparison.by_configuration
        assert {own.source_trial for own in configurations} == set(comparison.pairs["source_trial"])
        order = [own.source_trial for own in configurations]
        assert order == sorted(
            order, key=lambda number: (number != view.best_number, places[number])
        )
        assert {own.found_with for own in configurations} == {"adam", "adamax"}, (
            "each value brings its best"
        )
        for own in configurations:
            trial = found[found["number"] == own.source_trial].iloc[0]
            assert (own.rank, own.ranked) == (places[own.source_trial], len(found))
            assert (own.complete, own.epochs) == (trial["state"] == "complete", trial["epochs"])
            assert own.found_with == trial["params.optimizer"]
            pairs = comparison.pairs[comparison.pairs["source_trial"] == own.source_trial]
            assert own.interval.n == len(pairs) == 3
            assert own.interval.mean == pytest.approx(pairs["difference"].mean())
            winner = view.confirmed[0].runs.set_index("seed_index")["objective"]
            lower = "adam" if own.interval.mean > 0 else "adamax"
            better = pairs.set_index("seed_index")[f"objective.{lower}"]
            assert own.behind == pytest.approx((better - winner).mean())
        assert comparison.interval.mean == pytest.approx(
            np.mean([own.interval.mean for own in configurations])
        )


def test_pairs_have_the_other_figures_that_both_runs_have():
    """The prior is compared, and is a baseline of the best: where that one has another prior, both
    runs of its pairs were tested.
    """
    tested = 0
    for view in views("baseline", 4, **SMALL):
        (comparison,) = view.pairs
        changed = {row.source_trial for row in view.retrained.baselines}
        for own in comparison.by_configuration:
            if own.source_trial in changed and own.found_with != "normal":
                assert (own.others["rate"].n, own.others["rate"].mean) == (3, 0)
                assert comparison.others["rate"].n >= 1
                tested += 1
    assert tested


# ---- runs that diverge ----


def test_what_became_of_each_new_seed():
    """Each run with a fresh seed diverges at epoch 5 with a chance that is drawn; at chance 1 no
    configuration has a complete run.
    """
    failed = 0
    for seed in range(4):
        results = default_study("diverging_repeats", seed, **SMALL)
        view = StudyView(results)
        runs = results.trials[results.trials["repeat"]]
        assert {each.source_trial for each in view.retrained.new_seeds} == set(
            view.found["number"].head(3)
        )
        for own in view.retrained.new_seeds:
            theirs = runs[runs["source_trial"] == own.source_trial]
            assert (own.purpose, own.planned) == ("confirm", 3)
            assert own.complete == (theirs["state"] == "complete").sum() == 3 - own.failed
            assert [(each.kind, each.epochs) for each in own.failures] == [
                ("diverged", (5,) * own.failed)
            ] * bool(own.failed)
            failed += own.failed
        told = {
            setting.source_trial: setting
            for setting in (*view.confirmed, *view.retrained.untrained)
        }
        assert set(told) == {each.source_trial for each in view.retrained.new_seeds}, (
            "none vanishes"
        )
        for own in view.retrained.new_seeds:
            setting = told[own.source_trial]
            assert (setting.planned, len(setting.runs), setting.failures) == (
                3,
                own.complete,
                own.failures,
            )
            assert setting.seeds == (f"{own.complete} of 3" if own.failed else "3")
        check = next(check for check in check_study(view) if check.id == "new_seeds")
        assert check.verdict == (
            "warning" if any(own.failed for own in view.retrained.new_seeds) else "good"
        )
        advised = [own.advice.id for own in check_study(view) if own.advice]
        assert (check.advice is not None and check.advice.id == "remedy.diverged") == (
            check.verdict == "warning"
        )
        assert not {"advice.finish", "advice.finish_confirming"} & {*advised}, "it is finished"
    assert failed > 2


def test_the_parameter_that_makes_trials_diverge_is_named():
    named = 0
    for view in views("divergence", 4, trials=24):
        failed = view.search[view.search["state"] == "failed"]
        found = view.influence.divergences
        assert [(each.kind, each.failed) for each in found] == [("diverged", len(failed))] * bool(
            len(failed)
        )
        for each in found:
            if len(failed) >= 4:
                told = (each.parameter, each.side, each.exceptions, each.beyond)
                assert told == ("learning_rate", "above", 0, len(failed))
                assert each.safe <= 0.01 < each.threshold == failed["params.learning_rate"].min()
                assert each.winner == view.best_trial["params.learning_rate"] < 0.01
                named += 1
            else:
                assert each.parameter in (None, "learning_rate")
    assert named


def anywhere(random):
    """Nothing matters, and a trial diverges with a chance that is drawn, whatever its settings."""
    chance = float(random.uniform(0.1, 0.5))
    return Truth(
        diverges=lambda params, own, repeat: (
            int(own.integers(1, 6)) if own.random() < chance else None
        )
    )


@pytest.mark.parametrize("count", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_failures_that_have_no_cause_name_no_parameter(count, monkeypatch):
    monkeypatch.setitem(KINDS, "diverging_anywhere", anywhere)
    drawn = views("diverging_anywhere", count, confirm=0, **SMALL)
    named = [any(each.parameter for each in view.influence.divergences) for view in drawn]
    assert at_most(sum(named), 0.05, count), named


def test_a_study_of_which_every_trial_diverged_is_not_advised_to_search_on(monkeypatch):
    monkeypatch.setitem(
        KINDS, "diverging_everywhere", lambda random: Truth(diverges=lambda params, own, repeat: 2)
    )
    view = StudyView(default_study("diverging_everywhere", 0, **SMALL))
    (divergence,) = view.influence.divergences
    assert (divergence.failed, divergence.trials, divergence.parameter) == (24, 24, None)
    assert [said.id for said in view.verdict.nothing_learned] == [
        "nothing.failed",
        "remedy.diverged",
    ]
    advice = [check.command for check in check_study(view) if check.command]
    assert not any("--trials" in text or "budget" in text for text in advice), advice
