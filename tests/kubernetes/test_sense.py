"""What is refused, and what is told."""

from __future__ import annotations

import pytest

from tests.support.options import resolved
from twistserve.errors import StartError
from twistserve.kubernetes.chosen import Chosen
from twistserve.kubernetes.sense import notices, refuse
from twistserve.kubernetes.words import words

IMAGE = "shop:1"


def told(*line: str, chosen: Chosen | None = None) -> list[str]:
    found = resolved(*line, environ={"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    return list(notices(found, chosen or Chosen(image=IMAGE), words(found)))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--autoreload",), "--autoreload from the command line is for development"),
        (("--static", "--static-watch", "."), "--static-watch from the command line is for development"),
        (("--debugger",), "--debugger from the command line is for development"),
        (("--req-queue-len", "0"), "--req-queue-len: 0 from the command line makes the readiness probe fail always"),
    ],
)
def test_what_no_pod_can_be_served_with(line: tuple[str, ...], said: str) -> None:
    """One sentence."""
    with pytest.raises(StartError, match=said):
        refuse(resolved(*line), pod_monitor=False)


def test_a_monitor_without_metrics() -> None:
    """It would find nothing, and alert for ever."""
    refuse(resolved("--no-metrics"), pod_monitor=False)
    refuse(resolved(), pod_monitor=True)
    with pytest.raises(StartError, match="--pod-monitor: there are no metrics with --no-metrics from the command line"):
        refuse(resolved("--no-metrics"), pod_monitor=True)


def test_an_autoscaler_that_would_learn_nothing() -> None:
    """Without metrics, or where the number of pods is fixed."""
    refuse(resolved("--no-metrics"), False, "cpu", replicas=2)
    refuse(resolved(), False, "threads")
    with pytest.raises(StartError, match="--scale-by: threads needs the metrics that --no-metrics from the command"):
        refuse(resolved("--no-metrics"), False, "threads")
    with pytest.raises(StartError, match="--scale-by: threads is for an autoscaler, and --set replicas=2 is a fixed"):
        refuse(resolved(), False, "threads", replicas=2)


def test_nothing_is_said_of_the_defaults() -> None:
    """Nor of what is as it should be."""
    assert told() == []
    assert told("--static", "--check-migrations-apply", "--command", "seed") == []
    assert told("--forwarded-allow-ips", "private", chosen=Chosen(image=IMAGE, host="shop.example.com")) == []


@pytest.mark.parametrize(
    ("line", "chosen", "said"),
    [
        ((), Chosen(), "--image: 'web' has no tag"),
        (("--drain-delay", "0"), None, "--drain-delay: 0 from the command line closes the port before"),
        (("--command", "migrate --noinput"), None, "--command: migrate runs in all pods"),
        (("--command", "collectstatic"), None, "--command: collectstatic has nowhere to write"),
        (("--media",), None, "--media serves MEDIA_ROOT"),
        (("--host", "::"), None, "--host: :: from the command line serves IPv6 alone"),
        (("--probe", "/health"), None, "--probe: /health is the livenessProbe too"),
        (("--probe-port", "8000"), None, "--probe-port: 8000 is the web port"),
        ((), Chosen(image=IMAGE, host="shop.example.com"), "--forwarded-allow-ips is not set"),
        (("--endpoint", "haproxy:tcp:8000"), None, "PROXY protocol"),
        (("--endpoint", "tls:/certs:port=8443"), None, "needs its certificates"),
        (("--workers", "2", "--max-buffer-size", "1"), None, "--max-buffer-size from the command line has no effect"),
    ],
)
def test_what_may_not_be_meant(line: tuple[str, ...], chosen: Chosen | None, said: str) -> None:
    """One sentence, and the manifests all the same."""
    assert said in told(*line, chosen=chosen)[0]


def test_how_a_secret_is_made() -> None:
    """With the names that the manifests have, and no value."""
    [said] = told("--webhook-secret", "hunter2", chosen=Chosen(name="shop", image=IMAGE))
    assert "kubectl create secret generic shop-secrets --from-literal=TWISTSERVE_WEBHOOK_SECRET=..." in said
    assert "hunter2" not in said
