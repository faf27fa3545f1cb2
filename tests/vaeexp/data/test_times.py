"""Times of a sure order: numbers that are dates in another order are refused, others are not."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from sweeps import UserError
from vaeexp.data.times import ranks_of

DAYS = [date(2022, 9, 20) + timedelta(days=9 * step) for step in range(30)]


def spelt(form: str) -> list[str]:
    return [day.strftime(form) for day in DAYS]


def whole(form: str) -> list[int]:
    return [int(text) for text in spelt(form)]


DAY_FIRST = {
    "DDMMYYYY": spelt("%d%m%Y"),
    "MMDDYYYY": spelt("%m%d%Y"),
    "DDMMYY": spelt("%d%m%y"),
    "MMDDYY": spelt("%m%d%y"),
    "DDMMYYYYHHMM": spelt("%d%m%Y1430"),
    "numbers of seven and eight digits": whole("%d%m%Y"),
    "numbers, the month first": whole("%m%d%Y"),
    "numbers of five and six digits": whole("%d%m%y"),
    "floats": [float(number) for number in whole("%d%m%Y")],
    "DD.MM": spelt("%d.%m"),
    "MM.DD": spelt("%m.%d"),
    "D.M": [f"{day.day}.{day.month}" for day in DAYS],
    "DD.MM read as numbers": [float(text) for text in spelt("%d.%m")],
}


@pytest.mark.parametrize("times", DAY_FIRST.values(), ids=DAY_FIRST)
def test_numbers_that_are_dates_with_the_day_or_the_month_first_are_refused(times):
    with pytest.raises(UserError, match="begins with the day or the month; must be numbers, or"):
        ranks_of(np.array(times), "here", str)


COURSES = {
    "ends of months": pd.date_range("2010-01-31", "2019-12-31", freq="ME"),
    "first days of months": pd.date_range("2015-01-01", "2019-12-31", freq="MS"),
    "weeks of 19 years": pd.date_range("2001-01-01", "2019-12-31", freq="7D"),
    "days of 13 years": pd.date_range("2005-01-01", "2017-12-31"),
    "days of a year": pd.date_range("2015-01-01", "2015-12-31"),
    "visits": pd.date_range("2008-01-01", "2022-12-31")[np.random.default_rng(3).permutation(5000)][
        :200
    ],
}


@pytest.mark.parametrize("course", COURSES)
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("form", ["%d%m%y", "%m%d%y", "%y%m%d"])
def test_two_digits_are_the_year_where_the_dates_are_then_even(course, shuffled, form):
    days = COURSES[course].sort_values()
    order = np.random.default_rng(0).permutation(len(days)) if shuffled else np.arange(len(days))
    times = days[order].strftime(form).to_numpy().astype(np.int64)
    if form == "%y%m%d":
        ranks = ranks_of(times, "here", str)
        np.testing.assert_array_equal(np.argsort(ranks), np.argsort(days[order]))
        return
    with pytest.raises(UserError, match="begins with the day or the month"):
        ranks_of(times, "here", str)


@pytest.mark.parametrize("days", [(10, 20, 30), (1, 15), range(1, 32), ()])
def test_days_and_months_of_a_year_are_no_numbers(days):
    year = pd.date_range("2015-01-01", "2015-12-31")
    chosen = year[year.day.isin([*days])] if days else year[year.is_month_end]
    with pytest.raises(UserError, match="begins with the day or the month"):
        ranks_of(np.array([float(text) for text in chosen.strftime("%d.%m")]), "here", str)


@pytest.mark.parametrize("least", [1, 100, 10_001, 10_100, 101_010, 10**6])
@pytest.mark.parametrize("count", [5, 30, 300, 3000])
@pytest.mark.parametrize("most", [1, 2, 5, 100])
def test_counters_are_no_dates(least, count, most):
    steps = np.random.default_rng(0).integers(1, most + 1, count)
    for times in (least + most * np.arange(count), least + steps.cumsum()):
        assert ranks_of(times, "here", str).tolist() == times.tolist()


@pytest.mark.parametrize("texts", [["14:30", "09:15", "10:00"], ["14:30:05", "9:15"], ["2", "inf"]])
def test_a_clock_alone_and_no_number_are_refused(texts):
    with pytest.raises(UserError, match="must be numbers, or dates with the year first"):
        ranks_of(np.array(texts), "here", str)


RANDOM = np.random.default_rng(0)
PLAIN = {
    "YYYYMMDD": whole("%Y%m%d"),
    "YYMMDD": whole("%y%m%d"),
    "years": range(1990, 2020),
    "year and month": [f"{year}.{month:02d}" for year in (2021, 2022) for month in range(1, 13)],
    "milliseconds of seven digits": 1_000_000 + RANDOM.integers(90, 110, 400).cumsum(),
    "milliseconds of eight digits": 11_010_000 + RANDOM.integers(90, 110, 400).cumsum(),
    "steps of ten seconds": range(10_100, 10_400, 10),
    "seconds since 1970": 1_700_000_000 + RANDOM.integers(0, 10**7, 40).cumsum(),
    "milliseconds since 1970": 1_700_000_000_000 + RANDOM.integers(0, 10**10, 40).cumsum(),
    "days of spreadsheets": range(44_800, 45_100, 7),
    "reals": ["1.11", "2.5", "10.25", "30.75"],
    "reals of two decimals": [f"{number:.2f}" for number in np.linspace(1, 25, 40)],
    "reals of another form": ["0.5", "1.5", "2.50"],
    "measured": RANDOM.random(40).cumsum(),
}


@pytest.mark.parametrize("times", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("kind", ["numbers", "text"])
def test_plain_numbers_stay_in_their_order(times, kind):
    given = np.array([str(time) for time in times]) if kind == "text" else np.array([*times])
    order = RANDOM.permutation(len(given))
    np.testing.assert_array_equal(
        np.argsort(ranks_of(given[order], "here", str)), np.argsort(order)
    )


def test_october_comes_after_september_where_years_and_months_have_a_point():
    texts = np.array(["2022.9", "2022.10", "2022.1", "2022.11", "2023.1"])
    assert ranks_of(texts, "here", str).tolist() == [1, 2, 0, 3, 4]
