"""The paths, statuses, content types and fields that docs/endpoints.md lists are those of a real server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents.tables import code, codes, rows
from tests.support.functional.harness import Serve, Server, fetch, free_port, serving, wait_for
from tests.support.functional.status_page import document, held, write_shop

Project = Callable[..., Path]

SERVICE = """
from twisted.application.service import Service

class Feed(Service):
    def metrics(self):
        return {"symbols": 3}
"""

PATHS = {code(row["path"]): row for row in rows("endpoints.md", "## The probe port")}
PROBES = ("/startup", "/ready", "/alive")
SHARED = [path for path, row in PATHS.items() if row["on the web port"] == "yes"]
STATUS = {code(row["field"]): row["type"] for row in rows("endpoints.md", "### What /status.json says")}
PROBE = {code(row["field"]): row["type"] for row in rows("endpoints.md", "### What a probe says")}
TYPES = {str: "text", bool: "boolean", int: "number", float: "number", type(None): "null"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with checks, and with a service that has a number to tell."""
    directory = write_shop(tmp_path_factory.mktemp("endpoints") / "project")
    (directory / "feed.py").write_text(SERVICE)
    with serving("--service", "feed.Feed", cwd=directory, logs=directory.parent, settings="site_settings") as server:
        yield server


def fields(value: Any, path: str, mappings: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The leaves of a document, each with its type; what a list has is `[]`, what a mapping of names has is `*`."""
    if isinstance(value, dict):
        if not value and path in mappings:
            yield path, "object"
        for name, each in value.items():
            key = "*" if path in mappings else name
            yield from fields(each, f"{path}.{key}" if path else key, mappings)
    elif isinstance(value, list):
        for each in value:
            yield from fields(each, f"{path}[]", mappings)
    else:
        yield path, TYPES[type(value)]


def there_are(port: int) -> set[str]:
    """The paths that a 404 names: those of the code's table of paths."""
    reply = fetch(port, "/nowhere")
    assert (reply.status, reply.headers["Content-Type"]) == (404, "text/plain; charset=utf-8")
    return set(reply.text.strip().removeprefix("Not found. There are: ").split(", "))


def test_no_path_is_left_out(server: Server) -> None:
    """Nor is one listed that is not there."""
    assert there_are(server.probe_port) == set(PATHS)


@pytest.mark.parametrize("path", PATHS)
def test_a_path(server: Server, path: str) -> None:
    """Its methods, its status, its content types, and what holds for all."""
    plain, *others = codes(PATHS[path]["content types"])
    assert "200" in PATHS[path]["status"].split(", ")
    for method in ("GET", "HEAD", "POST"):
        for asked in {path, path.rstrip("/") + "/", path.replace("s", "%73")}:
            reply = server.probe(asked, method=method)
            assert (reply.status, reply.headers["Content-Type"]) == (200, plain)
            assert reply.headers["Cache-Control"] == "no-store"
            assert bool(reply.body) is (method != "HEAD")
    for content_type in others:
        reply = server.probe(path, headers={"Accept": content_type.partition(";")[0]})
        assert (reply.status, reply.headers["Content-Type"]) == (200, content_type)
    for method in ("PUT", "DELETE", "OPTIONS"):
        refused = server.probe(path, method=method)
        assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD, POST")


def test_metrics_are_compressed(server: Server) -> None:
    """For those who take it; probes are not."""
    for path in PATHS:
        reply = server.probe(path, headers={"Accept-Encoding": "gzip"})
        assert (reply.headers["Content-Encoding"] == "gzip") is (path == "/metrics")


def test_what_a_probe_says(server: Server) -> None:
    """All of the fields, and no other, with their types; statuses are three words."""
    seen: set[str] = set()
    empty = server.cwd / "empty"
    for _ in range(2):
        for path in PROBES:
            for query in ("", "?verbose", "?verbose=0"):
                reply = server.probe(path + query)
                document = reply.json()
                found = dict(fields(document, "", ("checks",)))
                assert ("checks.*[].seconds" not in found) or query
                for field, kind in found.items():
                    assert kind in PROBE[field].split(" or "), field
                assert set(document) == {"status", "checks"}
                assert reply.status == (503 if document["status"] == "fail" else 200)
                seen |= found.keys()
        empty.touch()
        server.wait_until("/ready", 503)
    empty.unlink()
    server.wait_until()
    assert seen == set(PROBE) - {"checks"}


def test_what_status_json_says(server: Server) -> None:
    """All of the fields are there, and no other, each with a type that is listed."""
    with held(server, "/one/"):
        wait_for(lambda: document(server)["workers"][0]["history"]["seconds_ago"], "a sample of the load")
        found = list(fields(document(server), "", ("services[].values",)))
    wrong = [(field, kind) for field, kind in found if kind not in re.split(", | or ", STATUS.get(field, ""))]
    assert wrong == []
    assert {field for field, _ in found} == set(STATUS)


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        ((), set(SHARED)),
        (("--probe", "/health"), {*SHARED, "/health"} - {"/ready", "/alive"}),
        (("--no-metrics",), set(SHARED) - {"/metrics"}),
    ],
)
def test_on_the_web_port(serve: Serve, project: Project, options: tuple[str, ...], paths: set[str]) -> None:
    """The paths that are there, and no other of the probe port's: they are the application's."""
    port = free_port()
    words = ("--port", str(port), "--probe-port", str(port), *options)
    server = serve(*words, port=port, cwd=project(), settings="site_settings", until="/startup")
    responses = {path: server.get(path) for path in {*PATHS, "/health"}}
    assert {path for path, reply in responses.items() if reply.headers["Cache-Control"] == "no-store"} == paths
