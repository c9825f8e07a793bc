"""Addresses to open in a browser, of ports and endpoints."""

from __future__ import annotations

import pytest

from twistserve.net.addresses import endpoint_address, endpoint_port, port_address


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [
        (None, 8000, "http://127.0.0.1:8000/"),
        ("0.0.0.0", 8000, "http://127.0.0.1:8000/"),
        ("::", 8000, "http://[::1]:8000/"),
        ("::1", 8000, "http://[::1]:8000/"),
        ("fe80::1%eth0", 8000, "http://[fe80::1%25eth0]:8000/"),
        ("10.0.0.7", 80, "http://10.0.0.7/"),
        ("shop.example", 443, "http://shop.example:443/"),
    ],
)
def test_a_port(host: str | None, port: int, address: str) -> None:
    """All interfaces are this machine's own address; IPv6 has brackets, and the port of the scheme is left out."""
    assert port_address(host, port) == address


def test_a_path() -> None:
    """It is the end of the address."""
    assert port_address("127.0.0.1", 8001, "/ready") == "http://127.0.0.1:8001/ready"


@pytest.mark.parametrize(
    ("description", "address"),
    [
        ("tcp:8000", "http://127.0.0.1:8000/"),
        ("tcp:port=80:interface=10.0.0.7:backlog=9", "http://10.0.0.7/"),
        (r"tcp6:8000", "http://127.0.0.1:8000/"),
        (r"tcp6:8000:interface=\:\:1", "http://[::1]:8000/"),
        ("ssl:443:privateKey=key.pem", "https://127.0.0.1/"),
        ("ssl:port=8443:interface=shop.example", "https://shop.example:8443/"),
        ("ssl:privateKey=key.pem", "https://127.0.0.1/"),
        ("tls:certificates:port=443", "https://127.0.0.1/"),
        ("tls:certificates:8443", "https://127.0.0.1:8443/"),
        ("tls:certificates", "https://127.0.0.1/"),
        ("unix:/run/web.sock:mode=660", "unix:/run/web.sock"),
        ("unix:address=/run/web.sock", "unix:/run/web.sock"),
        ("haproxy:tcp:8000", "http://127.0.0.1:8000/ (behind a proxy that speaks the PROXY protocol)"),
        ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
        ("haproxy:onion:80", "haproxy:onion:80"),
        ("tcp:http", "tcp:http"),
    ],
)
def test_an_endpoint(description: str, address: str) -> None:
    """A URL with the scheme it speaks, a path, or the endpoint itself where only that knows its address."""
    assert endpoint_address(description) == address


@pytest.mark.parametrize(
    ("description", "found"),
    [
        ("tcp:8000", ("http", "", 8000)),
        (r"haproxy:tcp6:port=80:interface=\:\:1", ("http", "::1", 80)),
        ("tls:/certs", ("https", "::", 443)),
        ("ssl:8443:interface=127.0.0.1", ("https", "127.0.0.1", 8443)),
    ],
)
def test_the_port_of_an_endpoint(description: str, found: tuple[str, str, int]) -> None:
    """With its scheme, and the interface, which is empty or :: where it is all of them."""
    assert endpoint_port(description) == found


@pytest.mark.parametrize("description", ["unix:/run/web.sock", "systemd:domain=INET:index=0", "tcp:http", "nope:1"])
def test_an_endpoint_without_a_port(description: str) -> None:
    """It has none that could be told."""
    with pytest.raises((ValueError, LookupError)):
        endpoint_port(description)
