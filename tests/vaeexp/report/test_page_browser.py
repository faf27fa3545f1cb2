"""The page in a browser: its first screen, sizes, colours, and what axe-core finds, at three
widths, light and dark.
"""

import re
from functools import partial

import pytest
from markdown_it import MarkdownIt
from pages import look_at, needs_browser, page_facts
from report_text import report_on
from synthetic_study import make_results, with_baselines, write_pictures

from vaeexp.report.page.document import page
from vaeexp.report.page.trial_rows import study_data
from vaeexp.results.study_view import StudyView

pytestmark = [pytest.mark.browser, needs_browser]
SIZES = [(width, dark) for width in (360, 600, 1280) for dark in (False, True)]
FIRST_SCREEN = """
const box = selector => document.querySelector(selector).getBoundingClientRect();
return [".answer", ".large", ".first table", ".first .plot svg"].map(each => [box(each).top, box(each).bottom]);
"""  # noqa: E501
SCROLLING = (
    "const box = document.querySelector('.first .table'); return box.scrollWidth - box.clientWidth"
)
TOO_SMALL = """
document.querySelectorAll('.whole').forEach(whole => { whole.hidden = false; });
return [...document.querySelectorAll('.plot svg')].flatMap(svg => {
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  const size = text => scale * parseFloat(getComputedStyle(text).fontSize);
  const small = [...svg.querySelectorAll('text')].filter(text => text.textContent.trim() && size(text) < 9.95);
  return small.map(text => `${svg.getAttribute('aria-label')}: ${text.textContent} ${size(text)}`);
});
"""  # noqa: E501
CUT = """
const inside = each => each !== document.body && (/auto|scroll/.test(getComputedStyle(each).overflowX) || inside(each.parentElement));
return [...document.querySelectorAll('body *')].filter(each => {
  const box = each.getBoundingClientRect();
  return box.width > 0 && box.right > document.documentElement.clientWidth + 1 && !inside(each);
}).map(each => each.outerHTML.slice(0, 120));
"""  # noqa: E501


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    results = with_baselines(make_results())
    write_pictures(results, runs)
    return report_on(results, runs=runs, reports=tmp_path_factory.mktemp("report"), html=True)


def serious_faults(browser, path, *, width, dark):
    """What axe-core finds with everything unfolded and a trial pinned, so that its card is
    shown.
    """
    Axe = pytest.importorskip("axe_selenium_python").Axe
    assert look_at(browser, path, width=width, dark=dark) == []
    browser.execute_script("document.querySelector('.look-table tbody tr').click()")
    browser.set_script_timeout(200)
    axe = Axe(browser)
    axe.inject()
    found = axe.run(options="{resultTypes: ['violations']}")["violations"]
    return [axe.report([each]) for each in found if each["impact"] in ("serious", "critical")]


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), SIZES)
def test_nothing_is_cut_and_plots_stay_legible(browser, report, width, dark):
    facts = page_facts(browser, report.with_name("report.html"), width=width, dark=dark)
    assert facts["console"] == []
    assert facts["overflow"] <= 0
    assert browser.execute_script(CUT) == []
    assert browser.execute_script(TOO_SMALL) == []
    assert browser.execute_script("return document.querySelector('nav').offsetHeight") < 48


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), SIZES)
def test_axe_finds_no_serious_fault(browser, report, width, dark):
    assert serious_faults(browser, report.with_name("report.html"), width=width, dark=dark) == []


def test_axe_finds_no_serious_fault_in_a_small_page(browser, tmp_path):
    text = (
        "# A study\n\nWords.\n\n## Contents\n\n- [Rest](#rest)\n\n## Rest\n\n| a |\n| --- |\n| ✗ "
        "warning |\n"
    )
    path = tmp_path / "report.html"
    path.write_text(
        page(text, {}, data=partial(study_data, StudyView(make_results(12)))), encoding="utf-8"
    )
    assert serious_faults(browser, path, width=600, dark=True) == []


@pytest.mark.slow
def test_the_first_screen_has_the_answer_a_large_figure_a_table_and_a_picture(browser, report):
    page_facts(browser, report.with_name("report.html"), width=1280)
    browser.execute_script(
        "scrollTo(0, 0); document.querySelectorAll('details').forEach(each => "
        "{ each.open = false; });"
    )
    answer, figure, table, picture = browser.execute_script(FIRST_SCREEN)
    assert answer[0] < 200
    assert figure[1] < table[1] < picture[0]
    assert picture[1] < 900
    assert browser.execute_script(SCROLLING) <= 0


@pytest.mark.slow
def test_without_script_the_page_has_every_word_of_the_readme(browser, report):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        text = page_facts(browser, report.with_name("report.html"))["text"]
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    html = (
        MarkdownIt("commonmark", {"html": True})
        .enable("table")
        .render(report.read_text(encoding="utf-8"))
    )
    browser.get("about:blank")
    readme = browser.execute_script(
        "document.body.innerHTML = arguments[0]; return document.body.textContent", html
    )
    without_spaces = re.sub(r"\s+", "", text)
    missing = [
        line for line in readme.splitlines() if re.sub(r"\s+", "", line) not in without_spaces
    ]
    assert missing == []
