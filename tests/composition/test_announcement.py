"""What is said of a start that is complete."""

from __future__ import annotations

import pytest

from tests.support.composition import Reactor, configuration
from twistserve.composition.announcement import addresses, announce_addresses
from twistserve.lifecycle import Lifecycle, State

SITE = "the site is at http://127.0.0.1:8000/"
PROBE = "the probes are at http://127.0.0.1:8001/startup http://127.0.0.1:8001/ready http://127.0.0.1:8001/alive"
PAGE = "the status page is at http://127.0.0.1:8001/"


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ({}, [SITE, PROBE, PAGE]),
        ({"no_probe": True}, [SITE]),
        ({"no_status_page": True}, [SITE, PROBE]),
        (
            {"probe": "is/alive"},
            [SITE, "the probes are at http://127.0.0.1:8001/startup http://127.0.0.1:8001/is/alive", PAGE],
        ),
        (
            {"host": "::1", "probe_host": "10.0.0.7", "probe_port": "80"},
            [
                "the site is at http://[::1]:8000/",
                "the probes are at http://10.0.0.7/startup http://10.0.0.7/ready http://10.0.0.7/alive",
                "the status page is at http://10.0.0.7/",
            ],
        ),
        (
            {"endpoint": ["tcp:8080", "unix:/run/shop"], "no_probe": True},
            ["the site is at http://127.0.0.1:8080/", "the site is at unix:/run/shop"],
        ),
    ],
)
def test_the_addresses(given: dict[str, object], lines: list[str]) -> None:
    """Of what is served, and of nothing else."""
    assert list(addresses(configuration(**given))) == lines


def test_they_are_said_once_it_is_ready(caplog: pytest.LogCaptureFixture) -> None:
    """Neither before nor at the end."""
    lifecycle = Lifecycle(Reactor())
    with caplog.at_level("INFO", "twistserve.composition"):
        announce_addresses(configuration(), lifecycle)
        assert caplog.messages == []
        lifecycle.enter(State.READY, "a test")
        lifecycle.enter(State.DRAINING, "a test")
    assert [line for line in caplog.messages if " at http" in line] == [SITE, PROBE, PAGE]
