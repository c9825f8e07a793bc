"""docs/status-page.png and docs/status-page-ready.png: the status page in a browser, on light and dark ground."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from tests.support.functional.browser import Browser
from tests.support.functional.harness import Server, wait_for

WIDTH = 900
"""Pixels of the page."""
SCALE = {True: 1.2, False: 2}
"""Pixels of the picture for each of these, by whether all of the page is shown."""
COLOURS = 128
"""Of the picture's palette: with fewer the badges lose theirs. The file is a third as large as without a palette."""
LAST = {True: "main", False: "main > :nth-child(4)"}
"""The element that the picture ends with: all sections, or those until the requests in flight."""


def shoot(browser: Browser, server: Server, target: Path, *, whole: bool) -> None:
    """Write a picture of the page as it is now, of all of it or of its upper half, and one with `-dark` in its name."""
    metrics = {"width": WIDTH, "height": 1200, "deviceScaleFactor": SCALE[whole], "mobile": False}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.open(f"http://127.0.0.1:{server.probe_port}/")
    wait_for(lambda: "Options" in browser.text, lambda: browser.text)
    for scheme, path in (("light", target), ("dark", target.with_stem(f"{target.stem}-dark"))):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        _write(browser, path, LAST[whole])


def _write(browser: Browser, target: Path, last: str) -> None:
    """Write a picture of the page down to the end of an element."""
    script = f"return document.querySelector('{last}').getBoundingClientRect().bottom + 16"
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": browser.driver.execute_script(script), "scale": 1}
    parameters = {"format": "png", "clip": clip, "captureBeyondViewport": True}
    shot = browser.driver.execute_cdp_cmd("Page.captureScreenshot", parameters)
    picture = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
