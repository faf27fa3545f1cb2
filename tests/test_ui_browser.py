"""The MLflow UI on a real store, seen through a headless browser: runs, a metric chart and a
picture grid are there.
"""

import os
import shutil
from pathlib import Path

import pytest
import tracked_study as small
from pages import needs_browser, opened
from PIL import Image, ImageDraw

from sweeps.tracking import sync
from sweeps.tracking.ui import ui_server

pytestmark = [pytest.mark.browser, pytest.mark.slow, needs_browser]

STUDY = "seen_in_the_browser"
WAIT = 120  # seconds for a page to show something, on a machine that other tests share


@pytest.fixture(scope="module")
def runs(tmp_path_factory, empty_store):
    """A store with a parent, and 3 nested trials of 5 epochs, each with a picture per epoch."""
    folder = tmp_path_factory.mktemp("ui") / "runs"
    study = small.SmallStudy(folder, name=STUDY)
    for number in range(3):
        study.start(number)
        for epoch in range(1, 6):
            image = Image.new("RGB", (280, 140), (30 + 20 * epoch, 60 * number, 120))
            ImageDraw.Draw(image).text((20, 60), f"trial {number}, epoch {epoch}", fill="white")
            study.epoch(number, epoch, picture=image)
        study.end(number, "complete", epochs=5)
    study.session("finished")
    shutil.copy(empty_store, folder)
    assert sync(STUDY, runs=folder).brought == 4
    return folder


@pytest.fixture(scope="module")
def address(runs):
    with ui_server(None, runs) as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def ids(runs):
    """Experiment id, and run id by name of run."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(STUDY).experiment_id
    return experiment, {
        run.info.run_name: run.info.run_id for run in client.search_runs([experiment])
    }


def _wait(browser, script, what):
    """Until a piece of JavaScript returns something true."""
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.support.ui import WebDriverWait

    try:
        return WebDriverWait(browser, WAIT).until(lambda driver: driver.execute_script(script))
    except TimeoutException:
        _screenshot(browser, "failure")
        pytest.fail(f"no {what} within {WAIT} s; the page says: {_text(browser)[:1500]}")


def _screenshot(browser, name):
    if folder := os.environ.get("UI_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(Path(folder, f"{name}.png")))


def test_the_experiment_is_listed(browser, address):
    browser.get(f"{address}/#/experiments?workflowType=machine_learning")
    _wait(browser, f"return document.body.innerText.includes('{STUDY}')", "experiment")
    _screenshot(browser, "experiments")


def test_nested_runs_are_in_the_table(browser, address, ids):
    browser.get(f"{address}/#/experiments/{ids[0]}/runs?workflowType=machine_learning")
    link = f"document.querySelector('a[href*=\"{ids[1][STUDY]}\"]')"
    _wait(browser, f"return {link}", "parent run")
    assert f"{STUDY}/0" not in _text(browser)  # nested: folded below its parent
    _wait(
        browser, f"return {link}.parentElement.parentElement.querySelector('button')", "fold"
    ).click()
    for number in range(3):
        _wait(
            browser,
            f"return document.body.innerText.includes('{STUDY}/{number}')",
            f"trial {number}",
        )
    _screenshot(browser, "runs")


def test_a_metric_is_drawn(browser, address, ids):
    browser.get(f"{address}/#/experiments/{ids[0]}/runs/{ids[1][f'{STUDY}/1']}/model-metrics")
    _wait(browser, "return document.body.innerText.includes('val/neg_elbo')", "metric name")
    points = (
        "[...document.querySelectorAll('.js-plotly-plot')].map(p => "
        "p.querySelectorAll('.scatterlayer .point').length)"
    )
    _wait(browser, f"return {points}.includes(5)", "curve of five points")
    _screenshot(browser, "metrics")


def test_the_pictures_are_loaded_and_follow_the_slider(browser, address, ids):
    from selenium.webdriver.common.keys import Keys

    browser.get(f"{address}/#/experiments/{ids[0]}/runs/{ids[1][f'{STUDY}/1']}/model-metrics")
    _wait(browser, "return document.body.innerText.includes('val/neg_elbo')", "page")
    # Charts are drawn when they come into view.
    scroll = (
        "[...document.querySelectorAll('*')].filter(e => e.scrollHeight > e.clientHeight + 50 && "
        "['auto', 'scroll'].includes(getComputedStyle(e).overflowY)).forEach(e => e.scrollTop = "
        "e.scrollHeight)"
    )
    slider = _wait(
        browser,
        f"{scroll}; return document.querySelector('[role=slider]')",
        "slider of the pictures",
    )
    assert "samples" in _text(browser)
    for step in (1, 2):
        slider.send_keys(Keys.ARROW_RIGHT)
        shown = (
            f"i => decodeURIComponent(i.src).includes('images/samples+step+{step}+') && "
            "i.naturalWidth > 0"
        )
        _wait(
            browser,
            f"return [...document.querySelectorAll('img')].some({shown})",
            f"picture of epoch {step}",
        )
    _screenshot(browser, "pictures")


def _text(browser):
    return browser.execute_script("return document.body.innerText")
