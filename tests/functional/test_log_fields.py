"""The fields of lines in JSON are those that docs/logging.md lists for their kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.documents.tables import code, rows
from tests.support.functional.harness import PROMPT, raw
from tests.support.functional.logs import Launch, Line, ends, launching_with_streams, lines_of, the_line

FIELDS: dict[str, dict[str, str]] = defaultdict(dict)
"""For each kind of line, what it may have, with its type."""
for _row in rows("logging.md", "### The fields"):
    for _kind in _row["lines"].split(", "):
        FIELDS[_kind][code(_row["field"])] = _row["type"]
KINDS = ("access", "refused", "server", "Django", "application")
TYPES = {str: "text", int: "number", float: "number", type(None): "null"}

VIEWS = """
import logging, warnings
from django.db import connection
from django.http import HttpResponse
from django.urls import path

def shop(request):
    log = logging.getLogger("shop")
    log.warning("sold", stack_info=True)
    try:
        raise LookupError("no such book")
    except LookupError:
        log.exception("not sold")
    warnings.warn("warned")
    print("printed")
    connection.cursor().execute("SELECT 1")
    return HttpResponse("sold")

def fail(request):
    raise LookupError("the shelf is gone")

def head(request):
    response = HttpResponse("broken")
    response.headers._store["x-a"] = ("X-A", "a\\r\\nb")
    return response

urlpatterns = [path("shop/", shop), path("fail/", fail), path("head/", head)]
"""
SETTINGS = """
DEBUG = True
STATIC_URL, STATIC_ROOT = "/static/", BASE_DIR / "files"
INSTALLED_APPS += ["django.contrib.staticfiles"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
LOGGING = {
    "version": 1, "disable_existing_loggers": False, "loggers": {"django.db.backends": {"level": "DEBUG"}}
}
"""


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    with launching_with_streams(tmp_path) as launcher:
        yield launcher


def kind_of(line: Line) -> str:
    if line["logger"] == "twistserve.access":
        return "access" if "method" in line else "refused"
    room = line["logger"].partition(".")[0]
    return {"twistserve": "server", "twisted": "server", "django": "Django"}.get(room, "application")


def test_every_field_is_listed(launch: Launch, project: Callable[..., Path]) -> None:
    """For lines of each kind, of two workers and their parent; each field that is listed is seen."""
    directory = project(VIEWS, SETTINGS)
    (directory / "files").mkdir()
    (directory / "files" / "a.txt").write_text("a")
    server = launch("--log-format", "json", "--workers", "2", "--static", cwd=directory)
    agent = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "User-Agent": "test"}
    statuses = {path: server.get(path, headers=agent).status for path in ("/shop/", "/fail/", "/head/", "/nowhere/")}
    assert statuses == {"/shop/": 200, "/fail/": 500, "/head/": 500, "/nowhere/": 404}
    assert server.get("/static/a.txt", headers=agent).status == 200
    raw(server.port, b"nonsense\r\n\r\n")
    ends(server, PROMPT)
    lines = lines_of(server)
    seen: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        kind = kind_of(line)
        listed = {**FIELDS["all"], **FIELDS[kind]}
        seen[kind] |= line.keys()
        for field, value in line.items():
            assert listed.get(field) == TYPES[type(value)], f"{field} of the kind {kind}: {line.text}"
        assert FIELDS["all"].keys() - line.keys() <= {"worker"}
    for kind in KINDS:
        assert set(FIELDS[kind]) <= seen[kind], kind
    assert "request_id" not in the_line(lines, "GET /static/a.txt")
