"""What one can do in the page of a report, in a headless browser: sort, filter, look at trials,
brush, zoom, compare.
"""

import io
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from drawn_studies import two_objectives
from pages import look_at, needs_browser
from synthetic_study import make_results, thin_studies, with_baselines, write_pictures

from vaeexp.report.chapters import write_report
from vaeexp.report.page.document import PAGE, page
from vaeexp.report.page.trial_rows import study_data
from vaeexp.report.summary import trials_csv
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import finite_points

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
        ("optimizer:adam", "`params.optimizer` == 'adam'"),
        ("optimizer:adamax,adam state:complete", "state == 'complete'"),
        ("-ELBO<105", "objective < 105"),
        ("–ELBO<105 beta>−1 components>–1", "objective < 105 and `params.components` > -1"),
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
    keys(looked, "state:pruned", at="#look-filter")
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
    assert browser.execute_script(OPACITY) == pytest.approx(400 / 3000, abs=1e-6)
    keys(browser, "trial:0,1,2,3,4,5,6", at="#look-filter")
    assert browser.execute_script(OPACITY) == pytest.approx(0.9, abs=1e-6)
    browser.execute_script("filterByLine('')")
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
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert numbers(column(browser, "objective"))[:100] == values
    assert len(column(browser, "row")) == 200
    assert count(browser) == "3,000 of 3,000 trials; printed: the first 200"
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert len(column(browser, "row")) == 100


OPACITY = """
const drawn = CanvasRenderingContext2D.prototype, fill = drawn.fill, seen = [];
drawn.fill = function () { seen.push(this.globalAlpha); fill.call(this); };
drawScatter();
drawn.fill = fill;
return Math.max(...seen);
"""


def test_all_rows_of_a_small_study_are_printed(looked):
    looked.execute_script("dispatchEvent(new Event('beforeprint'))")
    looked.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        cut = (
            "const box = document.querySelector('.look-scroll'); "
            "return box.scrollHeight - box.clientHeight"
        )
        assert looked.execute_script(cut) <= 0
        assert count(looked) == "40 of 40 trials; printed: all"
    finally:
        looked.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


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


BAR = """
const column = lines.axes.find(each => each.label === arguments[0]), bar = column.strip.firstChild;
return bar.hidden ? null : [1 - parseFloat(bar.style.top) / 210 - parseFloat(bar.style.height) / 210, 1 - parseFloat(bar.style.top) / 210];
"""  # noqa: E501


@pytest.mark.parametrize(
    ("line", "label", "query", "bar"),
    [
        ("beta>=0.1 beta<=1", "β", "0.1 <= `params.beta` <= 1", [1 / 3, 2 / 3]),
        ("components<=64", "components", "`params.components` <= 64", [0, 1]),
        ("optimizer:adam", "optimizer", "`params.optimizer` == 'adam'", [-6 / 210, 6 / 210]),
    ],
)
def test_a_typed_range_filters_table_and_plots_and_stands_on_its_axis(
    looked, search, line, label, query, bar
):
    keys(looked, line, at="#look-filter")
    expected = sorted(search.query(query)["number"])
    assert sorted(numbers(column(looked, "row"))) == expected
    kept = looked.execute_script(
        "return [...document.querySelectorAll('.plot > svg circle:not(.look-off)')].map(dot => "
        "dot.dataset.row)"
    )
    assert sorted(int(row) for row in kept if row[0] != "r") == expected
    assert 0 < len(expected) < 40
    assert looked.execute_script(BAR, label) == pytest.approx(bar, abs=0.01)


def test_dragging_writes_a_range_into_the_filter_and_a_click_drops_it(looked, view):
    keys(looked, "trial:1,2,3,4,5,6,7,8,9,10", at="#look-filter")
    dragged(looked, "β", 0.3, 0.7)
    line = "return document.getElementById('look-filter').value"
    trial, low, high = looked.execute_script(line).split()
    assert (trial, low[:3], high[:3]) == ("trial:1,2,3,4,5,6,7,8,9,10", "β>=", "β<=")
    limits = [float(low[3:]), float(high[3:])]
    assert limits == pytest.approx([10 ** (-2 + 3 * 0.3), 10 ** (-2 + 3 * 0.7)], rel=0.1)
    trials = view.trials[~view.trials["repeat"] & view.trials["number"].between(1, 10)]
    expected = trials[trials["params.beta"].between(*limits)]["number"]
    assert sorted(numbers(column(looked, "row"))) == sorted(expected)
    assert 0 < len(expected) < 10
    dragged(looked, "prior", 0.9, 1.0)
    assert looked.execute_script(line).endswith(" prior:normal")
    dragged(looked, "prior", 0.5, 0.5)
    dragged(looked, "β", 0.5, 0.5)
    assert looked.execute_script(line) == trial
    assert count(looked) == "10 of 40 trials"


# ---- two columns and a colour ----

