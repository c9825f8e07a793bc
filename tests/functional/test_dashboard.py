"""deploy/grafana: every panel of the dashboard has something to show of a live server."""

from __future__ import annotations

import functools
import json
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.contract import CONTRACT
from tests.support.functional.harness import ROOT, Serve, Server
from tests.support.functional.prometheus import Prometheus, Scrape

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "twistserve.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {"$__rate_interval": "1m", "$job": "shop", "$instance": ".+"}
TRAFFIC = (
    *(("GET", path) for path in ("/", "/books/1/", "/boom/", "/nowhere/", "/static/catalogue/style.css")),
    *(("POST", path) for path in ("/echo/", "/echo/")),
)


def expressions(panel: dict[str, Any]) -> list[str]:
    """What a panel asks Prometheus, with the variables as Grafana puts them in."""
    texts = [target["expr"] for target in panel["targets"]]
    for name, value in VARIABLES.items():
        texts = [text.replace(name, value) for text in texts]
    return texts


@contextmanager
def load(server: Server) -> Iterator[None]:
    """Requests of every kind, and probes, until the block ends."""
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(0.05):
            for method, path in TRAFFIC:
                server.get(path, method=method, body=b"x" * 100 if method == "POST" else None)
            for path in ("/startup", "/ready", "/alive"):
                server.probe(path)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def has_data(prometheus: Prometheus, expression: str) -> bool:
    """Whether an expression gives a number now."""
    series = prometheus.api("query", query=expression)["result"]
    return any(math.isfinite(float(each["value"][1])) for each in series)


def test_every_panel_shows_something(serve: Serve, scrape: Scrape) -> None:
    """Each query of each panel, and of each variable, has a result while a server is at work."""
    server = serve("--static", env={"BOOKSHOP_LIVE": "1"})
    prometheus = scrape(server.probe_port)
    with load(server):
        for panel in PANELS:
            for text in expressions(panel):
                shows = functools.partial(has_data, prometheus, text)
                prometheus.wait_until(shows, f"{panel['title']!r} to show something: {text}")
    for variable in DASHBOARD["templating"]["list"][1:]:
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert match
        selector = match[1].replace("$job", VARIABLES["$job"])
        assert prometheus.api(f"label/{match[2]}/values", **{"match[]": selector})


def test_every_metric_is_shown() -> None:
    """There is no metric that the dashboard has forgotten, and it asks for none that there isn't."""
    asked = set(re.findall(r"\btwistserve_(\w+)", " ".join(text for panel in PANELS for text in expressions(panel))))
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert names == set(CONTRACT)


def test_panels_have_places_of_their_own() -> None:
    """Ids are unique, and no panel lies upon another."""
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23


def test_every_panel_says_what_it_is_for() -> None:
    """A title and a description for who looks at it at night, and the data source that was chosen."""
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
