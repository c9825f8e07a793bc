"""Checks of what the site tells, and whom it serves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.checks import found, told
from twistserve.checks.site import debug_is_off, hosts_can_match

POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def test_debug_inside_kubernetes() -> None:
    """It is warned of, with what to do."""
    [text] = told(found(debug_is_off, {"DEBUG": True}, POD))
    assert text.startswith("(twistserve.W004) DEBUG is on inside Kubernetes")
    assert "HINT: Set DEBUG = False" in text


@pytest.mark.parametrize(("debug", "environ"), [(True, {}), (False, POD), (False, {})])
def test_debug_elsewhere(debug: bool, environ: dict[str, str]) -> None:
    """On a developer's machine it is as it should be, and in a pod without it."""
    assert found(debug_is_off, {"DEBUG": debug}, environ) == []


def test_no_hosts() -> None:
    """Without DEBUG nobody is let in; with it Django lets localhost in."""
    [text] = told(found(hosts_can_match, {}))
    assert text.startswith("(twistserve.W005) ALLOWED_HOSTS is empty without DEBUG: every request is answered with 400")
    assert found(hosts_can_match, {"DEBUG": True}) == []


@pytest.mark.parametrize(
    "entry",
    [
        *("", " ", ".", " example.com", "https://example.com", "example.com/", "example.com:8000", "*.example.com"),
        *("example.com.", "::1", "café.example", "my_host", None, 5, b"example.com"),
    ],
)
def test_entries_that_match_nothing(entry: Any) -> None:
    """As the only entry it shuts everybody out, with DEBUG too; beside others it is named."""
    for debug in (False, True):
        [text] = told(found(hosts_can_match, {"DEBUG": debug, "ALLOWED_HOSTS": [entry]}))
        assert f"no request can match: every request is answered with 400: {entry!r}. HINT: An entry is a bare" in text
    [text] = told(found(hosts_can_match, {"ALLOWED_HOSTS": ["example.com", entry]}))
    assert text.startswith(f"(twistserve.W005) ALLOWED_HOSTS has entries that no request can match: {entry!r}.")


@pytest.mark.parametrize("entry", ["example.com", ".example.com", "Example.COM", "10.0.0.1", "[::1]", "a-b", "*"])
def test_entries_that_match(entry: str) -> None:
    """The forms that Django knows; Django itself lets somebody in for each."""
    from django.http.request import validate_host

    assert found(hosts_can_match, {"ALLOWED_HOSTS": (entry,)}) == []
    assert validate_host(entry.lower().removeprefix("."), [entry])


def test_entries_beside_a_star() -> None:
    """It lets everybody in, so that no other is missed."""
    assert found(hosts_can_match, {"ALLOWED_HOSTS": ["", "*"]}) == []
