"""What the answer finds, as statements, and its limits: fifteen lines of at most 160 characters,
whatever the study.
"""

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from drawn_studies import bowl, two_objectives
from planted_rates import view_of
from planted_studies import planted, results_of
from raced_results import raced_results
from report_text import on_view, uncovered_prior, with_test_figures
from synthetic_study import (
    make_results,
    part,
    study_attributes,
    thin_studies,
    with_baselines,
    with_samples_tested,
)

from sweeps.results import matched_pairs, ranked
from vaeexp.report import answer as block
from vaeexp.report import findings, recommendation
from vaeexp.report.page.document import page
from vaeexp.report.sentences import with_interval, words
from vaeexp.results.equally_good import equally_good
from vaeexp.results.statements import Figure
from vaeexp.results.study_view import StudyView

answer, answer_lines, answer_of = map(on_view, (block.answer, block.answer_lines, block.answer_of))
compared, cost, get, parameters, uncovered, use = map(
    on_view,
    (
        findings.compared,
        findings.cost,
        recommendation.get,
        findings.parameters,
        findings.uncovered,
        recommendation.use,
    ),
)


def ids(statements):
    return [statement.id for statement in statements]


def one(statements, kind):
    (found,) = [statement for statement in statements if statement.id == kind]
    return found


# ---- the block ----


def long_names():
    """Titles and values of a hundred characters and more."""
    full = with_baselines(
        make_results(),
        {
            name: {
                "title": f"{name} {'word ' * 30}",
                "at": "best",
                "seeds": 3,
                "settings": {"beta": 10.0},
            }
            for name in "abc"
        },
    )
    trials = full.trials.copy()
    trials["params.prior"] = trials["params.prior"].replace(
        "mixture", "my_package.priors:" + "Long" * 40
    )
    return replace(full, trials=trials)


STATES = {
    "finished": lambda: with_baselines(make_results()),
    "not confirmed": lambda: make_results(confirm=False),
    "two objectives": two_objectives,
    "race": lambda: with_baselines(raced_results(failing=4)),
    "many trials": lambda: bowl(120),
    "long names": long_names,
    **{name: (lambda name=name: thin_studies()[name]) for name in thin_studies()},
}


@pytest.mark.parametrize("state", STATES)
def test_the_answer_has_fifteen_lines_of_160_characters_at_most(state):
    study = STATES[state]()
    for lines in (answer(study).splitlines(), answer_lines(study)):
        assert 1 <= len(lines) <= 15
        assert max(map(len, lines)) <= (160 if state != "long names" else 200), (
            "a word of more than a line stays whole"
        )
    labels = [line.split("**")[1] for line in answer(study).splitlines() if line.startswith("- **")]
    parts = [label for label in labels if label in ("Use", "Get", "Doubts", "Next")]
    assert parts == [part for part in ("Use", "Get", "Doubts", "Next") if part in parts]
    assert parts[0] == "Use"


def test_findings_that_do_not_fit_are_counted_and_stand_below(results):
    rows = {
        name: {"title": f"row {name}", "at": "best", "seeds": 3, "settings": {"beta": 10.0}}
        for name in "abcdefgh"
    }
    study = StudyView(with_baselines(results, rows))
    found = block.answer_of(study).findings
    lines = block.answer_lines(study)
    (rest,) = [line for line in lines if "more: all findings below" in line]
    shown = (
        sum(line.startswith("- ") for line in lines[2 : lines.index(rest)])
        - len(block.answer_of(study).get)
        + 1
    )
    assert rest == f"- And {len(found) - shown} more: all findings below."
    assert len(block.all_findings(study).splitlines()) == len(found)
    assert block.all_findings(StudyView(part(results, ranked(results).head(12)))) == ""


# ---- use and get ----


def test_what_is_as_good_lies_within_the_seeds_of_the_winner(results):
    """The winner's mean over fresh seeds is the level, not the luckiest trial of the search."""
    view = StudyView(results)
    confirmed = {each.source_trial: each for each in view.confirmed}
    winner, beside = view.confirmed[0].value, view.ranked["number"].iloc[-1]

    def with_value(nats):
        rows = results.trials
        own = ~rows["repeat"] & (rows["number"] == beside)
        trials = rows.assign(objective=rows["objective"].mask(own, winner + nats))
        return equally_good(StudyView(replace(results, trials=trials)))

    near, far = with_value(0.0), with_value(5.0)
    assert beside in near.trials
    assert view.best_number not in near.trials
    assert far is None or beside not in far.trials
    for setting in near.settings:
        assert setting.confirmed == (setting.trial in confirmed)
    assert len(near.settings) <= 5
    # Those with fresh seeds are named first, however near they are to the winner.
    fresh = [number for number in near.trials if number in confirmed]
    assert [setting.trial for setting in near.settings][: len(fresh)] == fresh
    assert equally_good(StudyView(make_results(confirm=False))) is None


