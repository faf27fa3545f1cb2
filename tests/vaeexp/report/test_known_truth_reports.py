"""Twenty studies whose truth is known go through the whole report; what its text says is compared with that truth.

One false word in twenty reports is what the stated rate of 5 % gives on average, so a kind of claim may be false twice:
more would be seen in 1.6 % of twenty. `tests/vaeexp/results/test_known_truth.py` measures the rates on 2,000 studies each.
"""

import re

import numpy as np
import pytest
from planted_studies import EFFECT, FLIPS_AT, NOISES, planted, results_of
from report_text import draw_only, tables_of

from vaeexp.report import chapters
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
                study = planted(kind, random, shape=NOISES[place % 3], compared=(5, 3), trials=(60, 100))
                view = StudyView(results_of(study, name=kind.replace(" ", "_")))
                made[kind].append((study, view, chapters.compose(view)[0]))
    return made


@pytest.mark.parametrize(
    "kind", [kind if kind == "hole" else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_reports_have_the_plots_of_their_study(reports, kind):
    """The study with a hole stands for all, because some of its values are left out of plots."""
    _, view, without = reports[kind][0]
    text, figures = chapters.compose(view)
    assert {"confirmed_seeds.png", "effects.png", "partial_dependence.png", "paired_differences.png"} <= set(figures)
    assert answer_of(text).split("<img")[0].strip() == answer_of(without).strip()


def answer_of(text: str) -> str:
    return text.split("## Answer")[1].split("\n## ")[0]


def verdict(text: str, label: str) -> str:
    (clause,) = re.findall(rf"^- \*\*{label}\*\*: .*$", answer_of(text), re.MULTILINE)[:1]
    return "open" if "; open:" in clause else "found" if " determined" in clause else "nothing"


ALL = ("learning rate", "β", "latent size", "optimizer", "prior")


def test_reports_name_the_planted_effect_and_its_side(reports):
    assert sum(verdict(text, "β") == "found" for *_, text in reports["effect"]) >= 3
    for study, view, text in reports["effect"]:
        assert "adamax is better than adam" not in text
        (comparison,) = view.pairs
        low, high = comparison.interval.low, comparison.interval.high
        assert low < EFFECT + 3
        assert high > EFFECT - 3
        best = study.columns["params.beta"][view.best_number]
        assert 0.2 < best < 5


def test_reports_find_nothing_where_there_is_nothing(reports):
    every = [text for kind in ("none", "tie") for _, _, text in reports[kind]]
    assert sum(verdict(text, label) == "found" for text in every for label in ALL) <= 2
    assert sum("is better than" in answer_of(text) for text in every) <= 2
    assert sum("more than the seeds vary" in answer_of(text) for text in every) <= 2
    assert sum("depends on the" in answer_of(text) for text in every) <= 2


def test_reports_name_the_planted_interaction(reports):
    for study, _, text in reports["interaction"]:
        rates = study.columns["params.learning_rate"][study.compared]
        both = len({*(rates > FLIPS_AT)}) > 1
        named = re.search(
            r"learning rate below ([\d.]+) adam is better .*learning rate above \S+ adamax is better", text
        )
        assert bool(named) == both
        if named:
            assert rates[rates < FLIPS_AT].max() <= float(named[1]) * 1.01
            assert rates[rates > FLIPS_AT].min() >= float(named[1]) * 0.99


def test_reports_do_not_judge_the_value_in_the_hole(reports):
    for _, _, text in reports["hole"]:
        assert "**prior = normal** was never tried to the end near the region" in answer_of(text)
        assert "normal" not in set(tables_of(text).get("By prior", {}).get("prior", []))
    assert sum(verdict(text, "prior") == "found" for _, _, text in reports["hole"]) <= 1


def test_reports_call_no_lone_survivor_the_best(reports):
    for study, view, text in reports["pruning"]:
        table = tables_of(text)["By optimizer"].set_index("optimizer")
        assert "**" not in table.loc["adamax"].to_string()
        pruned = (view.search["state"] == "pruned") & (view.search["params.optimizer"] == "adamax")
        assert table.loc["adamax", "pruned"] == str(int(pruned.sum()))
        assert study.columns["params.optimizer"][view.search["objective"].idxmin()] == "adamax"
