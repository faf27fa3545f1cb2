"""What the page's script knows of a study: each value is that of the CSV files, whatever the study
holds.
"""

import io
import itertools
import json
import math
from dataclasses import replace

import pandas as pd
import pytest
from drawn_studies import two_objectives
from synthetic_study import make_results, thin_studies, with_baselines

from vaeexp.report.page.trial_rows import CURVE_POINTS, study_data
from vaeexp.report.summary import curves_csv, trials_csv
from vaeexp.results.study_view import StudyView


def studies():
    return {
        "full": with_baselines(make_results()),
        "two objectives": two_objectives(),
    } | thin_studies()


CASES = list(studies())


@pytest.fixture(scope="module")
def views():
    return {name: StudyView(results) for name, results in studies().items()}


def as_json(view):
    """The data as the script reads them: without a number that JSON does not know."""
    return json.loads(json.dumps(study_data(view), allow_nan=False))


@pytest.mark.parametrize("case", CASES)
def test_values_of_rows_are_those_of_the_csv_file(views, case):
    data = as_json(views[case])
    table = pd.read_csv(io.StringIO(trials_csv(views[case])))
    by_row = {row["row"]: row for row in data["rows"]}
    own = (
        "row",
        "run",
        *(column["name"] for column in data["columns"] if column["name"].startswith("last/")),
    )
    columns = [column["name"] for column in data["columns"] if column["name"] not in own]
    assert len(by_row) == len(data["rows"]) == len(table)
    for _, expected in table.iterrows():
        row = by_row[f"{'r' if expected['repeat'] else ''}{expected['number']}"]
        assert set(row) <= {*columns, *own}
        for name in columns:
            if pd.isna(expected[name]):
                assert name not in row
            elif isinstance(row[name], str):
                assert row[name] == str(expected[name])
            else:
                assert row[name] == expected[name]


@pytest.mark.parametrize("case", ["full", "two objectives", "all failed"])
def test_curves_are_those_of_the_csv_file(views, case):
    data = as_json(views[case])
    table = pd.read_csv(io.StringIO(curves_csv(views[case])))
    for (repeat, number), epochs in table.groupby(["repeat", "number"]):
        curve = data["curves"][f"{'r' if repeat else ''}{number}"]
        assert curve[::2] == epochs["epoch"].tolist()
        given = [math.nan if value is None else value for value in curve[1::2]]
        assert given == pytest.approx(epochs["objective"].tolist(), rel=1e-5, nan_ok=True)
    assert len(data["curves"]) == table.groupby(["repeat", "number"]).ngroups


def test_the_best_trial_stands_first_and_repeats_stand_last(views):
    data = as_json(views["full"])
    assert data["best"] == [data["rows"][0]["row"]] == [str(views["full"].best_number)]
    ranked = views["full"].ranked["number"].astype(str).tolist()
    complete = [row["row"] for row in data["rows"] if row["row"] in ranked]
    assert complete == [
        data["best"][0],
        *(number for number in ranked if number != data["best"][0]),
    ]
    repeats = [row["row"].startswith("r") for row in data["rows"]]
    assert repeats == sorted(repeats)
    front = as_json(views["two objectives"])
    members = views["two objectives"].front.members["number"].astype(str).tolist()
    assert front["best"] == members == [row["row"] for row in front["rows"]][: len(members)]


@pytest.mark.parametrize(
    ("value", "expected"), [(math.inf, "∞"), (-math.inf, "−∞"), (math.nan, None)]
)
def test_a_value_that_is_not_finite_is_text_or_missing(value, expected):
    results = make_results(12)
    trials = results.trials.copy()
    trials.loc[0, ["objective", "result.test/rate"]] = value
    epochs = results.epochs.copy()
    epochs.loc[(epochs["number"] == 0) & (epochs["epoch"] == 2), "objective"] = value
    data = as_json(StudyView(replace(results, trials=trials, epochs=epochs)))
    row = next(row for row in data["rows"] if row["row"] == "0")
    assert row.get("objective") == row.get("result.test/rate") == expected
    assert data["curves"]["0"][3] is None


def test_a_long_curve_keeps_points_that_stand_evenly_with_both_ends():
    results = make_results(12)
    first = results.epochs[results.epochs["number"] == 0].iloc[[0] * 500]
    long = first.assign(epoch=range(1, 501))
    data = as_json(
        StudyView(replace(results, epochs=pd.concat([results.epochs.query("number != 0"), long])))
    )
    epochs = data["curves"]["0"][::2]
    assert (len(epochs), epochs[0], epochs[-1]) == (CURVE_POINTS, 1, 500)
    steps = [later - earlier for earlier, later in itertools.pairwise(epochs)]
    assert max(steps) - min(steps) <= 1


def test_axes_are_the_ranges_and_choices_of_the_study_file(views):
    axes = {
        column["name"]: column["axis"]
        for column in as_json(views["full"])["columns"]
        if "axis" in column
    }
    assert axes["params.beta"] == {"low": 0.01, "high": 10.0, "log": True, "whole": False}
    assert axes["params.prior"] == {"choices": ["normal", "mixture"]}
    assert axes["params.components"]["whole"]
    assert next(iter(axes)) == "objective"
