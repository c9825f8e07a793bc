"""What a probe responds, and in which form."""

from __future__ import annotations

import json

import pytest

from twistserve.probes.checks import PASSED, Result, Status
from twistserve.probes.responses import JSON, TEXT, answer, prefers_text

RESULTS = {
    "lifecycle": Result(Status.PASS, "ready"),
    "database:default": Result(Status.FAIL, output="no answer\nwithin 5 s", seconds=5.01234),
    "disk": Result(Status.WARN, 600, "little is free", seconds=0.00004),
    "shop.checks.shelves": PASSED,
}


@pytest.mark.parametrize(
    ("accept", "text"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", True),
        ("Text/Plain; charset=utf-8", True),
        ("text/*", True),
        ("text/plain, */*", True),
        ("text/plain, */*;q=0.1", True),
        ("text/*, */*", False),
        ("text/plain;q=0.5, */*", False),
        ("text/plain, application/json", False),
        ("text/plain, application/json;q=0.9", True),
        ("text/plain;q=0.9, application/health+json", False),
        ("text/plain;q=0", False),
        ("text/plain;q=0, */*;q=0", False),
        ("text/plain;q=nonsense, */*", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("application/json", False),
        (";;,,q=1", False),
    ],
)
def test_who_prefers_text(accept: str, text: bool) -> None:
    """JSON, except for those who say that they would rather have text."""
    assert prefers_text(accept) is text


def test_json() -> None:
    """The shape of the draft: the worst status, and for each check what there is to say."""
    kind, body = answer(RESULTS, "*/*", verbose=False)
    assert kind == JSON
    assert json.loads(body) == {
        "status": "fail",
        "checks": {
            "lifecycle": [{"status": "pass", "observedValue": "ready"}],
            "database:default": [{"status": "fail", "output": "no answer\nwithin 5 s"}],
            "disk": [{"status": "warn", "observedValue": 600, "output": "little is free"}],
            "shop.checks.shelves": [{"status": "pass"}],
        },
    }


def test_verbose_json() -> None:
    """The seconds that checks took, of those that ran."""
    checks = json.loads(answer(RESULTS, "", verbose=True)[1])["checks"]
    assert checks["database:default"][0]["seconds"] == 5.0123
    assert checks["disk"][0]["seconds"] == 0.0
    assert "seconds" not in checks["lifecycle"][0]


def test_text() -> None:
    """A line for the status, and one for each check whatever it says."""
    kind, body = answer(RESULTS, "text/plain", verbose=False)
    assert kind == TEXT
    assert body.decode().splitlines() == [
        "fail",
        "pass lifecycle ready",
        "fail database:default: no answer within 5 s",
        "warn disk 600: little is free",
        "pass shop.checks.shelves",
    ]


def test_verbose_text() -> None:
    """The same, with the seconds."""
    lines = answer(RESULTS, "text/plain", verbose=True)[1].decode().splitlines()
    assert lines[2] == "fail database:default: no answer within 5 s (5.012 s)"
    assert lines[3] == "warn disk 600: little is free (0.000 s)"
    assert lines[1] == "pass lifecycle ready"


@pytest.mark.parametrize("accept", ["*/*", "text/plain"])
def test_text_that_cannot_be_encoded(accept: str) -> None:
    """A check may say anything, half a surrogate pair too."""
    body = answer({"odd": Result(Status.FAIL, output="half \ud800 \x00 é")}, accept, verbose=False)[1]
    assert "half" in body.decode()