def test_a_trial_that_compare_trains_again_is_judged_by_its_fresh_seeds(results):
    view = StudyView(results)
    rows, winner = results.trials, view.confirmed[0].value
    (compared,) = {
        int(run["source_trial"])
        for _, run in rows[rows["repeat"]].iterrows()
        if run["purposes"] == ("compare",)
    } - {each.source_trial for each in view.confirmed}
    params = [name for name in rows if name.startswith("params.")]
    own = rows[~rows["repeat"] & (rows["number"] == compared)].iloc[0]
    same = rows[params].astype(str).eq(own[params].astype(str)).all(axis=1)

    def with_values(searched, fresh):
        values = rows["objective"].mask(same & ~rows["repeat"], winner + searched)
        values = values.mask(same & rows["repeat"], winner + fresh)
        return equally_good(StudyView(replace(results, trials=rows.assign(objective=values))))

    assert (same & rows["repeat"]).sum() == 2
    lucky, unlucky = with_values(0.0, 9.0), with_values(9.0, 0.0)
    assert lucky is None or compared not in lucky.trials
    assert compared in unlucky.trials


def test_figures_on_test_stand_beside_a_comparison_where_all_its_settings_have_them(results):
    full = with_samples_tested(results)
    tested = full.trials["result.test/fid"].notna()
    compared_runs = full.trials["purposes"].map(lambda purposes: "compare" in purposes).astype(bool)
    assert (compared_runs & ~tested).any()
    (some,) = [said for said in compared(full) if said.id.startswith("compare.")]
    assert some.values["over"] > 1
    assert some.values.get("fid") is None
    trials = full.trials.copy()
    trials.loc[compared_runs, "result.test/fid"] = 20.0
    (every,) = [
        said
        for said in compared(replace(full, trials=trials))
        if said.id.startswith("compare.") and "interaction" not in said.id
    ]
    assert every.values["fid"].n == every.values["over"]


BEST = (98.0, 98.2, 98.4)


@pytest.mark.parametrize(
    ("figures", "kind", "gap"),
    [
        ([BEST, (99.0, 99.3, 99.3)], "get.apart", 1.0),
        ([BEST, (97.0, 97.3, 97.3)], "get.turned", -1.0),
        ([BEST, (98.05, 98.2, 98.3)], "get.tie", -0.0167),
        ([BEST, (88.0, 108.0, 98.4)], "get.unclear", -0.0667),
        ([BEST, (98.1, 98.5)], "get.too_few", 0.2),
        ([(98.0,), (99.0,)], "get.too_few", 1.0),
    ],
)
def test_the_next_best_is_set_beside_with_what_the_seeds_allow(results, figures, kind, gap):
    said = one(get(with_test_figures(results, *figures)), kind).values
    assert said["gap"].value == pytest.approx(gap, abs=1e-3)


def test_the_value_in_large_type_is_the_first_of_what_one_gets(results):
    spec = study_attributes().spec
    codes = study_attributes(spec=spec | {"model": spec["model"] | {"posterior": "deterministic"}})
    for study in (results, replace(results, study=codes), make_results(confirm=False)):
        said = get(study)[0]
        value = next(own for own in said.values.values() if isinstance(own, Figure))
        assert f" {with_interval(value)} nats per image" in words(said)
        assert large_in(study) == [with_interval(value)]
    assert large_in(two_objectives()) == []


def large_in(study):
    """Return what the page of the answer shows in large type."""
    shown = page(f"# A\n\n## Answer\n\n{answer(study)}\n", {})
    found = re.findall(r'<span class="large">([^<]*)</span>', shown)
    return [each.replace("\N{NO-BREAK SPACE}", " ") for each in found]


