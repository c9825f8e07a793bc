"""A real browser for tests: Debian's Chromium, driven by selenium."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support.functional.harness import Server, wait_for

CHROMIUM = "/usr/bin/chromium"
CHROMEDRIVER = "/usr/bin/chromedriver"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
)


class Browser:
    """A headless Chromium looking at one server."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Load a page with all it refers to."""
        self.driver.get(url)

    def find(self, selector: str) -> WebElement:
        """The one element that a CSS selector means."""
        found = self.driver.find_elements(By.CSS_SELECTOR, selector)
        assert len(found) == 1, f"{len(found)} elements {selector} at {self.driver.current_url}\n{self.text}"
        return found[0]

    def fill(self, **fields: str) -> None:
        """Type into fields of a form by their names."""
        for name, value in fields.items():
            self.find(f"[name={name}]").send_keys(value)

    def click(self, selector: str, url: str) -> None:
        """Click and wait until a new page, at `url`, has loaded."""
        self.driver.execute_script("window.isOld = true")
        self.find(selector).click()
        script = "return !window.isOld && document.readyState == 'complete' && location.href"

        def arrived() -> bool:
            try:
                return bool(self.driver.execute_script(script) == url)
            except WebDriverException:
                return False  # The page went away under the script.

        try:
            wait_for(arrived, url)
        except AssertionError as error:
            raise AssertionError(f"{error}; at {self.driver.current_url} is\n{self.text}") from None

    @property
    def text(self) -> str:
        """The words on the page."""
        return str(self.driver.find_element(By.TAG_NAME, "body").text)

    def style(self, selector: str, name: str) -> str:
        """The computed value of a style property."""
        return str(self.find(selector).value_of_css_property(name))

    def image_size(self, selector: str) -> tuple[int, int]:
        """The natural size of an image in pixels: (0, 0) unless it was fetched and decoded."""
        script = "return [arguments[0].naturalWidth, arguments[0].naturalHeight]"
        width, height = self.driver.execute_script(script, self.find(selector))
        return width, height

    def resources(self) -> dict[str, int]:
        """The status of each file the page has loaded, by address."""
        script = "return performance.getEntriesByType('resource').map(entry => [entry.name, entry.responseStatus])"
        return dict(self.driver.execute_script(script))

    def errors(self) -> list[dict[str, Any]]:
        """What the browser has complained about since it was last asked: failed loads, errors of scripts."""
        return [entry for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


@contextlib.contextmanager
def chromium(tmp_path: Path) -> Iterator[Browser]:
    """A Chromium with a fresh profile; it quits with the block, with all its processes, whatever happens."""
    home = tmp_path / "home"
    home.mkdir()
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={home / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service(
        CHROMEDRIVER,
        log_output=str(tmp_path / "chromedriver.log"),
        env={**os.environ, "HOME": str(home), "no_proxy": "*"},
        popen_kw={"start_new_session": True},
    )
    try:
        driver = webdriver.Chrome(options, service)
        try:
            driver.set_page_load_timeout(60)
            yield Browser(driver)
        finally:
            driver.quit()
    finally:
        process = getattr(service, "process", None)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def png(width: int, height: int) -> bytes:
    """A picture of coloured noise, about three bytes a pixel however well it is compressed."""
    noise = random.Random(width)
    rows = b"".join(b"\0" + noise.randbytes(width * 3) for _ in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def address(server: Server, path: str) -> str:
    """The URL of a path, as a person would type it."""
    return f"http://127.0.0.1:{server.port}{path}"
