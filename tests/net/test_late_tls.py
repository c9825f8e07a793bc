"""Twisted's TLS, which is imported when it is used; what a process has imported is its own, so each case has one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.certificates import write_certificate
from twistserve.net.late_tls import LateName

START = """
import sys
from twistserve.net.late_tls import AMP, LateName, _Module, import_before_tls
import_before_tls(AMP)
"""
TALK = (
    START
    + """
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.protocols import amp
assert "OpenSSL" not in sys.modules

def certificate():
    from twisted.internet.ssl import PrivateCertificate
    return PrivateCertificate.loadPEM(open(sys.argv[1]).read())

def connect(protocol):
    factory = ClientFactory.forProtocol(protocol)
    factory.noisy = False
    factory.done = Deferred()
    factory.clientConnectionFailed = lambda connector, reason: factory.done.errback(reason)
    return factory

class Echo(Protocol):
    def dataReceived(self, data):
        self.transport.write(data)

class Ask(Protocol):
    received = 0
    def connectionMade(self):
        self.transport.write(b"x" * SIZE)
    def dataReceived(self, data):
        self.received += len(data)
        if self.received == SIZE:
            self.factory.done.callback(ISSLTransport.providedBy(self.transport))
            self.transport.loseConnection()

# More than the kernel's buffers hold, so that both ends have to wait for each other.
SIZE = 3_000_000

def server(protocol):
    factory = Factory.forProtocol(protocol)
    factory.noisy = False
    return factory

@inlineCallbacks
def converse(port, protocol, begin):
    client = connect(protocol)
    begin("127.0.0.1", port.getHost().port, client)
    assert (yield client.done)
    yield port.stopListening()

def main():
    global talk
    raised = []
    talk = inlineCallbacks(talk)
    reactor.callWhenRunning(lambda: talk().addErrback(raised.append).addBoth(lambda _: reactor.stop()))
    reactor.run()
    for failure in raised:
        failure.raiseException()
    assert "OpenSSL" in sys.modules
"""
)


def run(program: str, *arguments: object) -> str:
    """What a program prints that runs in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_talk(program: str, directory: Path) -> None:
    """Run a program that defines `talk` on the reactor, with a certificate for it."""
    write_certificate(directory / "one.pem", "one.example")
    run(f"{TALK}{program}main()\n", directory / "one.pem")


def test_nothing_of_it_is_imported_before_it_is_used() -> None:
    """And nothing but the modules in question has stand-ins: whoever imports TLS gets it."""
    found = json.loads(
        run(
            START
            + """
import json
from twisted.internet import epollreactor, interfaces
from twisted.protocols import amp
holders = {
    name for name, module in list(sys.modules.items()) for value in list(vars(module).values())
    if isinstance(value, LateName | _Module)
}
modules = [name for name in sys.modules if name.partition(".")[0] in ("OpenSSL", "cryptography", "service_identity")]
modules += [name for name in ("twisted.internet.ssl", "twisted.protocols.tls") if name in sys.modules]
able = interfaces.IReactorSSL.implementedBy(epollreactor.EPollReactor), amp.ssl is not None
print(json.dumps([sorted(holders), modules, able]))
"""
        )
    )
    assert found == [
        ["twisted.internet._newtls", "twisted.internet.posixbase", "twisted.protocols.amp"],
        [],
        [True, True],
    ]


@pytest.mark.parametrize("first", ["OpenSSL.SSL", "cryptography", "twisted.internet.ssl", "twisted.internet.endpoints"])
@pytest.mark.parametrize("before", [True, False])
def test_an_application_that_imports_it_gets_it(first: str, before: bool) -> None:
    """Itself, whether it does so before us or after."""
    application = f"import {first}\n"
    imported = """
from twisted.internet import endpoints, ssl, tcp
from twisted.protocols import tls
import OpenSSL, cryptography.x509
for each in (ssl.Certificate, ssl.CertificateOptions, tls.TLSMemoryBIOFactory, endpoints.TLSMemoryBIOFactory):
    assert isinstance(each, type), each
assert sys.modules["twisted.protocols.tls"] is tls and sys.modules["twisted.internet.ssl"] is ssl
assert not isinstance(tls, _Module) and not isinstance(ssl, _Module)
"""
    run((application if before else "") + START + ("" if before else application) + imported)