def test_states_without_a_best_setting_say_why():
    studies = thin_studies()
    assert ids(use(studies["no trial"])) == ["use.nothing"]
    assert one(use(studies["all pruned"]), "nothing.complete").values["states"] == {"pruned": 22}
    assert ids(get(studies["one complete"])) == ["get.searched"]
    assert ids(use(studies["one complete"])) == ["use.so_far"]
    full = make_results()
    assert ids(use(replace(full, trials=full.trials.assign(objective=math.nan)))) == ["use.nothing"]
    untested = replace(
        full,
        trials=full.trials.assign(
            **{"result.test/neg_elbo": math.nan, "result.test/distortion": math.nan}
        ),
    )
    assert one(get(untested), "get.validation").values["again"].n == 3
    assert ids(use(replace(full, study=study_attributes(spec={"seed": 0})))) == ["use.only_trial"]


# ---- what was compared ----


def differing(results, *differences):
    """The study with these differences adamax − adam, one pair of runs per configuration."""
    trials = results.trials
    paired = trials[trials["pair_ids"].astype(bool) & (trials["seed_index"] == 0)].copy()
    for of, difference in zip(sorted(paired["source_trial"].unique()), differences, strict=False):
        own = paired["source_trial"] == of
        paired.loc[own, "objective"] = 100.0
        paired.loc[own & (paired["params.optimizer"] == "adamax"), "objective"] += difference
    kept = sorted(paired["source_trial"].unique())[: len(differences)]
    return part(
        results, pd.concat([trials[~trials["repeat"]], paired[paired["source_trial"].isin(kept)]])
    )


@pytest.mark.parametrize(
    ("differences", "kind", "better"),
    [
        ((1.0, 1.2, 1.1), "compare.apart", "adam"),
        ((-1.0, -1.2, -1.1), "compare.apart", "adamax"),
        ((0.1, -0.1, 0.05), "compare.tie", "adam"),
        ((-5.0, 6.2, 0.1), "compare.unclear", "adam"),
        ((0.0, 0.0, 0.0), "compare.tie", "adamax"),
        ((0.5,), "compare.too_few", "adam"),
    ],
)
def test_two_values_are_told_apart_called_equal_or_left_open(results, differences, kind, better):
    said = one(compared(differing(results, *differences)), kind).values
    assert said["better"] == better
    assert said["gap"].value == pytest.approx(abs(sum(differences) / len(differences)))


def test_three_values_are_compared_two_by_two_the_furthest_first(results):
    trials = results.trials.copy()
    third = trials[trials["pair_ids"].astype(bool) & (trials["params.optimizer"] == "adam")].copy()
    third[["params.optimizer", "objective"]] = [["sgd", 500.0]] * len(third)
    third["number"] += 1000
    said = compared(replace(results, trials=pd.concat([trials, third], ignore_index=True)))
    assert [(each.values["better"], each.values["worse"]) for each in said][:2] == [
        ("adamax", "sgd"),
        ("adam", "sgd"),
    ]
    assert abs(matched_pairs(results, "optimizer")["difference"].mean()) == pytest.approx(
        said[2].values["gap"].value
    )


def test_one_verdict_is_of_all_settings_and_names_each():
    """Three seeds each: at the winner adamax is worse by 3, elsewhere better by 1."""
    study = planted("none", np.random.default_rng(0), compared=(3, 3))
    study.paired[0, :, 1] = study.paired[0, :, 0] + np.array([2.9, 3.0, 3.1])
    study.paired[1:, :, 1] = study.paired[1:, :, 0] - 1.0
    said = compared(results_of(study))[0]
    first = StudyView(results_of(study)).pairs[0].by_configuration[0]
    assert said.id == "compare.unclear"
    assert said.values["gap"].value == pytest.approx(1 / 3)
    assert [each.value for each in said.values["by"]] == pytest.approx([3.0, -1.0, -1.0])
    assert said.values["at"][0] == first.source_trial
    assert said.rows[0] == str(first.source_trial)
    assert set(said.rows) == set(map(str, study.compared))


def test_two_settings_have_no_interval_and_the_first_of_them_speaks():
    study = planted("none", np.random.default_rng(0), compared=(2, 3))
    study.paired[:, :, 1] = study.paired[:, :, 0] + np.array([2.9, 3.0, 3.1])
    said = compared(results_of(study))[0]
    assert said.id == "compare.apart"
    assert said.values["over"] is None
    assert str(said.values["trial"]) == said.rows[0]
    assert [each.value for each in said.values["by"]] == pytest.approx([3.0, 3.0])