POINTS = "return scatter.points.map(({row, at, colour}) => [row.row, ...at, colour])"
AT = """
const canvas = scatter.canvas, dense = canvas.width / canvas.clientWidth;
const [x, y] = [...arguments].map(each => each * dense);
return canvas.getContext('2d').getImageData(x, y, 1, 1).data[3];
"""


def choose(browser, name, value):
    browser.execute_script(
        "const choice = document.getElementById('look-' + arguments[0]); choice.value = "
        "arguments[1]; choice.dispatchEvent(new Event('change'))",
        name,
        value,
    )


def points(browser):
    return {row: (x, y, colour) for row, x, y, colour in browser.execute_script(POINTS)}


def test_points_stand_by_two_parameters_and_have_the_colour_of_the_objective(looked, search):
    drawn = points(looked)
    table = search.set_index("number")
    assert {int(row) for row in drawn} == set(table.index)
    order = table["params.beta"].sort_values().index
    across = [drawn[str(number)][0] for number in order]
    assert across == sorted(across)
    decade = np.log10(table["params.beta"].to_numpy())
    place = [drawn[str(number)][0] for number in table.index]
    assert np.corrcoef(decade, place)[0, 1] > 1 - 1e-9
    lightness = {
        row: float(colour.split()[0][6:])
        for row, (*_, colour) in drawn.items()
        if "oklch" in colour
    }
    finite = table["objective"].dropna().sort_values().index
    shown = [lightness[str(number)] for number in finite]
    assert shown == sorted(shown)
    assert shown[0] < 0.4 < 0.77 < shown[-1]
    legend = looked.execute_script("return document.querySelector('.look-legend').innerText")
    assert f"{table['objective'].min():.2f}" in legend
    assert "≥" in legend


@pytest.mark.parametrize("name", ["val/rate", "val/distortion", "seconds", "result.test/neg_elbo"])
def test_any_metric_can_be_an_axis_and_a_colour(looked, view, name):
    choose(looked, "y", name)
    choose(looked, "x", "objective")
    choose(looked, "colour", name)
    drawn = points(looked)
    data = {row["row"]: row for row in study_data(view)["rows"]}
    own = {row: values for row, values in data.items() if name in values and "objective" in values}
    searched = {row for row in own if data[row]["run"] == "search"}
    assert set(drawn) == (searched or set(own))
    order = sorted(drawn, key=lambda row: data[row][name])
    up = [drawn[row][1] for row in order]
    assert up == sorted(up, reverse=True)
    assert up[0] > up[-1]


def test_a_value_of_an_early_epoch_is_an_open_point_and_says_its_epoch(looked, search):
    table = search.set_index("number")
    drawn = points(looked)
    far = [
        row
        for row, (x, y, _) in drawn.items()
        if all(abs(x - u) + abs(y - v) > 14 for other, (u, v, _) in drawn.items() if other != row)
    ]
    states = table["state"].loc[[int(row) for row in far]]
    filled = {
        state: {looked.execute_script(AT, *drawn[str(number)][:2]) > 0 for number in own}
        for state, own in states.groupby(states).groups.items()
    }
    # A line of the grid may lie below an open point.
    assert filled["complete"] == {True}
    assert False in filled["pruned"]
    pruned = table[table["state"] == "pruned"].iloc[0]
    click(looked, f'.look-table [data-row="{pruned.name}"]')
    assert f"at epoch {pruned['epochs']} · pruned" in card(looked)
    cell = looked.execute_script(
        "return document.querySelector(`.look-table [data-row='${arguments[0]}'] [data-early]`)."
        "dataset.early",
        str(pruned.name),
    )
    assert cell == f"epoch {pruned['epochs']}"


def test_points_are_looked_at_by_mouse_and_by_keyboard(looked, search):
    drawn = points(looked)
    order = search.sort_values("params.beta")["number"].astype(str).tolist()
    looked.execute_script("document.querySelector('.look-scatter').focus()")
    keys(looked, "ARROW_RIGHT", "ARROW_RIGHT")
    assert card(looked).startswith(f"Trial {order[1]}")
    keys(looked, "ENTER", "ARROW_RIGHT")
    assert card(looked).startswith(f"Trial {order[2]}")
    keys(looked, "ESCAPE")
    looked.execute_script(
        "const plot = document.querySelector('.look-scatter'); const box = "
        "plot.getBoundingClientRect(); plot.dispatchEvent(new PointerEvent('pointermove', "
        "{pointerType: 'mouse', clientX: box.left + arguments[0], clientY: box.top + "
        "arguments[1]}))",
        *drawn[order[0]][:2],
    )
    assert card(looked).startswith(f"Trial {order[0]}")


# ---- trials side by side, the address, and the command ----

COMPARED = """
return [...document.querySelectorAll('.look-compared tr')].map(row => [...row.children].map(cell => cell.textContent));
"""  # noqa: E501


