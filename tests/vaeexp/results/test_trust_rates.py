"""The checks of trust on studies of the default search whose truth is known: how often each says what is not so, and what is."""

import itertools
import shlex
from dataclasses import replace

import pytest
from default_studies import default_study, truth_of
from drawn_studies import drawn, study
from planted_studies import at_least, at_most

from sweeps.study.ranges import end_of
from vaeexp.results import widening_option
from vaeexp.results.study_view import StudyView
from vaeexp.results.trust import Check, at_bounds, check_study
from vaeexp.study import open_study_file

few_or_many = pytest.mark.parametrize("count", [8, pytest.param(40, marks=pytest.mark.slow)])


def views(kind: str, count: int) -> list[StudyView]:
    return [StudyView(default_study(kind, seed)) for seed in range(count)]


@pytest.mark.parametrize(
    "kind",
    [
        "null",
        "strong",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("heavy", "tie", "slow", "interaction")),
    ],
)
@few_or_many
def test_a_parameter_without_effect_is_not_called_too_narrow(kind: str, count: int) -> None:
    """In 600 studies of these kinds, 1 called one so; a rule that takes the search for a random one does in half of them."""
    false = 0
    for view in views(kind, count):
        hits = {hit.parameter for hit in view.hits if hit.told}
        assert (at_bounds(view).verdict == "warning") == bool(hits)
        assert hits == {effect.parameter for effect in view.effects if effect.at_bound}
        false += bool(hits)
    assert at_most(false, 0.05, count), false


@pytest.mark.parametrize("kind", ["bound", "bound_in_list"])
@few_or_many
def test_an_optimum_at_or_beyond_an_end_is_found(kind: str, count: int) -> None:
    """Where the ranks do not tell, the check says that the search has settled there."""
    found = named = false = 0
    for view in views(kind, count):
        (parameter, bound) = truth_of(kind, view.seed).facts["bound"]
        check = at_bounds(view)
        hits = {(hit.parameter, hit.bound): hit for hit in view.hits}
        told = {own for own, hit in hits.items() if hit.told}
        found += (parameter, bound) in told
        false += bool(told - {(parameter, bound)})
        named += (parameter, bound) in hits and check.verdict in ("warning", "unknown")
        option = widening_option(view.parameters[parameter], bound)
        assert option is not None
        assert (parameter, bound) not in told or option in check.advice
        wider = open_study_file(view.name, text=view.study.provenance["study_file"], overrides=shlex.split(option)[1:])
        assert end_of(wider.space[parameter], bound) > end_of(view.parameters[parameter], bound)
    assert at_least(found, 0.8, count), found
    assert at_least(named, 0.95, count), named
    assert at_most(false, 0.05, count), false


@pytest.mark.parametrize("kind", ["bound", "null", "bound_in_list"])
def test_the_end_that_the_winner_is_stands_in_facts_and_check(kind: str) -> None:
    for view in views(kind, 8):
        winner = view.params(view.best_trial)
        for effect in view.effects:
            own = view.parameters[effect.parameter]
            value, end = winner[effect.parameter], effect.winner_at
            if own.kind == "int":
                assert end == {2: "lower", 64: "upper"}.get(value)
            elif own.name == "components":
                assert end == ("upper" if value == 16 else None)
            elif not own.is_choice:
                assert end == ("upper" if value > 0.95 * own.high else end)
        check = at_bounds(view)
        ends = [effect for effect in view.effects if effect.winner_at]
        assert check.verdict != "good" or not ends
        if check.verdict == "unknown":
            assert all(f"the winner has {effect.label.split(' (')[0]} = " in check.figure for effect in ends)


@pytest.mark.parametrize("values", [["adam", "adamax"], [[512, 512], [256], [128]], [True, False], [64, 128]])
def test_a_study_without_a_range_or_a_list_of_numbers_has_nothing_to_check(values: list) -> None:
    space = {"optimizer": {"kind": "choice", "values": values}}
    settings = [{"optimizer": values[place % len(values)]} for place in range(30)]
    check = at_bounds(StudyView(study(settings, range(30), space=space)))
    assert (check.verdict, check.advice) == ("nothing", "")


def test_a_handful_of_trials_is_too_few_to_tell() -> None:
    settings = drawn(19)
    assert at_bounds(StudyView(study(settings, range(19)))).verdict == "unknown"


# ---- the course of the search ----


def check_named(view: StudyView, word: str) -> Check:
    (found,) = [check for check in check_study(view) if word in check.name]
    return found


def test_no_study_of_the_default_search_is_told_to_double_its_budget_for_its_few_complete_trials() -> None:
    for kind, word in itertools.product(("null", "strong"), ("levelled off", "differ by more than seeds")):
        for view in views(kind, 8):
            assert len(view.ranked) < 20
            assert "too few" not in check_named(view, word).figure.replace("too little", "")


@few_or_many
def test_where_nothing_acts_there_is_nothing_to_level_off_from(count: int) -> None:
    """Trials that differ by no more than seeds do show no gain, whatever the search would find."""
    verdicts = [check_named(view, "levelled off").verdict for view in views("null", count)]
    assert at_most(count - verdicts.count("unknown"), 0.05, count), verdicts


@few_or_many
def test_a_search_with_effects_has_levelled_off_after_48_trials(count: int) -> None:
    verdicts = [check_named(view, "levelled off").verdict for view in views("strong", count)]
    assert at_least(verdicts.count("good"), 0.8, count), verdicts


@pytest.mark.parametrize(
    ("shape", "verdict", "rate"),
    [
        ({"trials": 15, "spread": 0.3}, "warning", 0.7),  # it has just begun
        ({"spread": 8.5}, "unknown", 0.8),  # a gain would be lost among seeds
    ],
)
@few_or_many
def test_a_search_that_goes_on_to_gain_or_that_cannot_show_it_is_not_good(
    shape: dict, verdict: str, rate: float, count: int
) -> None:
    few = count if count > 8 else 3
    studies = [StudyView(default_study("strong", seed, **shape)) for seed in range(few)]
    verdicts = [check_named(view, "levelled off").verdict for view in studies]
    assert at_least(verdicts.count(verdict), rate, few), verdicts


def test_without_seeds_a_search_has_not_been_seen_to_level_off() -> None:
    results = default_study("strong", 0)
    view = StudyView(replace(results, trials=results.trials[~results.trials["repeat"]]))
    assert check_named(view, "levelled off").verdict == "unknown"


@pytest.mark.parametrize(("kind", "verdict"), [("null", "warning"), ("strong", "good")])
@few_or_many
def test_configurations_differ_by_more_than_seeds_where_they_do(kind: str, verdict: str, count: int) -> None:
    verdicts = [check_named(view, "differ by more than seeds").verdict for view in views(kind, count)]
    assert at_most(count - verdicts.count(verdict), 0.05, count), verdicts


# ---- the test set ----


@few_or_many
def test_equal_configurations_have_no_order_to_hold(count: int) -> None:
    """The best three of a search without effects are equal; a check that calls any order good calls all of these so."""
    verdicts = [check_named(view, "hold on test").verdict for view in views("null", count)]
    assert at_most(count - verdicts.count("nothing"), 0.05, count), verdicts
