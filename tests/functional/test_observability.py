"""Sentry and OpenTelemetry beside the server, as docs/observability.md has them: nothing is lost in a drain.

The real packages send to a port of the test's own.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.functional.harness import PROMPT, ROOT, Reply, Serve, Server, at_once, wait_for, write_project
from tests.support.functional.ingest import Ingest, ingesting

VIEWS = """
import threading
from django.http import HttpResponse
from django.urls import path

def fail(request, number):
    raise ValueError("it fails")

def hang(request):
    threading.Event().wait(4)
    return HttpResponse("late")

def well(request):
    return HttpResponse("well")

urlpatterns = [path("books/<int:number>/", fail), path("hang", hang), path("well", well)]
"""
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
WAYS = {"one process": (), "workers": ("--workers", "2"), "preload": ("--workers", "2", "--preload")}


@pytest.fixture
def ingest() -> Iterator[Ingest]:
    with ingesting() as started:
        yield started


def guide(file: str, which: int = 0) -> str:
    """A block of the page that is written to this file."""
    page = (ROOT / "docs/observability.md").read_text()
    found: list[str] = re.findall(rf"^```python\n# mysite/{file}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return found[which]


@pytest.fixture
def serve_observed(serve: Serve, ingest: Ingest, tmp_path: Path) -> Serve:
    """Start a server whose settings and application are the page's."""

    def starter(*options: str) -> Server:
        project = write_project(tmp_path / "project", VIEWS, guide("settings.py"))
        (project / "site_wsgi.py").write_text(guide("wsgi.py", 1 if "--preload" in options else 0))
        env = {
            "SENTRY_DSN": f"http://key@{ingest.url}/1",
            "OTEL_SERVICE_NAME": "mysite",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{ingest.url}",
        }
        return serve(*options, cwd=project, settings="site_settings", env=env)

    return starter


@pytest.mark.parametrize("way", WAYS)
def test_what_was_seen_is_sent_before_the_end(serve_observed: Serve, ingest: Ingest, way: str) -> None:
    """Each failure is one event with the request's id and route; each request a span of the caller's trace."""
    server = serve_observed(*WAYS[way])

    def ask(number: int) -> Reply:
        headers = {"X-Request-ID": f"id-{number}", "traceparent": f"00-{TRACE}-{PARENT}-01"}
        return server.get(f"/books/{number}/", headers=headers)

    assert {ask(number).status for number in range(4)} == {500}
    assert server.get("/well").status == 200
    assert server.terminate() == 0
    events = ingest.events()
    assert sorted(event["request"]["headers"]["X-Request-Id"] for event in events) == [f"id-{n}" for n in range(4)]
    assert {event["transaction"] for event in events} == {"/books/{number}/"}
    assert {event["exception"]["values"][0]["value"] for event in events} == {"it fails"}
    spans = ingest.spans()
    called = [span for span in spans if span.trace_id.hex() == TRACE]
    assert [(span.name, span.parent_span_id.hex()) for span in called] == [("GET books/<int:number>/", PARENT)] * 4
    assert [span.name for span in spans if span not in called] == ["GET well"]
    assert "Traceback" not in server.stderr


def test_a_request_past_its_deadline_is_an_event(serve_observed: Serve, ingest: Ingest) -> None:
    """It says where the view stands. The span ends with the view, and has its status: the client has had 504."""
    server = serve_observed("--request-timeout", "0.5")
    assert server.get("/hang").status == 504
    event = wait_for(lambda: next(iter(ingest.events()), None), "the event")
    assert "request timed out after 0.5 s: GET /hang" in event["logentry"]["formatted"]
    assert "in hang" in event["logentry"]["formatted"]
    server.signal(signal.SIGTERM)
    assert server.wait(PROMPT) == 0


def test_the_parts_of_a_drain(serve_observed: Serve, ingest: Ingest) -> None:
    """Requests that are answered during the drain are in what is sent at its end."""
    server = serve_observed("--drain-delay", "1")
    server.signal(signal.SIGTERM)
    wait_for(lambda: server.probe("/ready").status == 503, "the drain")
    assert {reply.status for reply in at_once(4, lambda: server.get("/well"))} == {200}
    assert server.wait(PROMPT) == 0
    assert [span.name for span in ingest.spans()] == ["GET well"] * 4
