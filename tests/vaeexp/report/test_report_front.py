"""The report of a study with two objectives: its front, and nothing that ranks
trials by one value.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from drawn_studies import OBJECTIVES, two_objectives
from report_text import draw_only, headings, tables_of
from synthetic_study import make_results

from sweeps.results import best_run
from sweeps.results.front import pareto_front
from vaeexp.plots import PLOTS
from vaeexp.plots.tradeoff import front as draw_front
from vaeexp.report.chapters import compose
from vaeexp.report.recommendation import use
from vaeexp.report.summary import summary_json
from vaeexp.results.front_view import FrontView
from vaeexp.results.study_summary import summarise_study
from vaeexp.results.study_view import StudyView
from vaeexp.results.trust import check_study


@pytest.fixture(scope="module")
def view():
    return StudyView(two_objectives())


@pytest.fixture(scope="module")
def text(view):
    with pytest.MonkeyPatch.context() as patch:
        draw_only(patch)
        return compose(view)[0]


def last_values(view):
    """Number → both objectives at the last epoch, of the complete trials of the search, from the
    tables themselves.
    """
    trials = view.trials
    complete = trials[
        ~trials["repeat"] & (trials["state"] == "complete") & trials["duplicate_of"].isna()
    ]
    epochs = view.epochs[~view.epochs["repeat"]].sort_values("epoch")
    return {
        int(number): epochs[epochs["number"] == number]
        .iloc[-1][[*OBJECTIVES.values()]]
        .to_numpy(float)
        for number in complete["number"]
    }


def test_the_front_is_of_the_last_epochs(view):
    values = last_values(view)
    numbers, points = list(values), np.array([*values.values()])
    assert list(view.front.members["number"]) == [numbers[index] for index in pareto_front(points)]
    assert 1 < len(view.front.members) < len(numbers)


def test_no_chapter_ranks_trials_by_one_value(view, text):
    titles = headings(text)
    for gone in (
        "Can this study be trusted?",
        "Best trials of the search",
        "The search by parameter",
        "Matched pairs",
    ):
        assert not any(gone in title for title in titles)
    for words in (
        "best trial",
        "The best configuration",
        "best in the search",
        "it has not been confirmed",
    ):
        assert words not in text
    assert [statement.id for statement in use(view)] == ["use.front"]
    assert "ranks nothing here" in text
    assert view.best is None
    assert best_run(view.results) is None
    assert view.ranked.empty
    assert view.influence.learned.empty
    assert view.importances.empty
    assert check_study(view) == []


def test_the_table_says_beside_it_that_its_rows_are_single_runs(view, text):
    table = tables_of(text)["The front"]
    assert list(table.columns) == ["trial", "rate", "distortion", "−ELBO", "configuration"]
    assert [int(number) for number in table["trial"]] == list(view.front.members["number"])
    after = text[text.index("| trial | rate | distortion |") :]
    assert "one run with one seed (n = 1)" in after


def test_a_study_with_one_objective_has_no_word_of_a_front():
    plain = StudyView(make_results())
    assert plain.front is None
    with pytest.MonkeyPatch.context() as patch:
        draw_only(patch)
        assert "front" not in compose(plain)[0].lower()
    assert json.loads(summary_json(plain))["front"] is None
    assert PLOTS["front"].draw(plain) is None


def test_the_picture_shows_every_trial_and_steps_that_stay_behind_the_front(view):
    axes = draw_front(view).axes[0]
    drawn = sum(len(points.get_offsets()) for points in axes.collections)
    assert drawn == len(view.front.complete)
    [steps] = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert np.array_equal(
        steps.get_xydata(), view.front.members[[*OBJECTIVES.values()]].to_numpy(float)
    )
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for x, y in steps.get_xydata():
        assert left < x < right
        assert bottom < y < top
    named = [text.get_text() for text in axes.texts if ": β = " in text.get_text()]
    ends = view.front.members["number"].iloc[[0, -1]]
    assert named[0].startswith(f"{ends.iloc[0]}: ")
    assert any(name.startswith(f"{ends.iloc[1]}: ") for name in named)


def test_a_name_ends_nearest_its_own_trial(view):
    """Of two trials close above each other the upper one's name once lay beside the lower one."""
    rows = view.trials[~view.trials["repeat"]].head(6)
    places = {
        "rate": [1.0, 1.1, 20.0, 20.1, 40.0, 55.0],
        "distortion": [500.0, 488.0, 160.0, 150.0, 148.0, 100.0],
    }
    found = FrontView(
        ("rate", "distortion"),
        rows.assign(state="complete", number=range(6), **places),
        (*places,),
    )
    figure = draw_front(SimpleNamespace(front=found, plan=view.plan))
    figure.draw_without_rendering()
    axes, named = figure.axes[0], []
    points = axes.transData.transform(found.members[[*places]].to_numpy(float))
    for text in axes.texts:
        if ": β = " in text.get_text():
            named.append(int(text.get_text().partition(":")[0]))
            end = text.get_window_extent()
            distances = np.hypot(*(points - (end.x1, (end.y0 + end.y1) / 2)).T)
            assert found.members["number"][distances.argmin()] == named[-1]
    assert {1, 3, 5} <= {*named}, "the lower ones have room"
    assert not {0, 2} & {*named}


def test_the_summary_has_the_front(view):
    found = json.loads(summary_json(view))["front"]
    assert found["objectives"] == ["rate", "distortion"]
    assert [entry["trial"] for entry in found["trials"]] == list(view.front.members["number"])
    assert found["trials"][0]["values"] == list(last_values(view)[found["trials"][0]["trial"]])
    assert json.loads(summary_json(view))["best"] is None
    summary = summarise_study(view)
    assert summary.search_value is None


@pytest.mark.parametrize("trials", [0, 1])
def test_a_search_that_has_hardly_begun(trials):
    thin = StudyView(two_objectives(trials))
    with pytest.MonkeyPatch.context() as patch:
        draw_only(patch)
        compose(thin)
    complete = len(thin.front.complete)
    assert complete == trials
    assert [statement.id for statement in use(thin)] == ["use.front" if complete else "use.nothing"]
    assert (draw_front(thin) is None) == (complete == 0)
    assert len(json.loads(summary_json(thin))["front"]["trials"]) == complete