def test_pinned_trials_are_compared_by_what_differs(looked, view):
    two = [str(number) for number in view.ranked["number"].iloc[[3, 5]]]
    looked.execute_script(
        "const field = document.getElementById('look-compared'); field.value = ''; "
        "field.dispatchEvent(new Event('change'))"
    )
    for row in two:
        click(looked, f'.look-table [data-row="{row}"]')
        click(looked, "#look-card .look-compare")
    head_row, *rows = looked.execute_script(COMPARED)
    assert head_row[1:] == two
    assert all(len(set(cells)) > 1 for _, *cells in rows)
    data = {row["row"]: row for row in study_data(view)["rows"]}
    labels = {name for name, *_ in rows}
    for name, label in {
        "params.optimizer": "optimizer",
        "state": "state",
        "params.beta": "β",
    }.items():
        assert (label in labels) == (data[two[0]][name] != data[two[1]][name])
    looked.execute_script(
        "[...document.querySelectorAll('#look label')].find(each => "
        "each.textContent.includes('only what differs')).firstChild.click()"
    )
    assert ["state", "complete", "complete"] in looked.execute_script(COMPARED)


def test_a_copied_address_shows_the_same(looked, view):
    from selenium.webdriver.support.ui import WebDriverWait

    keys(looked, "optimizer:adam beta<5", at="#look-filter")
    click(looked, f"{head('params.beta')} button")
    click(looked, f"{head('params.beta')} button")
    click(looked, "#look-repeats")
    for name, value in {"x": "val/rate", "y": "objective", "colour": "params.optimizer"}.items():
        choose(looked, name, value)
    compared = looked.execute_script("return compared.rows")
    row = next(row for row in column(looked, "row") if row not in compared)
    click(looked, f'.look-table [data-row="{row}"]')
    click(looked, "#look-card .look-compare")
    click(looked, f'.look-table [data-row="{row}"]')
    seen = (
        "return [location.href, [...document.querySelectorAll('.look-table tbody tr')].map(each "
        "=> each.dataset.row), scatter.points, study.pinned, compared.rows]"
    )
    before = looked.execute_script(seen)
    looked.get("about:blank")
    looked.get(before[0])
    ready = "return document.getElementById('look').dataset.state === 'ready'"
    WebDriverWait(looked, 60).until(lambda driver: driver.execute_script(ready))
    assert looked.execute_script(seen) == before
    assert before[3] == row
    assert before[4][-1] == row


def test_the_command_that_trains_a_trial_again_can_be_copied(looked, view):
    looked.execute_script("navigator.clipboard.writeText = async text => { window.copied = text; }")
    click(looked, f'.look-table [data-row="{view.best_number}"]')
    command = f"vaeexp reproduce {view.results.name}/{view.best_number}"
    assert command in card(looked)
    click(looked, ".look-copy")
    assert looked.execute_script("return window.copied") == command


def test_a_card_leads_to_the_run_on_a_tracking_server(browser, tmp_path):
    view = StudyView(make_results(12))
    best, page_of_run = str(view.best_number), "https://server/#/experiments/3/runs/abc"
    pages = {f"beta_mnist/{best}": page_of_run}
    path = tmp_path / PAGE
    data = partial(study_data, view, run_pages=pages)
    path.write_text(page(TEXT, {}, data=data), encoding="utf-8")
    look_at(browser, path)
    link = "return document.querySelector('#look-card .look-command a')?.getAttribute('href')"
    click(browser, f'.look-table [data-row="{best}"]')
    assert browser.execute_script(link) == page_of_run
    keys(browser, "ESCAPE")
    other = next(row for row in column(browser, "row") if not row.startswith(best))
    click(browser, f'.look-table [data-row="{other}"]')
    assert browser.execute_script(link) is None


def test_the_winner_and_the_best_in_the_search_are_two(browser, tmp_path):
    view = StudyView(make_results())
    lowest, other = view.ranked["number"].astype(str).iloc[:2]
    look_at(browser, write(view, tmp_path))
    title = "return titleOf(study.byRow.get(arguments[0]))"
    assert browser.execute_script(title, str(view.best_number)) == "★ winner"
    browser.execute_script("study.best = new Set([arguments[0]])", other)
    assert browser.execute_script(title, other) == "★ winner"
    assert browser.execute_script(title, lowest) == "best in the search"


def test_a_study_without_confirmation_has_no_winner(browser, tmp_path):
    view = StudyView(make_results(confirm=False, compare=False))
    look_at(browser, write(view, tmp_path))
    best = str(view.best_number)
    assert browser.execute_script("return titleOf(study.byRow.get(arguments[0]))", best) == (
        "best in the search"
    )
    assert column(browser, "row")[0] == best


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
    """A study whose runs left pictures."""
    place = tmp_path_factory.mktemp("pictured")
    results = make_results(16, folder=place / "trials" / "beta_mnist")
    write_pictures(results, place)
    view = StudyView(results)
    return view, write(view, place)


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
    browser.execute_script("document.getElementById('look-compared').value = ''")
    keys(browser, f"{other} {best}", "TAB", at="#look-compared")
    assert panels(browser) == [other, best]


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
