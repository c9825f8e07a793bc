"""What asks a probe: where it asks, and what it makes of the response; the network is a fake."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from twistserve.errors import StartError
from twistserve.probes import client
from twistserve.probes.client import add_arguments, ask

PASS = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\npass\ndatabase: pass\n"


class Network:
    """A server that sends a response in pieces of ten bytes, and a clock that goes a second with each of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.response: bytes | Exception = PASS
        self.asked: list[tuple[tuple[str, int], float]] = []
        self.sent = b""
        self.now = 100.0
        self.slow = 0.0
        monkeypatch.setattr("twistserve.probes.client.socket.create_connection", self.connect)
        monkeypatch.setattr("twistserve.probes.client.time.monotonic", lambda: self.now)

    def connect(self, address: tuple[str, int], seconds: float) -> Network:
        self.asked.append((address, seconds))
        if isinstance(self.response, Exception):
            raise self.response
        self.left = self.response
        return self

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def recv(self, size: int) -> bytes:
        self.now += self.slow
        data, self.left = self.left[:10], self.left[10:]
        return data


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


def asked(*words: str, environ: dict[str, str] | None = None) -> tuple[bool, str]:
    """What comes of the command with these words."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments: Any = vars(parser.parse_args(words))
    return ask(arguments, environ or {}, lambda *_: {})


def test_settings_of_django_hurricane_are_heeded(network: Network) -> None:
    """Where the server heeds them."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments: Any = vars(parser.parse_args([]))
    ask(arguments, {}, lambda *_: {"HURRICANE_SETTINGS": True}, lambda names: {"PROBE_PORT": 9000})
    assert network.asked[-1][0] == ("127.0.0.1", 9000)


def test_readiness_is_asked_unless_another_is_named(network: Network) -> None:
    """On this machine and the default port, with the details, and for the time of the checks and one second more."""
    assert asked() == (True, "pass\ndatabase: pass\n")
    assert network.asked == [(("127.0.0.1", 8001), 6.0)]
    assert network.sent.startswith(b"GET /ready?verbose HTTP/1.1\r\nHost: 127.0.0.1:8001\r\n")
    network.sent = b""
    asked("alive", "--timeout", "2")
    assert network.sent.startswith(b"GET /alive?verbose ")
    assert network.asked[-1][1] == 2.0


@pytest.mark.parametrize(
    ("words", "address", "host"),
    [
        (["--port", "9000"], ("127.0.0.1", 9001), b"127.0.0.1:9001"),
        (["--probe-port", "7000", "--probe-host", "0.0.0.0"], ("127.0.0.1", 7000), b"127.0.0.1:7000"),
        (["--probe-host", "::"], ("::1", 8001), b"[::1]:8001"),
        (["--host", "192.0.2.1"], ("192.0.2.1", 8001), b"192.0.2.1:8001"),
    ],
)
def test_where_it_asks(network: Network, words: list[str], address: tuple[str, int], host: bytes) -> None:
    """It follows from the options of the server; who listens everywhere is asked at home."""
    asked(*words)
    assert network.asked[0][0] == address
    assert b"\r\nHost: " + host + b"\r\n" in network.sent


def test_the_servers_environment_counts(network: Network) -> None:
    """In a container the probe has the same one, and needs no options."""
    asked(environ={"TWISTSERVE_PROBE_PORT": "7000", "TWISTSERVE_READINESS_PROBE": "/healthy"})
    assert network.asked[0][0] == ("127.0.0.1", 7000)
    assert network.sent.startswith(b"GET /healthy?verbose ")


@pytest.mark.parametrize(("which", "path"), [("ready", b"/one"), ("alive", b"/one"), ("startup", b"/startup")])
def test_the_one_probe(network: Network, which: str, path: bytes) -> None:
    """With --probe in force, wherever that comes from, it is asked for readiness and for liveness."""
    asked(which, "--probe", "/one")
    assert network.sent.startswith(b"GET " + path + b"?")
    network.sent = b""
    asked(which, environ={"TWISTSERVE_PROBE": "/one"})
    assert network.sent.startswith(b"GET " + path + b"?")


def test_no_response_of_the_one_probe(network: Network) -> None:
    """The error names the option that says where it is."""
    network.response = b"HTTP/1.1 404 Not Found\r\n\r\n"
    with pytest.raises(StartError, match=r"8001/one, but status 404: .* or another --probe in force\?"):
        asked("alive", "--probe", "/one")


@pytest.mark.parametrize(
    ("response", "passes"),
    [
        (PASS, True),
        (PASS.replace(b"pass\n", b"warn\n", 1), True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\nfail\n", False),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\npass\n", False),
        (b"HTTP/1.1 200 OK\r\n\r\nfail\n", False),
    ],
)
def test_what_passes(network: Network, response: bytes, passes: bool) -> None:
    """Status and word have to agree."""
    network.response = response
    assert asked()[0] is passes


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (ConnectionRefusedError(), "nothing listens on 127.0.0.1:8001"),
        (TimeoutError(), "no answer from 127.0.0.1:8001/ready within 6 s"),
        (UnicodeError(), "127.0.0.1:8001 cannot be asked: '127.0.0.1' is no host name"),
        (OSError(113, "No route to host"), "127.0.0.1:8001 cannot be asked: No route to host"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n<html>", "no probe answers at 127.0.0.1:8001/ready, but status 404"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello\n", "another --readiness-probe in force?"),
        (b"SSH-2.0-x\r\n", "but something else than HTTP"),
        (b"", "but something else than HTTP"),
    ],
)
def test_why_there_is_no_response(network: Network, response: bytes | Exception, said: str) -> None:
    """The error says where it has asked, and what may be wrong."""
    network.response = response
    with pytest.raises(StartError) as raised:
        asked()
    assert said in str(raised.value)


def test_a_response_that_trickles(network: Network) -> None:
    """The time is for all of it, not for each piece."""
    network.slow = 1.0
    network.response = PASS + bytes(1000)
    with pytest.raises(StartError, match=r"no answer from 127\.0\.0\.1:8001/ready within 6 s"):
        asked()


def test_a_response_without_end(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more of it is read than a probe can say."""
    monkeypatch.setattr(client, "LARGEST", 50)
    network.response = b"HTTP/1.1 200 OK\r\n\r\npass\n" + bytes(1000)
    assert asked()[0]
    assert len(network.left) > 900


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--timeout", "0"], "--timeout: '0' is not valid: give seconds"), (["--probe-port", "x"], "--probe-port")],
)
def test_wrong_options(network: Network, words: list[str], said: str) -> None:
    """They are told, and nobody is asked."""
    with pytest.raises(StartError, match=said):
        asked(*words)
    assert network.asked == []


def test_an_instance_without_probes(network: Network) -> None:
    """There is nothing to ask."""
    with pytest.raises(StartError, match="--no-probe is in force"):
        asked(environ={"TWISTSERVE_NO_PROBE": "true"})
