"""A headless browser for the tests of pages: what a page loads, logs and shows with everything
unfolded, in light and dark.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["look_at", "needs_browser", "opened", "page_facts", "slow_in_browser"]

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1400,1000",
)
WAIT = 60
"""Seconds for a page to load."""
FACTS = """
document.querySelectorAll('details').forEach(each => { each.open = true; });
const images = [...document.images], page = document.scrollingElement;
return {
  loaded: images.filter(image => image.naturalWidth > 0).length,
  images: images.length,
  overflow: page.scrollWidth - page.clientWidth,
  scrolling: [...document.querySelectorAll('.table, table, pre')].filter(each => each.scrollWidth > each.clientWidth).length,
  background: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
  plots: document.querySelectorAll('.plot > svg').length,
  links: [...document.querySelectorAll('a')].map(link => link.getAttribute('href')),
  ids: [...document.querySelectorAll('[id]')].map(each => each.id),
  text: document.body.innerText,
};
"""  # noqa: E501

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="needs chromium and chromedriver on the PATH (Debian: chromium, chromium-driver)",
)


def slow_in_browser(test: Any) -> Any:
    """Mark a test that drives a browser and takes seconds."""
    return pytest.mark.browser(pytest.mark.slow(needs_browser(test)))


@contextmanager
def opened(profile: Path) -> Iterator[Any]:
    """A browser that keeps a log of its console and of every request."""
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield browser
    finally:
        browser.quit()


def page_facts(browser: Any, path: Path, *, width: int = 900, dark: bool = False) -> dict[str, Any]:
    """Return facts about the page of a file at this width in pixels: `FACTS`, `console` (its
    messages) and `requests` (URLs).
    """
    from selenium.webdriver.support.ui import WebDriverWait

    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    size = {"width": width, "height": 1200, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(path.as_uri())
    here = "return document.readyState === 'complete' && location.protocol === 'file:'"
    WebDriverWait(browser, WAIT).until(lambda driver: driver.execute_script(here))
    facts = browser.execute_script(FACTS)
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert path.as_uri() in sent, "the log of requests has nothing of the page"
    # The browser's own first page may still be loading; no other page can ask for what is below
    # chrome:.
    requests = [url for url in sent if not url.startswith(("chrome:", "chrome-untrusted:"))]
    return facts | {"console": browser.get_log("browser"), "requests": requests}


def look_at(
    browser: Any, path: Path, *, width: int = 1280, dark: bool = False
) -> list[dict[str, Any]]:
    """Open the page of a report and wait until its script has filled it; return the messages of the
    console.
    """
    from selenium.webdriver.support.ui import WebDriverWait

    messages: list[dict[str, Any]] = page_facts(browser, path, width=width, dark=dark)["console"]
    ready = "return document.getElementById('look')?.dataset.state === 'ready'"
    WebDriverWait(browser, WAIT).until(lambda driver: driver.execute_script(ready))
    return messages + browser.get_log("browser")