def test_one_comparison_has_one_line():
    """A baseline that sets the compared parameter has the runs of the pairs, which answer for the
    search, too.
    """
    view = view_of("conditional_prior", 2000)
    said = block.answer_of(view).findings
    assert view.retrained.baselines
    assert [each.id for each in said if each.values.get("title")] == []
    assert [each.id for each in said if each.values.get("parameter") == "prior"] == [
        "compare.apart"
    ]
    alone = replace(view.results, trials=view.trials[~view.trials["pair_ids"].astype(bool)])
    kept = parameters(alone)
    assert [each.id for each in kept if each.values.get("parameter") == "prior"] == [
        "parameter.choice"
    ]


# ---- baselines ----


@pytest.mark.parametrize(
    ("gap", "weighted", "disagrees"),
    [(5.0, 4.0, False), (5.0, -4.0, True), (5.0, 0.0, True), (0.0, 3.0, True), (0.0, 0.0, False)],
)
def test_a_baseline_says_where_the_tighter_estimate_says_otherwise(
    results, gap, weighted, disagrees
):
    """Differences over three seeds are `gap` and `weighted`, by up to 0.1 more or less."""
    row = {"title": "β = 10", "at": "best", "seeds": 3, "settings": {"beta": 10.0}}
    study = with_baselines(results, {"beta": row})
    trials, best = study.trials.copy(), StudyView(study).best.runs
    own = trials["baseline"] == "beta"
    trials.loc[own, "seed"] = best["seed"].to_numpy()
    for name, nats in {"neg_elbo": gap, "iw_nll": weighted}.items():
        trials.loc[own, f"result.test/{name}"] = (
            best[f"result.test/{name}"].to_numpy() + nats + [-0.1, 0.0, 0.1]
        )
    trials.loc[own, "result.test/importance_samples"] = best[
        "result.test/importance_samples"
    ].to_numpy()
    (said,) = findings.baselines(StudyView(replace(study, trials=trials)))
    assert said.values["gap"].value == pytest.approx(gap)
    assert (said.values["weighted"] is not None) == disagrees
    assert ("IW-NLL disagrees" in words(said)) == disagrees
    if disagrees:
        assert said.values["weighted"].value == pytest.approx(weighted)


# ---- what was searched ----


def test_few_trials_and_one_value_say_nothing(results):
    assert (
        one(parameters(part(results, ranked(results).head(7))), "parameter.few").values["judged"]
        == 7
    )
    constant = replace(
        results, trials=results.trials.assign(**{"params.beta": 1.0, "params.optimizer": "adam"})
    )
    said = {each.values["parameter"] for each in parameters(constant)}
    assert said.isdisjoint({"β", "optimizer"})


def test_a_value_that_was_tried_where_others_are_bad_alone_is_named(results):
    study = uncovered_prior(results)
    said = one(uncovered(study), "parameter.not_covered").values
    assert (said["parameter"], said["value"]) == ("prior", "normal")
    assert said["trials"] == (StudyView(study).search["params.prior"] == "normal").sum()
    assert uncovered(results) == []


# ---- doubts and what is next ----


def test_warnings_come_first_and_the_next_command_is_that_of_the_gravest(results):
    study = StudyView(make_results(confirm=False))
    said = block.answer_of(study)
    kinds = ids(said.doubts)
    assert kinds == sorted(kinds, key=("doubt.warning", "doubt.unknown", "doubt.more").index)
    assert len(kinds) <= 3
    assert said.next[0].values["command"].startswith("vaeexp sweep")
    assert ids(answer_of(thin_studies()["all failed"]).next) == ["remedy.diverged"]


def test_the_winner_is_set_beside_the_best_in_the_search_where_they_differ():
    results = make_results()
    view = StudyView(results)
    winner, other = (setting.source_trial for setting in view.confirmed[:2])
    trials = results.trials.copy()
    own = ~trials["repeat"] & trials["number"].isin([winner, other])
    low = trials.loc[~trials["repeat"], "objective"].min()

    def said(first):
        trials.loc[own, "objective"] = [
            low - 1 - (number == first) for number in trials.loc[own, "number"]
        ]
        got = recommendation.get(StudyView(replace(results, trials=trials)))
        return [statement for statement in got if statement.id == "get.differs"]

    assert said(winner) == []
    (statement,) = said(other)
    values = statement.values
    assert (values["trial"], values["best"]) == (winner, other)
    for name, trial in (("value", winner), ("other", other)):
        runs = trials[trials["repeat"] & (trials["source_trial"] == trial)]
        runs = runs[runs["purposes"].map(lambda purposes: "confirm" in purposes)]
        assert values[name].value == pytest.approx(runs["objective"].mean())
