"""The example's shop with all that runs beside Django: a live stock, a service that fills it up, an API by Klein."""

from __future__ import annotations

import http.client
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.support.functional.browser import Browser, address
from tests.support.functional.harness import Serve, Server, wait_for

BOOK = 2
LIVE = {"BOOKSHOP_LIVE": "1"}


def buy(server: Server) -> None:
    """Buy a copy as a browser does, with the page's token and its cookie."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request("GET", f"/books/{BOOK}/")
        page = connection.getresponse()
        cookie = (page.getheader("Set-Cookie") or "").partition(";")[0]
        found = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page.read().decode())
        assert found is not None
        fields = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
        token = urlencode({"csrfmiddlewaretoken": found[1]})
        connection.request("POST", f"/books/{BOOK}/buy/", token, fields)
        bought = connection.getresponse()
        assert (bought.status, bought.getheader("Location")) == (302, f"/books/{BOOK}/")


def stock(server: Server) -> int:
    """How many copies the API tells of."""
    [copies] = [book["stock"] for book in server.get("/api/books").json() if book["id"] == BOOK]
    return int(copies)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_page_follows_the_stock(serve: Serve, example: Path, browser: Browser, workers: str) -> None:
    """A copy that somebody buys, and the delivery when the last one is sold; from whichever worker and process."""
    with closing(sqlite3.connect(example / "db.sqlite3")) as database, database:
        database.execute("UPDATE catalogue_book SET stock = 2 WHERE id = ?", [BOOK])
    server = serve("--static", "--workers", workers, cwd=example, env=LIVE)
    browser.open(address(server, "/"))
    shown = browser.find(f'[data-stock-of="{BOOK}"]')
    assert (shown.text, stock(server)) == ("2", 2)
    opened = "twistserve_websockets 1.0"
    wait_for(lambda: opened in server.probe("/metrics").text, "the page's WebSocket")
    buy(server)
    wait_for(lambda: shown.text == "1", lambda: shown.text)
    buy(server)
    # The delivery comes within ten seconds, and may come before we look.
    wait_for(lambda: shown.text == "12", lambda: shown.text)
    assert stock(server) == 12
    assert browser.errors() == []


def test_without_it_the_pages_are_as_ever(serve: Serve, example: Path, browser: Browser) -> None:
    """No WebSocket is tried where there is none."""
    server = serve("--static", cwd=example)
    browser.open(address(server, f"/books/{BOOK}/"))
    assert browser.find(f'[data-stock-of="{BOOK}"]').text == "12"
    buy(server)
    assert server.get("/api/books").status == 404
    assert browser.errors() == []
