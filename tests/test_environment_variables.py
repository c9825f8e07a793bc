"""The environment variables of docs/environ.md are those that the package reads and sets."""

from __future__ import annotations

import re
from pathlib import Path

import twistserve
from tests.support.documents.tables import codes, rows

SOURCES = [path.read_text() for path in Path(twistserve.__file__).parent.rglob("*.py")]
TABLE = rows("environ.md", "## Environment variables")
LISTED = {name for row in TABLE for name in codes(row["variable"])}
READ = re.compile(
    r"""
    \benviron(?:\.get\(|\.pop\(|\.setdefault\(|\[)"(?P<read>[A-Z]\w+)"
    | "(?P<asked>[A-Z_]+)"(?:\ not)?\ in\ (?:os\.)?environ\b
    """,
    re.VERBOSE,
)
OF_REQUESTS = re.compile("HTTP_|REMOTE_|SERVER_|REQUEST_|CONTENT_|RAW_URI|QUERY_STRING|PATH_INFO|SCRIPT_NAME")


def test_every_variable_is_listed() -> None:
    """Each that the source reads, sets or removes by its name; `wsgi/` has environs of requests by the same word."""
    found = {match["read"] or match["asked"] for text in SOURCES for match in READ.finditer(text)}
    assert {"POD_NAME", "KUBERNETES_SERVICE_HOST", "PROMETHEUS_MULTIPROC_DIR", "PYTHONHOME"} <= found
    ours = {name for name in found if OF_REQUESTS.match(name) is None}
    assert ours - {"TWISTSERVE_LOG_FORMAT"} <= LISTED


def test_no_variable_is_listed_that_the_package_does_not_know() -> None:
    """But for those of Python, OpenSSL and Twisted, which the table names as theirs."""
    text = "\n".join(SOURCES)
    of_others = {name for row in TABLE if row["read or set"].startswith("read by") for name in codes(row["variable"])}
    names = {name.rstrip("…") for name in LISTED - of_others}
    # These are made of a prefix and the names of options.
    assert {name for name in names if name not in text and not name.startswith("AMQP_")} == set()
