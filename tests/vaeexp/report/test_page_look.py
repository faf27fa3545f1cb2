"""What one can do in the page of a report, in a headless browser: sort, filter, look at trials, brush, zoom, compare pictures."""

import io
from dataclasses import replace

import pandas as pd
import pytest
from drawn_studies import two_objectives
from pages import look_at, needs_browser, opened
from synthetic_study import make_results, thin_studies, with_baselines

from vaeexp.report.page.document import PAGE, page
from vaeexp.report.page.study_data import study_data
from vaeexp.report.summary import trials_csv
from vaeexp.results.study_view import StudyView

pytestmark = [needs_browser, pytest.mark.browser, pytest.mark.slow]
TEXT = """# A study

Words.

## Contents

- [Rest](#rest)

## Rest

<img src="plot.png" width="600" alt="A plot">
"""
HOSTILE = ["<script>alert(1)</script>", "\"quotes' & </script>", "🦄" * 300, "NaN"]
COLUMN = """
const at = [...document.querySelectorAll('.look-table thead tr:last-child th')].findIndex(head => head.dataset.column === arguments[0]);
return [...document.querySelectorAll('.look-table tbody tr')].map(row => row.children[at].textContent);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def view():
    return StudyView(with_baselines(make_results()))


@pytest.fixture(scope="module")
def written(tmp_path_factory, view):
    return write(view, tmp_path_factory.mktemp("page"))


def write(view, folder):
    """A page with next to no words, one plot of dots and a line, and all the data of a study."""
    data, path = study_data(view), folder / PAGE
    drawings = {"plot.png": plot_of([row["row"] for row in data["rows"]][:60])}
    path.write_text(page(TEXT, {}, drawings=drawings, data=data), encoding="utf-8")
    return path


def plot_of(rows):
    """A drawing as plots of trials are: a dot for each row, and the line of the first."""
    dots = [
        f'<circle data-row="{row}" cx="{20 + 9 * at}" cy="{20 + at * 37 % 160}" r="4"/>' for at, row in enumerate(rows)
    ]
    line = [f'<path data-row="{row}" d="M20 180L300 20L580 90" fill="none" stroke="#d55e00"/>' for row in rows[:1]]
    return f'<svg viewBox="0 0 600 200">{"".join(dots + line)}</svg>'


def column(browser, name):
    """The cells of a column of the table as they are shown."""
    return browser.execute_script(COLUMN, name)


def numbers(cells):
    return [float(cell.replace("−", "-").replace(",", "").replace(" ★", "")) for cell in cells if cell != "–"]


def click(browser, selector):
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def keys(browser, *pressed, at=None):
    """Press keys where the focus is, or at an element."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    element = browser.switch_to.active_element if at is None else browser.find_element(By.CSS_SELECTOR, at)
    element.send_keys(*(getattr(Keys, key, key) for key in pressed))


def count(browser):
    return browser.execute_script("return document.querySelector('.look-count').textContent")


def head(name):
    return f'.look-table [data-column="{name}"]'


# ---- the table ----


def test_the_table_has_every_trial_with_the_values_of_the_csv_file(browser, written, view):
    assert look_at(browser, written) == []
    table = pd.read_csv(io.StringIO(trials_csv(view)))
    search = table[~table["repeat"]].set_index("number")
    assert count(browser) == "40 of 40 trials"
    trials = [int(number) for number in numbers(column(browser, "row"))]
    assert sorted(trials) == sorted(search.index)
    shown = column(browser, "objective")
    expected = ["–" if pd.isna(value) else f"{value:.2f}" for value in search.loc[trials, "objective"]]
    assert shown == expected
    assert column(browser, "params.optimizer") == search.loc[trials, "params.optimizer"].tolist()
    assert column(browser, "row")[0] == f"{view.best_number} ★"


@pytest.mark.parametrize("name", ["objective", "params.beta", "params.components", "params.optimizer", "row"])
def test_a_column_sorts_both_ways_with_missing_values_last(browser, written, name):
    look_at(browser, written)
    before = column(browser, "row")
    click(browser, f"{head(name)} button")
    up = column(browser, name)
    assert browser.execute_script(f"return document.querySelector('{head(name)}').getAttribute('aria-sort')") == (
        "ascending"
    )
    click(browser, f"{head(name)} button")
    down = column(browser, name)
    values = [cell for cell in up if cell != "–"] if name == "params.optimizer" else numbers(up)
    assert values == sorted(values)
    assert (numbers(down) if name != "params.optimizer" else down) == sorted(values, reverse=True)
    missing = up.count("–")
    assert up[len(up) - missing :] == down[len(down) - missing :] == ["–"] * missing
    click(browser, f"{head(name)} button")
    assert column(browser, "row") == before


