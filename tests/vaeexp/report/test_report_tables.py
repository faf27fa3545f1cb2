"""What the report says in words and tables of the search, its confirmation and the comparison,
against the frames.
"""

import itertools
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_text import as_written, on_view, tables_of, uncovered_prior, with_test_figures
from scipy import stats
from synthetic_study import part, repeated, study_attributes

from sweeps.results import ranked
from vaeexp.report.by_parameter import by_parameter, parameter_tables, ranges
from vaeexp.report.tables import confirmed_table, paired_tables, ranked_table, table_chapter
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import search_trials

paired_tables, parameter_tables, table_chapter = map(
    as_written, (paired_tables, parameter_tables, table_chapter)
)
by_parameter = on_view(by_parameter)
confirmed_table, ranked_table = on_view(confirmed_table), on_view(ranked_table)


def changed_search(results, **parameters):
    """The study with other searched parameters beside its own."""
    spec = study_attributes().spec
    return replace(results.study, spec=spec | {"search": spec["search"] | parameters})


BEST = (98.0, 98.2, 98.4)


def test_one_confirmed_configuration_has_no_margin(results):
    first = StudyView(results).confirmed[0].source_trial
    trials = results.trials
    alone = part(results, trials[~trials["repeat"] | (trials["source_trial"] == first)])
    assert StudyView(alone).retrained.margins == []
    assert "above the winner" not in confirmed_table(alone)


def test_no_correction_is_explained_where_no_p_is_shown(results):
    trials = results.trials
    few = part(results, trials[~(trials["repeat"] & (trials["seed_index"] > 1))])
    few_view = StudyView(few)
    assert {setting.seeds for setting in few_view.confirmed} == {"2"}
    said = "\n".join(table_chapter(few))
    assert "above the winner" in said
    assert "Holm" not in said.partition("Matched pairs")[0]
    whole = "\n".join(table_chapter(results))
    assert "p (Holm)" in whole.partition("Matched pairs")[0]


def test_a_value_that_was_never_tried_where_others_are_good_is_left_out(results):
    study = uncovered_prior(results)
    assert StudyView(study).influence.uncovered("prior") == ["normal"]
    blocks = parameter_tables(study)
    tables = tables_of("\n\n".join(blocks))
    assert list(tables["By prior"]["prior"]) == ["mixture"]
    why = (
        "Left out, because no trial that counts has it with settings at which other values do "
        "well: prior = normal."
    )
    assert blocks.count(why) == 1


def test_of_many_comparisons_the_corrected_test_decides_not_each_interval(results):
    """The interval of one of three configurations excludes 0, but three were confirmed."""
    study = with_test_figures(results, BEST, (98.6, 99.3, 99.3), (98.3, 98.1, 98.0))
    margin = StudyView(study).retrained.margins[0]
    assert margin.interval.low * margin.interval.high > 0
    assert margin.tests == 3
    assert margin.p_holm == pytest.approx(3 * stats.ttest_rel((98.6, 99.3, 99.3), BEST).pvalue)
    assert not margin.settled
    assert tables_of(confirmed_table(study))[""]["p (Holm)"].iloc[1] == f"{margin.p_holm:.2g}"


def test_no_value_is_called_best_from_one_trial_or_from_survivors(results):
    trials = results.trials
    own = trials[~trials["repeat"] & trials["duplicate_of"].isna()]
    one = own[own["params.optimizer"] == "adam"].head(6).copy()
    one[["state", "objective"]] = [["complete", 50.0]] + [["pruned", 300.0]] * 5
    others = own[(own["params.optimizer"] == "adamax") & (own["state"] == "complete")]
    table = tables_of(by_parameter(part(results, pd.concat([one, others])), "optimizer"))[
        ""
    ].set_index("optimizer")
    assert list(table.loc["adam"]) == ["1", "5", "0", "50.00", "–"]
    assert "**" not in table.to_string()
    both = tables_of(by_parameter(part(results, pd.concat([one.head(1), others])), "optimizer"))[""]
    assert "**" not in both.to_string(), "one trial has no best median"


def ended(table):
    """How many trials ended, in each row of a table of groups."""
    return (
        table[["complete (n)", "pruned", "failed"]]
        .map(lambda cell: int(cell.replace(",", "")))
        .sum(axis=1)
    )


