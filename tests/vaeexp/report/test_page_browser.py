"""The page in a browser: its first screen, sizes, colours, and what axe-core finds, at three widths, light and dark."""

import re

import pytest
from markdown_it import MarkdownIt
from pages import needs_browser, opened, page_facts
from report_text import report_on
from synthetic_study import make_results, with_baselines, write_pictures

pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_browser]
SIZES = [(width, dark) for width in (360, 600, 1280) for dark in (False, True)]
FIRST_SCREEN = """
const top = selector => document.querySelector(selector).getBoundingClientRect();
return [".answer", ".first table", ".first .plot svg"].map(each => [top(each).top, top(each).bottom]);
"""
SMALLEST = """
const sizes = [...document.querySelectorAll('.plot svg')].flatMap(svg => {
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  return [...svg.querySelectorAll('text')].map(text => scale * parseFloat(getComputedStyle(text).fontSize));
});
return Math.min(...sizes);
"""
CUT = """
const inside = each => each !== document.body && (/auto|scroll/.test(getComputedStyle(each).overflowX) || inside(each.parentElement));
return [...document.querySelectorAll('body *')].filter(each => {
  const box = each.getBoundingClientRect();
  return box.width > 0 && box.right > document.documentElement.clientWidth + 1 && !inside(each);
}).map(each => each.outerHTML.slice(0, 120));
"""


RULES = "{resultTypes: ['violations'], rules: {'autocomplete-valid': {enabled: false}}}"
"""The axe-core of the package takes `autocomplete="off"` of a search field for a fault."""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    results = with_baselines(make_results())
    write_pictures(results, runs)
    return report_on(results, runs=runs, reports=tmp_path_factory.mktemp("report"), html=True)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.mark.parametrize(("width", "dark"), SIZES)
def test_nothing_is_cut_and_plots_stay_legible(browser, report, width, dark):
    facts = page_facts(browser, report.with_name("report.html"), width=width, dark=dark)
    assert facts["console"] == []
    assert facts["overflow"] <= 0
    assert browser.execute_script(CUT) == []
    assert browser.execute_script(SMALLEST) >= 8.9
    assert browser.execute_script("return document.querySelector('nav').offsetHeight") < 48


@pytest.mark.parametrize(("width", "dark"), SIZES)
def test_axe_finds_no_serious_fault(browser, report, width, dark):
    Axe = pytest.importorskip("axe_selenium_python").Axe
    page_facts(browser, report.with_name("report.html"), width=width, dark=dark)
    browser.set_script_timeout(200)
    axe = Axe(browser)
    axe.inject()
    found = [each for each in axe.run(options=RULES)["violations"] if each["impact"] in ("serious", "critical")]
    assert not found, axe.report(found)


def test_the_first_screen_has_the_answer_a_table_and_a_picture(browser, report):
    page_facts(browser, report.with_name("report.html"), width=1280)
    browser.execute_script(
        "scrollTo(0, 0); document.querySelectorAll('details').forEach(each => { each.open = false; });"
    )
    answer, table, picture = browser.execute_script(FIRST_SCREEN)
    assert answer[0] < 200
    assert table[1] < 800
    assert picture[0] < 500


def test_without_script_the_page_has_every_word_of_the_readme(browser, report):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        text = page_facts(browser, report.with_name("report.html"))["text"]
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(report.read_text(encoding="utf-8"))
    browser.get("about:blank")
    readme = browser.execute_script("document.body.innerHTML = arguments[0]; return document.body.textContent", html)
    without_spaces = re.sub(r"\s+", "", text)
    missing = [line for line in readme.splitlines() if re.sub(r"\s+", "", line) not in without_spaces]
    assert missing == []