def test_sorting_keeps_the_order_of_equal_rows(browser, written):
    look_at(browser, written)
    before = column(browser, "row")
    click(browser, f"{head('params.optimizer')} button")
    choices = column(browser, "params.optimizer")
    first = [row for row, choice in zip(column(browser, "row"), choices, strict=True) if choice == "adam"]
    assert first == [row for row in before if row in first]


@pytest.mark.parametrize(
    ("line", "query"),
    [
        ("β<0.5 state:complete", "`params.beta` < 0.5 and state == 'complete'"),
        ("latent_size>=20 adamax", "`params.latent_size` >= 20 and `params.optimizer` == 'adamax'"),
        ("trial:4,7", "number in (4, 7)"),
        ("prior:normal learning rate", "number < 0"),
        ('params.prior=mixture "pruned"', "`params.prior` == 'mixture' and state == 'pruned'"),
    ],
)
def test_the_line_filters(browser, written, view, line, query):
    look_at(browser, written)
    keys(browser, line, at="#look-filter")
    table = pd.read_csv(io.StringIO(trials_csv(view)))
    expected = table[~table["repeat"]].query(query)["number"]
    assert sorted(numbers(column(browser, "row"))) == sorted(expected)
    assert count(browser) == f"{len(expected)} of 40 trials"


@pytest.mark.parametrize(("line", "words"), [("betta<1", "betta"), ("beta<one", "one")])
def test_a_line_that_cannot_be_read_says_so_and_filters_nothing(browser, written, line, words):
    look_at(browser, written)
    keys(browser, line, at="#look-filter")
    assert words in browser.execute_script("return document.querySelector('.look-wrong').textContent")
    assert count(browser) == "40 of 40 trials"


def test_runs_with_new_seeds_states_and_columns_are_switched(browser, written, view):
    look_at(browser, written)
    click(browser, "#look-repeats")
    assert count(browser).startswith(f"{len(view.trials)} of {len(view.trials)} trials and runs")
    assert {cell[0] for cell in column(browser, "row")} >= {"r", "1"}
    browser.execute_script(
        "const state = document.getElementById('look-state'); state.value = 'pruned'; state.dispatchEvent(new Event('change'))"
    )
    assert set(column(browser, "state")) == {"pruned"}
    assert not browser.execute_script(f"return document.querySelector('{head('result.test/fid')}')")
    click(browser, '#look input[value="test"]')
    assert browser.execute_script(f"return !!document.querySelector('{head('result.test/neg_elbo')}')")


def test_thousands_of_trials_stand_a_hundred_at_a_time(browser, tmp_path):
    results = make_results(40, confirm=False, compare=False)
    several = [results.trials.assign(number=results.trials["number"] + 40 * part) for part in range(75)]
    trials = pd.concat(several, ignore_index=True)
    trials["duplicate_of"] = pd.Series([None] * len(trials), dtype="Int64")
    trials["objective"] = trials["objective"] + trials["number"] / 1e4
    look_at(browser, write(StudyView(replace(results, trials=trials)), tmp_path))
    assert count(browser) == "3,000 of 3,000 trials"
    assert len(column(browser, "row")) == 100
    click(browser, f"{head('objective')} button")
    values = numbers(column(browser, "objective"))
    assert values == sorted(values)
    assert values[0] == round(trials["objective"].min(), 2)
    click(browser, ".look-pages button:last-child")
    assert "101 to 200" in browser.execute_script("return document.querySelector('.look-pages').textContent")
    assert numbers(column(browser, "objective"))[0] >= values[-1]