def test_a_choice_with_a_condition_has_a_row_for_trials_without_it(results):
    trials = results.trials.copy()
    trials["params.sort"] = np.where(trials["params.prior"] == "mixture", "a", None)
    search = changed_search(
        results, sort={"kind": "choice", "values": ["a", "b"], "when": {"prior": ["mixture"]}}
    )
    table = tables_of(by_parameter(replace(results, trials=trials, study=search), "sort"))[
        ""
    ].set_index("sort")
    assert list(table.index) == ["a", "– (not used)"], "b was never tried"
    assert list(ended(table)) == [20, 19]


def test_groups_by_latent_size_are_powers_of_two(results):
    trials = search_trials(results.trials)
    table = tables_of(by_parameter(results, "latent_size"))[""].set_index("latent size")
    assert list(table.index) == ["2–3", "4–7", "8–15", "16–31", "32–64"]
    outside = results.trials.copy()
    outside.loc[outside["number"] == 0, "params.latent_size"] = 900
    table = tables_of(by_parameter(replace(results, trials=outside), "latent_size"))[""]
    assert ended(table).sum() == len(trials)


def test_component_counts_of_a_choice_and_without_a_prior(results):
    counts = {"kind": "choice", "values": [1, 2, 64], "when": {"prior": ["mixture"]}}
    trials = results.trials.copy()
    trials["params.components"] = trials["params.components"].map(
        lambda count: None if pd.isna(count) else 2, na_action=None
    )
    study = replace(results, trials=trials, study=changed_search(results, components=counts))
    table = tables_of(by_parameter(study, "components"))[""]
    assert list(table["components"]) == ["2", "– (not used)"]
    search = {"components": {"kind": "int", "low": 2, "high": 64, "log": True}}
    alone = replace(
        results, study=study_attributes(spec=study_attributes().spec | {"search": search})
    )
    blocks = parameter_tables(alone)
    assert blocks[0] == "#### By components"
    table = tables_of("\n\n".join(blocks))["By components"]
    assert list(table["components"]) == ["– (not used)", "2–3", "4–7", "8–15", "16–31", "32–64"]


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_ranges_cover_every_number_once(low, more):
    found = ranges(low, low + more)
    assert found[0][0] == low
    assert found[-1][1] == low + more
    assert all(first <= last for first, last in found)
    assert all(second[0] == first[1] + 1 for first, second in itertools.pairwise(found))
    assert len(found) >= min(3, more + 1)
    assert len(found) <= 14


def test_pairs_say_their_interval_and_the_test_that_agrees_with_it(results):
    _, few, *_ = paired_tables(results)
    assert "over 4 configurations, the seeds of each averaged first" in few
    (comparison,) = StudyView(results).pairs
    assert f"Student's t for pairs: p = {comparison.p:.2g}, and" in few
    assert paired_tables(with_pairs(results, 2))[1].endswith(" pairs.")
    each, words, *_ = paired_tables(with_pairs(results, 60))
    assert len(tables_of(each)[""]) == 60
    assert "over 60 configurations" in words
    assert "Wilcoxon's signed-rank test: p " in words


def with_pairs(results, configurations):
    """The study with one matched pair for each of so many configurations."""
    trials = results.trials
    pair = trials[trials["pair_ids"].astype(bool)].drop_duplicates("params.optimizer")
    made = [
        pair.assign(
            **{"params.beta": 0.5 + of},
            source_trial=of,
            number=pair["number"] + 1000 * (of + 1),
            pair_ids=[(f"optimizer:{of}/0",)] * 2,
            seed_index=0,
            objective=[100.0, 99.0 + of % 3],
        )
        for of in range(configurations)
    ]
    return replace(results, trials=pd.concat([trials[~trials["repeat"]], *made], ignore_index=True))


def test_a_trial_whose_epochs_are_missing_keeps_its_rank(results):
    first = ranked(results)["number"].iloc[0]
    epochs = results.epochs
    without = replace(results, epochs=epochs[epochs["repeat"] | (epochs["number"] != first)])
    table = tables_of(ranked_table(without))[""]
    assert list(table["trial"].astype(int)) == list(ranked(results)["number"].head(10))
    assert table.loc[0, "rate"] == "–"
    assert table.loc[1, "rate"] != "–"


def test_ten_thousand_trials_take_seconds(results, compose):
    large = repeated(results, 10_000)
    compose(results)  # imports
    started = time.process_time()
    text = compose(large)
    assert time.process_time() - started < 20, "a table for each trial would take minutes"
    assert len(text) < 60_000
    assert ended(tables_of(text)["By optimizer"]).sum() == 10_000
