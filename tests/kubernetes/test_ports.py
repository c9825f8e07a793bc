"""The ports by name, and what cannot be reached in a pod."""

from __future__ import annotations

import pytest

from tests.support.options import resolved
from twistserve.errors import StartError
from twistserve.kubernetes.ports import Port, ports, probe_port, web_ports


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), [("http", 8000, 80), ("probes", 8001, None)]),
        (("--port", "9000", "--host", "0.0.0.0"), [("http", 9000, 80), ("probes", 9001, None)]),
        (
            ("--host", "127.0.0.1", "--probe-host", "::", "--endpoint", "tcp:8080"),
            [("http", 8080, 80), ("probes", 8001, None)],
        ),
        (("--probe-port", "8000"), [("http", 8000, 80)]),
        (("--endpoint", r"haproxy:tcp6:8000:interface=\:\:"), [("http", 8000, 80), ("probes", 8001, None)]),
        (
            ("--endpoint", "tcp:8080", "--endpoint", "tls:/certs:port=8443", "--endpoint", "tcp:8090"),
            [("http", 8080, 80), ("https", 8443, 443), ("http-2", 8090, 8090), ("probes", 8001, None)],
        ),
    ],
)
def test_ports(words: tuple[str, ...], expected: list[tuple[str, int, int | None]]) -> None:
    """Those of requests, which the Service has, and that of the probes."""
    found = resolved(*words)
    assert ports(found) == [Port(*each) for each in expected]
    assert web_ports(found) == [Port(*each) for each in expected if each[2] is not None]
    assert probe_port(found) == expected[-1][0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--no-probe",), "--no-probe from the command line: Kubernetes would have nothing to ask"),
        (("--host", "127.0.0.1"), "--host: 127.0.0.1 from the command line is not the pod's address"),
        (("--host", "localhost"), "--host: localhost"),
        (("--probe-host", "::1"), "--probe-host: ::1 from the command line .* the kubelet and Prometheus connect"),
        (("--host", "127.0.0.1", "--endpoint", "tcp:8000"), "--host: 127.0.0.1"),
        (("--port", "80"), "--port: 80 is a port that only a privileged process may open"),
        (("--probe-port", "1023"), "--probe-port: 1023"),
        (("--endpoint", "ssl:443"), "--endpoint: 443"),
        (("--endpoint", "unix:/run/web.sock"), "--endpoint: 'unix:/run/web.sock' from the command line has no port"),
        (("--endpoint", "haproxy:unix:/run/web.sock"), "has no port"),
        (("--endpoint", "systemd:domain=INET:index=0"), "has no port"),
        (("--endpoint", "tcp:http"), "has no port"),
        (("--endpoint", "tcp:8000:interface=127.0.0.1"), "at 127.0.0.1: leave the interface out"),
    ],
)
def test_what_cannot_be_reached(words: tuple[str, ...], said: str) -> None:
    """One sentence, with where it came from."""
    with pytest.raises(StartError, match=said):
        ports(resolved(*words))


def test_the_settings_are_named() -> None:
    """Those for development often have an address of the developer's machine."""
    with pytest.raises(StartError, match=r"--host: 127.0.0.1 from the setting TWISTSERVE\['HOST'\]"):
        ports(resolved(setting={"HOST": "127.0.0.1"}))
