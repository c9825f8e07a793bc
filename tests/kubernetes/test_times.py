"""The kubelet's numbers are those that the options ask for."""

from __future__ import annotations

import pytest

from tests.support.options import resolved
from twistserve.kubernetes import times
from twistserve.options import Configuration


def inside(*words: str) -> Configuration:
    return resolved(*words, environ={"KUBERNETES_SERVICE_HOST": "10.0.0.1"})


def test_the_defaults() -> None:
    """As docs/kubernetes.md has them."""
    found = inside()
    assert times.startup(found) == (2, 6, 60)
    assert times.readiness(found) == (2, 6, 2)
    assert times.liveness(found) == (10, 6, 3)
    assert (times.grace(found), times.progress_deadline(found)) == (40, 720)


@pytest.mark.parametrize(("seconds", "timeout"), [("0.1", 2), ("1", 2), ("5", 6), ("5.5", 7), ("60", 61)])
def test_the_kubelet_waits_longer_than_a_check_may_take(seconds: str, timeout: int) -> None:
    """By a second at least, in whole ones."""
    found = inside("--check-timeout", seconds)
    assert {times.startup(found).timeout, times.readiness(found).timeout, times.liveness(found).timeout} == {timeout}


@pytest.mark.parametrize("words", [("--command", "seed"), ("--check-migrations",), ("--check-migrations-apply",)])
def test_a_start_with_steps_may_take_longer(words: tuple[str, ...]) -> None:
    """And so may the roll-out."""
    found = inside(*words)
    assert times.startup(found).failures * times.STARTUP_PERIOD == 600
    assert times.progress_deadline(found) > 600


@pytest.mark.parametrize("delay", ["2", "2.5", "3", "4", "5", "7", "10", "30", "300"])
def test_a_drain_is_noticed_before_the_port_closes(delay: str) -> None:
    """With a second left for the proxies; the kubelet asks no less often than every five seconds."""
    asked = times.readiness(inside("--drain-delay", delay))
    assert 1 <= asked.period <= 5
    assert asked.period * asked.failures + 1 <= float(delay)


@pytest.mark.parametrize("delay", ["0", "0.5", "1.5"])
def test_a_drain_that_is_too_short_to_be_noticed(delay: str) -> None:
    """The kubelet does not ask for nothing."""
    assert times.readiness(inside("--drain-delay", delay))[::2] == (5, 2)


@pytest.mark.parametrize("words", [("--probe", "/health"), ("--probe-port", "8000")])
@pytest.mark.parametrize("graceful", ["5", "25", "95"])
def test_a_drain_that_fails_liveness_is_outlived(words: tuple[str, ...], graceful: str) -> None:
    """Where liveness is readiness, or is on a port that closes."""
    found = inside(*words, "--graceful-timeout", graceful)
    asked = times.liveness(found)
    assert asked.failures * asked.period > found.drain_delay + found.graceful_timeout
    assert asked.failures >= 3


def test_the_grace() -> None:
    """The process is gone ten seconds after the drain; parts of seconds count."""
    assert times.grace(inside("--drain-delay", "2.5", "--graceful-timeout", "60")) == 73


def test_the_fields() -> None:
    """By the names of Kubernetes."""
    assert times.Asked(2, 6, 60).fields() == {"periodSeconds": 2, "timeoutSeconds": 6, "failureThreshold": 60}
