"""What one can do in the page of a report, in a headless browser: sort, filter, look at trials,
brush, zoom, compare pictures.
"""

import io
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
from drawn_studies import two_objectives
from pages import look_at, needs_browser
from synthetic_study import make_results, thin_studies, with_baselines, write_pictures

from vaeexp.evaluation.generation import grids, write_png
from vaeexp.report.chapters import write_report
from vaeexp.report.page.document import PAGE, page
from vaeexp.report.page.trial_rows import study_data
from vaeexp.report.summary import trials_csv
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import finite_points, read_arrays

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
"""  # noqa: E501


@pytest.fixture(scope="module")
def view():
    return StudyView(with_baselines(make_results()))


@pytest.fixture(scope="module")
def written(tmp_path_factory, view):
    return write(view, tmp_path_factory.mktemp("page"))


@pytest.fixture
def looked(browser, written):
    """The page in a browser, filled by its script."""
    assert look_at(browser, written) == []
    return browser


@pytest.fixture(scope="module")
def search(view):
    """The trials of the search as `trials.csv` has them."""
    return pd.read_csv(io.StringIO(trials_csv(view))).query("not repeat")


def write(view, folder):
    """A page with next to no words, one plot of dots and a line, and all the data of a study."""
    data, path = study_data(view), folder / PAGE
    drawings = {"plot.png": plot_of([row["row"] for row in data["rows"]][:60])}
    path.write_text(
        page(TEXT, {}, drawings=drawings, data=partial(study_data, view)), encoding="utf-8"
    )
    return path


def plot_of(rows):
    """A drawing as plots of trials are: a dot for each row, and the line of the first."""
    dots = [
        f'<circle data-row="{row}" cx="{20 + 9 * at}" cy="{20 + at * 37 % 160}" r="4"/>'
        for at, row in enumerate(rows)
    ]
    line = [
        f'<path data-row="{row}" d="M20 180L300 20L580 90" fill="none" stroke="#d55e00"/>'
        for row in rows[:1]
    ]
    drawn = f'<svg viewBox="0 0 600 200">{"".join(dots + line)}</svg>'
    return f'{drawn}<div class="whole" hidden>{drawn}</div>'


def column(browser, name):
    """The cells of a column of the table as they are shown."""
    return browser.execute_script(COLUMN, name)


def numbers(cells):
    return [
        float(cell.replace("−", "-").replace(",", "").replace(" ★", ""))
        for cell in cells
        if cell != "–"
    ]


def click(browser, selector):
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def keys(browser, *pressed, at=None):
    """Press keys where the focus is, or at an element."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    element = (
        browser.switch_to.active_element
        if at is None
        else browser.find_element(By.CSS_SELECTOR, at)
    )
    element.send_keys(*(getattr(Keys, key, key) for key in pressed))


def count(browser):
    return browser.execute_script("return document.querySelector('.look-count').textContent")


def head(name):
    return f'.look-table [data-column="{name}"]'


# ---- the table ----


def test_the_table_has_every_trial_with_the_values_of_the_csv_file(looked, view, search):
    search = search.set_index("number")
    assert count(looked) == "40 of 40 trials"
    trials = [int(number) for number in numbers(column(looked, "row"))]
    assert sorted(trials) == sorted(search.index)
    shown = column(looked, "objective")
    expected = [
        "–" if pd.isna(value) else f"{value:.2f}" for value in search.loc[trials, "objective"]
    ]
    assert shown == expected
    assert column(looked, "params.optimizer") == search.loc[trials, "params.optimizer"].tolist()
    assert column(looked, "row")[0] == f"{view.best_number} ★"


@pytest.mark.parametrize(
    "name", ["objective", "params.beta", "params.components", "params.optimizer", "row"]
)
def test_a_column_sorts_both_ways_with_missing_values_last(looked, name):
    before = column(looked, "row")
    click(looked, f"{head(name)} button")
    up = column(looked, name)
    assert looked.execute_script(
        f"return document.querySelector('{head(name)}').getAttribute('aria-sort')"
    ) == ("ascending")
    click(looked, f"{head(name)} button")
    down = column(looked, name)
    values = [cell for cell in up if cell != "–"] if name == "params.optimizer" else numbers(up)
    assert values == sorted(values)
    assert (numbers(down) if name != "params.optimizer" else down) == sorted(values, reverse=True)
    missing = up.count("–")
    assert up[len(up) - missing :] == down[len(down) - missing :] == ["–"] * missing
    click(looked, f"{head(name)} button")
    assert column(looked, "row") == before


