"""The certificates of TLS endpoints: handshakes in memory, with directories and a clock of the test's."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from OpenSSL.SSL import TLS_CLIENT_METHOD, Connection, Context, WantReadError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor
from twisted.protocols.tls import TLSMemoryBIOFactory

from tests.support.certificates import write_certificate, write_chain
from twistserve.net import tls
from twistserve.net.tls import LOOK_EVERY, Certificates, tls_endpoint

# Of pyOpenSSL; it is Twisted that calls it so.
pytestmark = pytest.mark.filterwarnings("ignore:.*(X509|PKey).*deprecated:DeprecationWarning")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that goes when its `now` is set."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(tls, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def serial_number(certificates: Certificates, name: str | None) -> int:
    """That of the certificate that a client is shown which asks for this name."""
    client, server = Connection(Context(TLS_CLIENT_METHOD), None), certificates.serverConnectionForTLS(None)
    if name is not None:
        client.set_tlsext_host_name(name.encode())
    client.set_connect_state()
    server.set_accept_state()
    while (shown := client.get_peer_certificate(as_cryptography=True)) is None:
        for end, other in ((client, server), (server, client)):
            with suppress(WantReadError):
                end.do_handshake()
            with suppress(WantReadError):
                other.bio_write(end.bio_read(1 << 16))
    return shown.serial_number


def test_the_certificate_follows_the_name_that_is_asked_for(tmp_path: Path) -> None:
    """Exactly or by a wildcard, in small letters or capitals; the first for another name, and for none."""
    one = write_certificate(tmp_path / "a.pem", "one.example")
    two = write_certificate(tmp_path / "b.pem", "*.two.example")
    certificates = Certificates(str(tmp_path))
    asked = ("one.example", "ONE.example", "www.two.example", "a.www.two.example", "other.example", None)
    assert [serial_number(certificates, name) for name in asked] == [one, one, two, one, one, one]


def test_a_chain_with_its_root(tmp_path: Path) -> None:
    """The root is left out: clients have it, and its issuer is itself."""
    serial = write_chain(tmp_path / "one.pem", "one.example")
    assert serial_number(Certificates(str(tmp_path)), "one.example") == serial


def test_renewed_certificates_are_served(
    tmp_path: Path, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    """A new connection gets them once they have been there for a moment, and the log says so, once."""
    old = write_certificate(tmp_path / "a.pem", "one.example")
    certificates = Certificates(str(tmp_path))
    new = write_certificate(tmp_path / "b.pem", "one.example")
    (tmp_path / "a.pem").unlink()
    clock.now += LOOK_EVERY - 0.01
    assert serial_number(certificates, "one.example") == old
    clock.now += 0.01
    with caplog.at_level("INFO"):
        assert serial_number(certificates, "one.example") == new
        clock.now += LOOK_EVERY
        assert serial_number(certificates, None) == new
    assert [str(tmp_path) in record.getMessage() for record in caplog.records] == [True]


def test_certificates_that_cannot_be_used(
    tmp_path: Path, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    """The old ones serve on, the log names the directory, and what is right later is served."""
    old = write_certificate(tmp_path / "a.pem", "one.example")
    certificates = Certificates(str(tmp_path))
    whole = (tmp_path / "a.pem").read_bytes()
    for half in (whole[: len(whole) // 2], b""):
        (tmp_path / "a.pem").write_bytes(half)
        clock.now += LOOK_EVERY
        assert serial_number(certificates, "one.example") == old
        assert f"the certificates in {tmp_path} cannot be used: " in caplog.messages[-1]
    new = write_certificate(tmp_path / "a.pem", "one.example")
    clock.now += LOOK_EVERY
    assert serial_number(certificates, "one.example") == new


def test_a_directory_that_is_gone(tmp_path: Path, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    """A volume may be mounted anew: connections do not fail meanwhile."""
    old = write_certificate(tmp_path / "a.pem", "one.example")
    certificates = Certificates(str(tmp_path))
    (tmp_path / "a.pem").unlink()
    tmp_path.rmdir()
    clock.now += LOOK_EVERY
    assert serial_number(certificates, "one.example") == old
    assert "cannot be used" in caplog.text


def test_a_directory_without_a_pair_is_refused(tmp_path: Path) -> None:
    """A start that could serve nothing fails, and the error names the directory."""
    with pytest.raises(ValueError, match=f"{tmp_path} has no certificate with its private key"):
        Certificates(str(tmp_path))
    with pytest.raises(OSError):  # noqa: PT011  # Twisted's has no text
        Certificates(str(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("rest", "port", "backlog", "interface"),
    [
        ("", 443, 50, "::"),
        (":8443", 8443, 50, "::"),
        (":port=8443", 8443, 50, "::"),
        (r":port=8443:backlog=7:interface=\:\:1", 8443, 7, "::1"),
        (":port=8443:interface=127.0.0.1", 8443, 50, "127.0.0.1"),
    ],
)
def test_descriptions_of_endpoints(tmp_path: Path, rest: str, port: int, backlog: int, interface: str) -> None:
    """Port, backlog and interface are as given, or the defaults; what listens is TLS around the factory."""
    write_certificate(tmp_path / "a.pem", "one.example")
    reactor, factory = MemoryReactor(), Factory()
    tls_endpoint(reactor, f"tls:{tmp_path}{rest}").listen(factory)
    [(bound, wrapping, *others)] = reactor.tcpServers
    assert (bound, others) == (port, [backlog, interface])
    assert isinstance(wrapping, TLSMemoryBIOFactory)
    assert wrapping.wrappedFactory is factory


@pytest.mark.parametrize("rest", [":port=http", ":backlog=many"])
def test_wrong_descriptions_are_refused(tmp_path: Path, rest: str) -> None:
    """A word where a number belongs raises ValueError, which the start tells."""
    write_certificate(tmp_path / "a.pem", "one.example")
    with pytest.raises(ValueError, match="invalid literal"):
        tls_endpoint(MemoryReactor(), f"tls:{tmp_path}{rest}")