def test_the_table_works_by_keyboard(browser, written):
    look_at(browser, written)
    browser.execute_script(f"document.querySelector('{head('objective')} button').focus()")
    keys(browser, "ENTER")
    focused = "return document.activeElement.closest('[data-column]')?.dataset.column"
    assert browser.execute_script(focused) == "objective"
    browser.execute_script("document.querySelector('.look-table tbody tr[tabindex=\"0\"]').focus()")
    keys(browser, "ARROW_DOWN")
    keys(browser, "ARROW_DOWN")
    place = "return [...document.activeElement.parentNode.children].indexOf(document.activeElement)"
    assert browser.execute_script(place) == 2
    assert browser.execute_script("return document.querySelectorAll('.look-table tbody [tabindex=\"0\"]').length") == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_appear_as_text(browser, tmp_path, text):
    results = make_results(12)
    trials = results.trials.copy()
    trials.loc[0, "params.optimizer"] = text
    trials.loc[1, "message"] = text
    path = write(StudyView(replace(results, name=text[:40], trials=trials)), tmp_path)
    assert look_at(browser, path) == []
    assert text in column(browser, "params.optimizer")
    assert browser.execute_script("return document.querySelectorAll('#look script').length") == 0


# ---- one trial in all plots ----


def card(browser):
    """The words of the card; None where none is shown."""
    shown = "const card = document.getElementById('look-card'); return card.hidden ? null : card.innerText"
    return browser.execute_script(shown)