def test_sorting_keeps_the_order_of_equal_rows(looked):
    before = column(looked, "row")
    click(looked, f"{head('params.optimizer')} button")
    choices = column(looked, "params.optimizer")
    first = [
        row for row, choice in zip(column(looked, "row"), choices, strict=True) if choice == "adam"
    ]
    assert first == [row for row in before if row in first]


@pytest.mark.parametrize(
    ("line", "query"),
    [
        ("β<0.5 state:complete", "`params.beta` < 0.5 and state == 'complete'"),
        ("latent_size>=20 adamax", "`params.latent_size` >= 20 and `params.optimizer` == 'adamax'"),
        ("trial:4,7", "number in (4, 7)"),
        (
            "learning rate < 0.001 Latent Size>=8",
            "`params.learning_rate` < 0.001 and `params.latent_size` >= 8",
        ),
        ("prior:normal learning rate", "number < 0"),
        ('params.prior=mixture "pruned"', "`params.prior` == 'mixture' and state == 'pruned'"),
    ],
)
def test_the_line_filters(looked, search, line, query):
    keys(looked, line, at="#look-filter")
    expected = search.query(query)["number"]
    assert sorted(numbers(column(looked, "row"))) == sorted(expected)
    assert count(looked) == f"{len(expected)} of 40 trials"


@pytest.mark.parametrize(("line", "words"), [("betta<1", "betta"), ("beta<one", "one")])
def test_a_line_that_cannot_be_read_says_so_and_filters_nothing(looked, line, words):
    keys(looked, line, at="#look-filter")
    assert words in looked.execute_script(
        "return document.querySelector('.look-wrong').textContent"
    )
    assert count(looked) == "40 of 40 trials"


def test_runs_with_new_seeds_states_and_columns_are_switched(looked, view):
    click(looked, "#look-repeats")
    assert count(looked).startswith(f"{len(view.trials)} of {len(view.trials)} trials and runs")
    assert {cell[0] for cell in column(looked, "row")} >= {"r", "1"}
    looked.execute_script(
        "const state = document.getElementById('look-state'); state.value = 'pruned'; "
        "state.dispatchEvent(new Event('change'))"
    )
    assert set(column(looked, "state")) == {"pruned"}
    assert not looked.execute_script(f"return document.querySelector('{head('result.test/fid')}')")
    click(looked, '#look input[value="test"]')
    assert looked.execute_script(
        f"return !!document.querySelector('{head('result.test/neg_elbo')}')"
    )


def test_thousands_of_trials_stand_a_hundred_at_a_time(browser, tmp_path):
    results = make_results(40, confirm=False, compare=False)
    several = [
        results.trials.assign(number=results.trials["number"] + 40 * part) for part in range(75)
    ]
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
    assert "101 to 200" in browser.execute_script(
        "return document.querySelector('.look-pages').textContent"
    )
    assert numbers(column(browser, "objective"))[0] >= values[-1]


def test_the_table_works_by_keyboard(looked):
    looked.execute_script(f"document.querySelector('{head('objective')} button').focus()")
    keys(looked, "ENTER")
    focused = "return document.activeElement.closest('[data-column]')?.dataset.column"
    assert looked.execute_script(focused) == "objective"
    looked.execute_script("document.querySelector('.look-table tbody tr[tabindex=\"0\"]').focus()")
    keys(looked, "ARROW_DOWN")
    keys(looked, "ARROW_DOWN")
    place = "return [...document.activeElement.parentNode.children].indexOf(document.activeElement)"
    assert looked.execute_script(place) == 2
    assert (
        looked.execute_script(
            "return document.querySelectorAll('.look-table tbody [tabindex=\"0\"]').length"
        )
        == 1
    )


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
    shown = (
        "const card = document.getElementById('look-card'); return card.hidden ? null : "
        "card.innerText"
    )
    return browser.execute_script(shown)


