"""The status page in a real browser: how it looks, that it follows what happens, and that nothing in it runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By

from tests.support.functional.browser import Browser
from tests.support.functional.harness import Server, present, serving, wait_for
from tests.support.functional.status_page import HOSTILE, held, requests, write_shop

LONG_PATH = "/a-path-that-is-longer-than-any-telephone-is-wide/" + "and-goes-on" * 12


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Server]:
    """A project whose views hold requests until they are let go, with a short deadline."""
    directory = write_shop(tmp_path / "shop")
    options = ("--threads", "2", "--request-timeout", "60", "--check-timeout", "2")
    with serving(*options, cwd=directory, logs=directory, settings="site_settings") as server:
        yield server


def open_page(browser: Browser, server: Server) -> None:
    browser.open(f"http://127.0.0.1:{server.probe_port}/")


def emulate(browser: Browser, command: str, **parameters: Any) -> None:
    browser.driver.execute_cdp_cmd(f"Emulation.{command}", parameters)


def screen(browser: Browser, width: int) -> None:
    """Look at the page on a screen so many CSS pixels wide."""
    size = {"width": width, "height": 740, "deviceScaleFactor": 2, "mobile": width < 500}
    emulate(browser, "setDeviceMetricsOverride", **size)


def scheme(browser: Browser, name: str) -> None:
    """Prefer light or dark."""
    emulate(browser, "setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])


def words(browser: Browser, selector: str) -> str:
    """The visible text of an element; asked in one go, for the page may replace it at any time."""
    return str(browser.driver.execute_script("return document.querySelector(arguments[0]).innerText", selector))


def made_at(browser: Browser) -> str:
    """When the server made what is shown."""
    return words(browser, "#state .top time")


def complaints(browser: Browser) -> list[str]:
    """What the browser has to say against the page: errors, and whatever the policy has kept it from."""
    return [entry["message"] for entry in browser.driver.get_log("browser")]


def test_a_calm_page(browser: Browser, shop: Server) -> None:
    """It loads nothing else, and the browser finds nothing wrong with it, also after it has refreshed itself."""
    open_page(browser, shop)
    assert words(browser, "h1") == "Ready"
    assert browser.driver.title.startswith("Ready: ")
    assert "23, 105, 47" in browser.style("h1", "color")
    before = made_at(browser)
    wait_for(lambda: made_at(browser) != before, "the page to refresh")
    assert set(browser.resources()) == {browser.driver.current_url}
    assert browser.find("#notice").is_displayed() is False
    assert complaints(browser) == []


def test_it_follows_what_happens(browser: Browser, shop: Server) -> None:
    """A request appears when it begins and goes when it ends, without the page being loaded again."""
    open_page(browser, shop)
    browser.driver.execute_script("window.stayed = true")
    assert "None is in flight." in words(browser, "#requests")
    with held(shop, "/slow/"):
        wait_for(lambda: "GET /slow/" in words(browser, "#requests"), "the request to be shown")
        with present(shop, "empty", settle=0):
            wait_for(lambda: words(browser, "h1") == "Failing", "the check to be shown")
            assert browser.driver.title.startswith("Failing: ")
            assert "Readiness: shop.shelves" in words(browser, "#problems")
        wait_for(lambda: words(browser, "h1") == "Ready", "the check to be gone")
    wait_for(lambda: "GET /slow/" not in words(browser, "#requests"), "the request to be gone")
    assert browser.driver.execute_script("return window.stayed")
    assert complaints(browser) == []


def test_what_a_reader_does_is_left_alone(browser: Browser, shop: Server) -> None:
    """What is unfolded stays unfolded, and what is selected stays selected: a trace is there to be copied."""
    open_page(browser, shop)
    browser.find("#defaults summary").click()
    table = browser.find("#defaults table")
    assert table.is_displayed()
    with held(shop, "/slow/"):
        wait_for(lambda: "GET /slow/" in words(browser, "#requests"), "the request to be shown")
        assert browser.find("#defaults table").is_displayed()
        select = (
            "getSelection().selectAllChildren(document.querySelector('#requests code')); return String(getSelection())"
        )
        assert browser.driver.execute_script(select) == "GET /slow/"
        wait_for(lambda: browser.find("#notice").is_displayed(), "the notice")
        assert "Paused" in words(browser, "#notice")
        assert browser.driver.execute_script("return String(getSelection())") == "GET /slow/"
        browser.driver.execute_script("getSelection().removeAllRanges()")
        wait_for(lambda: not browser.find("#notice").is_displayed(), "the page to go on")


def test_a_server_that_no_longer_answers(browser: Browser, shop: Server) -> None:
    """The page stays, says that it is old and how old, and goes on when the server is back."""
    open_page(browser, shop)
    shop.signal(signal.SIGSTOP)
    try:
        wait_for(lambda: "No answer. What you see is" in words(browser, "#notice"), "the notice")
        assert browser.driver.title.startswith("No answer: ")
        assert words(browser, "h1") == "Ready"
    finally:
        shop.signal(signal.SIGCONT)
    wait_for(lambda: not browser.find("#notice").is_displayed(), "the notice to go")
    assert browser.driver.title.startswith("Ready: ")
    shop.kill()
    wait_for(lambda: "No answer" in words(browser, "#notice"), "the notice")


def test_a_hostile_path_does_not_run(browser: Browser, shop: Server) -> None:
    """It is text, when the page is loaded and when it is refreshed; the policy has nothing to stop."""
    hooks = "window.alert = text => { document.title = 'pwned ' + text }"
    with held(shop, HOSTILE):
        open_page(browser, shop)
        browser.driver.execute_script(hooks)
        before = made_at(browser)
        assert "<script>alert(1)</script>" in words(browser, "#requests")
        assert browser.driver.find_elements(By.CSS_SELECTOR, "main script, main img") == []
        wait_for(lambda: made_at(browser) != before, "the page to refresh")
        assert "<script>alert(1)</script>" in words(browser, "#requests")
        assert browser.driver.find_elements(By.CSS_SELECTOR, "main script, main img") == []
        assert not browser.driver.title.startswith("pwned")
    assert complaints(browser) == []


def test_the_policy_stops_what_gets_in_all_the_same(browser: Browser, shop: Server) -> None:
    """Were there a hole in the escaping, an inline handler would not run and nothing would be loaded from elsewhere."""
    open_page(browser, shop)
    browser.driver.execute_script(
        "document.querySelector('main').innerHTML = '<img src=\"http://127.0.0.1:1/\" onerror=\"window.ran = true\">'"
    )
    wait_for(lambda: any("Content Security Policy" in text for text in complaints(browser)), "the policy to object")
    assert browser.driver.execute_script("return window.ran") is None


@pytest.mark.parametrize("width", [320, 360, 768, 1200])
def test_no_width_scrolls_sideways(browser: Browser, shop: Server, width: int) -> None:
    """Everything is within the screen, whatever is told: long paths, failing checks, unfolded options."""
    screen(browser, width)
    with present(shop, "empty", settle=0), held(shop, LONG_PATH, HOSTILE):
        wait_for(lambda: len(requests(shop)) == 2, "the requests")
        open_page(browser, shop)
        browser.find("#defaults summary").click()
        script = "return [document.documentElement.scrollWidth - document.documentElement.clientWidth, innerWidth]"
        assert browser.driver.execute_script(script) == [0, width]
        outside = (
            "return Array.from(document.querySelectorAll('main *'))"
            ".filter(each => each.getBoundingClientRect().right > innerWidth).map(each => each.outerHTML)"
        )
        assert browser.driver.execute_script(outside) == []


CONTRASTS = """
const parts = colour => colour.match(/[\\d.]+/g).map(Number);
const light = colour => {
  const [r, g, b] = parts(colour).slice(0, 3).map(each => each / 255)
    .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = element => {
  const colour = getComputedStyle(element).backgroundColor;
  return parts(colour)[3] === 0 ? ground(element.parentElement) : colour;
};
const worst = {};
for (const element of document.querySelectorAll("body *")) {
  const own = Array.from(element.childNodes).some(node => node.nodeType === 3 && node.data.trim());
  if (!own || !element.checkVisibility()) continue;
  const [one, two] = [light(getComputedStyle(element).color), light(ground(element))].sort((a, b) => a - b);
  const name = element.tagName + "." + element.className;
  worst[name] = Math.min(worst[name] ?? 99, (two + 0.05) / (one + 0.05));
}
return worst;
"""


@pytest.mark.parametrize(("name", "ground"), [("light", (246, 247, 249)), ("dark", (16, 20, 26))])
def test_light_and_dark(browser: Browser, shop: Server, name: str, ground: tuple[int, ...]) -> None:
    """The page follows the preference, and every text stands out from its ground as WCAG 2 wants (AA, 4.5 to 1)."""
    scheme(browser, name)
    with present(shop, "empty", settle=0), present(shop, "faint", settle=0), held(shop, "/slow/"):
        wait_for(lambda: len(requests(shop)) == 1, "the request")
        open_page(browser, shop)
        wait_for(lambda: words(browser, "h1") == "Failing", "the check to be shown")
        assert ", ".join(map(str, ground)) in browser.style("body", "background-color")
        contrasts = browser.driver.execute_script(CONTRASTS)
        assert {"SPAN.badge fail", "SPAN.badge warn", "SPAN.badge pass", "SPAN.note", "H1."} <= set(contrasts)
        assert {element: ratio for element, ratio in contrasts.items() if ratio < 4.5} == {}


def test_without_javascript(browser: Browser, shop: Server) -> None:
    """Everything is there; only the refreshing is left to the reader, who is told so."""
    emulate(browser, "setScriptExecutionDisabled", value=True)
    with held(shop, "/slow/"):
        open_page(browser, shop)
        text = browser.text
        for told in ("Ready", "GET /slow/", "1 of 2 busy", "shop.shelves", "--threads"):
            assert told in text
        assert "refreshed by loading it again" in text
        browser.find("#defaults summary").click()
        assert browser.find("#defaults table").is_displayed()
    assert complaints(browser) == []


def test_the_page_reads_well_without_eyes(browser: Browser, shop: Server) -> None:
    """One main heading, then sections with theirs; tables have captions and column heads, charts have names."""
    open_page(browser, shop)
    levels = browser.driver.execute_script(
        "return Array.from(document.querySelectorAll('h1,h2,h3'), e => +e.tagName[1])"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for table in browser.driver.find_elements(By.TAG_NAME, "table"):
        assert table.find_element(By.TAG_NAME, "caption").get_attribute("textContent")
        assert table.find_elements(By.CSS_SELECTOR, "thead th[scope=col]")
    for chart in browser.driver.find_elements(By.TAG_NAME, "svg"):
        assert chart.get_attribute("role") == "img"
        assert chart.get_attribute("aria-label")
    assert browser.driver.execute_script("return document.documentElement.lang") == "en"