def hover(browser, selector):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    element = browser.find_element(By.CSS_SELECTOR, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    ActionChains(browser).move_to_element(element).perform()


def test_a_dot_shows_its_trial_with_the_values_of_the_csv_file(browser, written, view):
    look_at(browser, written)
    table = pd.read_csv(io.StringIO(trials_csv(view)))
    trial = table[~table["repeat"] & (table["number"] == 5)].iloc[0]
    assert card(browser) is None
    hover(browser, 'svg [data-row="5"]')
    words = card(browser)
    assert words.startswith("Trial 5")
    assert f"{trial['objective']:.2f} · {trial['state']} · {trial['epochs']} epochs" in words
    assert trial["params.optimizer"] in words
    beta = float(f"{trial['params.beta']:.3g}")
    assert f"{beta:g}" in words
    assert browser.execute_script("return document.querySelectorAll('#look-card .look-curve-own').length") == 1
    assert browser.execute_script("return document.querySelectorAll('.look-ring').length") == 1
    hover(browser, "h1")
    assert card(browser) is None
    assert browser.execute_script("return document.querySelectorAll('.look-ring').length") == 0


def test_a_click_pins_a_trial_everywhere_and_escape_frees_it(browser, written, view):
    look_at(browser, written)
    row = str(view.best_number)
    browser.execute_script("document.querySelector('.look-table tbody tr').click()")
    assert card(browser).startswith(f"Trial {row}\n")
    assert browser.execute_script("return document.querySelector('svg .look-line').dataset.row") == row
    hover(browser, 'svg [data-row="5"]')
    assert card(browser).startswith(f"Trial {row}\n")
    assert browser.execute_script("return document.querySelector('tr[aria-current=\"true\"]').dataset.row") == row
    keys(browser, "ESCAPE")
    assert card(browser) is None
    assert not browser.execute_script("return document.querySelector('tr[aria-current=\"true\"]')")


def test_plots_and_rows_are_looked_at_by_keyboard(browser, written):
    look_at(browser, written)
    browser.execute_script("document.querySelector('main svg').closest('[tabindex]').focus()")
    first = browser.execute_script("return document.querySelector('main svg [data-row]').dataset.row")
    keys(browser, "ARROW_RIGHT")
    assert card(browser).startswith(f"Trial {first}")
    keys(browser, "ARROW_RIGHT", "ARROW_RIGHT")
    seen = card(browser)
    assert not seen.startswith(f"Trial {first} ")
    keys(browser, "ENTER")
    assert card(browser).split("\n")[0] == seen.split("\n")[0]
    assert browser.execute_script("return document.getElementById('look-card').classList.contains('look-pinned')")
    keys(browser, "ESCAPE")
    browser.execute_script("document.querySelector('.look-table tbody tr[tabindex=\"0\"]').focus()")
    keys(browser, "ARROW_DOWN", "ENTER")
    row = browser.execute_script("return document.activeElement.dataset.row")
    assert card(browser).startswith(f"Trial {row}")


def test_a_filter_fades_the_others_in_plots(browser, written, view):
    look_at(browser, written)
    keys(browser, "latent_size<12", at="#look-filter")
    rows = {row["row"]: row for row in study_data(view)["rows"]}
    rows_of = "return [...document.querySelectorAll(arguments[0])].map(dot => dot.dataset.row)"
    drawn = browser.execute_script(rows_of, "svg circle[data-row]")
    small = [row for row in drawn if rows[row].get("params.latent_size", 99) < 12]
    assert browser.execute_script(rows_of, "svg circle[data-row]:not(.look-off)") == small
    assert 0 < len(small) < len(drawn)


# ---- parallel coordinates ----


def field(browser, name, end, value):
    """Type a limit of an axis, as somebody at a keyboard does."""
    browser.execute_script("document.querySelector('.look-ranges').open = true")
    keys(browser, value, "TAB", at=f'[data-range="{name} {end}"]')


def dragged(browser, label, start, end):
    """Drag along an axis, between two shares of its height from above."""
    from selenium.webdriver.common.action_chains import ActionChains

    at = "return lines.axes.find(column => column.label === arguments[0]).strip"
    strip = browser.execute_script(at, label)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", strip)
    height = strip.size["height"]
    actions = ActionChains(browser).move_to_element_with_offset(strip, 0, round((start - 0.5) * height))
    actions.click_and_hold().move_by_offset(0, round((end - start) * height)).release().perform()


@pytest.mark.parametrize(
    ("name", "limits", "query"),
    [
        ("params.beta", {"from": "0.1", "to": "1"}, "0.1 <= `params.beta` <= 1"),
        ("params.components", {"to": "20"}, "`params.components` <= 20"),
        ("objective", {"to": "105"}, "objective <= 105"),
    ],
)
def test_a_range_that_is_typed_filters_table_and_plots(browser, written, view, name, limits, query):
    look_at(browser, written)
    for end, value in limits.items():
        field(browser, name, end, value)
    table = pd.read_csv(io.StringIO(trials_csv(view)))
    expected = sorted(table[~table["repeat"]].query(query)["number"])
    assert sorted(numbers(column(browser, "row"))) == expected
    kept = browser.execute_script(
        "return [...document.querySelectorAll('svg circle:not(.look-off)')].map(dot => dot.dataset.row)"
    )
    assert sorted(int(row) for row in kept if row[0] != "r") == expected
    assert 0 < len(expected) < 40
    click(browser, ".look-ranges > button")
    assert count(browser) == "40 of 40 trials"


def test_dragging_keeps_a_range_and_a_click_drops_it(browser, written, view):
    look_at(browser, written)
    dragged(browser, "β", 0.3, 0.7)
    limits = browser.execute_script(
        "return [...document.querySelectorAll('[data-range^=\"params.beta\"]')].map(each => Number(each.value))"
    )
    assert limits == pytest.approx([10 ** (-2 + 3 * 0.3), 10 ** (-2 + 3 * 0.7)], rel=0.1)
    shown = numbers(column(browser, "params.beta"))
    assert 0 < len(shown) < 40
    trials = view.trials[~view.trials["repeat"]]
    assert len(shown) == int(trials["params.beta"].between(*limits).sum())
    dragged(browser, "prior", 0.9, 1.0)
    assert set(column(browser, "params.prior")) == {"normal"}
    dragged(browser, "prior", 0.5, 0.5)
    dragged(browser, "β", 0.5, 0.5)
    assert count(browser) == "40 of 40 trials"


def test_choices_are_kept_by_their_boxes(browser, written):
    look_at(browser, written)
    browser.execute_script("document.querySelector('.look-ranges').open = true")
    keys(browser, "SPACE", at='.look-fields input[value="adam"]')
    assert set(column(browser, "params.optimizer")) == {"adamax"}


# ---- any study ----


def states():
    return {"two objectives": two_objectives(), "no pictures": make_results(12)} | thin_studies()


@pytest.mark.parametrize("width", [360, 1280])
def test_a_study_in_any_state_opens_without_a_message(browser, tmp_path, width):
    for name, results in states().items():
        view = StudyView(results)
        assert look_at(browser, write(view, tmp_path), width=width) == [], name
        page_wide = "return document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
        assert browser.execute_script(page_wide) <= 0, name
        rows = browser.execute_script("return document.querySelectorAll('.look-table tbody tr').length")
        assert rows == int((~view.trials["repeat"]).sum()), name