def test_a_twisted_that_was_imported_before_stays_as_it_is() -> None:
    """As under manage.py serve, whose application may have imported it."""
    run(
        "import twisted.internet.tcp, twisted.internet.posixbase, twisted.protocols.amp\n"
        + START
        + "assert isinstance(sys.modules['twisted.internet._newtls'].TLSMemoryBIOFactory, type)\n"
    )


def test_where_openssl_is_not_installed_twisted_does_without() -> None:
    """And says so, as ever: by what its reactor offers."""
    run(
        """
import importlib.util, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "OpenSSL":
            raise ModuleNotFoundError(name)
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "OpenSSL" else find(name)
sys.meta_path.insert(0, Missing())
"""
        + START
        + """
from twisted.internet import epollreactor, interfaces
assert not interfaces.IReactorSSL.implementedBy(epollreactor.EPollReactor)
"""
    )


def test_listening_and_connecting_with_tls(tmp_path: Path) -> None:
    """By the reactor's own methods, which a parent that shares the sockets of ssl: endpoints uses too."""
    run_talk(
        """
def talk():
    from twisted.internet.ssl import CertificateOptions
    port = reactor.listenSSL(0, server(Echo), certificate().options(), interface="127.0.0.1")
    yield converse(port, Ask, lambda *where: reactor.connectSSL(*where, CertificateOptions()))
""",
        tmp_path,
    )


def test_starting_tls_in_a_connection(tmp_path: Path) -> None:
    """As SMTP and IMAP do, on both ends."""
    run_talk(
        """
class Secured(Echo):
    def connectionMade(self):
        self.transport.startTLS(certificate().options())

class Securing(Ask):
    def connectionMade(self):
        from twisted.internet.ssl import CertificateOptions
        self.transport.startTLS(CertificateOptions())
        super().connectionMade()

def talk():
    port = reactor.listenTCP(0, server(Secured), interface="127.0.0.1")
    yield converse(port, Securing, reactor.connectTCP)
""",
        tmp_path,
    )


def test_amp_with_tls(tmp_path: Path) -> None:
    """An application may speak it over a connection that begins TLS, and look at its peer's certificate."""
    run_talk(
        """
class Sum(amp.Command):
    arguments = [(b"a", amp.Integer()), (b"b", amp.Integer())]
    response = [(b"total", amp.Integer())]

class Adds(amp.AMP):
    @Sum.responder
    def sum(self, a, b):
        return {"total": a + b}

    @amp.StartTLS.responder
    def secure(self):
        return {"tls_localCertificate": certificate()}

class Asks(amp.AMP):
    def connectionMade(self):
        super().connectionMade()
        self.factory.done.callback(self)

def talk():
    port = reactor.listenTCP(0, server(Adds), interface="127.0.0.1")
    made = connect(Asks)
    reactor.connectTCP("127.0.0.1", port.getHost().port, made)
    peer = yield made.done
    assert "OpenSSL" not in sys.modules
    yield peer.callRemote(amp.StartTLS, tls_localCertificate=certificate())
    answer = yield peer.callRemote(Sum, a=40, b=2)
    assert answer == {"total": 42}
    assert peer.hostCertificate.getSubject().commonName == b"one.example"
    peer.transport.loseConnection()
    yield port.stopListening()
""",
        tmp_path,
    )


def test_a_name_is_looked_up_when_it_is_used() -> None:
    """To be called, or for an attribute; a module that is missing is told then."""
    assert LateName("fractions", "Fraction")(1, 2).denominator == 2
    assert LateName("fractions", "Fraction").from_float(0.5).denominator == 2
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        LateName("no_such_module", "Thing")()
