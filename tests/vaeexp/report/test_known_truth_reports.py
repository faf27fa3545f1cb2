"""Twenty studies whose truth is known go through the whole report; what its text says is compared
with that truth.

One false word in twenty reports is what the stated rate of 5 % gives on average, so a kind of claim
may be false twice: more would be seen in 1.6 % of twenty.
`tests/vaeexp/results/test_known_truth.py` measures the rates on 2,000 studies each.
"""

import re

import numpy as np
import pytest
from planted_studies import EFFECT, FLIPS_AT, NOISES, planted, results_of
from report_text import draw_only, tables_of

from vaeexp.report import answer, chapters, findings
from vaeexp.results.study_view import StudyView

KINDS = {"effect": 4, "interaction": 4, "none": 3, "hole": 3, "pruning": 3, "tie": 3}
"""Scenario → studies of it."""


@pytest.fixture(scope="module")
def reports():
    """Scenario → study, view and text of each, without plots."""
    random, made = np.random.default_rng(30), {}
    with pytest.MonkeyPatch.context() as patch:
        draw_only(patch)
        for kind, count in KINDS.items():
            made[kind] = []
            for place in range(count):
                study = planted(
                    kind, random, shape=NOISES[place % 3], compared=(5, 3), trials=(60, 100)
                )
                view = StudyView(results_of(study, name=kind.replace(" ", "_")))
                made[kind].append((study, view, chapters.compose(view)[0]))
    return made


@pytest.mark.parametrize(
    "kind",
    [kind if kind == "hole" else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS],
)
def test_reports_have_the_plots_of_their_study(reports, kind):
    """The study with a hole stands for all, because some of its values are left out of plots."""
    _, view, without = reports[kind][0]
    text, figures, _ = chapters.compose(view)
    assert {"confirmed_seeds.png", "importance.png", "paired_differences.png"} <= set(figures)
    assert answer_of(text).split("<img")[0].strip() == answer_of(without).strip()


def answer_of(text: str) -> str:
    return re.split(r"\n##+ ", text.split("## Answer")[1])[0]


def ids(view: StudyView) -> list[str]:
    said = answer.answer_of(view)
    return [statement.id for statement in (*said.use, *said.get, *said.findings)]


def test_reports_name_the_planted_effect_and_its_side(reports):
    assert sum(view.importances.index[0] == "beta" for _, view, _ in reports["effect"]) >= 3
    for study, view, _ in reports["effect"]:
        assert not [
            one
            for one in findings.compared(view)
            if one.id == "compare.apart" and one.values["better"] == "adamax"
        ]
        (comparison,) = view.pairs
        low, high = comparison.interval.low, comparison.interval.high
        assert low < EFFECT + 3
        assert high > EFFECT - 3
        best = study.columns["params.beta"][view.best_number]
        assert 0.2 < best < 5


def test_reports_find_nothing_where_there_is_nothing(reports):
    every = [view for kind in ("none", "tie") for _, view, _ in reports[kind]]
    for kind in ("compare.apart", "get.apart", "compare.interaction"):
        assert sum(kind in ids(view) for view in every) <= 2


def test_reports_name_the_planted_interaction(reports):
    for study, view, _ in reports["interaction"]:
        rates = study.columns["params.learning_rate"][study.compared]
        both = len({*(rates > FLIPS_AT)}) > 1
        said = [one.values for one in findings.compared(view) if one.id == "compare.interaction"]
        said = [values for values in said if values["by"] == "learning rate"]
        assert bool(said) == both
        for values in said:
            assert (values["below_better"], values["above_better"]) == ("adam", "adamax")
            assert rates[rates < FLIPS_AT].max() <= float(values["at"]) * 1.01
            assert rates[rates > FLIPS_AT].min() >= float(values["at"]) * 0.99


def test_reports_do_not_judge_the_value_in_the_hole(reports):
    for _, view, text in reports["hole"]:
        said = [one.values for one in findings.uncovered(view)]
        assert ("prior", "normal") in [(values["parameter"], values["value"]) for values in said]
        assert "normal" not in set(tables_of(text).get("By prior", {}).get("prior", []))


def test_reports_call_no_lone_survivor_the_best(reports):
    for study, view, text in reports["pruning"]:
        table = tables_of(text)["By optimizer"].set_index("optimizer")
        assert "**" not in table.loc["adamax"].to_string()
        pruned = (view.search["state"] == "pruned") & (view.search["params.optimizer"] == "adamax")
        assert table.loc["adamax", "pruned"] == str(int(pruned.sum()))
        assert study.columns["params.optimizer"][view.search["objective"].idxmin()] == "adamax"