def hover(browser, selector):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    element = browser.find_element(By.CSS_SELECTOR, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    ActionChains(browser).move_to_element(element).perform()


def test_a_dot_shows_its_trial_with_the_values_of_the_csv_file(looked, search):
    trial = search[search["number"] == 5].iloc[0]
    assert card(looked) is None
    hover(looked, 'svg [data-row="5"]')
    words = card(looked)
    assert words.startswith("Trial 5")
    assert f"{trial['objective']:.2f} · {trial['state']} · {trial['epochs']} epochs" in words
    assert trial["params.optimizer"] in words
    beta = float(f"{trial['params.beta']:.3g}")
    assert f"{beta:g}" in words
    assert (
        looked.execute_script(
            "return document.querySelectorAll('#look-card .look-curve-own').length"
        )
        == 1
    )
    assert (
        looked.execute_script("return document.querySelectorAll('.plot > svg .look-ring').length")
        == 1
    )
    hover(looked, "h1")
    assert card(looked) is None
    assert looked.execute_script("return document.querySelectorAll('.look-ring').length") == 0


def test_a_click_pins_a_trial_everywhere_and_escape_frees_it(looked, view):
    row = str(view.best_number)
    looked.execute_script("document.querySelector('.look-table tbody tr').click()")
    assert card(looked).startswith(f"Trial {row}\n")
    assert (
        looked.execute_script("return document.querySelector('svg .look-line').dataset.row") == row
    )
    hover(looked, 'svg [data-row="5"]')
    assert card(looked).startswith(f"Trial {row}\n")
    assert (
        looked.execute_script(
            "return document.querySelector('tr[aria-current=\"true\"]').dataset.row"
        )
        == row
    )
    keys(looked, "ESCAPE")
    assert card(looked) is None
    assert not looked.execute_script("return document.querySelector('tr[aria-current=\"true\"]')")


def test_plots_and_rows_are_looked_at_by_keyboard(looked):
    looked.execute_script("document.querySelector('main svg').closest('[tabindex]').focus()")
    first = looked.execute_script(
        "return document.querySelector('main svg [data-row]').dataset.row"
    )
    keys(looked, "ARROW_RIGHT")
    assert card(looked).startswith(f"Trial {first}")
    keys(looked, "ARROW_RIGHT", "ARROW_RIGHT")
    seen = card(looked)
    assert not seen.startswith(f"Trial {first} ")
    keys(looked, "ENTER")
    assert card(looked).split("\n")[0] == seen.split("\n")[0]
    assert looked.execute_script(
        "return document.getElementById('look-card').classList.contains('look-pinned')"
    )
    keys(looked, "ESCAPE")
    looked.execute_script("document.querySelector('.look-table tbody tr[tabindex=\"0\"]').focus()")
    keys(looked, "ARROW_DOWN", "ENTER")
    row = looked.execute_script("return document.activeElement.dataset.row")
    assert card(looked).startswith(f"Trial {row}")


def test_a_filter_fades_the_others_in_plots(looked, view):
    keys(looked, "latent_size<12", at="#look-filter")
    rows = {row["row"]: row for row in study_data(view)["rows"]}
    rows_of = "return [...document.querySelectorAll(arguments[0])].map(dot => dot.dataset.row)"
    drawn = looked.execute_script(rows_of, "svg circle[data-row]")
    small = [row for row in drawn if rows[row].get("params.latent_size", 99) < 12]
    assert looked.execute_script(rows_of, "svg circle[data-row]:not(.look-off)") == small
    assert 0 < len(small) < len(drawn)


def test_a_button_shows_the_plot_of_all_trials_and_that_of_the_best(looked):
    seen = (
        "return [...document.querySelectorAll('main .plot svg')].map(svg => svg.checkVisibility())"
    )
    assert looked.execute_script(seen) == [True, False]
    looked.execute_script("document.querySelector('.look-zoom').focus()")
    keys(looked, "ENTER")
    assert looked.execute_script(seen) == [False, True]
    hover(looked, '.whole [data-row="5"]')
    assert card(looked).startswith("Trial 5\n")
    click(looked, ".look-zoom")
    assert looked.execute_script(seen) == [True, False]


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
    actions = ActionChains(browser).move_to_element_with_offset(
        strip, 0, round((start - 0.5) * height)
    )
    actions.click_and_hold().move_by_offset(0, round((end - start) * height)).release().perform()


@pytest.mark.parametrize(
    ("name", "limits", "query"),
    [
        ("params.beta", {"from": "0.1", "to": "1"}, "0.1 <= `params.beta` <= 1"),
        ("params.components", {"to": "20"}, "`params.components` <= 20"),
        ("objective", {"to": "105"}, "objective <= 105"),
    ],
)
def test_a_range_that_is_typed_filters_table_and_plots(looked, search, name, limits, query):
    for end, value in limits.items():
        field(looked, name, end, value)
    expected = sorted(search.query(query)["number"])
    assert sorted(numbers(column(looked, "row"))) == expected
    kept = looked.execute_script(
        "return [...document.querySelectorAll('.plot > svg circle:not(.look-off)')].map(dot => "
        "dot.dataset.row)"
    )
    assert sorted(int(row) for row in kept if row[0] != "r") == expected
    assert 0 < len(expected) < 40
    click(looked, ".look-ranges > button")
    assert count(looked) == "40 of 40 trials"


def test_dragging_keeps_a_range_and_a_click_drops_it(looked, view):
    dragged(looked, "β", 0.3, 0.7)
    limits = looked.execute_script(
        "return [...document.querySelectorAll('[data-range^=\"params.beta\"]')].map(each => "
        "Number(each.value))"
    )
    assert limits == pytest.approx([10 ** (-2 + 3 * 0.3), 10 ** (-2 + 3 * 0.7)], rel=0.1)
    shown = numbers(column(looked, "params.beta"))
    assert 0 < len(shown) < 40
    trials = view.trials[~view.trials["repeat"]]
    assert len(shown) == int(trials["params.beta"].between(*limits).sum())
    dragged(looked, "prior", 0.9, 1.0)
    assert set(column(looked, "params.prior")) == {"normal"}
    dragged(looked, "prior", 0.5, 0.5)
    dragged(looked, "β", 0.5, 0.5)
    assert count(looked) == "40 of 40 trials"


def test_choices_are_kept_by_their_boxes(looked):
    looked.execute_script("document.querySelector('.look-ranges').open = true")
    keys(looked, "SPACE", at='.look-fields input[value="adam"]')
    assert set(column(looked, "params.optimizer")) == {"adamax"}


# ---- pictures ----

PIXELS = """
const done = arguments[1];
const canvas = document.querySelector(arguments[0]);
setTimeout(() => done(canvas && [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].filter((_, at) => at % 4 === 0)
  .reduce((sum, value, at) => (sum * 31 + value * (at % 97 + 1)) % 1000003, 7)), 300);
"""  # noqa: E501
PANELS = (
    "return [...document.querySelectorAll('.look-panel')].map(panel => [panel.dataset.panel, "
    "Number(panel.dataset.epoch)])"
)


@pytest.fixture(scope="module")
def pictured(tmp_path_factory):
    """A study whose runs left pictures; the best trial kept its first epoch, too."""
    place = tmp_path_factory.mktemp("pictured")
    results = make_results(16, folder=place / "trials" / "beta_mnist")
    write_pictures(results, place)
    view = StudyView(results)
    folder, drawn = place / "trials" / "beta_mnist" / f"trial-{view.best_number:04d}", {}
    for name in ("originals", "reconstructions", "samples"):
        drawn[name] = read_arrays(folder)[name]
    for name, grid in grids(drawn | {"reconstructions": 255 - drawn["reconstructions"]}).items():
        write_png(folder / f"epoch-0001-{name}.png", grid)
    return view, write(view, place)


def slide(browser, words, at):
    """Move a slider as its keys do."""
    moved = """
    const input = document.querySelector(`[data-slider="${arguments[0]}"] input`);
    input.value = arguments[1];
    input.dispatchEvent(new Event('input'));
    return input.closest('label').querySelector('output').textContent;
    """
    return browser.execute_script(moved, words, at)


def panels(browser):
    return [name for name, _ in browser.execute_script(PANELS)]


def pixels(browser, selector):
    """A sum over the pixels of a picture that changes with each of them; None without the
    picture.
    """
    return browser.execute_async_script(PIXELS, selector)


def test_pictures_of_the_best_stand_side_by_side_and_others_are_added(browser, pictured):
    view, path = pictured
    assert look_at(browser, path) == []
    ranked = view.ranked["number"].astype(str).tolist()
    best = str(view.best_number)
    assert panels(browser)[:2] == [best, next(number for number in ranked if number != best)]
    sums = {pixels(browser, f'[data-panel="{name}"] canvas') for name in panels(browser)}
    assert len(sums) == len(panels(browser)) == 3
    other = next(number for number in ranked if number not in panels(browser))
    click(browser, f'.look-table [data-row="{other}"]')
    assert (
        browser.execute_script("return document.querySelectorAll('#look-card canvas').length") == 1
    )
    click(browser, "#look-card .look-compare")
    assert panels(browser)[-1] == other
    added = browser.execute_script("""
    const add = document.getElementById('look-add');
    add.value = [...add.options].find(option => option.value).value;
    add.dispatchEvent(new Event('change'));
    return document.querySelectorAll('.look-panel').length""")
    assert added == 5
    click(browser, f'[data-panel="{best}"] button')
    assert best not in panels(browser)


def test_the_epoch_and_the_dimension_slide(browser, pictured):
    view, path = pictured
    look_at(browser, path)
    best = f'[data-panel="{view.best_number}"] canvas'
    last = pixels(browser, best)
    assert slide(browser, "epoch", 0) == "1"
    assert dict(browser.execute_script(PANELS))[str(view.best_number)] == 1
    assert pixels(browser, best) not in (last, None)
    first = pixels(browser, ".look-traversal canvas")
    assert slide(browser, "dimension", 3) == "4 of 8"
    assert pixels(browser, ".look-traversal canvas") not in (first, None)
    assert "dimension 8," in browser.execute_script(
        "return document.querySelector('.look-traversal').textContent"
    )


def test_trials_slide_along_a_parameter_in_its_order(browser, pictured):
    view, path = pictured
    look_at(browser, path)
    browser.execute_script("""
    const along = document.getElementById('look-along');
    along.value = 'params.beta';
    along.dispatchEvent(new Event('change'))""")
    trials = view.search[view.search["objective"].notna()].sort_values("params.beta")
    for at in (0, 3, len(trials) - 1):
        words = slide(browser, "β", at)
        number = str(trials["number"].iloc[at])
        assert panels(browser)[0] == number
        assert words.endswith(f" (trial {number})")
    browser.execute_script("document.querySelector('[data-slider=\"β\"] input').focus()")
    keys(browser, "ARROW_LEFT")
    assert panels(browser)[0] == str(trials["number"].iloc[-2])


# ---- a whole report ----


def test_the_plots_of_a_report_know_the_trials_of_the_table(browser, pictured, tmp_path):
    view, _ = pictured
    path = write_report(view, reports=tmp_path).with_name(PAGE)
    assert look_at(browser, path) == []
    drawn = (
        "return [...document.querySelectorAll('main svg [data-row]')].map(mark => mark.dataset.row)"
    )
    rows = {row["row"] for row in study_data(view)["rows"]}
    assert set(browser.execute_script(drawn)) <= rows
    assert {str(number) for number in finite_points(view.last_epochs)["number"]} <= set(
        browser.execute_script(drawn)
    )
    trial = str(view.ranked["number"].iloc[2])
    click(browser, f'.look-table [data-row="{trial}"]')
    marked = browser.execute_script(
        "return document.querySelectorAll('main svg .look-ring, main svg .look-line').length"
    )
    assert marked >= 5
    keys(browser, "ESCAPE")
    hover(browser, f'main svg use[data-row="{trial}"]')
    assert card(browser).startswith("Trial ")
    assert path.stat().st_size < 25e6


# ---- any study ----


def states():
    return {"two objectives": two_objectives(), "no pictures": make_results(12)} | thin_studies()


@pytest.mark.parametrize("width", [360, 1280])
def test_a_study_in_any_state_opens_without_a_message(browser, tmp_path, width):
    for name, results in states().items():
        view = StudyView(results)
        assert look_at(browser, write(view, tmp_path), width=width) == [], name
        page_wide = (
            "return document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
        )
        assert browser.execute_script(page_wide) <= 0, name
        rows = browser.execute_script(
            "return document.querySelectorAll('.look-table tbody tr').length"
        )
        assert rows == int((~view.trials["repeat"]).sum()), name
